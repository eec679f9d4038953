//! The loop of a worker, once around: [`Reactor::turn`].
//!
//! It owns the connections, their timers and everything they share, but not the poll, the hand-off or the listeners:
//! those outlive it, so that a worker which panicked is rebuilt without the acceptor noticing. In a turn, events come
//! before timers, so that a byte that came in time is never beaten by its own deadline.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::vec;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::close::CloseReason;
use crate::connection::{Arrival, Connection, Fate, Spare};
use crate::context::Context;
use crate::control::Phase;
use crate::errands::{ErrandId, Errands};
use crate::handoff::{Accepted, Receiver};
use crate::idle::{Next, Ranking};
use crate::shard::Shard;
use crate::site::release::Release;
use crate::slab::{ConnectionId, Slab};
use crate::throttle;
use crate::transport::Socket;
use crate::wheel::Wheel;

/// The token of the worker's waker; no connection has it.
pub const WAKER: Token = Token(usize::MAX);
/// Events taken from the kernel at once, for one turn.
pub const EVENTS_MAX: usize = 1024;
/// Turns in a row with as many events as that which may put deadlines off: enough to hear of every connection once.
const FULL_TURNS_MAX: u32 = 64;
/// Connections adopted in one turn, so that a flood of new ones does not starve those that are here.
const ADOPTIONS_MAX: u32 = 64;
/// Deadlines acted upon in one turn: a crowd that came at once is cut at once, and others are served in between.
const EXPIRIES_MAX: u32 = 64;
/// Steps in one turn of taking in what the helpers have done: a crowd that waited for one file does not starve the
/// others either.
const RESUMPTIONS_MAX: u32 = 512;
/// Once that many bytes were sent to those who waited for a helper, the rest of them waits for the next turn: whoever
/// asks for something small meanwhile waits for one large send, not for all.
const RESUMED_BYTES_MAX: u64 = 256 << 10;
/// Of how many connections one is closed when room is needed, and how many at most in a turn: enough for those who
/// come in the 10 ms before somebody asks again, and not many more than needed.
const DISPLACED_SHARE: usize = 32;
const DISPLACED_MAX: usize = 32;
/// Connections that are looked at for it in a turn, for each way in which one can be spared.
const LOOKS_MAX: usize = 4_096;

/// The connections of a worker and what drives them.
#[derive(Debug)]
pub struct Reactor {
    connections: Slab<Connection<Socket>>,
    wheel: Wheel,
    /// Connections that used up their budget: no event will come for them.
    run_queue: Vec<ConnectionId>,
    /// The run queue of the turn that is being worked through.
    running: Vec<ConnectionId>,
    /// What came of an errand, and who of those who waited for it is still to be told.
    news: Option<(ErrandId, Arrival, vec::IntoIter<ConnectionId>)>,
    /// Whether more was done by the helpers than a turn could take in.
    has_more_news: bool,
    /// Which connections can be spared first, of each kind.
    spare: [(Spare, Ranking); 2],
    /// Turns in a row that were given [`EVENTS_MAX`] events.
    full_turns: u32,
    cx: Context,
    registry: Arc<Registry>,
}

impl Reactor {
    /// A loop without connections, for at most `connections_max`.
    #[must_use]
    pub fn new(cx: Context, registry: Arc<Registry>, connections_max: usize) -> Self {
        Self {
            connections: Slab::with_limit(connections_max),
            wheel: Wheel::new(cx.clock.now_ms(), connections_max),
            run_queue: Vec::new(),
            running: Vec::new(),
            news: None,
            has_more_news: false,
            spare: [Spare::Idle, Spare::Unfinished].map(|kind| (kind, Ranking::default())),
            full_turns: 0,
            cx,
            registry,
        }
    }

    /// Whether no connection is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// How long the loop may sleep in poll, in milliseconds; `None` is for ever.
    #[must_use]
    pub fn timeout_ms(&self) -> Option<u64> {
        if self.has_more_news || !self.run_queue.is_empty() {
            return Some(0);
        }
        let now_ms = self.cx.clock.now_ms();
        self.wheel.next_timeout(now_ms).into_iter().chain(self.cx.tidy_timeout_ms(&self.connections)).min()
    }

