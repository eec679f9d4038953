//! A connection that has rates, with a client that does as it is told.

use std::cell::RefCell;
use std::rc::Rc;

use oneloop_worker::close::CloseReason;
use oneloop_worker::connection::{Connection, Fate};
use oneloop_worker::context::Context;
use oneloop_worker::{Memory, Peer, Rates};

use super::places::{self, Places};
use super::wire::{Random, Simulated, Wire};
use super::world::DEADLINES;

/// The connection, and the clock.
pub struct Rated {
    pub wire: Rc<RefCell<Wire>>,
    connection: Connection<Simulated>,
    cx: Context,
    now_ms: u64,
}

impl Rated {
    pub fn new(places: &Places, rates: Rates) -> Self {
        places::restore(places.plain.path());
        let mut cx = places::context(places.plain.path(), false, DEADLINES, rates, Memory::default());
        cx.limits.content_bytes_max = u64::MAX;
        let wire = Rc::new(RefCell::new(Wire::new(usize::MAX, Random::new(1))));
        let connection = Connection::new(Simulated(Rc::clone(&wire)), Peer::Unix, &cx);
        Self { wire, connection, cx, now_ms: 0 }
    }

    /// The client sends that much after so many milliseconds, which the connection is told by an event; why it is
    /// closed then, if it is.
    pub fn send(&mut self, bytes: &[u8], after_ms: u64) -> Option<CloseReason> {
        self.now_ms += after_ms;
        self.cx.clock.set(self.now_ms, 1_800_000_000);
        self.wire.borrow_mut().inbound.extend(bytes);
        self.connection.readable(false);
        loop {
            match self.connection.advance(&mut self.cx) {
                Fate::Again => {}
                Fate::Close(reason) => return Some(reason),
                Fate::Wait | Fate::Help => return None,
            }
        }
    }

    /// In how many milliseconds the connection goes on by itself.
    pub fn left_ms(&self) -> u64 {
        self.connection.deadline_ms().saturating_sub(self.now_ms)
    }
}
