//! The synchronous layer: helper threads that do for the loops what has to wait for a disk.
//!
//! A loop submits a [`Task`], goes on with other connections, and finds the [`Outcome`] in its [`Inbox`] when it
//! is woken. Queues and inboxes are bounded and lock-free; the helpers sleep on a semaphore of the kernel's. Who
//! submits learns at once when there is no room. A connection waits for one task at most, so the queue's order is
//! fair between connections; a task that nobody waits for any longer is passed over. What takes a processor for long
//! has queues of its own, and never all helpers (`long`).
//!
//! A helper knows nothing of connections and never touches a socket. Who waits for what is in `errands`.

mod long;
mod window;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use crossbeam_queue::{ArrayQueue, SegQueue};
use protocol::Status;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::errands::ErrandId;
use crate::gate::Verification;
use crate::site::directory::Enumeration;
use crate::site::making::{Making, Unmade};
use crate::site::opening::{Opened, OpenedFiles, Opening};
use crate::site::representation::Representation;
use crate::threads::{FirstStep, ThreadKind};
use crate::throttle;
pub(crate) use long::network;
use long::{KINDS, Kind, Long};
pub use window::Window;

/// Tasks that may wait for a helper, of all workers together, and as many of each kind that takes long.
pub const QUEUE_MAX: usize = 4096;
/// What the queues take of helpers that do anything, but for what is behind the pointers in them.
pub const QUEUES_BYTES: usize = (QUEUE_MAX + long::EMPTY_JOBS) * (size_of::<Job>() + 8);
/// Outcomes that may wait for a worker, tasks under way included.
const INBOX_MAX: usize = 4096;
/// How much of a file is brought into memory at once, so that the kernel can send it.
pub const WARM_BYTES: u64 = 1 << 20;
/// How much of a file is read at once where the kernel must not send it.
pub const READ_BYTES: u64 = 256 << 10;
/// Bytes copied at once to bring a file into memory.
const SCRATCH_BYTES: usize = 128 << 10;

/// An open file, which loops and helpers share. Closing one may mean waiting, too: for FUSE it asks the process
/// behind the file system to flush. Such a file is handed to a helper instead of being closed.
#[derive(Debug)]
pub struct SharedFile {
    /// There until it is dropped.
    descriptor: Option<OwnedFd>,
    closer: Option<Arc<Helpers>>,
    /// How much of it, from the beginning, helpers have read lately.
    warm_bytes: AtomicU64,
}

impl SharedFile {
    /// A file that is closed by whoever drops it last.
    #[must_use]
    pub const fn new(descriptor: OwnedFd) -> Self {
        Self { descriptor: Some(descriptor), closer: None, warm_bytes: AtomicU64::new(0) }
    }

    /// How much of the file, from the beginning, helpers have brought into memory since that was last forgotten.
    #[must_use]
    pub fn warm_bytes(&self) -> u64 {
        self.warm_bytes.load(Ordering::Relaxed)
    }

    /// What was brought into memory may have left it.
    pub fn forget_warm(&self) {
        self.warm_bytes.store(0, Ordering::Relaxed);
    }

    fn add_warm(&self, from: u64, to: u64) {
        if from <= self.warm_bytes() {
            self.warm_bytes.fetch_max(to, Ordering::Relaxed);
        }
    }

    /// From now on it is closed by a helper.
    pub fn leave_closing_to(&mut self, helpers: &Arc<Helpers>) {
        self.closer = Some(Arc::clone(helpers));
    }
}

impl AsFd for SharedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // No file can be read from the one that stands in.
        self.descriptor.as_ref().map_or(rustix::fs::CWD, AsFd::as_fd)
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        if let Some((closer, descriptor)) = self.closer.take().zip(self.descriptor.take()) {
            closer.close(descriptor);
        }
    }
}

/// What a helper is to do.
#[derive(Clone, Debug)]
pub enum Task {
    /// Open a path.
    Open(Box<Opening>),
    /// List a directory.
    List(Box<Enumeration>),
    /// Make a representation of others.
    Make(Box<Making>),
    /// Verify a password.
    Verify(Box<Verification>),
    /// Bring a part of a file into memory.
    Warm(Window),
    /// Read a part of a file.
    Read(Window),
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// A path was opened, or refused.
    Opened(Box<Opening>, Result<Opened, Status>),
    /// A directory was listed, or refused.
    Listed(Box<Enumeration>, Result<Box<OpenedFiles>, Status>),
    /// A representation was made, or could not be.
    Made(Box<Making>, Result<Box<Representation>, Unmade>),
    /// A password was verified: whether it is right.
    Verified(Box<Verification>, bool),
    /// The file is in memory as far as this offset.
    Warmed(u64),
    /// The bytes; fewer than were asked for if the file ends before.
    Read(Vec<u8>),
    /// It could not be done: the file cannot be read, or is no longer the one that was promised.
    Failed,
    /// Nobody waited for it any longer.
    Cancelled,
}

