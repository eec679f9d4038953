//! Range requests (RFC 9110 §14): which bytes of a representation a `Range` field selects.
//!
//! Owns the syntax of the field and the arithmetic against a length. Whether the field applies at all is for
//! [`crate::conditional::range_applies`] and the method to say.

use crate::field;

/// A run of bytes inside a representation. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    first: u64,
    last: u64,
}

#[allow(clippy::len_without_is_empty, reason = "a range holds at least one byte")]
impl ByteRange {
    /// Offset of the first byte.
    #[must_use]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// Offset of the last byte, which belongs to the range.
    #[must_use]
    pub const fn last(self) -> u64 {
        self.last
    }

    /// Number of bytes, at least one.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What a `Range` field asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything: the field is to be ignored (RFC 9110 §14.2), and the answer is a 200.
    Whole,
    /// One run of bytes: 206.
    Part(ByteRange),
    /// Nothing that exists: 416.
    Unsatisfiable,
}

/// Applies the value of a `Range` field to a representation of `length` bytes. Unknown units, malformed sets and
/// sets of several ranges select everything, as if the field were absent.
#[must_use]
pub fn select(value: &[u8], length: u64) -> Selection {
    let Some((unit, set)) = split_once(value, b'=') else { return Selection::Whole };
    let mut members = field::tokens(set);
    match (members.next(), members.next()) {
        (Some(only), None) if unit.eq_ignore_ascii_case(b"bytes") => apply(only, length),
        _ => Selection::Whole,
    }
}

/// Applies one `range-spec` (RFC 9110 §14.1.1).
fn apply(spec: &[u8], length: u64) -> Selection {
    match split_once(spec, b'-') {
        Some((b"", suffix)) => number(suffix).map(|suffix| last_bytes(suffix, length)),
        Some((first, b"")) => number(first).map(|first| between(first, u64::MAX, length)),
        Some((first, last)) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Some(between(first, last, length)),
            _ => None,
        },
        None => None,
    }
    .unwrap_or(Selection::Whole)
}

fn between(first: u64, last: u64, length: u64) -> Selection {
    match length.checked_sub(1) {
        Some(end) if first <= end => Selection::Part(ByteRange { first, last: last.min(end) }),
        _ => Selection::Unsatisfiable,
    }
}

fn last_bytes(suffix: u64, length: u64) -> Selection {
    match (suffix, length.checked_sub(1)) {
        (0, _) => Selection::Unsatisfiable,
        // Satisfiable, but there is no byte to put a range around (RFC 9110 §14.1.2).
        (_, None) => Selection::Whole,
        (_, Some(last)) => Selection::Part(ByteRange { first: length.saturating_sub(suffix), last }),
    }
}

/// A decimal number. One that is too large for 64 bits becomes the largest: no length reaches it.
fn number(digits: &[u8]) -> Option<u64> {
    let value = digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| value.saturating_mul(10).saturating_add(u64::from(digit)))
    });
    value.filter(|_| !digits.is_empty())
}

fn split_once(value: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let (before, rest) = value.split_at_checked(memchr::memchr(separator, value)?)?;
    Some((before, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn part(first: u64, last: u64) -> Selection {
        Selection::Part(ByteRange { first, last })
    }

    #[test]
    fn one_range_of_bytes_is_selected() {
        let table: [(&[u8], u64, Selection); 26] = [
            (b"bytes=0-0", 10, part(0, 0)),
            (b"bytes=0-9", 10, part(0, 9)),
            (b"bytes=2-5", 10, part(2, 5)),
            (b"bytes=2-", 10, part(2, 9)),
            (b"bytes=9-", 10, part(9, 9)),
            (b"bytes=5-100", 10, part(5, 9)),
            (b"bytes=-1", 10, part(9, 9)),
            (b"bytes=-10", 10, part(0, 9)),
            (b"bytes=-11", 10, part(0, 9)),
            (b"BYTES=1-2", 10, part(1, 2)),
            (b"bytes= \t1-2 ", 10, part(1, 2)),
            (b"bytes=,, 1-2 ,", 10, part(1, 2)),
            (b"bytes=0001-00002", 10, part(1, 2)),
            (b"bytes=4294967296-4294967297", 1 << 40, part(1 << 32, (1 << 32) + 1)),
            (b"bytes=0-18446744073709551615", 10, part(0, 9)),
            (b"bytes=0-99999999999999999999999", 10, part(0, 9)),
            (b"bytes=-99999999999999999999999", 10, part(0, 9)),
            (b"bytes=0-", u64::MAX, part(0, u64::MAX - 1)),
            (b"bytes=-0", 10, Selection::Unsatisfiable),
            (b"bytes=10-", 10, Selection::Unsatisfiable),
            (b"bytes=10-20", 10, Selection::Unsatisfiable),
            (b"bytes=99999999999999999999999-", u64::MAX, Selection::Unsatisfiable),
            (b"bytes=0-", 0, Selection::Unsatisfiable),
            (b"bytes=0-0", 0, Selection::Unsatisfiable),
            (b"bytes=-0", 0, Selection::Unsatisfiable),
            (b"bytes=-5", 0, Selection::Whole),
        ];
        for (value, length, selection) in table {
            assert_eq!(select(value, length), selection, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn what_is_not_one_range_of_bytes_is_ignored() {
        let table: [&[u8]; 22] = [
            b"",
            b"bytes",
            b"bytes=",
            b"bytes=,",
            b"bytes=-",
            b"bytes=1",
            b"bytes=2-1",
            b"bytes=99999999999999999999999-1",
            b"bytes=a-b",
            b"bytes=1-b",
            b"bytes=+1-2",
            b"bytes=1--2",
            b"bytes=--1",
            b"bytes=1 - 2",
            b"bytes=1-2-3",
            b"bytes=1-2;3-4",
            b"bytes =1-2",
            b" bytes=1-2",
            b"items=1-2",
            b"bytes:1-2",
            b"bytes=0-0,2-3",
            b"bytes=0-0,99-",
        ];
        for value in table {
            assert_eq!(select(value, 10), Selection::Whole, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_range_counts_both_of_its_ends() {
        let Selection::Part(range) = select(b"bytes=3-7", 10) else { panic!("no range") };
        assert_eq!((range.first(), range.last(), range.len()), (3, 7, 5));
    }
}
