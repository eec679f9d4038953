//! Flags that bound what clients may take: bytes a second, and memory.

use std::num::NonZeroU64;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use super::conflict;
use super::value::parse_size;

/// Bounds on bandwidth and memory. In each, 0 is none.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Bounds {
    /// Most bytes a second that a connection is sent; 0 is no limit
    #[arg(long, env = "ONELOOP_LIMIT_RATE", value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    pub(crate) limit_rate: u64,

    /// Least bytes a second that a client must take of a response or send of a request, averaged over --send-timeout;
    /// slower ones are reset; 0 is no limit
    #[arg(long, env = "ONELOOP_MIN_RATE", value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    pub(crate) min_rate: u64,

    /// Memory that the whole process may take: everything is sized to fit, and what is asked for and does not fit is
    /// refused at start; 0 is no limit
    #[arg(long, env = "ONELOOP_MEMORY_BUDGET", value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    pub(crate) memory_budget: u64,

    /// Whether somebody asked for what `--mem-cache` and `--open-cache` say.
    #[arg(skip)]
    pub(crate) asked: Asked,
}

/// Which flags with a default were given.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) mem_cache: bool,
    pub(crate) open_cache: bool,
}

impl Bounds {
    /// The most that a connection is sent in a second, if there is a limit.
    pub(crate) fn most(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.limit_rate)
    }

    /// The least that a client must take or send in a second, if there is a limit.
    pub(crate) fn least(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.min_rate)
    }

    /// Nobody can take more than is sent; and a default is no wish.
    pub(super) fn settle(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if self.limit_rate > 0 && self.min_rate >= self.limit_rate {
            return Err(conflict(&format!(
                "--min-rate demands that clients take {} bytes a second, but --limit-rate sends them {} at most: \
                 lower the one or raise the other",
                self.min_rate, self.limit_rate
            )));
        }
        let is_asked =
            |id| matches.value_source(id).is_some_and(|source| source != ValueSource::DefaultValue);
        self.asked = Asked { mem_cache: is_asked("mem_cache"), open_cache: is_asked("open_cache") };
        Ok(())
    }
}
