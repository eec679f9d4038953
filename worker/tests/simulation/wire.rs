//! The socket of the simulation, and the chance that decides what it does.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use oneloop_worker::transport::Transport;

/// Numbers that look random and depend on the seed alone (splitmix64).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True once in `one_in` times.
    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// The socket, as both sides see it.
#[derive(Debug)]
pub struct Wire {
    pub inbound: VecDeque<u8>,
    pub is_end_of_stream: bool,
    pub is_reset_by_peer: bool,
    /// Everything the server has sent.
    pub outbound: Vec<u8>,
    /// How much of it the client has not read, at most `capacity`.
    pub unread: usize,
    capacity: usize,
    /// Whether the server was told that there is no room, so that it is owed an event.
    pub is_blocked: bool,
    /// Whether the server has closed its side.
    pub is_finished: bool,
    pub is_reset_on_close: bool,
    random: Random,
}

impl Wire {
    /// A connection whose buffer towards the client holds `capacity` bytes.
    pub fn new(capacity: usize, random: Random) -> Self {
        Self {
            inbound: VecDeque::new(),
            is_end_of_stream: false,
            is_reset_by_peer: false,
            outbound: Vec::new(),
            unread: 0,
            capacity,
            is_blocked: false,
            is_finished: false,
            is_reset_on_close: false,
            random,
        }
    }

    /// From now on the buffer holds so much, whatever is in it.
    pub const fn set_capacity(&mut self, bytes: usize) {
        self.capacity = bytes;
    }

    fn room(&mut self, wanted: usize) -> io::Result<usize> {
        assert!(!self.is_finished, "sent after the end");
        if self.is_reset_by_peer {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = self.capacity.saturating_sub(self.unread);
        if room < wanted {
            self.is_blocked = true;
        }
        if room == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(room.min(wanted)) }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.outbound.extend_from_slice(bytes);
        self.unread += bytes.len();
    }
}

/// The server's end of the wire.
#[derive(Debug)]
pub struct Simulated(pub Rc<RefCell<Wire>>);

impl Transport for Simulated {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wire = &mut *self.0.borrow_mut();
        if wire.is_reset_by_peer {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if wire.inbound.is_empty() {
            return if wire.is_end_of_stream { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let bytes = wire.inbound.len().min(buffer.len());
        for (place, byte) in buffer.iter_mut().zip(wire.inbound.drain(..bytes)) {
            *place = byte;
        }
        Ok(bytes)
    }

    fn send(&mut self, bytes: &[u8], _more_follows: bool) -> io::Result<usize> {
        let wire = &mut *self.0.borrow_mut();
        let sent = wire.room(bytes.len())?;
        wire.put(&bytes[..sent]);
        Ok(sent)
    }

    fn send_file(&mut self, file: BorrowedFd<'_>, offset: u64, bytes: usize) -> io::Result<usize> {
        let wire = &mut *self.0.borrow_mut();
        let room = wire.room(bytes)?;
        // The kernel may send less for reasons of its own.
        let mut part = vec![0; if wire.random.chance(4) { 1 + wire.random.below(room) } else { room }];
        let read = rustix::io::pread(file, &mut part, offset)?;
        wire.put(&part[..read]);
        Ok(read)
    }

    fn unacknowledged_bytes(&self) -> io::Result<u64> {
        Ok(self.0.borrow().unread as u64)
    }

    fn finish(&mut self) -> io::Result<()> {
        let wire = &mut *self.0.borrow_mut();
        wire.is_finished = true;
        if wire.is_reset_by_peer { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
    }

    fn reset_on_close(&mut self) {
        self.0.borrow_mut().is_reset_on_close = true;
    }
}
