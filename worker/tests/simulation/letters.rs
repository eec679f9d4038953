//! Lives that are written down: each letter is something that happens, some with a byte or two behind it that says how
//! much. A fuzzer changes such texts, and people can read and write them.
//!
//! | letter | what happens |
//! |---|---|
//! | `m p v f e` | the peer writes a method, a path, the rest of a request line, a field line, an empty line |
//! | `R i` | it writes a `Range`, or a precondition with the entity tag that it was told last |
//! | `G` | it writes a whole GET for a path |
//! | `c k l` | it writes content, a chunk, the last chunk |
//! | `r` | it writes so many bytes, which follow |
//! | `d` | so much of what it wrote arrives |
//! | `z x` | it closes its side; it resets the connection |
//! | `u w` | it reads; the buffer towards it gets another size |
//! | `t D` | time passes; time passes up to the deadline |
//! | `h H` | what a helper has done is told; from now on helpers have no time, or have it again |
//! | `T W X` | the victim is cut; a file is replaced; a file is removed |
//! | `n` | the server is told to end |
//! | `s` | an event comes for nothing |

use super::client::FILES;

/// A life longer than that is read no further: it would only take longer.
const BYTES_MAX: usize = 1_000;

const METHODS: [&str; 8] = ["GET ", "HEAD ", "POST ", "OPTIONS ", "CONNECT ", "PUT ", "get ", "GET  "];
const PATHS: [&str; 16] = [
    "/empty",
    "/small",
    "/memory",
    "/large",
    "/victim",
    "/nothing",
    "/",
    "/small/",
    "//sm%61ll?query",
    "/../small",
    "/.hidden",
    "/small%00",
    "*",
    "a:80",
    "/large/../small",
    "/%",
];
const VERSIONS: [&str; 8] = [
    " HTTP/1.1\r\nHost: a\r\n",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    " HTTP/1.0\r\nConnection: keep-alive\r\n",
    " HTTP/1.2\r\nHost: a\r\n",
    " HTTP/2.0\r\nHost: a\r\n",
    "\r\n",
    " HTTP/1.1\nHost: a\n",
];
const FIELDS: [&str; 24] = [
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Content-Length: 64\r\n",
    "Content-Length: 4096\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Expect: 100-continue\r\n",
    "If-None-Match: *\r\n",
    "If-None-Match: W/\"a\", \"b\"\r\n",
    "If-Match: \"a\"\r\n",
    "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n",
    "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:01 GMT\r\n",
    "Range: bytes=0-\r\n",
    "Range: bytes=-100\r\n",
    "Range: bytes=99999999-\r\n",
    "Range: bytes=0-1,5-80,90-\r\n",
    "Accept-Encoding: gzip, br\r\n",
    "Host: b\r\n",
    " folded\r\n",
    "no colon\r\n",
    "X: \x01\r\n",
    "User-Agent: simulated\r\n",
];

/// What happens.
#[derive(Debug)]
pub enum Step {
    /// The peer writes something, which has not arrived yet.
    Write(Vec<u8>),
    /// It writes a precondition with the entity tag that it was told last.
    WriteTag(&'static str),
    /// So many bytes of what it wrote arrive; all of them with 0.
    Arrive(usize),
    Close,
    Reset,
    /// It reads so many bytes; all with 0.
    Read(usize),
    Capacity(usize),
    Pass {
        ms: u64,
    },
    PassDeadline,
    Outcome,
    Overload,
    Cut,
    /// The file of this number gets so many bytes.
    Replace(usize, usize),
    Remove(usize),
    Drain,
    Spurious,
}

/// What is left of a text.
#[derive(Debug)]
pub struct Letters<'t>(&'t [u8]);

impl<'t> Letters<'t> {
    pub fn new(text: &'t [u8]) -> Self {
        Self(&text[..text.len().min(BYTES_MAX)])
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A byte that says how much; 0 behind the end.
    pub fn number(&mut self) -> usize {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first.into()
    }

    fn choose<T: Copy>(&mut self, table: &[T]) -> T {
        table[self.number() % table.len()]
    }

    fn raw(&mut self) -> Vec<u8> {
        let count = self.number();
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes.to_vec()
    }

    /// What happens next, in a place that `prefix` leads to. Bytes that are no letters mean nothing.
    pub fn next(&mut self, prefix: &str) -> Option<Step> {
        loop {
            let (&letter, rest) = self.0.split_first()?;
            self.0 = rest;
            let write = |text: &str| Step::Write(text.as_bytes().to_vec());
            return Some(match letter {
                b'm' => write(self.choose(&METHODS)),
                b'p' => write(&placed(prefix, self.choose(&PATHS))),
                b'v' => write(self.choose(&VERSIONS)),
                b'f' => write(self.choose(&FIELDS)),
                b'e' => write("\r\n"),
                b'R' => {
                    let (first, length) = (self.number() * 256, self.number() * 64);
                    write(&format!("Range: bytes={first}-{}\r\n", first + length))
                }
                b'i' => Step::WriteTag(self.choose(&["If-None-Match", "If-Match", "If-Range"])),
                b'G' => {
                    let path = placed(prefix, self.choose(&PATHS));
                    write(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                }
                b'c' => Step::Write(vec![b'x'; self.number() * 64]),
                b'k' => {
                    let length = self.number();
                    write(&format!("{length:x}\r\n{}\r\n", "y".repeat(length)))
                }
                b'l' => write("0\r\n\r\n"),
                b'r' => Step::Write(self.raw()),
                b'd' => Step::Arrive(self.number()),
                b'z' => Step::Close,
                b'x' => Step::Reset,
                b'u' => Step::Read(self.number() * 256),
                b'w' => Step::Capacity(1 + self.number() * self.number()),
                b't' => Step::Pass { ms: self.choose(&[1, 250, 999, 1_001, 60_000, 300_000, 899_999]) },
                b'D' => Step::PassDeadline,
                b'h' => Step::Outcome,
                b'H' => Step::Overload,
                b'T' => Step::Cut,
                b'W' => Step::Replace(self.number() % FILES.len(), self.number() * 80),
                b'X' => Step::Remove(self.number() % FILES.len()),
                b'n' => Step::Drain,
                b's' => Step::Spurious,
                _ => continue,
            });
        }
    }
}

/// A path in the place that `prefix` leads to.
fn placed(prefix: &str, path: &str) -> String {
    if path.starts_with('/') { format!("{prefix}{path}") } else { path.to_owned() }
}
