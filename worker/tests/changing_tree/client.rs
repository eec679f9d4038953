//! A client of a life: its connection, and what it asks.

use std::cell::RefCell;
use std::rc::Rc;

use oneloop_worker::Peer;
use oneloop_worker::connection::{Connection, Fate};
use oneloop_worker::context::Context;
use oneloop_worker::errands::ErrandId;
use oneloop_worker::slab::ConnectionId;

use super::states::TARGETS;
use super::wire::{Random, Simulated, Wire};

/// What clients say of codings.
const CODINGS: [&str; 9] = [
    "",
    "",
    "Accept-Encoding: gzip\r\n",
    "Accept-Encoding: br, gzip\r\n",
    "Accept-Encoding: zstd\r\n",
    "Accept-Encoding: *\r\n",
    "Accept-Encoding: identity\r\n",
    "Accept-Encoding: gzip, identity;q=0\r\n",
    "Accept-Encoding: identity;q=0, *;q=0\r\n",
];

/// A request that is not wholly answered.
#[derive(Debug)]
pub struct Pending {
    pub target: usize,
    pub request: Vec<u8>,
    pub since_step: usize,
    pub since_ms: u64,
    /// When the answer was given: the step, and seconds since 1970.
    pub answered: Option<(usize, i64)>,
}

#[derive(Debug)]
pub struct Client {
    pub id: ConnectionId,
    pub wire: Rc<RefCell<Wire>>,
    pub connection: Connection<Simulated>,
    pub fate: Fate,
    pub pending: Option<Pending>,
    /// Whether a helper does something for it.
    pub is_waiting: bool,
}

impl Client {
    /// A client that takes so many bytes at once.
    pub fn new(id: ConnectionId, capacity: usize, random: Random, cx: &Context) -> Self {
        let wire = Rc::new(RefCell::new(Wire::new(capacity, random)));
        let connection = Connection::new(Simulated(Rc::clone(&wire)), Peer::Unix, cx);
        Self { id, wire, connection, fate: Fate::Wait, pending: None, is_waiting: false }
    }

    pub fn waits_for(&self, errand: ErrandId) -> bool {
        self.connection.waits_for(errand)
    }

    pub fn ask(&mut self, pending: Pending) {
        let mut wire = self.wire.borrow_mut();
        wire.outbound.clear();
        wire.inbound.extend(&pending.request);
        drop(wire);
        self.pending = Some(pending);
        self.connection.readable(false);
        self.fate = Fate::Again;
    }

    /// The client reads some of what there is.
    pub fn read(&mut self, bytes: usize, cx: &mut Context) {
        let mut wire = self.wire.borrow_mut();
        wire.unread -= bytes.min(wire.unread);
        let becomes_writable = std::mem::take(&mut wire.is_blocked);
        drop(wire);
        if becomes_writable && self.connection.wants_write() {
            self.fate = self.connection.advance(cx);
        }
    }
}

/// A request for a target of which clients have seen these validators: tag and time of modification.
pub fn request(target: usize, seen: &[(String, String)], random: &mut Random) -> String {
    let method = if random.chance(8) { "HEAD" } else { "GET" };
    let codings = CODINGS[random.below(CODINGS.len())];
    let mut fields = codings.to_owned();
    if !seen.is_empty() && random.chance(2) {
        // Mostly what was seen last.
        let back = if random.chance(2) { 1 } else { 1 + random.below(seen.len()) };
        let (tag, modified) = &seen[seen.len() - back];
        fields += &match random.below(7) {
            0 | 1 => format!("If-None-Match: {tag}\r\n"),
            2 => format!("If-None-Match: \"x\", W/{tag}\r\n"),
            3 => format!("If-Modified-Since: {modified}\r\n"),
            4 => format!("If-Match: {tag}\r\n"),
            5 => format!("If-Range: {tag}\r\nRange: bytes={}-\r\n", random.below(1_000)),
            _ => format!("If-Range: {modified}\r\nRange: bytes=-{}\r\n", 1 + random.below(1_000)),
        };
    } else if random.chance(3) {
        let end = [20, 20_000][random.below(2)];
        let first = random.below(end);
        fields += &format!("Range: bytes={first}-{}\r\n", first + random.below(15_000));
    }
    format!("{method} {} HTTP/1.1\r\nHost: a\r\n{fields}\r\n", TARGETS[target].path)
}

/// A request for a part that is small enough to be sent from memory.
pub fn part_request(target: usize, random: &mut Random) -> String {
    let first = random.below(20_000);
    let last = first + 5_000 + random.below(10_000);
    format!("GET {} HTTP/1.1\r\nHost: a\r\nRange: bytes={first}-{last}\r\n\r\n", TARGETS[target].path)
}
