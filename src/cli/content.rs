//! Flags about how paths are turned into responses, and how their values are read.

use std::time::Duration;

use clap::{Args, ValueEnum};
use protocol::Status;
use protocol::coding::{Coding, CodingSet};
use protocol::glob::Glob;
use worker::site::listing::{Column, Direction, Order};
use worker::{CachePolicy, FieldRule};

use super::value::{line, parse_switch, parse_time};
use super::vhost::{Vhost, parse_vhost};
use crate::show::quoted;

/// What is served beside files as they lie there. A rule that holds commas can be repeated, and in the environment
/// each has a line of its own; an empty line is none.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Content")]
pub(crate) struct Content {
    /// List directories without an index file: for people, for programs, or to each client as it prefers, which is
    /// also what the flag by itself means
    #[arg(short = 'z', long, env = "ONELOOP_LISTING", value_enum, value_name = "off|html|json|auto")]
    #[arg(default_value = "off", num_args = 0..=1, default_missing_value = "auto", hide_possible_values = true)]
    #[arg(require_equals = true)]
    pub(crate) listing: Listing,

    /// In which order to list where none is asked for: by name, size or time, the largest or newest first with :desc
    #[arg(long, env = "ONELOOP_LISTING_SORT", value_name = "COLUMN[:desc]", default_value = "name")]
    #[arg(value_parser = parse_order)]
    pub(crate) listing_sort: Order,

    /// Coded files to serve in place of FILE to clients that take them: FILE.br, FILE.zst, FILE.gz
    #[arg(long, env = "ONELOOP_PRECOMPRESSED", value_name = "LIST|off", default_value = "br,zstd,gzip")]
    #[arg(value_parser = parse_codings)]
    pub(crate) precompressed: CodingSet,

    /// Code text that has not been coded beforehand, once, with brotli or gzip
    #[arg(short = 'x', long, env = "ONELOOP_COMPRESS", value_parser = parse_switch)]
    pub(crate) compress: bool,

    /// Serve FILE.html for FILE
    #[arg(long, env = "ONELOOP_CLEAN_URLS", value_name = "on|off", default_value = "on")]
    #[arg(value_parser = parse_switch, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "on")]
    #[arg(require_equals = true)]
    pub(crate) clean_urls: bool,

    /// Serve FILE, with status 200, where a browser navigates to a path that is not there
    #[arg(short, long, env = "ONELOOP_SPA", value_name = "FILE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "index.html", value_parser = parse_path)]
    pub(crate) spa: Option<String>,

    /// Serve FILE of the root as the page of an error: 404=FILE; may be repeated [default: 404=404.html]
    #[arg(long, env = "ONELOOP_ERROR_PAGE", value_name = "CODE=FILE", value_delimiter = ',')]
    #[arg(value_parser = parse_error_page)]
    pub(crate) error_page: Vec<ErrorPage>,

    /// What entity tags are made of: modification time and size, or the content, which is read for it unless a
    /// manifest lists it; off sends none
    #[arg(long, env = "ONELOOP_ETAG", value_enum, value_name = "mtime|content|off", default_value_t = Etag::Mtime)]
    #[arg(hide_possible_values = true)]
    pub(crate) etag: Etag,

    /// How long clients may keep what they got: auto lets them ask about pages each time and keep names with a
    /// digest for a year; TIME is for all; off says nothing
    #[arg(short, long, env = "ONELOOP_CACHE", value_name = "auto|TIME|off", default_value = "auto")]
    #[arg(value_parser = parse_cache)]
    pub(crate) cache: CachePolicy,

    /// A field for all responses, or for those to paths that match: '/assets/** X-Name: value'; may be repeated
    #[arg(
        short = 'H',
        long,
        env = "ONELOOP_HEADER",
        value_name = "[GLOB ]NAME: VALUE",
        value_delimiter = '\n'
    )]
    #[arg(value_parser = line(parse_field_rule))]
    pub(crate) header: Vec<Option<FieldRule>>,

    /// Another directory for those who ask for HOST: a name, or *.NAME for all below it; may be repeated
    #[arg(long, env = "ONELOOP_VHOST", value_name = "HOST=DIR", value_delimiter = '\n')]
    #[arg(value_parser = line(parse_vhost))]
    pub(crate) vhost: Vec<Option<Vhost>>,

    /// How long files with a digest in their names, which a new release of the root lacks, are served from the
    /// release before; 0 is not at all
    #[arg(long, env = "ONELOOP_KEEP_RELEASE", value_name = "TIME", default_value = "10m")]
    #[arg(value_parser = parse_time)]
    pub(crate) keep_release: Duration,

    /// Tell browsers not to guess types, not to let other sites frame pages, and to keep addresses to themselves
    #[arg(long, env = "ONELOOP_SECURITY_HEADERS", value_parser = parse_switch)]
    pub(crate) security_headers: bool,
}

