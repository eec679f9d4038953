//! What can be wrong with a request: always the peer's fault, never ours.

use crate::status::Status;

/// A request that cannot be understood or will not be taken. After it nothing on the connection can be
/// trusted to be a request, so every one of these ends the connection once it has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestError {
    /// The first line is not `method SP target SP version` (RFC 9112 §3).
    RequestLine,
    /// A line does not end in CR LF, or a CR stands alone (RFC 9112 §2.2).
    LineEnd,
    /// A control character where none may be (RFC 9110 §5.5).
    ControlCharacter,
    /// A field line without a valid name and colon, or one folded over lines (RFC 9112 §5).
    FieldLine,
    /// The target is malformed, or climbs above the root (RFC 9112 §3.2).
    Target,
    /// `Host` is missing, repeated or invalid (RFC 9112 §3.2).
    Host,
    /// `Content-Length` is no number, too large for one, or contradicts itself (RFC 9112 §6.3).
    ContentLength,
    /// `Transfer-Encoding` beside `Content-Length`, or in HTTP/1.0: the way of request smuggling (RFC 9112 §6.1).
    ConflictingFraming,
    /// A transfer coding other than `chunked` (RFC 9112 §6.1).
    TransferCoding,
    /// The chunked coding is malformed (RFC 9112 §7.1).
    Chunk,
    /// HTTP of another major version (RFC 9110 §15.6.6).
    Version,
    /// Longer than [`crate::Limits::target_bytes_max`].
    TargetTooLong,
    /// Longer than [`crate::Limits::head_bytes_max`], or more lines than [`crate::Limits::fields_max`].
    HeadTooLarge,
    /// Longer than [`crate::Limits::content_bytes_max`].
    ContentTooLarge,
    /// The head was not complete at its deadline (RFC 9110 §15.5.9).
    HeadTimeout,
}

impl RequestError {
    /// The status to answer with.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::RequestLine
            | Self::LineEnd
            | Self::ControlCharacter
            | Self::FieldLine
            | Self::Target
            | Self::Host
            | Self::ContentLength
            | Self::ConflictingFraming
            | Self::Chunk => Status::BadRequest,
            Self::TransferCoding => Status::NotImplemented,
            Self::Version => Status::VersionNotSupported,
            Self::TargetTooLong => Status::UriTooLong,
            Self::HeadTooLarge => Status::HeaderFieldsTooLarge,
            Self::ContentTooLarge => Status::ContentTooLarge,
            Self::HeadTimeout => Status::RequestTimeout,
        }
    }
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RequestLine => "malformed request line",
            Self::LineEnd => "line does not end in CR LF",
            Self::ControlCharacter => "control character in the head",
            Self::FieldLine => "malformed field line",
            Self::Target => "malformed request target",
            Self::Host => "missing, repeated or invalid Host",
            Self::ContentLength => "invalid Content-Length",
            Self::ConflictingFraming => "conflicting Content-Length and Transfer-Encoding",
            Self::TransferCoding => "unsupported transfer coding",
            Self::Chunk => "malformed chunked content",
            Self::Version => "unsupported HTTP version",
            Self::TargetTooLong => "request target too long",
            Self::HeadTooLarge => "request head too large",
            Self::ContentTooLarge => "request content too large",
            Self::HeadTimeout => "request head not complete in time",
        })
    }
}

impl std::error::Error for RequestError {}
