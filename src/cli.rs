//! The command line: the one source of flags, environment variables, defaults and help.
//!
//! Here a value is checked for its form. Whether it makes sense on this machine is decided in `settings`.

mod access;
mod bounds;
mod command;
mod confinement;
mod content;
mod environment;
mod listen;
mod overload;
mod rules;
mod settling;
mod url;
mod value;
mod vhost;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches, Parser, ValueEnum};

pub(crate) use access::{Access, TrustField, Trusted};
pub(crate) use bounds::Bounds;
pub(crate) use command::{ClientAddress, Command, Healthcheck, Man, Manifest, Request, definition};
pub(crate) use confinement::{Confinement, Mode, Owner};
pub(crate) use content::{Content, Etag, Listing};
pub(crate) use listen::Listen;
pub(crate) use overload::Overload;
pub(crate) use rules::Rules;
pub(crate) use vhost::Vhost;

use crate::show::plain;
use command::serving;
use listen::{parse_host, parse_listen};
use value::{
    number, parse_deadline, parse_file_name, parse_head_size, parse_pin, parse_size, parse_switch,
    parse_time, parse_workers, root,
};

const AFTER_HELP: &str = "\
Sizes are bytes; k, m and g multiply by 1024. Times are seconds, or end in ms, s, m or h, up to 8760h.
Every flag --some-flag can be given as ONELOOP_SOME_FLAG in the environment; a flag beats the environment,
and an empty variable is one that is not set.

EXAMPLES:
  oneloop                               serve this folder on port 8080
  oneloop public -p 80                  serve ./public on port 80, IPv4 and IPv6
  oneloop public -l 127.0.0.1:0         on a free port, which the banner names
  oneloop public -l systemd             on the sockets that systemd opened
  oneloop report.pdf                    serve one file
  PORT=3000 oneloop public              as hosting platforms start it

SIGNALS:
  TERM, INT, QUIT   finish what is in flight, then exit; a second one ends at once
  HUP               open the root, the access log and --auth-file anew
  USR1              show the counters of every worker, at every --log-level";

/// The kernel's own limit on the descriptors of a process (`fs.nr_open`), unless it was raised.
pub(crate) const DESCRIPTORS_CEILING: u64 = 1 << 20;

const LISTEN_HELP: &str = "\
Where to listen: PORT, :PORT, HOST:PORT, [IPV6]:PORT, unix:PATH, fd:N or systemd; may be repeated \
[default: [::]:8080, which covers IPv4 too]";

const ACCEPT_HELP: &str = "\
Who accepts connections: one thread, which hands them to the workers in strict turns (robin), or each worker for \
itself, as the kernel spreads them (sharded). Unix sockets, fd:N and systemd always stay with the one thread";

