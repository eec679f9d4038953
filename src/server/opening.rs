//! Everything that is opened before there are threads, in the order in which rights are needed and given up: listeners
//! and access log, then the user that we become, then the roots, then the sandbox.

use std::io;
use std::path::Path;

use worker::Releases;
use worker::log_writer::{self, Destination};

use super::listeners::Listeners;
use super::{ServerError, check_application, reopening};
use crate::os::Signals;
use crate::sandbox::Sandbox;
use crate::sandbox::privileges;
use crate::settings::{Settings, UserFile};

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

fn open_access_log(settings: &Settings) -> Result<Option<log_writer::Opened>, ServerError> {
    let Some(destination) = &settings.access_log else { return Ok(None) };
    let open = || log_writer::Opened::new(destination.clone());
    let (path, opened) = match destination {
        Destination::Stdout => (Path::new("-"), open()),
        Destination::File(path) => {
            let open_in = |folder| log_writer::Opened::within(folder, path.clone());
            (path.as_path(), reopening::open_log(settings.identity.as_ref(), path, open, open_in))
        }
    };
    opened.map(Some).map_err(|source| ServerError::AccessLog { path: path.to_owned(), source })
}

/// As the user that we have become may not.
fn warn_of_what_is_not_reopened(settings: &Settings) {
    let Some(identity) = &settings.identity else { return };
    let users = settings.user_file.as_ref().map(UserFile::path);
    for (_, warning) in reopening::warnings(identity, settings.access_log.as_ref(), users) {
        tracing::warn!("{warning}");
    }
}
