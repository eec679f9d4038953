//! The chunked transfer coding (RFC 9112 §7.1), decoded only to be skipped: a file server has no use for request
//! content, but must know exactly where it ends.
//!
//! Owns the grammar of the coding and the bounds on what surrounds the content. It is strict where leniency
//! smuggles requests: lines end in CR LF and nothing else. How much content is too much is for the caller to say,
//! who learns of every byte.

use crate::error::RequestError;
use crate::field;

/// Most bytes between chunk sizes and their line ends, over a whole content.
pub const EXTENSION_BYTES_MAX: u16 = 1 << 10;

/// Most bytes of a trailer section, its final empty line included.
pub const TRAILER_BYTES_MAX: u16 = 8 << 10;

/// Most digits of a chunk size: as many as 64 bits have, so that none can overflow.
const SIZE_DIGITS_MAX: u8 = 16;

/// Where in the coding the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The first digit of a chunk size.
    #[default]
    SizeStart,
    /// Behind a digit of a chunk size.
    Size,
    /// White space behind a size, before the semicolon that must follow.
    ExtensionSpace,
    /// In the extensions of a chunk.
    Extension,
    /// The LF behind a chunk size.
    SizeEnd,
    /// In the data of a chunk.
    Data,
    /// The CR behind the data of a chunk.
    DataEnd,
    /// The LF behind the data of a chunk.
    DataLineEnd,
    /// The first byte of a trailer line, or of the empty line that ends it all.
    TrailerStart,
    /// In the name of a trailer field.
    TrailerName,
    /// In the value of a trailer field.
    TrailerValue,
    /// The LF behind a trailer field.
    TrailerEnd,
    /// The LF of the final empty line.
    FinalEnd,
    /// Behind the last byte.
    Complete,
}

/// How far a content has been skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunked {
    /// While a size is read: its value so far. After that: bytes of the chunk that are still to come.
    remaining: u64,
    extension_bytes: u16,
    trailer_bytes: u16,
    size_digits: u8,
    state: State,
}

/// What one call of [`Chunked::decode`] achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that belong to the coding. All of them, unless it is complete.
    pub consumed: usize,
    /// How many of these were content.
    pub content_bytes: u64,
    /// The content and its trailer section have ended. What was not consumed belongs to the next request.
    pub is_complete: bool,
}

impl Chunked {
    /// A decoder at the start of a content.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Skips as much as the input holds. However a content is cut into inputs, sums and verdict are the same.
    ///
    /// # Errors
    /// [`RequestError::Chunk`] if the coding is malformed, or its extensions or trailers are out of bounds. The
    /// decoder is of no use afterwards.
    pub fn decode(&mut self, input: &[u8]) -> Result<Progress, RequestError> {
        let mut rest = input;
        let mut content_bytes = 0;
        while self.state != State::Complete {
            if self.state == State::Data {
                let before = rest.len();
                rest = self.skip_data(rest);
                content_bytes += (before - rest.len()) as u64;
            }
            let Some((&byte, tail)) = rest.split_first() else { break };
            self.state = self.step(byte).ok_or(RequestError::Chunk)?;
            rest = tail;
        }
        let is_complete = self.state == State::Complete;
        Ok(Progress { consumed: input.len() - rest.len(), content_bytes, is_complete })
    }

