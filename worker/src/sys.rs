//! The one system call of a worker for which there is no safe wrapper. `unsafe` lives here and nowhere else.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// `SIOCOUTQ` of linux/sockios.h, the same number on every architecture that uses the generic one for `TIOCOUTQ`.
const SIOCOUTQ: Opcode = 0x5411;

/// Bytes in a socket's send queue that the peer has not acknowledged: tcp(7), `SIOCOUTQ`; unix(7), the same.
///
/// # Errors
/// What ioctl(2) fails with.
pub fn unacknowledged_bytes(socket: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: SIOCOUTQ writes one int to the address it is given, and that is what the getter points it at.
    let queued = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) }?;
    Ok(u64::try_from(queued).unwrap_or(0))
}
