//! Everything the acceptor reads of the configuration. Filled in and validated once, by the binary, at start.

/// Configuration of the acceptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Connections that the kernel queues on a listener before it turns more away.
    pub backlog: i32,
    /// Most connections that all workers hold together. Beyond it, new ones wait in the backlog.
    pub connections_max: u64,
}
