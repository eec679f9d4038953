//! Requests as clients send them, and what becomes of them on the way of an attacker.

use super::super::random::Random;

const METHODS: [&str; 10] = ["GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "get", "FROB"];

const TARGETS: [&str; 26] = [
    "/",
    "/a.txt",
    "/a.txt",
    "/a.txt?q=1",
    "/sub/",
    "/sub",
    "/sub/index.html",
    "/long.bin",
    "/missing",
    "/%61.txt",
    "/./a.txt",
    "/sub/../a.txt",
    "/../a.txt",
    "/%2e%2e/a.txt",
    "/a.txt/",
    "//a.txt",
    "/sub//index.html",
    "/a%00.txt",
    "/a%2",
    "/a.txt#x",
    "*",
    "http://a/a.txt",
    "http://a",
    "HTTPS://a:80/sub/",
    "ftp://a/a.txt",
    "a:80",
];

const VERSIONS: [&str; 8] =
    ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.10", "http/1.1", "HTTP/0.9"];

/// Lines that may stand in a head, rightly or not.
const LINES: [&str; 54] = [
    "Host: b",
    "host: a:80",
    "Host:",
    "Host : a",
    "Host: a b",
    "Host: [::1]:8080",
    "Host: a:99999",
    "Host: a@b",
    "Host: [::1",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: Keep-Alive, Upgrade",
    "Connection: x,close",
    "Connection: closed",
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: 44",
    "Content-Length: +5",
    "Content-Length: 5, 5",
    "Content-Length: 0x5",
    "Content-Length: 18446744073709551616",
    "Content-Length: 2000000",
    "Content-Length:",
    "Content-Length: -1",
    "Content-Length : 5",
    "Content-Length\t: 5",
    "Content_Length: 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked;a=b",
    "Transfer-Encoding:",
    "Transfer-Encoding: chun\u{0}ked",
    "X: y\rContent-Length: 5",
    "X: y\nContent-Length: 5",
    " folded",
    "\tfolded: too",
    "Expect: 100-continue",
    "Expect: 200-ok",
    "Upgrade: h2c",
    "Range: bytes=0-1",
    "Range: bytes=99999-",
    "If-None-Match: *",
    "If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT",
    "Accept-Encoding: gzip;q=0",
    "no colon",
    ": no name",
    "\u{fc}ber: name",
];

/// Bytes that mean something to somebody.
const BYTES: [u8; 20] = [
    b'\r', b'\n', 0, b' ', b'\t', b':', b';', b',', b'%', b'/', b'.', b'?', b'#', 0x7f, 0x80, 0xff, b'0',
    b'"', b'\\', 0x0b,
];

const CONTENTS: [&str; 10] = [
    "hello",
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
    "5 ; a\r\nhello\r\n0\r\n\r\n",
    "0005\r\nhello\r\n000\r\n\r\n",
    "5\nhello\n0\n\n",
    "fffffffffffffffff\r\n",
    "GET /a.txt HTTP/1.1\r\nHost: smuggled\r\n\r\n",
    "2c\r\nGET /a.txt HTTP/1.1\r\nHost: smuggled\r\n\r\n....\r\n0\r\n\r\n",
];

/// A request in its parts.
struct Parts {
    first: String,
    lines: Vec<String>,
    content: String,
}

impl Parts {
    /// One that is right more often than not.
    fn new(random: &mut Random) -> Self {
        let version = if random.once_in(12) { random.pick(&VERSIONS) } else { "HTTP/1.1" };
        let method = if random.once_in(3) { random.pick(&METHODS) } else { "GET" };
        let target = if random.once_in(3) { random.pick(&TARGETS) } else { random.pick(&TARGETS[..8]) };
        let first = format!("{method} {target} {version}");
        let mut parts = Self { first, lines: vec!["Host: oneloop.test".into()], content: String::new() };
        for name in ["User-Agent: abuse/1", "Accept: */*", "Accept-Encoding: gzip, br"] {
            if random.once_in(3) {
                parts.lines.push(name.into());
            }
        }
        match random.below(5) {
            0 => {
                parts.content = random.pick(&CONTENTS).into();
                parts.lines.push(format!("Content-Length: {}", parts.content.len()));
            }
            1 => {
                parts.content = random.pick(&CONTENTS[1..6]).into();
                parts.lines.push("Transfer-Encoding: chunked".into());
            }
            _ => {}
        }
        parts
    }

    /// Changes the parts.
    fn mutate(&mut self, random: &mut Random) {
        let place = random.below(self.lines.len() + 1);
        match random.below(9) {
            0..=3 => self.lines.insert(place, random.pick(&LINES).into()),
            4 => drop(self.lines.pop()),
            5 => self.lines.extend_from_within(..place),
            6 => self.lines.reverse(),
            7 => self.content = random.pick(&CONTENTS).into(),
            _ => self.content.insert_str(0, random.pick(&CONTENTS)),
        }
        // Now and then beyond a limit.
        if random.once_in(60) {
            match random.below(3) {
                0 => self.lines.extend((0..random.below(120)).map(|number| format!("X-{number}: y"))),
                1 => self.lines.push(format!("X-Long: {}", "y".repeat(random.below(20_000)))),
                _ => self.first = format!("GET /{} HTTP/1.1", "z".repeat(random.below(10_000))),
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let lines: String = self.lines.iter().map(|line| format!("{line}\r\n")).collect();
        format!("{}\r\n{lines}\r\n{}", self.first, self.content).into_bytes()
    }
}

/// Changes single bytes, wherever they are.
fn scratch(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(7) {
        0 => bytes[at] = BYTES[random.below(BYTES.len())],
        1 => bytes.insert(at, BYTES[random.below(BYTES.len())]),
        2 => drop(bytes.remove(at)),
        3 => bytes[at] ^= 1 << random.below(8),
        4 => {
            // A line end becomes a bare one.
            if let Some(end) = bytes[at..].iter().position(|&byte| byte == b'\r') {
                bytes.remove(at + end);
            }
        }
        5 => {
            let end = (at + 1 + random.below(20)).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        _ => bytes.truncate(at.max(1)),
    }
}

/// A request after up to three mutations.
pub(super) fn mutated(random: &mut Random) -> Vec<u8> {
    let mut parts = Parts::new(random);
    for _ in 0..random.below(2) {
        parts.mutate(random);
    }
    let mut bytes = parts.bytes();
    if random.once_in(20) {
        bytes.splice(0..0, *b"\r\n");
    }
    let scratches = 2 + random.below(2);
    for _ in 0..random.below(scratches) {
        scratch(&mut bytes, random);
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}
