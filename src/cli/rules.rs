//! Flags about where requests are sent, which types files have and who may read them, and how their values are
//! read.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use protocol::Status;
use protocol::cors::Origins;
use protocol::media_type::{MediaType, MediaTypeError};
use protocol::rule::{self, Action, Rule, RuleErrorKind};
use protocol::target;
use worker::FieldRule;

use super::value::line;
use crate::show::{plain, quoted};

const CORS_HELP: &str = "\
Let scripts of other sites read what is served: of all, or of those such as https://example.org,http://localhost:3000";

/// Rules by path, extension and origin.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Routing")]
pub(crate) struct Rules {
    /// Send clients elsewhere, with 301 or CODE: '/old/*=/new/$1', '302:/:user/x=https://x.org/:user'; may be
    /// repeated; the first that matches counts, before rewrites and files
    #[arg(long, env = "ONELOOP_REDIRECT", value_name = "[CODE:]FROM=TO", value_delimiter = '\n')]
    #[arg(value_parser = line(parse_redirect))]
    pub(crate) redirect: Vec<Option<Redirect>>,

    /// Answer as if something else had been asked for: '/old/*=/new/$1'; may be repeated; the first that matches
    /// counts, before files
    #[arg(long, env = "ONELOOP_REWRITE", value_name = "FROM=TO", value_delimiter = '\n')]
    #[arg(value_parser = line(parse_rewrite))]
    pub(crate) rewrite: Vec<Option<Rewrite>>,

    /// The media type of files whose name ends in .EXT; may be repeated
    #[arg(long, env = "ONELOOP_MIME", value_name = "EXT=TYPE", value_delimiter = '\n')]
    #[arg(value_parser = line(parse_media_type))]
    pub(crate) mime: Vec<Option<MediaType>>,

    /// Let scripts of other sites read what is served.
    #[arg(long, env = "ONELOOP_CORS", value_name = "ORIGINS|*", value_parser = parse_origins, help = CORS_HELP)]
    pub(crate) cors: Option<Origins>,
}

/// A rule that redirects, as it was written and as it is read.
#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    text: String,
    /// The status of the response.
    pub(crate) status: Status,
    /// Which paths, and where to.
    pub(crate) rule: Rule,
}

/// A rule that rewrites.
#[derive(Clone, Debug)]
pub(crate) struct Rewrite {
    text: String,
    /// Which paths, and what to.
    pub(crate) rule: Rule,
}

/// Statuses that redirect (RFC 9110 §15.4), the usual one first.
const REDIRECTING: [Status; 5] = [
    Status::MovedPermanently,
    Status::Found,
    Status::SeeOther,
    Status::TemporaryRedirect,
    Status::PermanentRedirect,
];

fn parse_redirect(text: &str) -> Result<Redirect, String> {
    let (status, rule) = match text.split_once(':') {
        Some((code, rule)) if !text.starts_with('/') => {
            let status = REDIRECTING.into_iter().find(|status| status.code().to_string() == code);
            let message = || format!("{} is not one of 301, 302, 303, 307 and 308", quoted(code));
            (status.ok_or_else(message)?, rule)
        }
        _ => (Status::MovedPermanently, text),
    };
    Ok(Redirect { text: text.to_owned(), status, rule: parse_rule(Action::Redirect, rule)? })
}

fn parse_rewrite(text: &str) -> Result<Rewrite, String> {
    Ok(Rewrite { text: text.to_owned(), rule: parse_rule(Action::Rewrite, text)? })
}

fn parse_rule(action: Action, text: &str) -> Result<Rule, String> {
    let (from, to) = split_rule(text).ok_or("it must be FROM=TO, such as '/old/*=/new/$1'")?;
    Rule::new(action, from, to).map_err(|error| match error.kind {
        RuleErrorKind::NoCapture => {
            format!("FROM has no {}; {error}", quoted(capture(to.get(error.at..).unwrap_or_default())))
        }
        _ => error.to_string(),
    })
}

/// The capture that a target begins with: `$1` or `:name`.
fn capture(to: &str) -> &str {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let end = to.get(1..).and_then(|name| name.find(|character| !is_name(character)));
    end.and_then(|end| to.get(..=end)).unwrap_or(to)
}

fn parse_media_type(text: &str) -> Result<MediaType, String> {
    let last = text.split_once('=').and_then(|(extension, _)| extension.rsplit_once('.'));
    text.parse().map_err(|error: MediaTypeError| match (error, last) {
        (MediaTypeError::Extension, Some((_, last))) if !last.is_empty() && !last.contains(['/', '\0']) => {
            let write = quoted(format!("{last}=TYPE"));
            format!("{error}: write {write}, which then holds for all .{last}", last = plain(last))
        }
        _ => error.to_string(),
    })
}

