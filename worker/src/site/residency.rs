//! Whether the bytes of a file can be had without waiting.
//!
//! sendfile(2) reads through the page cache and waits for the disk when a page is missing. So before it is
//! called for a file that is not known to be in memory, the cache is asked: cachestat(2) where it is permitted,
//! else preadv2(2) with `RWF_NOWAIT` here and there. File systems that refuse both and are not known to be local
//! are never sent from on a loop thread: helpers read them.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::{Errno, ReadWriteFlags};

use crate::sys;

/// How far apart single bytes are asked for: what read-ahead usually brings in at once.
const PROBE_STRIDE_BYTES: u64 = 128 << 10;

/// How a file system can be asked what it has in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// It answers at once, also when the answer is no.
    Probed,
    /// It does not say, but is local: a layer over other file systems (overlayfs has no `RWF_NOWAIT`), or a plain
    /// one.
    Mute,
    /// It cannot be asked, and another process or machine may be behind it.
    Distrusted,
}

impl Residency {
    /// Of an open file. `is_local` says whether its file system is known to be; see [`is_local`].
    #[must_use]
    pub fn of(file: BorrowedFd<'_>, is_local: bool) -> Self {
        match read_now(file, &mut [0], 0) {
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) if is_local => Self::Mute,
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Self::Distrusted,
            _ => Self::Probed,
        }
    }
}

/// Reads what is in memory: preadv2(2) with `RWF_NOWAIT`.
///
/// # Errors
/// `AGAIN` when nothing at `offset` is, `OPNOTSUPP` when the file system cannot tell.
pub fn read_now(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT)
}

/// Whether this part of a file is in memory, as far as can be told without reading it all. Pages that are on
/// their way there count as well, so this says nothing about a file that has just begun to be read.
#[must_use]
pub fn is_resident(file: BorrowedFd<'_>, offset: u64, bytes: u64) -> bool {
    sys::is_cached(file, offset, bytes).unwrap_or_else(|_| is_resident_by_probes(file, offset, bytes))
}

fn is_resident_by_probes(file: BorrowedFd<'_>, offset: u64, bytes: u64) -> bool {
    let last = offset.saturating_add(bytes.saturating_sub(1));
    let mut at = offset;
    while at < last {
        if read_now(file, &mut [0], at).is_err() {
            return false;
        }
        at = at.saturating_add(PROBE_STRIDE_BYTES);
    }
    read_now(file, &mut [0], last).is_ok()
}

/// Whether a file system is known to be local: opening what is in its caches asks no other process or machine.
/// May itself wait.
pub fn is_local(directory: impl AsFd) -> bool {
    /// statfs(2), `f_type`: ext4, XFS, Btrfs, tmpfs, ramfs, overlayfs, F2FS, bcachefs, ZFS, SquashFS, EROFS,
    /// ISO 9660, FAT, exFAT.
    const LOCAL: [u32; 14] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0x0102_1994,
        0x8584_58f6,
        0x794c_7630,
        0xf2f5_2010,
        0xca45_1a4e,
        0x2fc1_2fc1,
        0x7371_7368,
        0xe0f5_e1e2,
        0x9660,
        0x4d44,
        0x2011_bab0,
    ];
    let Ok(stat) = rustix::fs::fstatfs(directory) else { return false };
    #[allow(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "a magic number, of any width"
    )]
    let kind = stat.f_type as u32;
    LOCAL.contains(&kind)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_just_written_is_in_memory() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; 300_000]).unwrap();
        assert!(is_local(&file));
        assert_ne!(Residency::of(file.as_fd(), true), Residency::Distrusted);
        assert!(is_resident(file.as_fd(), 0, 300_000));
        assert!(is_resident_by_probes(file.as_fd(), 0, 300_000));
        assert!(is_resident_by_probes(file.as_fd(), 299_999, 1));
    }

    #[test]
    fn a_file_dropped_from_the_cache_is_not() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; 4 << 20]).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        if Residency::of(file.as_fd(), true) != Residency::Probed {
            println!("skipped: this file system cannot be asked");
            return;
        }
        assert!(!is_resident(file.as_fd(), 1 << 20, 3 << 20));
        assert!(!is_resident_by_probes(file.as_fd(), 3 << 20, 1 << 20));
    }

    #[test]
    fn what_cannot_be_asked_and_is_not_local_is_distrusted() {
        let proc = std::fs::File::open("/proc/self/mounts").unwrap();
        assert!(!is_local(&proc));
        assert_eq!(Residency::of(proc.as_fd(), false), Residency::Distrusted);
    }
}
