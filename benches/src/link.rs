//! A peer in memory: it sends the same bytes whenever it is told to, and takes whatever it is sent at once.

use std::cell::Cell;
use std::hint::black_box;
use std::io;
use std::os::fd::BorrowedFd;

use worker::transport::Transport;

/// Bytes of a response up to the end of its status code.
const STATUS_END: usize = "HTTP/1.1 200".len();

/// The server's end of the way to the peer. What the kernel would do costs nothing here but the copy of what is
/// received.
#[derive(Debug)]
pub struct Link {
    /// Sent by turns.
    requests: Vec<Vec<u8>>,
    turn: Cell<usize>,
    is_pending: Cell<bool>,
    beginning: Cell<[u8; STATUS_END]>,
    taken_bytes: Cell<u64>,
}

impl Link {
    /// The way to a peer that will send these requests by turns. It is there for good, so that one connection after
    /// another can use it.
    #[must_use]
    pub fn lasting(requests: Vec<Vec<u8>>) -> &'static Self {
        Box::leak(Box::new(Self {
            requests,
            turn: Cell::new(0),
            is_pending: Cell::new(false),
            beginning: Cell::new([0; STATUS_END]),
            taken_bytes: Cell::new(0),
        }))
    }

    /// The peer sends its next request.
    pub fn deliver(&self) {
        self.turn.set((self.turn.get() + 1) % self.requests.len());
        self.is_pending.set(true);
        self.taken_bytes.set(0);
    }

    /// Status code of the first response to what was last delivered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let beginning = self.beginning.get();
        std::str::from_utf8(&beginning).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
    }

    /// Bytes of all responses to what was last delivered.
    #[must_use]
    pub fn taken_bytes(&self) -> u64 {
        self.taken_bytes.get()
    }

    fn take(&self, bytes: usize) {
        self.taken_bytes.set(self.taken_bytes.get() + bytes as u64);
    }
}

impl Transport for &Link {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.is_pending.replace(false) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let request = &self.requests[self.turn.get()];
        buffer[..request.len()].copy_from_slice(request);
        Ok(request.len())
    }

    fn send(&mut self, bytes: &[u8], _more_follows: bool) -> io::Result<usize> {
        if self.taken_bytes.get() == 0
            && let Some(beginning) = bytes.first_chunk()
        {
            self.beginning.set(*beginning);
        }
        self.take(black_box(bytes).len());
        Ok(bytes.len())
    }

    fn send_file(&mut self, _file: BorrowedFd<'_>, _offset: u64, bytes: usize) -> io::Result<usize> {
        self.take(bytes);
        Ok(bytes)
    }

    fn unacknowledged_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_close(&mut self) {}
}
