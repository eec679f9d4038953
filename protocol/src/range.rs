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

/// Applies the value of a `Range` field to a representation of `length` bytes. Unknown units, malformed sets
/// and sets of several ranges select everything, as if the field were absent.
#[must_use]
pub fn select(value: &[u8], length: u64) -> Selection {
    let Some((unit, set)) = split_once(value, b'=') else { return Selection::Whole };
    let mut members = field::tokens(set);
    match (members.next(), members.next()) {
        (Some(only), None) if unit.eq_ignore_ascii_case(b"bytes") => apply(only, length),
        _ => Selection::Whole,
    }
}

/// Most members that a set may have. Whoever asks for more gets the whole.
pub const ASKED_MAX: usize = 64;
/// Most parts that a response may have.
pub const PARTS_MAX: usize = 16;

/// The parts of one response: at least two, in the order in which they were asked for, with bytes between each
/// two. So together they are shorter than the whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    ranges: [ByteRange; PARTS_MAX],
    count: u8,
}

impl Parts {
    /// The parts.
    #[must_use]
    pub fn as_slice(&self) -> &[ByteRange] {
        self.ranges.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// Number of bytes in all of them.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.as_slice().iter().map(|range| range.len()).sum()
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Parts").field(&self.as_slice()).finish()
    }
}

/// What a `Range` field asks for, where a response may have several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack for one decision; a box would be allocated"
)]
pub enum SeveralSelection {
    /// As [`Selection::Whole`]; also if the set is abusive (RFC 9110 §14.2).
    Whole,
    /// As [`Selection::Part`].
    Part(ByteRange),
    /// Several runs of bytes: 206 with `multipart/byteranges`.
    Parts(Parts),
    /// As [`Selection::Unsatisfiable`]: no member of the set is satisfiable.
    Unsatisfiable,
}

/// As [`select`], but hears sets of several ranges too. Members that cannot be satisfied are left out, and
/// those that overlap or touch become one, in the place of the first of them (RFC 9110 §15.3.7.2). A set of
/// more than [`ASKED_MAX`] members, or of more than [`PARTS_MAX`] parts, is abusive and selects everything.
#[must_use]
pub fn select_several(value: &[u8], length: u64) -> SeveralSelection {
    let Some((unit, set)) = split_once(value, b'=') else { return SeveralSelection::Whole };
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return SeveralSelection::Whole;
    }
    let mut gathered = Gathered { ranges: [ByteRange { first: 0, last: 0 }; ASKED_MAX], count: 0 };
    let mut asked = 0;
    for spec in field::tokens(set) {
        asked += 1;
        match apply(spec, length) {
            Selection::Part(range) if asked <= ASKED_MAX => gathered.add(range),
            Selection::Unsatisfiable if asked <= ASKED_MAX => {}
            _ => return SeveralSelection::Whole,
        }
    }
    match gathered.ranges.get(..gathered.count).unwrap_or_default() {
        [] if asked == 0 => SeveralSelection::Whole,
        [] => SeveralSelection::Unsatisfiable,
        &[only] => SeveralSelection::Part(only),
        several => several_parts(several).map_or(SeveralSelection::Whole, SeveralSelection::Parts),
    }
}

/// None if they are too many.
fn several_parts(several: &[ByteRange]) -> Option<Parts> {
    let mut ranges = [ByteRange { first: 0, last: 0 }; PARTS_MAX];
    ranges.get_mut(..several.len())?.copy_from_slice(several);
    Some(Parts { ranges, count: u8::try_from(several.len()).ok()? })
}

/// Ranges with bytes between each two.
struct Gathered {
    ranges: [ByteRange; ASKED_MAX],
    count: usize,
}

impl Gathered {
    /// One pass will do: what touches the union of the new range with some of the old ones touches the new
    /// range, because it does not touch the old ones.
    fn add(&mut self, new: ByteRange) {
        let mut union = new;
        let mut place = None;
        let mut kept = 0;
        for at in 0..self.count {
            let Some(&old) = self.ranges.get(at) else { break };
            if !touches(old, new) {
                self.put(kept, old);
            } else {
                union = ByteRange { first: union.first.min(old.first), last: union.last.max(old.last) };
                if place.is_some() {
                    continue;
                }
                place = Some(kept);
            }
            kept += 1;
        }
        self.count = kept + usize::from(place.is_none());
        self.put(place.unwrap_or(kept), union);
    }

    fn put(&mut self, at: usize, range: ByteRange) {
        if let Some(place) = self.ranges.get_mut(at) {
            *place = range;
        }
    }
}

