//! Flags about what the process may do besides serving, and how their values are read.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::conflict;
use super::value::path_line;

/// What is given up once everything is open.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Confinement")]
pub(crate) struct Confinement {
    /// Keep the server to what it needs, with Landlock and seccomp: auto does with less where the machine cannot,
    /// require refuses to start there
    #[arg(long, env = "ONELOOP_SANDBOX", value_enum, value_name = "HOW", default_value_t = Mode::Auto)]
    pub(crate) sandbox: Mode,

    /// Let the sandbox read below this directory too, for releases that lie elsewhere; may be repeated
    #[arg(long, env = "ONELOOP_SANDBOX_ALLOW", value_name = "DIR", value_delimiter = '\n')]
    #[arg(value_parser = path_line())]
    pub(crate) sandbox_allow: Vec<Option<PathBuf>>,

    /// Become this user, and the group or that user's own, once the listeners are open; by name or number
    #[arg(long, env = "ONELOOP_USER", value_name = "USER[:GROUP]")]
    pub(crate) user: Option<Owner>,

    /// The group to go with --user
    #[arg(long, env = "ONELOOP_GROUP", value_name = "GROUP", value_parser = parse_group)]
    pub(crate) group: Option<String>,

    /// Make this directory the root of the file system: all other paths are below it
    #[arg(long, env = "ONELOOP_CHROOT", value_name = "DIR")]
    pub(crate) chroot: Option<PathBuf>,
}

impl Confinement {
    /// A group belongs to a user, and is given once.
    pub(super) fn settle(&mut self) -> Result<(), clap::Error> {
        match (&mut self.user, self.group.take()) {
            (None, Some(_)) => Err(conflict("--group goes with --user: give both or neither")),
            (Some(Owner { group: Some(_), .. }), Some(_)) => {
                Err(conflict("the group was given twice: in --user USER:GROUP and as --group"))
            }
            (Some(owner), Some(group)) => {
                owner.group = Some(group);
                Ok(())
            }
            (_, None) => Ok(()),
        }
    }
}

/// How much of a sandbox there has to be. The variants carry no doc comments, since clap would turn them into help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Auto,
    Off,
    Require,
}

/// A user and maybe a group, each by name or number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: String,
    pub(crate) group: Option<String>,
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let is_wrong = |name: &str| name.is_empty() || name.contains([':', '\0']);
        if is_wrong(user) || group.is_some_and(is_wrong) {
            return Err("it must be USER or USER:GROUP, each a name or a number".into());
        }
        Ok(Self { user: user.to_owned(), group: group.map(str::to_owned) })
    }
}

fn parse_group(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains([':', '\0']) {
        return Err("it must be the name or the number of a group".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_a_user_and_maybe_a_group() {
        let table = [
            ("nobody", Some(("nobody", None))),
            ("65534", Some(("65534", None))),
            ("web:www", Some(("web", Some("www")))),
            ("1:2", Some(("1", Some("2")))),
            ("", None),
            (":www", None),
            ("web:", None),
            ("a:b:c", None),
            ("a\0", None),
        ];
        for (text, expected) in table {
            let read = text.parse::<Owner>().ok();
            let expected = expected.map(|(user, group): (&str, Option<&str>)| Owner {
                user: user.to_owned(),
                group: group.map(str::to_owned),
            });
            assert_eq!(read, expected, "{text:?}");
        }
    }
}
