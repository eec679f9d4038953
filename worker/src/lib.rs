//! One thread, one loop: a worker adopts the connections handed to it and owns them for life.
//!
//! This crate owns who *serves*: the hand-off's receiving end, the event loop ([`mio`]), connections, timers,
//! buffers, files. It never accepts a connection and never blocks on a loop thread; what is said on a connection
//! is decided by `protocol`.

pub mod access_log;
pub mod buffers;
pub mod clock;
pub mod control;
pub mod handoff;
pub mod log_writer;
pub mod metrics;
pub mod settings;
pub mod slab;
pub mod wheel;

use std::sync::Arc;
use std::thread::JoinHandle;

pub use control::{Control, Phase};
// pub use handoff::{Accepted, Peer};
pub use metrics::Counters;
pub use settings::{Deadlines, Settings, SiteSettings, Symlinks};

/// A running worker, as its supervisor sees it.
#[derive(Debug)]
pub struct Handle {
    index: usize,
    waker: Arc<mio::Waker>,
    counters: Arc<Counters>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Position among the workers, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What the worker has done so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Makes the worker look at [`Control`].
    ///
    /// # Errors
    /// When the kernel refuses the write to the worker's eventfd.
    pub fn wake(&self) -> std::io::Result<()> {
        self.waker.wake()
    }

    /// Whether the worker's thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}
