//! URLs, as far as a request is made of them: whom to ask, and for what. Whether that makes sense is for the server
//! to say.

use super::listen::{Listen, parse_listen};

const PAGE_FORMS: &str = "it must be http://HOST:PORT/PATH, /PATH, PORT, HOST:PORT, [IPV6]:PORT or unix:PATH";

/// What is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// Whom to ask, if that was said: a host, maybe with a port.
    pub(crate) authority: Option<String>,
    /// The request target, as it is sent.
    pub(crate) target: String,
}

/// `http://HOST/PATH`, `https://HOST/PATH`, or a target alone. As in a browser, what comes behind `#` is not sent.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    if text.is_empty() || text.contains(|character: char| character.is_control() || character == ' ') {
        return Err("it must be http://HOST/PATH, or /PATH, with spaces as %20".into());
    }
    let sent = text.split('#').next().unwrap_or_default();
    let Some(rest) = without_scheme(sent, "http://").or_else(|| without_scheme(sent, "https://")) else {
        return Ok(Url { authority: None, target: sent.to_owned() });
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() {
        return Err("it has no host".into());
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok(Url { authority: Some(authority.to_owned()), target: format!("{slash}{target}") })
}

/// Schemes are the same in capitals (RFC 3986 §3.1).
fn without_scheme<'t>(text: &'t str, scheme: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// What a server is asked for, and which one, if that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) server: Option<Listen>,
    pub(super) target: String,
}

/// `http://HOST/PATH`, a path, or where the server listens.
pub(super) fn parse_page(text: &str) -> Result<Page, String> {
    if without_scheme(text, "https://").is_some() {
        return Err("it speaks no TLS: give it an http:// URL".into());
    }
    if !text.starts_with('/') && without_scheme(text, "http://").is_none() {
        return match parse_listen(text) {
            Ok(server @ (Listen::Tcp { .. } | Listen::Unix(_))) => {
                Ok(Page { server: Some(server), target: "/".into() })
            }
            _ => Err(PAGE_FORMS.into()),
        };
    }
    let Url { authority, target } = parse_url(text)?;
    let server = authority.map(|authority| {
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        parse_listen(&if has_port { authority } else { format!("{authority}:80") })
    });
    Ok(Page { server: server.transpose().map_err(|_| PAGE_FORMS)?, target })
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
            ("HTTP://h/", Some("h"), "/"),
        ];
        for (text, authority, target) in table {
            let url = parse_url(text).unwrap();
            assert_eq!((url.authority.as_deref(), url.target.as_str()), (authority, target), "{text}");
        }
        for wrong in ["", "/a b", "/a\r\nb", "http://", "http:///a"] {
            assert!(parse_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_is_that_of_a_server_wherever_it_listens() {
        let table = [
            ("/", None, "/"),
            ("/a?b", None, "/a?b"),
            ("http://a", Some("a:80"), "/"),
            ("http://8080/x", Some("8080:80"), "/x"),
            ("HTTP://[::1]:1/x#y", Some("[::1]:1"), "/x"),
            ("http://[::1]", Some("[::1]:80"), "/"),
            ("127.0.0.1:8160", Some("127.0.0.1:8160"), "/"),
            (":8160", Some(":8160"), "/"),
            ("8160", Some(":8160"), "/"),
            ("unix:/run/s", Some("unix:/run/s"), "/"),
        ];
        for (text, server, target) in table {
            let page = parse_page(text).unwrap();
            assert_eq!(page.server.map(|server| server.to_string()).as_deref(), server, "{text}");
            assert_eq!(page.target, target, "{text}");
        }
        for wrong in
            ["", "localhost", "::1", "fd:3", "systemd", "ftp://a/", "a:1/b", "http://a:b/", "https://a"]
        {
            assert!(parse_page(wrong).is_err(), "{wrong}");
        }
    }
}
