//! Everything that is opened before there are threads, in the order in which rights are needed and given up: listeners
//! and access log, then the user that we become, then the roots, then the sandbox.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};
use worker::Releases;
use worker::log_writer::{self, Destination};

use super::listeners::Listeners;
use super::{ServerError, check_application};
use crate::os::Signals;
use crate::sandbox::Sandbox;
use crate::sandbox::privileges;
use crate::settings::Settings;
use crate::show::quoted;

/// A server that has everything but threads.
pub(crate) struct Opened {
    pub(super) settings: Settings,
    pub(super) signals: Signals,
    pub(super) listeners: Listeners,
    pub(super) access_log: Option<log_writer::Opened>,
    pub(super) releases: Releases,
    /// What the process is in from now on.
    pub(crate) sandbox: Sandbox,
}

impl Opened {
    /// Opens everything, and gives up what is not needed from then on.
    ///
    /// # Errors
    /// When the server cannot start.
    pub(crate) fn new(mut settings: Settings, signals: io::Result<Signals>) -> Result<Self, ServerError> {
        let signals = signals.map_err(ServerError::Signals)?;
        signals.keep_stops().map_err(ServerError::Signals)?;
        let listeners = Listeners::open(&mut settings)?;
        let access_log = open_access_log(&settings)?;
        privileges::give_up(settings.identity.as_ref()).map_err(ServerError::Privileges)?;
        let releases = worker::open_roots(&settings.worker.site).map_err(ServerError::Worker)?;
        check_application(&settings.worker.site, &releases)?;
        warn_of_what_is_not_reopened(&settings);
        let sandbox = Sandbox::enter(&settings.sandbox, &settings.reach).map_err(ServerError::Sandbox)?;
        if let Some(warning) = sandbox.warning() {
            tracing::warn!("{warning}");
        }
        settings.worker.first = sandbox.first_step();
        Ok(Self { settings, signals, listeners, access_log, releases, sandbox })
    }
}

/// With the rights of the user that we become, so that it can be opened anew; or else with those that we still have, but
/// only in a folder into which that user could have put nothing to trick us with.
fn open_access_log(settings: &Settings) -> Result<Option<log_writer::Opened>, ServerError> {
    let Some(destination) = &settings.access_log else { return Ok(None) };
    let path = match destination {
        Destination::Stdout => PathBuf::from("-"),
        Destination::File(path) => path.clone(),
    };
    let open = || log_writer::Opened::new(destination.clone());
    let opened = match &settings.identity {
        None => open(),
        Some(identity) => match identity.act(|| (open(), may_write(folder(&path)))) {
            Ok((Err(error), false)) if error.kind() == ErrorKind::PermissionDenied => open(),
            Ok((opened, _)) => opened,
            Err(error) => Err(error),
        },
    };
    opened.map(Some).map_err(|source| ServerError::AccessLog { path, source })
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn may_write(path: &Path) -> bool {
    may(path, Access::WRITE_OK)
}

/// Asked, not tried: opening a FIFO could wait for ever.
fn may(path: &Path, access: Access) -> bool {
    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}

/// As the user that we have become may not.
fn warn_of_what_is_not_reopened(settings: &Settings) {
    let Some(identity) = &settings.identity else { return };
    let warn = |path: &Path, need| {
        let path = quoted(path.display());
        tracing::warn!("{path} cannot be opened anew by the user {identity}, who must be able to {need}");
    };
    if let Some(Destination::File(path)) = &settings.access_log
        && !(may_write(folder(path)) && may_write(path))
    {
        warn(path, "write to it and to its folder, or HUP keeps the old file");
    }
    if let Some(file) = &settings.user_file
        && !may(file.path(), Access::READ_OK)
    {
        warn(file.path(), "read it, or HUP keeps the old users");
    }
}
