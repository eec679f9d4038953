//! One thread that accepts connections and hands them, round-robin, to the workers (POSA2: Acceptor-Connector).
//!
//! This crate owns who *comes in*: listeners, the order in which workers are served, and what happens when there
//! are too many. It never reads from or writes to a connection, and of the workers it knows only their hand-off
//! and their counters. For a connection it does one `accept4` and one push, nothing else.
//!
//! Start reading at [`Acceptor::run`].
#![forbid(unsafe_code)]

mod dispatcher;
pub mod error;
mod intake;
pub mod listener;
pub mod settings;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use worker::Room;
use worker::accept::Arrival;
use worker::handoff::Sender;

pub use error::AcceptError;
pub use intake::Totals;
pub use listener::{Address, Listener, LocalAddress};
pub use settings::Settings;

use intake::{Admission, Intake};

/// Connections taken from one listener before the other listeners, sleeping workers and the interrupt get their
/// turn: a tenth of a millisecond's worth.
const BATCH: usize = 64;
/// The token of the caller's interrupt. Listeners have their index.
const INTERRUPT: Token = Token(usize::MAX);

/// Accepts connections and hands them over. Belongs to one thread.
#[derive(Debug)]
pub struct Acceptor {
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    intake: Intake,
    backlog: i32,
    /// When a pause is over.
    resume_at: Option<Instant>,
}

impl Acceptor {
    /// Gets ready to accept from `listeners` for `workers`. When `interrupt` becomes readable,
    /// [`Acceptor::run`] returns; it must stay open as long as the acceptor. Each connection takes a place in `room`,
    /// which its worker gives back.
    ///
    /// # Errors
    /// When the kernel refuses another epoll descriptor or the registration of a listener.
    pub fn new(
        settings: Settings,
        mut listeners: Vec<Listener>,
        workers: Vec<Sender>,
        room: Arc<Room>,
        interrupt: impl AsFd,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let interrupt = interrupt.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&interrupt), INTERRUPT, Interest::READABLE)?;
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener.queue().register(poll.registry(), Token(index))?;
        }
        let intake = Intake::new(workers, room);
        let events = Events::with_capacity(64);
        Ok(Self { poll, events, listeners, intake, backlog: settings.backlog, resume_at: None })
    }

    /// Accepts until the interrupt is readable. May be called again after that.
    ///
    /// While connections are queued the poll does not wait, it only looks once a batch, so that a flood of
    /// connections cannot hide the interrupt.
    ///
    /// # Errors
    /// When a listener or the poll is broken for good, or no worker is left.
    pub fn run(&mut self) -> Result<(), AcceptError> {
        loop {
            let timeout = self.accept_queued()?;
            match self.poll.poll(&mut self.events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(AcceptError::Poll(error));
                }
                _ => {}
            }
            let mut is_interrupted = false;
            for event in &self.events {
                match self.listeners.get_mut(event.token().0) {
                    Some(listener) => listener.queue().set_ready(),
                    None => is_interrupted = true,
                }
            }
            if is_interrupted {
                return Ok(());
            }
        }
    }

    /// What was done so far.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.intake.totals()
    }

    /// Hands over what is queued already, then closes the listeners: from here on the kernel refuses connections.
    /// What no worker can take at once is closed.
    pub fn close(mut self) {
        self.resume_at = None;
        for listener in &mut self.listeners {
            listener.queue().set_ready();
        }
        // A queue holds no more than its backlog; under a flood it would never be found empty.
        for _ in 0..=self.backlog.unsigned_abs() as usize / BATCH {
            if !matches!(self.accept_queued(), Ok(Some(Duration::ZERO))) {
                break;
            }
        }
    }

    /// Accepts a batch from each listener, unless there is a pause, and wakes the workers. Returns how long to
    /// wait for events.
    fn accept_queued(&mut self) -> Result<Option<Duration>, AcceptError> {
        if let Some(resume_at) = self.resume_at {
            let rest = resume_at.saturating_duration_since(Instant::now());
            if !rest.is_zero() {
                return Ok(Some(rest));
            }
            self.resume_at = None;
        }
        let admission = self.accept_round();
        self.intake.wake();
        if let Admission::Paused(pause) = admission? {
            self.resume_at = Some(Instant::now() + pause);
            return Ok(Some(pause));
        }
        let is_ready = self.listeners.iter_mut().any(|listener| listener.queue().is_ready());
        Ok(is_ready.then_some(Duration::ZERO))
    }

    fn accept_round(&mut self) -> Result<Admission, AcceptError> {
        let mut admission = self.intake.retry()?;
        for listener in &mut self.listeners {
            if admission == Admission::Open {
                admission = accept_batch(listener, &mut self.intake)?;
            }
        }
        Ok(admission)
    }
}

