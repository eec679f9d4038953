//! What flags mean together: which of two beats the other, and which contradict each other.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};

use super::command::serving;
use super::listen::DEFAULT_PORT;
use super::{Cli, Level, Listen, conflict, environment, is_flag, on_one_line};
use crate::show::quoted;

impl Cli {
    /// A flag beats the environment, and `log_level` beats its shorthands.
    pub(super) fn settle_level(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        match (is_flag(matches, "quiet"), is_flag(matches, "verbose")) {
            (true, false) => self.verbose = false,
            (false, true) => self.quiet = false,
            _ if self.quiet && self.verbose => {
                return Err(conflict("--quiet and --verbose contradict each other: give one or the other"));
            }
            _ => {}
        }
        if !is_flag(matches, "log_level") {
            self.log_level = match (self.quiet, self.verbose) {
                (true, _) => Level::Error,
                (false, true) => Level::Debug,
                (false, false) => self.log_level,
            };
        }
        Ok(())
    }

    /// A target is a part of its head. A limit that nobody asked for gives way.
    pub(super) fn settle_sizes(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if self.max_uri <= self.max_header {
            return Ok(());
        }
        if matches.value_source("max_uri") != Some(ValueSource::DefaultValue) {
            return Err(conflict(&format!(
                "--max-uri allows {} bytes, which is more than the {} that --max-header allows for all of the \
                 head: lower the one or raise the other",
                self.max_uri, self.max_header
            )));
        }
        self.max_uri = self.max_header;
        Ok(())
    }

    /// Where to listen: as asked for, or what the shorthands stand for.
    pub(crate) fn forms(&self) -> Vec<Listen> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let host = self.host.clone().unwrap_or_default();
        vec![Listen::Tcp { host, port: self.port.unwrap_or(DEFAULT_PORT) }]
    }

    /// Where the environment alone has a server listen. `variable` is what `PORT` holds.
    pub(super) fn forms_of_environment(variable: Option<OsString>) -> Result<Vec<Listen>, clap::Error> {
        let is_heard =
            |argument: &clap::Arg| matches!(argument.get_id().as_str(), "listen" | "port" | "host");
        let definition = environment::hearing(&serving(), is_heard);
        let matches = environment::matches(&definition, &["oneloop".into()]).map_err(on_one_line)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        cli.settle_addresses(&matches, variable)?;
        Ok(cli.forms())
    }

    /// A flag beats the environment, and within either of them `listen` beats its shorthands.
    pub(super) fn settle_addresses(
        &mut self,
        matches: &ArgMatches,
        variable: Option<OsString>,
    ) -> Result<(), clap::Error> {
        let has_shorthand = is_flag(matches, "port") || is_flag(matches, "host");
        if has_shorthand && is_flag(matches, "listen") {
            return Err(conflict("--port and --host are shorthands of --listen: give one or the other"));
        }
        if has_shorthand {
            self.listen.clear();
        }
        if !self.listen.is_empty() {
            (self.port, self.host) = (None, None);
        } else if self.port.is_none()
            && let Some(variable) = variable.filter(|variable| !variable.is_empty())
        {
            let port = variable.to_str().and_then(|text| text.trim().parse().ok());
            let message = || {
                let value = quoted(variable.display());
                format!("invalid value {value} for the variable PORT: it must be a number from 0 to 65535")
            };
            self.port = Some(port.ok_or_else(|| serving().error(ErrorKind::ValueValidation, message()))?);
        }
        Ok(())
    }
}
