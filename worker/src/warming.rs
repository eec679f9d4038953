//! Brings a tree into memory before it is served, so that the first requests after a switch wait for no disk.
//!
//! What was asked for lately would be the best thing to bring, but only the workers know that, and a release is mostly
//! small: so all of it is walked, as far as a short time and a limit on files allow. A release that was unpacked a
//! moment ago is in memory anyway; one that lay there for long, or on another machine, is not. It is only a help: what
//! cannot be opened is passed over, and what is left out is opened when somebody asks for it.
//!
//! For threads that may wait.

use std::collections::VecDeque;
use std::ffi::CString;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, Dir, FileType};

use crate::site::resolve::{Found, Patience, Root};

/// How long a switch may be put off for it.
const WARMING_MAX: Duration = Duration::from_millis(250);
/// Names that are looked at.
const ENTRIES_MAX: usize = 1_024;
/// How much of each file is read ahead: the kernel does the rest when somebody reads on.
const AHEAD_BYTES: NonZeroU64 = NonZeroU64::new(128 << 10).unwrap();

/// Walks the tree below a root, what lies higher first. Gives the number of files that it has brought.
pub fn warm(root: &Root) -> usize {
    let until = Instant::now() + WARMING_MAX;
    let (mut entries, mut files) = (0, 0);
    if root.only().is_some() {
        return usize::from(bring(root, &CString::default()));
    }
    let mut directories = VecDeque::from([CString::default()]);
    while let Some(path) = directories.pop_front() {
        let Some(listed) = root.open_directory(&path).ok().and_then(|directory| Dir::new(directory).ok())
        else {
            continue;
        };
        for entry in listed.flatten() {
            let name = entry.file_name().to_bytes();
            if name.starts_with(b".") {
                continue;
            }
            if entries == ENTRIES_MAX || Instant::now() >= until {
                return files;
            }
            entries += 1;
            let Some(path) = joined(path.as_bytes(), name) else { continue };
            match entry.file_type() {
                FileType::Directory => directories.push_back(path),
                FileType::RegularFile | FileType::Symlink | FileType::Unknown => {
                    files += usize::from(bring(root, &path));
                }
                _ => {}
            }
        }
    }
    files
}

fn joined(directory: &[u8], name: &[u8]) -> Option<CString> {
    let separator: &[u8] = if directory.is_empty() { b"" } else { b"/" };
    CString::new([directory, separator, name].concat()).ok()
}

/// Whether there is a file.
fn bring(root: &Root, path: &CString) -> bool {
    let Ok(Found::File(file, _)) = root.resolve(path, Patience::MayWait) else { return false };
    // Only a hint, which not every file system takes.
    let _ = rustix::fs::fadvise(&file, 0, Some(AHEAD_BYTES), Advice::WillNeed);
    true
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::settings::Symlinks;

    #[test]
    fn a_tree_is_walked_as_far_as_there_is_room() {
        let tree = tempfile::tempdir().unwrap();
        let path = |name: &str| tree.path().join(name);
        fs::create_dir_all(path("a/b")).unwrap();
        for name in ["1", "a/2", "a/b/3", ".hidden"] {
            fs::write(path(name), name).unwrap();
        }
        symlink("1", path("link")).unwrap();
        symlink("..", path("a/loop")).unwrap();
        symlink("/etc/passwd", path("outside")).unwrap();
        let root = Root::open(tree.path(), Symlinks::Inside).unwrap();
        assert_eq!(warm(&root), 4);
        let only = Root::open(&path("1"), Symlinks::Inside).unwrap();
        assert_eq!(warm(&only), 1);
        for number in 0..ENTRIES_MAX + 10 {
            fs::write(path(&format!("a/b/{number}.txt")), "").unwrap();
        }
        assert!(warm(&root) <= ENTRIES_MAX);
    }
}