fn accept_batch(listener: &mut Listener, intake: &mut Intake) -> Result<Admission, AcceptError> {
    for _ in 0..BATCH {
        let admission = match listener.queue().take(&mut intake.gate) {
            Ok(Arrival::Connection(accepted)) => intake.admit(accepted)?,
            Ok(Arrival::Gone) => Admission::Open,
            Ok(Arrival::Drained) => break,
            Ok(Arrival::Paused(pause)) => intake.pause(pause),
            Err(source) => {
                let address = listener.local_address().to_string();
                return Err(AcceptError::Accept { address, source });
            }
        };
        if admission != Admission::Open {
            return Ok(admission);
        }
    }
    Ok(Admission::Open)
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::thread::{self, JoinHandle};

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use worker::handoff::{Accepted, Receiver, channel};

    use super::*;

    /// An acceptor on its own thread, and the receiving ends of its workers.
    struct Bench {
        address: SocketAddr,
        receivers: Vec<Receiver>,
        room: Arc<Room>,
        interrupt: PipeWriter,
        thread: JoinHandle<(Acceptor, Result<(), AcceptError>)>,
        _poll: Poll,
    }

    impl Bench {
        fn start(capacities: &[usize], connections_max: u64) -> Self {
            let poll = Poll::new().unwrap();
            let waker = Arc::new(mio::Waker::new(poll.registry(), Token(0)).unwrap());
            let (senders, receivers): (Vec<_>, Vec<_>) =
                capacities.iter().map(|&capacity| channel(capacity, Arc::clone(&waker))).unzip();
            let room = Arc::new(Room::new(connections_max));
            let listener = Listener::bind(Address::Tcp(([127, 0, 0, 1], 0).into()), 128).unwrap();
            let LocalAddress::Tcp(address) = *listener.local_address() else { panic!("not TCP") };
            let (reader, interrupt) = io::pipe().unwrap();
            let settings = Settings { backlog: 128 };
            let shared = Arc::clone(&room);
            let thread = thread::spawn(move || {
                let mut acceptor = Acceptor::new(settings, vec![listener], senders, shared, &reader).unwrap();
                let result = acceptor.run();
                (acceptor, result)
            });
            Self { address, receivers, room, interrupt, thread, _poll: poll }
        }

        fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).unwrap()
        }

        fn stop(mut self) -> (Acceptor, Result<(), AcceptError>, Vec<Receiver>) {
            self.interrupt.write_all(b"x").unwrap();
            let (acceptor, result) = self.thread.join().unwrap();
            (acceptor, result, self.receivers)
        }
    }

    const PATIENCE: Duration = Duration::from_secs(5);

    fn take(receiver: &mut Receiver) -> Accepted {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(accepted) = receiver.recv() {
                return accepted;
            }
            assert!(Instant::now() < deadline, "nothing was handed over");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn assert_nothing_comes(receiver: &mut Receiver) {
        thread::sleep(Duration::from_millis(50));
        assert!(receiver.recv().is_none());
    }

    #[test]
    fn real_connections_go_strictly_round_robin() {
        let mut bench = Bench::start(&[64, 64, 64], 1000);
        let clients: Vec<_> = (0..30).map(|_| bench.connect()).collect();
        for (index, client) in clients.iter().enumerate() {
            let accepted = take(&mut bench.receivers[index % 3]);
            assert_eq!(accepted.peer, client.local_addr().unwrap().into());
        }
        let (acceptor, result, mut receivers) = bench.stop();
        result.unwrap();
        assert!(receivers.iter_mut().all(|receiver| receiver.recv().is_none()));
        assert_eq!(acceptor.totals(), Totals { accepted: 30, ..Totals::default() });
    }

    #[test]
    fn a_connection_waits_when_every_ring_is_full() {
        let mut bench = Bench::start(&[1, 1], 1000);
        let clients: Vec<_> = (0..4).map(|_| bench.connect()).collect();
        let ports: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap().into()).collect();
        thread::sleep(Duration::from_millis(50));
        // The third waits in the acceptor, the fourth in the kernel.
        let second = take(&mut bench.receivers[1]);
        let third = take(&mut bench.receivers[1]);
        let first = take(&mut bench.receivers[0]);
        let fourth = take(&mut bench.receivers[0]);
        assert_eq!([first.peer, second.peer, third.peer, fourth.peer], *ports);
        assert!(bench.stop().0.totals().full_pauses > 0);
    }

    #[test]
    fn the_connection_limit_holds_back_until_one_is_closed() {
        let mut bench = Bench::start(&[64], 2);
        let _clients: Vec<_> = (0..3).map(|_| bench.connect()).collect();
        let _first = take(&mut bench.receivers[0]);
        let _second = take(&mut bench.receivers[0]);
        assert_nothing_comes(&mut bench.receivers[0]);
        bench.room.give_back(1);
        let _third = take(&mut bench.receivers[0]);
        let (acceptor, result, _) = bench.stop();
        result.unwrap();
        assert_eq!(acceptor.totals().accepted, 3);
        assert!(acceptor.totals().limit_pauses > 0);
    }

    #[test]
    fn a_dead_worker_is_passed_over_and_the_last_death_is_fatal() {
        let mut bench = Bench::start(&[64, 64], 1000);
        drop(bench.receivers.remove(0));
        let _clients: Vec<_> = (0..4).map(|_| bench.connect()).collect();
        for _ in 0..4 {
            take(&mut bench.receivers[0]);
        }
        drop(bench.receivers.remove(0));
        let _last = bench.connect();
        let (_, result) = bench.thread.join().unwrap();
        assert!(matches!(result, Err(AcceptError::NoWorker)), "{result:?}");
    }

    #[test]
    fn closing_hands_over_what_is_queued_and_refuses_the_rest() {
        let bench = Bench::start(&[1024], 1000);
        let address = bench.address;
        let (acceptor, result, mut receivers) = bench.stop();
        result.unwrap();
        let _clients: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
        acceptor.close();
        assert_eq!(std::iter::from_fn(|| receivers[0].recv()).count(), 100);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn an_interrupted_acceptor_can_be_run_again() {
        let bench = Bench::start(&[64], 1000);
        let address = bench.address;
        let (mut acceptor, result, mut receivers) = bench.stop();
        result.unwrap();
        let (reader, mut interrupt) = io::pipe().unwrap();
        let interrupt_fd = reader.as_raw_fd();
        acceptor
            .poll
            .registry()
            .register(&mut SourceFd(&interrupt_fd), INTERRUPT, Interest::READABLE)
            .unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let thread = thread::spawn(move || acceptor.run());
        take(&mut receivers[0]);
        interrupt.write_all(b"x").unwrap();
        thread.join().unwrap().unwrap();
    }

    /// Runs in a process of its own, because the limit on descriptors holds for all its threads.
    #[test]
    fn running_out_of_descriptors_pauses_and_resumes() {
        const CHILD: &str = "ONELOOP_TEST_DESCRIPTORS";
        if std::env::var_os(CHILD).is_none() {
            let name = "tests::running_out_of_descriptors_pauses_and_resumes";
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(CHILD, "1")
                .status();
            assert!(status.unwrap().success());
            return;
        }
        let mut bench = Bench::start(&[64], 1000);
        let _before = (bench.connect(), take(&mut bench.receivers[0]));
        let _clients = [bench.connect(), bench.connect()];
        let _queued = [take(&mut bench.receivers[0]), take(&mut bench.receivers[0])];
        let plenty = getrlimit(Resource::Nofile);
        let late = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..plenty }).unwrap();
        late.connect(&bench.address.into()).unwrap();
        assert_nothing_comes(&mut bench.receivers[0]);
        setrlimit(Resource::Nofile, plenty).unwrap();
        take(&mut bench.receivers[0]); // there is no second edge: the pause itself ends in a retry
        assert!(bench.stop().0.totals().shortages > 0);
    }
}
