//! From a relative path to an open file, confined by the kernel.
//!
//! One openat2(2) below the root's descriptor, then one fstat(2) on what it opened: the file that is checked *is*
//! the file that is served. Whatever a path can do wrong is answered here in one place; nothing in a path is
//! ever the server's fault.
//!
//! A loop thread must not wait for a disk. It opens with [`Patience::Never`]: only what the kernel has in its
//! caches, only on the root's own file system, and only if that is one whose open(2) asks nobody else.
//! Whatever that leaves open, a helper thread settles with [`Patience::MayWait`].

use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use protocol::Status;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::manifest::Manifest;
use super::residency;
use crate::decision::decided;
use crate::overload;
use crate::settings::Symlinks;

/// How often a path is tried when a rename or a mount elsewhere keeps the kernel from being sure (openat2(2), EAGAIN).
const ATTEMPTS: u32 = 16;
/// The same without waiting, where EAGAIN mostly means what it says: one more try costs less than a helper.
const ATTEMPTS_CACHED: u32 = 2;

/// `NONBLOCK`, because opening a FIFO would otherwise stop the loop until somebody writes to it; `NOCTTY`,
/// because opening a terminal would otherwise make it ours.
const AS_FILE: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
/// `PATH`, because nobody lists it, and so nobody need be allowed to.
const AS_DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// To be listed, a directory has to be read.
const AS_LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// `PATH`, because only its attributes are wanted, whatever it is.
const AS_NAME: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Whether a call may wait for a disk or for another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// On a loop thread: rather give up.
    Never,
    /// On a helper thread.
    MayWait,
}

/// What keeps a file from being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The request is refused.
    Refused(Status),
    /// Only waiting can tell.
    Cold,
}

/// The directory that is served, held open: renaming it or replacing the path does not change what is served.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
    place: Place,
    only: Option<Only>,
    resolve: ResolveFlags,
    /// Whether what is in the kernel's caches can be opened without asking anybody.
    opens_from_cache: bool,
    /// The manifest of the tree, once somebody has asked for it. No loop waits for it.
    manifest: OnceLock<Manifest>,
}

/// What a path names.
#[derive(Debug)]
pub enum Found {
    /// A regular file, open for reading.
    File(OwnedFd, Stat),
    /// A directory.
    Directory,
}

/// Where a root lies, by which it is told from another one. As long as it is held, no other can have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    device: u64,
    inode: u64,
    /// Of the one file in it that is served.
    only: Option<CString>,
}

impl Place {
    /// Where `path` leads now. May wait.
    ///
    /// # Errors
    /// When it leads nowhere.
    pub fn of(path: &Path) -> io::Result<Self> {
        let (directory, only) = follow(path)?;
        Ok(Self::new(&rustix::fs::stat(&directory)?, only.as_ref()))
    }

    fn new(stat: &Stat, only: Option<&Only>) -> Self {
        #[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            only: only.map(|only| only.target.clone()),
        }
    }
}

/// The directory that `path` leads to, or the one file and the directory that it lies in.
fn follow(path: &Path) -> io::Result<(PathBuf, Option<Only>)> {
    let canonical = std::fs::canonicalize(path)?;
    if !std::fs::metadata(&canonical)?.is_file() {
        return Ok((canonical, None));
    }
    let only = Only::new(path, &canonical)?;
    Ok((canonical.parent().unwrap_or(&canonical).to_owned(), Some(only)))
}

/// The one file that is served.
#[derive(Debug)]
struct Only {
    /// The name by which it is asked for.
    name: Box<[u8]>,
    /// The name by which it is opened: another one, where what was given is a symbolic link.
    target: CString,
}

