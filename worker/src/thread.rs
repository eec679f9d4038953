//! The thread of a worker: it starts the loop, runs it, and puts it together again after a panic.
//!
//! A panic drops every connection of the worker and nothing else. Poll, waker, hand-off, listeners and roots stand
//! outside of the boundary, so the acceptor hands over as before, sockets in transit are adopted by the rebuilt loop,
//! connections that are queued wait for it, and nothing has to be opened that could be gone by now. However often it
//! happens, the process lives: a request that makes a worker panic must not become one that ends the server.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Waker};

use crate::clock::Clock;
use crate::cold::{Helpers, Inbox};
use crate::context::{Context, SharedProducer};
use crate::control::{Control, Phase};
use crate::errands::Errands;
use crate::gate::{Gate, SharedGate};
use crate::handoff::{self, Receiver, Sender};
use crate::log_writer::Producer;
use crate::metrics::Counters;
use crate::overload;
use crate::reactor::{EVENTS_MAX, Reactor, WAKER};
use crate::room::Room;
use crate::roots::Successor;
use crate::settings::{Settings, SiteSettings};
use crate::shard::{Entrance, Shard};
use crate::site::Site;
use crate::site::release::{Release, Releases};
use crate::site::resolve::{Patience, Root};
use crate::threads::ThreadKind;

/// More failures than this within [`FAILURE_WINDOW`] are no accident: the worker rests before it goes on, so that
/// it does not burn a processor.
const FAILURES_MAX: usize = 5;
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
const REST: Duration = Duration::from_millis(500);

/// Why a worker could not be started.
#[derive(Debug)]
pub enum StartError {
    /// The root cannot be opened.
    Root {
        /// What was to be served.
        path: PathBuf,
        /// Why it cannot be.
        source: io::Error,
    },
    /// The kernel refused the loop or its thread.
    Loop(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root { path, source } => write!(f, "cannot open {}: {source}", path.display()),
            Self::Loop(source) => write!(f, "cannot start a worker: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Root { source, .. } | Self::Loop(source) => Some(source),
        }
    }
}

/// A running worker, as its supervisor sees it.
#[derive(Debug)]
pub struct Handle {
    index: usize,
    waker: Arc<Waker>,
    counters: Arc<Counters>,
    successor: Arc<Successor>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Position among the workers, from 0.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// What the worker has done so far.
    #[must_use]
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Where the worker looks for other releases to serve.
    #[must_use]
    pub const fn successor(&self) -> &Arc<Successor> {
        &self.successor
    }

    /// Makes the worker look at [`Control`].
    ///
    /// # Errors
    /// When the kernel refuses the write to the worker's eventfd.
    pub fn wake(&self) -> io::Result<()> {
        self.waker.wake()
    }

    /// Whether the worker's thread has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the worker's thread to end.
    ///
    /// # Errors
    /// The payload of a panic outside of the worker's boundary.
    pub fn join(self) -> Result<(), Box<dyn Any + Send>> {
        self.thread.join()
    }
}

/// Opens the roots that the workers are to serve first, in the order of [`SiteSettings::roots`].
///
/// # Errors
/// When one of them cannot be opened.
pub fn open_roots(settings: &SiteSettings) -> Result<Releases, StartError> {
    let open = |path: &PathBuf| {
        Root::open(path, settings.symlinks)
            .map(Release::first)
            .map_err(|source| StartError::Root { path: path.clone(), source })
    };
    let others = settings.vhosts.roots.iter().map(open).collect::<Result<_, _>>()?;
    Ok(Releases::new(open(&settings.root)?, others))
}

