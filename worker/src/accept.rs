//! Taking connections out of a listening socket's queue: one `accept4` each, and what stands in its way.
//!
//! This is all that the acceptor and a worker with listeners of its own have in common. Listening sockets are
//! opened elsewhere; here they are only accepted from.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use rustix::event::{self, PollFd, PollFlags, Timespec};

use crate::handoff::{Accepted, Peer};
use crate::overload::{self, FULL_PAUSE, SHORTAGE_PAUSE, Verdict, Warning};
use crate::room::Room;

/// A listening socket, and whether connections may be queued on it. An edge tells of the first one only, so that
/// is kept until the queue was found empty.
#[derive(Debug)]
pub struct AcceptQueue {
    socket: Listening,
    is_ready: bool,
}

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What came of looking into a queue.
#[derive(Debug)]
pub enum Arrival {
    /// A connection, which has taken a place of the [`Room`].
    Connection(Accepted),
    /// One that was gone before it was accepted; there may be another one.
    Gone,
    /// Nothing is queued.
    Drained,
    /// Nothing can be taken now: look again after the pause. Nothing else will tell when it is time.
    Paused(Pause),
}

/// Why nothing can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// There are as many connections as allowed.
    Limit,
    /// The process or the machine is out of descriptors or memory.
    Shortage {
        /// Whether a connection was taken since the last time: what is short comes back, bit by bit.
        is_easing: bool,
    },
}

impl Pause {
    /// How long to wait.
    #[must_use]
    pub const fn duration(self) -> Duration {
        match self {
            Self::Limit | Self::Shortage { is_easing: true } => FULL_PAUSE,
            Self::Shortage { is_easing: false } => SHORTAGE_PAUSE,
        }
    }
}

/// What a connection has to pass, whatever queue it comes from: the limit, and the warnings about what is short.
#[derive(Debug)]
pub struct Gate {
    room: Arc<Room>,
    /// Whether a connection was taken since the last shortage.
    has_taken: bool,
    limit_warning: Warning,
    shortage_warning: Warning,
}

impl Gate {
    /// The way into `room` for one who accepts.
    #[must_use]
    pub fn new(room: Arc<Room>) -> Self {
        let (limit_warning, shortage_warning) = (Warning::default(), Warning::default());
        Self { room, has_taken: false, limit_warning, shortage_warning }
    }

    /// Notes that there is no place for somebody who waits, and asks for one.
    fn note_limit(&mut self) -> Pause {
        self.room.ask();
        if self.limit_warning.is_due(Instant::now()) {
            let limit = self.room.connections_max();
            tracing::warn!(
                "{limit} connections, as many as allowed: idle ones make room for new ones, or those wait; --max-conns \
                 allows more"
            );
        }
        Pause::Limit
    }

    /// Notes that the kernel is out of something that a connection needs.
    pub(crate) fn note_shortage(&mut self, error: &io::Error) -> Pause {
        if self.shortage_warning.is_due(Instant::now()) {
            tracing::warn!("cannot accept connections: {error}; trying again within {SHORTAGE_PAUSE:?}");
        }
        Pause::Shortage { is_easing: std::mem::take(&mut self.has_taken) }
    }
}

impl AcceptQueue {
    /// The queue of a listening TCP socket that does not block.
    #[must_use]
    pub fn tcp(socket: OwnedFd) -> Self {
        Self { socket: Listening::Tcp(socket.into()), is_ready: false }
    }

    /// The queue of a listening Unix socket that does not block.
    #[must_use]
    pub fn unix(socket: OwnedFd) -> Self {
        Self { socket: Listening::Unix(socket.into()), is_ready: false }
    }