impl Root {
    /// Opens the directory at `path`, or the directory of the one file at `path`. Links on the way are followed
    /// now, and not again before the root is opened anew.
    ///
    /// # Errors
    /// What open(2) fails with, or `Unsupported` on a kernel without openat2 (before Linux 5.6).
    pub fn open(path: &Path, symlinks: Symlinks) -> io::Result<Self> {
        let (path, only) = follow(path)?;
        let directory = rustix::fs::open(&path, AS_DIRECTORY, Mode::empty())?;
        let mut root = Self {
            opens_from_cache: residency::is_local(&directory),
            place: Place::new(&rustix::fs::fstat(&directory)?, only.as_ref()),
            directory,
            path,
            only,
            manifest: OnceLock::new(),
            resolve: match symlinks {
                Symlinks::Never => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
                Symlinks::Inside => ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
                Symlinks::Any => ResolveFlags::empty(),
            },
        };
        match root.open_beneath(c".", AS_DIRECTORY, Patience::MayWait) {
            Ok(_) => {}
            Err(Errno::NOSYS) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "openat2(2) needs Linux 5.6"));
            }
            Err(errno) => return Err(errno.into()),
        }
        root.probe()?;
        // Linux before 5.12 does not know RESOLVE_CACHED; helpers open everything then.
        let cached = root.open_beneath(c".", AS_DIRECTORY, Patience::Never);
        root.opens_from_cache &= !matches!(cached, Err(Errno::INVAL));
        Ok(root)
    }

    /// To open as `PATH` is not to read. Files whose modes let us read them can be kept from us all the same, by what
    /// confines this process: then every request would be refused.
    fn probe(&self) -> io::Result<()> {
        let (path, flags) = match &self.only {
            Some(only) => (&*only.target, AS_FILE),
            None => (c".", AS_LIST),
        };
        let may = || rustix::fs::accessat(&self.directory, path, Access::READ_OK, AtFlags::EACCESS).is_ok();
        match rustix::fs::openat(&self.directory, path, flags, Mode::empty()) {
            Err(Errno::ACCESS) if may() => Err(io::Error::new(io::ErrorKind::PermissionDenied, Confined)),
            _ => Ok(()),
        }
    }

    /// Where it lies.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// The path of the directory, without links, when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether [`Patience::Never`] opens anything at all.
    #[must_use]
    pub const fn opens_from_cache(&self) -> bool {
        self.opens_from_cache
    }

    /// What the manifest says of the files below the root. It is read when somebody asks for it who may wait, and kept
    /// as long as the root.
    ///
    /// # Errors
    /// That it was not read yet, for whoever must not wait.
    pub fn manifest(&self, patience: Patience) -> Result<&Manifest, Obstacle> {
        match patience {
            Patience::Never => self.manifest.get().ok_or(Obstacle::Cold),
            Patience::MayWait => Ok(self.manifest.get_or_init(|| Manifest::read(self))),
        }
    }

    /// The name of the one file that is served, if the root is a file.
    pub fn only(&self) -> Option<&[u8]> {
        self.only.as_ref().map(|only| &*only.name)
    }

    /// Opens what `path`, relative to the root, names.
    ///
    /// # Errors
    /// The status to refuse the request with, or that it would have to wait.
    pub fn resolve(&self, path: &CStr, patience: Patience) -> Result<Found, Obstacle> {
        if patience == Patience::Never && !self.opens_from_cache {
            return Err(Obstacle::Cold);
        }
        let path = match &self.only {
            Some(only) => &only.target,
            None if path.is_empty() => c".",
            None => path,
        };
        let file = self.open_any(path, patience).map_err(|errno| {
            decided!("file", "{}: {}", path.to_bytes().escape_ascii(), self.reason(errno));
            match (errno, patience) {
                // Not in the cache, or on another file system, if it is below the root at all.
                (Errno::AGAIN | Errno::XDEV, Patience::Never) => Obstacle::Cold,
                _ => Obstacle::Refused(refusal(errno)),
            }
        })?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| Obstacle::Refused(refusal(errno)))?;
        decided!("file", "{}: {}", path.to_bytes().escape_ascii(), description(&stat));
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Found::File(file, stat)),
            FileType::Directory => Ok(Found::Directory),
            _ => Err(Obstacle::Refused(Status::NotFound)),
        }
    }

    /// Why nothing could be opened. Says more than the kernel where it keeps to what we told it.
    fn reason(&self, errno: Errno) -> String {
        match errno {
            Errno::XDEV => "leads out of the root".into(),
            Errno::LOOP if self.resolve.contains(ResolveFlags::NO_SYMLINKS) => {
                "leads through a symbolic link, and none are followed".into()
            }
            Errno::AGAIN => "only known to who may wait".into(),
            _ => {
                let text = io::Error::from(errno).to_string();
                text.split_once(" (os error ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
            }
        }
    }

    /// Opens the directory that `path`, relative to the root, names, so that it can be listed. May wait.
    ///
    /// # Errors
    /// The status to refuse the request with.
    pub fn open_directory(&self, path: &CStr) -> Result<OwnedFd, Status> {
        if self.only.is_some() {
            return Err(Status::NotFound);
        }
        let path = if path.is_empty() { c"." } else { path };
        self.open_beneath(path, AS_LIST, Patience::MayWait).map_err(refusal)
    }

    /// The attributes of what `path`, relative to the root, names, where links are followed as for a request.
    /// May wait.
    ///
    /// # Errors
    /// The status that a request for it would be refused with.
    pub fn attributes(&self, path: &CStr) -> Result<Stat, Status> {
        let file = self.open_beneath(path, AS_NAME, Patience::MayWait).map_err(refusal)?;
        rustix::fs::fstat(&file).map_err(refusal)
    }

    /// A directory that may be passed through, but not listed, is a directory all the same.
    fn open_any(&self, path: &CStr, patience: Patience) -> Result<OwnedFd, Errno> {
        match self.open_beneath(path, AS_FILE, patience) {
            Err(Errno::ACCESS) => match self.open_beneath(path, AS_DIRECTORY, patience) {
                Err(Errno::NOTDIR) => Err(Errno::ACCESS),
                opened => opened,
            },
            opened => opened,
        }
    }

    fn open_beneath(&self, path: &CStr, flags: OFlags, patience: Patience) -> Result<OwnedFd, Errno> {
        let (resolve, attempts) = match patience {
            Patience::Never => (self.resolve | ResolveFlags::CACHED | ResolveFlags::NO_XDEV, ATTEMPTS_CACHED),
            Patience::MayWait => (self.resolve, ATTEMPTS),
        };
        let mut result = Err(Errno::AGAIN);
        for _ in 0..attempts {
            result = rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve);
            if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        result
    }
}

