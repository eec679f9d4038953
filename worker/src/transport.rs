//! What a connection needs of its socket, and nothing more.
//!
//! [`Socket`] is the real one. The simulation has another, so that every order of partial reads, full buffers
//! and resets can be played through; a transport with encryption would be a third.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sendmsg};

use crate::sys;

/// A non-blocking byte stream to a peer. `WouldBlock` is an error like any other here; the connection knows what
/// it means.
pub trait Transport {
    /// Reads what has arrived into `buffer`. 0 means that the peer has closed its sending side.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived, or what recv(2) fails with.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends the beginning of `bytes` and tells how much of it went. `more_follows` keeps the kernel from
    /// sending a partly filled segment (`MSG_MORE`).
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits, or what send(2) fails with.
    fn send(&mut self, bytes: &[u8], more_follows: bool) -> io::Result<usize>;

    /// Sends the beginning of `head` and `content` behind it, and tells how much of both went.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits, or what sendmsg(2) fails with.
    fn send_both(&mut self, head: &[u8], content: &[u8]) -> io::Result<usize> {
        let sent = self.send(head, !content.is_empty())?;
        if sent < head.len() || content.is_empty() {
            return Ok(sent);
        }
        // What fails now fails again.
        Ok(sent + self.send(content, false).unwrap_or(0))
    }

    /// Sends at most `bytes` bytes of `file` from `offset` on, without copying them through this process.
    /// 0 means that the file ends before `offset`.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits, or what sendfile(2) fails with.
    fn send_file(&mut self, file: BorrowedFd<'_>, offset: u64, bytes: usize) -> io::Result<usize>;

    /// Bytes that were sent but not acknowledged by the peer.
    ///
    /// # Errors
    /// When the kernel does not tell.
    fn unacknowledged_bytes(&self) -> io::Result<u64>;

    /// Closes our sending side: the peer reads an end of stream behind the last byte.
    ///
    /// # Errors
    /// When the connection is gone already.
    fn finish(&mut self) -> io::Result<()>;

    /// Makes the close that follows a reset: unsent bytes are dropped and the peer reads an error.
    fn reset_on_close(&mut self);
}

/// A connected TCP or Unix socket.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// Takes over a connected, non-blocking socket.
    #[must_use]
    pub const fn new(stream: OwnedFd) -> Self {
        Self(stream)
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Transport for Socket {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (_, bytes) = retry(|| rustix::net::recv(&self.0, &mut *buffer, RecvFlags::empty()))?;
        Ok(bytes)
    }

    fn send(&mut self, bytes: &[u8], more_follows: bool) -> io::Result<usize> {
        let more = if more_follows { SendFlags::MORE } else { SendFlags::empty() };
        Ok(retry(|| rustix::net::send(&self.0, bytes, more | SendFlags::NOSIGNAL))?)
    }

    fn send_both(&mut self, head: &[u8], content: &[u8]) -> io::Result<usize> {
        let parts = [IoSlice::new(head), IoSlice::new(content)];
        let send = || sendmsg(&self.0, &parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL);
        Ok(retry(send)?)
    }

    fn send_file(&mut self, file: BorrowedFd<'_>, offset: u64, bytes: usize) -> io::Result<usize> {
        let mut offset = offset;
        Ok(retry(|| rustix::fs::sendfile(&self.0, file, Some(&mut offset), bytes))?)
    }

    fn unacknowledged_bytes(&self) -> io::Result<u64> {
        sys::unacknowledged_bytes(self.0.as_fd())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.0, Shutdown::Write)?)
    }

    fn reset_on_close(&mut self) {
        // A failure leaves an ordinary close, which ends the connection just the same.
        let _ = rustix::net::sockopt::set_socket_linger(&self.0, Some(Duration::ZERO));
    }
}

/// A signal may interrupt a call before it has done anything; then it is simply made again.
fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
