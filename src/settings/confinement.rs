//! Who the process is to be and what it is to keep to, from flags.

use std::path::Path;

use acceptor::Address;
use worker::SiteSettings;
use worker::log_writer::Destination;

use super::SettingsError;
use crate::cli::{Cli, Confinement, Symlinks};
use crate::sandbox::privileges::Identity;
use crate::sandbox::{Reach, Wish};

/// Who the process is to become, if somebody else.
///
/// # Errors
/// Why that is not possible.
pub(crate) fn identity(confinement: &Confinement) -> Result<Option<Identity>, SettingsError> {
    confinement.user.as_ref().map(Identity::resolve).transpose().map_err(SettingsError::Privileges)
}

/// The sandbox that is wanted.
pub(crate) fn wish(cli: &Cli) -> Wish {
    Wish {
        mode: cli.confinement.sandbox,
        has_helpers: cli.helpers > 0,
        reads_everything: cli.symlinks == Symlinks::Any,
    }
}

/// What has to be opened later, by its path; `sockets` are removed at the end.
pub(crate) fn reach<'p>(
    cli: &Cli,
    site: &SiteSettings,
    sockets: impl Iterator<Item = &'p Path>,
    access_log: Option<&Destination>,
) -> Reach {
    let mut reach = Reach::default();
    site.roots().for_each(|root| reach.add_root(root));
    reach.trees.extend(cli.confinement.sandbox_allow.iter().flatten().cloned());
    if cli.symlinks == Symlinks::Any {
        reach.trees.insert("/".into());
    }
    if let Some(file) = &cli.access.auth_file {
        reach.add_file(file);
    }
    if let Some(Destination::File(path)) = access_log {
        reach.add_log(path);
    }
    sockets.for_each(|path| reach.add_socket(path));
    reach
}

/// Where a Unix socket has its name.
pub(crate) fn unix_path(address: &Address) -> Option<&Path> {
    if let Address::Unix(path) = address { Some(path) } else { None }
}
