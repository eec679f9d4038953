//! What the user that the process becomes may open, now and anew later, and what only the superuser may.

use std::fs::exists;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use worker::log_writer::Destination;

use crate::sandbox::privileges::Identity;
use crate::show::quoted;

/// Opens the access log as `open` does, with the rights of the user that we become, so that it can be opened anew; or
/// else, as `open_in` does, with those that we still have, but only in a folder into which that user could have put
/// nothing to trick us with. The folder is held, so that no other can be put in its place meanwhile, and no link leads
/// there, as that user might have put it further up.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn open_log<T>(
    identity: Option<&Identity>,
    path: &Path,
    open: impl Fn() -> io::Result<T>,
    open_in: impl FnOnce(OwnedFd) -> io::Result<T>,
) -> io::Result<T> {
    let Some(identity) = identity else { return open() };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat2(CWD, folder_of(path), flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok();
    match identity.act(|| (open(), folder.filter(is_closed)))? {
        (Err(error), Some(folder)) if error.kind() == ErrorKind::PermissionDenied => open_in(folder),
        (opened, _) => opened,
    }
}

/// What is a fault of whom we are, as we are now: what it is about, and what to say.
pub(crate) fn warnings(
    identity: &Identity,
    access_log: Option<&Destination>,
    users: Option<&Path>,
) -> Vec<(&'static str, String)> {
    let log = access_log.and_then(|destination| match destination {
        Destination::Stdout => None,
        Destination::File(path) => Some(path.as_path()),
    });
    let may_write = |path| may(path, Access::WRITE_OK);
    // What is not there yet would be made by us.
    let log = log.filter(|path| {
        !(may_write(folder_of(path)) && (may_write(path) || matches!(exists(path), Ok(false))))
    });
    let users = users.filter(|path| !may(path, Access::READ_OK));
    let needs = [
        ("access log", log, "write to it and to its folder, or HUP keeps the old file"),
        ("users", users, "read it, or HUP keeps the old users"),
    ];
    let said = needs.into_iter().filter_map(|(subject, path, need)| {
        let path = quoted(path?.display());
        let who = format!("the user {identity}, who must be able to {need}");
        Some((subject, format!("{path} cannot be opened anew by {who}")))
    });
    said.collect()
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether we could have put nothing into a folder. Its owner could, whatever its mode says now.
fn is_closed(folder: &OwnedFd) -> bool {
    let owner = rustix::fs::fstat(folder).map(|stat| stat.st_uid);
    let is_ours = owner.map_or(true, |owner| owner == rustix::process::geteuid().as_raw());
    !is_ours && rustix::fs::accessat(folder, ".", Access::WRITE_OK, AtFlags::EACCESS) == Err(Errno::ACCESS)
}

/// Asked, not tried: opening a FIFO could wait for ever.
pub(crate) fn may(path: &Path, access: Access) -> bool {
    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}
