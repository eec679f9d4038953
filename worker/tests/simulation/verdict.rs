//! What a connection may have said to bytes that nobody has chosen with care: one well-formed response for each request,
//! in order, each with the bytes of one version of the file that was asked for, and nothing after the last.
//!
//! Which requests there are is found out by the protocol's machine in one piece; here they came in pieces, and with
//! everything else that happens between.

use std::collections::HashMap;
use std::rc::Rc;

use protocol::http1::Next;
use protocol::http1::head::FieldLines;
use protocol::http1::state::Persistence;
use protocol::target::{self, RequestTarget};
use protocol::{Http1, Limits, Method, Name};

use super::client::FILES;
use super::versions::{Version, Versions};

/// A request, as far as its response depends on it.
#[derive(Debug)]
pub struct Asked {
    /// Where it is refused before it is understood, with what.
    refusal: Option<u16>,
    is_head: bool,
    is_last: bool,
    /// The number of the file, if it is about one.
    file: Option<usize>,
    is_get: bool,
    may_be_part: bool,
    is_conditional: bool,
    is_expecting: bool,
}

/// The requests in what a peer said, as far as they are whole, and the head behind them that is not.
pub fn requests<'s>(said: &'s [u8], prefix: &str) -> (Vec<Asked>, Option<&'s [u8]>) {
    let limits = Limits::default();
    let mut http = Http1::new();
    let mut rest = said;
    let mut asked = Vec::new();
    loop {
        match http.next() {
            Next::Exchange => http.begin_exchange(),
            Next::Receive if !rest.is_empty() => {
                let mut lines = FieldLines::new();
                let is_head = strip_line(rest).starts_with(b"HEAD ");
                match http.receive_head(rest, &mut lines, &limits) {
                    Ok(None) => return (asked, Some(strip_line(rest))),
                    Err(error) => {
                        asked.push(Asked::refused(error.status().code(), is_head));
                        return (asked, None);
                    }
                    Ok(Some((head, bytes))) => {
                        asked.push(Asked {
                            refusal: None,
                            is_head,
                            is_last: http.persistence() == Persistence::Close,
                            file: file_of(head.target, prefix),
                            is_get: matches!(head.method, Method::Get | Method::Head),
                            may_be_part: head.fields.has(Name::Range),
                            is_conditional: rest[..bytes].windows(3).any(|window| window == b"If-"),
                            is_expecting: head.fields.has(Name::Expect),
                        });
                        rest = &rest[bytes..];
                        http.respond(false);
                    }
                }
            }
            Next::Drain if !rest.is_empty() => match http.receive_content(rest, &limits) {
                Ok(bytes) => rest = &rest[bytes..],
                Err(_) => return (asked, None),
            },
            _ => return (asked, None),
        }
    }
}

/// What stands behind the empty line that may precede a request (RFC 9112 §2.2).
fn strip_line(said: &[u8]) -> &[u8] {
    said.strip_prefix(b"\r\n").unwrap_or(said)
}

fn file_of(target: RequestTarget<'_>, prefix: &str) -> Option<usize> {
    let RequestTarget::Origin { path, .. } = target else { return None };
    let mut decoded = Vec::new();
    let facts = target::decode_path(path, &mut decoded).ok().filter(|facts| !facts.is_directory);
    let decoded = facts.and(Some([b"/", &decoded[..]].concat()))?;
    let name = decoded.strip_prefix(prefix.as_bytes())?.strip_prefix(b"/")?;
    FILES.iter().position(|(known, _)| known.as_bytes() == name)
}

impl Asked {
    const fn refused(status: u16, is_head: bool) -> Self {
        Self {
            refusal: Some(status),
            is_head,
            is_last: true,
            file: None,
            is_get: false,
            may_be_part: false,
            is_conditional: false,
            is_expecting: false,
        }
    }

    /// Whether the request may be answered in this way. `is_overloaded`: helpers may have had no time for it.
    fn allows(&self, status: u16, versions: &Versions, is_overloaded: bool) -> bool {
        if let Some(refusal) = self.refusal {
            return status == refusal;
        }
        let is_refusal = |status| matches!(status, 204 | 400 | 403 | 404 | 405 | 417 | 501);
        match (status, self.file.filter(|_| self.is_get)) {
            (503, _) => is_overloaded,
            (417, _) => self.is_expecting,
            (200, Some(_)) => true,
            (206 | 416, Some(_)) => self.may_be_part,
            (304 | 412, Some(_)) => self.is_conditional,
            (404, Some(file)) => versions.was_removed(file),
            (_, Some(_)) => false,
            (status, None) => is_refusal(status),
        }
    }
}

/// What was said, as far as it is whole.
#[derive(Debug)]
pub struct Said {
    /// Responses that are whole.
    pub complete: usize,
    /// Whether another one begins and does not end.
    pub is_cut: bool,
    /// Whether the last whole one said that it is the last.
    pub is_over: bool,
}

/// Everything that may have been said, and to what.
#[derive(Debug)]
pub struct Case<'c> {
    pub asked: &'c [Asked],
    pub versions: &'c Versions,
    pub is_overloaded: bool,
    /// Whether the head of a request without an end follows the last, and which form it has.
    pub unfinished: Option<&'c [u8]>,
}

