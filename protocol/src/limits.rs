//! How much of a request is accepted. Every limit is configured by a flag and enforced by [`crate::http1`].

/// The most field lines that any configuration may allow: the decoder keeps them in an array of this size.
pub const FIELDS_CEILING: usize = 256;

/// Limits on one request, filled in once at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request head in bytes, request line and final empty line included. Beyond it: 431.
    pub head_bytes_max: usize,
    /// Longest request target in bytes. Beyond it: 414.
    pub target_bytes_max: usize,
    /// Most field lines in a head, at most [`FIELDS_CEILING`]. Beyond it: 431.
    pub fields_max: usize,
    /// Longest request content in bytes that is read and thrown away to keep a connection. Beyond it: 413.
    pub content_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 16 << 10,
            target_bytes_max: 8 << 10,
            fields_max: 100,
            content_bytes_max: 1 << 20,
        }
    }
}
