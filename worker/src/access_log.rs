//! One line of the access log in the combined log format:
//!
//! ```text
//! peer - user [time] "request line" status bytes "Referer" "User-Agent"
//! ```
//!
//! Formats into a buffer of the caller and nothing else: it reads no clock and writes no file. What a client
//! sent is escaped byte by byte (`\xHH`), so whatever it sends, it writes one line and cannot end a quotation.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr};

use bytes::BufMut;
use memchr::memchr;
use protocol::http1::encode::decimal;

use crate::clock::LOG_TIME_LENGTH;

/// Bytes of the request line and of each field that are logged; what is beyond is cut off.
const VALUE_BYTES_MAX: usize = 2 << 10;
/// Bytes of a user's name that are logged.
const USER_BYTES_MAX: usize = 256;
/// Everything in a line but the values: an address of 45 bytes, two numbers, the punctuation.
const FRAME_BYTES_MAX: usize = 45 + LOG_TIME_LENGTH + 5 + 20 + 32;

/// Bytes that the longest line takes, each byte of its values escaped.
pub const LINE_BYTES_MAX: usize = FRAME_BYTES_MAX + 4 * (USER_BYTES_MAX + 3 * VALUE_BYTES_MAX);

/// An exchange as it is logged, but for the number of bytes sent, which is known only at its end.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The client's address, or `None` on a Unix socket.
    pub peer: Option<IpAddr>,
    /// Who has asked, if the password was right.
    pub user: Option<&'a [u8]>,
    /// See [`crate::clock::Clock::log_time`].
    pub time: &'a [u8; LOG_TIME_LENGTH],
    /// The first line of the request as it came; see [`request_line`].
    pub request_line: &'a [u8],
    /// Status code of the response.
    pub status: u16,
    /// Value of `Referer`.
    pub referer: Option<&'a [u8]>,
    /// Value of `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
}

impl Entry<'_> {
    /// Writes the line, of at most [`LINE_BYTES_MAX`] bytes.
    pub fn write(&self, content_bytes: u64, out: &mut impl BufMut) {
        self.write_prefix(out);
        decimal(out, content_bytes);
        self.write_suffix(out);
    }

    /// Writes the part before the number of bytes. A response that takes its time keeps this and the suffix,
    /// and puts the line together when it ends; until then the request has gone.
    pub fn write_prefix(&self, out: &mut impl BufMut) {
        write_peer(self.peer, out);
        match self.user {
            None => out.put_slice(b" - - ["),
            Some(user) => write_user(user, out),
        }
        out.put_slice(self.time);
        out.put_slice(b"] ");
        write_quoted(self.request_line, out);
        out.put_u8(b' ');
        decimal(out, self.status.into());
        out.put_u8(b' ');
    }

    /// Writes the part after the number of bytes, to the end of the line.
    pub fn write_suffix(&self, out: &mut impl BufMut) {
        out.put_u8(b' ');
        write_quoted(self.referer.unwrap_or_default(), out);
        out.put_u8(b' ');
        write_quoted(self.user_agent.unwrap_or_default(), out);
        out.put_u8(b'\n');
    }
}

/// The first line of a head, or of what came instead of one, without its line end. An empty line before it is
/// passed over, as it is by the decoder (RFC 9112 §2.2).
#[must_use]
pub fn request_line(head: &[u8]) -> &[u8] {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let head = head.get(..VALUE_BYTES_MAX).unwrap_or(head);
    let line = memchr(b'\n', head).and_then(|end| head.get(..end)).unwrap_or(head);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn write_peer(peer: Option<IpAddr>, out: &mut impl BufMut) {
    // A client that reaches a dual-stack socket over IPv4 is logged like any other IPv4 client.
    match peer.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => write_ipv4(address, out),
        // Cannot fail: neither the address nor the buffer does.
        Some(IpAddr::V6(address)) => _ = write!(Text(out), "{address}"),
        None => out.put_slice(b"unix:"),
    }
}

