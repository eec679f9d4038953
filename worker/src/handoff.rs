//! The way of a connection from the acceptor to a worker: a bounded ring and a wake.
//!
//! The ring is [`rtrb`]'s: wait-free, made for exactly one producer and one consumer, which is what acceptor and
//! worker are, so neither ever waits for the other and nothing is allocated after the start. A socket moves
//! through it by value; it has one owner at every moment, and whichever side goes away, what is left in the ring
//! is closed. A full or abandoned ring hands the socket back.
//!
//! A wake is a system call on either side, so it is left out while the worker is awake anyway. This module never
//! touches the sockets, and neither side ever blocks.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::atomic::{AtomicBool, Ordering, fence};

/// A connection that was accepted and belongs to nobody yet.
#[derive(Debug)]
pub struct Accepted {
    /// The connected socket: non-blocking, close-on-exec, `TCP_NODELAY` set when it is TCP.
    pub stream: OwnedFd,
    /// Who is at the other end.
    pub peer: Peer,
}

/// Who is at the other end of a connection, in 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An IPv4 address and port, also when it came in through a dual-stack socket.
    V4(Ipv4Addr, u16),
    /// An IPv6 address and port.
    V6(Ipv6Addr, u16),
    /// The client of a Unix socket, which has no address worth naming.
    Unix,
}

impl Peer {
    /// The address without the port; none behind a Unix socket.
    #[must_use]
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::V4(ip, _) => Some(IpAddr::V4(ip)),
            Self::V6(ip, _) => Some(IpAddr::V6(ip)),
            Self::Unix => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    /// IPv4-mapped IPv6 addresses (RFC 4291 §2.5.5.2) become the IPv4 addresses that they stand for.
    fn from(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip, address.port()),
            IpAddr::V6(ip) => Self::V6(ip, address.port()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4(ip, port) => SocketAddrV4::new(ip, port).fmt(f),
            Self::V6(ip, port) => SocketAddrV6::new(ip, port, 0, 0).fmt(f),
            Self::Unix => f.write_str("unix:"),
        }
    }
}

/// Why a connection was not taken. It is handed back.
#[derive(Debug)]
pub enum SendError {
    /// The ring is full: the worker lags behind.
    Full(Accepted),
    /// The worker has ended and will never take anything again.
    Closed(Accepted),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the worker's hand-off is full",
            Self::Closed(_) => "the worker has ended",
        })
    }
}

impl std::error::Error for SendError {}

/// What both sides say to each other besides the ring. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shared {
    /// The receiver is about to sleep, or sleeps: it needs a wake to notice what is sent.
    asleep: AtomicBool,
    /// The receiver is gone.
    closed: AtomicBool,
}

/// The acceptor's end.
#[derive(Debug)]
pub struct Sender {
    ring: rtrb::Producer<Accepted>,
    waker: Arc<mio::Waker>,
    shared: Arc<Shared>,
    unannounced: bool,
}

/// The worker's end.
#[derive(Debug)]
pub struct Receiver {
    ring: rtrb::Consumer<Accepted>,
    shared: Arc<Shared>,
}

/// Makes a hand-off for `capacity` connections to the worker that `waker` wakes.
#[must_use]
pub fn channel(capacity: usize, waker: Arc<mio::Waker>) -> (Sender, Receiver) {
    let (producer, consumer) = rtrb::RingBuffer::new(capacity);
    let shared = Arc::new(Shared::default());
    let sender = Sender { ring: producer, waker, shared: Arc::clone(&shared), unannounced: false };
    (sender, Receiver { ring: consumer, shared })
}

