//! Request methods (RFC 9110 §9). Case-sensitive tokens.

/// What the client asks to be done with the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Transfer the representation.
    Get,
    /// As GET, without the content.
    Head,
    /// Ask which methods there are.
    Options,
    /// A method of RFC 9110 or RFC 5789 that a file server knows but does not offer: 405.
    NotAllowed,
    /// CONNECT: not offered either, and the bytes after it are no HTTP, so the connection ends.
    Connect,
    /// Any other token: 501.
    Unknown,
}

/// What `Allow` says about every resource (RFC 9110 §10.2.1).
pub const ALLOW: &str = "GET, HEAD, OPTIONS";

impl Method {
    /// Classifies a method token.
    #[must_use]
    pub fn from_token(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"OPTIONS" => Self::Options,
            b"POST" | b"PUT" | b"DELETE" | b"PATCH" | b"TRACE" => Self::NotAllowed,
            b"CONNECT" => Self::Connect,
            _ => Self::Unknown,
        }
    }

    /// Whether the method transfers a representation or its head: the two for which preconditions, ranges and
    /// files mean anything.
    #[must_use]
    pub const fn is_retrieval(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_case_sensitive_tokens() {
        let table: [(&[u8], Method); 8] = [
            (b"GET", Method::Get),
            (b"HEAD", Method::Head),
            (b"OPTIONS", Method::Options),
            (b"POST", Method::NotAllowed),
            (b"TRACE", Method::NotAllowed),
            (b"CONNECT", Method::Connect),
            (b"get", Method::Unknown),
            (b"BREW", Method::Unknown),
        ];
        for (token, method) in table {
            assert_eq!(Method::from_token(token), method, "{}", token.escape_ascii());
        }
    }
}
