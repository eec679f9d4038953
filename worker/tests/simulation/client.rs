//! What clients ask in the simulation, and what they must be answered.

use super::wire::Random;

/// The files that are served: name and length. Their bytes are a function of name and offset.
pub const FILES: [(&str, usize); 5] =
    [("empty", 0), ("small", 100), ("memory", 16 << 10), ("large", 40_000), ("victim", 150_000)];

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
    /// Whether the connection ends with it.
    pub is_last: bool,
    /// HEAD: there is a length but no content.
    pub is_head: bool,
}

/// A request for a file below `prefix`, and its answer. Where the victim is to be cut, no range of it is asked for: which one there is then
/// depends on the moment.
pub fn exchange(random: &mut Random, may_be_cut: bool, prefix: &str) -> (Vec<u8>, Expected) {
    let (name, length) = FILES[random.below(FILES.len())];
    let has_ranges = length > 0 && !(may_be_cut && name == "victim");
    let get = |fields: &str| format!("GET {prefix}/{name} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
    let answer =
        |status, content| Expected { status, content: Some(content), is_last: false, is_head: false };
    let page = |status| Expected { status, content: None, is_last: false, is_head: false };
    match random.below(12) {
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
        _ => (get(""), answer(200, content_of(name))),
    }
}

/// A request that ends the connection, and its answer.
pub fn last_exchange(random: &mut Random, prefix: &str) -> (Vec<u8>, Expected) {
    let last = |status, content| Expected { status, content, is_last: true, is_head: false };
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
        if let Some(right) = &expected.content {
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
