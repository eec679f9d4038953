//! A request, and what has to come for it: the answer may be made of any version that the file had lately, but all of
//! it of the same one.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::client::{Client, Head, Wrong};
use crate::content::{CHUNK_BYTES, Dice};
use crate::tree::{File, Tree, Version};

/// How long a server may go on with a version that was replaced: a second by its settings, and what a machine with
/// more to do than processors keeps it waiting.
const AGE_MAX: Duration = Duration::from_millis(1500);
const PAGE_BYTES_MAX: u64 = 1000;
/// An offset that no file has.
const BEYOND: u64 = 1 << 30;

/// What is asked for.
pub(crate) struct Ask<'t> {
    file: &'t File,
    kind: Kind,
}

enum Kind {
    Whole,
    HeadOnly,
    Part(Part),
    IfNoneMatch(String),
    IfRange(String, Part),
    Missing,
}

/// A `Range` field (RFC 9110 §14.1.2).
#[derive(Clone, Copy)]
enum Part {
    Between(u64, u64),
    From(u64),
    Last(u64),
}

impl Part {
    fn any(length: u64, dice: &mut Dice) -> Self {
        let first = dice.below(length.max(1));
        match dice.below(8) {
            0..4 => Self::Between(first, first + dice.below(length - first.min(length) + 10)),
            4 | 5 => Self::From(first),
            6 => Self::Last(1 + dice.below(length.max(1))),
            _ => Self::From(BEYOND),
        }
    }

    fn field(self) -> String {
        match self {
            Self::Between(first, last) => format!("Range: bytes={first}-{last}\r\n"),
            Self::From(first) => format!("Range: bytes={first}-\r\n"),
            Self::Last(bytes) => format!("Range: bytes=-{bytes}\r\n"),
        }
    }

    /// What it selects out of so many bytes; `None` is nothing.
    fn of(self, length: u64) -> Option<Range<u64>> {
        match self {
            Self::Between(first, last) => (first < length).then(|| first..length.min(last + 1)),
            Self::From(first) => (first < length).then_some(first..length),
            Self::Last(bytes) => Some(length.saturating_sub(bytes)..length),
        }
    }
}

/// What came, and was right.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) content_bytes: u64,
    /// For how long the version that came had been replaced when it was asked for.
    pub(crate) age: Duration,
}

/// What has to come if the server has a certain version.
struct Expected {
    status: u16,
    selected: Range<u64>,
}

impl<'t> Ask<'t> {
    /// Any request for any file.
    pub(crate) fn any(tree: &'t Tree, dice: &mut Dice) -> Self {
        let file = tree.any(dice);
        let (tag, length) =
            file.any(dice).map(|version| (version.tag.clone(), version.length)).unwrap_or_default();
        let kind = match dice.below(16) {
            0..6 => Kind::Whole,
            6 | 7 => Kind::HeadOnly,
            8..11 => Kind::Part(Part::any(length, dice)),
            11..13 => Kind::IfNoneMatch(tag),
            13 | 14 => Kind::IfRange(tag, Part::any(length, dice)),
            _ => Kind::Missing,
        };
        Self { file, kind }
    }

    pub(crate) fn request(&self, ends: bool) -> String {
        let fields = match &self.kind {
            Kind::Whole | Kind::HeadOnly | Kind::Missing => String::new(),
            Kind::Part(part) => part.field(),
            Kind::IfNoneMatch(tag) => format!("If-None-Match: {tag}\r\n"),
            Kind::IfRange(tag, part) => format!("If-Range: {tag}\r\n{}", part.field()),
        };
        let method = if matches!(self.kind, Kind::HeadOnly) { "HEAD" } else { "GET" };
        let folder = if matches!(self.kind, Kind::Missing) { "missing" } else { "files" };
        let connection = if ends { "Connection: close\r\n" } else { "" };
        let number = self.file.number;
        format!("{method} /{folder}/{number} HTTP/1.1\r\nHost: 127.0.0.1\r\n{connection}{fields}\r\n")
    }

    /// Receives the answer and finds out whether it is right to the last byte.
    pub(crate) fn check(
        &self,
        client: &mut Client,
        asked_at: Instant,
        ends: bool,
    ) -> Result<Answered, Wrong> {
        let head = client.receive_head()?;
        head.need("date")?;
        let says_close = head.get("connection")?.is_some_and(|value| value.eq_ignore_ascii_case("close"));
        expect("Connection: close", says_close, ends)?;
        match head.status {
            404 if matches!(self.kind, Kind::Missing) => page(client, &head, Duration::ZERO),
            416 => page(client, &head, self.age_of_unsatisfied(&head, asked_at)?),
            _ => self.check_file(client, &head, asked_at),
        }
    }

