//! One thread, one loop: a worker adopts the connections handed to it and owns them for life.
//!
//! This crate owns who *serves*: the hand-off's receiving end, the event loop ([`mio`]), connections, timers,
//! buffers, files. It never accepts a connection and never blocks on a loop thread; what is said on a connection
//! is decided by `protocol`.

pub mod access_log;
pub mod control;
pub mod handoff;
pub mod log_writer {
    //! Stand-in.
    use std::io;
    use std::path::PathBuf;
    use std::time::Duration;

    /// Stand-in.
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub enum Destination {
        Stdout,
        File(PathBuf),
    }
    /// Stand-in.
    #[derive(Debug)]
    pub struct Writer;
    /// Stand-in.
    #[derive(Debug)]
    pub struct Producer;
    /// Stand-in.
    #[allow(clippy::missing_errors_doc, clippy::needless_pass_by_value)]
    pub fn start(destination: Destination, workers: usize) -> io::Result<(Writer, Vec<Producer>)> {
        if let Destination::File(path) = destination {
            std::fs::File::options().append(true).create(true).open(path)?;
        }
        Ok((Writer, (0..workers).map(|_| Producer).collect()))
    }
    impl Writer {
        /// Stand-in.
        pub fn reopen(&self) {}
        /// Stand-in.
        #[must_use]
        pub fn finish(self, _wait: Duration) -> bool {
            true
        }
    }
}
pub mod metrics;
pub mod settings;

use std::sync::Arc;
use std::thread::JoinHandle;

pub use control::{Control, Phase};
pub use handoff::{Accepted, Peer};
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

/// Stand-in.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum StartError {
    Root { path: std::path::PathBuf, source: std::io::Error },
    Loop(std::io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for StartError {}

/// Stand-in: keeps connections until it is told to stop.
#[allow(clippy::missing_errors_doc, clippy::needless_pass_by_value)]
pub fn spawn(
    index: usize,
    settings: Settings,
    control: Arc<Control>,
    _log: Option<log_writer::Producer>,
) -> Result<(Handle, handoff::Sender), StartError> {
    let mut poll = mio::Poll::new().map_err(StartError::Loop)?;
    let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).map_err(StartError::Loop)?);
    let (sender, mut receiver) = handoff::channel(settings.handoff_capacity, Arc::clone(&waker));
    let counters = Arc::new(Counters::default());
    let ours = Arc::clone(&counters);
    let body = move || {
        let mut events = mio::Events::with_capacity(8);
        let mut connections = Vec::new();
        while control.phase() == Phase::Serving || (control.phase() == Phase::Draining && !connections.is_empty()) {
            while let Some(accepted) = receiver.recv() {
                ours.adopted.increment();
                connections.push(accepted);
            }
            if receiver.prepare_sleep() {
                let _ = poll.poll(&mut events, None);
                receiver.awake();
            }
        }
        ours.closed.add(connections.len() as u64);
    };
    let thread =
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(body).map_err(StartError::Loop)?;
    Ok((Handle { index, waker, counters, thread }, sender))
}
