//! Everything a worker reads of the configuration. Filled in and validated once, by the binary, at start.

use std::path::PathBuf;
use std::sync::Arc;

use protocol::host::Hosts;
use protocol::{Limits, Status};

use crate::gate::GateSettings;
use crate::memory::Memory;
use crate::pace::Rates;
use crate::site::plan::Plan;
use crate::threads::FirstStep;

/// Configuration of one worker. All workers of a server get the same, but for the processor they are pinned to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits on one request.
    pub limits: Limits,
    /// How long a connection may take over what.
    pub deadlines: Deadlines,
    /// How fast a connection may go, and how slowly.
    pub rates: Rates,
    /// How much memory clients may make it take.
    pub memory: Memory,
    /// Most connections this worker holds at once.
    pub connections_max: usize,
    /// Sockets that may wait in the hand-off from the acceptor.
    pub handoff_capacity: usize,
    /// Connections that the kernel queues on each listener of its own.
    pub backlog: usize,
    /// The processor to run on, or whichever the kernel chooses.
    pub processor: Option<usize>,
    /// How long to look for events before sleeping: microseconds of a whole processor for microseconds of latency.
    pub spin_us: u64,
    /// What the worker's thread does first.
    pub first: FirstStep,
    /// Who may ask, if not everybody.
    pub gate: Option<GateSettings>,
    /// What is served and how.
    pub site: SiteSettings,
}

/// Deadlines of a connection, each kept by the timing wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From the first byte of a request (or from the accept) to the end of its head. Dripping gains nothing.
    pub header_ms: u64,
    /// Between the end of one exchange and the first byte of the next.
    pub keep_alive_ms: u64,
    /// Between two pieces of request content.
    pub content_ms: u64,
    /// Between two acknowledgements of response bytes by the peer.
    pub send_ms: u64,
    /// How long a connection that was refused may go on talking before it is closed.
    pub linger_ms: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            header_ms: 10_000,
            keep_alive_ms: 15_000,
            content_ms: 10_000,
            send_ms: 30_000,
            linger_ms: 5_000,
        }
    }
}

/// What is served and how.
#[derive(Clone, Debug)]
pub struct SiteSettings {
    /// The directory to serve, or the one file.
    pub root: PathBuf,
    /// What is served instead to those who ask for certain hosts.
    pub vhosts: VirtualHosts,
    /// How long a release that another has taken the place of still answers for names that hold a digest.
    pub keep_release_ms: u64,
    /// How paths become resources.
    pub plan: Arc<Plan>,
    /// What is served where a browser navigates to a path that names nothing, relative to the root.
    pub spa: Option<String>,
    /// Pages for errors, relative to the root.
    pub error_pages: Vec<(Status, String)>,
    /// Whether names that start with a dot are served.
    pub hidden: bool,
    /// Which symbolic links are followed.
    pub symlinks: Symlinks,
    /// Most files kept open.
    pub open_files_max: usize,
    /// Most bytes of small files kept in memory.
    pub memory_bytes_max: usize,
    /// Most bytes of content that was made, or is held in memory, beyond that.
    pub lent_bytes_max: u64,
    /// How long an entry of the cache is believed before it is compared with the file system.
    pub check_interval_ms: u64,
}

impl SiteSettings {
    /// The root, and those of the virtual hosts: the numbers of trees count in this order, from 0.
    pub fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.root).chain(&self.vhosts.roots)
    }
}

/// Trees for certain hosts.
#[derive(Clone, Debug, Default)]
pub struct VirtualHosts {
    /// The directories to serve.
    pub roots: Vec<PathBuf>,
    /// Which host is served which of them, by the numbers of [`SiteSettings::roots`].
    pub hosts: Arc<Hosts>,
}

/// Which symbolic links are followed below the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symlinks {
    /// None: a path through a link is not found.
    Never,
    /// Relative links that stay below the root.
    Inside,
    /// All, wherever they lead.
    Any,
}
