//! What kinds of threads there are, and what each of them does before anything else, which is for whoever starts the
//! server to say: it may give up rights there. Nothing in here knows of rights.

use std::fmt;
use std::sync::Arc;

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadKind {
    /// A worker's loop.
    Loop,
    /// A helper, which waits for disks.
    Helper,
    /// Watches where a root leads.
    Root,
    /// Writes the access log.
    AccessLog,
}

/// What every thread does first, on its own stack, when nothing was asked of it yet. By default nothing.
#[derive(Clone, Default)]
pub struct FirstStep(Option<Arc<dyn Fn(ThreadKind) + Send + Sync>>);

impl FirstStep {
    /// Calls `step` on each thread.
    pub fn new(step: impl Fn(ThreadKind) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(step)))
    }

    /// Takes it, on a thread of that kind.
    pub fn take(&self, kind: ThreadKind) {
        if let Some(step) = &self.0 {
            step(kind);
        }
    }
}

impl fmt::Debug for FirstStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "FirstStep(…)" } else { "FirstStep" })
    }
}
