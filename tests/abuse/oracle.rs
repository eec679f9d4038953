//! What the specifications permit for a stream of bytes: RFC 9112 and RFC 9110, and where those leave a choice to
//! servers, what oneloop promises. Written from the texts, and sharing nothing with the server's parser: it looks at
//! whole streams, which no server can, and is as slow as it likes.

mod chunks;
mod head;
mod path;

use std::collections::BTreeMap;

pub(crate) use path::resolve;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file with this content.
    File(Vec<u8>),
    /// A directory that was asked for without its slash.
    Directory,
}

/// What is served, by path without the leading slash; the one of a directory with an index file ends in a slash.
pub(crate) type Files = BTreeMap<Vec<u8>, Vec<u8>>;

/// What may follow a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct After {
    /// The connection may end here.
    pub(crate) may_end: bool,
    /// If it does not: where the next request starts. Without it, the connection must end.
    pub(crate) next: Option<usize>,
}

impl After {
    const END: Self = Self { may_end: true, next: None };
}

/// What may be said to the request at some place of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// The connection may end without a word: no whole request is there.
    pub(crate) may_be_silent: bool,
    /// Statuses that refuse the request. The connection ends after them.
    pub(crate) refusals: Vec<u16>,
    /// What else may be said.
    pub(crate) answer: Option<Answer>,
}

/// What may be said to a request that is understood.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Statuses that fit.
    pub(crate) statuses: Vec<u16>,
    /// What must be in a 200.
    pub(crate) content: Option<Vec<u8>>,
    /// The response has no content, whatever its `Content-Length` says.
    pub(crate) to_head: bool,
    /// What follows.
    pub(crate) after: After,
}

impl Verdict {
    fn refused(statuses: &[u16]) -> Self {
        Self { refusals: statuses.to_vec(), ..Self::default() }
    }
}

/// The limits that the server has by default.
const HEAD_BYTES_MAX: usize = 16 << 10;
const TARGET_BYTES_MAX: usize = 8 << 10;
const FIELDS_MAX: usize = 100;
const CONTENT_BYTES_MAX: u64 = 1 << 20;

/// The verdict on the request that starts at `start` of a stream, behind which the client has stopped sending. None at
/// the end of the stream.
pub(crate) fn judge(stream: &[u8], start: usize, files: &Files) -> Option<Verdict> {
    let rest = &stream[start..];
    if rest.is_empty() {
        return None;
    }
    // One empty line before a request is passed over: RFC 9112 §2.2.
    let skipped = if rest.starts_with(b"\r\n") { 2 } else { 0 };
    let head = &rest[skipped..];
    let Some(length) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Some(unfinished(rest));
    };
    let content_start = start + skipped + length + 4;
    let mut faults = head::faults(&head[..length]);
    if skipped + length + 4 > HEAD_BYTES_MAX {
        faults.push(431);
    }
    let parsed = head::parse(&head[..length]);
    match (faults.is_empty(), parsed) {
        (true, Some(head)) => Some(head.verdict(stream, content_start, files)),
        (true, None) => Some(Verdict::refused(&[400])),
        (false, _) => Some(Verdict::refused(&faults)),
    }
}

/// Half a head, after which the client hangs up. It may have been refused as soon as its fault was seen; a fault that
/// is not seen by then is nobody's.
fn unfinished(rest: &[u8]) -> Verdict {
    let is_blameless = b"\r\n".starts_with(rest);
    let refusals = if is_blameless { Vec::new() } else { vec![400, 408, 414, 431, 501, 505] };
    Verdict { may_be_silent: true, refusals, answer: None }
}
