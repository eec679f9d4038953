//! Many connections in one thread: what an attacker needs, so that the processors are left to the server.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::time::Timespec;
use socket2::{Domain, SockRef, Socket, Type};

/// Connections opened in a row before the others are looked after.
const BURST: usize = 512;

/// A member of a crowd.
pub(crate) struct Member {
    /// Not blocking.
    pub(crate) stream: TcpStream,
    /// Bytes that it sent since it was connected.
    pub(crate) sent: usize,
}

/// What came of looking after everybody once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Bytes received.
    pub(crate) received: u64,
    /// Connections that the server ended in order.
    pub(crate) closed: usize,
    /// Connections that the server reset.
    pub(crate) reset: usize,
}

/// Connections to one address.
pub(crate) struct Crowd {
    address: SocketAddr,
    members: Vec<Option<Member>>,
    epoll: OwnedFd,
    /// Everything that has come of it so far.
    pub(crate) total: Tally,
}

impl Crowd {
    /// Nobody yet, but room for `size`.
    pub(crate) fn new(address: SocketAddr, size: usize) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        Self { address, members: (0..size).map(|_| None).collect(), epoll, total: Tally::default() }
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> usize {
        self.members.iter().flatten().count()
    }

    /// Opens up to [`BURST`] connections where there is room, with a receive buffer of that size, and sends `first` on
    /// each.
    pub(crate) fn fill(&mut self, window: Option<usize>, first: &[u8]) {
        for (index, place) in
            self.members.iter_mut().enumerate().filter(|(_, place)| place.is_none()).take(BURST)
        {
            let Some(stream) = connect(self.address, window) else { return };
            let data = EventData::new_u64(index as u64);
            epoll::add(&self.epoll, stream.as_fd(), data, EventFlags::IN | EventFlags::RDHUP)
                .expect("epoll_ctl");
            let mut member = Member { stream, sent: 0 };
            let _ = member.say(first);
            *place = Some(member);
        }
    }

    /// Opens all connections that there is room for.
    pub(crate) fn fill_up(&mut self, window: Option<usize>, first: &[u8]) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.open() < self.members.len() {
            self.fill(window, first);
            assert!(Instant::now() < deadline, "only {} connections", self.open());
        }
    }

    /// Lets each member of `part` of `parts` do something; one that says false leaves.
    pub(crate) fn each(&mut self, part: usize, parts: usize, mut act: impl FnMut(&mut Member) -> bool) {
        for place in self.members.iter_mut().skip(part).step_by(parts) {
            if place.as_mut().is_some_and(|member| !act(member)) {
                *place = None;
            }
        }
    }

    /// Reads all that has come within `patience`, and sees who was closed.
    pub(crate) fn look(&mut self, patience: Duration) -> Tally {
        let mut seen = Tally::default();
        let mut events = Vec::with_capacity(1_024);
        let timeout = Timespec::try_from(patience).expect("a short time");
        let waited = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout));
        if waited.is_err() {
            return seen;
        }
        for event in &events {
            let data = event.data;
            let place = &mut self.members[usize::try_from(data.u64()).expect("an index")];
            if place.as_mut().is_some_and(|member| !member.drain(&mut seen)) {
                *place = None;
            }
        }
        self.total.received += seen.received;
        self.total.closed += seen.closed;
        self.total.reset += seen.reset;
        seen
    }

    /// Everybody leaves at once, half of them by a reset.
    pub(crate) fn leave(&mut self) {
        for (index, place) in self.members.iter_mut().enumerate() {
            if let Some(member) = place.take().filter(|_| index % 2 == 0) {
                reset(member.stream);
            }
        }
    }
}

impl Member {
    /// Sends what fits. False if the server does not want to hear it.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write(bytes) {
            Ok(count) => {
                self.sent += count;
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// Reads one byte, if there is one. False at the end.
    pub(crate) fn sip(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    fn drain(&mut self, tally: &mut Tally) -> bool {
        let mut scratch = [0; 16 << 10];
        loop {
            match self.stream.read(&mut scratch) {
                Ok(0) => {
                    tally.closed += 1;
                    return false;
                }
                Ok(count) => tally.received += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => {
                    tally.reset += 1;
                    return false;
                }
            }
        }
    }
}

/// Connects without waiting for longer than the server's backlog makes it.
fn connect(address: SocketAddr, window: Option<usize>) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
    if let Some(bytes) = window {
        socket.set_recv_buffer_size(bytes).expect("SO_RCVBUF");
    }
    socket.connect_timeout(&address.into(), Duration::from_secs(5)).ok()?;
    socket.set_nonblocking(true).expect("O_NONBLOCK");
    Some(socket.into())
}

/// Ends a connection by a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    drop(stream);
}