impl Sender {
    /// Hands a connection over. The worker may not notice before [`Sender::wake`].
    ///
    /// # Errors
    /// Gives the connection back when the ring is full or the worker has ended.
    pub fn send(&mut self, accepted: Accepted) -> Result<(), SendError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(SendError::Closed(accepted));
        }
        match self.ring.push(accepted) {
            Ok(()) => {
                self.unannounced = true;
                Ok(())
            }
            Err(rtrb::PushError::Full(accepted)) => Err(SendError::Full(accepted)),
        }
    }

    /// Makes sure that the worker notices what was sent since the last wake. Costs a system call only if the
    /// worker sleeps.
    ///
    /// Why no wake is lost: we write the ring, then read `asleep`; the receiver writes `asleep`, then reads the
    /// ring ([`Receiver::prepare_sleep`]). Both have a sequentially consistent fence in between, and of two such
    /// fences one comes first in their single total order, so at least one side sees what the other wrote:
    /// either we see that it sleeps and wake it, or it sees the connection and stays up. Release and acquire
    /// alone would allow both to read the old value.
    ///
    /// Clearing `asleep` here spares the next batch a second wake before the worker has run; whoever clears it
    /// this way also wakes, so a sleep that began meanwhile is at worst ended for nothing.
    ///
    /// # Errors
    /// `BrokenPipe` when the worker has ended, and whatever the write to its eventfd fails with. What is in the
    /// ring then is lost: drop the sender, which closes it.
    pub fn wake(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.unannounced) {
            return Ok(());
        }
        fence(Ordering::SeqCst);
        // The same argument as for `asleep`, against the receiver's drop: either it drains what we sent, or we
        // see here that it is gone.
        if self.shared.closed.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.shared.asleep.swap(false, Ordering::Relaxed) { self.waker.wake() } else { Ok(()) }
    }
}

impl Receiver {
    /// The next connection, in the order they were sent.
    pub fn recv(&mut self) -> Option<Accepted> {
        self.ring.pop().ok()
    }

    /// Whether there is nothing to take at the moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Announces that the worker is about to sleep. False means: do not, there are connections to take.
    /// After a true, call [`Receiver::awake`] when the sleep is over.
    ///
    /// See [`Sender::wake`] for the reasoning about order.
    #[must_use = "sleeping in spite of a false loses a wake"]
    pub fn prepare_sleep(&self) -> bool {
        self.shared.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may_sleep = self.ring.is_empty();
        if !may_sleep {
            self.awake();
        }
        may_sleep
    }