struct Job {
    errand: ErrandId,
    claims: Weak<ErrandId>,
    task: Task,
    inbox: Arc<Inbox>,
}

/// Where a worker finds what came of its tasks.
#[derive(Debug)]
pub struct Inbox {
    done: ArrayQueue<(ErrandId, Outcome)>,
    /// Tasks submitted and not yet taken out.
    outstanding: AtomicUsize,
    waker: Arc<mio::Waker>,
}

impl Inbox {
    /// An empty inbox of the worker that `waker` wakes.
    #[must_use]
    pub fn new(waker: Arc<mio::Waker>) -> Arc<Self> {
        Self::with_room(waker, INBOX_MAX)
    }

    /// The same for so many tasks, at least one.
    #[must_use]
    pub fn with_room(waker: Arc<mio::Waker>, tasks_max: usize) -> Arc<Self> {
        let done = ArrayQueue::new(tasks_max.clamp(1, INBOX_MAX));
        Arc::new(Self { done, outstanding: AtomicUsize::new(0), waker })
    }

    /// The next outcome, and of which errand.
    pub fn pop(&self) -> Option<(ErrandId, Outcome)> {
        let done = self.done.pop()?;
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
        Some(done)
    }
}

/// The helper threads.
pub struct Helpers {
    jobs: ArrayQueue<Job>,
    long: Long<Job>,
    /// Files to be closed: no more than there can be descriptors.
    closing: SegQueue<OwnedFd>,
    /// Counts all of them, so that a helper can sleep until there is one: eventfd(2), `EFD_SEMAPHORE`.
    semaphore: OwnedFd,
}

impl std::fmt::Debug for Helpers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (jobs, closing) = (self.jobs.len() + self.long.len(), self.closing.len());
        f.debug_struct("Helpers").field("jobs", &jobs).field("closing", &closing).finish_non_exhaustive()
    }
}

impl Helpers {
    /// Starts `threads` helpers, each with its `first` step. They end with the process: one that is stuck in a dead file system must not
    /// keep it from ending.
    ///
    /// # Errors
    /// When the kernel refuses an eventfd or a thread.
    pub fn start(threads: usize, first: &FirstStep) -> io::Result<Arc<Self>> {
        let semaphore = eventfd(0, EventfdFlags::SEMAPHORE | EventfdFlags::CLOEXEC)?;
        let helpers = Arc::new(Self {
            jobs: ArrayQueue::new(QUEUE_MAX),
            long: Long::new(threads, QUEUE_MAX),
            closing: SegQueue::new(),
            semaphore,
        });
        for index in 0..threads {
            let (helpers, first) = (Arc::clone(&helpers), first.clone());
            thread::Builder::new().name(format!("helper-{index}")).spawn(move || {
                first.take(ThreadKind::Helper);
                helpers.help();
            })?;
        }
        Ok(helpers)
    }

    /// One more helper, after everything that a test has queued.
    #[cfg(test)]
    pub(crate) fn start_one(self: &Arc<Self>) {
        let helpers = Arc::clone(self);
        thread::spawn(move || helpers.help());
    }

    /// Queues the task of an errand for a client, the outcome of which will be in `inbox`. When every clone of
    /// `claim` is dropped, it need not be done.
    ///
    /// # Errors
    /// The task, when there is no room.
    pub fn submit(
        &self,
        claim: &Arc<ErrandId>,
        client: Option<IpAddr>,
        task: Task,
        inbox: &Arc<Inbox>,
    ) -> Result<(), Task> {
        // Only the inbox's worker adds to the count, so it cannot grow between the two.
        // What takes long leaves a quarter to the rest.
        let room = inbox.done.capacity();
        let room = if task.takes_long() { room - room / 4 } else { room };
        if inbox.outstanding.load(Ordering::Relaxed) >= room {
            return Err(task);
        }
        let job = Job { errand: **claim, claims: Arc::downgrade(claim), task, inbox: Arc::clone(inbox) };
        self.queue(client, job).map_err(|job| job.task)?;
        inbox.outstanding.fetch_add(1, Ordering::Relaxed);
        self.wake_one();
        Ok(())
    }