/// Judges what was said. `tags` remembers what each entity tag stood for.
pub fn judge(mut bytes: &[u8], case: &Case<'_>, tags: &mut HashMap<String, Version>) -> Said {
    let mut said = Said { complete: 0, is_cut: false, is_over: false };
    while !bytes.is_empty() {
        assert!(!said.is_over, "something follows the last response: {}", bytes.escape_ascii());
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            said.is_cut = true;
            return said;
        };
        let head = Head::read(&bytes[..end]);
        let timed_out = case.unfinished.map(|rest| Asked::refused(408, rest.starts_with(b"HEAD ")));
        let asked = case.asked.get(said.complete).or(timed_out.as_ref()).expect("nobody has asked");
        assert!(asked.allows(head.status, case.versions, case.is_overloaded), "{asked:?}: {head:?}");
        said.is_over = head.has("Connection", "close");
        assert!(said.is_over || !asked.is_last, "{asked:?} is the last: {head:?}");
        bytes = &bytes[end + 4..];
        let length = if asked.is_head || matches!(head.status, 204 | 304) { 0 } else { head.length() };
        said.is_cut = bytes.len() < length;
        let (content, rest) = bytes.split_at(length.min(bytes.len()));
        if let Some(file) = asked.file.filter(|_| !asked.is_head && matches!(head.status, 200 | 206)) {
            let version = head.version_of(content, case.versions.of(file));
            let tag = head.get("ETag").expect("files have tags").to_owned();
            let same = tags.entry(format!("{file} {tag}")).or_insert_with(|| Rc::clone(&version));
            assert!(Rc::ptr_eq(same, &version), "a tag stands for two versions: {head:?}");
        }
        if said.is_cut {
            return said;
        }
        bytes = rest;
        said.complete += 1;
    }
    said
}

/// The head of a response.
#[derive(Debug)]
struct Head<'h> {
    status: u16,
    fields: Vec<(&'h str, &'h str)>,
}

impl<'h> Head<'h> {
    fn read(text: &'h [u8]) -> Self {
        let text = std::str::from_utf8(text).expect("a head is ASCII");
        assert!(text.is_ascii() && !text.contains('\0'), "{text}");
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).expect("a status line");
        let status: u16 = status[..3].parse().unwrap();
        let field = |line: &'h str| line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}"));
        let fields: Vec<_> = lines.map(field).collect();
        let head = Self { status, fields };
        assert_eq!(head.all("Date").count(), 1, "{head:?}");
        assert!(head.all("Content-Length").count() <= 1 && head.get("Transfer-Encoding").is_none());
        assert!(matches!(head.status, 204 | 304) || head.get("Content-Length").is_some(), "{head:?}");
        head
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'h str> {
        self.fields.iter().filter(move |(known, _)| *known == name).map(|&(_, value)| value)
    }

    fn get(&self, name: &str) -> Option<&'h str> {
        self.all(name).next()
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }

    fn length(&self) -> usize {
        self.get("Content-Length").map_or(0, |length| length.parse().unwrap())
    }

    /// The one version that all of the content is of; panics where there is none.
    fn version_of(&self, content: &[u8], versions: &[Version]) -> Version {
        let is_right = |version: &[u8]| match (self.status, self.get("Content-Range")) {
            (200, _) => version.len() == self.length() && version.starts_with(content),
            (_, Some(range)) => is_part(range, version, content, self.length()),
            (_, None) => {
                let is_cut = content.len() < self.length();
                is_parts(self.get("Content-Type"), version, content, is_cut)
            }
        };
        let right = versions.iter().find(|version| is_right(version));
        Rc::clone(right.unwrap_or_else(|| panic!("of no version: {self:?}")))
    }
}

/// Whether content is what `Content-Range` says, of that version; it may be cut off.
fn is_part(range: &str, version: &[u8], content: &[u8], length: usize) -> bool {
    let Some((first, last, whole)) = positions(range) else { return false };
    whole == version.len()
        && version.get(first..=last).is_some_and(|part| part.len() == length && part.starts_with(content))
}

fn positions(range: &str) -> Option<(usize, usize, usize)> {
    let (part, whole) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, whole.parse().ok()?))
}

/// Whether content is `multipart/byteranges` of that version, and whole unless `is_cut`.
fn is_parts(kind: Option<&str>, version: &[u8], content: &[u8], is_cut: bool) -> bool {
    let boundary = kind.and_then(|kind| kind.strip_prefix("multipart/byteranges; boundary="));
    let delimiter = format!("--{}", boundary.expect("one part or several"));
    let mut rest = content;
    loop {
        let Some(behind) = rest.strip_prefix(delimiter.as_bytes()) else {
            return is_cut && delimiter.as_bytes().starts_with(rest);
        };
        let Some(end) = behind.windows(4).position(|window| window == b"\r\n\r\n") else {
            return is_cut || behind == b"--\r\n";
        };
        let head = std::str::from_utf8(&behind[..end]).unwrap();
        let range = head.lines().find_map(|line| line.strip_prefix("Content-Range: "));
        let Some((first, last, whole)) = range.and_then(positions) else { return false };
        let Some(part) = version.get(first..=last).filter(|_| whole == version.len()) else { return false };
        let behind = &behind[end + 4..];
        let Some(next) = behind.strip_prefix(part) else {
            return is_cut && part.starts_with(behind);
        };
        rest = match next.strip_prefix(b"\r\n") {
            Some(next) => next,
            None => return is_cut && b"\r\n".starts_with(next),
        };
    }
}
