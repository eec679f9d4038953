//! URLs, as far as a request is made of them: whom to ask, and for what. Whether that makes sense is for the server
//! to say.

/// What is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// Whom to ask, if that was said: a host, maybe with a port.
    pub(crate) authority: Option<String>,
    /// The request target, as it is sent.
    pub(crate) target: String,
    /// Whether the connection is to be encrypted.
    pub(crate) is_secure: bool,
}

/// `http://HOST/PATH`, `https://HOST/PATH`, or a target alone. As in a browser, what comes behind `#` is not sent.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    if text.is_empty() || text.contains(|character: char| character.is_control() || character == ' ') {
        return Err("it must be http://HOST/PATH, or /PATH, with spaces as %20".into());
    }
    let sent = text.split('#').next().unwrap_or_default();
    let rest = ["http://", "https://"].into_iter().find_map(|scheme| sent.strip_prefix(scheme));
    let Some(rest) = rest else {
        return Ok(Url { authority: None, target: sent.to_owned(), is_secure: false });
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() {
        return Err("it has no host".into());
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok(Url {
        authority: Some(authority.to_owned()),
        target: format!("{slash}{target}"),
        is_secure: sent.starts_with("https"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_whom_to_ask_and_for_what() {
        let table = [
            ("/", None, "/"),
            ("/a%20b?c=d#e", None, "/a%20b?c=d"),
            ("*", None, "*"),
            ("http://a", Some("a"), "/"),
            ("http://a?b", Some("a"), "/?b"),
            ("http://[::1]:80/a//b", Some("[::1]:80"), "/a//b"),
            ("https://a.test/x", Some("a.test"), "/x"),
        ];
        for (text, authority, target) in table {
            let url = parse_url(text).unwrap();
            assert_eq!((url.authority.as_deref(), url.target.as_str()), (authority, target), "{text}");
            assert_eq!(url.is_secure, text.starts_with("https"));
        }
        for wrong in ["", "/a b", "/a\r\nb", "http://", "http:///a"] {
            assert!(parse_url(wrong).is_err(), "{wrong}");
        }
    }
}