    /// Once around: events, new connections, connections that had not finished, deadlines.
    pub fn turn<'e>(
        &mut self,
        events: impl Iterator<Item = &'e Event>,
        receiver: &mut Receiver,
        shard: &mut Shard,
    ) {
        self.cx.clock.advance();
        self.full_turns = if events.size_hint().0 < EVENTS_MAX { 0 } else { self.full_turns.wrapping_add(1) };
        for event in events.filter(|event| event.token() != WAKER) {
            if !shard.note(event.token()) {
                self.dispatch(event);
            }
        }
        self.take_outcomes();
        self.adopt_all(receiver);
        shard.accept(|accepted| self.adopt(accepted));
        std::mem::swap(&mut self.run_queue, &mut self.running);
        while let Some(id) = self.running.pop() {
            self.resume(id);
        }
        // Behind a full batch there may be more events, and bytes that came in time among them.
        if self.full_turns.is_multiple_of(FULL_TURNS_MAX) {
            // As many as were put off, so that they do not fall behind.
            self.expire_some(if self.full_turns == 0 { EXPIRIES_MAX } else { EXPIRIES_MAX * FULL_TURNS_MAX });
        }
        self.cx.tidy(&mut self.connections);
        self.cx.flush_log();
    }

    /// Serves another release of a tree from now on; see [`Site::replace_release`](crate::site::Site::replace_release).
    pub fn replace_release(&mut self, tree: usize, release: Arc<Release>) {
        self.cx.site.replace_release(tree, release);
    }

    /// Acts upon the phase of the server; see [`Phase`].
    pub fn enter(&mut self, phase: Phase) {
        match phase {
            Phase::Serving => {}
            Phase::Draining => self.drain(),
            Phase::Stopping => self.drop_all(),
        }
    }

    /// Serves what is queued on the listeners, about `most` connections each, and closes them. Answers say that they
    /// are the last only once the loop is draining, so that comes first.
    pub fn close_listeners(&mut self, shard: &mut Shard, most: usize) {
        shard.close(most, |accepted| self.adopt(accepted));
    }

    fn dispatch(&mut self, event: &Event) {
        let id = ConnectionId::from_token(event.token());
        // A stale generation: the connection was closed earlier in this batch of events.
        let Some(connection) = self.connections.get_mut(id) else { return };
        let is_read_closed = event.is_read_closed() || event.is_error();
        if event.is_readable() || is_read_closed {
            connection.readable(is_read_closed);
        } else if !connection.wants_write() {
            return;
        }
        let fate = connection.advance(&mut self.cx);
        self.settle(id, fate);
    }

    fn adopt_all(&mut self, receiver: &mut Receiver) {
        for _ in 0..ADOPTIONS_MAX {
            let Some(accepted) = receiver.recv() else { return };
            self.adopt(accepted);
        }
    }

    /// Serves a new connection at once: a request is usually there already, and a connection that is over after
    /// it never has to be registered at all.
    fn adopt(&mut self, accepted: Accepted) {
        self.cx.counters.adopted.increment();
        let mut connection = Connection::new(Socket::new(accepted.stream), accepted.peer, &self.cx);
        let fate = match connection.enter(&mut self.cx) {
            Ok(()) => connection.advance(&mut self.cx),
            Err(reason) => Fate::Close(reason),
        };
        if let Fate::Close(reason) = fate {
            connection.end(&mut self.cx);
            reason.count(&self.cx.counters);
            return;
        }
        // Whoever accepts keeps to the limit; should it ever not, the connection is dropped and closed.
        let id = match self.connections.insert(connection) {
            Ok(id) => id,
            Err(mut connection) => {
                connection.end(&mut self.cx);
                return CloseReason::Failed.count(&self.cx.counters);
            }
        };
        match self.register(id) {
            Ok(()) => self.settle(id, fate),
            Err(error) => {
                throttle::CONNECTIONS.error(&error, "cannot register a connection");
                self.close(id, CloseReason::Failed);
            }
        }
    }

    /// Once in a connection's life, for both directions, edge-triggered.
    fn register(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        let descriptor = connection.transport().as_raw_fd();
        self.registry.register(
            &mut SourceFd(&descriptor),
            id.to_token(),
            Interest::READABLE | Interest::WRITABLE,
        )
    }

    fn resume(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.is_queued = false;
        let fate = connection.advance(&mut self.cx);
        self.settle(id, fate);
    }

    fn expire_some(&mut self, most: u32) {
        for _ in 0..most {
            let Some(index) = self.wheel.pop_expired(self.cx.clock.now_ms()) else { return };
            self.expire(index);
        }
    }

    fn expire(&mut self, index: u32) {
        let Some(id) = self.connections.id_at(index) else { return };
        let Some(connection) = self.connections.get_mut(id) else { return };
        let fate = connection.expire(&mut self.cx);
        self.settle(id, fate);
    }

    /// Queues what the connection needs a helper for; what becomes of it then.
    fn ask_for_help(&mut self, id: ConnectionId) -> Fate {
        let Some(connection) = self.connections.get_mut(id) else { return Fate::Wait };
        let Some((task, errands)) = connection.task().zip(self.cx.errands.as_mut()) else {
            return Fate::Close(CloseReason::Failed);
        };
        if !connection.makes_room(&task, &mut self.cx.transfers) {
            self.cx.counters.memory_refusals.increment();
            return connection.go_without(&task, &mut self.cx);
        }
        let client = connection.client();
        let connections = &mut self.connections;
        let still_waits =
            |id, errand| connections.get_mut(id).is_some_and(|connection| connection.waits_for(errand));
        let submitted = errands.submit(id, client, task, still_waits);
        let Some(connection) = self.connections.get_mut(id) else { return Fate::Wait };
        match submitted {
            Ok(ticket) => {
                connection.wait_for(ticket);
                Fate::Wait
            }
            Err(task) => {
                self.cx.counters.helper_overflows.increment();
                connection.go_without(&task, &mut self.cx)
            }
        }
    }

    /// Takes in what the helpers have done, and lets those go on who waited for it.
    fn take_outcomes(&mut self) {
        let sent_bytes = self.cx.counters.sent_bytes.get();
        for _ in 0..RESUMPTIONS_MAX {
            if self.cx.counters.sent_bytes.get() - sent_bytes >= RESUMED_BYTES_MAX {
                break;
            }
            let Some((errand, arrival, waiting)) = &mut self.news else {
                let Some(done) = self.cx.errands.as_mut().and_then(Errands::pop) else {
                    self.has_more_news = false;
                    return;
                };
                let arrival = Arrival::of(done.outcome, &mut self.cx);
                self.news = Some((done.errand, arrival, done.waiting.into_iter()));
                continue;
            };
            let Some(id) = waiting.next() else {
                self.news = None;
                continue;
            };
            // Others are gone, or wait for something else by now.
            if let Some(connection) =
                self.connections.get_mut(id).filter(|connection| connection.waits_for(*errand))
            {
                let fate = connection.resume(arrival, &mut self.cx);
                self.settle(id, fate);
            }
        }
        self.has_more_news = true;
    }

    fn settle(&mut self, id: ConnectionId, mut fate: Fate) {
        while fate == Fate::Help {
            fate = self.ask_for_help(id);
        }
        if let Fate::Close(reason) = fate {
            return self.close(id, reason);
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        self.wheel.arm(id.index(), connection.deadline_ms());
        if fate == Fate::Again && !std::mem::replace(&mut connection.is_queued, true) {
            self.run_queue.push(id);
        }
    }

    /// Closing the descriptor takes it out of the poll.
    fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        self.wheel.disarm(id.index());
        if let Some(mut connection) = self.connections.remove(id) {
            connection.end(&mut self.cx);
            tracing::debug!(peer = %connection.peer(), ?reason, "connection closed");
            reason.count(&self.cx.counters);
        }
    }

    /// Closes a few of the connections that can best be spared: those that have been idle longest, or, if none is
    /// idle, those that have been about to say something longest. Never one that has asked for something.
    pub fn make_room(&mut self) {
        let mut left = (self.connections.len() / DISPLACED_SHARE).clamp(1, DISPLACED_MAX);
        let mut looks = [LOOKS_MAX; 2];
        while left > 0
            && !self.cx.is_draining
            && let Some((kind, index)) = self.next_to_spare(&mut looks)
        {
            left -= usize::from(self.displace(kind, index));
        }
    }

    fn next_to_spare(&mut self, looks: &mut [usize; 2]) -> Option<(Spare, u32)> {
        let now_ms = self.cx.clock.now_ms();
        let (connections, cx) = (&self.connections, &self.cx);
        for ((kind, ranking), looks) in self.spare.iter_mut().zip(looks) {
            let since_ms = |index| connections.get_at(index)?.spare_since_ms(*kind, cx);
            match ranking.pop(connections.index_end(), now_ms, looks, since_ms) {
                Next::Index(index) => return Some((*kind, index)),
                Next::Nobody => {}
                Next::Later => return None,
            }
        }
        None
    }

    /// Closes a connection, unless it has said something that no event has told of yet. Whether it is closed.
    fn displace(&mut self, kind: Spare, index: u32) -> bool {
        let Some(id) = self.connections.id_at(index) else { return false };
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let since_ms = connection.spare_since_ms(kind, &self.cx);
        connection.readable(false);
        let fate = connection.advance(&mut self.cx);
        self.settle(id, fate);
        let Some(connection) = self.connections.get_mut(id) else { return true };
        if connection.spare_since_ms(kind, &self.cx) != since_ms || connection.owes_bytes() {
            return false;
        }
        self.close(id, kind.reason());
        true
    }

    /// Every connection that waits for a request is closed; every other learns that its exchange is the last.
    fn drain(&mut self) {
        if std::mem::replace(&mut self.cx.is_draining, true) {
            return;
        }
        for index in 0..self.connections.index_end() {
            let Some(id) = self.connections.id_at(index) else { continue };
            let Some(connection) = self.connections.get_mut(id) else { continue };
            // A request may have come that no event has told of yet.
            connection.readable(false);
            connection.hurry(&self.cx);
            let fate = connection.advance(&mut self.cx);
            self.settle(id, fate);
        }
    }

    fn drop_all(&mut self) {
        for index in 0..self.connections.index_end() {
            if let Some(id) = self.connections.id_at(index) {
                self.close(id, CloseReason::Draining);
            }
        }
    }
}