    /// Skips data of the current chunk, and yields what lies behind it.
    fn skip_data<'b>(&mut self, input: &'b [u8]) -> &'b [u8] {
        let length =
            usize::try_from(self.remaining).map_or(input.len(), |remaining| remaining.min(input.len()));
        self.remaining -= length as u64;
        if self.remaining == 0 {
            self.state = State::DataEnd;
        }
        input.get(length..).unwrap_or_default()
    }

    /// The state behind one byte of anything but data; None if that byte may not stand there.
    fn step(&mut self, byte: u8) -> Option<State> {
        match (self.state, byte) {
            (State::SizeStart, _) => {
                (self.remaining, self.size_digits) = (0, 0);
                self.take_size_digit(byte)
            }
            (State::Size, b'\r') => Some(State::SizeEnd),
            (State::Size | State::ExtensionSpace, b' ' | b'\t') => self.take_extension(State::ExtensionSpace),
            (State::Size | State::ExtensionSpace, b';') => self.take_extension(State::Extension),
            (State::Size, _) => self.take_size_digit(byte),
            (State::Extension, b'\r') => Some(State::SizeEnd),
            (State::Extension, _) if is_text(byte) => self.take_extension(State::Extension),
            (State::SizeEnd, b'\n') if self.remaining > 0 => Some(State::Data),
            (State::SizeEnd, b'\n') => Some(State::TrailerStart),
            (State::DataEnd, b'\r') => Some(State::DataLineEnd),
            (State::DataLineEnd, b'\n') => Some(State::SizeStart),
            (State::TrailerStart, b'\r') => self.take_trailer(State::FinalEnd),
            (State::TrailerName, b':') => self.take_trailer(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, _) if field::is_token_byte(byte) => {
                self.take_trailer(State::TrailerName)
            }
            (State::TrailerValue, b'\r') => self.take_trailer(State::TrailerEnd),
            (State::TrailerValue, _) if is_text(byte) => self.take_trailer(State::TrailerValue),
            (State::TrailerEnd, b'\n') => self.take_trailer(State::TrailerStart),
            (State::FinalEnd, b'\n') => self.take_trailer(State::Complete),
            _ => None,
        }
    }

    fn take_size_digit(&mut self, byte: u8) -> Option<State> {
        let digit = char::from(byte).to_digit(16)?;
        self.size_digits = self.size_digits.checked_add(1).filter(|&digits| digits <= SIZE_DIGITS_MAX)?;
        self.remaining = self.remaining.checked_mul(16)?.checked_add(u64::from(digit))?;
        Some(State::Size)
    }

    fn take_extension(&mut self, next: State) -> Option<State> {
        self.extension_bytes =
            self.extension_bytes.checked_add(1).filter(|&bytes| bytes <= EXTENSION_BYTES_MAX)?;
        Some(next)
    }

    fn take_trailer(&mut self, next: State) -> Option<State> {
        self.trailer_bytes = self.trailer_bytes.checked_add(1).filter(|&bytes| bytes <= TRAILER_BYTES_MAX)?;
        Some(next)
    }
}

