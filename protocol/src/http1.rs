//! The HTTP/1.1 protocol machine.

pub mod chunked;
