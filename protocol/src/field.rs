//! The field section of a request (RFC 9110 §5): borrowed lines, and a set of the names we know.
//!
//! Each line is classified once, when the head is decoded; asking for a field that is absent then costs one
//! bit test, asking for one that came once a look into a table, and nothing is hashed or copied. Fields that
//! only some sites ask about are not classified, so that the others need not pay: they are searched for.

mod lines;

use httparse::Header;

use crate::limits::FIELDS_CEILING;
use lines::Lines;
pub(crate) use lines::{Index, Place, Span, span_in};

/// Every line has its number.
const _: () = assert!(FIELDS_CEILING <= u8::MAX as usize + 1);

/// The field names that every request is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Name {
    /// `Host`
    Host,
    /// `Range`
    Range,
    /// `Expect`
    Expect,
    /// `Referer`
    Referer,
    /// `If-Range`
    IfRange,
    /// `If-Match`
    IfMatch,
    /// `Connection`
    Connection,
    /// `User-Agent`
    UserAgent,
    /// `If-None-Match`
    IfNoneMatch,
    /// `Content-Length`
    ContentLength,
    /// `If-Modified-Since`
    IfModifiedSince,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `If-Unmodified-Since`
    IfUnmodifiedSince,
}

impl Name {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Host,
        Self::Range,
        Self::Expect,
        Self::Referer,
        Self::IfRange,
        Self::IfMatch,
        Self::Connection,
        Self::UserAgent,
        Self::IfNoneMatch,
        Self::ContentLength,
        Self::IfModifiedSince,
        Self::TransferEncoding,
        Self::IfUnmodifiedSince,
    ];

    /// The name in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Range => "range",
            Self::Expect => "expect",
            Self::Referer => "referer",
            Self::IfRange => "if-range",
            Self::IfMatch => "if-match",
            Self::Connection => "connection",
            Self::UserAgent => "user-agent",
            Self::IfNoneMatch => "if-none-match",
            Self::ContentLength => "content-length",
            Self::IfModifiedSince => "if-modified-since",
            Self::TransferEncoding => "transfer-encoding",
            Self::IfUnmodifiedSince => "if-unmodified-since",
        }
    }

    /// Classifies a field name, which must be a token; field names are case-insensitive (RFC 9110 §5.1). The
    /// length alone rules out all but one or two candidates.
    #[must_use]
    pub fn from_token(name: &[u8]) -> Option<Self> {
        let candidates: &[Self] = match name.len() {
            4 => &[Self::Host],
            5 => &[Self::Range],
            6 => &[Self::Expect],
            7 => &[Self::Referer],
            8 => &[Self::IfRange, Self::IfMatch],
            10 => &[Self::Connection, Self::UserAgent],
            13 => &[Self::IfNoneMatch],
            14 => &[Self::ContentLength],
            17 => &[Self::IfModifiedSince, Self::TransferEncoding],
            19 => &[Self::IfUnmodifiedSince],
            _ => &[],
        };
        candidates.iter().copied().find(|known| is_same_token(name, known.as_str().as_bytes()))
    }

    /// How many there are.
    const COUNT: usize = Self::IfUnmodifiedSince as usize + 1;

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The field names that only some sites ask about. Each question costs a walk over the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RareName {
    /// `Accept-Encoding`
    AcceptEncoding,
    /// `Accept`
    Accept,
    /// `Sec-Fetch-Mode`
    SecFetchMode,
    /// `Authorization`
    Authorization,
    /// `Forwarded`
    Forwarded,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Origin`
    Origin,
    /// `Access-Control-Request-Method`
    AccessControlRequestMethod,
    /// `Access-Control-Request-Headers`
    AccessControlRequestHeaders,
}

impl RareName {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::AcceptEncoding,
        Self::Accept,
        Self::SecFetchMode,
        Self::Authorization,
        Self::Forwarded,
        Self::XForwardedFor,
        Self::Origin,
        Self::AccessControlRequestMethod,
        Self::AccessControlRequestHeaders,
    ];

    /// The name in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AcceptEncoding => "accept-encoding",
            Self::Accept => "accept",
            Self::SecFetchMode => "sec-fetch-mode",
            Self::Authorization => "authorization",
            Self::Forwarded => "forwarded",
            Self::XForwardedFor => "x-forwarded-for",
            Self::Origin => "origin",
            Self::AccessControlRequestMethod => "access-control-request-method",
            Self::AccessControlRequestHeaders => "access-control-request-headers",
        }
    }
}

/// The field lines of one request, in the order they came.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'b> {
    lines: Lines<'b>,
    index: Index,
}

impl<'b> Fields<'b> {
    /// Takes over decoded lines, at most [`FIELDS_CEILING`], and notes which of the known names are among them, and
    /// where.
    #[must_use]
    pub fn new(lines: &'b [Header<'b>]) -> Self {
        let mut index = Index::default();
        for (at, line) in lines.iter().enumerate() {
            if let Some(name) = Name::from_token(line.name.as_bytes()) {
                index.note(name, at);
            }
        }
        Self { lines: Lines::Decoded(lines), index }
    }

    /// The field lines of a head that is the same as one that was decoded, where they were found in that.
    pub(crate) const fn recalled(head: &'b [u8], places: &'b [Place], index: Index) -> Self {
        Self { lines: Lines::Recalled { head, places }, index }
    }

    /// Which of the known names there are.
    pub(crate) const fn index(&self) -> Index {
        self.index
    }

    /// How many lines there are.
    pub(crate) const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Searches for a line of a name, given in lower case.
    pub(crate) fn has_line(&self, lower: &'static str) -> bool {
        self.lines.named(lower).next().is_some()
    }

    /// Notes in `places` where the lines are in `head`; whether they are.
    pub(crate) fn put_places(&self, head: &[u8], places: &mut Vec<Place>) -> bool {
        self.lines.put_places(head, places)
    }

    /// Whether there is at least one line of that name.
    #[must_use]
    pub const fn has(&self, name: Name) -> bool {
        self.index.has_any(name.bit())
    }

    /// Whether there is at least one line of any of these names.
    #[must_use]
    pub fn has_any<const N: usize>(&self, names: [Name; N]) -> bool {
        self.index.has_any(names.into_iter().fold(0, |bits, name| bits | name.bit()))
    }

    /// The value of the first line of that name, without surrounding white space.
    #[must_use]
    pub fn get(&self, name: Name) -> Option<&'b [u8]> {
        self.lines.get(self.index.first(name)?).map(|(_, value)| trim(value))
    }

    /// The value of the only line of that name. A field that holds one value and comes twice means nothing that
    /// could be relied on (RFC 9110 §5.3).
    #[must_use]
    pub fn only(&self, name: Name) -> Option<&'b [u8]> {
        if self.index.is_repeated(name) { None } else { self.get(name) }
    }

    /// The values of all lines of that name. A list-based field may be spread over several (RFC 9110 §5.3).
    pub fn all(&self, name: Name) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let only = self.only(name);
        let lines = if self.has(name) && only.is_none() { self.lines } else { Lines::Decoded(&[]) };
        only.into_iter().chain(lines.named(name.as_str()))
    }

    /// Searches for the values of all lines of a name, in their order.
    pub fn find_all(&self, name: RareName) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        self.lines.named(name.as_str())
    }

    /// Searches for the value of the only line of a name; as [`Fields::only`].
    #[must_use]
    pub fn find_only(&self, name: RareName) -> Option<&'b [u8]> {
        let mut values = self.find_all(name);
        values.next().filter(|_| values.next().is_none())
    }
}

/// Compares a token with one in lower case. Of the characters of a token, the sixth bit makes only letters equal
/// that differ in case; so there is no branch in the loop, and it is vectorized.
fn is_same_token(token: &[u8], lower: &[u8]) -> bool {
    token.len() == lower.len()
        && token.iter().zip(lower).fold(0, |differs, (byte, lower)| differs | ((byte | 0x20) ^ lower)) == 0
}

/// Strips optional white space, SP and HTAB, from both ends (RFC 9110 §5.6.3).
#[must_use]
pub fn trim(value: &[u8]) -> &[u8] {
    let is_ows = |byte: &u8| matches!(byte, b' ' | b'\t');
    // What the decoder hands on has been stripped of it already.
    if !value.first().is_some_and(is_ows) && !value.last().is_some_and(is_ows) {
        return value;
    }
    let start = value.iter().position(|byte| !is_ows(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_ows(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

/// The members of a comma-separated list of tokens, empty ones left out (RFC 9110 §5.6.1.2).
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|token| !token.is_empty())
}

/// A list member without its weight, and the weight in thousandths, which is 1,000 if none is given (RFC 9110
/// §12.4.2). The weight is the last parameter. None if what looks like a weight is no valid one.
#[must_use]
pub fn weighted(member: &[u8]) -> Option<(&[u8], u16)> {
    let Some(semicolon) = memchr::memrchr(b';', member) else { return Some((trim(member), 1000)) };
    let (rest, parameter) = member.split_at_checked(semicolon)?;
    match parameter.get(1..).map(trim)? {
        [b'q' | b'Q', b'=', value @ ..] => Some((trim(rest), quality(value)?)),
        _ => Some((trim(member), 1000)),
    }
}

/// `qvalue` of RFC 9110 §12.4.2, in thousandths.
fn quality(value: &[u8]) -> Option<u16> {
    let (whole, decimals) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let digits = [Some(whole), decimals.first(), decimals.get(1), decimals.get(2)];
    let thousandths = digits.into_iter().try_fold(0, |value: u16, digit| {
        let digit = digit.unwrap_or(&b'0');
        digit.is_ascii_digit().then(|| value.saturating_mul(10).saturating_add(u16::from(digit - b'0')))
    });
    thousandths.filter(|&thousandths| thousandths <= 1000)
}

/// Whether a byte may stand in a token (RFC 9110 §5.6.2).
#[must_use]
pub const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'b>(name: &'b str, value: &'b [u8]) -> Header<'b> {
        Header { name, value }
    }

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for index in 0..=Name::IfUnmodifiedSince as u32 {
            let name = Name::ALL[index as usize];
            assert_eq!(name as u32, index);
            let shouted = name.as_str().to_ascii_uppercase();
            assert_eq!(Name::from_token(shouted.as_bytes()), Some(name), "{shouted}");
        }
        assert_eq!(Name::from_token(b"hosts"), None);
        assert_eq!(Name::from_token(b""), None);
    }

    #[test]
    fn repeated_lines_are_all_seen_in_order() {
        let lines = [line("If-Match", b"\"a\""), line("X", b"1"), line("if-match", b"\t\"b\" ")];
        let fields = Fields::new(&lines);
        assert!(fields.has(Name::IfMatch) && !fields.has(Name::Host));
        assert_eq!(fields.all(Name::IfMatch).collect::<Vec<_>>(), [&b"\"a\""[..], b"\"b\""]);
        assert_eq!(fields.get(Name::IfMatch), Some(&b"\"a\""[..]));
        assert_eq!(fields.get(Name::Host), None);
        assert_eq!((fields.only(Name::IfMatch), fields.only(Name::Host)), (None, None));
        assert_eq!(Fields::new(&lines[..2]).only(Name::IfMatch), Some(&b"\"a\""[..]));
    }

    #[test]
    fn a_field_is_found_wherever_it_stands() {
        for at in [0, 1, FIELDS_CEILING - 1] {
            let mut lines = vec![line("X", b"1"); FIELDS_CEILING];
            lines[at] = line("Range", b" y ");
            let fields = Fields::new(&lines);
            assert_eq!(
                (fields.get(Name::Range), fields.only(Name::Range)),
                (Some(&b"y"[..]), Some(&b"y"[..]))
            );
            assert_eq!(fields.all(Name::Range).collect::<Vec<_>>(), [b"y"]);
            assert!(fields.has_any([Name::Host, Name::Range]) && !fields.has_any([Name::Host, Name::Expect]));
        }
    }

    #[test]
    fn a_weight_has_up_to_three_decimals_and_is_never_above_one() {
        type Weighted<'b> = Option<(&'b [u8], u16)>;
        let table: [(&[u8], Weighted<'_>); 24] = [
            (b"a", Some((b"a", 1000))),
            (b" a ; q=0.5", Some((b"a", 500))),
            (b"a;q=0", Some((b"a", 0))),
            (b"a;q=0.", Some((b"a", 0))),
            (b"a;q=0.0", Some((b"a", 0))),
            (b"a;q=0.001", Some((b"a", 1))),
            (b"a;q=0.12", Some((b"a", 120))),
            (b"a;Q=1", Some((b"a", 1000))),
            (b"a;q=1.", Some((b"a", 1000))),
            (b"a;q=1.000", Some((b"a", 1000))),
            (b"a;p=1;q=0.9", Some((b"a;p=1", 900))),
            (b"a;p=1", Some((b"a;p=1", 1000))),
            (b"a;q", Some((b"a;q", 1000))),
            (b"a;", Some((b"a;", 1000))),
            (b"", Some((b"", 1000))),
            (b"a;q=", None),
            (b"a;q=1.001", None),
            (b"a;q=2", None),
            (b"a;q=0.0000", None),
            (b"a;q=.5", None),
            (b"a;q=-1", None),
            (b"a;q=0,5", None),
            (b"a;q=0.5x", None),
            (b"a;q= 0.5", None),
        ];
        for (member, expected) in table {
            assert_eq!(weighted(member), expected, "{}", member.escape_ascii());
        }
    }

    #[test]
    fn a_rare_field_is_found_in_any_case() {
        let names = RareName::ALL;
        for name in names {
            let shouted = name.as_str().to_ascii_uppercase();
            let lines = [line("X", b"1"), line(&shouted, b" 2"), line(name.as_str(), b"3")];
            let fields = Fields::new(&lines);
            assert_eq!(fields.find_all(name).collect::<Vec<_>>(), [b"2", b"3"], "{shouted}");
            assert_eq!(fields.find_only(name), None, "{shouted}");
            assert_eq!(Fields::new(&lines[..2]).find_only(name), Some(&b"2"[..]), "{shouted}");
            assert_eq!(Fields::new(&lines[..1]).find_only(name), None, "{shouted}");
            assert_eq!(names.into_iter().filter(|&other| fields.find_all(other).next().is_some()).count(), 1);
        }
    }

    #[test]
    fn lists_lose_their_empty_members() {
        let members: Vec<_> = tokens(b" a,, b\t ,").collect();
        assert_eq!(members, [&b"a"[..], b"b"]);
        assert_eq!(trim(b" \t "), b"");
    }
}
