//! Which fields responses have beside those that HTTP itself asks for: policies on caching, sharing and security,
//! and what the operator wrote. They depend on nothing but the path, so they are put together when a file is
//! opened, and cost a request nothing.
//!
//! Nothing in here looks at a request.

use bytes::BytesMut;
use protocol::cors::Origins;
use protocol::glob::Glob;
use protocol::http1::encode;

use super::digested::is_digested;
use super::sharing;
use crate::decision::decided;

/// How long others may keep what they were sent, where no rule says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// Nothing is said.
    #[default]
    Off,
    /// Pages are asked for again each time; names that hold a digest of the content are kept for a year.
    Auto,
    /// So many seconds.
    Seconds(u32),
}

/// A field line that the operator wrote.
#[derive(Clone, Debug)]
pub struct FieldRule {
    /// The paths that it is for; all if there is none.
    pub paths: Option<Glob>,
    /// The name of the field.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct FieldPolicy {
    /// How long others may keep what they were sent.
    pub cache: CachePolicy,
    /// In the order they were written.
    pub rules: Vec<FieldRule>,
    /// Whether browsers are told to be careful.
    pub has_security_fields: bool,
    /// Whose scripts may read what is served, besides its own.
    pub sharing: Option<Origins>,
    /// Whether caches that many use must not keep anything: it is only for those who have a password.
    pub is_private: bool,
}

/// What browsers are told to be careful about.
const SECURITY_FIELDS: [(&str, &str); 4] = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
];

const YEAR_S: u32 = 31_536_000;

impl FieldPolicy {
    /// Whether it adds nothing to anything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(self.cache, CachePolicy::Off)
            && self.rules.is_empty()
            && !self.has_security_fields
            && self.sharing.is_none()
    }

    /// Adds the lines for a file.
    pub fn append_for_file(&self, paths: &Paths<'_>, out: &mut BytesMut) {
        self.append_for_content(paths, is_page(paths.found), out);
    }

    /// Adds the lines for a listing: it is a page, and what a browser may do with it is said in
    /// `security_policy` unless a rule says it.
    pub fn append_for_listing(&self, paths: &Paths<'_>, security_policy: Option<&str>, out: &mut BytesMut) {
        const NAME: &str = "Content-Security-Policy";
        if let Some(policy) = security_policy.filter(|_| !self.has_rule(paths, NAME)) {
            encode::field(out, NAME, policy.as_bytes());
        }
        self.append_for_content(paths, true, out);
    }

    fn append_for_content(&self, paths: &Paths<'_>, is_page: bool, out: &mut BytesMut) {
        if !self.has_rule(paths, "cache-control") {
            self.append_cache_control(paths.found, is_page, out);
        }
        self.append_for_page(paths, false, out);
    }

    fn append_cache_control(&self, name: &[u8], is_page: bool, out: &mut BytesMut) {
        let whose = if self.is_private { "private" } else { "public" };
        let (value, why) = match self.cache {
            CachePolicy::Auto if is_page && self.is_private => {
                ("private, no-cache".to_owned(), "a page is to be asked for each time")
            }
            CachePolicy::Auto if is_page => ("no-cache".to_owned(), "a page is to be asked for each time"),
            CachePolicy::Auto if is_digested(name) => {
                (format!("{whose}, max-age={YEAR_S}, immutable"), "the name holds a digest of the content")
            }
            CachePolicy::Auto if self.is_private => (whose.to_owned(), "it is for those who have a password"),
            CachePolicy::Off | CachePolicy::Auto => return,
            CachePolicy::Seconds(seconds) => {
                (format!("{whose}, max-age={seconds}"), "all may be kept for that long")
            }
        };
        decided!("field", "Cache-Control, as {why}");
        encode::field(out, "Cache-Control", value.as_bytes());
    }

    /// Adds the lines for a response that is no state of what was asked for: an error, a redirect. How long an error
    /// may be kept is not for the rules to say, which mean what is there when all is well.
    pub fn append_for_page(&self, paths: &Paths<'_>, is_error: bool, out: &mut BytesMut) {
        if let Some(origins) = self.sharing.as_ref().filter(|_| !self.has_rule(paths, sharing::ALLOW_ORIGIN))
        {
            sharing::append_always(origins, out);
        }
        if self.has_security_fields {
            decided!("field", "those that make browsers careful");
            for (name, value) in SECURITY_FIELDS.iter().filter(|(name, _)| !self.has_rule(paths, name)) {
                encode::field(out, name, value.as_bytes());
            }
        }
        for rule in self.lasting_rules_for(paths).filter(|rule| !is_error || !is_about_keeping(&rule.name)) {
            let paths = if rule.paths.is_some() { "paths like this" } else { "all paths" };
            decided!("field", "{}: {}, by a rule for {paths}", rule.name, rule.value);
            encode::field(out, &rule.name, rule.value.as_bytes());
        }
    }

    fn rules_for(&self, paths: &Paths<'_>) -> impl Iterator<Item = &FieldRule> {
        self.rules.iter().filter(|rule| rule.paths.as_ref().is_none_or(|glob| paths.are_matched_by(glob)))
    }

    /// Of rules about a field that a response has once, only the last.
    fn lasting_rules_for(&self, paths: &Paths<'_>) -> impl Iterator<Item = &FieldRule> {
        self.rules_for(paths)
            .enumerate()
            .filter(|(at, rule)| {
                let mut later = self.rules_for(paths).skip(at + 1);
                may_be_repeated(&rule.name) || !later.any(|other| other.name.eq_ignore_ascii_case(&rule.name))
            })
            .map(|(_, rule)| rule)
    }

    fn has_rule(&self, paths: &Paths<'_>, name: &str) -> bool {
        self.rules_for(paths).any(|rule| rule.name.eq_ignore_ascii_case(name))
    }
}

