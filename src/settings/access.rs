//! Who may ask: from flags and a file to what the worker reads.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::address::{self, AccessList, ForwardedBy};
use worker::gate::{GateSettings, Trust};
use worker::rate::{Rate, Rates};
use worker::users::{self, Roll, User, UserError, Users};

use crate::cli::{Access, TrustField, Trusted};
use crate::os;
use crate::show::quoted;

/// The gate that the flags ask for, if they ask for one.
///
/// # Errors
/// What is wrong with the users.
pub(super) fn gate(access: &Access, rate: Option<Rate>) -> Result<Option<GateSettings>, UserFileError> {
    let has_rules = !access.allow.is_empty() || !access.deny.is_empty() || !access.trust.is_empty();
    if !has_rules && !access.proxy_protocol && !access.asks_for_password() && rate.is_none() {
        return Ok(None);
    }
    let networks = access.trust.iter().filter_map(|trusted| match trusted {
        Trusted::Network(cidr) => Some(*cidr),
        Trusted::Unix => None,
    });
    // The first entry about an address decides, so who is denied comes first.
    let entries = |kind, networks: &[address::Cidr]| networks.iter().map(|&cidr| (kind, cidr)).collect();
    let entries: [Vec<_>; 2] =
        [entries(address::Access::Deny, &access.deny), entries(address::Access::Allow, &access.allow)];
    Ok(Some(GateSettings {
        access: AccessList::new(entries.concat()),
        trust: Trust {
            networks: networks.collect(),
            unix: access.trust.contains(&Trusted::Unix),
            by: match access.trust_field {
                TrustField::XForwardedFor => ForwardedBy::XForwardedFor,
                TrustField::Forwarded => ForwardedBy::Forwarded,
            },
        },
        is_proxied: access.proxy_protocol,
        rates: rate.map(|rate| Arc::new(Rates::new(rate))),
        users: first_users(access)?.map(Roll::new),
        challenge: format!("Basic realm=\"{}\", charset=\"UTF-8\"", access.auth_realm).into(),
    }))
}

fn first_users(access: &Access) -> Result<Option<Users>, UserFileError> {
    match UserFile::of(access) {
        Some(file) => file.read().map(Some),
        None if !access.asks_for_password() => Ok(None),
        None => Users::new(access.users().cloned().collect())
            .map(Some)
            .map_err(|(_, error)| UserFileError { path: None, reason: Reason::User(0, error) }),
    }
}

/// Where users come from beside the command line.
#[derive(Clone, Debug)]
pub(crate) struct UserFile {
    path: PathBuf,
    /// Those of the command line.
    given: Vec<User>,
}

impl UserFile {
    /// The file of `--auth-file`.
    pub(super) fn of(access: &Access) -> Option<Self> {
        access.auth_file.clone().map(|path| Self { path, given: access.users().cloned().collect() })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it; may wait for a disk.
    ///
    /// # Errors
    /// The line that is wrong, or that there is none to read.
    pub(crate) fn read(&self) -> Result<Users, UserFileError> {
        let error = |reason| UserFileError { path: Some(self.path.clone()), reason };
        let text = fs::read_to_string(&self.path).map_err(|source| error(Reason::Unreadable(source)))?;
        let wrong = |(line, source)| error(Reason::User(line, source));
        let (lines, users): (Vec<usize>, Vec<User>) = users::read(&text).map_err(wrong)?.into_iter().unzip();
        if users.is_empty() && self.given.is_empty() {
            return Err(error(Reason::Empty));
        }
        let given = self.given.len();
        let line =
            |at: usize| at.checked_sub(given).and_then(|at| lines.get(at)).copied().unwrap_or_default();
        Users::new([self.given.clone(), users].concat()).map_err(|(at, source)| wrong((line(at), source)))
    }
}

/// Why there are no users. One line: what, where, what to do.
#[derive(Debug)]
pub(crate) struct UserFileError {
    /// The file, unless it is about the command line.
    path: Option<PathBuf>,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Unreadable(io::Error),
    /// Nobody could be let in.
    Empty,
    /// In that line, from 1.
    User(usize, UserError),
}

impl fmt::Display for UserFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.path.as_ref().map_or_else(|| "--auth".to_owned(), |path| quoted(path.display()));
        match &self.reason {
            Reason::Unreadable(source) => write!(
                f,
                "cannot read the users in {file}: {}; give --auth-file a text file that is readable",
                os::reason(source)
            ),
            Reason::Empty => write!(f, "there is no user in {file}: add one with htpasswd -B"),
            Reason::User(0, source) => write!(f, "cannot take the users of {file}: {source}"),
            Reason::User(line, source) => {
                write!(f, "cannot take the users in {file}: line {line}: {source}")
            }
        }
    }
}

impl std::error::Error for UserFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Unreadable(source) => Some(source),
            Reason::Empty => None,
            Reason::User(_, source) => Some(source),
        }
    }
}
