//! Flags about who may ask, and how their values are read.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use protocol::address::{Cidr, CidrError};
use worker::users::User;

use super::conflict;
use super::value::{line, parse_switch};

/// Who may ask, and whose address is believed. Hashes hold commas: in the environment each user has a line of its own.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct Access {
    /// Serve only clients of these networks, such as 10.0.0.0/8 or ::1; may be repeated
    #[arg(long, env = "ONELOOP_ALLOW", value_name = "CIDR", value_delimiter = ',')]
    pub(crate) allow: Vec<Cidr>,

    /// Never serve clients of these networks, whatever --allow says; may be repeated
    #[arg(long, env = "ONELOOP_DENY", value_name = "CIDR", value_delimiter = ',')]
    pub(crate) deny: Vec<Cidr>,

    /// Believe proxies of these networks whose requests they pass on; unix is those that come through a Unix socket;
    /// may be repeated
    #[arg(long, env = "ONELOOP_TRUST", value_name = "CIDR|unix", value_delimiter = ',')]
    pub(crate) trust: Vec<Trusted>,

    /// The field in which the proxies of --trust tell it: the one that they set or append to
    #[arg(long, env = "ONELOOP_TRUST_FIELD", value_enum, value_name = "FIELD")]
    #[arg(default_value_t = TrustField::XForwardedFor)]
    pub(crate) trust_field: TrustField,

    /// Every connection begins with a header of the PROXY protocol, version 1 or 2, from one of --trust if that is
    /// given; others are closed
    #[arg(long, env = "ONELOOP_PROXY_PROTOCOL", value_name = "on|off", default_value = "off")]
    #[arg(value_parser = parse_switch, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "on")]
    #[arg(require_equals = true)]
    pub(crate) proxy_protocol: bool,

    /// Serve only those who have a password; HASH is of argon2id or bcrypt; may be repeated. Other users of the machine
    /// can see the flag
    #[arg(long, env = "ONELOOP_AUTH", value_name = "USER:HASH", value_delimiter = '\n')]
    #[arg(value_parser = line(str::parse::<User>))]
    pub(crate) auth: Vec<Option<User>>,

    /// The same from a file, one user a line; read again on HUP
    #[arg(long, env = "ONELOOP_AUTH_FILE", value_name = "FILE")]
    pub(crate) auth_file: Option<PathBuf>,

    /// What browsers call the place that a password is for
    #[arg(long, env = "ONELOOP_AUTH_REALM", value_name = "TEXT", default_value = "restricted")]
    #[arg(value_parser = parse_realm)]
    pub(crate) auth_realm: String,
}

impl Access {
    /// Whether a password is asked for.
    pub(crate) fn asks_for_password(&self) -> bool {
        self.users().next().is_some() || self.auth_file.is_some()
    }

    /// Those of the command line, or its variable.
    pub(crate) fn users(&self) -> impl Iterator<Item = &User> {
        self.auth.iter().flatten()
    }

    /// To verify a password would hold up a loop.
    pub(super) fn settle_helpers(&self, helpers: usize) -> Result<(), clap::Error> {
        if helpers == 0 && self.asks_for_password() {
            return Err(conflict("--auth and --auth-file need helpers: give --helpers 1 or more"));
        }
        // Whoever sets it means that not everybody may come in.
        if !self.auth.is_empty() && !self.asks_for_password() {
            return Err(conflict("--auth and ONELOOP_AUTH hold no user: give USER:HASH, or leave them out"));
        }
        Ok(())
    }
}

/// Where proxies tell of their clients. The variants carry no doc comments, since clap would turn them into help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrustField {
    XForwardedFor,
    Forwarded,
}

/// A proxy that is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trusted {
    /// One in this network.
    Network(Cidr),
    /// One that comes through a Unix socket.
    Unix,
}

impl FromStr for Trusted {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        if text == "unix" { Ok(Self::Unix) } else { text.parse().map(Self::Network) }
    }
}

/// Text that can stand in quotes (RFC 9110 §5.6.4).
fn parse_realm(text: &str) -> Result<String, String> {
    if text.chars().any(|character| character.is_control() || matches!(character, '"' | '\\')) {
        return Err("it must hold no quotation mark, backslash or control character".into());
    }
    Ok(text.to_owned())
}
