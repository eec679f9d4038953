//! Files below the root that flags name, and whether the server would find them there.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use worker::site::opening::{Opened, Opener, Wanted};
use worker::site::resolve::Patience;
use worker::{Releases, SiteSettings};

use super::ServerError;
use crate::show::quoted;

/// Whether the server would find a file there.
pub(crate) fn is_file(opener: &Opener, path: &str, wanted: Wanted) -> bool {
    let unix_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let unix_s = i64::try_from(unix_s).unwrap_or(i64::MAX);
    let mut path = path.as_bytes().to_vec();
    let opened = opener.open(&mut path, wanted, None, unix_s, Patience::MayWait);
    matches!(opened, Ok(Opened::Files(_)))
}

/// A file that is in nothing that is served.
#[derive(Debug)]
pub(crate) struct NotServed {
    file: String,
    root: PathBuf,
}

impl fmt::Display for NotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, root) = (quoted(&self.file), quoted(self.root.display()));
        write!(
            f,
            "cannot serve {file} for --spa: it is not in {root}; put it there, or name another with --spa=FILE"
        )
    }
}

impl std::error::Error for NotServed {}

/// Makes sure that the file of `--spa` is in the root, or in the directory of a virtual host: it may be meant for these
/// alone.
///
/// # Errors
/// [`ServerError::Application`], when it is in none.
pub(crate) fn check_application(site: &SiteSettings, releases: &Releases) -> Result<(), ServerError> {
    let Some(file) = &site.spa else { return Ok(()) };
    let is_there = std::iter::once(releases.root()).chain(releases.others()).any(|release| {
        is_file(&Opener::new(Arc::clone(release), Arc::clone(&site.plan)), file, Wanted::Application)
    });
    let missing = || NotServed { file: file.clone(), root: site.root.clone() };
    if is_there { Ok(()) } else { Err(ServerError::Application(missing())) }
}
