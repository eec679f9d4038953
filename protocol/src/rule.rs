//! Redirects and rewrites: from a path that matches a pattern to another path or place.
//!
//! A pattern and its target are compiled once; applying them borrows the path and writes into a buffer of the
//! caller's. Paths are as [`crate::target::decode_path`] gives them: decoded, no slash at either end.
//!
//! | in a pattern | matches | is |
//! |---|---|---|
//! | `:name`, a whole segment | one segment | `:name` and `$1` to `$9` |
//! | `*`, the last segment | the rest, any number of segments or none | `$1` to `$9` |
//! | `*`, once in any other segment | any part of that segment, or none | `$1` to `$9` |
//!
//! Captures count from the left. Everything else stands for itself, percent-encoded or not; so `%2A` is an
//! asterisk, `%3A` a colon and `%24` a dollar sign. A slash at the end of a pattern means nothing, one at the
//! end of a target stays. A redirect may also lead to `http://` or `https://`, and have a query and a fragment
//! of its own, in which `:name` is a capture wherever it stands, if there is one of that name.

mod cycle;
mod parse;

use std::fmt;

use crate::target::{self, DecodedPath};

pub use cycle::{Loop, find_loop};
pub use parse::{RuleError, RuleErrorKind, Side};

/// Most captures that a pattern may have: as many as can be named by one digit.
const CAPTURES_MAX: usize = 9;

/// What becomes of a request that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is answered with what the target names, as if that had been asked for.
    Rewrite,
    /// The client is sent to the target.
    Redirect,
}

/// A compiled rule.
#[derive(Clone, Debug)]
pub struct Rule {
    action: Action,
    /// As it was written.
    text: Box<str>,
    pattern: Pattern,
    template: Template,
}

#[derive(Clone, Debug)]
struct Pattern {
    segments: Vec<Segment>,
    has_rest: bool,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(Vec<u8>),
    Name,
    /// What stands before and behind the asterisk.
    Around(Vec<u8>, Vec<u8>),
}

#[derive(Clone, Debug)]
struct Template {
    /// Scheme and authority, or nothing.
    origin: Vec<u8>,
    segments: Vec<Vec<Piece>>,
    is_directory: bool,
    /// What stands for itself in it is percent-encoded.
    query: Option<Vec<Piece>>,
    /// The same.
    fragment: Option<Vec<Piece>>,
}

#[derive(Clone, Debug)]
enum Piece {
    Literal(Vec<u8>),
    Capture(usize),
}

/// What the wildcards of a pattern stand for.
#[derive(Clone, Copy)]
struct Captures<'p> {
    texts: [&'p [u8]; CAPTURES_MAX],
    count: usize,
}

impl<'p> Captures<'p> {
    const NONE: Self = Self { texts: [&[]; CAPTURES_MAX], count: 0 };

    fn add(&mut self, text: &'p [u8]) {
        if let Some(place) = self.texts.get_mut(self.count) {
            *place = text;
            self.count += 1;
        }
    }
}