/// Pattern and target. In a pattern, `%3D` is an equals sign.
fn split_rule(text: &str) -> Option<(&str, &str)> {
    text.split_once('=')
}

fn parse_origins(text: &str) -> Result<Origins, String> {
    if text == "*" {
        return Ok(Origins::Any);
    }
    let origin = |text: &str| match text {
        "*" => Err("* is all origins: give it alone".to_owned()),
        _ => text.parse().map_err(|error| format!("{}: {error}", quoted(text))),
    };
    text.split(',').map(origin).collect::<Result<_, _>>().map(Origins::These)
}

impl Rules {
    /// What is wrong with the rules together, though each of them is right; `fields` are those of the operator's.
    pub(super) fn contradiction(&self, matches: &ArgMatches, fields: &[Option<FieldRule>]) -> Option<String> {
        let name = |id: &str| match matches.value_source(id) {
            Some(ValueSource::EnvVariable) => format!("ONELOOP_{}", id.to_uppercase()),
            _ => format!("--{id}"),
        };
        let redirects =
            self.redirect.iter().flatten().map(|redirect| (&redirect.rule, "redirect", &redirect.text));
        let rewrites = self.rewrite.iter().flatten().map(|rewrite| (&rewrite.rule, "rewrite", &rewrite.text));
        let (rules, names): (Vec<Rule>, Vec<Named<'_>>) = redirects
            .chain(rewrites)
            .map(|(rule, id, text)| (rule.clone(), Named { flag: name(id), text }))
            .unzip();
        unreachable(&rules, &names)
            .or_else(|| endless(&rules, &names))
            .or_else(|| self.doubly_shared(&name("cors"), fields))
    }

    /// Two origins in one response would be none to a browser.
    fn doubly_shared(&self, flag: &str, fields: &[Option<FieldRule>]) -> Option<String> {
        let is_sharing = |rule: &&FieldRule| rule.name.to_ascii_lowercase().starts_with("access-control-");
        let rule = fields
            .iter()
            .flatten()
            .find(is_sharing)
            .filter(|_| matches!(self.cors, Some(Origins::These(_))))?;
        Some(format!("{flag} with a list of origins says {} itself: remove it from --header", rule.name))
    }
}

/// How a rule is named to whoever wrote it.
struct Named<'r> {
    flag: String,
    text: &'r str,
}

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.flag, quoted(self.text))
    }
}

