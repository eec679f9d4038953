//! Everything the acceptor reads of the configuration. Filled in and validated once, by the binary, at start.

/// Configuration of the acceptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Connections that the kernel queues on a listener before it turns more away.
    pub backlog: i32,
}