/// Writes a name. A space would end the field.
#[cold]
fn write_user(user: &[u8], out: &mut impl BufMut) {
    let user = user.get(..USER_BYTES_MAX).unwrap_or(user);
    out.put_slice(b" - ");
    for part in user.split_inclusive(|&byte| byte == b' ') {
        match part.strip_suffix(b" ") {
            Some(word) => {
                write_escaped(word, out);
                out.put_slice(br"\x20");
            }
            None => write_escaped(part, out),
        }
    }
    out.put_slice(b" [");
}

/// The same as formatting it, in a fraction of the time.
fn write_ipv4(address: Ipv4Addr, out: &mut impl BufMut) {
    let [first, others @ ..] = address.octets();
    decimal(out, first.into());
    for octet in others {
        out.put_u8(b'.');
        decimal(out, octet.into());
    }
}

/// Writes a value that a client chose, in quotation marks; `"-"` when there is none.
fn write_quoted(value: &[u8], out: &mut impl BufMut) {
    let value = value.get(..VALUE_BYTES_MAX).unwrap_or(value);
    out.put_u8(b'"');
    if value.is_empty() {
        out.put_u8(b'-');
    } else if !value.iter().fold(false, |found, &byte| found | must_escape(byte)) {
        // The search has no way out before the end, so that it is vectorized; this is the common case.
        out.put_slice(value);
    } else {
        write_escaped(value, out);
    }
    out.put_u8(b'"');
}

fn write_escaped(value: &[u8], out: &mut impl BufMut) {
    for &byte in value {
        if must_escape(byte) {
            let [high, low] = [byte >> 4, byte & 0xf].map(|digit| b"0123456789ABCDEF"[usize::from(digit)]);
            out.put_slice(&[b'\\', b'x', high, low]);
        } else {
            out.put_u8(byte);
        }
    }
}

const fn must_escape(byte: u8) -> bool {
    (byte < b' ') | (byte >= 0x7f) | (byte == b'"') | (byte == b'\\')
}

/// A buffer that text can be formatted into.
struct Text<'b, B>(&'b mut B);

