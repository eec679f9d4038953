//! What lies in a directory, as far as it may be shown.
//!
//! Names are read first and their attributes after that, so that of a directory beyond the limit the same part is
//! shown each time, in whatever order the file system keeps it.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use protocol::Status;
use rustix::fs::{Access, AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

use super::Settings;
use crate::site::manifest::is_manifest;
use crate::site::resolve::{self, Root};

/// As the file system has it: any bytes but NUL and slash.
type Name = Box<[u8]>;

/// A directory that was read.
#[derive(Debug)]
pub(super) struct Directory {
    /// In no particular order.
    pub(super) entries: Vec<Entry>,
    /// Whether that is all there is to show.
    pub(super) is_complete: bool,
    /// When it, or anything in it, changed last: seconds since 1970.
    pub(super) changed_s: i64,
}

/// A file or directory in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Name,
    pub(super) is_directory: bool,
    /// Length of a file in bytes.
    pub(super) size: u64,
    /// Seconds since 1970, possibly before.
    pub(super) modified_s: i64,
}

/// Reads the directory that `path`, relative to the root, names.
///
/// # Errors
/// The status to refuse the request with: 403 also for a directory with too many entries, unless a part of them
/// will do.
pub(super) fn read(
    root: &Root,
    path: &[u8],
    settings: &Settings,
    may_be_part: bool,
) -> Result<Directory, Status> {
    let mut scratch = Vec::new();
    let directory = root.open_directory(terminated(&mut scratch, path)?)?;
    let stat = rustix::fs::fstat(&directory).map_err(resolve::refusal)?;
    let (names, is_complete) = names(directory.as_fd(), path, settings).map_err(resolve::refusal)?;
    if !is_complete && !may_be_part {
        return Err(Status::Forbidden);
    }
    let mut found =
        Directory { entries: Vec::with_capacity(names.len()), is_complete, changed_s: changed_s(&stat) };
    for name in names {
        let stat = attributes(root, directory.as_fd(), path, &name, &mut scratch)?;
        if let Some(stat) = stat.filter(|stat| may_be_served(directory.as_fd(), &name, stat)) {
            found.changed_s = found.changed_s.max(changed_s(&stat));
            found.entries.extend(Entry::new(name, &stat));
        }
    }
    Ok(found)
}

impl Entry {
    /// None for what is never served.
    fn new(name: Name, stat: &Stat) -> Option<Self> {
        let is_directory = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => true,
            FileType::RegularFile => false,
            _ => return None,
        };
        let size = if is_directory { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) };
        #[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
        Some(Self { name, is_directory, size, modified_s: stat.st_mtime as i64 })
    }
}

/// At most the allowed number of names, those that come first by their bytes, and whether these are all.
fn names(directory: BorrowedFd<'_>, path: &[u8], settings: &Settings) -> Result<(Vec<Name>, bool), Errno> {
    let max = settings.entries_max;
    let mut names: Vec<Name> = Vec::new();
    let mut is_complete = true;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let is_self_or_parent = matches!(name, b"." | b"..");
        let is_manifest = path.is_empty() && is_manifest(name);
        if is_self_or_parent || is_manifest || (name.starts_with(b".") && !settings.hidden) {
            continue;
        }
        names.push(name.into());
        // Half of them go at a time, so that each name costs constant time.
        if names.len() > max.saturating_mul(2) {
            is_complete &= !keep_first(&mut names, max);
        }
    }
    is_complete &= !keep_first(&mut names, max);
    Ok((names, is_complete))
}

/// Whether there were more.
fn keep_first(names: &mut Vec<Name>, max: usize) -> bool {
    let are_more = names.len() > max;
    if are_more {
        names.select_nth_unstable(max);
        names.truncate(max);
    }
    are_more
}

/// None for what has gone since its name was read, and for a link that may not be followed. A link is resolved
/// from the root, as it is for a request: it may lead out of its directory, but not out of the root.
fn attributes(
    root: &Root,
    directory: BorrowedFd<'_>,
    path: &[u8],
    name: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<Option<Stat>, Status> {
    let found = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
            let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
            terminated(scratch, &[path, separator, name].concat()).and_then(|path| root.attributes(path))
        }
        found => found.map_err(resolve::refusal),
    };
    match found {
        Ok(stat) => Ok(Some(stat)),
        Err(Status::NotFound | Status::Forbidden) => Ok(None),
        // A listing without it would be believed.
        Err(status) => Err(status),
    }
}

/// Whether the server may read a file, or look for one below a directory. What is neither is not shown anyway.
fn may_be_served(directory: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> bool {
    let access = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Access::EXEC_OK,
        _ => Access::READ_OK,
    };
    rustix::fs::accessat(directory, name, access, AtFlags::EACCESS).is_ok()
}

/// The path as the kernel takes it.
fn terminated<'s>(scratch: &'s mut Vec<u8>, path: &[u8]) -> Result<&'s CStr, Status> {
    scratch.clear();
    scratch.extend_from_slice(path);
    scratch.push(0);
    CStr::from_bytes_with_nul(scratch).map_err(|_| Status::BadRequest)
}