/// A rule that none of the paths meets which it is about, as far as that is easily seen: an earlier one has the same
/// pattern, or is about its only path.
fn unreachable(rules: &[Rule], names: &[Named<'_>]) -> Option<String> {
    let patterns: Vec<&str> = names.iter().map(|name| pattern(name.text)).collect();
    (1..rules.len()).find_map(|at| {
        let is_hidden_by = |earlier: &usize| {
            patterns.get(*earlier) == patterns.get(at)
                || is_about_only_path(rules.get(*earlier), patterns.get(at))
        };
        let (earlier, late) = (names.get((0..at).find(is_hidden_by)?)?, names.get(at)?);
        Some(format!(
            "{late} never matches, because {earlier} comes before it: remove one, or change their order"
        ))
    })
}

fn pattern(text: &str) -> &str {
    let from = split_rule(text).map_or(text, |(from, _)| from);
    let from = from.find('/').and_then(|start| from.get(start..)).unwrap_or(from);
    from.strip_suffix('/').unwrap_or(from)
}

/// Whether a rule is about the one path that a pattern without wildcards matches.
fn is_about_only_path(rule: Option<&Rule>, pattern: Option<&&str>) -> bool {
    let (Some(rule), Some(pattern)) = (rule, pattern) else { return false };
    let mut path = Vec::new();
    let is_plain = !pattern.contains('*') && !pattern.contains("/:");
    let encoded = if pattern.is_empty() { "/" } else { pattern };
    is_plain
        && target::decode_path(encoded.as_bytes(), &mut path).is_ok()
        && rule.rewrite(&path, false, &mut Vec::new()).is_some()
}

/// Redirects that send a client round for ever.
fn endless(rules: &[Rule], names: &[Named<'_>]) -> Option<String> {
    let found = rule::find_loop(rules)?;
    let rules: Vec<String> = found.rules.iter().filter_map(|&at| Some(names.get(at)?.to_string())).collect();
    Some(format!("redirects from {} never end: {}", quoted(found.path), rules.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::Cli;

    fn error(arguments: &[&str]) -> String {
        let read = Cli::read(std::iter::once("oneloop").chain(arguments.iter().copied()), None);
        let error = read.expect_err(&format!("{arguments:?}"));
        assert_eq!(error.exit_code(), 2, "{arguments:?}");
        error.to_string()
    }

    #[test]
    fn a_wrong_rule_is_told_where_it_is_wrong() {
        let table: [(&[&str], &str); 15] = [
            (&["--redirect", "/a"], "'/a' for '--redirect <[CODE:]FROM=TO>': it must be FROM=TO"),
            (&["--redirect", "/a=b"], "`http://` or `https://`, at byte 1 of the target"),
            (&["--redirect", "300:/a=/b"], "'300' is not one of 301, 302, 303, 307 and 308"),
            (&["--redirect", ":/a=/b"], "'' is not one of 301"),
            (&["--redirect", "a=/b"], "a pattern begins with `/`, at byte 1 of the pattern"),
            (&["--redirect", "/a=https://b c/"], "this is no host and port"),
            (
                &["--rewrite", "/a=/b/$1"],
                "FROM has no '$1'; the pattern captures nothing for this; `%24` is a dollar sign, at byte 4",
            ),
            (&["--redirect", "/a/:x=/b/:y/c"], "FROM has no ':y'; "),
            (&["--rewrite", "/a=https://b/"], "that of a redirect"),
            (&["--rewrite", "/a=/../b"], "no path has an empty segment, `.` or `..`"),
            (&["--mime", "md"], "'md' for '--mime <EXT=TYPE>': it must be EXT=TYPE"),
            (&["--mime", "tar.gz=a/b"], "write 'gz=TYPE', which then holds for all .gz"),
            (&["--mime", "md=text"], "a media type is TYPE/SUBTYPE"),
            (&["--cors", "example.org"], "'example.org': an origin begins with http://"),
            (&["--cors", "https://a,*"], "* is all origins: give it alone"),
        ];
        for (arguments, expected) in table {
            let line = error(arguments);
            assert!(line.contains(expected), "{arguments:?}: {line}");
        }
    }

    #[test]
    fn rules_that_contradict_each_other_are_named() {
        let table: [(&[&str], &str); 9] = [
            (&["--redirect", "/a=/a/"], "redirects from '/a/' never end: --redirect '/a=/a/'"),
            (
                &["--redirect", "/a=/b", "--redirect", "302:/b=/a"],
                "redirects from '/a' never end: --redirect '/a=/b', --redirect '302:/b=/a'",
            ),
            (
                &["--redirect", "/a/=/b", "--redirect", "/a=/c"],
                "--redirect '/a=/c' never matches, because --redirect '/a/=/b' comes before it",
            ),
            (
                &["--rewrite", "/*=/b", "--redirect", "/x/*=/c", "--rewrite", "/d=/e"],
                "--rewrite '/d=/e' never",
            ),
            (&["--rewrite", "/a=/b", "--redirect", "308:/a=/c"], "--rewrite '/a=/b' never matches"),
            (&["--redirect", "/*=https://a/", "--rewrite", "/=/c"], "--rewrite '/=/c' never matches"),
            (&["--redirect", "/:x=https://a/", "--rewrite", "/%61=/c"], "--rewrite '/%61=/c' never matches"),
            (
                &["--cors", "http://a", "-H", "access-control-allow-origin: *"],
                "--cors with a list of origins",
            ),
            (
                &["--cors", "http://a", "-H", "/x Access-Control-Max-Age: 5"],
                "says Access-Control-Max-Age itself",
            ),
        ];
        for (arguments, expected) in table {
            let line = error(arguments);
            assert!(line.contains(expected), "{arguments:?}: {line}");
        }
    }

    #[test]
    fn rules_that_agree_are_taken() {
        let table: [&[&str]; 8] = [
            &["--redirect", "/a=/b", "--redirect", "/b=/c", "--rewrite", "/c=/a"],
            &["--redirect", "/a=/x?y=z", "--redirect", "303:/a/b=/x#y"],
            &["--redirect", "/:a/x=/y", "--redirect", "/*=https://a/"],
            &["--redirect", "/:a=/b/c", "--redirect", "/:a/:b/x=/c"],
            &["--rewrite", "/a=/b", "--rewrite", "/b=/a"],
            &["--mime", "a=b/c", "--mime", "a=d/e"],
            &["--cors", "https://a,http://b:1"],
            &["--cors", "*", "-H", "/x Access-Control-Allow-Origin: http://a"],
        ];
        for arguments in table {
            let read = Cli::read(std::iter::once("oneloop").chain(arguments.iter().copied()), None);
            assert!(read.is_ok(), "{arguments:?}: {}", read.unwrap_err());
        }
    }
}
