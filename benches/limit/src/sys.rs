//! The one system call that no crate wraps.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How long a connection may keep its first bytes back before it is accepted all the same.
const PATIENCE_S: libc::c_int = 1;

/// Lets a listener hand out connections only when their first bytes have arrived (`TCP_DEFER_ACCEPT`).
///
/// # Errors
/// What setsockopt(2) fails with.
pub(crate) fn defer_accept(listener: BorrowedFd<'_>) -> io::Result<()> {
    let seconds = PATIENCE_S;
    // SAFETY: the pointer and the length are those of one live c_int, which is what the option takes.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