    /// What takes long waits among its like: what is listed beside other directories, a password beside others of
    /// the same client, what is made beside the rest.
    fn queue(&self, client: Option<IpAddr>, job: Job) -> Result<(), Job> {
        match &job.task {
            Task::Make(making) => {
                let name = making.recipe.name.clone();
                self.long.push(Kind::Make, client, name, job)
            }
            Task::List(enumeration) => {
                let path = enumeration.path.clone();
                self.long.push(Kind::List, client, path, job)
            }
            Task::Verify(_) => self.long.push(Kind::Verify, client, (), job),
            Task::Open(_) | Task::Warm(_) | Task::Read(_) => self.jobs.push(job),
        }
    }

    fn close(&self, descriptor: OwnedFd) {
        self.closing.push(descriptor);
        self.wake_one();
    }

    fn wake_one(&self) {
        // Fails only when 2⁶⁴ − 2 jobs wait.
        let _ = rustix::io::write(&self.semaphore, &1_u64.to_ne_bytes());
    }

    /// Does jobs of each kind and closes files in turn: so none waits for all of the others, and no more files are
    /// opened than are closed.
    fn help(self: &Arc<Self>) {
        let mut scratch = vec![0; SCRATCH_BYTES];
        let mut turn = 0_usize;
        loop {
            let mut count = [0; 8];
            if matches!(rustix::io::read(&self.semaphore, &mut count), Err(error) if error != Errno::INTR) {
                return;
            }
            turn = turn.wrapping_add(1);
            let ways = 2 + KINDS.len();
            let _ = (0..ways).any(|way| self.help_with((turn % ways + way) % ways, &mut scratch));
        }
    }

    /// Whether there was anything of this kind to be done.
    fn help_with(self: &Arc<Self>, way: usize, scratch: &mut [u8]) -> bool {
        match way {
            0 => self.close_one(),
            1 => self.jobs.pop().map(|job| self.work(job, scratch)).is_some(),
            long => KINDS.get(long - 2).is_some_and(|&kind| self.work_long(kind, scratch)),
        }
    }

    /// Whether there was a job of this kind, and a helper more that may do it.
    fn work_long(self: &Arc<Self>, kind: Kind, scratch: &mut [u8]) -> bool {
        let Some(job) = self.long.begin(kind, || self.wake_one()) else { return false };
        self.work(job, scratch);
        // Who was turned away meanwhile has used up a count for nothing: it is given back.
        if self.long.end(kind) {
            self.wake_one();
        }
        true
    }

    /// Whether there was a file to be closed.
    fn close_one(&self) -> bool {
        self.closing.pop().is_some()
    }

    fn work(self: &Arc<Self>, job: Job, scratch: &mut [u8]) {
        let outcome = match job.claims.strong_count() {
            0 => Outcome::Cancelled,
            _ => catch_unwind(AssertUnwindSafe(|| job.task.run(self, scratch))).unwrap_or(Outcome::Failed),
        };
        // There is room: no more are outstanding than fit.
        let _ = job.inbox.done.push((job.errand, outcome));
        // A worker that has ended needs no wake.
        let _ = job.inbox.waker.wake();
    }
}

impl Task {
    /// Whether it takes a processor, and long, so that it waits in a queue of its own.
    #[must_use]
    pub const fn takes_long(&self) -> bool {
        matches!(self, Self::Make(_) | Self::List(_) | Self::Verify(_))
    }

    fn run(self, helpers: &Arc<Helpers>, scratch: &mut [u8]) -> Outcome {
        match self {
            Self::Open(mut opening) => {
                let mut opened = opening.run();
                if let Ok(Opened::Files(files)) = &mut opened {
                    files.leave_closing_to(helpers);
                }
                Outcome::Opened(opening, opened)
            }
            Self::List(enumeration) => {
                let mut listed = enumeration.run();
                if let Ok(files) = &mut listed {
                    files.leave_closing_to(helpers);
                }
                Outcome::Listed(enumeration, listed.map(Box::new))
            }
            Self::Make(making) => {
                let made = making.run().map(Box::new);
                Outcome::Made(making, made)
            }
            Self::Verify(verification) => {
                let is_right = verification.run();
                Outcome::Verified(verification, is_right)
            }
            Self::Warm(window) => match window.warm(scratch) {
                Ok(()) => Outcome::Warmed(window.offset.saturating_add(window.bytes)),
                Err(errno) => failed(errno),
            },
            Self::Read(window) => match window.read() {
                Ok(Some(bytes)) => Outcome::Read(bytes),
                Ok(None) => Outcome::Failed,
                Err(errno) => failed(errno),
            },
        }
    }
}

