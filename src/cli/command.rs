//! What oneloop is told to do: to serve, or one of the commands, whose name is the first argument.
//!
//! A command is defined as part of the whole, for help, completions and manual, and read by itself, so that it hears
//! the same variables that the server does.

use std::ffi::OsString;
use std::net::{AddrParseError, IpAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::Resettable;
use clap::error::{ContextKind, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches};
use clap_complete::Shell;

use super::url::{Page, Url, parse_page, parse_url};
use super::value::{parse_deadline, root};
use super::{Cli, Listen, conflict, on_one_line};

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve.
    Serve(Box<Cli>),
    /// Say how a request would be answered, and why.
    Explain(Box<Cli>, Request),
    /// Say what keeps the server from starting, or from doing what it is told.
    Check(Box<Cli>),
    /// Ask a server whether it is well.
    Healthcheck(Healthcheck),
    /// List the files of a tree with their digests.
    Manifest(Manifest),
    /// Put out a script that completes command lines in a shell.
    Completions(Shell),
    /// Put out a page of the manual.
    Man(Man),
}

/// The request that is explained.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Request")]
pub(crate) struct Request {
    /// What is asked for: http://HOST/PATH, or a target alone
    #[arg(value_name = "URL", index = 1, value_parser = parse_url)]
    pub(crate) url: Url,

    /// The method
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET", value_parser = parse_method)]
    pub(crate) method: String,

    /// A field of the request; may be repeated. Only Host is sent besides
    #[arg(short = 'H', long = "request-header", value_name = "NAME: VALUE", value_parser = parse_field)]
    pub(crate) fields: Vec<String>,

    /// Who asks: an address, or unix for somebody who comes through a Unix socket
    #[arg(long, value_name = "ADDR|unix", default_value = "127.0.0.1")]
    pub(crate) client: ClientAddress,
}

/// Where a request comes from. The variants carry no doc comments, since clap would turn them into help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAddress {
    Ip(IpAddr),
    Unix,
}

impl FromStr for ClientAddress {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        if text == "unix" { Ok(Self::Unix) } else { text.parse().map(Self::Ip) }
    }
}

/// Who is asked whether it is well.
#[derive(Clone, Debug)]
pub(crate) struct Healthcheck {
    /// Where it listens, on TCP or a Unix socket.
    pub(crate) server: Listen,
    /// The request target.
    pub(crate) target: String,
    /// For all of it.
    pub(crate) timeout: Duration,
}

/// The same as it is said.
#[derive(Clone, Debug, Args)]
struct Asked {
    /// What to ask for: http://HOST:PORT/PATH; or a path, of the server that PORT, ONELOOP_LISTEN, ONELOOP_PORT and
    /// ONELOOP_HOST would start, else on 127.0.0.1:8080; or where it listens: PORT, HOST:PORT or unix:PATH
    #[arg(value_name = "URL|ADDR", default_value = "/", value_parser = parse_page)]
    page: Page,

    /// For all of it
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_deadline)]
    #[arg(allow_hyphen_values = true)]
    timeout: Duration,
}

/// Which tree is listed.
#[derive(Clone, Debug, Args)]
pub(crate) struct Manifest {
    /// Directory that is to be served
    #[arg(value_name = "DIR", default_value = ".", value_parser = root())]
    pub(crate) directory: PathBuf,

    /// List names that start with a dot
    #[arg(long)]
    pub(crate) hidden: bool,

    /// List what lies on other file systems than the directory, too
    #[arg(long)]
    pub(crate) cross_file_systems: bool,