    /// Has a poll tell when a connection is queued.
    ///
    /// # Errors
    /// When the kernel refuses the registration.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let source: &mut dyn Source = match &mut self.socket {
            Listening::Tcp(listener) => listener,
            Listening::Unix(listener) => listener,
        };
        registry.register(source, token, Interest::READABLE)
    }

    /// Notes that connections may be queued.
    pub const fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// Whether connections may be queued.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Takes the next connection, if there are one and a place for it.
    ///
    /// # Errors
    /// When the socket is of no use any more.
    pub fn take(&mut self, gate: &mut Gate) -> io::Result<Arrival> {
        if !self.is_ready {
            return Ok(Arrival::Drained);
        }
        if !gate.room.take() {
            return Ok(self.pause_if_needed(|| gate.note_limit()));
        }
        let error = match self.accept() {
            Ok(accepted) => {
                gate.has_taken = true;
                return Ok(Arrival::Connection(accepted));
            }
            Err(error) => error,
        };
        gate.room.give_back(1);
        match overload::judge(&error) {
            Verdict::Next => Ok(Arrival::Gone),
            Verdict::Drained => {
                self.is_ready = false;
                Ok(Arrival::Drained)
            }
            // The kernel says so whether or not somebody waits.
            Verdict::Shortage => Ok(self.pause_if_needed(|| {
                gate.room.ask();
                gate.note_shortage(&error)
            })),
            Verdict::Fatal => Err(error),
        }
    }

    /// Nobody is closed, and nobody is told anything, for the sake of a connection that has not come.
    fn pause_if_needed(&mut self, pause: impl FnOnce() -> Pause) -> Arrival {
        let mut look = [PollFd::new(self, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if event::poll(&mut look, Some(&now)).is_ok_and(|ready| ready == 0) {
            self.is_ready = false;
            return Arrival::Drained;
        }
        Arrival::Paused(pause())
    }

    /// One `accept4`, which also makes the connection non-blocking and close-on-exec.
    fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Listening::Tcp(listener) => listener
                .accept()
                .map(|(stream, peer)| Accepted { stream: stream.into(), peer: Peer::from(peer) }),
            Listening::Unix(listener) => {
                listener.accept().map(|(stream, _)| Accepted { stream: stream.into(), peer: Peer::Unix })
            }
        }
    }
}

impl AsFd for AcceptQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Listening::Tcp(listener) => listener.as_fd(),
            Listening::Unix(listener) => listener.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener as StdListener, TcpStream};

    use super::*;

    fn queue() -> (AcceptQueue, std::net::SocketAddr) {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        (AcceptQueue::tcp(listener.into()), address)
    }

    #[test]
    fn a_queue_is_looked_into_from_an_edge_until_it_is_empty() {
        let (mut queue, address) = queue();
        let room = Arc::new(Room::new(2));
        let mut gate = Gate::new(Arc::clone(&room));
        let client = TcpStream::connect(address).unwrap();
        assert!(matches!(queue.take(&mut gate), Ok(Arrival::Drained)), "nobody has told of a connection");
        queue.set_ready();
        let Ok(Arrival::Connection(accepted)) = queue.take(&mut gate) else { panic!("no connection") };
        assert_eq!(accepted.peer, client.local_addr().unwrap().into());
        assert!(queue.is_ready());
        assert!(matches!(queue.take(&mut gate), Ok(Arrival::Drained)));
        assert!(!queue.is_ready());
        assert!(room.take() && !room.take(), "only the connection keeps its place");
    }

    #[test]
    fn without_a_place_a_connection_stays_in_the_queue() {
        let (mut queue, address) = queue();
        let room = Arc::new(Room::new(1).shared_by(1, None));
        let mut gate = Gate::new(Arc::clone(&room));
        let _clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
        queue.set_ready();
        assert!(matches!(queue.take(&mut gate), Ok(Arrival::Connection(_))));
        assert!(matches!(queue.take(&mut gate), Ok(Arrival::Paused(Pause::Limit))));
        assert!(queue.is_ready(), "nothing else tells that it waits");
        assert!(room.is_asked(0), "somebody is asked for a place");
        room.give_back(1);
        assert!(matches!(queue.take(&mut gate), Ok(Arrival::Connection(_))));
        assert!(matches!(queue.take(&mut gate), Ok(Arrival::Drained)));
        assert!(!room.is_asked(0) && !queue.is_ready(), "nobody waits");
    }
}
