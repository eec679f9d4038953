//! Encoding of response heads (RFC 9112 §4, §5) into a buffer of the caller's.
//!
//! A head is written in three parts: [`status_line`], [`field`]s, and [`end`], which adds what changes from
//! response to response. So the first two can be prepared once for a file, and sent with a fresh end each time.

use bytes::{BufMut, BytesMut};

use super::state::Persistence;
use crate::date;
use crate::status::Status;
use crate::version::Version;

/// Begins a head: the status line and the fields that every response has.
pub fn status_line(out: &mut BytesMut, status: Status) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&status.digits());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.reason().as_bytes());
    out.extend_from_slice(b"\r\nServer: oneloop\r\n");
}

/// Adds one field line. The value must not hold control characters.
pub fn field(out: &mut BytesMut, name: &str, value: &[u8]) {
    debug_assert!(!value.iter().any(u8::is_ascii_control), "{name}: {}", value.escape_ascii());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Adds a field line with a number for its value.
pub fn field_number(out: &mut BytesMut, name: &str, value: u64) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    decimal(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Ends a head: `Date`, `Connection` where it says more than the version does (RFC 9112 §9.3), the empty line.
pub fn end(out: &mut BytesMut, date: &[u8; date::LENGTH], version: Version, persistence: Persistence) {
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(date);
    out.extend_from_slice(match (version, persistence) {
        (Version::Http11, Persistence::Persistent) => b"\r\n\r\n",
        (Version::Http10, Persistence::Persistent) => b"\r\nConnection: keep-alive\r\n\r\n".as_slice(),
        (_, Persistence::Close) => b"\r\nConnection: close\r\n\r\n",
    });
}

/// Adds a number in decimal digits. By hand: the formatting machinery costs more than all the rest of a head.
pub fn decimal(out: &mut impl BufMut, value: u64) {
    const DIGITS_MAX: usize = 20;
    let mut digits = [b'0'; DIGITS_MAX];
    let mut rest = value;
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' | u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(digits.get(DIGITS_MAX - used..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for value in [0, 7, 10, 99, 100, 65_535, 1_000_000, u64::MAX - 1, u64::MAX] {
            let mut out = BytesMut::new();
            decimal(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    #[test]
    fn a_head_is_put_together_from_its_parts() {
        let table: [(Version, Persistence, &str); 4] = [
            (Version::Http11, Persistence::Persistent, ""),
            (Version::Http11, Persistence::Close, "Connection: close\r\n"),
            (Version::Http10, Persistence::Persistent, "Connection: keep-alive\r\n"),
            (Version::Http10, Persistence::Close, "Connection: close\r\n"),
        ];
        for (version, persistence, connection) in table {
            let mut out = BytesMut::new();
            status_line(&mut out, Status::NotFound);
            field(&mut out, "Content-Type", b"text/plain");
            field_number(&mut out, "Content-Length", 0);
            end(&mut out, b"Sun, 06 Nov 1994 08:49:37 GMT", version, persistence);
            let expected = format!(
                "HTTP/1.1 404 Not Found\r\nServer: oneloop\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\
                 Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n{connection}\r\n"
            );
            assert_eq!(out, expected.as_bytes());
        }
    }
}
