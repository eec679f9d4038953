//! Path globs: which paths a rule of the operator's is about.
//!
//! A glob is compiled once into a small program, and a path is walked once, character by character, with the
//! set of all places where the program can stand. So a match takes time in proportion to path times glob,
//! whatever they are, and allocates nothing. Paths are as [`crate::target::decode_path`] gives them: decoded,
//! no slash at either end.
//!
//! | in a glob | matches |
//! |---|---|
//! | `*` | any characters but slashes, or none |
//! | `?` | one character but a slash |
//! | `**` | any characters, slashes too, or none |
//! | `**/` at the start or behind a slash | any number of whole segments, or none |
//! | `/**` at the end | everything below, and the directory itself |
//! | `[a-z_]`, `[!a-z]` | one character out of, or not out of, a class; never a slash |
//! | `{a,b}` | either; may be nested |
//! | `\*` | the character behind the backslash as it is |
//!
//! A glob without a slash is about the last segment of a path, wherever that lies; any other one is about the
//! whole path, and begins at the root whether its first slash is written or not.

use std::error::Error;
use std::fmt;
use std::iter::Peekable;
use std::str::CharIndices;

/// Most steps that a compiled glob may have, which is about one a character.
const STEPS_MAX: usize = 256;

/// A compiled glob.
#[derive(Clone, Debug)]
pub struct Glob {
    steps: Vec<Step>,
}

/// One step of the program. Every step leads forward, or stays; so one pass over the places in their order
/// finds all that can be reached without a character.
#[derive(Clone, Debug)]
enum Step {
    Literal(char),
    /// `?`
    One,
    /// `*`: stays for anything but a slash, and may be left at any time.
    Some,
    /// `**`: stays for anything, and may be left at any time.
    Any,
    Class(Class),
    /// Goes on with the next step as well as with another one.
    Fork(usize),
    Jump(usize),
}

#[derive(Clone, Debug)]
struct Class {
    is_negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn matches(&self, character: Option<char>) -> bool {
        let is_in = character.is_some_and(|character| {
            self.ranges.iter().any(|&(low, high)| (low..=high).contains(&character))
        });
        character != Some('/') && is_in != self.is_negated
    }
}

/// What is wrong with a glob, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobError {
    /// What is wrong.
    pub kind: GlobErrorKind,
    /// The byte where it begins, from 0.
    pub at: usize,
}

/// What can be wrong with a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobErrorKind {
    /// There is nothing in it.
    Empty,
    /// `{` without `}`.
    UnclosedBrace,
    /// `}` without `{`.
    UnopenedBrace,
    /// `[` without `]`.
    UnclosedClass,
    /// A range in a class that ends before it begins.
    ReversedRange,
    /// A backslash at the end.
    NothingEscaped,
    /// More than 256 steps, about one a character.
    TooLong,
}

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            GlobErrorKind::Empty => "the glob is empty",
            GlobErrorKind::UnclosedBrace => "`{` is never closed",
            GlobErrorKind::UnopenedBrace => "`}` was never opened; `\\}` means the character",
            GlobErrorKind::UnclosedClass => "`[` is never closed; `\\[` means the character",
            GlobErrorKind::ReversedRange => "the range ends before it begins",
            GlobErrorKind::NothingEscaped => "nothing follows the backslash",
            GlobErrorKind::TooLong => "the glob is too long",
        })?;
        write!(f, ", at byte {}", self.at + 1)
    }
}

impl Error for GlobError {}

impl std::str::FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        Compiler::new(text).compile()
    }
}

impl Glob {
    /// Whether a path matches. Bytes that are no UTF-8 are matched by wildcards and negated classes only.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let mut places = Places::START;
        for chunk in path.utf8_chunks() {
            for character in chunk.valid().chars() {
                places = self.advance(places, Some(character));
            }
            for _ in chunk.invalid() {
                places = self.advance(places, None);
            }
            if places.is_empty() {
                return false;
            }
        }
        self.advance(places, None).is_end_reached
    }

    /// Takes one character from all places at once.
    fn advance(&self, mut places: Places, character: Option<char>) -> Places {
        let mut next = Places::NONE;
        let mut from = 0;
        while let Some(place) = places.next_from(from) {
            from = place + 1;
            match self.steps.get(place) {
                Some(Step::Literal(literal)) if character == Some(*literal) => next.add(place + 1),
                Some(Step::One) if character != Some('/') => next.add(place + 1),
                Some(Step::Class(class)) if class.matches(character) => next.add(place + 1),
                Some(step @ (Step::Some | Step::Any)) => {
                    places.add(place + 1);
                    if matches!(step, Step::Any) || character != Some('/') {
                        next.add(place);
                    }
                }
                Some(Step::Fork(other)) => {
                    places.add(place + 1);
                    places.add(*other);
                }
                Some(Step::Jump(other)) => places.add(*other),
                Some(_) => {}
                None => next.is_end_reached = true,
            }
        }
        next
    }
}

