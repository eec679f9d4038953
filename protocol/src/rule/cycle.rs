//! Redirects that send a client round for ever.

use std::collections::BTreeSet;

use super::{Action, Pattern, Piece, Rule, Segment, has_dot_segment};
use crate::target;

/// A path that has grown longer than this is followed no further: no server takes it, so it leads nowhere.
const PATH_BYTES_MAX: usize = 8192;
/// Redirects that a browser follows before it gives up (Fetch standard §4.4).
const REDIRECTS_MAX: usize = 20;
/// A word that is unlikely to be in a rule; if it is, that is one path less that is tried.
const OTHER_WORD: &[u8] = b"-";
/// Most paths that are tried; enough for hundreds of rules that lead to each other.
const PATHS_MAX: usize = 20_000;

/// A path from which redirects never end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    /// The path, percent-encoded, with the slash that it begins with.
    pub path: String,
    /// The rules that send the client round, by their places in the list.
    pub rules: Vec<usize>,
}

/// Looks for a path from which redirects never end: each is answered by the first rule that is about it, and
/// that is always a redirect to a path here. A rewrite ends the search, because what it yields is not matched
/// again; so does a redirect to an absolute URL, which may lead anywhere. What else redirects, as the missing
/// slash of a directory does, is not known here.
///
/// - **What it finds is real:** the path is followed by the very code that serves. It comes back to where it
///   was, or goes on for more redirects than a browser follows, or grows beyond 8 KiB.
/// - **If no target can match patterns in a circle, there is no loop,** and None is a proof. Targets and
///   patterns are compared by segments; a segment with a capture in it is taken for any segment, a `*` at the
///   end for any path.
/// - **Else None is the end of a search, and no proof.** Tried are up to 20,000 paths: each pattern of the circle
///   with its wildcards replaced by every literal of these rules and by one word that is unlikely to be one, one
///   wildcard at a time and all at once; a `*` at the end also by nothing and by two segments. So a loop that
///   needs two different words in two places is not found.
#[must_use]
pub fn find_loop(rules: &[Rule]) -> Option<Loop> {
    let suspects = suspects(rules);
    let words = words(rules, &suspects);
    let paths = suspects.iter().filter_map(|&at| rules.get(at)).flat_map(|rule| candidates(rule, &words));
    paths.take(PATHS_MAX).find_map(|path| follow(rules, path))
}

/// Rules that lie on a circle, or between two: each may be led to by, and may lead to, another one of them.
fn suspects(rules: &[Rule]) -> Vec<usize> {
    let leads =
        |from: &Rule, to: &Rule| from.is_local_redirect() && to.is_local_redirect() && may_match(from, to);
    let edges: Vec<(usize, usize)> = rules
        .iter()
        .enumerate()
        .flat_map(|(at, from)| {
            let targets = rules.iter().enumerate().filter(move |(_, to)| leads(from, to));
            targets.map(move |(target, _)| (at, target))
        })
        .collect();
    let mut left: BTreeSet<usize> = (0..rules.len()).collect();
    loop {
        let inside = edges.iter().filter(|(from, to)| left.contains(from) && left.contains(to));
        let (sources, targets): (BTreeSet<_>, BTreeSet<_>) = inside.copied().unzip();
        let next: BTreeSet<usize> = sources.intersection(&targets).copied().collect();
        if next.len() == left.len() {
            return left.into_iter().collect();
        }
        left = next;
    }
}

impl Rule {
    fn is_local_redirect(&self) -> bool {
        self.action == Action::Redirect && self.template.origin.is_empty()
    }
}

/// Whether the pattern of a rule may match something that another one leads to; if not, it never does.
fn may_match(from: &Rule, to: &Rule) -> bool {
    let mut pattern = to.pattern.segments.iter();
    for pieces in &from.template.segments {
        let segment = pattern.next();
        match (&pieces[..], segment) {
            _ if from.may_vanish_or_grow(pieces) => return true,
            (_, None) => return to.pattern.has_rest,
            ([Piece::Literal(text)], Some(segment)) if segment.matches(text).is_none() => return false,
            _ => {}
        }
    }
    pattern.next().is_none()
}

