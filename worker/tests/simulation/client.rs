//! What clients ask in the simulation, and what they must be answered.

use super::wire::Random;

/// The files that are served: name and length. Their bytes are a function of name and offset.
pub const FILES: [(&str, usize); 5] =
    [("empty", 0), ("small", 100), ("memory", 16 << 10), ("large", 40_000), ("victim", 150_000)];

/// What is left of the victim when it is cut.
pub const CUT_BYTES: usize = 1_000;

/// The byte of a file at an offset.
pub fn byte_of(name: &str, offset: usize) -> u8 {
    let seed = name.bytes().fold(7_usize, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    (seed.wrapping_add(offset.wrapping_mul(2_654_435_761)) >> 7) as u8
}

pub fn content_of(name: &str) -> Vec<u8> {
    let length = FILES.iter().find(|(known, _)| *known == name).unwrap().1;
    (0..length).map(|offset| byte_of(name, offset)).collect()
}

/// What a response has to be.
#[derive(Debug)]
pub struct Expected {
    pub status: u16,
    /// The content, or `None` where any page will do.
    pub content: Option<Vec<u8>>,
    /// What the content is made of, if there are several parts.
    pub several: Option<Several>,
    /// Whether the connection ends with it.
    pub is_last: bool,
    /// HEAD: there is a length but no content.
    pub is_head: bool,
}

/// Several parts of a file.
#[derive(Debug)]
pub struct Several {
    name: &'static str,
    /// First and last position of each.
    parts: Vec<(usize, usize)>,
}

impl Several {
    /// Two to four parts, in no order, with bytes between each two.
    fn of(name: &'static str, length: usize, random: &mut Random) -> Self {
        let count = 2 + random.below(3);
        let room = length / count;
        let part = |at: usize| {
            let first = at * room + random.below(room / 2);
            (first, first + random.below(room / 2 - 1))
        };
        let mut parts: Vec<_> = (0..count).map(part).collect();
        parts.rotate_left(random.below(count));
        Self { name, parts }
    }

    /// Parts of the victim, of which the first only is there once it is cut.
    fn of_victim() -> Self {
        Self { name: "victim", parts: vec![(0, CUT_BYTES / 2), (60_000, 149_999), (2_000, 40_000)] }
    }

    fn field(&self) -> String {
        let members: Vec<_> = self.parts.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        format!("Range: bytes={}\r\n", members.join(","))
    }

    /// The content of a response with that head.
    fn content(&self, head: &str) -> Vec<u8> {
        let whole = content_of(self.name);
        let Some((_, rest)) = head.split_once("multipart/byteranges; boundary=") else {
            let (first, last) = self.parts[0];
            assert!(self.name == "victim" && head.contains(&format!("bytes {first}-{last}/{CUT_BYTES}\r\n")));
            return whole[first..=last].to_vec();
        };
        let boundary = rest.lines().next().unwrap();
        let length = whole.len();
        let mut content = Vec::new();
        for &(first, last) in &self.parts {
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\
                 Content-Range: bytes {first}-{last}/{length}\r\n\r\n"
            );
            content.extend_from_slice(head.as_bytes());
            content.extend_from_slice(&whole[first..=last]);
        }
        content.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        // No line end stands before the first boundary.
        content.split_off(2)
    }
}