/// Whether there is no byte between two ranges.
const fn touches(one: ByteRange, other: ByteRange) -> bool {
    // No last byte is the largest number there is: it lies below a length.
    one.first <= other.last + 1 && other.first <= one.last + 1
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

    type Ends = (u64, u64);

    fn several(value: &[u8], length: u64) -> Option<Vec<Ends>> {
        let ends = |range: &ByteRange| (range.first(), range.last());
        match select_several(value, length) {
            SeveralSelection::Part(range) => Some(vec![ends(&range)]),
            SeveralSelection::Parts(parts) => Some(parts.as_slice().iter().map(ends).collect()),
            SeveralSelection::Whole => None,
            SeveralSelection::Unsatisfiable => Some(Vec::new()),
        }
    }

    #[test]
    fn several_ranges_keep_their_order_and_become_one_where_they_meet() {
        let table: [(&[u8], u64, &[Ends]); 19] = [
            (b"bytes=2-5", 10, &[(2, 5)]),
            (b"bytes=0-0,2-3", 10, &[(0, 0), (2, 3)]),
            (b"bytes=2-3,0-0", 10, &[(2, 3), (0, 0)]),
            (b"bytes=0-0,-1", 10, &[(0, 0), (9, 9)]),
            (b"bytes= 0-0 ,\t,8-, ", 10, &[(0, 0), (8, 9)]),
            (b"bytes=0-3,2-5", 10, &[(0, 5)]),
            (b"bytes=0-3,4-5", 10, &[(0, 5)]),
            (b"bytes=4-5,0-3", 10, &[(0, 5)]),
            (b"bytes=0-3,5-6", 10, &[(0, 3), (5, 6)]),
            (b"bytes=2-3,2-3,2-3", 10, &[(2, 3)]),
            (b"bytes=0-9,2-3,5-", 10, &[(0, 9)]),
            (b"bytes=2-3,0-,5-6", 10, &[(0, 9)]),
            (b"bytes=8-9,0-1,5-6,2-4", 10, &[(8, 9), (0, 6)]),
            (b"bytes=0-1,8-9,5-6,2-4", 10, &[(0, 6), (8, 9)]),
            (b"bytes=5-6,0-0,2-2,8-8,1-7", 10, &[(0, 8)]),
            (b"bytes=0-0,99-", 10, &[(0, 0)]),
            (b"bytes=99-,-0,4-4,2-2", 10, &[(4, 4), (2, 2)]),
            (b"bytes=0-0,18446744073709551614-", u64::MAX, &[(0, 0), (u64::MAX - 1, u64::MAX - 1)]),
            (b"bytes=-1,0-18446744073709551613", u64::MAX, &[(0, u64::MAX - 1)]),
        ];
        for (value, length, ranges) in table {
            assert_eq!(several(value, length).as_deref(), Some(ranges), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_set_is_ignored_or_refused_as_a_whole() {
        let table: [(&[u8], u64, SeveralSelection); 12] = [
            (b"bytes=", 10, SeveralSelection::Whole),
            (b"bytes=,", 10, SeveralSelection::Whole),
            (b"bytes", 10, SeveralSelection::Whole),
            (b"items=0-0,2-2", 10, SeveralSelection::Whole),
            (b"bytes=0-0,x", 10, SeveralSelection::Whole),
            (b"bytes=x,0-0", 10, SeveralSelection::Whole),
            (b"bytes=99-,2-1", 10, SeveralSelection::Whole),
            (b"bytes=0-0;2-2", 10, SeveralSelection::Whole),
            (b"bytes=-1,0-0", 0, SeveralSelection::Whole),
            (b"bytes=10-,-0", 10, SeveralSelection::Unsatisfiable),
            (b"bytes=10-", 10, SeveralSelection::Unsatisfiable),
            (b"bytes=0-,1-1", 0, SeveralSelection::Unsatisfiable),
        ];
        for (value, length, selection) in table {
            assert_eq!(select_several(value, length), selection, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_set_of_too_many_members_or_parts_selects_everything() {
        let set = |asked: u64, step: u64| {
            let members: Vec<_> = (0..asked).map(|at| format!("{}-{}", at * step, at * step)).collect();
            several(format!("bytes={}", members.join(",")).as_bytes(), 1000).map(|parts| parts.len())
        };
        assert_eq!(set(16, 2), Some(16));
        assert_eq!(set(17, 2), None);
        assert_eq!(set(64, 1), Some(1));
        assert_eq!(set(65, 1), None);
        assert_eq!(set(64, 2), None);
        assert_eq!(set(1000, 0), None);
    }

    #[test]
    fn a_range_counts_both_of_its_ends() {
        let Selection::Part(range) = select(b"bytes=3-7", 10) else { panic!("no range") };
        assert_eq!((range.first(), range.last(), range.len()), (3, 7, 5));
    }
}