/// A static-file and HTTP server for Linux: one loop per thread, zero-copy, never blocks.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 120, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Directory to serve, or one file; the same as --root
    #[arg(value_name = "ROOT", value_parser = root())]
    root_argument: Option<PathBuf>,

    /// Directory to serve, or one file
    #[arg(short = 'd', long, env = "ONELOOP_ROOT", value_name = "PATH", default_value = ".")]
    #[arg(value_parser = root(), help_heading = "Content")]
    pub(crate) root: PathBuf,

    /// Files to look for, in order, when a directory is asked for
    #[arg(short, long, env = "ONELOOP_INDEX", value_name = "NAMES", default_value = "index.html")]
    #[arg(value_delimiter = ',', value_parser = parse_file_name, help_heading = "Content")]
    pub(crate) index: Vec<String>,

    /// Serve names that start with a dot
    #[arg(long, env = "ONELOOP_HIDDEN", value_parser = parse_switch, help_heading = "Content")]
    pub(crate) hidden: bool,

    /// Symbolic links to follow: none, relative ones that stay below the root, or all
    #[arg(long, env = "ONELOOP_SYMLINKS", value_enum, value_name = "WHICH", default_value_t = Symlinks::Inside)]
    #[arg(help_heading = "Content")]
    pub(crate) symlinks: Symlinks,

    #[command(flatten)]
    pub(crate) content: Content,

    #[command(flatten)]
    pub(crate) rules: Rules,

    #[command(flatten)]
    pub(crate) access: Access,

    #[command(flatten)]
    pub(crate) bounds: Bounds,

    #[command(flatten)]
    pub(crate) confinement: Confinement,

    /// Where to listen, unless the shorthands say it.
    #[arg(short, long, env = "ONELOOP_LISTEN", value_name = "ADDR", value_delimiter = ',', help = LISTEN_HELP)]
    #[arg(value_parser = parse_listen, help_heading = "Listening")]
    pub(crate) listen: Vec<Listen>,

    /// TCP port, 0 for a free one; the variable PORT is honoured too
    #[arg(short, long, env = "ONELOOP_PORT", value_name = "N", help_heading = "Listening")]
    #[arg(value_parser = number::<u16>(0..=65535))]
    pub(crate) port: Option<u16>,

    /// Address or name to listen on, together with the port
    #[arg(short = 'a', long, env = "ONELOOP_HOST", value_name = "HOST", help_heading = "Listening")]
    #[arg(value_parser = parse_host)]
    pub(crate) host: Option<String>,

    /// Connections that the kernel queues until they are accepted, up to 65535
    #[arg(long, env = "ONELOOP_BACKLOG", value_name = "N", default_value_t = 4096)]
    #[arg(value_parser = number::<u16>(1..=65535), help_heading = "Listening")]
    pub(crate) backlog: u16,

    /// Who accepts connections.
    #[arg(long, env = "ONELOOP_ACCEPT", value_enum, value_name = "HOW", default_value_t = Accept::Robin)]
    #[arg(help = ACCEPT_HELP, help_heading = "Listening")]
    pub(crate) accept: Accept,

    /// Worker threads, up to 1024; auto is one for each processor that may be used
    #[arg(short = 't', long, env = "ONELOOP_WORKERS", value_name = "N|auto", default_value = "auto")]
    #[arg(value_parser = parse_workers, help_heading = "Threads")]
    pub(crate) workers: Workers,

    /// Bind each worker to a processor: auto, off, or a list such as 0,2,4-7
    #[arg(long, env = "ONELOOP_PIN", value_name = "auto|off|LIST", default_value = "off")]
    #[arg(value_parser = parse_pin, help_heading = "Threads")]
    pub(crate) pin: Pin,

    /// Most connections at once; those idle longest make room, or more wait [default and ceiling: what the descriptor limit allows]
    #[arg(long, env = "ONELOOP_MAX_CONNS", value_name = "N", help_heading = "Limits")]
    #[arg(value_parser = number::<u64>(1..=DESCRIPTORS_CEILING))]
    pub(crate) max_conns: Option<u64>,

    #[command(flatten)]
    pub(crate) overload: Overload,

    /// Longest request head, up to 1m
    #[arg(long, env = "ONELOOP_MAX_HEADER", value_name = "SIZE", default_value = "16k")]
    #[arg(value_parser = parse_head_size, help_heading = "Limits")]
    pub(crate) max_header: usize,

    /// Longest request target, up to --max-header
    #[arg(long, env = "ONELOOP_MAX_URI", value_name = "SIZE", default_value = "8k")]
    #[arg(value_parser = parse_head_size, help_heading = "Limits")]
    pub(crate) max_uri: usize,

    /// Most field lines in a request head, up to 256
    #[arg(long, env = "ONELOOP_MAX_FIELDS", value_name = "N", default_value_t = 100)]
    #[arg(value_parser = number::<u16>(1..=256), help_heading = "Limits")]
    pub(crate) max_fields: u16,

    /// Longest request content that is read to keep a connection
    #[arg(long, env = "ONELOOP_MAX_BODY", value_name = "SIZE", default_value = "1m")]
    #[arg(value_parser = parse_size, help_heading = "Limits")]
    pub(crate) max_body: u64,

    /// For the whole head of a request
    #[arg(long, env = "ONELOOP_HEADER_TIMEOUT", value_name = "TIME", default_value = "10s")]
    #[arg(value_parser = parse_deadline, help_heading = "Deadlines")]
    pub(crate) header_timeout: Duration,

    /// For the next request on a connection
    #[arg(long, env = "ONELOOP_IDLE_TIMEOUT", value_name = "TIME", default_value = "15s")]
    #[arg(value_parser = parse_deadline, help_heading = "Deadlines")]
    pub(crate) idle_timeout: Duration,

    /// For the next piece of request content
    #[arg(long, env = "ONELOOP_BODY_TIMEOUT", value_name = "TIME", default_value = "10s")]
    #[arg(value_parser = parse_deadline, help_heading = "Deadlines")]
    pub(crate) body_timeout: Duration,

    /// For the client to take some more of a response
    #[arg(long, env = "ONELOOP_SEND_TIMEOUT", value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = parse_deadline, help_heading = "Deadlines")]
    pub(crate) send_timeout: Duration,

    /// For a client that was refused to stop sending, before it is closed
    #[arg(long, env = "ONELOOP_LINGER_TIMEOUT", value_name = "TIME", default_value = "5s")]
    #[arg(value_parser = parse_deadline, help_heading = "Deadlines")]
    pub(crate) linger_timeout: Duration,

    /// For requests in flight when the server is told to stop; 0 cuts them off
    #[arg(long, env = "ONELOOP_GRACE", value_name = "TIME", default_value = "10s")]
    #[arg(value_parser = parse_time, help_heading = "Deadlines")]
    pub(crate) grace: Duration,

    /// Files that each worker keeps open, as far as the descriptor limit allows
    #[arg(long, env = "ONELOOP_OPEN_CACHE", value_name = "N", default_value_t = 4096)]
    #[arg(help_heading = "Caches")]
    #[arg(value_parser = number::<u64>(1..=DESCRIPTORS_CEILING))]
    pub(crate) open_cache: u64,

    /// Contents that each worker keeps in memory: of small files, and of those that ranges are asked of
    #[arg(long, env = "ONELOOP_MEM_CACHE", value_name = "SIZE", default_value = "32m")]
    #[arg(value_parser = parse_size, help_heading = "Caches")]
    pub(crate) mem_cache: u64,

    /// How long what is known of a file is trusted; 0 asks the file system at every request
    #[arg(long, env = "ONELOOP_CACHE_CHECK", value_name = "TIME", default_value = "1s")]
    #[arg(value_parser = parse_time, help_heading = "Caches")]
    pub(crate) cache_check: Duration,

    /// Microseconds for which a worker looks for events before it sleeps; burns a processor for low latency; up to
    /// 1000000
    #[arg(long, env = "ONELOOP_SPIN_US", value_name = "N", default_value_t = 0, help_heading = "Threads")]
    #[arg(value_parser = number::<u64>(0..=1_000_000))]
    pub(crate) spin_us: u64,

    /// Threads of all workers together that wait for disks, so that no event loop does, up to 64; 0 lets the loops
    /// wait
    #[arg(long, env = "ONELOOP_HELPERS", value_name = "N", default_value_t = 4, help_heading = "Threads")]
    #[arg(value_parser = number::<usize>(0..=64))]
    pub(crate) helpers: usize,

    /// Where to log requests: a path, - for standard output, or off [default: - on a terminal, else off]
    #[arg(long, env = "ONELOOP_ACCESS_LOG", value_name = "PATH|-|off", help_heading = "Logs")]
    pub(crate) access_log: Option<String>,

    /// What to say on standard error
    #[arg(long, env = "ONELOOP_LOG_LEVEL", value_enum, value_name = "LEVEL", default_value_t = Level::Info)]
    #[arg(help_heading = "Logs")]
    pub(crate) log_level: Level,

    /// Say nothing but errors: no banner, --log-level error
    #[arg(short, long, env = "ONELOOP_QUIET", value_parser = parse_switch, help_heading = "Logs")]
    pub(crate) quiet: bool,

    /// Say more: --log-level debug, and the counters at exit
    #[arg(short, long, env = "ONELOOP_VERBOSE", value_parser = parse_switch, help_heading = "Logs")]
    pub(crate) verbose: bool,
}