    /// Read all files, also those that have the size and the time with which they are listed already
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Which page of the manual.
#[derive(Clone, Debug, Args)]
pub(crate) struct Man {
    /// The command that it is about [default: the server]
    #[arg(value_name = "COMMAND", value_parser = COMMANDS)]
    pub(crate) command: Option<String>,
}

/// Whose command lines are completed.
#[derive(Clone, Debug, Args)]
struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// In the order in which they are shown.
const COMMANDS: [&str; 6] = ["explain", "check", "healthcheck", "manifest", "completions", "man"];

/// All that can be said on a command line. For those who read it; what is said is read by one definition at a time,
/// since any name but that of a command is a root.
pub(crate) fn definition() -> clap::Command {
    serving()
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .subcommand_help_heading("Commands, each as the first argument")
        .subcommand_value_name("COMMAND")
        .subcommands(COMMANDS.into_iter().filter_map(command))
}

/// What the server is told. The variables follow one rule, which the help states once.
pub(super) fn serving() -> clap::Command {
    Cli::command().mut_args(|argument| {
        let is_numeric = is_numeric(&argument);
        argument.hide_env(true).allow_hyphen_values(is_numeric)
    })
}

/// Whether the value is a number, so that one with a minus sign is a wrong value, and not a flag that is unknown.
fn is_numeric(argument: &clap::Arg) -> bool {
    let names = argument.get_value_names().unwrap_or_default();
    names.iter().any(|name| name.split('|').any(|form| matches!(form, "N" | "SIZE" | "TIME")))
}

/// The definition of a command.
fn command(name: &str) -> Option<clap::Command> {
    let name = COMMANDS.into_iter().find(|&known| known == name)?;
    let bare = || clap::Command::new("").max_term_width(120);
    let (command, about) = match name {
        // The root may follow the URL; what the server says is for `--header` in full.
        "explain" => (
            Request::augment_args(
                serving()
                    .mut_arg("root_argument", |root| root.index(2))
                    .mut_arg("header", |header| header.short(Resettable::Reset)),
            ),
            "Show every decision about a request, and the head that answers it, without serving",
        ),
        "check" => (serving(), "Check flags, files, addresses and the machine, without serving"),
        "healthcheck" => {
            (Asked::augment_args(bare()), "Ask a server for a page: succeeds if it answers with 2xx or 3xx")
        }
        "manifest" => (
            Manifest::augment_args(bare()),
            "List the files of a directory with digests, from which --etag content makes entity tags",
        ),
        "completions" => {
            (Completions::augment_args(bare()), "Put out a script that completes command lines in a shell")
        }
        "man" => (Man::augment_args(bare()), "Put out a page of the manual, in roff"),
        _ => return None,
    };
    let command = command.name(name).bin_name(format!("oneloop {name}"));
    Some(command.about(about).after_help(Resettable::Reset).disable_version_flag(true))
}

impl Command {
    /// Reads a command line and the environment. `port_variable` is what `PORT` holds.
    ///
    /// # Errors
    /// What clap prints: a usage error, or the help or version that was asked for.
    pub(crate) fn read(
        arguments: impl IntoIterator<Item = OsString>,
        port_variable: Option<OsString>,
    ) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let name = arguments.get(1).and_then(|name| name.to_str()).unwrap_or_default();
        let Some(definition) = command(name) else {
            return match Cli::read(arguments.clone(), port_variable) {
                Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                    Err(definition().try_get_matches_from(arguments).err().unwrap_or(error))
                }
                read => read.map(|cli| Self::Serve(cli.into())),
            };
        };
        let own = arguments.get(1..).unwrap_or_default();
        let matches = || definition.clone().try_get_matches_from(own).map_err(on_one_line);
        match name {
            "explain" => {
                let (cli, matches) = Cli::read_as(&definition, own, port_variable)?;
                Ok(Self::Explain(cli.into(), Request::from_arg_matches(&matches)?))
            }
            "check" => Cli::read_as(&definition, own, port_variable).map(|(cli, _)| Self::Check(cli.into())),
            "healthcheck" => {
                Healthcheck::of(Asked::from_arg_matches(&matches()?)?, port_variable).map(Self::Healthcheck)
            }
            "manifest" => Manifest::from_arg_matches(&matches()?).map(Self::Manifest),
            "completions" => {
                // No other shell is meant, however alike the names are.
                let untipped = |mut error: clap::Error| {
                    error.remove(ContextKind::SuggestedValue);
                    error
                };
                Completions::from_arg_matches(&matches().map_err(untipped)?)
                    .map(|asked| Self::Completions(asked.shell))
            }
            _ => Man::from_arg_matches(&matches()?).map(Self::Man),
        }
    }
}

impl Healthcheck {
    /// Where nobody says which server is meant, it is the one that the same environment would start.
    fn of(asked: Asked, port_variable: Option<OsString>) -> Result<Self, clap::Error> {
        let Asked { page: Page { server, target }, timeout } = asked;
        let server = match server {
            Some(server) => server,
            None => {
                let forms = Cli::forms_of_environment(port_variable)?.into_iter();
                let is_known = |form: &Listen| matches!(form, Listen::Tcp { .. } | Listen::Unix(_));
                let message = "ONELOOP_LISTEN names no address that could be asked: say which to ask";
                forms.into_iter().find(is_known).ok_or_else(|| conflict(message))?
            }
        };
        Ok(Self { server, target, timeout })
    }
}

/// Whatever a method may be, so that those which are refused can be explained, too.
fn parse_method(text: &str) -> Result<String, String> {
    let is_token = !text.is_empty() && text.bytes().all(protocol::field::is_token_byte);
    is_token.then(|| text.to_owned()).ok_or_else(|| "it must be the name of a method, such as HEAD".into())
}

/// A field line that is one line.
fn parse_field(text: &str) -> Result<String, String> {
    if !text.contains(':') || text.contains(['\r', '\n']) {
        return Err("it must be NAME: VALUE, on one line".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Command, clap::Error> {
        let arguments = std::iter::once("oneloop").chain(arguments.iter().copied());
        Command::read(arguments.map(OsString::from), None)
    }

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
        for name in COMMANDS {
            command(name).unwrap().debug_assert();
        }
    }

    #[test]
    fn a_command_is_the_first_argument_and_anything_else_is_a_root() {
        assert!(matches!(read(&["check"]), Ok(Command::Check(_))));
        assert!(
            matches!(read(&["check", "public"]), Ok(Command::Check(cli)) if cli.root.ends_with("public"))
        );
        for folder in [&["./check"][..], &["-q", "check"], &["--", "check"], &["help"], &["-d", "check"]] {
            let command = read(folder);
            let name = folder.last().unwrap();
            assert!(matches!(&command, Ok(Command::Serve(cli)) if cli.root.ends_with(name)), "{folder:?}");
        }
    }

    #[test]
    fn what_is_explained_is_a_request_of_flags_and_a_root() {
        let Ok(Command::Explain(cli, request)) = read(&[
            "explain",
            "-H",
            "Range: bytes=0-1",
            "-X",
            "HEAD",
            "http://a.test:1/b?c#d",
            "public",
            "-x",
        ]) else {
            panic!("not read");
        };
        assert_eq!((request.method.as_str(), request.fields), ("HEAD", vec!["Range: bytes=0-1".to_owned()]));
        assert_eq!(
            (request.url.authority.as_deref(), request.url.target.as_str()),
            (Some("a.test:1"), "/b?c")
        );
        assert!(cli.root.ends_with("public") && cli.content.compress && cli.content.header.is_empty());
        for wrong in [
            &["explain"][..],
            &["explain", "/", "-H", "no colon"],
            &["explain", "/", "-H", "a: b\r\nc: d"],
            &["explain", "/", "-X", "A B"],
            &["explain", "/", "--prot", "1"],
            &["healthcheck", "--timeout", "0"],
            &["completions", "sh"],
            &["man", "serve"],
        ] {
            assert_eq!(read(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }
}