/// Whether a byte may stand in an extension or a field value: no control character but HTAB (RFC 9110 §5.5).
const fn is_text(byte: u8) -> bool {
    !byte.is_ascii_control() || byte == b'\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes in pieces of `step` bytes: consumed, content, whether complete.
    fn decode_by(step: usize, input: &[u8]) -> Result<(usize, u64, bool), RequestError> {
        let mut decoder = Chunked::new();
        let mut sums = (0, 0, false);
        for piece in input.chunks(step) {
            let progress = decoder.decode(piece)?;
            sums = (sums.0 + progress.consumed, sums.1 + progress.content_bytes, progress.is_complete);
        }
        Ok(sums)
    }

    fn assert_verdict(input: &[u8], expected: Result<(usize, u64, bool), RequestError>) {
        for step in [usize::MAX, 1, 2, 3, 7] {
            assert_eq!(decode_by(step, input), expected, "{} by {step}", input.escape_ascii());
        }
    }

    #[test]
    fn content_is_skipped_up_to_its_last_byte_and_no_further() {
        let table: [(&[u8], usize, u64, bool); 17] = [
            (b"", 0, 0, false),
            (b"0\r\n\r\n", 5, 0, true),
            (b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n", 5, 0, true),
            (b"0\r\n\r", 4, 0, false),
            (b"0000\r\n\r\n", 8, 0, true),
            (b"5\r\nhello\r\n0\r\n\r\n", 15, 5, true),
            (b"5\r\nhello\r\n0\r\n", 13, 5, false),
            (b"5\r\nhel", 6, 3, false),
            (b"1\r\n\r\r\n2\r\n\r\n\r\n0\r\n\r\n", 18, 3, true),
            (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", 35, 20, true),
            (b"0000000000000001\r\nx\r\n0\r\n\r\n", 26, 1, true),
            (b"ffffffffffffffff\r\nx", 19, 1, false),
            (b"1;a=b;c=\"d e\"\r\nx\r\n0;\r\n\r\n", 24, 1, true),
            (b"1 \t;a\r\nx\r\n0 ; b\r\n\r\n", 19, 1, true),
            (b"1;\xff\t \r\nx\r\n0\r\n\r\n", 15, 1, true),
            (b"0\r\nA: b\r\nC:\r\nD-!: \t\xff\r\n\r\nx", 24, 0, true),
            (b"0\r\nA: b\r\n", 9, 0, false),
        ];
        for (input, consumed, content_bytes, is_complete) in table {
            assert_verdict(input, Ok((consumed, content_bytes, is_complete)));
        }
    }

    #[test]
    fn every_deviation_from_the_grammar_is_refused() {
        let table: [&[u8]; 36] = [
            b"\r\n",
            b"\n",
            b" 1\r\n",
            b"+1\r\n",
            b"-1\r\n",
            b"0x1\r\n",
            b"g\r\n",
            b";a\r\n",
            b"1\nx",
            b"1\rx",
            b"1\r\r\n",
            b"1 \r\n",
            b"1\t\r\n",
            b"1 2\r\n",
            b"1,a\r\n",
            b"00000000000000001\r\n",
            b"10000000000000000\r\n",
            b"1;a\nx",
            b"1;a\0\r\n",
            b"1;a\x7f\r\n",
            b"1;a\r;b\r\n",
            b"1\r\nxy",
            b"1\r\nx\n",
            b"1\r\nx\rx",
            b"1\r\nx0\r\n\r\n",
            b"0\r\n\n",
            b"0\r\n\rx",
            b"0\r\n A: b\r\n\r\n",
            b"0\r\nA: b\r\n c\r\n\r\n",
            b"0\r\nA\r\n\r\n",
            b"0\r\nA b: c\r\n\r\n",
            b"0\r\n: b\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\nA: \0\r\n\r\n",
            b"0\r\nA: b\rc\r\n\r\n",
        ];
        for input in table {
            assert_verdict(input, Err(RequestError::Chunk));
        }
    }

    #[test]
    fn extensions_are_bounded_over_the_whole_content() {
        let chunk = |extension_bytes: usize| format!("1;{}\r\nx\r\n", "e".repeat(extension_bytes - 1));
        let within = format!("{}{}0\r\n\r\n", chunk(1000), chunk(24));
        assert_verdict(within.as_bytes(), Ok((within.len(), 2, true)));
        let beyond = format!("{}{}0\r\n\r\n", chunk(1000), chunk(25));
        assert_verdict(beyond.as_bytes(), Err(RequestError::Chunk));
    }

    #[test]
    fn trailers_are_bounded() {
        let with = |trailer_bytes: usize| format!("0\r\nA:{}\r\n\r\n", "b".repeat(trailer_bytes - 6));
        let within = with(usize::from(TRAILER_BYTES_MAX));
        assert_verdict(within.as_bytes(), Ok((within.len(), 0, true)));
        let beyond = with(usize::from(TRAILER_BYTES_MAX) + 1);
        assert_verdict(beyond.as_bytes(), Err(RequestError::Chunk));
    }

    #[test]
    fn what_follows_is_left_alone_for_ever() {
        let mut decoder = Chunked::new();
        assert!(decoder.decode(b"0\r\n\r\n").is_ok_and(|progress| progress.is_complete));
        let nothing = Progress { consumed: 0, content_bytes: 0, is_complete: true };
        assert_eq!(decoder.decode(b"GET"), Ok(nothing));
    }
}
