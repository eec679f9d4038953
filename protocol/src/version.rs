//! The HTTP versions that oneloop answers (RFC 9110 §2.5).

/// Version of a request. Anything else is answered 505, or 400 when it is no version at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: connections close unless the client asks to keep them.
    Http10,
    /// HTTP/1.1: connections persist unless either side says `close`.
    Http11,
}

impl Version {
    /// The protocol-version token, as it appears in a request line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}
