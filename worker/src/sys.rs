//! The calls of a worker into the kernel and the C library for which there is no safe wrapper. `unsafe` lives here and nowhere else.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::ioctl::{Getter, Opcode, ioctl};

/// `SIOCOUTQ` of linux/sockios.h, the same number on every architecture that uses the generic one for `TIOCOUTQ`.
const SIOCOUTQ: Opcode = 0x5411;
/// The number of cachestat(2), the same on every architecture but Alpha.
const CACHESTAT: c_long = 451;

/// Bytes in a socket's send queue that the peer has not acknowledged: tcp(7), `SIOCOUTQ`; unix(7), the same.
///
/// # Errors
/// What ioctl(2) fails with.
pub fn unacknowledged_bytes(socket: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: SIOCOUTQ writes one int to the address it is given, and that is what the getter points it at.
    let queued = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) }?;
    Ok(u64::try_from(queued).unwrap_or(0))
}

/// Gives pages that were freed back to the kernel, also those between what is in use: malloc_trim(3). Other C libraries
/// than glibc are left as they are.
pub fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a size and touches only memory that is free, under the locks of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// `struct cachestat_range` of linux/mman.h.
#[repr(C)]
struct Range {
    offset: u64,
    length: u64,
}

/// `struct cachestat` of linux/mman.h.
#[repr(C)]
#[derive(Default)]
struct Cached {
    pages: u64,
    _dirty: u64,
    _writeback: u64,
    _evicted: u64,
    _recently_evicted: u64,
}

/// Whether all of a part of a file, at least one byte, is in the page cache: cachestat(2).
///
/// # Errors
/// On Linux before 6.5; for files that the process neither owns nor may write; on file systems without a page
/// cache of their own.
pub fn is_cached(file: BorrowedFd<'_>, offset: u64, bytes: u64) -> io::Result<bool> {
    let range = Range { offset, length: bytes };
    let mut cached = Cached::default();
    // SAFETY: the descriptor is open, and both structures are laid out as the kernel's and outlive the call.
    let result = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut cached, 0) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let page_bytes = rustix::param::page_size() as u64;
    let pages = offset.saturating_add(bytes).div_ceil(page_bytes) - offset / page_bytes;
    Ok(cached.pages >= pages)
}
