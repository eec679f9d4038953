//! What the rest of the process tells every worker, without a lock: which phase the server is in. Written by the
//! supervising thread, read once a turn by each worker.

use crate::atomic::{AtomicU8, Ordering};

/// Phase of the server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connections are adopted and kept.
    Serving,
    /// Idle connections are closed, the others finish what is in flight; then the worker ends.
    Draining,
    /// Every connection is dropped at once; the worker ends.
    Stopping,
}

/// What supervisor and workers share.
#[derive(Debug, Default)]
pub struct Control {
    phase: AtomicU8,
}

impl Control {
    /// The phase to act upon.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }

    /// Moves on to a later phase. Workers see it at their next turn: wake them.
    pub fn enter(&self, phase: Phase) {
        let value = match phase {
            Phase::Serving => 0,
            Phase::Draining => 1,
            Phase::Stopping => 2,
        };
        self.phase.fetch_max(value, Ordering::AcqRel);
    }
}
