//! Why the acceptor gave up. What a client or a shortage can cause is not here: that is waited out.

use std::fmt;
use std::io;

/// A reason to stop the server.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcceptError {
    /// The kernel refused to wait for events.
    Poll(io::Error),
    /// A listener is broken for good.
    Accept {
        /// Where it listened.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Every worker has ended: nobody is left to serve.
    NoWorker,
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poll(source) => write!(f, "cannot wait for connections: {source}"),
            Self::Accept { address, source } => write!(f, "cannot accept connections on {address}: {source}"),
            Self::NoWorker => f.write_str("every worker has ended"),
        }
    }
}

impl std::error::Error for AcceptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Poll(source) | Self::Accept { source, .. } => Some(source),
            Self::NoWorker => None,
        }
    }
}