/// Symbolic links that are followed. The variants carry no doc comments, since clap would turn them into help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Symlinks {
    Never,
    Inside,
    Any,
}

/// Who accepts TCP connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accept {
    Robin,
    Sharded,
}

/// The least important messages that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How many workers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workers {
    /// One for each processor.
    Auto,
    /// That many.
    Count(usize),
}

/// Which processors the workers are bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pin {
    /// Each to one of those that the process may use.
    Auto,
    /// None is bound.
    Off,
    /// To these, in turns.
    List(Vec<usize>),
}

impl Cli {
    /// Reads a command line and the environment. `port_variable` is what `PORT` holds.
    ///
    /// # Errors
    /// What clap prints: a usage error, or the help or version that was asked for.
    pub(crate) fn read<I, T>(arguments: I, port_variable: Option<OsString>) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        Self::read_as(&serving(), &arguments, port_variable).map(|(cli, _)| cli)
    }

    /// The same for a command that takes these flags, and maybe others, which are left in the matches.
    fn read_as(
        definition: &clap::Command,
        arguments: &[OsString],
        port_variable: Option<OsString>,
    ) -> Result<(Self, ArgMatches), clap::Error> {
        let matches = environment::matches(definition, arguments).map_err(on_one_line)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if let Some(root) = cli.root_argument.take() {
            if is_flag(&matches, "root") {
                return Err(conflict("ROOT was given twice: as an argument and with --root"));
            }
            cli.root = root;
        }
        if let Some(Vhost { host, .. }) = vhost::duplicate(&cli.content.vhost) {
            return Err(conflict(&format!("--vhost gives {host} two directories: give it one")));
        }
        cli.settle_addresses(&matches, port_variable)?;
        cli.settle_sizes(&matches)?;
        cli.settle_limits()?;
        cli.settle_level(&matches)?;
        if let Some(message) = cli.rules.contradiction(&matches, &cli.content.header) {
            return Err(serving().error(ErrorKind::ValueValidation, message));
        }
        cli.access.settle_helpers(cli.helpers)?;
        cli.bounds.settle(&matches)?;
        cli.confinement.settle()?;
        Ok((cli, matches))
    }
}

