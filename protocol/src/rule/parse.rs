//! Rules as the operator writes them: from text to pattern and template.

use std::error::Error;
use std::fmt;

use super::{Action, CAPTURES_MAX, Pattern, Piece, Segment, Template};
use crate::target;

/// Which of the two texts of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The pattern.
    From,
    /// The target.
    To,
}

/// What is wrong with a rule, in which text, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The text that it is in.
    pub side: Side,
    /// What is wrong.
    pub kind: RuleErrorKind,
    /// The byte where it begins, from 0.
    pub at: usize,
}

/// What can be wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleErrorKind {
    /// It does not begin with a slash, and a redirect's target not with `http://` or `https://` either.
    Start,
    /// The host, or the port, of a target is none.
    Authority,
    /// Two slashes, or a dot segment: no path has them.
    Segment,
    /// A `%` that no two hexadecimal digits follow, or one that encodes a slash or NUL.
    Encoding,
    /// A colon at the start of a segment that is not followed by a name, or, in a pattern, by something else
    /// too.
    Name,
    /// Two captures of the same name.
    SameName,
    /// Two asterisks in one segment.
    Asterisks,
    /// More than nine captures.
    Captures,
    /// An asterisk in a target.
    Asterisk,
    /// A dollar sign that is not followed by the number of a capture, or a name that the pattern does not have.
    NoCapture,
    /// A query or fragment in a pattern or in the target of a rewrite; or one that is not percent-encoded.
    Query,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.kind, self.side) {
            (RuleErrorKind::Start, Side::From) => "a pattern begins with `/`",
            (RuleErrorKind::Start, Side::To) => {
                "a target begins with `/`, that of a redirect with `/`, `http://` or `https://`"
            }
            (RuleErrorKind::Authority, _) => "this is no host and port",
            (RuleErrorKind::Segment, _) => "no path has an empty segment, `.` or `..`",
            (RuleErrorKind::Encoding, _) => {
                "`%` is followed by two hexadecimal digits, not those of `/` or NUL"
            }
            (RuleErrorKind::Name, _) => {
                "`:` is followed by a name of letters, digits and `_`; `%3A` is a colon"
            }
            (RuleErrorKind::SameName, _) => "this name is taken",
            (RuleErrorKind::Asterisks, _) => {
                "a segment has one `*` at most; at the end it matches all the rest"
            }
            (RuleErrorKind::Captures, _) => "a pattern has nine captures at most",
            (RuleErrorKind::Asterisk, _) => "what `*` stood for is `$1` to `$9`; `%2A` is an asterisk",
            (RuleErrorKind::NoCapture, _) => "the pattern captures nothing for this; `%24` is a dollar sign",
            (RuleErrorKind::Query, Side::From) => {
                "a pattern is about the path alone; `%3F` is a question mark"
            }
            (RuleErrorKind::Query, Side::To) => {
                "only a redirect has a query or fragment, and it has to be percent-encoded"
            }
        })?;
        let side = if self.side == Side::From { "the pattern" } else { "the target" };
        write!(f, ", at byte {} of {side}", self.at + 1)
    }
}

impl Error for RuleError {}

/// A segment of a path, and where it begins in the text.
fn segments(path: &str, start: usize) -> impl Iterator<Item = (usize, &str)> {
    path.split('/').scan(start, |next, segment| {
        let at = *next;
        *next += segment.len() + 1;
        Some((at, segment))
    })
}

