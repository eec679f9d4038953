//! Cross-origin requests (Fetch standard §3.2): which other sites' scripts may read our answers.
//!
//! Owns origins as they are written (RFC 6454 §6.2) and the shape of a preflight. What else an answer to one
//! says is for the caller to know.

use std::error::Error;
use std::fmt;

use crate::field::{Fields, RareName};
use crate::http1::head::RequestHead;
use crate::method::Method;
use crate::target;

/// The origins whose scripts may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All: `*`.
    Any,
    /// These.
    These(Vec<Origin>),
}

/// One origin, in the only form in which a browser sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Box<str>);

/// Why a text is not what a browser would send as an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginError {
    /// No `scheme://` at the start.
    Scheme,
    /// No host, or not one with an optional port, behind it; or something that follows them.
    Host,
    /// Something is in upper case.
    Case,
    /// The port is the scheme's own, which is left out.
    DefaultPort,
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "an origin begins with http:// or https:// or another scheme",
            Self::Host => {
                "behind the scheme stand a host and perhaps a port, and nothing else, not even a slash"
            }
            Self::Case => "an origin is in lower case",
            Self::DefaultPort => "browsers leave out the scheme's own port",
        })
    }
}

impl Error for OriginError {}

impl std::str::FromStr for Origin {
    type Err = OriginError;

    /// Reads an origin such as `https://example.org` or `http://localhost:3000`. `null`, which any sandboxed
    /// document has for its origin, is none.
    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, authority) = text.split_once("://").ok_or(OriginError::Scheme)?;
        let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            || !scheme.bytes().all(is_scheme_byte)
        {
            return Err(OriginError::Scheme);
        }
        if !target::is_authority(authority.as_bytes()) || authority.ends_with(':') {
            return Err(OriginError::Host);
        }
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(OriginError::Case);
        }
        let own_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return Ok(Self(text.into())),
        };
        // A colon in brackets is followed by the closing one.
        if authority.ends_with(own_port) { Err(OriginError::DefaultPort) } else { Ok(Self(text.into())) }
    }
}

/// What `Access-Control-Allow-Origin` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant<'b> {
    /// `*`
    Any,
    /// This origin. The answer depends on it, so it also says `Vary: Origin`.
    Origin(&'b str),
}

impl Grant<'_> {
    /// The value of the field.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        match self {
            Self::Any => "*",
            Self::Origin(origin) => origin,
        }
    }
}

impl Origins {
    /// What a request is granted. None: the browser is not to let its scripts read the answer. Where not
    /// [`Any`] is granted, every answer says `Vary: Origin`, also one to a request that is granted nothing or
    /// has no origin.
    ///
    /// [`Any`]: Self::Any
    #[must_use]
    pub fn grant(&self, fields: &Fields<'_>) -> Option<Grant<'_>> {
        match self {
            Self::Any => Some(Grant::Any),
            Self::These(origins) => {
                let asking = fields.find_only(RareName::Origin)?;
                let origin = origins.iter().find(|origin| origin.0.as_bytes() == asking)?;
                Some(Grant::Origin(&origin.0))
            }
        }
    }
}

/// Whether it is a preflight, by which a browser asks before the request itself: OPTIONS that has an origin and names the
/// method that is to follow (Fetch standard §4.8). Any other OPTIONS is about the resource.
#[must_use]
pub fn is_preflight(head: &RequestHead<'_>) -> bool {
    let has = |name| head.fields.find_only(name).is_some();
    head.method == Method::Options && has(RareName::Origin) && has(RareName::AccessControlRequestMethod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::{FieldLines, decode};
    use crate::limits::Limits;

    fn origins(texts: &[&str]) -> Origins {
        Origins::These(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn with_head<R>(request_line: &str, fields: &str, look: impl FnOnce(&RequestHead<'_>) -> R) -> R {
        let input = format!("{request_line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut lines = FieldLines::new();
        let (head, _) = decode(input.as_bytes(), &mut lines, &Limits::default()).unwrap().unwrap();
        look(&head)
    }

    #[test]
    fn an_origin_is_granted_that_is_the_same_to_the_byte() {
        let these = origins(&["https://example.org", "http://localhost:3000", "http://[::1]:8080"]);
        let table: [(&str, Option<&str>); 14] = [
            ("", None),
            ("Origin: https://example.org\r\n", Some("https://example.org")),
            ("origin:http://localhost:3000\r\n", Some("http://localhost:3000")),
            ("Origin: http://[::1]:8080\r\n", Some("http://[::1]:8080")),
            ("Origin: http://example.org\r\n", None),
            ("Origin: https://example.org:443\r\n", None),
            ("Origin: https://example.org/\r\n", None),
            ("Origin: https://Example.org\r\n", None),
            ("Origin: https://example.org.evil.example\r\n", None),
            ("Origin: https://evil.example/https://example.org\r\n", None),
            ("Origin: https://a.example.org\r\n", None),
            ("Origin: null\r\n", None),
            ("Origin: *\r\n", None),
            ("Origin: https://example.org\r\nOrigin: https://example.org\r\n", None),
        ];
        for (fields, granted) in table {
            with_head("GET /", fields, |head| {
                assert_eq!(these.grant(&head.fields).as_ref().map(Grant::as_str), granted, "{fields}");
                assert_eq!(Origins::Any.grant(&head.fields), Some(Grant::Any), "{fields}");
            });
        }
        assert_eq!(Grant::Any.as_str(), "*");
    }

    #[test]
    fn what_no_browser_sends_is_no_origin() {
        use OriginError::{Case, DefaultPort, Host, Scheme};
        let table: [(&str, OriginError); 17] = [
            ("", Scheme),
            ("null", Scheme),
            ("*", Scheme),
            ("example.org", Scheme),
            ("://example.org", Scheme),
            ("1http://example.org", Scheme),
            ("ht tp://example.org", Scheme),
            ("https://", Host),
            ("https://example.org/", Host),
            ("https://example.org/a", Host),
            ("https://a@example.org", Host),
            ("https://example.org:", Host),
            ("https://*.example.org:x", Host),
            ("https://Example.org", Case),
            ("HTTPS://example.org", Case),
            ("http://example.org:80", DefaultPort),
            ("https://[::1]:443", DefaultPort),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Origin>(), Err(error), "{text}");
        }
        for good in ["http://a:443", "https://a:80", "http://[::1]", "http://[1::80]", "app+x://id"] {
            assert!(good.parse::<Origin>().is_ok(), "{good}");
        }
    }

    #[test]
    fn a_preflight_is_told_from_other_questions() {
        let both = "Origin: https://a\r\nAccess-Control-Request-Method: GET\r\n";
        let table: [(&str, &str, bool); 7] = [
            ("OPTIONS /", both, true),
            ("OPTIONS *", both, true),
            ("GET /", both, false),
            ("OPTIONS /", "Origin: https://a\r\n", false),
            ("OPTIONS /", "Access-Control-Request-Method: GET\r\n", false),
            ("OPTIONS /", "", false),
            ("OPTIONS /", "Origin: a\r\nAccess-Control-Request-Method: brew\r\n", true),
        ];
        for (request_line, fields, expected) in table {
            assert_eq!(with_head(request_line, fields, is_preflight), expected, "{request_line} {fields}");
        }
    }
}