/// Fields of which each line adds to the others. Of any other, browsers and caches take one or join what contradicts.
fn may_be_repeated(name: &str) -> bool {
    ["Link", "Server-Timing", "Set-Cookie", "Vary"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether a field says how long a response may be kept: `Cache-Control` and those for certain caches (RFC 9213), such
/// as `CDN-Cache-Control`.
fn is_about_keeping(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with("cache-control") || ["age", "expires", "surrogate-control"].contains(&name.as_str())
}

/// What a rule may be about: `docs` is also `docs/index.html`.
#[derive(Clone, Copy, Debug)]
pub struct Paths<'a> {
    /// The path that was asked for, decoded, with no slash at either end.
    pub asked: &'a [u8],
    /// That of the file found there.
    pub found: &'a [u8],
}

impl Paths<'_> {
    fn are_matched_by(&self, glob: &Glob) -> bool {
        glob.matches(self.asked) || glob.matches(self.found)
    }
}

fn is_page(name: &[u8]) -> bool {
    matches!(extension(name), b"html" | b"htm" | b"xhtml")
}

fn extension(name: &[u8]) -> &[u8] {
    name.rsplit(|&byte| byte == b'.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(policy: &FieldPolicy, path: &str) -> String {
        let mut out = BytesMut::new();
        policy.append_for_file(&Paths { asked: path.as_bytes(), found: path.as_bytes() }, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn rule(paths: Option<&str>, name: &str, value: &str) -> FieldRule {
        let paths = paths.map(|paths| paths.parse().unwrap());
        FieldRule { paths, name: name.into(), value: value.into() }
    }

    #[test]
    fn the_age_depends_on_the_name() {
        let auto = FieldPolicy { cache: CachePolicy::Auto, ..FieldPolicy::default() };
        let table = [
            ("index.html", "Cache-Control: no-cache\r\n"),
            ("app.3f2a9c1b.js", "Cache-Control: public, max-age=31536000, immutable\r\n"),
            ("app.js", ""),
        ];
        for (path, expected) in table {
            assert_eq!(lines(&auto, path), expected, "{path}");
        }
        let hour = FieldPolicy { cache: CachePolicy::Seconds(3600), ..FieldPolicy::default() };
        assert_eq!(lines(&hour, "index.html"), "Cache-Control: public, max-age=3600\r\n");
    }

    #[test]
    fn a_rule_outranks_a_policy_and_all_that_match_apply() {
        let policy = FieldPolicy {
            cache: CachePolicy::Auto,
            rules: vec![
                rule(Some("/*.html"), "cache-control", "no-store"),
                rule(None, "X-All", "1"),
                rule(Some("/other/**"), "X-Other", "2"),
            ],
            ..FieldPolicy::default()
        };
        assert_eq!(lines(&policy, "index.html"), "cache-control: no-store\r\nX-All: 1\r\n");
        assert_eq!(lines(&policy, "other/a.css"), "X-All: 1\r\nX-Other: 2\r\n");
    }
}
