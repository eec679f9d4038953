//! From an answer to the bytes of a response: heads and small contents go into the output buffer, other
//! contents are handed on as a reference.

use std::rc::Rc;

use bytes::BytesMut;
use protocol::http1::encode;
use protocol::http1::state::Persistence;
use protocol::method::ALLOW;
use protocol::range::Parts;
use protocol::{Method, RequestHead, Status, Version};

use crate::clock::Clock;
use crate::parts::Series;
use crate::rate::TooMany;
use crate::site::representation::{MEMORY_CONTENT_BYTES_MAX, Representation};
use crate::site::{Answer, Extras};

/// Content in memory that is at least as long is not copied behind its head, but sent from where it is.
const REFERRED_BYTES_MIN: u64 = 8 << 10;

/// A part of a file that is to be sent from its descriptor, or from memory if all of it is there.
#[derive(Debug)]
pub struct FileContent {
    /// The file.
    pub representation: Rc<Representation>,
    /// Where to go on.
    pub offset: u64,
    /// How much is left of the part.
    pub left_bytes: u64,
    /// What follows the part, if it is one of several.
    pub series: Option<Box<Series>>,
}

impl FileContent {
    /// All that is left, if it is to be sent from memory.
    #[must_use]
    pub fn in_memory(&self) -> Option<&[u8]> {
        if self.series.is_some() {
            return None;
        }
        self.representation.in_memory(self.offset, self.left_bytes)
    }

    /// Bytes of content that are left, those that follow the part included.
    #[must_use]
    pub fn left_bytes_in_all(&self) -> u64 {
        self.left_bytes + self.series.as_ref().map_or(0, |series| series.left_bytes())
    }

    /// Goes on behind the part: appends what has to be sent first to `out`. False if nothing follows.
    pub fn begin_next(&mut self, out: &mut BytesMut) -> bool {
        let Some(series) = &mut self.series else { return false };
        match series.begin_next(&self.representation, out) {
            Some(part) => (self.offset, self.left_bytes) = (part.first(), part.len()),
            None => self.series = None,
        }
        true
    }
}

/// What was put out.
#[derive(Debug)]
pub struct Reply {
    /// The status of the response.
    pub status: Status,
    /// Bytes of content, those of `file` included.
    pub content_bytes: u64,
    /// What has to follow the bytes that were put out.
    pub file: Option<FileContent>,
}

/// Who is answered, as far as it matters to the head.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// HEAD gets no content.
    pub method: Method,
    /// Decides what `Connection` has to say.
    pub version: Version,
    /// Whether the connection outlives the response.
    pub persistence: Persistence,
}

impl Asker {
    /// Who sent this head.
    #[must_use]
    pub const fn of(head: &RequestHead<'_>, persistence: Persistence) -> Self {
        Self { method: head.method, version: head.version, persistence }
    }

    /// Somebody who sent no valid head: answered with content, for the last time.
    pub const UNKNOWN: Self =
        Self { method: Method::Unknown, version: Version::Http11, persistence: Persistence::Close };
    /// The same, for somebody who seems to have asked for a head.
    pub const UNKNOWN_HEAD: Self = Self { method: Method::Head, ..Self::UNKNOWN };
}

/// Appends the response to `out`. `extras` are those of the site.
pub fn put(out: &mut BytesMut, answer: &Answer, extras: &Extras, asker: Asker, clock: &Clock) -> Reply {
    match answer {
        Answer::Whole(representation) => {
            out.extend_from_slice(&representation.heads().whole);
            late_fields(out, extras);
            content(out, Status::Ok, representation, 0, representation.length(), asker, clock)
        }
        Answer::Part(representation, part) => {
            let [before_range, before_length] = &representation.heads().part;
            out.extend_from_slice(before_range);
            encode::decimal(out, part.first());
            out.extend_from_slice(b"-");
            encode::decimal(out, part.last());
            out.extend_from_slice(before_length);
            encode::decimal(out, part.len());
            out.extend_from_slice(b"\r\n");
            late_fields(out, extras);
            content(out, Status::PartialContent, representation, part.first(), part.len(), asker, clock)
        }
        Answer::Parts(representation, parts) => put_parts(out, representation, parts, extras, asker, clock),
        Answer::NotModified(representation) => {
            out.extend_from_slice(&representation.heads().not_modified);
            late_fields(out, extras);
            end(out, Status::NotModified, asker, clock)
        }
        Answer::Options => {
            encode::status_line(out, Status::NoContent);
            encode::field(out, "Allow", ALLOW.as_bytes());
            out.extend_from_slice(&extras.fields);
            end(out, Status::NoContent, asker, clock)
        }
        Answer::RangeNotSatisfiable(representation) => {
            page(out, Status::RangeNotSatisfiable, asker, clock, |out| {
                // Nothing was selected (RFC 9110 §14.4).
                out.extend_from_slice(b"Content-Range: bytes */");
                encode::decimal(out, representation.length());
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(&extras.fields);
            })
        }
        Answer::Redirect(status) => page(out, *status, asker, clock, |out| {
            encode::field(out, "Location", &extras.location);
            out.extend_from_slice(&extras.fields);
        }),
        Answer::Page(status, representation) => {
            encode::status_line(out, *status);
            out.extend_from_slice(&representation.heads().fields);
            encode::field_number(out, "Content-Length", representation.length());
            refusal_fields(out, *status);
            late_fields(out, extras);
            content(out, *status, representation, 0, representation.length(), asker, clock)
        }
        Answer::Challenge(challenge) => page(out, Status::Unauthorized, asker, clock, |out| {
            encode::field(out, "WWW-Authenticate", challenge.as_bytes());
            out.extend_from_slice(&extras.fields);
        }),
        Answer::TooMany(TooMany { retry_after_s }) => {
            page(out, Status::TooManyRequests, asker, clock, |out| {
                encode::field_number(out, "Retry-After", *retry_after_s);
                out.extend_from_slice(&extras.fields);
            })
        }
        Answer::Refusal(status) => page(out, *status, asker, clock, |out| {
            refusal_fields(out, *status);
            out.extend_from_slice(&extras.fields);
        }),
    }
}

