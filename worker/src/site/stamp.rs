//! What tells one version of a file from another: [`Stamp`], and the ways to ask for it. It never opens or reads.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Stat, StatxFlags};
use rustix::io::Errno;

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl Stamp {
    /// Length of the file in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// When the content was last modified: seconds since 1970, and nanoseconds.
    #[must_use]
    pub const fn modified(&self) -> (i64, u32) {
        self.modified
    }

    /// When content or attributes were last changed, in seconds since 1970.
    #[must_use]
    pub fn touched_s(&self) -> i64 {
        self.modified.0.max(self.changed.0)
    }

    /// The stamp in the result of fstat(2).
    #[must_use]
    pub fn of(stat: &Stat) -> Self {
        let nanoseconds = |ns: u64| u32::try_from(ns).unwrap_or(0);
        #[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime as i64, nanoseconds(stat.st_mtime_nsec as u64)),
            changed: (stat.st_ctime as i64, nanoseconds(stat.st_ctime_nsec as u64)),
        }
    }

    /// The stamp that the file system has now, whatever the kernel remembers of it. May wait.
    ///
    /// # Errors
    /// What statx(2) fails with.
    pub fn asked_for(file: BorrowedFd<'_>) -> Result<Self, Errno> {
        Self::by_statx(file, AtFlags::STATX_FORCE_SYNC)
    }

    /// The stamp that the kernel remembers, however old. Never waits.
    ///
    /// # Errors
    /// What statx(2) fails with.
    pub fn remembered(file: BorrowedFd<'_>) -> Result<Self, Errno> {
        Self::by_statx(file, AtFlags::STATX_DONT_SYNC)
    }

    fn by_statx(file: BorrowedFd<'_>, sync: AtFlags) -> Result<Self, Errno> {
        let stat = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH | sync, StatxFlags::BASIC_STATS)?;
        Ok(Self {
            device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            size: stat.stx_size,
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        })
    }

    /// Whether a file that was `earlier` when a part of it was sent is still the same one there, as far as can be
    /// told: it may have grown.
    #[must_use]
    pub fn is_continuation_of(&self, earlier: &Self) -> bool {
        self.size > earlier.size || (self.size == earlier.size && self.modified == earlier.modified)
    }
}