/// A request for a file below `prefix`, and its answer. Where the victim is to be cut, no range of it is asked for: which one there is then
/// depends on the moment.
pub fn exchange(random: &mut Random, may_be_cut: bool, prefix: &str) -> (Vec<u8>, Expected) {
    let (name, length) = FILES[random.below(FILES.len())];
    let has_ranges = length > 0 && !(may_be_cut && name == "victim");
    let get = |fields: &str| format!("GET {prefix}/{name} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
    let page = |status| Expected { status, content: None, several: None, is_last: false, is_head: false };
    let answer = |status, content| Expected { content: Some(content), ..page(status) };
    match random.below(14) {
        0..=3 => (get("User-Agent: simulated\r\n"), answer(200, content_of(name))),
        4 => {
            let request = format!("HEAD {prefix}/{name} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
            (request, Expected { is_head: true, ..answer(200, Vec::new()) })
        }
        5 => (get("If-None-Match: *\r\n"), answer(304, Vec::new())),
        6 if has_ranges => {
            let (one, other) = (random.below(length), random.below(length));
            let (first, last) = (one.min(other), one.max(other));
            let part = content_of(name)[first..=last].to_vec();
            (get(&format!("Range: bytes={first}-{last}\r\n")), answer(206, part))
        }
        7 => (format!("GET {prefix}/nothing HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(), page(404)),
        8 => {
            let content = "x".repeat(random.below(3_000));
            let length = content.len();
            let request = format!(
                "POST {prefix}/{name} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{content}"
            );
            (request.into_bytes(), page(405))
        }
        9 => {
            let chunk = "GET / HTTP/1.1\r\n".repeat(1 + random.below(20));
            let size = chunk.len();
            let head =
                format!("GET {prefix}/{name} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            let request = format!("{head}{size:x}\r\n{chunk}\r\n0\r\n\r\n").into_bytes();
            (request, answer(200, content_of(name)))
        }
        10 => (b"\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), answer(204, Vec::new())),
        11 | 12 if length > 0 => {
            let several = if has_ranges { Several::of(name, length, random) } else { Several::of_victim() };
            (get(&several.field()), Expected { several: Some(several), ..page(206) })
        }
        _ => (get(""), answer(200, content_of(name))),
    }
}

/// A request that ends the connection, and its answer.
pub fn last_exchange(random: &mut Random, prefix: &str) -> (Vec<u8>, Expected) {
    let last = |status, content| Expected { status, content, several: None, is_last: true, is_head: false };
    let table = [
        (
            "GET PREFIX/large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            last(200, Some(content_of("large"))),
        ),
        ("GET PREFIX/small HTTP/1.0\r\n\r\n", last(200, Some(content_of("small")))),
        ("GET PREFIX/small HTTP/1.1\r\n\r\n", last(400, None)),
        ("GET /../small HTTP/1.1\r\nHost: a\r\n\r\n", last(400, None)),
        ("BAD\nLINE", last(400, None)),
    ];
    let at = random.below(table.len());
    let (request, expected) = table.into_iter().nth(at).unwrap();
    (request.replace("PREFIX", prefix).into_bytes(), expected)
}

/// What a client makes of the bytes it has read: how many responses are complete, whether one is cut off, and
/// that none is wrong.
///
/// With `cut_bytes`, the victim may have become that short before a response began. With `may_time_out`, the
/// last response may be about a request that was never finished.
pub fn check(
    mut read: &[u8],
    expected: &[Expected],
    cut_bytes: Option<usize>,
    may_time_out: bool,
) -> (usize, bool) {
    for (at, expected) in expected.iter().enumerate() {
        if read.is_empty() {
            return (at, false);
        }
        let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else { return (at, true) };
        let head = std::str::from_utf8(&read[..end]).unwrap();
        read = &read[end + 4..];
        if may_time_out && head.starts_with("HTTP/1.1 408 ") {
            assert!(read.ends_with(b"</h1>\n"), "nothing follows the last response");
            return (at, false);
        }
        assert!(head.starts_with(&format!("HTTP/1.1 {} ", expected.status)), "response {at}: {head}");
        let says_close = head.lines().any(|line| line == "Connection: close");
        assert!(says_close || !expected.is_last, "response {at} should be the last: {head}");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        if expected.is_head || matches!(expected.status, 204 | 304) {
            continue;
        }
        let (content, is_cut) = if read.len() < length { (read, true) } else { (&read[..length], false) };
        let parts = expected.several.as_ref().map(|several| several.content(head));
        if let Some(right) = parts.as_ref().or(expected.content.as_ref()) {
            let is_cut_victim = Some(length) == cut_bytes && right.len() == FILES[4].1;
            let right = if is_cut_victim { &right[..length] } else { &right[..] };
            assert_eq!(right.len(), length, "response {at} promises another length");
            assert!(content == &right[..content.len()], "response {at} has wrong bytes");
        }
        if is_cut {
            return (at, true);
        }
        read = &read[length..];
    }
    assert!(read.is_empty(), "there is more than was asked for: {}", read.escape_ascii());
    (expected.len(), false)
}
