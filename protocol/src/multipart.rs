//! `multipart/byteranges` (RFC 9110 §14.6): what stands before, between and behind several parts of a
//! representation.
//!
//! Owns the framing to the byte, so that the length of the whole is known before anything is sent. The bytes of
//! the parts themselves never pass through here.

use bytes::BufMut;

use crate::http1::encode::decimal;
use crate::range::{ByteRange, Parts};

/// Digits of a boundary.
const BOUNDARY_BYTES: usize = 32;

/// What separates the parts: 32 hexadecimal digits, which need no quoting (RFC 2046 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary([u8; BOUNDARY_BYTES]);

impl Boundary {
    /// The boundary that these bits are written as. It must not occur in the parts, so the bits must be such
    /// that whoever made the file could not guess them.
    #[must_use]
    pub fn new(bits: u128) -> Self {
        let mut digits = [b'0'; BOUNDARY_BYTES];
        let mut rest = bits;
        for place in digits.iter_mut().rev() {
            *place = b"0123456789abcdef".get((rest & 0xf) as usize).copied().unwrap_or(b'0');
            rest >>= 4;
        }
        Self(digits)
    }

    /// Its digits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds the value of the response's own `Content-Type`.
    pub fn put_content_type(&self, out: &mut impl BufMut) {
        out.put_slice(b"multipart/byteranges; boundary=");
        out.put_slice(&self.0);
    }
}

/// The content of one response in several parts.
#[derive(Clone, Copy, Debug)]
pub struct Multipart<'p> {
    boundary: Boundary,
    media_type: &'p str,
    length: u64,
    parts: &'p Parts,
}

impl<'p> Multipart<'p> {
    /// Parts of a representation of that media type and of `length` bytes. The media type must not hold control
    /// characters.
    #[must_use]
    pub const fn new(boundary: Boundary, media_type: &'p str, length: u64, parts: &'p Parts) -> Self {
        Self { boundary, media_type, length, parts }
    }

    /// Number of bytes from the first boundary to the line end behind the last: the `Content-Length`.
    #[must_use]
    pub fn content_length(&self) -> u64 {
        let mut framing = Counter(0);
        for &range in self.parts.as_slice() {
            self.part_head(range, |piece| framing.add(piece));
        }
        self.end(|piece| framing.add(piece));
        // Saturates only where the representation has more bytes than any file.
        framing.0.saturating_add(self.parts.content_bytes())
    }

    /// Adds what stands before the bytes of one of the parts: the line end that closes the one before, the
    /// boundary, the fields, and the empty line.
    pub fn put_part_head(&self, range: ByteRange, out: &mut impl BufMut) {
        self.part_head(range, |piece| piece.put(out));
    }

    /// Adds what stands behind the bytes of the last part.
    pub fn put_end(&self, out: &mut impl BufMut) {
        self.end(|piece| piece.put(out));
    }

    fn part_head(&self, range: ByteRange, mut add: impl FnMut(Piece<'_>)) {
        let is_first = self.parts.as_slice().first() == Some(&range);
        add(Piece::Text(if is_first { b"--" } else { b"\r\n--" }));
        add(Piece::Text(&self.boundary.0));
        add(Piece::Text(b"\r\nContent-Type: "));
        add(Piece::Text(self.media_type.as_bytes()));
        add(Piece::Text(b"\r\nContent-Range: bytes "));
        add(Piece::Number(range.first()));
        add(Piece::Text(b"-"));
        add(Piece::Number(range.last()));
        add(Piece::Text(b"/"));
        add(Piece::Number(self.length));
        add(Piece::Text(b"\r\n\r\n"));
    }

    fn end(&self, mut add: impl FnMut(Piece<'_>)) {
        add(Piece::Text(b"\r\n--"));
        add(Piece::Text(&self.boundary.0));
        add(Piece::Text(b"--\r\n"));
    }
}

/// What framing is made of; counted and written by the same walk, so that both agree.
#[derive(Clone, Copy)]
enum Piece<'b> {
    Text(&'b [u8]),
    Number(u64),
}

impl Piece<'_> {
    fn put(self, out: &mut impl BufMut) {
        match self {
            Self::Text(text) => out.put_slice(text),
            Self::Number(number) => decimal(out, number),
        }
    }
}

struct Counter(u64);

impl Counter {
    fn add(&mut self, piece: Piece<'_>) {
        self.0 += match piece {
            Piece::Text(text) => text.len() as u64,
            Piece::Number(number) => u64::from(number.checked_ilog10().unwrap_or(0)) + 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::{SeveralSelection, select_several};

    const CONTENT: &[u8] = b"0123456789";

    fn parts(value: &[u8], length: u64) -> Parts {
        let SeveralSelection::Parts(parts) = select_several(value, length) else { panic!("not several") };
        parts
    }

    #[test]
    fn a_message_is_right_to_the_byte() {
        let parts = parts(b"bytes=7-,0-0,2-3", 10);
        let multipart = Multipart::new(Boundary::new(0xabc), "text/plain; charset=utf-8", 10, &parts);
        let mut message = Vec::new();
        for &range in parts.as_slice() {
            multipart.put_part_head(range, &mut message);
            let [first, last] = [range.first(), range.last()].map(|at| usize::try_from(at).unwrap());
            message.extend_from_slice(&CONTENT[first..=last]);
        }
        multipart.put_end(&mut message);
        let expected = "--00000000000000000000000000000abc\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\
            Content-Range: bytes 7-9/10\r\n\
            \r\n\
            789\r\n\
            --00000000000000000000000000000abc\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\
            Content-Range: bytes 0-0/10\r\n\
            \r\n\
            0\r\n\
            --00000000000000000000000000000abc\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\
            Content-Range: bytes 2-3/10\r\n\
            \r\n\
            23\r\n\
            --00000000000000000000000000000abc--\r\n";
        assert_eq!(message.escape_ascii().to_string(), expected.as_bytes().escape_ascii().to_string());
        assert_eq!(multipart.content_length(), message.len() as u64);
    }

    #[test]
    fn numbers_of_any_width_are_counted() {
        for length in [100, 1 << 33, u64::MAX] {
            let parts = parts(b"bytes=0-0,-1", length);
            let multipart = Multipart::new(Boundary::new(u128::MAX), "a/b", length, &parts);
            let mut message = Vec::new();
            for &range in parts.as_slice() {
                multipart.put_part_head(range, &mut message);
            }
            multipart.put_end(&mut message);
            assert_eq!(multipart.content_length(), message.len() as u64 + 2);
        }
    }

    #[test]
    fn a_boundary_needs_no_quotes() {
        let mut value = Vec::new();
        Boundary::new(u128::MAX - 1).put_content_type(&mut value);
        assert_eq!(value, b"multipart/byteranges; boundary=fffffffffffffffffffffffffffffffe");
        assert_eq!(Boundary::new(0).as_bytes(), &[b'0'; 32]);
    }
}