/// Reads a pattern; also yields the names of its captures, empty for asterisks.
pub(super) fn pattern(text: &str) -> Result<(Pattern, Vec<&str>), RuleError> {
    let error = |kind, at| RuleError { side: Side::From, kind, at };
    let path = text.strip_prefix('/').ok_or(error(RuleErrorKind::Start, 0))?;
    if let Some(at) = text.find(['?', '#']) {
        return Err(error(RuleErrorKind::Query, at));
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut pattern = Pattern { segments: Vec::new(), has_rest: false };
    let mut names = Vec::new();
    if path.is_empty() && text.len() == 1 {
        return Ok((pattern, names));
    }
    let mut rest = segments(path, 1).peekable();
    while let Some((at, segment)) = rest.next() {
        let name = match (segment.strip_prefix(':'), segment.split_once('*')) {
            (Some(name), _) => {
                if name.is_empty() || !name.bytes().all(is_name_byte) {
                    return Err(error(RuleErrorKind::Name, at));
                }
                pattern.segments.push(Segment::Name);
                Some(name)
            }
            (None, Some(("", ""))) if rest.peek().is_none() => {
                pattern.has_rest = true;
                Some("")
            }
            (None, Some((_, behind))) if behind.contains('*') => {
                return Err(error(RuleErrorKind::Asterisks, at));
            }
            (None, Some((before, behind))) => {
                let behind_at = at + before.len() + 1;
                pattern.segments.push(Segment::Around(
                    decode(before).map_err(|kind| error(kind, at))?,
                    decode(behind).map_err(|kind| error(kind, behind_at))?,
                ));
                Some("")
            }
            (None, None) => {
                let literal = decode(segment).map_err(|kind| error(kind, at))?;
                if matches!(&literal[..], b"" | b"." | b"..") {
                    return Err(error(RuleErrorKind::Segment, at));
                }
                pattern.segments.push(Segment::Literal(literal));
                None
            }
        };
        if let Some(name) = name {
            if !name.is_empty() && names.contains(&name) {
                return Err(error(RuleErrorKind::SameName, at));
            }
            names.push(name);
        }
        if names.len() > CAPTURES_MAX {
            return Err(error(RuleErrorKind::Captures, at));
        }
    }
    Ok((pattern, names))
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Reads a target that may use the captures of those names.
pub(super) fn template(text: &str, action: Action, names: &[&str]) -> Result<Template, RuleError> {
    let error = |kind, at| RuleError { side: Side::To, kind, at };
    let tail_at = text.find(['?', '#']).unwrap_or(text.len());
    let (place, tail) = text.split_at_checked(tail_at).unwrap_or((text, ""));
    if !tail.bytes().all(is_tail_byte) || (action == Action::Rewrite && !tail.is_empty()) {
        return Err(error(RuleErrorKind::Query, tail_at));
    }
    let origin_bytes = origin_bytes(place, action).map_err(|kind| error(kind, 0))?;
    let (origin, path) = place.split_at_checked(origin_bytes).unwrap_or((place, ""));
    let (tail, fragment) =
        tail.split_once('#').map_or((tail, None), |(tail, fragment)| (tail, Some(fragment)));
    let mut template = Template {
        origin: origin.into(),
        segments: Vec::new(),
        is_directory: path.ends_with('/'),
        query: None,
        fragment: None,
    };
    let tail_error = |(kind, within)| error(kind, tail_at + 1 + within);
    if let Some(query) = tail.strip_prefix('?') {
        template.query = Some(tail_pieces(query, names).map_err(tail_error)?);
    }
    if let Some(fragment) = fragment {
        let pieces = tail_pieces(fragment, names);
        template.fragment = Some(pieces.map_err(|(kind, within)| tail_error((kind, tail.len() + within)))?);
    }
    let relative = path.strip_prefix('/').unwrap_or(path);
    let trimmed = relative.strip_suffix('/').unwrap_or(relative);
    if relative.is_empty() {
        return Ok(template);
    }
    for (at, segment) in segments(trimmed, origin_bytes + 1) {
        let pieces = pieces(segment, names).map_err(|(kind, within)| error(kind, at + within))?;
        match &pieces[..] {
            [] => return Err(error(RuleErrorKind::Segment, at)),
            [Piece::Literal(literal)] if matches!(&literal[..], b"." | b"..") => {
                return Err(error(RuleErrorKind::Segment, at));
            }
            _ => template.segments.push(pieces),
        }
    }
    Ok(template)
}

/// What a query and a fragment may have in them as it is (RFC 3986 §3.4), a `#` between them, and
/// percent-encodings.
fn is_tail_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"<>[\\]^`{|}".contains(&byte)
}

/// How many bytes of a target are scheme and authority.
fn origin_bytes(place: &str, action: Action) -> Result<usize, RuleErrorKind> {
    if place.starts_with('/') {
        return Ok(0);
    }
    let scheme = ["http://", "https://"].into_iter().find(|scheme| place.starts_with(scheme));
    let (Some(scheme), Action::Redirect) = (scheme, action) else { return Err(RuleErrorKind::Start) };
    let authority = place.get(scheme.len()..).unwrap_or_default().split('/').next().unwrap_or_default();
    let is_authority = target::is_authority(authority.as_bytes()) && !authority.contains(['$', '*']);
    if is_authority { Ok(scheme.len() + authority.len()) } else { Err(RuleErrorKind::Authority) }
}

/// Takes a segment of a target apart. An error comes with its place in the segment.
fn pieces(segment: &str, names: &[&str]) -> Result<Vec<Piece>, (RuleErrorKind, usize)> {
    let mut pieces = Vec::new();
    let mut rest = segment;
    while !rest.is_empty() {
        let at = segment.len() - rest.len();
        let error = |kind| (kind, at);
        let (piece, behind) = if at == 0 && rest.starts_with(':') {
            named(rest, names).map_err(error)?
        } else if let Some(number) = rest.strip_prefix('$') {
            numbered(number, names.len()).ok_or(error(RuleErrorKind::NoCapture))?
        } else if rest.starts_with('*') {
            return Err(error(RuleErrorKind::Asterisk));
        } else {
            let (literal, behind) =
                rest.split_at_checked(rest.find(['$', '*']).unwrap_or(rest.len())).unwrap_or((rest, ""));
            (Piece::Literal(decode(literal).map_err(error)?), behind)
        };
        pieces.push(piece);
        rest = behind;
    }
    Ok(pieces)
}

/// Takes a query or fragment apart. Both may hold colons that mean nothing else: one is followed by the name of a
/// capture, or is itself.
fn tail_pieces(tail: &str, names: &[&str]) -> Result<Vec<Piece>, (RuleErrorKind, usize)> {
    let mut pieces = Vec::new();
    let (mut literal, mut rest) = (Vec::new(), tail);
    while let Some(first) = rest.chars().next() {
        let at = tail.len() - rest.len();
        let found = match first {
            '$' => {
                let number = rest.get(1..).and_then(|number| numbered(number, names.len()));
                Some(number.ok_or((RuleErrorKind::NoCapture, at))?)
            }
            ':' => named(rest, names).ok(),
            _ => None,
        };
        match found {
            Some((piece, behind)) => {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                pieces.push(piece);
                rest = behind;
            }
            None => {
                literal.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
    }
    pieces.push(Piece::Literal(literal));
    Ok(pieces)
}

/// The capture that a name behind a colon means.
fn named<'t>(text: &'t str, names: &[&str]) -> Result<(Piece, &'t str), RuleErrorKind> {
    let text = text.strip_prefix(':').unwrap_or(text);
    let end = text.bytes().position(|byte| !is_name_byte(byte)).unwrap_or(text.len());
    match text.split_at_checked(end) {
        Some(("", _)) | None => Err(RuleErrorKind::Name),
        Some((name, behind)) => {
            let at = names.iter().position(|&known| known == name).ok_or(RuleErrorKind::NoCapture)?;
            Ok((Piece::Capture(at), behind))
        }
    }
}

/// The capture that a digit behind a dollar sign means.
fn numbered(text: &str, count: usize) -> Option<(Piece, &str)> {
    let digit = text.chars().next()?.to_digit(10)?;
    let at = usize::try_from(digit).ok()?.checked_sub(1).filter(|&at| at < count)?;
    Some((Piece::Capture(at), text.get(1..)?))
}

/// Percent-decodes what stands for itself, which is a part of one segment.
fn decode(text: &str) -> Result<Vec<u8>, RuleErrorKind> {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        let (byte, behind) = if *byte == b'%' {
            target::decode_octet(behind).map_err(|_| RuleErrorKind::Encoding)?
        } else {
            (*byte, behind)
        };
        if matches!(byte, 0 | b'/') {
            return Err(RuleErrorKind::Encoding);
        }
        decoded.push(byte);
        rest = behind;
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::RuleErrorKind::*;
    use super::*;
    use crate::rule::Rule;

    #[test]
    fn a_pattern_that_cannot_match_is_refused() {
        let table: [(&str, RuleErrorKind, usize); 25] = [
            ("", Start, 0),
            ("a", Start, 0),
            ("http://a/", Start, 0),
            ("/a?b", Query, 2),
            ("/#", Query, 1),
            ("//", Segment, 1),
            ("/a//b", Segment, 3),
            ("/a//", Segment, 3),
            ("/./a", Segment, 1),
            ("/a/..", Segment, 3),
            ("/a/%2e%2E", Segment, 3),
            ("/a/%2f", Encoding, 3),
            ("/a/%00", Encoding, 3),
            ("/%zz", Encoding, 1),
            ("/%4", Encoding, 1),
            ("/a*%4", Encoding, 3),
            ("/:", Name, 1),
            ("/a/:b-c", Name, 3),
            ("/:\u{e4}", Name, 1),
            ("/:a*", Name, 1),
            ("/:a/:a", SameName, 4),
            ("/a*b*", Asterisks, 1),
            ("/**", Asterisks, 1),
            ("/**/a", Asterisks, 1),
            ("/*/*/*/*/*/*/*/*/*/*", Captures, 19),
        ];
        for (from, kind, at) in table {
            let error = Rule::new(Action::Redirect, from, "/").unwrap_err();
            assert_eq!(error, RuleError { side: Side::From, kind, at }, "{from}");
        }
        assert!(Rule::new(Action::Redirect, "/*/*/*/*/*/*/*/*/*", "/$9").is_ok());
    }

    #[test]
    fn a_target_that_leads_nowhere_is_refused() {
        let table: [(Action, &str, RuleErrorKind, usize); 34] = [
            (Action::Redirect, "", Start, 0),
            (Action::Redirect, "a", Start, 0),
            (Action::Redirect, "$1", Start, 0),
            (Action::Redirect, "ftp://a/", Start, 0),
            (Action::Redirect, "javascript:a", Start, 0),
            (Action::Rewrite, "https://a/", Start, 0),
            (Action::Redirect, "https://", Authority, 0),
            (Action::Redirect, "https:///a", Authority, 0),
            (Action::Redirect, "https://$1/", Authority, 0),
            (Action::Redirect, "https://*.a/", Authority, 0),
            (Action::Redirect, "https://a@b/", Authority, 0),
            (Action::Redirect, "https://a\\b/", Authority, 0),
            (Action::Redirect, "//a", Segment, 1),
            (Action::Redirect, "//", Segment, 1),
            (Action::Redirect, "/a//b", Segment, 3),
            (Action::Redirect, "https://a//b", Segment, 10),
            (Action::Redirect, "/../a", Segment, 1),
            (Action::Redirect, "/%2E", Segment, 1),
            (Action::Redirect, "/%", Encoding, 1),
            (Action::Redirect, "/a$1%2F", Encoding, 4),
            (Action::Redirect, "/%00", Encoding, 1),
            (Action::Redirect, "/:", Name, 1),
            (Action::Redirect, "/:-", Name, 1),
            (Action::Redirect, "/:other", NoCapture, 1),
            (Action::Redirect, "/a/$", NoCapture, 3),
            (Action::Redirect, "/a/$0", NoCapture, 3),
            (Action::Redirect, "/a/x$3", NoCapture, 4),
            (Action::Redirect, "/a/$\u{e4}", NoCapture, 3),
            (Action::Redirect, "/a/*", Asterisk, 3),
            (Action::Redirect, "/a?b c", Query, 2),
            (Action::Redirect, "/a#\r\n", Query, 2),
            (Action::Redirect, "/a?\u{e4}", Query, 2),
            (Action::Rewrite, "/a?b", Query, 2),
            (Action::Rewrite, "/a#", Query, 2),
        ];
        for (action, to, kind, at) in table {
            let error = Rule::new(action, "/:name/*", to).unwrap_err();
            assert_eq!(error, RuleError { side: Side::To, kind, at }, "{to}");
            assert!(error.to_string().ends_with("of the target"), "{error}");
        }
        let error = Rule::new(Action::Rewrite, "/a*b*", "/").unwrap_err();
        assert_eq!(
            error.to_string(),
            "a segment has one `*` at most; at the end it matches all the rest, at byte 2 of the pattern"
        );
    }
}