impl Rule {
    /// Whether a segment of the target may come out as none or as several.
    fn may_vanish_or_grow(&self, pieces: &[Piece]) -> bool {
        let is_filled = pieces.iter().any(|piece| match piece {
            Piece::Literal(_) => true,
            Piece::Capture(at) => matches!(self.pattern.wildcards().nth(*at), Some(Segment::Name)),
        });
        !is_filled || pieces.iter().any(|piece| matches!(piece, Piece::Capture(at) if self.is_rest(*at)))
    }
}

impl Pattern {
    /// The segments that capture something.
    fn wildcards(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| !matches!(segment, Segment::Literal(_)))
    }

    /// A path that matches: one word for the wildcard that is meant, or for all, another one for the others.
    /// `depth` is of how many segments a `*` at the end is made.
    fn path(&self, word: &[u8], only: Option<usize>, depth: usize) -> Vec<u8> {
        let mut path = Vec::new();
        let mut wildcard = 0;
        let mut next_word = || {
            let is_meant = only.is_none_or(|only| only == wildcard);
            wildcard += 1;
            if is_meant { word } else { OTHER_WORD }
        };
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => path.extend_from_slice(text),
                Segment::Name => path.extend_from_slice(next_word()),
                Segment::Around(before, behind) => {
                    let word = next_word();
                    let is_whole = segment.matches(word).is_some();
                    let parts = if is_whole { [&[], word, &[]] } else { [&before[..], word, behind] };
                    path.extend(parts.concat());
                }
            }
            path.push(b'/');
        }
        let rest = if self.has_rest { next_word() } else { &[] };
        for _ in 0..if rest.is_empty() { 0 } else { depth } {
            path.extend_from_slice(rest);
            path.push(b'/');
        }
        path.pop();
        path
    }
}

/// The literal segments of these rules, nothing, and the other word.
fn words(rules: &[Rule], suspects: &[usize]) -> Vec<Vec<u8>> {
    let mut words = BTreeSet::from([Vec::new(), OTHER_WORD.to_vec()]);
    for rule in suspects.iter().filter_map(|&at| rules.get(at)) {
        words.extend(rule.pattern.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(text) => Some(text.clone()),
            _ => None,
        }));
        words.extend(rule.template.segments.iter().flatten().filter_map(|piece| match piece {
            Piece::Literal(text) => Some(text.clone()),
            Piece::Capture(_) => None,
        }));
    }
    words.into_iter().collect()
}

/// Paths that the pattern of a rule matches.
fn candidates<'r>(rule: &'r Rule, words: &'r [Vec<u8>]) -> impl Iterator<Item = Vec<u8>> + use<'r> {
    let pattern = &rule.pattern;
    let count = pattern.captures_count();
    let words = if count == 0 { words.get(..1).unwrap_or_default() } else { words };
    let depths = if pattern.has_rest { 1..=2 } else { 1..=1 };
    let meant = (0..count).map(Some).chain([None]);
    words
        .iter()
        .flat_map(move |word| meant.clone().map(move |only| (word, only)))
        .flat_map(move |(word, only)| depths.clone().map(move |depth| pattern.path(word, only, depth)))
        // Not where a name would stand for nothing, nor what no request decodes to.
        .filter(|path| pattern.captures(path).is_some() && !has_dot_segment(path))
}

/// Goes where the rules lead, from one path.
fn follow(rules: &[Rule], start: Vec<u8>) -> Option<Loop> {
    let mut seen = vec![(start, false)];
    let mut met = Vec::new();
    let mut entry = 0;
    for _ in 0..REDIRECTS_MAX {
        let (path, is_directory) = seen.last()?;
        let (at, next) = redirect(rules, path, *is_directory)?;
        met.push(at);
        if let Some(before) = seen.iter().position(|seen| *seen == next) {
            entry = before;
            break;
        }
        if next.0.len() > PATH_BYTES_MAX {
            break;
        }
        seen.push(next);
    }
    let (path, is_directory) = seen.get(entry)?;
    let mut rules: Vec<usize> = met.split_off(entry);
    rules.sort_unstable();
    rules.dedup();
    let mut location = b"/".to_vec();
    target::encode_path(path, &mut location);
    if *is_directory && !path.is_empty() {
        location.push(b'/');
    }
    Some(Loop { path: String::from_utf8(location).ok()?, rules })
}