impl Captures<'_> {
    /// Appends a query or fragment in which a capture is one value, whatever is in it.
    fn put_into_tail(&self, pieces: &[Piece], out: &mut Vec<u8>) {
        for piece in pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Capture(at) => {
                    target::encode_value(self.texts.get(*at).copied().unwrap_or_default(), out);
                }
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Rule {
    /// Compiles a rule from a pattern, as `/old/*`, to a target, as `/new/$1`.
    ///
    /// # Errors
    /// What is wrong, in which of the two texts, and where.
    pub fn new(action: Action, from: &str, to: &str) -> Result<Self, RuleError> {
        let (pattern, names) = parse::pattern(from)?;
        let template = parse::template(to, action, &names)?;
        Ok(Self { action, text: format!("{from}={to}").into(), pattern, template })
    }

    /// What becomes of a request that it is about.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// Whether the rule is about a path.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        self.pattern.captures(path).is_some()
    }

    /// Replaces `out` by the path to look for instead, in the form in which [`target::decode_path`] would give
    /// it; so it is confined to the root just as that is. None, and `out` unspecified, if the rule is not about
    /// the path, or makes a dot segment of what it captured.
    pub fn rewrite(&self, path: &[u8], is_directory: bool, out: &mut Vec<u8>) -> Option<DecodedPath> {
        let captures = self.pattern.captures(path)?;
        out.clear();
        let is_directory =
            self.compose(&captures, is_directory, out, |text, out| out.extend_from_slice(text))?;
        Some(DecodedPath { is_directory, is_hidden: target::has_hidden_segment(out) })
    }

    /// Replaces `out` by a `Location`: a path that starts with exactly one slash, or an absolute URL whose
    /// authority the operator wrote; percent-encoded, so that nothing a client sends can end the field. The
    /// query of the request is kept unless the target has one. None, and `out` unspecified, if the rule is not
    /// about the path, or makes a dot segment of what it captured.
    pub fn location<'o>(
        &self,
        path: &[u8],
        is_directory: bool,
        query: Option<&[u8]>,
        out: &'o mut Vec<u8>,
    ) -> Option<&'o [u8]> {
        let captures = self.pattern.captures(path)?;
        out.clear();
        out.extend_from_slice(&self.template.origin);
        out.push(b'/');
        if self.compose(&captures, is_directory, out, target::encode_path)? && !out.ends_with(b"/") {
            out.push(b'/');
        }
        if let Some(own) = &self.template.query {
            out.push(b'?');
            captures.put_into_tail(own, out);
        } else if let Some(query) = query {
            out.push(b'?');
            target::encode_query(query, out);
        }
        if let Some(fragment) = &self.template.fragment {
            out.push(b'#');
            captures.put_into_tail(fragment, out);
        }
        Some(out)
    }

    /// Appends the path, without a slash at either end, and tells whether it is a directory's. A slash that the
    /// client wrote behind what a `*` at the end stands for is kept, if that is where the target ends.
    fn compose(
        &self,
        captures: &Captures<'_>,
        is_directory: bool,
        out: &mut Vec<u8>,
        put: impl Fn(&[u8], &mut Vec<u8>),
    ) -> Option<bool> {
        let start = out.len();
        for segment in &self.template.segments {
            // A segment that was empty has left the slash before it.
            if out.len() > start && !out.ends_with(b"/") {
                out.push(b'/');
            }
            for piece in segment {
                match piece {
                    Piece::Literal(text) => put(text, out),
                    Piece::Capture(at) => put(captures.texts.get(*at).copied().unwrap_or_default(), out),
                }
            }
        }
        if out.len() > start {
            out.pop_if(|last| *last == b'/');
        }
        let composed = out.get(start..).unwrap_or_default();
        if has_dot_segment(composed) {
            return None;
        }
        Some(composed.is_empty() || self.template.is_directory || (is_directory && self.ends_in_rest()))
    }

    fn ends_in_rest(&self) -> bool {
        let last = self.template.segments.last().and_then(|segment| segment.last());
        matches!(last, Some(Piece::Capture(at)) if self.is_rest(*at))
    }

    /// Whether a capture is that of the `*` at the end.
    fn is_rest(&self, capture: usize) -> bool {
        self.pattern.has_rest && capture + 1 == self.pattern.captures_count()
    }
}

fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|segment| matches!(segment, b"." | b".."))
}

impl Pattern {
    fn captures_count(&self) -> usize {
        let within = self.segments.iter().filter(|segment| !matches!(segment, Segment::Literal(_))).count();
        within + usize::from(self.has_rest)
    }

    /// What the wildcards stand for; none if the path does not match. There is one way to match at most, and
    /// each byte is looked at once.
    fn captures<'p>(&self, path: &'p [u8]) -> Option<Captures<'p>> {
        let mut captures = Captures::NONE;
        let mut rest = path;
        for segment in &self.segments {
            let end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
            let (text, behind) = rest.split_at_checked(end)?;
            if let Some(capture) = segment.matches(text)? {
                captures.add(capture);
            }
            rest = behind.get(1..).unwrap_or_default();
        }
        match (self.has_rest, rest) {
            (true, rest) => captures.add(rest),
            (false, []) => {}
            (false, _) => return None,
        }
        Some(captures)
    }
}