/// Starts a worker: its supervisor gets the handle, the acceptor the sender. Without `helpers` it waits for disks
/// itself. `releases` are as [`open_roots`] gives them.
///
/// # Errors
/// When the kernel refuses a poll, an eventfd or a thread.
pub fn spawn(
    index: usize,
    settings: Settings,
    releases: Releases,
    entrance: Entrance,
    control: Arc<Control>,
    log: Option<Producer>,
    helpers: Option<Arc<Helpers>>,
) -> Result<(Handle, Sender), StartError> {
    let poll = Poll::new().map_err(StartError::Loop)?;
    let registry = Arc::new(poll.registry().try_clone().map_err(StartError::Loop)?);
    let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(StartError::Loop)?);
    let (sender, receiver) = handoff::channel(settings.handoff_capacity, Arc::clone(&waker));
    let counters = Arc::new(Counters::default());
    let successor = Successor::new(releases.count(), Arc::clone(&waker));
    let room = Arc::clone(&entrance.room);
    room.introduce(index, Arc::clone(&waker));
    let shard = Shard::new(entrance, Arc::clone(&counters), poll.registry()).map_err(StartError::Loop)?;
    let helpers = helpers.map(|helpers| (helpers, Arc::clone(&waker)));
    let worker = Worker {
        index,
        settings,
        releases,
        successor: Arc::clone(&successor),
        control,
        counters: Arc::clone(&counters),
        room,
        given_back: 0,
        poll,
        registry,
        receiver,
        shard,
        log,
        helpers,
    };
    let thread = std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || worker.main())
        .map_err(StartError::Loop)?;
    Ok((Handle { index, waker, counters, successor, thread }, sender))
}

/// What of a worker outlives its loop.
struct Worker {
    index: usize,
    settings: Settings,
    releases: Releases,
    successor: Arc<Successor>,
    control: Arc<Control>,
    counters: Arc<Counters>,
    room: Arc<Room>,
    /// Places in the room that were given back.
    given_back: u64,
    poll: Poll,
    /// The poll once more, for all loops: one that had to ask for it might find no descriptor left.
    registry: Arc<Registry>,
    receiver: Receiver,
    shard: Shard,
    log: Option<Producer>,
    helpers: Option<(Arc<Helpers>, Arc<Waker>)>,
}

impl Worker {
    fn main(mut self) {
        self.pin();
        self.settings.first.take(ThreadKind::Loop);
        let log = self.log.take().map(|producer| Rc::new(RefCell::new(producer)));
        let gate = self.settings.gate.take().map(|settings| Rc::new(RefCell::new(Gate::new(settings))));
        let mut failures = VecDeque::new();
        loop {
            // Asserted, because a loop that panicked is dropped whole, and what is used again is either written
            // by this thread alone in single steps (counters, log, gate) or belongs to the kernel (poll, eventfd).
            let run = catch_unwind(AssertUnwindSafe(|| self.run(log.clone(), gate.clone())));
            match run {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tracing::error!(worker = self.index, %error, "loop failed; it is rebuilt"),
                Err(_) => self.counters.panics.increment(),
            }
            // The connections were dropped with their loop; nobody else counts them.
            self.counters.closed.add(self.counters.open_connections());
            self.give_back();
            self.shard.set_ready();
            if is_no_accident(&mut failures) {
                tracing::error!(worker = self.index, "loop fails too often; it rests before it is rebuilt");
                std::thread::sleep(REST);
            }
        }
    }