/// The rule that a path meets first, and the path that it leads to here, if it does.
fn redirect(rules: &[Rule], path: &[u8], is_directory: bool) -> Option<(usize, (Vec<u8>, bool))> {
    let mut next = Vec::new();
    let (at, rule, decoded) = rules
        .iter()
        .enumerate()
        .find_map(|(at, rule)| Some((at, rule, rule.rewrite(path, is_directory, &mut next)?)))?;
    rule.is_local_redirect().then_some((at, (next, decoded.is_directory)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pattern, arrow, target: `->` redirects, `=>` rewrites.
    fn rules(texts: &[&str]) -> Vec<Rule> {
        let parse = |text: &&str| match text.split_once(" -> ") {
            Some((from, to)) => Rule::new(Action::Redirect, from, to).unwrap(),
            None => {
                let (from, to) = text.split_once(" => ").unwrap();
                Rule::new(Action::Rewrite, from, to).unwrap()
            }
        };
        texts.iter().map(parse).collect()
    }

    #[test]
    fn a_circle_of_redirects_is_found() {
        let table: [(&[&str], &str, &[usize]); 18] = [
            (&["/a -> /a"], "/a", &[0]),
            (&["/a -> /a/"], "/a/", &[0]),
            (&["/a -> /b", "/b -> /a"], "/a", &[0, 1]),
            (&["/x -> /a", "/a -> /b", "/b -> /c", "/c -> /b"], "/b", &[2, 3]),
            (&["/* -> /down.html"], "/down.html", &[0]),
            (&["/* -> /$1"], "/", &[0]),
            (&["/old/* -> /old/v2/$1"], "/old", &[0]),
            (&["/a/* -> /b/$1", "/b/* -> /a/$1"], "/a", &[0, 1]),
            (&["/:x -> /b"], "/b", &[0]),
            (&["/go/:x -> /:x/go"], "/go/go", &[0]),
            (&["/:x/:y -> /:y/:x"], "/-/-", &[0]),
            (&["/*.php -> /$1.php"], "/.php", &[0]),
            (&["/x*y -> /$1y", "/*y -> /x$1y"], "/xy", &[0, 1]),
            // Nobody can ask for `/.`.
            (&["/*. -> /$1x.."], "/-.", &[0]),
            (&["/a => /b", "/* -> /b"], "/b", &[1]),
            (&["/a -> /a?b=c"], "/a", &[0]),
            (&["/%61 -> /%61#b"], "/a", &[0]),
            (&["/\u{e4} -> /\u{e4}"], "/%C3%A4", &[0]),
        ];
        for (texts, path, met) in table {
            let found = find_loop(&rules(texts));
            assert_eq!(found, Some(Loop { path: path.into(), rules: met.to_vec() }), "{texts:?}");
        }
    }

    #[test]
    fn what_ends_is_no_loop() {
        let table: [&[&str]; 14] = [
            &[],
            &["/a -> /b"],
            &["/a -> /b", "/b -> /c", "/c -> /d"],
            &["/old/* -> /new/$1"],
            &["/blog/:year/:slug -> /posts/:year-:slug"],
            &["/*.php -> /$1.html"],
            &["/a => /a"],
            &["/* => /index.html"],
            &["/a -> /b", "/b => /a"],
            &["/down.html => /down.html", "/* -> /down.html"],
            &["/a -> https://example.org/a"],
            &["/a -> /b", "/b -> http://example.org/a"],
            &["/a/* -> /$1"],
            &["/index.html -> /", "/a/* -> /b/$1", "/b/:x/* -> /c/$2"],
        ];
        for texts in table {
            assert_eq!(find_loop(&rules(texts)), None, "{texts:?}");
        }
    }

    /// Twenty redirects would make it a million times as long, or ten quintillion times.
    #[test]
    fn a_path_that_doubles_is_not_followed_to_the_end_of_memory() {
        for target in ["/a/$1/$1", "/a$1$1$1$1$1$1$1$1$1"] {
            let found = find_loop(&rules(&[&format!("/* -> {target}")]));
            assert!(found.is_some_and(|found| found.rules == [0] && found.path.len() < 100), "{target}");
        }
    }

    #[test]
    fn hundreds_of_rules_are_compared_without_trying_paths() {
        let texts: Vec<String> = (0..500).map(|at| format!("/old-{at}/* -> /old-{}/$1", at + 1)).collect();
        let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(find_loop(&rules(&texts)), None);
        texts.push("/old-500/* -> /old-480/$1");
        let found = find_loop(&rules(&texts)).unwrap();
        assert!(found.path == "/old-480" && found.rules.len() == REDIRECTS_MAX, "{found:?}");
    }
}