    /// Announces that the worker is awake and will look at the ring before it sleeps again.
    pub fn awake(&self) {
        self.shared.asleep.store(false, Ordering::Relaxed);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        // The ring itself lives on until the sender is gone too, but nobody should hang in it that long.
        while self.recv().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    const WAKE: mio::Token = mio::Token(0);

    fn with_poll(capacity: usize) -> (Sender, Receiver, mio::Poll) {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKE).unwrap());
        let (sender, receiver) = channel(capacity, waker);
        (sender, receiver, poll)
    }

    /// A connection whose number travels as its peer's address. The descriptor is one end of a pipe, so that the
    /// other end tells when the last copy is closed.
    fn numbered(number: u32, pipe: &PipeWriter) -> Accepted {
        Accepted { stream: pipe.try_clone().unwrap().into(), peer: Peer::V4(number.into(), 0) }
    }

    fn number(accepted: &Accepted) -> u32 {
        match accepted.peer {
            Peer::V4(ip, _) => ip.into(),
            other => panic!("{other}"),
        }
    }

    /// Fails after a while instead of hanging when a descriptor was leaked.
    fn assert_all_closed(mut reader: PipeReader, ours: PipeWriter) {
        drop(ours);
        let waiting = thread::spawn(move || reader.read(&mut [0]).unwrap());
        let deadline = Instant::now() + Duration::from_secs(5);
        while !waiting.is_finished() {
            assert!(Instant::now() < deadline, "a descriptor was leaked");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(waiting.join().unwrap(), 0);
    }

    #[test]
    fn peers_are_small_and_shown_as_addresses() {
        assert!(size_of::<Peer>() <= 20);
        let table = [
            ("127.0.0.1:80", "127.0.0.1:80", "127.0.0.1"),
            ("[::ffff:192.0.2.1]:443", "192.0.2.1:443", "192.0.2.1"),
            ("[::1]:8080", "[::1]:8080", "::1"),
        ];
        for (address, shown, ip) in table {
            let peer = Peer::from(address.parse::<SocketAddr>().unwrap());
            assert_eq!(peer.to_string(), shown);
            assert_eq!(peer.ip(), Some(ip.parse().unwrap()));
        }
        assert_eq!(Peer::Unix.to_string(), "unix:");
        assert_eq!(Peer::Unix.ip(), None);
    }

    #[test]
    fn connections_arrive_in_order_and_a_full_ring_hands_them_back() {
        let (_reader, writer) = io::pipe().unwrap();
        let (mut sender, mut receiver, _poll) = with_poll(2);
        sender.send(numbered(1, &writer)).unwrap();
        sender.send(numbered(2, &writer)).unwrap();
        let Err(SendError::Full(third)) = sender.send(numbered(3, &writer)) else { panic!("should be full") };
        assert_eq!(receiver.recv().as_ref().map(number), Some(1));
        sender.send(third).unwrap();
        let rest: Vec<u32> =
            std::iter::from_fn(|| receiver.recv()).map(|accepted| number(&accepted)).collect();
        assert_eq!(rest, [2, 3]);
    }

    #[test]
    fn a_gone_receiver_hands_connections_back() {
        let (reader, writer) = io::pipe().unwrap();
        let (mut sender, receiver, _poll) = with_poll(2);
        sender.send(numbered(1, &writer)).unwrap();
        drop(receiver);
        assert_eq!(sender.wake().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let Err(SendError::Closed(second)) = sender.send(numbered(2, &writer)) else {
            panic!("should be closed")
        };
        assert_eq!(number(&second), 2);
        drop(second);
        assert_all_closed(reader, writer); // also the first one, though the sender is still there
    }

    #[test]
    fn what_was_sent_outlives_the_sender_but_not_the_receiver() {
        let (reader, writer) = io::pipe().unwrap();
        let (mut sender, mut receiver, _poll) = with_poll(2);
        sender.send(numbered(1, &writer)).unwrap();
        sender.send(numbered(2, &writer)).unwrap();
        drop(sender);
        assert_eq!(receiver.recv().as_ref().map(number), Some(1));
        drop(receiver);
        assert_all_closed(reader, writer);
    }

    #[test]
    fn only_a_sleeper_is_woken_and_only_once() {
        let (_reader, writer) = io::pipe().unwrap();
        let (mut sender, mut receiver, mut poll) = with_poll(8);
        let mut events = mio::Events::with_capacity(4);
        let mut woken = |poll: &mut mio::Poll| {
            poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            events.iter().count()
        };

        sender.send(numbered(1, &writer)).unwrap();
        sender.wake().unwrap();
        assert_eq!(woken(&mut poll), 0, "awake: no wake needed");
        assert!(!receiver.prepare_sleep(), "a connection waits");
        sender.send(numbered(2, &writer)).unwrap();
        sender.wake().unwrap();
        assert_eq!(woken(&mut poll), 0, "the announcement was taken back");

        while receiver.recv().is_some() {}
        assert!(receiver.prepare_sleep());
        sender.wake().unwrap();
        assert_eq!(woken(&mut poll), 0, "nothing was sent");
        sender.send(numbered(3, &writer)).unwrap();
        sender.wake().unwrap();
        assert_eq!(woken(&mut poll), 1);
        sender.send(numbered(4, &writer)).unwrap();
        sender.wake().unwrap();
        assert_eq!(woken(&mut poll), 0, "one wake is on its way already");
    }

    /// Receives `count` connections with real sleeps, the way a reactor does. A sleep of seconds is a lost wake.
    fn receive(receiver: &mut Receiver, poll: &mut mio::Poll, count: u32) -> u32 {
        let mut events = mio::Events::with_capacity(4);
        let mut expected = 0;
        let mut sleeps = 0;
        while expected < count {
            while let Some(accepted) = receiver.recv() {
                assert_eq!(number(&accepted), expected);
                expected += 1;
            }
            if expected < count && receiver.prepare_sleep() {
                poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
                assert!(!events.is_empty(), "lost wake before connection {expected}");
                receiver.awake();
                sleeps += 1;
            }
        }
        sleeps
    }

    /// Sends one connection, waiting while the ring is full. False when the receiver is gone.
    fn send(sender: &mut Sender, mut accepted: Accepted) -> bool {
        loop {
            match sender.send(accepted) {
                Ok(()) => return true,
                Err(SendError::Closed(_)) => return false,
                Err(SendError::Full(back)) => accepted = back,
            }
            if sender.wake().is_err() {
                return false;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn no_wake_is_lost_under_stress() {
        const COUNT: u32 = 50_000;
        let (reader, writer) = io::pipe().unwrap();
        let (mut sender, mut receiver, mut poll) = with_poll(64);
        let worker = thread::spawn(move || receive(&mut receiver, &mut poll, COUNT));
        let mut next = 0;
        while next < COUNT {
            // Batches of 1 to 7, so that the worker falls asleep at ever new moments.
            for _ in 0..=(next % 7).min(COUNT - next - 1) {
                assert!(send(&mut sender, numbered(next, &writer)));
                next += 1;
            }
            sender.wake().unwrap();
            if next % 3 == 0 {
                thread::yield_now();
            }
        }
        assert!(worker.join().unwrap() > 0, "the worker never slept: this proved nothing");
        assert_all_closed(reader, writer);
    }

    fn spin(rounds: u32) {
        for _ in 0..rounds {
            std::hint::spin_loop();
        }
    }

    /// One connection goes to and fro without a system call but for the wakes, at ever new distances, so that
    /// sends meet a worker that is just falling asleep. Without the receiver's fence this fails within hundreds
    /// of rounds on x86-64 (where the sender's swap is a fence of its own).
    #[test]
    fn no_wake_is_lost_to_a_worker_just_falling_asleep() {
        const COUNT: u32 = 100_000;
        let (_reader, writer) = io::pipe().unwrap();
        let (mut sender, mut receiver, mut poll) = with_poll(4);
        let (mut give_back, mut given_back) = rtrb::RingBuffer::new(4);
        let worker = thread::spawn(move || {
            let mut events = mio::Events::with_capacity(4);
            let mut taken = 0;
            while taken < COUNT {
                if let Some(accepted) = receiver.recv() {
                    taken += 1;
                    give_back.push(accepted).unwrap();
                    spin(taken % 61);
                } else if receiver.prepare_sleep() {
                    poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
                    assert!(!events.is_empty(), "lost wake before connection {taken}");
                    receiver.awake();
                }
            }
        });
        let mut next = Some(numbered(0, &writer));
        for round in 0..COUNT {
            assert!(send(&mut sender, next.take().unwrap()));
            sender.wake().unwrap();
            while next.is_none() {
                next = given_back.pop().ok();
                assert!(next.is_some() || !given_back.is_abandoned() || !given_back.is_empty(), "no worker");
            }
            spin(round % 7);
        }
        worker.join().unwrap();
    }

    #[test]
    fn a_worker_that_dies_half_way_leaks_no_descriptor() {
        for round in 0..50 {
            let (reader, writer) = io::pipe().unwrap();
            let (mut sender, mut receiver, mut poll) = with_poll(16);
            let worker = thread::spawn(move || receive(&mut receiver, &mut poll, 100 + round));
            let noticed =
                (0..1_000_000).any(|n| !send(&mut sender, numbered(n, &writer)) || sender.wake().is_err());
            assert!(noticed, "the end of the worker was never noticed");
            worker.join().unwrap();
            drop(sender); // and with it what slipped into the ring as the worker went away
            assert_all_closed(reader, writer);
        }
    }
}