impl<B: BufMut> Write for Text<'_, B> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: &[u8; LOG_TIME_LENGTH] = b"20/Nov/2026:16:24:13 +0000";

    fn entry() -> Entry<'static> {
        Entry {
            peer: Some([192, 0, 2, 1].into()),
            user: None,
            time: TIME,
            request_line: b"GET /a%20b?c HTTP/1.1",
            status: 200,
            referer: None,
            user_agent: Some(b"curl/8.5.0"),
        }
    }

    fn line(entry: Entry<'_>, content_bytes: u64) -> String {
        let mut out = Vec::new();
        entry.write(content_bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_in_the_combined_log_format() {
        let v6 = |text: &str| Some(text.parse().unwrap());
        let table = [
            (
                line(entry(), 1_234),
                r#"192.0.2.1 - - [20/Nov/2026:16:24:13 +0000] "GET /a%20b?c HTTP/1.1" 200 1234 "-" "curl/8.5.0""#,
            ),
            (
                line(Entry { peer: v6("2001:db8::1"), status: 304, ..entry() }, 0),
                r#"2001:db8::1 - - [20/Nov/2026:16:24:13 +0000] "GET /a%20b?c HTTP/1.1" 304 0 "-" "curl/8.5.0""#,
            ),
            (
                line(
                    Entry { peer: v6("::ffff:10.0.0.255"), request_line: b"", status: 408, ..entry() },
                    u64::MAX,
                ),
                r#"10.0.0.255 - - [20/Nov/2026:16:24:13 +0000] "-" 408 18446744073709551615 "-" "curl/8.5.0""#,
            ),
            (
                line(Entry { peer: None, referer: Some(b"http://a/"), user_agent: Some(b""), ..entry() }, 9),
                r#"unix: - - [20/Nov/2026:16:24:13 +0000] "GET /a%20b?c HTTP/1.1" 200 9 "http://a/" "-""#,
            ),
            (
                line(Entry { user: Some(b"Al \"x\" \\\xc3\xa4"), ..entry() }, 0),
                r#"192.0.2.1 - Al\x20\x22x\x22\x20\x5C\xC3\xA4 [20/Nov/2026:16:24:13 +0000] "GET /a%20b?c HTTP/1.1" 200 0 "-" "curl/8.5.0""#,
            ),
            (
                line(Entry { request_line: b"GET /\" \\x HTTP/1.1\r\0\x7f\xff~ ", ..entry() }, 10),
                r#"192.0.2.1 - - [20/Nov/2026:16:24:13 +0000] "GET /\x22 \x5Cx HTTP/1.1\x0D\x00\x7F\xFF~ " 200 10 "-" "curl/8.5.0""#,
            ),
        ];
        for (line, expected) in table {
            assert_eq!(line, format!("{expected}\n"));
        }
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        for number in (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1]).chain([u64::MAX, 10, 99, 100]) {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }

    #[test]
    fn the_request_line_is_the_first_line_however_it_ends() {
        let table: [(&[u8], &[u8]); 8] = [
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1"),
            (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1"),
            (b"GET / HTTP/1.1\nHost: a\r\n\r\n", b"GET / HTTP/1.1"),
            (b"GET /\rx HTTP/1.1\r\n", b"GET /\rx HTTP/1.1"),
            (b"\x16\x03\x01\x02", b"\x16\x03\x01\x02"),
            (b"\n", b""),
            (b"\r\n", b""),
            (b"", b""),
        ];
        for (head, expected) in table {
            assert_eq!(request_line(head), expected, "{}", head.escape_ascii());
        }
        assert_eq!(request_line(&[b'a'; 10_000]).len(), VALUE_BYTES_MAX);
    }

    #[test]
    fn the_longest_line_fits_exactly_what_is_promised() {
        let odd = [0xff; 3 * VALUE_BYTES_MAX];
        let entry = Entry {
            peer: Some("1111:2222:3333:4444:5555:6666:7777:8888".parse().unwrap()),
            user: Some(&odd),
            time: TIME,
            request_line: &odd,
            status: u16::MAX,
            referer: Some(&odd),
            user_agent: Some(&odd),
        };
        let line = line(entry, u64::MAX);
        assert_eq!(line.matches(r"\xFF").count(), USER_BYTES_MAX + 3 * VALUE_BYTES_MAX);
        assert!((LINE_BYTES_MAX - 32..=LINE_BYTES_MAX).contains(&line.len()), "{}", line.len());
    }

    fn unescape(quoted: &str) -> Vec<u8> {
        let mut parts = quoted.split(r"\x");
        let mut bytes = parts.next().unwrap().as_bytes().to_vec();
        for part in parts {
            bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
            bytes.extend_from_slice(&part.as_bytes()[2..]);
        }
        bytes
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_it_writes_one_line_of_three_quotations(
            request_line in prop::collection::vec(any::<u8>(), 1..300),
            referer in prop::collection::vec(any::<u8>(), 1..300),
            user_agent in prop::collection::vec(prop::sample::select(b"\"\\\n\r x".to_vec()), 1..300),
        ) {
            let entry = Entry {
                request_line: &request_line, referer: Some(&referer), user_agent: Some(&user_agent), ..entry()
            };
            let line = line(entry, 5);
            let text = line.strip_suffix('\n').unwrap();
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let parts: Vec<_> = text.split('"').collect();
            prop_assert_eq!(parts.len(), 7);
            for (part, value) in [(1, &request_line), (3, &referer), (5, &user_agent)] {
                prop_assert_eq!(&unescape(parts[part]), value);
            }
        }

        #[test]
        fn a_line_put_together_later_is_the_same(content_bytes: u64) {
            let (mut kept, mut out) = (Vec::new(), Vec::new());
            entry().write_prefix(&mut kept);
            let prefix_bytes = kept.len();
            entry().write_suffix(&mut kept);
            out.put_slice(&kept[..prefix_bytes]);
            decimal(&mut out, content_bytes);
            out.put_slice(&kept[prefix_bytes..]);
            prop_assert_eq!(String::from_utf8(out).unwrap(), line(entry(), content_bytes));
        }
    }
}