impl Segment {
    /// None if it does not match, else what it captures, if it captures anything.
    #[expect(clippy::option_option, reason = "the outer one is the verdict, the inner one is data")]
    fn matches<'p>(&self, text: &'p [u8]) -> Option<Option<&'p [u8]>> {
        match self {
            _ if text.is_empty() => None,
            Self::Literal(literal) => (text == literal).then_some(None),
            Self::Name => Some(Some(text)),
            Self::Around(before, behind) => {
                Some(Some(text.strip_prefix(&before[..])?.strip_suffix(&behind[..])?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: Action, from: &str, to: &str) -> Rule {
        Rule::new(action, from, to).unwrap()
    }

    /// A path that ends in a slash is a directory's.
    fn rewritten(from: &str, to: &str, path: &str) -> Option<String> {
        let mut out = b"left over".to_vec();
        let plain = path.strip_suffix('/').unwrap_or(path);
        let decoded = rule(Action::Rewrite, from, to).rewrite(plain.as_bytes(), plain != path, &mut out)?;
        Some(String::from_utf8(out).unwrap() + if decoded.is_directory { "/" } else { "" })
    }

    #[test]
    fn captures_go_where_the_target_names_them() {
        let table: [(&str, &str, &str, Option<&str>); 40] = [
            ("/", "/home", "", Some("home")),
            ("/", "/home", "a", None),
            ("/a", "/b", "a", Some("b")),
            ("/a", "/b", "a/", Some("b")),
            ("/a/", "/b/", "a", Some("b/")),
            ("/a", "/b", "ab", None),
            ("/a", "/b", "a/b", None),
            ("/a/b", "/c", "a", None),
            ("/a", "/", "a", Some("/")),
            ("/old/*", "/new/$1", "old/x", Some("new/x")),
            ("/old/*", "/new/$1", "old/x/y.html", Some("new/x/y.html")),
            ("/old/*", "/new/$1", "old/x/", Some("new/x/")),
            ("/old/*", "/new/$1", "old", Some("new")),
            ("/old/*", "/new/$1", "old/", Some("new/")),
            ("/old/*", "/new/$1", "older/x", None),
            ("/old/*", "/$1", "old", Some("/")),
            ("/*", "/a/$1/b", "", Some("a/b")),
            ("/*", "/a/$1/b", "x/y", Some("a/x/y/b")),
            ("/*", "/a/$1/b", "x/", Some("a/x/b")),
            ("/*", "/a-$1", "x/y", Some("a-x/y")),
            ("/:a/:b", "/:b/:a", "x/y", Some("y/x")),
            ("/:a/:b", "/$2-$1", "x/y", Some("y-x")),
            ("/:a/:b", "/:b", "x", None),
            ("/:a/:b", "/:b", "x/y/z", None),
            ("/:a/*", "/:a.d/$2", "x/y/z", Some("x.d/y/z")),
            ("/blog/*.php", "/posts/$1.html", "blog/a.b.php", Some("posts/a.b.html")),
            ("/blog/*.php", "/posts/$1.html", "blog/.php", Some("posts/.html")),
            ("/blog/*.php", "/posts/$1.html", "blog/a/b.php", None),
            ("/a*b", "/$1", "ab", Some("/")),
            ("/aa*aa", "/$1", "aaa", None),
            ("/*/x", "/$1", "a/x", Some("a")),
            ("/*/x", "/$1", "x", None),
            ("/a%2Ab%3a", "/%24%2A", "a*b:", Some("$*")),
            ("/\u{e4}", "/%C3%B6", "\u{e4}", Some("\u{f6}")),
            ("/a", "/b:c", "a", Some("b:c")),
            ("/x*", "/$1", "x.", None),
            ("/x*", "/$1/a", "x..", None),
            ("/x*", "/.$1", "x.", None),
            ("/x*", "/$1", "x...", Some("...")),
            ("/*", "/$1$1", "a/b", Some("a/ba/b")),
        ];
        for (from, to, path, expected) in table {
            assert_eq!(rewritten(from, to, path).as_deref(), expected, "{from} to {to} of {path:?}");
            let is_matched = expected.is_some() || path.ends_with('.');
            let plain = path.trim_matches('/').as_bytes();
            assert_eq!(rule(Action::Rewrite, from, "/").matches(plain), is_matched, "{from} of {path:?}");
        }
    }

    #[test]
    fn a_rewrite_to_what_is_hidden_says_so() {
        let mut out = Vec::new();
        let to_hidden = rule(Action::Rewrite, "/*", "/.build/$1").rewrite(b"a", false, &mut out);
        assert_eq!(to_hidden, Some(DecodedPath { is_directory: false, is_hidden: true }));
    }

    #[test]
    fn a_location_is_encoded_and_stays_here_unless_the_operator_sends_it_away() {
        type Query<'b> = Option<&'b [u8]>;
        let table: [(&str, &str, &[u8], Query<'_>, &str); 24] = [
            ("/a", "/b", b"a", None, "/b"),
            ("/a", "/b", b"a", Some(b"q=1"), "/b?q=1"),
            ("/a", "/b", b"a", Some(b""), "/b?"),
            ("/a", "/b?r=2", b"a", Some(b"q=1"), "/b?r=2"),
            ("/a", "/b?", b"a", Some(b"q=1"), "/b?"),
            ("/a", "/b#c", b"a", Some(b"q=\"\r\n"), "/b?q=%22%0D%0A#c"),
            ("/a", "/b/?r=%20#c?d", b"a", None, "/b/?r=%20#c?d"),
            ("/a", "/", b"a", None, "/"),
            ("/*", "/$1", b"", None, "/"),
            ("/*", "/new/$1", b"\r\nX: y", None, "/new/%0D%0AX:%20y"),
            ("/*", "/$1", b"\\evil.example", None, "/%5Cevil.example"),
            ("/x*", "/$1/evil.example", b"x", None, "/evil.example"),
            ("/*", "/$1", b"a%b/\xff", None, "/a%25b/%FF"),
            ("/a", "/%5Cb", b"a", None, "/%5Cb"),
            ("/*", "https://example.org/$1", b"a b", Some(b"q"), "https://example.org/a%20b?q"),
            ("/*", "https://example.org/$1", b"", None, "https://example.org/"),
            ("/*", "http://example.org:81", b"a", None, "http://example.org:81/"),
            ("/*", "https://[::1]/x/$1/", b"a", None, "https://[::1]/x/a/"),
            ("/item/:id", "/view?id=:id", b"item/7", Some(b"q"), "/view?id=7"),
            ("/:a/*", "/v?p=$2&u=:a#:a", b"x/y/z", None, "/v?p=y/z&u=x#x"),
            ("/*", "/v?q=$1", b"a&b=c#d?e+f %\xff", None, "/v?q=a%26b%3Dc%23d%3Fe%2Bf%20%25%FF"),
            ("/:id", "/v?t=12:30&u=http://:host/:ids", b"x", None, "/v?t=12:30&u=http://:host/:ids"),
            ("/:id", "/v?:id:id", b"x", None, "/v?xx"),
            ("/*", "/v#a$1b", b"\r\n", None, "/v#a%0D%0Ab"),
        ];
        for (from, to, path, query, expected) in table {
            let mut out = b"left over".to_vec();
            let location = rule(Action::Redirect, from, to).location(path, false, query, &mut out).unwrap();
            assert_eq!(location.escape_ascii().to_string(), expected, "{from} to {to}");
        }
    }

    #[test]
    fn a_slash_at_the_end_goes_along_with_the_rest_of_the_path() {
        let mut out = Vec::new();
        let rule = rule(Action::Redirect, "/old/*", "/new/$1");
        assert_eq!(rule.location(b"old/a", true, None, &mut out), Some(&b"/new/a/"[..]));
        assert_eq!(rule.location(b"old", true, Some(b"q"), &mut out), Some(&b"/new/?q"[..]));
        assert_eq!(rule.location(b"old", false, None, &mut out), Some(&b"/new"[..]));
    }
}