/// What to say of each variable that looks like one of ours and is not.
pub(crate) fn strange_variables() -> Vec<String> {
    environment::strangers(&serving())
}

/// The error, with nothing in what it quotes that a terminal obeys.
fn on_one_line(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue] {
        if let Some(ContextValue::String(text)) = error.get(kind) {
            let text = plain(text);
            error.insert(kind, ContextValue::String(text));
        }
    }
    error
}

fn is_flag(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

fn conflict(message: &str) -> clap::Error {
    serving().error(ErrorKind::ArgumentConflict, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Cli, clap::Error> {
        read_with_port(arguments, None)
    }

    fn read_with_port(arguments: &[&str], port: Option<&str>) -> Result<Cli, clap::Error> {
        Cli::read(std::iter::once("oneloop").chain(arguments.iter().copied()), port.map(Into::into))
    }

    fn shown(listen: &[Listen]) -> String {
        listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_definition_is_consistent() {
        serving().debug_assert();
    }

    #[test]
    fn every_long_flag_has_its_variable_and_its_heading() {
        for argument in serving().get_arguments() {
            let Some(long) = argument.get_long() else { continue };
            let variable = format!("ONELOOP_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env(), Some(variable.as_ref()), "--{long}");
            assert!(argument.get_help_heading().is_some(), "--{long}");
            assert!(argument.get_help().is_some(), "--{long}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_help() {
        let cli = read(&[]).unwrap();
        assert_eq!(cli.root, PathBuf::from("."));
        assert!(cli.listen.is_empty() && cli.port.is_none() && cli.host.is_none());
        assert_eq!(
            (cli.max_header, cli.max_uri, cli.max_fields, cli.max_body),
            (16 << 10, 8 << 10, 100, 1 << 20)
        );
        let seconds = [cli.header_timeout, cli.idle_timeout, cli.body_timeout, cli.send_timeout];
        assert_eq!(seconds.map(|time| time.as_secs()), [10, 15, 10, 30]);
        assert_eq!((cli.linger_timeout.as_secs(), cli.grace.as_secs()), (5, 10));
        assert_eq!(
            (cli.symlinks, cli.hidden, cli.index),
            (Symlinks::Inside, false, vec!["index.html".to_owned()])
        );
        assert_eq!((cli.log_level, cli.quiet, cli.verbose), (Level::Info, false, false));
    }

    #[test]
    fn the_root_is_an_argument_or_a_flag_but_not_both() {
        assert_eq!(read(&["public"]).unwrap().root, PathBuf::from("public"));
        assert_eq!(read(&["-d", "public"]).unwrap().root, PathBuf::from("public"));
        assert_eq!(read(&["a", "--root", "b"]).unwrap_err().kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn listen_port_and_the_variable_have_their_order() {
        let port = |arguments: &[&str], variable| read_with_port(arguments, variable).unwrap().port;
        assert_eq!(port(&[], None), None);
        assert_eq!(port(&[], Some("3000")), Some(3000));
        assert_eq!(port(&[], Some("")), None);
        assert_eq!(port(&["-p", "1"], Some("3000")), Some(1));
        assert_eq!(port(&["-a", "::1"], Some("3000")), Some(3000));
        assert_eq!(port(&["-l", "80"], Some("3000")), None);
        assert_eq!(shown(&read(&["-l", "80", "-l", ":81"]).unwrap().listen), ":80 :81");
        assert_eq!(read(&["-l", "80", "-p", "81"]).unwrap_err().kind(), ErrorKind::ArgumentConflict);
        assert_eq!(read_with_port(&[], Some("http")).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn usage_errors_exit_with_2_and_name_the_nearest_flag() {
        let table = [
            (&["--prot", "80"][..], "--port"),
            (&["--header-timeout", "0"], "from 1ms to 8760h"),
            (&["--max-fields", "257"], "from 1 to 256"),
            (&["--port", "65536"], "from 0 to 65535"),
            (&["--index", "a/b"], "without a folder"),
            (&["--symlinks", "some"], "inside"),
            (&["-z=public"], "off, html, json, auto"),
            (&["--listing-sort", "kind"], "name, size or time"),
            (&["--max-conns", "0"], "from 1 to 1048576"),
            (&["--max-conns", "1048577"], "from 1 to 1048576"),
            (&["--open-cache", "1048577"], "from 1 to 1048576"),
            (&["--accept", "all"], "robin, sharded"),
            (&["--helpers", "65"], "from 0 to 64"),
            (&["--backlog", "0"], "from 1 to 65535"),
            (&["a", "b"], "unexpected argument"),
            (&["-l", "8080x"], "'8080x' for '--listen <ADDR>': it must be PORT"),
            (&["-l", ""], "it must be PORT"),
            (&["-a", "127.0.0.1:80"], "--listen 127.0.0.1:80"),
            (&["--vhost", "a.org"], "HOST=DIR"),
            (&["--vhost", "a.org=a", "--vhost", "A.org.=b"], "a.org two directories"),
            (&["--keep-release", "forever"], "must start with a digit"),
            (&["-p", "a\x1b[31m"], r"'a\u{1b}[31m'"),
            (&["--a\x1b[31m"], r"'--a\u{1b}[31m'"),
        ];
        for (arguments, expected) in table {
            let error = read(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
            assert!(error.to_string().contains(expected), "{arguments:?}: {error}");
        }
        assert_eq!(read(&["--version"]).unwrap_err().exit_code(), 0);
        assert_eq!(read(&["--help"]).unwrap_err().exit_code(), 0);
    }

    #[test]
    fn the_level_follows_the_nearest_flag() {
        let level = |arguments: &[&str]| read(arguments).unwrap().log_level;
        assert_eq!(level(&["-q"]), Level::Error);
        assert_eq!(level(&["-v"]), Level::Debug);
        assert_eq!(level(&["-v", "--log-level", "trace"]), Level::Trace);
        assert_eq!(read(&["-v", "-q"]).unwrap_err().kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn a_target_is_not_longer_than_its_head() {
        let sizes = |arguments: &[&str]| read(arguments).map(|cli| (cli.max_header, cli.max_uri));
        assert_eq!(sizes(&["--max-header", "4k"]).unwrap(), (4096, 4096), "nobody asked for more");
        assert_eq!(sizes(&["--max-header", "1m", "--max-uri", "1m"]).unwrap(), (1 << 20, 1 << 20));
        for wrong in [&["--max-uri", "17k"][..], &["--max-uri", "8k", "--max-header", "4k"]] {
            let error = sizes(wrong).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
            let line = error.to_string();
            assert!(line.contains("--max-uri") && line.contains("--max-header"), "{line}");
        }
    }

    /// The environment belongs to the whole process, so this runs in one of its own.
    #[test]
    fn a_flag_beats_the_environment_and_that_the_default() {
        if std::env::var_os("ONELOOP_HEADER_TIMEOUT").is_none() {
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "cli::tests::a_flag_beats_the_environment_and_that_the_default"])
                .envs([
                    ("ONELOOP_HEADER_TIMEOUT", "3s"),
                    ("ONELOOP_LISTEN", ":81,unix:/s"),
                    ("ONELOOP_PORT", "82"),
                ])
                .envs([("ONELOOP_ROOT", "env"), ("ONELOOP_HIDDEN", "yes"), ("ONELOOP_LOG_LEVEL", "warn")])
                .status();
            assert!(status.unwrap().success());
            return;
        }
        let cli = read_with_port(&[], Some("3000")).unwrap();
        assert_eq!(cli.header_timeout, Duration::from_secs(3));
        assert_eq!((shown(&cli.listen).as_str(), cli.port), (":81 unix:/s", None));
        assert_eq!((cli.root, cli.hidden, cli.log_level), (PathBuf::from("env"), true, Level::Warn));
        let cli = read(&["--header-timeout", "4s", "-a", "::1", "argument", "-v"]).unwrap();
        assert_eq!(cli.header_timeout, Duration::from_secs(4));
        assert_eq!((cli.listen, cli.port, cli.host.as_deref()), (vec![], Some(82), Some("::1")));
        assert_eq!((cli.root, cli.log_level), (PathBuf::from("argument"), Level::Debug));
        assert_eq!(shown(&read(&["-l", "80"]).unwrap().listen), ":80");
    }
}
