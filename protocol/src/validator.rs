//! Validators (RFC 9110 §8.8): entity tags and modification times, and how tags compare.
//!
//! Owns how our tags are made and how those of clients are read. What follows from a comparison is for
//! [`crate::conditional`] to say.

use std::io::Write;

use crate::coding::Coding;
use crate::field;

/// Two quotes, 24 digits for any time in nanoseconds, a dash, 16 digits for any size, four bytes for a coding.
const TAG_BYTES_MAX: usize = 47;

/// A strong entity tag of ours, kept inline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EntityTag {
    bytes: [u8; TAG_BYTES_MAX],
    length: u8,
}

impl EntityTag {
    /// The tag of a file by its modification time and its size in bytes. Nothing else goes into it, neither inode
    /// nor device, so that every replica of the same files has the same tags.
    #[must_use]
    pub fn from_modification(mtime_s: i64, mtime_ns: u32, size: u64) -> Self {
        let mtime_ns = i128::from(mtime_s) * 1_000_000_000 + i128::from(mtime_ns);
        // 96 bits keep all times apart, those before 1970 too, in two's complement.
        let mtime_ns = mtime_ns.cast_unsigned() & (u128::MAX >> 32);
        Self::new(format_args!("\"{mtime_ns:x}-{size:x}\""))
    }

    /// The tag of content by a digest of it.
    #[must_use]
    pub fn from_digest(digest: u128) -> Self {
        Self::new(format_args!("\"{digest:032x}\""))
    }

    /// What does not fit is cut off, and no caller has that much.
    fn new(text: std::fmt::Arguments<'_>) -> Self {
        let mut bytes = [0; TAG_BYTES_MAX];
        let mut free = bytes.as_mut_slice();
        // Cannot fail: the array holds the widest numbers there are.
        let _ = free.write_fmt(text);
        let length = u8::try_from(TAG_BYTES_MAX - free.len()).unwrap_or_default();
        Self { bytes, length }
    }

    /// The tag of the same content in a coding, which is another representation (RFC 9110 §8.8.3.3). To be called
    /// on the tag of the content itself; identity has that very tag.
    #[must_use]
    pub fn in_coding(mut self, coding: Coding) -> Self {
        let suffix = coding.tag_suffix().as_bytes().iter().chain(b"\"");
        let from = usize::from(self.length).saturating_sub(1);
        let free = self.bytes.get_mut(from..).unwrap_or_default();
        let grown = free.iter_mut().zip(suffix).map(|(place, byte)| *place = *byte).count();
        self.length = u8::try_from(from + grown).unwrap_or_default();
        self
    }

    /// The tag as `ETag` carries it, quotes included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Strong comparison (RFC 9110 §8.8.3.2): both strong, both the same.
    #[must_use]
    pub fn matches_strongly(&self, candidate: Candidate<'_>) -> bool {
        !candidate.is_weak && self.matches_weakly(candidate)
    }

    /// Weak comparison (RFC 9110 §8.8.3.2): the same, whether weak or strong.
    #[must_use]
    pub fn matches_weakly(&self, candidate: Candidate<'_>) -> bool {
        candidate.opaque_tag == self.as_bytes()
    }
}

impl std::fmt::Debug for EntityTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EntityTag({})", self.as_bytes().escape_ascii())
    }
}

/// What is known of the state of a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validators {
    /// Goes out as `ETag`, unless tags are switched off.
    pub entity_tag: Option<EntityTag>,
    /// Goes out as `Last-Modified`: seconds since 1970, possibly before.
    pub last_modified_s: i64,
    /// Whether that time can belong to one version only: it was over when this one was looked at, and so nothing
    /// that came later bears it too (RFC 9110 §8.8.2.2).
    pub is_date_strong: bool,
}

/// An entity tag that a client holds against ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'b> {
    is_weak: bool,
    /// Quotes included.
    opaque_tag: &'b [u8],
}

impl<'b> Candidate<'b> {
    /// Reads a field value that is one entity tag and nothing else.
    #[must_use]
    pub fn parse(value: &'b [u8]) -> Option<Self> {
        Self::split_from(value).and_then(|(candidate, rest)| rest.is_empty().then_some(candidate))
    }

    /// Reads the entity tag that a value starts with, and yields what follows it (RFC 9110 §8.8.3).
    fn split_from(value: &'b [u8]) -> Option<(Self, &'b [u8])> {
        let (is_weak, quoted) = value.strip_prefix(b"W/").map_or((false, value), |quoted| (true, quoted));
        let inside = quoted.strip_prefix(b"\"")?;
        let opaque = inside.iter().position(|&byte| !is_opaque_byte(byte))?;
        let (opaque_tag, rest) = quoted.split_at_checked(opaque + 2)?;
        opaque_tag.ends_with(b"\"").then_some((Self { is_weak, opaque_tag }, rest))
    }
}

/// `etagc` of RFC 9110 §8.8.3. Commas and backslashes are ordinary characters in it.
const fn is_opaque_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)
}