/// How directories are listed. The variants carry no doc comments, since clap would turn them into help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listing {
    Off,
    Html,
    Json,
    Auto,
}

/// What entity tags are made of. The variants carry no doc comments, since clap would turn them into help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Etag {
    Mtime,
    Content,
    Off,
}

/// A page for a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorPage {
    /// Which status.
    pub(crate) status: Status,
    /// Where its page is, relative to the root.
    pub(crate) file: String,
}

fn parse_order(text: &str) -> Result<Order, String> {
    let (column, direction) = text.split_once(':').unwrap_or((text, "asc"));
    let column = match column {
        "name" => Some(Column::Name),
        "size" => Some(Column::Size),
        "time" => Some(Column::Time),
        _ => None,
    };
    let direction = match direction {
        "asc" => Some(Direction::Ascending),
        "desc" => Some(Direction::Descending),
        _ => None,
    };
    let order = column.zip(direction).map(|(column, direction)| Order { column, direction });
    order.ok_or_else(|| "it must be name, size or time, with :desc behind it for the reverse".into())
}

fn parse_codings(text: &str) -> Result<CodingSet, String> {
    match text {
        "off" => return Ok(CodingSet::EMPTY),
        "all" => return Ok(CodingSet::COMPRESSING),
        _ => {}
    }
    text.split(',').try_fold(CodingSet::EMPTY, |set, name| {
        let known = CodingSet::COMPRESSING.iter().find(|coding| {
            name.eq_ignore_ascii_case(coding.token()) || coding.suffix().strip_prefix('.') == Some(name)
        });
        let message = || format!("{} is not one of br, zstd and gzip; off is none of them", quoted(name));
        known.map(|coding: Coding| set.with(coding)).ok_or_else(message)
    })
}

/// A path below the root.
fn parse_path(text: &str) -> Result<String, String> {
    let path = text.trim_start_matches('/');
    let is_plain = |segment: &str| !segment.is_empty() && segment != "." && segment != "..";
    if !path.split('/').all(is_plain) || path.contains('\0') {
        return Err("it must be the path of a file, relative to the root".into());
    }
    Ok(path.to_owned())
}

fn parse_error_page(text: &str) -> Result<ErrorPage, String> {
    let (code, file) = text.split_once('=').ok_or("it must be CODE=FILE, such as 404=404.html")?;
    let status = PAGED.into_iter().find(|status| status.code().to_string() == code);
    let message = || {
        let codes = PAGED.map(|status| status.code().to_string()).join(", ");
        format!("{} has no page: it must be one of {codes}", quoted(code))
    };
    let status = status.ok_or_else(message)?;
    Ok(ErrorPage { status, file: parse_path(file)? })
}

/// Statuses that a page of the operator's may stand behind. The others are about requests that cannot be
/// understood, and say so in as few words as they can.
const PAGED: [Status; 5] = [
    Status::Forbidden,
    Status::NotFound,
    Status::MethodNotAllowed,
    Status::InternalServerError,
    Status::ServiceUnavailable,
];

fn parse_cache(text: &str) -> Result<CachePolicy, String> {
    match text {
        "auto" => Ok(CachePolicy::Auto),
        "off" => Ok(CachePolicy::Off),
        _ if text.starts_with(|first: char| first.is_ascii_digit()) => {
            let time = parse_time(text)?;
            let seconds = u32::try_from(time.as_secs()).ok().filter(|_| time.subsec_nanos() == 0);
            seconds.map(CachePolicy::Seconds).ok_or_else(|| "it must be a whole number of seconds".into())
        }
        _ => Err("it must be auto, off, or a time from 0 to 8760h".into()),
    }
}

/// Fields that say how a response is to be read, or what to do next: only the server knows.
const OURS: [&str; 18] = [
    "accept-ranges",
    "allow",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "keep-alive",
    "last-modified",
    "location",
    "retry-after",
    "server",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

fn parse_field_rule(text: &str) -> Result<FieldRule, String> {
    let (paths, line) = match text.split_once(' ') {
        Some((glob, line)) if glob.starts_with(['/', '*']) => (Some(glob), line),
        _ => (None, text),
    };
    let (name, value) = line.split_once(':').ok_or("it must be NAME: VALUE, or GLOB NAME: VALUE")?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || !name.bytes().all(protocol::field::is_token_byte) {
        return Err(format!("{} is not the name of a field", quoted(name)));
    }
    if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("{name} is for the server to say"));
    }
    if value.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(format!("the value of {name} holds a control character"));
    }
    let paths = paths.map(str::parse::<Glob>).transpose();
    Ok(FieldRule {
        paths: paths.map_err(|error| error.to_string())?,
        name: name.to_owned(),
        value: value.to_owned(),
    })
}
