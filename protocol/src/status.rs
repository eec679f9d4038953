//! The status codes that oneloop answers with (RFC 9110 §15, RFC 6585 §4 and §5).

/// Status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum Status {
    /// 200
    Ok = 200,
    /// 204
    NoContent = 204,
    /// 206
    PartialContent = 206,
    /// 301
    MovedPermanently = 301,
    /// 302
    Found = 302,
    /// 303
    SeeOther = 303,
    /// 304
    NotModified = 304,
    /// 307
    TemporaryRedirect = 307,
    /// 308
    PermanentRedirect = 308,
    /// 400
    BadRequest = 400,
    /// 401
    Unauthorized = 401,
    /// 403
    Forbidden = 403,
    /// 404
    NotFound = 404,
    /// 405
    MethodNotAllowed = 405,
    /// 406
    NotAcceptable = 406,
    /// 408
    RequestTimeout = 408,
    /// 412
    PreconditionFailed = 412,
    /// 413
    ContentTooLarge = 413,
    /// 414
    UriTooLong = 414,
    /// 416
    RangeNotSatisfiable = 416,
    /// 417
    ExpectationFailed = 417,
    /// 429
    TooManyRequests = 429,
    /// 431
    HeaderFieldsTooLarge = 431,
    /// 500
    InternalServerError = 500,
    /// 501
    NotImplemented = 501,
    /// 503
    ServiceUnavailable = 503,
    /// 505
    VersionNotSupported = 505,
}

impl Status {
    /// The three digits.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The three digits as a status line has them.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a digit")]
    pub const fn digits(self) -> [u8; 3] {
        let code = self.code();
        [b'0' + (code / 100) as u8, b'0' + (code / 10 % 10) as u8, b'0' + (code % 10) as u8]
    }

    /// The reason phrase of the registry.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::NoContent => "No Content",
            Self::PartialContent => "Partial Content",
            Self::MovedPermanently => "Moved Permanently",
            Self::Found => "Found",
            Self::SeeOther => "See Other",
            Self::NotModified => "Not Modified",
            Self::TemporaryRedirect => "Temporary Redirect",
            Self::PermanentRedirect => "Permanent Redirect",
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::NotAcceptable => "Not Acceptable",
            Self::RequestTimeout => "Request Timeout",
            Self::PreconditionFailed => "Precondition Failed",
            Self::ContentTooLarge => "Content Too Large",
            Self::UriTooLong => "URI Too Long",
            Self::RangeNotSatisfiable => "Range Not Satisfiable",
            Self::ExpectationFailed => "Expectation Failed",
            Self::TooManyRequests => "Too Many Requests",
            Self::HeaderFieldsTooLarge => "Request Header Fields Too Large",
            Self::InternalServerError => "Internal Server Error",
            Self::NotImplemented => "Not Implemented",
            Self::ServiceUnavailable => "Service Unavailable",
            Self::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_code() {
        for status in [Status::Ok, Status::NotFound, Status::RangeNotSatisfiable, Status::VersionNotSupported]
        {
            assert_eq!(status.digits(), status.code().to_string().as_bytes());
        }
    }
}
