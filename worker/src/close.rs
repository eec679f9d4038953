//! Why connections end. Each end has one reason, and each reason that somebody should know of is counted.

use rustix::io::Errno;

use crate::metrics::Counters;
use crate::throttle;

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The last exchange is over.
    Finished,
    /// The peer closed or reset the connection.
    Peer,
    /// No request head in time.
    HeaderTimeout,
    /// No further request in time.
    KeepAliveTimeout,
    /// No request content in time.
    ContentTimeout,
    /// The peer took no bytes in time.
    SendTimeout,
    /// The peer took or gave fewer bytes a second than it has to.
    TooSlow,
    /// A refused peer went on talking for too long.
    LingerTimeout,
    /// It did not begin with a header of the PROXY protocol, or may not.
    ProxyHeader,
    /// There was no memory left for what it made us keep.
    NoMemory,
    /// Its client has as many connections as allowed.
    Crowded,
    /// Another needed its place, and it had been idle longest.
    DisplacedIdle,
    /// The same; no connection was idle, and this one had been about to say something longest.
    DisplacedUnfinished,
    /// The file ended before the length that was promised.
    TruncatedFile,
    /// The server is ending.
    Draining,
    /// The kernel failed us, not the peer.
    Failed,
}

impl CloseReason {
    /// Whose fault a failed sendfile(2) is: reading the file is ours, the rest is the peer's or the network's.
    #[must_use]
    pub fn of_send_file(error: &std::io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::IO | Errno::INVAL | Errno::OVERFLOW | Errno::BADF | Errno::NOMEM) => {
                throttle::FILES.error(error, "cannot send a file that is served");
                Self::Failed
            }
            _ => Self::Peer,
        }
    }

    /// Whether the peer has to be told by a reset, because an ordinary end would look like a complete answer or
    /// would wait for bytes that nobody takes.
    #[must_use]
    pub const fn needs_reset(self) -> bool {
        matches!(
            self,
            Self::ContentTimeout
                | Self::SendTimeout
                | Self::TooSlow
                | Self::NoMemory
                | Self::TruncatedFile
                | Self::Failed
        )
    }

    /// Counts the end of a connection.
    pub fn count(self, counters: &Counters) {
        counters.closed.increment();
        let counter = match self {
            Self::HeaderTimeout => &counters.header_timeouts,
            Self::KeepAliveTimeout => &counters.keep_alive_timeouts,
            Self::ContentTimeout => &counters.content_timeouts,
            Self::SendTimeout => &counters.send_timeouts,
            Self::TooSlow => &counters.slow_peers,
            Self::NoMemory => &counters.memory_refusals,
            Self::LingerTimeout => &counters.linger_timeouts,
            Self::ProxyHeader => &counters.proxy_refusals,
            Self::Crowded => &counters.crowd_refusals,
            Self::DisplacedIdle => &counters.displaced_idle,
            Self::DisplacedUnfinished => &counters.displaced_unfinished,
            Self::TruncatedFile => &counters.truncated_files,
            Self::Failed => &counters.failures,
            Self::Finished | Self::Peer | Self::Draining => return,
        };
        counter.increment();
    }
}