/// A set of places in a program; the one behind the last step is the end.
#[derive(Clone, Copy)]
struct Places {
    words: [u64; STEPS_MAX / 64 + 1],
    /// Whether the end was among the places that were advanced from.
    is_end_reached: bool,
}

impl Places {
    const NONE: Self = Self { words: [0; STEPS_MAX / 64 + 1], is_end_reached: false };
    const START: Self = {
        let mut start = Self::NONE;
        let [first, ..] = &mut start.words;
        *first = 1;
        start
    };

    fn add(&mut self, place: usize) {
        if let Some(word) = self.words.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The first place from that one on.
    fn next_from(&self, from: usize) -> Option<usize> {
        let first = from / 64;
        let mut mask = u64::MAX << (from % 64);
        for (at, word) in self.words.iter().enumerate().skip(first) {
            let word = word & mask;
            if word != 0 {
                return Some(at * 64 + word.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }
}

struct Compiler<'t> {
    text: &'t str,
    rest: Peekable<CharIndices<'t>>,
    steps: Vec<Step>,
    braces: Vec<Brace>,
}

/// An open brace.
struct Brace {
    at: usize,
    /// The fork before the current alternative.
    fork: usize,
    /// The jumps behind the alternatives before it.
    jumps: Vec<usize>,
}

impl<'t> Compiler<'t> {
    fn new(text: &'t str) -> Self {
        let mut rest = text.char_indices().peekable();
        rest.next_if(|&(_, character)| character == '/');
        Self { text, rest, steps: Vec::new(), braces: Vec::new() }
    }

    fn compile(mut self) -> Result<Glob, GlobError> {
        if self.text.is_empty() {
            return Err(GlobError { kind: GlobErrorKind::Empty, at: 0 });
        }
        if !self.text.contains('/') {
            self.whole_segments();
        }
        while let Some((at, character)) = self.rest.next() {
            self.step(at, character)?;
            if self.steps.len() > STEPS_MAX {
                return Err(GlobError { kind: GlobErrorKind::TooLong, at });
            }
        }
        match self.braces.pop() {
            Some(brace) => Err(GlobError { kind: GlobErrorKind::UnclosedBrace, at: brace.at }),
            None => Ok(Glob { steps: self.steps }),
        }
    }

    fn step(&mut self, at: usize, character: char) -> Result<(), GlobError> {
        match character {
            '*' if self.rest.next_if(|&(_, next)| next == '*').is_some() => self.double(at),
            '/' if self.rest_of_text(at) == "/**" => self.everything_below(),
            '{' => self.open(at),
            ',' if !self.braces.is_empty() => self.alternative(),
            '}' => self.close(at)?,
            single => {
                let step = self.single(at, single)?;
                self.steps.push(step);
            }
        }
        Ok(())
    }

    /// What takes one step.
    fn single(&mut self, at: usize, character: char) -> Result<Step, GlobError> {
        Ok(match character {
            '*' => Step::Some,
            '?' => Step::One,
            '[' => self.class(at)?,
            '\\' => Step::Literal(self.escaped(at)?),
            other => Step::Literal(other),
        })
    }

    fn rest_of_text(&self, at: usize) -> &'t str {
        self.text.get(at..).unwrap_or_default()
    }

    /// `**`, of which both asterisks are read.
    fn double(&mut self, at: usize) {
        while self.rest.next_if(|&(_, next)| next == '*').is_some() {}
        let is_segment_start = at == 0 || self.text.get(..at).is_some_and(|before| before.ends_with('/'));
        if is_segment_start && self.rest.next_if(|&(_, next)| next == '/').is_some() {
            self.whole_segments();
        } else {
            self.steps.push(Step::Any);
        }
    }

    /// `**/`
    fn whole_segments(&mut self) {
        let behind = self.steps.len() + 3;
        self.steps.extend([Step::Fork(behind), Step::Any, Step::Literal('/')]);
    }

    /// `/**` at the end.
    fn everything_below(&mut self) {
        self.rest.by_ref().for_each(drop);
        let behind = self.steps.len() + 3;
        self.steps.extend([Step::Fork(behind), Step::Literal('/'), Step::Any]);
    }

    fn escaped(&mut self, at: usize) -> Result<char, GlobError> {
        let escaped = self.rest.next().map(|(_, character)| character);
        escaped.ok_or(GlobError { kind: GlobErrorKind::NothingEscaped, at })
    }

    fn open(&mut self, at: usize) {
        self.braces.push(Brace { at, fork: self.steps.len(), jumps: Vec::new() });
        self.steps.push(Step::Fork(0));
    }

    /// The comma between two alternatives.
    fn alternative(&mut self) {
        let jump = self.steps.len();
        self.steps.extend([Step::Jump(0), Step::Fork(0)]);
        let Some(brace) = self.braces.last_mut() else { return };
        brace.jumps.push(jump);
        let fork = std::mem::replace(&mut brace.fork, jump + 1);
        self.set(fork, Step::Fork(jump + 1));
    }

    fn close(&mut self, at: usize) -> Result<(), GlobError> {
        let unopened = GlobError { kind: GlobErrorKind::UnopenedBrace, at };
        let brace = self.braces.pop().ok_or(unopened)?;
        self.set(brace.fork, Step::Jump(brace.fork + 1));
        let behind = self.steps.len();
        brace.jumps.into_iter().for_each(|jump| self.set(jump, Step::Jump(behind)));
        Ok(())
    }

    fn set(&mut self, at: usize, step: Step) {
        if let Some(place) = self.steps.get_mut(at) {
            *place = step;
        }
    }

    /// A class, of which the opening bracket is read.
    fn class(&mut self, at: usize) -> Result<Step, GlobError> {
        let is_negated = self.rest.next_if(|&(_, next)| matches!(next, '!' | '^')).is_some();
        let mut ranges = Vec::new();
        loop {
            let unclosed = GlobError { kind: GlobErrorKind::UnclosedClass, at };
            let (start, low) = self.rest.next().ok_or(unclosed)?;
            if low == ']' && !ranges.is_empty() {
                return Ok(Step::Class(Class { is_negated, ranges }));
            }
            let low = if low == '\\' { self.escaped(start)? } else { low };
            let high = self.end_of_range()?.unwrap_or(low);
            if high < low {
                return Err(GlobError { kind: GlobErrorKind::ReversedRange, at: start });
            }
            ranges.push((low, high));
        }
    }

    /// What stands behind a dash in a class, unless the dash stands for itself, before the bracket.
    fn end_of_range(&mut self) -> Result<Option<char>, GlobError> {
        let Some(&(at, '-')) = self.rest.peek() else { return Ok(None) };
        if self.rest_of_text(at).starts_with("-]") {
            return Ok(None);
        }
        self.rest.next();
        match self.rest.next() {
            Some((at, '\\')) => self.escaped(at).map(Some),
            high => Ok(high.map(|(_, character)| character)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(glob: &str, path: &[u8]) -> bool {
        glob.parse::<Glob>().unwrap().matches(path)
    }

    #[test]
    fn each_wildcard_matches_what_the_table_says() {
        let table: [(&str, &[&str], &[&str]); 34] = [
            ("/", &[""], &["a"]),
            ("/a", &["a"], &["", "b", "aa", "a/a", "b/a"]),
            ("a/b", &["a/b"], &["c/a/b", "a/b/c", "b"]),
            ("a.js", &["a.js", "b/a.js", "b/c/a.js"], &["a.jsx", "ba.js", "a.js/b"]),
            ("*.js", &["a.js", ".js", "b/a.js", "b/c/a.b.js"], &["a.j", "a.js/b", "js"]),
            ("/*.js", &["a.js"], &["b/a.js"]),
            ("/*", &["", "a"], &["a/b"]),
            ("/a*", &["a", "ab"], &["ba", "a/b"]),
            ("/a/*", &["a/b", "a/.b"], &["a", "a/b/c"]),
            ("/a/*/c", &["a/b/c"], &["a/c", "a/b/b/c"]),
            ("/a*b*c", &["abc", "axbxc", "abbc", "abcbc"], &["ac", "ab/c", "abcd"]),
            ("?", &["a", "b/\u{e4}"], &["", "ab"]),
            ("/?/b", &["a/b"], &["/b", "ab/b"]),
            ("**", &["", "a", "a/b"], &[]),
            ("/**", &["", "a", "a/b"], &[]),
            ("/a/**", &["a", "a/b", "a/b/c"], &["ab", "b/a"]),
            ("**/a", &["a", "b/a", "b/c/a"], &["ba", "a/b"]),
            ("/a/**/b", &["a/b", "a/c/b", "a/c/d/b"], &["ab", "a/cb", "b"]),
            ("/**/a/**", &["a", "a/b", "b/a", "c/a/b"], &["b", "aa"]),
            ("/a**b", &["ab", "a/b", "axx/yyb"], &["a", "b"]),
            ("/a***/b", &["a/b", "ax/y/b"], &["ab"]),
            ("{a,b}", &["a", "b", "c/b"], &["", "ab", "{a,b}"]),
            ("*.{js,css}", &["a.js", "b/a.css"], &["a.", "a.jscss", "a.html"]),
            ("/{a,b/c,}x", &["ax", "b/cx", "x"], &["bx", "cx"]),
            ("/{a{1,2},b}", &["a1", "a2", "b"], &["a", "b1"]),
            ("/{a}", &["a"], &["{a}"]),
            ("/{}a", &["a"], &["{}a"]),
            ("/{*.js,b/**/c}", &["a.js", "b/c", "b/x/y/c"], &["b/a.js", "bc"]),
            ("[a-c]", &["a", "b", "c"], &["d", "-", "ab"]),
            ("/[!a-c]x", &["dx", "-x"], &["ax", "/x", "x"]),
            ("/[]a-]", &["]", "a", "-"], &["b"]),
            ("/[^\\]/]x", &["ax"], &["]x", "/x"]),
            ("/a,b", &["a,b"], &["a"]),
            ("\\*\\{\\[\\\\", &["*{[\\"], &["a{[\\"]),
        ];
        for (glob, matching, others) in table {
            for path in matching {
                assert!(matches(glob, path.as_bytes()), "{glob} should match {path:?}");
            }
            for path in others {
                assert!(!matches(glob, path.as_bytes()), "{glob} should not match {path:?}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_matched_one_by_one() {
        assert!(matches("/?a", b"\xffa") && matches("/??", b"\xe2\x82") && matches("/*", b"\xff\xfe"));
        assert!(matches("/[!x]", b"\xff") && !matches("/[x-\u{10ffff}]", b"\xff"));
        assert!(matches("/[\u{e0}-\u{ff}]", "\u{e4}".as_bytes()) && !matches("/\u{e4}", b"\xe4"));
    }

    #[test]
    fn errors_say_what_and_where() {
        use GlobErrorKind::*;
        let table: [(&str, GlobErrorKind, usize); 15] = [
            ("", Empty, 0),
            ("/a{b", UnclosedBrace, 2),
            ("{a,{b}", UnclosedBrace, 0),
            ("{a/**", UnclosedBrace, 0),
            ("a}", UnopenedBrace, 1),
            ("{a}}", UnopenedBrace, 3),
            ("a[b", UnclosedClass, 1),
            ("[]", UnclosedClass, 0),
            ("[!]", UnclosedClass, 0),
            ("[a-", UnclosedClass, 0),
            ("\u{e4}[b-a]", ReversedRange, 3),
            ("[x\\", NothingEscaped, 2),
            ("[x-\\", NothingEscaped, 3),
            ("a\\", NothingEscaped, 1),
            ("/a/\\", NothingEscaped, 3),
        ];
        for (glob, kind, at) in table {
            assert_eq!(glob.parse::<Glob>().unwrap_err(), GlobError { kind, at }, "{glob}");
        }
        let error = "/a{b".parse::<Glob>().unwrap_err();
        assert_eq!(error.to_string(), "`{` is never closed, at byte 3");
    }

    #[test]
    fn a_glob_has_256_steps_at_most() {
        let longest = "a".repeat(STEPS_MAX);
        assert!(matches(&format!("/{longest}"), longest.as_bytes()));
        let error = format!("/{longest}*").parse::<Glob>().unwrap_err();
        assert_eq!(error, GlobError { kind: GlobErrorKind::TooLong, at: 257 });
    }

    /// Backtracking would take longer than the universe has.
    #[test]
    fn no_glob_takes_exponential_time() {
        let path = "a".repeat(8000);
        let table: [(&str, usize, bool); 4] =
            [("*a", 100, true), ("**a", 100, true), ("{a,a*,*}", 25, true), ("{{a,a},{a,a}}", 12, false)];
        for (repeated, times, is_found) in table {
            let glob = format!("/{}b", repeated.repeat(times));
            assert!(!matches(&glob, path.as_bytes()), "{glob}");
            assert_eq!(matches(&glob, format!("{path}b").as_bytes()), is_found, "{glob}");
        }
    }
}
