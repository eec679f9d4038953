//! A worker's own listeners, where it accepts for itself: its share of every address, among whose listeners the
//! kernel spreads the connections (`SO_REUSEPORT`, socket(7)).
//!
//! It stands outside of the panic boundary, as the hand-off does: what is queued waits in the kernel until the loop
//! is rebuilt. The listeners are opened by whoever starts the worker; here they are only accepted from and closed.
//! Without listeners it costs nothing.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use mio::{Registry, Token};

use crate::accept::{AcceptQueue, Arrival, Gate, Pause};
use crate::handoff::Accepted;
use crate::metrics::Counters;
use crate::room::Room;

/// Connections accepted from one listener in one turn, so that a flood of new ones does not starve those that are
/// here. Each is served at once, so this is far more work than to adopt as many from the hand-off and find them idle.
const BATCH: usize = 64;
/// The token of the first listener; the others count downwards. No connection has one of them, because no
/// generation is `u32::MAX`, and neither has the waker.
const FIRST: usize = usize::MAX - 1;

/// What a worker begins to take connections with.
#[derive(Debug)]
pub struct Entrance {
    /// Where its connections have their places, wherever they come from: it gives them back.
    pub room: Arc<Room>,
    /// What it accepts from by itself, if anything.
    pub queues: Vec<AcceptQueue>,
}

/// The listeners of one worker.
#[derive(Debug)]
pub struct Shard {
    queues: Vec<AcceptQueue>,
    gate: Gate,
    counters: Arc<Counters>,
    /// When a pause is over.
    resume_at: Option<Instant>,
}

impl Shard {
    /// Gets ready to accept, and has the poll tell of connections.
    ///
    /// # Errors
    /// When the kernel refuses the registration of a listener.
    pub fn new(entrance: Entrance, counters: Arc<Counters>, registry: &Registry) -> io::Result<Self> {
        let Entrance { room, mut queues } = entrance;
        for (index, queue) in queues.iter_mut().enumerate() {
            queue.register(registry, Token(FIRST - index))?;
        }
        Ok(Self { queues, gate: Gate::new(room), counters, resume_at: None })
    }