/// The entity tags of one field line. A malformed member ends the list: nothing from it on can be believed to be
/// a tag.
pub fn candidates(line: &[u8]) -> impl Iterator<Item = Candidate<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let (candidate, after) = Candidate::split_from(rest.get(start..)?)?;
        rest = field::trim(after);
        (rest.is_empty() || rest.starts_with(b",")).then_some(candidate)
    })
    .fuse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_makes_a_tag_of_fixed_length() {
        let table: [(u128, &[u8]); 3] = [
            (0, b"\"00000000000000000000000000000000\""),
            (0xabc, b"\"00000000000000000000000000000abc\""),
            (u128::MAX, b"\"ffffffffffffffffffffffffffffffff\""),
        ];
        for (digest, tag) in table {
            assert_eq!(EntityTag::from_digest(digest).as_bytes(), tag);
        }
    }

    #[test]
    fn a_tag_tells_times_and_sizes_apart() {
        let table: [(i64, u32, u64, &[u8]); 7] = [
            (0, 0, 0, b"\"0-0\""),
            (0, 255, 16, b"\"ff-10\""),
            (1, 0, 0, b"\"3b9aca00-0\""),
            (1_700_000_000, 123_456_789, 1234, b"\"17979cfe3d85cd15-4d2\""),
            (-1, 999_999_999, 1, b"\"ffffffffffffffffffffffff-1\""),
            (i64::MAX, 999_999_999, u64::MAX, b"\"1dcd64ffffffffffffffffff-ffffffffffffffff\""),
            (i64::MIN, 0, u64::MAX, b"\"e2329b000000000000000000-ffffffffffffffff\""),
        ];
        for (mtime_s, mtime_ns, size, tag) in table {
            assert_eq!(EntityTag::from_modification(mtime_s, mtime_ns, size).as_bytes(), tag);
        }
    }

    #[test]
    fn each_coding_has_a_tag_of_its_own() {
        let table: [(Coding, &[u8]); 4] = [
            (Coding::Brotli, b"\"ffffffffffffffffffffffff-ffffffffffffffff-br\""),
            (Coding::Zstd, b"\"ffffffffffffffffffffffff-ffffffffffffffff-zst\""),
            (Coding::Gzip, b"\"ffffffffffffffffffffffff-ffffffffffffffff-gz\""),
            (Coding::Identity, b"\"ffffffffffffffffffffffff-ffffffffffffffff\""),
        ];
        let longest = EntityTag::from_modification(-1, 999_999_999, u64::MAX);
        for (coding, tag) in table {
            assert_eq!(longest.in_coding(coding).as_bytes(), tag);
            assert!(Candidate::parse(tag).is_some_and(|tag| longest.in_coding(coding).matches_strongly(tag)));
        }
    }

    #[test]
    fn weak_tags_only_match_weakly() {
        let tag = EntityTag::from_modification(0, 0, 0);
        let table: [(&[u8], bool, bool); 5] = [
            (b"\"0-0\"", true, true),
            (b"W/\"0-0\"", false, true),
            (b"\"0-1\"", false, false),
            (b"\"0-0\xff\"", false, false),
            (b"\"\"", false, false),
        ];
        for (value, strongly, weakly) in table {
            let candidate = Candidate::parse(value).unwrap();
            assert_eq!(tag.matches_strongly(candidate), strongly, "{}", value.escape_ascii());
            assert_eq!(tag.matches_weakly(candidate), weakly, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn only_a_whole_entity_tag_is_one() {
        let table: [&[u8]; 12] = [
            b"",
            b"\"",
            b"a",
            b"'a'",
            b"*",
            b"w/\"a\"",
            b"W/a",
            b"W/ \"a\"",
            b"\"a",
            b"\"a b\"",
            b"\"a\"b",
            b"\"a\x7f\"",
        ];
        for value in table {
            assert_eq!(Candidate::parse(value), None, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_list_yields_its_tags_up_to_the_first_malformed_member() {
        let table: [(&[u8], &[&[u8]]); 12] = [
            (b"", &[]),
            (b" , ,", &[]),
            (b"\"a\"", &[b"\"a\""]),
            (b"\"a\",W/\"b\" ,\t, \"c\"", &[b"\"a\"", b"\"b\"", b"\"c\""]),
            (b",\"a\",", &[b"\"a\""]),
            (b"\"a,b\", \"\"", &[b"\"a,b\"", b"\"\""]),
            (b"\"a\\\", \"b\"", &[b"\"a\\\"", b"\"b\""]),
            (b"\"a\" \"b\"", &[]),
            (b"\"a\"b, \"c\"", &[]),
            (b"\"a\", b, \"c\"", &[b"\"a\""]),
            (b"\"a\", *", &[b"\"a\""]),
            (b"\"a\", \"b", &[b"\"a\""]),
        ];
        for (line, tags) in table {
            let found: Vec<_> = candidates(line).map(|candidate| candidate.opaque_tag).collect();
            assert_eq!(found, tags, "{}", line.escape_ascii());
        }
    }
}