fn failed(error: Errno) -> Outcome {
    throttle::FILES.error(&error, "cannot read a file that is served");
    Outcome::Failed
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::{Duration, Instant};

    use protocol::coding::Coding;

    use super::*;
    use crate::site::allowance::Allowance;
    use crate::site::digest::TagPolicy;
    use crate::site::making::Recipe;
    use crate::site::stamp::Stamp;

    fn inbox() -> (Arc<Inbox>, mio::Poll) {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        (Inbox::new(waker), poll)
    }

    fn window(content: &[u8], offset: u64, bytes: u64) -> Window {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let stamp = Stamp::of(&rustix::fs::fstat(file.as_fd()).unwrap());
        Window { file: Arc::new(SharedFile::new(file.into())), stamp, is_first: true, offset, bytes }
    }

    fn wait(inbox: &Inbox) -> (ErrandId, Outcome) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(done) = inbox.pop() {
                return done;
            }
            assert!(Instant::now() < deadline, "no outcome");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn claim() -> Arc<ErrandId> {
        Arc::new(ErrandId::default())
    }

    #[test]
    fn windows_are_read_and_the_worker_is_woken() {
        let helpers = Helpers::start(2, &FirstStep::default()).unwrap();
        let (inbox, mut poll) = inbox();
        let content: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let claim = claim();
        helpers.submit(&claim, None, Task::Read(window(&content, 1_000, 200_000)), &inbox).unwrap();
        let mut events = mio::Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        assert!(!events.is_empty(), "the worker was not woken");
        match wait(&inbox) {
            (_, Outcome::Read(bytes)) => assert!(bytes == content[1_000..201_000]),
            other => panic!("{other:?}"),
        }
        helpers.submit(&claim, None, Task::Warm(window(&content, 0, 300_000)), &inbox).unwrap();
        assert!(matches!(wait(&inbox), (_, Outcome::Warmed(300_000))));
        assert_eq!(inbox.outstanding.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_file_that_is_another_by_now_is_not_read() {
        let helpers = Helpers::start(1, &FirstStep::default()).unwrap();
        let (inbox, _poll) = inbox();
        let changed = Window { stamp: window(b"other", 0, 5).stamp, ..window(b"these", 0, 5) };
        let claim = claim();
        helpers.submit(&claim, None, Task::Read(changed), &inbox).unwrap();
        assert!(matches!(wait(&inbox), (_, Outcome::Failed)));
    }

    #[test]
    fn files_are_opened_while_representations_are_made() {
        let helpers = Helpers::start(2, &FirstStep::default()).unwrap();
        let (inbox, _poll) = inbox();
        let claim = claim();
        // Hard to code: it takes a while, even where nothing else runs.
        let mut state = 1_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b' ' + (state >> 58) as u8
        };
        let source = window(&(0..2 << 20).map(|_| noise()).collect::<Vec<u8>>(), 0, 1);
        let makings = 3;
        for _ in 0..makings {
            let recipe = Recipe {
                name: b"a.txt".as_slice().into(),
                media_type: "text/plain".into(),
                role: crate::site::heads::Role::Content,
                fields: bytes::Bytes::new(),
                tags: TagPolicy::default(),
                written: None,
            };
            let making = Making {
                key: Box::default(),
                source: Arc::clone(&source.file),
                stamp: source.stamp,
                from: Coding::Identity,
                to: Coding::Brotli,
                recipe,
                allowance: Allowance::new(1 << 30),
                unix_s: 0,
            };
            helpers.submit(&claim, None, Task::Make(Box::new(making)), &inbox).unwrap();
        }
        helpers.submit(&claim, None, Task::Warm(window(b"x", 0, 1)), &inbox).unwrap();
        assert!(matches!(wait(&inbox), (_, Outcome::Warmed(1))));
        for _ in 0..makings {
            assert!(matches!(wait(&inbox), (_, Outcome::Made(_, Ok(_)))));
        }
    }

    #[test]
    fn a_task_nobody_waits_for_is_not_done() {
        let helpers = Helpers::start(0, &FirstStep::default()).unwrap();
        let (inbox, _poll) = inbox();
        helpers.submit(&claim(), None, Task::Warm(window(b"x", 0, 1)), &inbox).unwrap();
        helpers.start_one();
        assert!(matches!(wait(&inbox), (_, Outcome::Cancelled)));
    }

    #[test]
    fn what_does_not_fit_is_handed_back() {
        let helpers = Helpers::start(0, &FirstStep::default()).unwrap();
        let (inbox, _poll) = inbox();
        let shared = window(b"x", 0, 1);
        let task = || Task::Warm(Window { file: Arc::clone(&shared.file), ..shared });
        let claim = claim();
        for _ in 0..QUEUE_MAX {
            helpers.submit(&claim, None, task(), &inbox).unwrap();
        }
        assert!(helpers.submit(&claim, None, task(), &inbox).is_err());
    }
}