    /// Whether there is a listener.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.queues.is_empty()
    }

    /// Notes an event, if it is one of ours.
    pub fn note(&mut self, token: Token) -> bool {
        let queue = FIRST.checked_sub(token.0).and_then(|index| self.queues.get_mut(index));
        queue.map(AcceptQueue::set_ready).is_some()
    }

    /// Looks into every queue at the next turn: events of a loop that failed may have been lost with it.
    pub fn set_ready(&mut self) {
        self.queues.iter_mut().for_each(AcceptQueue::set_ready);
    }

    /// How long the loop may sleep, in milliseconds; `None` is for ever.
    #[must_use]
    pub fn timeout_ms(&self) -> Option<u64> {
        if !self.queues.iter().any(AcceptQueue::is_ready) {
            return None;
        }
        let rest = self.resume_at.map(|at| at.saturating_duration_since(Instant::now()));
        // Rounded up: a wait that is over too early would be followed by one of nothing, again and again.
        let rest = rest.filter(|rest| !rest.is_zero()).map(|rest| rest.as_millis() + 1);
        Some(rest.map_or(0, |ms| u64::try_from(ms).unwrap_or(u64::MAX)))
    }

    /// Accepts a batch from each listener, unless there is a pause. What is left is told by
    /// [`Shard::timeout_ms`].
    pub fn accept(&mut self, mut adopt: impl FnMut(Accepted)) {
        if let Some(resume_at) = self.resume_at {
            if Instant::now() < resume_at {
                return;
            }
            self.resume_at = None;
        }
        for index in 0..self.queues.len() {
            if !self.accept_batch(index, &mut adopt) {
                return;
            }
        }
    }

    /// Accepts what is queued already, about `most` connections of each listener, since under a flood no queue would
    /// ever be found empty. Then closes the listeners.
    pub fn close(&mut self, most: usize, mut adopt: impl FnMut(Accepted)) {
        self.set_ready();
        for index in 0..self.queues.len() {
            for _ in 0..most.div_ceil(BATCH) {
                let may_go_on = self.accept_batch(index, &mut adopt);
                if !may_go_on || !self.queues.get(index).is_some_and(AcceptQueue::is_ready) {
                    break;
                }
            }
        }
        self.queues.clear();
    }

    /// False: there is a pause.
    fn accept_batch(&mut self, index: usize, adopt: &mut impl FnMut(Accepted)) -> bool {
        let Some(queue) = self.queues.get_mut(index) else { return true };
        for _ in 0..BATCH {
            let pause = match queue.take(&mut self.gate) {
                Ok(Arrival::Connection(accepted)) => {
                    adopt(accepted);
                    continue;
                }
                Ok(Arrival::Gone) => continue,
                Ok(Arrival::Drained) => return true,
                Ok(Arrival::Paused(pause)) => pause,
                // A worker has nobody to stop the server, and a way back may be found: as in a shortage.
                Err(error) => self.gate.note_shortage(&error),
            };
            match pause {
                Pause::Limit => self.counters.limit_pauses.increment(),
                Pause::Shortage { .. } => self.counters.shortages.increment(),
            }
            self.resume_at = Some(Instant::now() + pause.duration());
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    /// A shard with one listener, its address, and the poll that it is registered with.
    fn shard(connections_max: u64) -> (Shard, SocketAddr, mio::Poll) {
        shard_in(&Arc::new(Room::new(connections_max)))
    }

    fn shard_in(room: &Arc<Room>) -> (Shard, SocketAddr, mio::Poll) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let poll = mio::Poll::new().unwrap();
        let queues = vec![AcceptQueue::tcp(listener.into())];
        let entrance = Entrance { room: Arc::clone(room), queues };
        (Shard::new(entrance, Arc::default(), poll.registry()).unwrap(), address, poll)
    }

    fn connect(address: SocketAddr, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
    }

    /// Takes over what is accepted, and tells how many.
    fn accept(shard: &mut Shard) -> usize {
        let mut accepted = 0;
        shard.accept(|_| accepted += 1);
        accepted
    }

    #[test]
    fn only_tokens_of_listeners_are_noted() {
        let (mut shard, ..) = shard(1);
        for (token, is_ours) in
            [(usize::MAX, false), (FIRST, true), (FIRST - 1, false), (0, false), (1 << 32, false)]
        {
            assert_eq!(shard.note(Token(token)), is_ours, "{token}");
        }
    }

    #[test]
    fn a_flood_is_taken_in_batches_of_which_the_loop_is_told_once() {
        let (mut shard, address, mut poll) = shard(1000);
        let mut events = mio::Events::with_capacity(8);
        let _clients = connect(address, BATCH + 10);
        assert_eq!((accept(&mut shard), shard.timeout_ms()), (0, None), "nobody has told of them");
        poll.poll(&mut events, None).unwrap();
        assert!(events.iter().all(|event| shard.note(event.token())));
        assert_eq!((accept(&mut shard), shard.timeout_ms()), (BATCH, Some(0)));
        assert_eq!((accept(&mut shard), shard.timeout_ms()), (10, None));
    }

    #[test]
    fn at_the_limit_it_pauses_and_looks_again_by_itself() {
        let room = Arc::new(Room::new(2));
        let (mut shard, address, _poll) = shard_in(&room);
        let _clients = connect(address, 3);
        shard.set_ready();
        assert_eq!(accept(&mut shard), 2);
        let rest_ms = shard.timeout_ms().unwrap();
        assert!((1..=11).contains(&rest_ms) || shard.resume_at.unwrap() <= Instant::now(), "{rest_ms} ms");
        assert_eq!(shard.counters.limit_pauses.get(), 1);
        room.give_back(1);
        std::thread::sleep(std::time::Duration::from_millis(rest_ms));
        assert_eq!(shard.timeout_ms(), Some(0), "there is no second edge");
        assert_eq!(accept(&mut shard), 1);
    }

    #[test]
    fn closing_takes_what_is_queued_and_refuses_the_rest() {
        let (mut shard, address, _poll) = shard(1000);
        let _clients = connect(address, BATCH + 10);
        let mut accepted = 0;
        shard.close(1000, |_| accepted += 1);
        assert_eq!((accepted, shard.is_open(), shard.timeout_ms()), (BATCH + 10, false, None));
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn closing_at_once_takes_nothing() {
        let (mut shard, address, _poll) = shard(1000);
        let _clients = connect(address, 1);
        shard.close(0, |_| panic!("accepted"));
        assert!(!shard.is_open());
    }
}