/// What a head did not know when it was prepared; nothing, on most sites.
#[inline]
fn late_fields(out: &mut BytesMut, extras: &Extras) {
    if !extras.fields.is_empty() {
        put_late_fields(out, &extras.fields);
    }
}

#[cold]
#[inline(never)]
fn put_late_fields(out: &mut BytesMut, fields: &[u8]) {
    out.extend_from_slice(fields);
}

/// Appends an error response to `out`, to something that was no request.
pub fn refuse(out: &mut BytesMut, status: Status, asker: Asker, clock: &Clock) -> Reply {
    page(out, status, asker, clock, |out| refusal_fields(out, status))
}

/// What a status has to say beside the page (RFC 9110 §15.5.6, §15.6.4, RFC 6585 §4).
fn refusal_fields(out: &mut BytesMut, status: Status) {
    match status {
        Status::MethodNotAllowed => encode::field(out, "Allow", ALLOW.as_bytes()),
        Status::ServiceUnavailable | Status::TooManyRequests => encode::field(out, "Retry-After", b"1"),
        _ => {}
    }
}

/// The end of a head, and content from memory or by reference behind it.
fn content(
    out: &mut BytesMut,
    status: Status,
    representation: &Rc<Representation>,
    offset: u64,
    length: u64,
    asker: Asker,
    clock: &Clock,
) -> Reply {
    let mut reply = end(out, status, asker, clock);
    if asker.method == Method::Head || length == 0 {
        return reply;
    }
    reply.content_bytes = length;
    let is_referred = length >= REFERRED_BYTES_MIN && representation.in_memory(offset, length).is_some();
    if is_referred || !put_now(out, representation, offset, length) {
        let representation = Rc::clone(representation);
        reply.file = Some(FileContent { representation, offset, left_bytes: length, series: None });
    }
    reply
}

/// Appends content that is small and in memory; whether it is.
#[inline]
fn put_now(out: &mut BytesMut, representation: &Representation, offset: u64, length: u64) -> bool {
    match representation.in_memory(offset, length) {
        Some(bytes) => {
            out.extend_from_slice(bytes);
            true
        }
        None => representation.copy_now(offset, length, out),
    }
}

/// A response to GET in several parts (RFC 9110 §15.3.7.2). Its type is its own; whatever else is said is said of the
/// file.
#[cold]
#[inline(never)]
fn put_parts(
    out: &mut BytesMut,
    representation: &Rc<Representation>,
    parts: &Parts,
    extras: &Extras,
    asker: Asker,
    clock: &Clock,
) -> Reply {
    let boundary = extras.boundaries.of(representation);
    let mut series = Series::new(representation, *parts, boundary);
    encode::status_line(out, Status::PartialContent);
    out.extend_from_slice(b"Content-Type: ");
    boundary.put_content_type(out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(representation.heads().untyped_fields());
    encode::field_number(out, "Content-Length", series.left_bytes());
    late_fields(out, extras);
    let mut reply = end(out, Status::PartialContent, asker, clock);
    reply.content_bytes = series.left_bytes();
    let is_small = parts.content_bytes() <= MEMORY_CONTENT_BYTES_MAX;
    while let Some(part) = series.begin_next(representation, out) {
        let (offset, left_bytes) = (part.first(), part.len());
        if !is_small || !put_now(out, representation, offset, left_bytes) {
            let (representation, series) = (Rc::clone(representation), Some(Box::new(series)));
            reply.file = Some(FileContent { representation, offset, left_bytes, series });
            break;
        }
    }
    reply
}

fn end(out: &mut BytesMut, status: Status, asker: Asker, clock: &Clock) -> Reply {
    encode::end(out, clock.date(), asker.version, asker.persistence);
    Reply { status, content_bytes: 0, file: None }
}

/// A small page that says the status and nothing of the request.
fn page(
    out: &mut BytesMut,
    status: Status,
    asker: Asker,
    clock: &Clock,
    more_fields: impl FnOnce(&mut BytesMut),
) -> Reply {
    const PARTS: [&str; 3] = [
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>",
        "</title>\n<h1>",
        "</h1>\n",
    ];
    let title_bytes = 3 + 1 + status.reason().len();
    let page_bytes = PARTS.iter().map(|part| part.len()).sum::<usize>() + 2 * title_bytes;
    encode::status_line(out, status);
    encode::field(out, "Content-Type", b"text/html; charset=utf-8");
    encode::field_number(out, "Content-Length", page_bytes as u64);
    more_fields(out);
    let mut reply = end(out, status, asker, clock);
    if asker.method != Method::Head {
        let [before, between, after] = PARTS;
        for (part, has_title) in [(before, true), (between, true), (after, false)] {
            out.extend_from_slice(part.as_bytes());
            if has_title {
                out.extend_from_slice(&status.digits());
                out.extend_from_slice(b" ");
                out.extend_from_slice(status.reason().as_bytes());
            }
        }
        reply.content_bytes = page_bytes as u64;
    }
    reply
}
