//! Who the process is: the user that it becomes, the directory that is its file system, and the rights that it gives up
//! for good.
//!
//! All of it is done by the main thread while it is the only one: the kernel keeps these things for each thread, and
//! those that are started later inherit them.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{DumpableBehavior, Gid, Resource, Rlimit, Uid, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::cli::Owner;
use crate::os;
use crate::show::quoted;

/// The user and the group that the process becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// As it was given.
    user: String,
    uid: Uid,
    gid: Gid,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.user))
    }
}

impl Identity {
    /// Looks names up where the system keeps them, which may wait for a server.
    ///
    /// # Errors
    /// Who is not known, or that it is the superuser, or that this process cannot become somebody else.
    pub(crate) fn resolve(owner: &Owner) -> Result<Self, PrivilegeError> {
        let unknown = || PrivilegeError::UnknownUser(owner.user.clone());
        let failed = |source| PrivilegeError::Lookup { name: owner.user.clone(), source };
        let user = match owner.user.parse::<u32>() {
            Ok(uid) => os::user_by_id(uid).map_err(failed)?.or(Some((uid, u32::MAX))),
            Err(_) => {
                let name = CString::new(owner.user.as_str()).map_err(|_| unknown())?;
                os::user_by_name(&name).map_err(failed)?
            }
        };
        let (uid, own_gid) = user.ok_or_else(unknown)?;
        let gid = owner.group.as_deref().map(group).transpose()?.unwrap_or(own_gid);
        if uid == 0 {
            return Err(PrivilegeError::Superuser);
        }
        // The kernel takes it for "leave it as it is".
        if [uid, gid].contains(&u32::MAX) {
            return Err(PrivilegeError::NoGroup(owner.user.clone()));
        }
        let identity = Self { user: owner.user.clone(), uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) };
        if !identity.can_be_taken() {
            return Err(PrivilegeError::NotSuperuser(owner.user.clone()));
        }
        Ok(identity)
    }

    fn can_be_taken(&self) -> bool {
        is_superuser() || (rustix::process::getuid(), rustix::process::getgid()) == (self.uid, self.gid)
    }

    /// Does something with the rights that will be left, as far as files are concerned.
    ///
    /// # Errors
    /// When the kernel refuses to change over.
    pub(crate) fn act<T>(&self, deed: impl FnOnce() -> T) -> io::Result<T> {
        if !is_superuser() {
            return Ok(deed());
        }
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(Gid::ROOT, self.gid, Gid::ROOT)?;
        rustix::thread::set_thread_res_uid(Uid::ROOT, self.uid, Uid::ROOT)?;
        let done = deed();
        rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
        Ok(done)
    }
}

fn group(name: &str) -> Result<u32, PrivilegeError> {
    let unknown = || PrivilegeError::UnknownGroup(name.to_owned());
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    let text = CString::new(name).map_err(|_| unknown())?;
    let found = os::group_by_name(&text);
    found.map_err(|source| PrivilegeError::Lookup { name: name.to_owned(), source })?.ok_or_else(unknown)
}

/// Whether files are open to us whatever their modes say, as long as nothing is given up.
pub(crate) fn is_superuser() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes `directory` the root of the file system, and the present directory.
///
/// # Errors
/// When it is no directory, or we are not the superuser.
pub(crate) fn change_root(directory: &Path) -> Result<(), PrivilegeError> {
    let changed = rustix::process::chdir(directory).and_then(|()| rustix::process::chroot("."));
    changed.map_err(|errno| PrivilegeError::Chroot { path: directory.to_owned(), source: errno.into() })
}

/// Gives up for good whatever is not needed to serve: new rights by execution; with an identity the superuser's, and
/// core dumps, which would show what the superuser had opened; and, unless we stay the superuser, every capability.
///
/// # Errors
/// When the kernel refuses, or what was given up could be taken back.
pub(crate) fn give_up(identity: Option<&Identity>) -> Result<(), PrivilegeError> {
    give_up_all(identity).map_err(PrivilegeError::Kept)
}

fn give_up_all(identity: Option<&Identity>) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    if let Some(identity) = identity {
        become_somebody(identity)?;
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        rustix::process::setrlimit(Resource::Core, none)?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    if is_superuser() {
        return Ok(());
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    // The ambient ones go with the permitted ones.
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

fn become_somebody(identity: &Identity) -> io::Result<()> {
    let &Identity { uid, gid, .. } = identity;
    if is_superuser() {
        for capability in CapabilitySet::all().iter() {
            // A kernel that does not know it has nothing to remove.
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
        rustix::thread::set_thread_groups(&[])?;
    }
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    let regained = rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok()
        || rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).is_ok() && !gid.is_root();
    if regained || (rustix::process::geteuid(), rustix::process::getegid()) != (uid, gid) {
        return Err(io::Error::other("the rights of the superuser could be taken back"));
    }
    Ok(())
}

/// Why the process cannot be who it is to be. One line: what, where, what to do.
#[derive(Debug)]
pub(crate) enum PrivilegeError {
    /// Nobody has that name.
    UnknownUser(String),
    /// No group has that name.
    UnknownGroup(String),
    /// A number without a name, whose group nobody knows.
    NoGroup(String),
    /// Whoever knows the names does not answer.
    Lookup {
        /// As it was given.
        name: String,
        /// What is said instead.
        source: io::Error,
    },
    /// Nothing would be given up.
    Superuser,
    /// Only the superuser becomes somebody else.
    NotSuperuser(String),
    /// The root of the file system cannot be changed.
    Chroot {
        /// As it was given.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Rights could not be given up.
    Kept(io::Error),
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownUser(user) => {
                write!(
                    f,
                    "cannot become {}: there is no such user; give --user one that there is",
                    quoted(user)
                )
            }
            Self::UnknownGroup(group) => {
                write!(
                    f,
                    "cannot join {}: there is no such group; give --group one that there is",
                    quoted(group)
                )
            }
            Self::NoGroup(user) => {
                write!(f, "cannot become {}: its group is not known; give --user UID:GROUP", quoted(user))
            }
            Self::Lookup { name, source } => write!(
                f,
                "cannot look up {}: {}; give --user and --group as numbers",
                quoted(name),
                os::reason(source)
            ),
            Self::Superuser => f.write_str(
                "cannot give up rights to become the superuser: give --user another user, or leave it out",
            ),
            Self::NotSuperuser(user) => {
                write!(f, "cannot become {}: only root can; start as root, or without --user", quoted(user))
            }
            Self::Chroot { path, source } => write!(
                f,
                "cannot make {} the root of the file system: {}; start as root, and give --chroot a directory",
                quoted(path.display()),
                os::reason(source)
            ),
            Self::Kept(source) => {
                write!(
                    f,
                    "cannot give up rights: {}; start as another user, without --user",
                    os::reason(source)
                )
            }
        }
    }
}

impl std::error::Error for PrivilegeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Lookup { source, .. } | Self::Chroot { source, .. } | Self::Kept(source) => Some(source),
            _ => None,
        }
    }
}