    fn pin(&self) {
        let Some(processor) = self.settings.processor else { return };
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor);
        if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
            tracing::warn!(worker = self.index, processor, %error, "cannot pin the worker");
        }
    }

    /// Runs a loop until the server ends.
    fn run(&mut self, log: Option<SharedProducer>, gate: Option<SharedGate>) -> io::Result<()> {
        let patience = if self.helpers.is_some() { Patience::Never } else { Patience::MayWait };
        let site = Site::new(self.settings.site.clone(), &self.releases, patience);
        let mut cx = Context::new(&self.settings, site, Arc::clone(&self.counters), log, Clock::kernel());
        cx.gate = gate;
        cx.of_clients = self.room.of_clients();
        // A new inbox for each loop: outcomes for one that is gone are nobody's.
        cx.errands = self.helpers.as_ref().map(|(helpers, waker)| {
            Errands::new(
                Arc::clone(helpers),
                Inbox::with_room(Arc::clone(waker), self.settings.memory.tasks_max),
            )
        });
        let registry = Arc::clone(&self.registry);
        let mut reactor = Reactor::new(cx, registry, self.settings.connections_max);
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            if self.control.phase() != Phase::Serving && reactor.is_empty() && self.is_cut_off() {
                return Ok(());
            }
            self.wait(&reactor, &mut events)?;
            reactor.turn(events.iter(), &mut self.receiver, &mut self.shard);
            self.enter(&mut reactor, self.control.phase());
            self.make_room(&mut reactor);
            self.give_back();
            while let Some((tree, release)) = self.successor.take() {
                self.change_over(&mut reactor, tree, release);
            }
        }
    }

    fn change_over(&mut self, reactor: &mut Reactor, tree: usize, release: Arc<Release>) {
        self.releases.replace(tree, Arc::clone(&release));
        reactor.replace_release(tree, release);
    }

    /// Whether no more connections can come.
    fn is_cut_off(&self) -> bool {
        self.receiver.is_empty() && !self.shard.is_open()
    }

    fn enter(&mut self, reactor: &mut Reactor, phase: Phase) {
        reactor.enter(phase);
        if phase == Phase::Serving || !self.shard.is_open() {
            return;
        }
        // The kernel queues one more than it is told to. When everything is dropped, so is what is queued.
        let most = if phase == Phase::Draining { self.settings.backlog + 1 } else { 0 };
        reactor.close_listeners(&mut self.shard, most);
    }

    /// Closes a few connections, if somebody needs what they take.
    fn make_room(&self, reactor: &mut Reactor) {
        if overload::take_shortage() {
            self.room.ask();
        }
        if self.room.is_asked(self.index) {
            reactor.make_room();
        }
    }

    /// Gives back the places of the connections that were closed since the last time.
    fn give_back(&mut self) {
        let closed = self.counters.closed.get();
        self.room.give_back(closed - std::mem::replace(&mut self.given_back, closed));
    }

    /// Waits for events, connections or deadlines: looking for them first, if that is asked for, then asleep.
    fn wait(&mut self, reactor: &Reactor, events: &mut Events) -> io::Result<()> {
        let timeout_ms = reactor.timeout_ms().into_iter().chain(self.shard.timeout_ms()).min();
        if timeout_ms != Some(0) && self.spin(events)? {
            return Ok(());
        }
        let timeout_ms = if self.receiver.prepare_sleep() { timeout_ms } else { Some(0) };
        let polled = poll(&mut self.poll, events, timeout_ms);
        self.receiver.awake();
        polled
    }

    /// Whether something came while looking for it.
    fn spin(&mut self, events: &mut Events) -> io::Result<bool> {
        if self.settings.spin_us == 0 {
            return Ok(false);
        }
        let until = Instant::now() + Duration::from_micros(self.settings.spin_us);
        while Instant::now() < until {
            poll(&mut self.poll, events, Some(0))?;
            if !events.is_empty() || !self.receiver.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A signal may end the wait early, and so does standing still, as after SIGSTOP or in the freezer of a container.
/// Deadlines may have passed meanwhile, so there is a second look for what came in time.
fn poll(poll: &mut Poll, events: &mut Events, mut timeout_ms: Option<u64>) -> io::Result<()> {
    loop {
        match poll.poll(events, timeout_ms.map(Duration::from_millis)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => timeout_ms = Some(0),
            polled => return polled,
        }
    }
}

/// Notes a failure, and tells whether there were too many of late.
fn is_no_accident(failures: &mut VecDeque<Instant>) -> bool {
    let now = Instant::now();
    failures.push_back(now);
    failures.retain(|&at| now.duration_since(at) < FAILURE_WINDOW);
    failures.len() > FAILURES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_are_no_accident() {
        let mut failures = VecDeque::new();
        let verdicts: Vec<bool> = (0..7).map(|_| is_no_accident(&mut failures)).collect();
        assert_eq!(verdicts, [false, false, false, false, false, true, true]);
    }
}
