//! The files that a server under test serves.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// A temporary directory tree, removed when dropped.
pub(crate) struct Tree {
    directory: TempDir,
}

impl Tree {
    /// A tree of these files; missing directories are made.
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        let tree = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        for (name, content) in files {
            tree.write(name, content);
        }
        tree
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Writes a file in place, truncating what is there.
    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        self.make_parent(name);
        fs::write(self.path(name), content).expect("write");
    }

    /// Puts a new file in the place of an old one in one step, as deployments should.
    pub(crate) fn replace(&self, name: &str, content: &[u8]) {
        self.write(".replacement", content);
        fs::rename(self.path(".replacement"), self.path(name)).expect("rename");
    }

    /// Makes a file of zeros that takes no space, `length` bytes long.
    pub(crate) fn sparse(&self, name: &str, length: u64) -> File {
        self.make_parent(name);
        let file = File::create(self.path(name)).expect("create");
        file.set_len(length).expect("set the length");
        file
    }

    /// Makes a directory.
    pub(crate) fn directory(&self, name: &str) {
        fs::create_dir_all(self.path(name)).expect("mkdir");
    }

    /// Makes a symbolic link called `name` that says `destination`.
    pub(crate) fn link(&self, name: &str, destination: impl AsRef<Path>) {
        self.make_parent(name);
        symlink(destination, self.path(name)).expect("symlink");
    }

    /// Makes a named pipe.
    pub(crate) fn fifo(&self, name: &str) {
        self.make_parent(name);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, self.path(name), rustix::fs::FileType::Fifo, mode, 0)
            .expect("mkfifo");
    }

    /// Sets permission bits.
    pub(crate) fn mode(&self, name: &str, bits: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(bits)).expect("chmod");
    }

    /// Opens the whole tree to every user: the system makes temporary directories private.
    pub(crate) fn publish(&self) {
        self.mode("", 0o755);
    }

    /// Sets the time of the last modification, in seconds and nanoseconds since 1970.
    pub(crate) fn modified_at(&self, name: &str, seconds: i64, nanoseconds: u32) {
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { SystemTime::UNIX_EPOCH - whole } else { SystemTime::UNIX_EPOCH + whole };
        let times = FileTimes::new().set_modified(time + Duration::from_nanos(nanoseconds.into()));
        File::options().write(true).open(self.path(name)).expect("open").set_times(times).expect("utimens");
    }

    fn make_parent(&self, name: &str) {
        if let Some(parent) = self.path(name).parent() {
            fs::create_dir_all(parent).expect("mkdir");
        }
    }
}

/// Bytes that differ from place to place, so that a shift, a gap or a repetition is seen.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let words = (0..length.div_ceil(8) as u64).map(|index| (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut bytes: Vec<u8> = words.flat_map(u64::to_be_bytes).collect();
    bytes.truncate(length);
    bytes
}