/// Why a root cannot be read although its modes allow it.
#[derive(Debug)]
struct Confined;

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "it lies where the sandbox lets nothing be read; start with --sandbox-allow DIR, which names a directory \
             above it",
        )
    }
}

impl std::error::Error for Confined {}

/// What was opened, in words.
fn description(stat: &Stat) -> String {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => format!("a file of {} bytes", stat.st_size),
        FileType::Directory => "a directory".into(),
        _ => "neither a file nor a directory".into(),
    }
}

impl Only {
    /// The file that was given as `path` and is `canonical`.
    fn new(path: &Path, canonical: &Path) -> io::Result<Self> {
        let target = canonical.file_name().ok_or(Errno::ISDIR)?;
        let name = path.file_name().unwrap_or(target).as_bytes().into();
        Ok(Self { name, target: CString::new(target.as_bytes())? })
    }
}

/// The status for an open that failed. Only what says something about *us* is a 5xx; connections make room for those
/// who come again after a shortage.
#[must_use]
pub fn refusal(errno: Errno) -> Status {
    match errno {
        Errno::ACCESS | Errno::PERM => Status::Forbidden,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => {
            overload::note_shortage();
            Status::ServiceUnavailable
        }
        Errno::AGAIN => Status::ServiceUnavailable,
        Errno::IO => Status::InternalServerError,
        _ => Status::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A root with a file, a directory and every kind of link in it, and a secret beside it.
    fn tree() -> (tempfile::TempDir, PathBuf) {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir_all(root.join("dir")).unwrap();
        std::fs::write(outer.path().join("secret"), "secret").unwrap();
        std::fs::write(root.join("file"), "file").unwrap();
        symlink("file", root.join("inside")).unwrap();
        symlink("../secret", root.join("outside")).unwrap();
        symlink(outer.path().join("secret"), root.join("absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("nothing", root.join("dangling")).unwrap();
        let fifo = root.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
        (outer, root)
    }

    fn kind(root: &Root, path: &CStr) -> Result<&'static str, u16> {
        match root.resolve(path, Patience::MayWait) {
            Ok(Found::File(..)) => Ok("file"),
            Ok(Found::Directory) => Ok("directory"),
            Err(Obstacle::Refused(status)) => Err(status.code()),
            Err(Obstacle::Cold) => panic!("there was time to wait"),
        }
    }

    #[test]
    fn only_regular_files_below_the_root_are_found() {
        let (_outer, path) = tree();
        let root = Root::open(&path, Symlinks::Inside).unwrap();
        let table = [
            (c"file", Ok("file")),
            (c"", Ok("directory")),
            (c"dir", Ok("directory")),
            (c"inside", Ok("file")),
            (c"outside", Err(404)),
            (c"absolute", Err(404)),
            (c"../secret", Err(404)),
            (c"loop", Err(404)),
            (c"dangling", Err(404)),
            (c"fifo", Err(404)),
            (c"socket", Err(404)),
            (c"file/x", Err(404)),
            (c"nothing", Err(404)),
        ];
        for (path, expected) in table {
            assert_eq!(kind(&root, path), expected, "{path:?}");
        }
    }

    #[test]
    fn what_is_cached_is_opened_without_waiting() {
        let (_outer, path) = tree();
        let root = Root::open(&path, Symlinks::Inside).unwrap();
        assert!(root.opens_from_cache, "temporary files are on a local file system");
        // Made a moment ago, so its name is in the cache.
        assert!(matches!(root.resolve(c"file", Patience::Never), Ok(Found::File(..))));
        // The kernel does not say in one word what leads outside: a helper finds out.
        assert!(matches!(root.resolve(c"outside", Patience::Never), Err(Obstacle::Cold)));
    }

    #[test]
    fn links_are_followed_as_far_as_is_allowed() {
        let (_outer, path) = tree();
        let never = Root::open(&path, Symlinks::Never).unwrap();
        assert_eq!(kind(&never, c"inside"), Err(404));
        assert_eq!(kind(&never, c"file"), Ok("file"));
        let any = Root::open(&path, Symlinks::Any).unwrap();
        assert_eq!(kind(&any, c"outside"), Ok("file"));
        assert_eq!(kind(&any, c"absolute"), Ok("file"));
    }

    #[test]
    fn only_directories_below_the_root_can_be_listed() {
        let (_outer, path) = tree();
        let root = Root::open(&path, Symlinks::Inside).unwrap();
        let table = [
            (c"", None),
            (c"dir", None),
            (c"file", Some(Status::NotFound)),
            (c"fifo", Some(Status::NotFound)),
            (c"nothing", Some(Status::NotFound)),
            (c"..", Some(Status::NotFound)),
        ];
        for (path, expected) in table {
            assert_eq!(root.open_directory(path).err(), expected, "{path:?}");
        }
        let only = Root::open(&path.join("file"), Symlinks::Inside).unwrap();
        assert_eq!(only.open_directory(c"").err(), Some(Status::NotFound));
    }

    #[test]
    fn attributes_are_those_of_what_a_link_may_lead_to() {
        let (_outer, path) = tree();
        let table = [
            (c"file", Symlinks::Never, Some(4)),
            (c"inside", Symlinks::Inside, Some(4)),
            (c"inside", Symlinks::Never, None),
            (c"outside", Symlinks::Inside, None),
            (c"outside", Symlinks::Any, Some(6)),
            (c"loop", Symlinks::Any, None),
            (c"dangling", Symlinks::Any, None),
        ];
        for (name, symlinks, size) in table {
            let root = Root::open(&path, symlinks).unwrap();
            let found = root.attributes(name).map(|stat| stat.st_size);
            assert_eq!(found.ok(), size, "{name:?} with {symlinks:?}");
        }
    }

    #[test]
    fn a_single_file_is_served_by_the_name_it_was_given() {
        let (_outer, path) = tree();
        for name in ["file", "inside", "outside", "absolute"] {
            let root = Root::open(&path.join(name), Symlinks::Never).unwrap();
            assert_eq!(root.only(), Some(name.as_bytes()));
            assert_eq!(kind(&root, c""), Ok("file"), "{name}");
        }
        assert!(Root::open(&path.join("nothing"), Symlinks::Inside).is_err());
    }
}