    fn check_file(&self, client: &mut Client, head: &Head, asked_at: Instant) -> Result<Answered, Wrong> {
        let tag = head.need("etag")?;
        let mut versions = self.file.versions().rev();
        let version = versions.find(|version| version.tag == tag);
        let version =
            version.ok_or_else(|| Wrong::new(format!("{} with {tag} of no version", head.status)))?;
        let age = young(version, asked_at)?;
        let Expected { status, selected } = self.expected(version);
        expect("status", head.status, status)?;
        if status == 304 {
            expect("Content-Length", head.get("content-length")?, None)?;
            return Ok(Answered { status, content_bytes: 0, age });
        }
        let range = format!("bytes {}-{}/{}", selected.start, selected.end.max(1) - 1, version.length);
        expect("Content-Range", head.get("content-range")?, (status == 206).then_some(range.as_str()))?;
        let length = selected.end - selected.start;
        expect("Content-Length", head.length()?, length)?;
        let content_bytes = if matches!(self.kind, Kind::HeadOnly) { 0 } else { length };
        let mut scratch = [0; CHUNK_BYTES];
        client.receive_content(content_bytes, |received, bytes| {
            let scratch = &mut scratch[..bytes.len()];
            version.content.fill(selected.start + received, scratch);
            let is_right = scratch == bytes;
            is_right.then_some(()).ok_or_else(|| {
                let at = scratch.iter().zip(bytes).take_while(|(right, byte)| right == byte).count();
                Wrong::new(format!("{status} with other bytes from {} on", received + at as u64))
            })
        })?;
        Ok(Answered { status, content_bytes, age })
    }

    /// What a server that has this version answers.
    fn expected(&self, version: &Version) -> Expected {
        let whole = Expected { status: 200, selected: 0..version.length };
        match &self.kind {
            Kind::IfNoneMatch(tag) if *tag == version.tag => Expected { status: 304, ..whole },
            Kind::IfRange(tag, _) if *tag != version.tag => whole,
            Kind::Part(part) | Kind::IfRange(_, part) => match part.of(version.length) {
                // There is no byte to put a range around.
                Some(_) if version.length == 0 => whole,
                Some(selected) => Expected { status: 206, selected },
                None => Expected { status: 416, ..whole },
            },
            Kind::Whole | Kind::HeadOnly | Kind::IfNoneMatch(_) => whole,
            Kind::Missing => Expected { status: 404, ..whole },
        }
    }

    /// An answer without a tag is right if it is for some version, and that one not too old.
    fn age_of_unsatisfied(&self, head: &Head, asked_at: Instant) -> Result<Duration, Wrong> {
        let range = head.need("content-range")?;
        let fits = |version: &&Version| {
            self.expected(version).status == 416 && range == format!("bytes */{}", version.length)
        };
        let version = self.file.versions().rev().find(fits);
        young(version.ok_or_else(|| Wrong::new(format!("416 with {range}")))?, asked_at)
    }
}

/// An error page: that it is one, and of this status, is all that is promised of it.
fn page(client: &mut Client, head: &Head, age: Duration) -> Result<Answered, Wrong> {
    let content_bytes = head.length()?;
    if content_bytes > PAGE_BYTES_MAX {
        return Err(Wrong::new(format!("a page of {content_bytes} bytes")));
    }
    let mut page = Vec::new();
    client.receive_content(content_bytes, |_, bytes| {
        page.extend_from_slice(bytes);
        Ok(())
    })?;
    let page = String::from_utf8_lossy(&page);
    let is_page = page.starts_with("<!doctype html>")
        && page.contains(&format!("<h1>{} ", head.status))
        && page.ends_with("</h1>\n");
    if !is_page {
        return Err(Wrong::new(format!("{} with the page {page:?}", head.status)));
    }
    Ok(Answered { status: head.status, content_bytes, age })
}

fn young(version: &Version, asked_at: Instant) -> Result<Duration, Wrong> {
    let age = version.age_at(asked_at);
    if age > AGE_MAX {
        Err(Wrong::new(format!("a version replaced {} ms ago", age.as_millis())))
    } else {
        Ok(age)
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, actual: T, expected: T) -> Result<(), Wrong> {
    if actual == expected {
        Ok(())
    } else {
        Err(Wrong::new(format!("{what} {actual:?} instead of {expected:?}")))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    /// What is made of a 404 whose page comes in these pieces.
    fn judged(pieces: [&'static str; 2]) -> Result<Answered, Wrong> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            let length = pieces.concat().len();
            write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\n\r\n{}", pieces[0])?;
            thread::sleep(Duration::from_millis(20));
            stream.write_all(pieces[1].as_bytes())
        });
        let mut client = Client::connect(port)?;
        let head = client.receive_head()?;
        let answered = page(&mut client, &head, Duration::ZERO);
        server.join().map_err(|_| Wrong::new("the server panicked"))??;
        answered
    }

    #[test]
    fn a_page_may_come_in_pieces_but_has_to_be_one() {
        let table = [
            (["<!doctype html><h1>404 Not Found</h1>\n", ""], true),
            (["<!d", "octype html><h1>404 Not Found</h1>\n"], true),
            (["<!doctype html><h1>403 Forbidden", "</h1>\n"], false),
            (["<!doctype html><h1>404 Not Found", "</h1>"], false),
            (["\u{7f}noise of a file", "noise"], false),
        ];
        for (pieces, is_right) in table {
            assert_eq!(judged(pieces).is_ok(), is_right, "{pieces:?}");
        }
    }

    #[test]
    fn parts_select_what_the_rfc_says() {
        let table = [
            (Part::Between(2, 5), 10, Some(2..6)),
            (Part::Between(2, 50), 10, Some(2..10)),
            (Part::Between(10, 10), 10, None),
            (Part::From(9), 10, Some(9..10)),
            (Part::From(0), 0, None),
            (Part::Last(3), 10, Some(7..10)),
            (Part::Last(30), 10, Some(0..10)),
        ];
        for (part, length, selected) in table {
            assert_eq!(part.of(length), selected, "{} of {length}", part.field());
        }
    }
}