/// Whichever is later: the content may have been given an old time.
#[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
fn changed_s(stat: &Stat) -> i64 {
    (stat.st_mtime as i64).max(stat.st_ctime as i64)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;
    use crate::settings::Symlinks;
    use crate::site::listing::{Column, Direction, Formats, Order};

    fn settings(hidden: bool, entries_max: usize) -> Settings {
        let order = Order { column: Column::Name, direction: Direction::Ascending };
        Settings { formats: Formats::Preferred, hidden, order, entries_max }
    }

    /// Name, or name with a slash, and size of everything in a directory, by name.
    fn listed(root: &Path, symlinks: Symlinks, path: &[u8], hidden: bool) -> Vec<String> {
        let root = Root::open(root, symlinks).unwrap();
        let mut entries = read(&root, path, &settings(hidden, 100), true).unwrap().entries;
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let text = |entry: &Entry| {
            let name = entry.name.escape_ascii();
            if entry.is_directory { format!("{name}/") } else { format!("{name} {}", entry.size) }
        };
        entries.iter().map(text).collect()
    }

    /// Every kind of thing that a directory may hold.
    fn tree() -> tempfile::TempDir {
        let outer = tempfile::tempdir().unwrap();
        let directory = outer.path().join("root/dir");
        fs::create_dir_all(directory.join("sub")).unwrap();
        fs::write(outer.path().join("secret"), "secret").unwrap();
        fs::write(directory.join("file"), "file").unwrap();
        fs::write(directory.join(".hidden"), "").unwrap();
        fs::create_dir(directory.join(".git")).unwrap();
        let links = [("to-file", "file"), ("to-sub", "sub"), ("up", ".."), ("dangling", "nothing")];
        for (name, target) in links.into_iter().chain([("loop", "loop"), ("out", "../../secret")]) {
            symlink(target, directory.join(name)).unwrap();
        }
        symlink(outer.path().join("secret"), directory.join("absolute")).unwrap();
        let fifo = directory.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        drop(std::os::unix::net::UnixListener::bind(directory.join("socket")).unwrap());
        outer
    }

    #[test]
    fn only_what_would_be_served_is_shown() {
        let tree = tree();
        let root = tree.path().join("root");
        let plain = ["file 4", "sub/"];
        assert_eq!(listed(&root, Symlinks::Never, b"dir", false), plain);
        let inside = ["file 4", "sub/", "to-file 4", "to-sub/", "up/"];
        assert_eq!(listed(&root, Symlinks::Inside, b"dir", false), inside);
        let any = ["absolute 6", "file 4", "out 6", "sub/", "to-file 4", "to-sub/", "up/"];
        assert_eq!(listed(&root, Symlinks::Any, b"dir", false), any);
        assert_eq!(listed(&root, Symlinks::Never, b"dir", true), [".git/", ".hidden 0", "file 4", "sub/"]);
        assert_eq!(listed(&root, Symlinks::Never, b"", false), ["dir/"]);
        assert_eq!(listed(&root, Symlinks::Never, b"dir/sub", false), [""; 0]);
        // Where `dir` is the root, `up` leads out of it.
        let below = ["file 4", "sub/", "to-file 4", "to-sub/"];
        assert_eq!(listed(&root.join("dir"), Symlinks::Inside, b"", false), below);
    }

    #[test]
    fn beyond_the_limit_the_first_names_are_kept() {
        let tree = tempfile::tempdir().unwrap();
        for index in 0..50 {
            fs::write(tree.path().join(format!("{index:02}")), "").unwrap();
        }
        let root = Root::open(tree.path(), Symlinks::Never).unwrap();
        for (max, shown, is_complete) in
            [(0, 0, false), (1, 1, false), (7, 7, false), (49, 49, false), (50, 50, true), (60, 50, true)]
        {
            let directory = read(&root, b"", &settings(false, max), true).unwrap();
            assert_eq!(directory.is_complete, is_complete, "{max}");
            let mut names: Vec<_> = directory.entries.into_iter().map(|entry| entry.name).collect();
            names.sort_unstable();
            let expected: Vec<Name> =
                (0..shown).map(|index| format!("{index:02}").into_bytes().into()).collect();
            assert_eq!(names, expected, "{max}");
        }
    }

    #[test]
    fn a_change_of_anything_in_it_changes_the_directory() {
        let tree = tempfile::tempdir().unwrap();
        let file = tree.path().join("file");
        fs::write(&file, "old").unwrap();
        let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::options().write(true).open(&file).unwrap().set_modified(past).unwrap();
        let root = Root::open(tree.path(), Symlinks::Never).unwrap();
        let directory = read(&root, b"", &settings(false, 10), true).unwrap();
        assert_eq!(directory.entries[0].modified_s, 1_000_000_000);
        // The change time tells that it was not always that old.
        assert!(directory.changed_s > 1_700_000_000);
    }

    #[test]
    fn what_is_no_directory_is_not_found() {
        let tree = tree();
        let root = Root::open(&tree.path().join("root"), Symlinks::Inside).unwrap();
        let table: [(&[u8], Status); 4] = [
            (b"dir/file", Status::NotFound),
            (b"nothing", Status::NotFound),
            (b"dir/out", Status::NotFound),
            (b"dir\0", Status::BadRequest),
        ];
        for (path, status) in table {
            assert_eq!(
                read(&root, path, &settings(false, 10), true).err(),
                Some(status),
                "{}",
                path.escape_ascii()
            );
        }
    }
}
