//! The errands of a worker: what its helpers were asked to do and have not done yet, and who waits for it.
//!
//! What several connections want at the same time is done once: an `Identity` says which tasks are the same, and
//! whoever comes while one is under way joins it. The claim on an errand belongs to all who wait for it together, so
//! each may give up without hurting the others, and only what nobody waits for any longer is passed over.
//!
//! Everything in here belongs to one loop. It knows connections by their ids and never touches one.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use protocol::coding::Coding;

use crate::cold::{Helpers, Inbox, Outcome, SharedFile, Task, Window};
use crate::gate::Digest;
use crate::site::release::Release;
use crate::slab::ConnectionId;

/// Those who have given up are looked for when there are so many more names than claims.
const STALE_MAX: usize = 16;

/// One errand of one worker, from the first to the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ErrandId(u64);

/// A claim on the outcome of an errand. When the last is dropped, the errand need not be done.
#[derive(Clone, Debug)]
pub struct Ticket(Arc<ErrandId>);

impl Ticket {
    /// Whether this is a claim on that errand.
    #[must_use]
    pub fn is_for(&self, errand: ErrandId) -> bool {
        *self.0 == errand
    }
}

/// An object by its address. It is held, so that no other can come to lie there.
#[derive(Debug)]
struct Same<T>(Arc<T>);

impl<T> PartialEq for Same<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for Same<T> {}

impl<T> Hash for Same<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// What makes two tasks one. A new kind of task needs no more than its identity here to be shared.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Identity {
    /// The same path in the same release. Another release is another tree, whatever its path.
    Open(Same<Release>, Box<[u8]>),
    /// The same view of the same directory in the same release.
    List(Same<Release>, Box<[u8]>),
    /// The same coding of the same file.
    Make(Same<SharedFile>, Coding),
    /// The same password of the same name, for the same users.
    Verify(Digest),
    Warm(Part),
    Read(Part),
}

/// The same part of the same version of a file, to be compared with it in the same way.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Part {
    file: Same<SharedFile>,
    offset: u64,
    bytes: u64,
    is_first: bool,
}

impl Identity {
    fn of(task: &Task) -> Self {
        match task {
            Task::Open(opening) => {
                Self::Open(Same(Arc::clone(opening.opener.release())), opening.key.clone())
            }
            Task::List(enumeration) => {
                Self::List(Same(Arc::clone(enumeration.opener.release())), enumeration.key.clone())
            }
            Task::Make(making) => Self::Make(Same(Arc::clone(&making.source)), making.to),
            Task::Verify(verification) => Self::Verify(verification.digest),
            Task::Warm(window) => Self::Warm(Part::of(window)),
            Task::Read(window) => Self::Read(Part::of(window)),
        }
    }
}

impl Part {
    fn of(window: &Window) -> Self {
        let file = Same(Arc::clone(&window.file));
        Self { file, offset: window.offset, bytes: window.bytes, is_first: window.is_first }
    }
}

/// An errand under way.
#[derive(Debug)]
struct Errand {
    identity: Rc<Identity>,
    claims: Weak<ErrandId>,
    /// In the order in which they came. Some may have given up.
    waiting: Vec<ConnectionId>,
}

/// An errand that is done.
#[derive(Debug)]
pub struct Done {
    /// Which it was.
    pub errand: ErrandId,
    /// What came of it.
    pub outcome: Outcome,
    /// Who has waited for it, in the order in which they came. Some may have given up.
    pub waiting: Vec<ConnectionId>,
}

/// The errands of a worker that are under way: no more than fit into its inbox.
#[derive(Debug)]
pub struct Errands {
    helpers: Arc<Helpers>,
    inbox: Arc<Inbox>,
    under_way: HashMap<ErrandId, Errand, RandomState>,
    /// Seeded at random, so that nobody outside can choose paths that collide.
    by_identity: HashMap<Rc<Identity>, ErrandId, RandomState>,
    next: ErrandId,
}

impl Errands {
    /// None yet, for these helpers, the outcomes of which are found in `inbox`.
    #[must_use]
    pub fn new(helpers: Arc<Helpers>, inbox: Arc<Inbox>) -> Self {
        Self {
            helpers,
            inbox,
            under_way: HashMap::default(),
            by_identity: HashMap::default(),
            next: ErrandId::default(),
        }
    }

    /// Lets a connection of a client wait for a task, which is begun unless it is under way already. `still_waits` tells of a
    /// connection whether it waits for an errand.
    ///
    /// # Errors
    /// The task, when there is no room for it.
    pub fn submit(
        &mut self,
        id: ConnectionId,
        client: Option<IpAddr>,
        task: Task,
        still_waits: impl FnMut(ConnectionId, ErrandId) -> bool,
    ) -> Result<Ticket, Task> {
        let identity = Identity::of(&task);
        match self.join(id, &identity, still_waits) {
            Some(ticket) => Ok(ticket),
            None => self.begin(id, client, identity, task),
        }
    }

    /// A claim on the errand of this identity, if one is under way that is not given up.
    fn join(
        &mut self,
        id: ConnectionId,
        identity: &Identity,
        mut still_waits: impl FnMut(ConnectionId, ErrandId) -> bool,
    ) -> Option<Ticket> {
        let errand = *self.by_identity.get(identity)?;
        let Errand { claims, waiting, .. } = self.under_way.get_mut(&errand)?;
        // Only this thread makes claims and drops them, so one that is there now stays until it says otherwise.
        let ticket = claims.upgrade().map(Ticket)?;
        if waiting.len() >= 2 * claims.strong_count() + STALE_MAX {
            waiting.retain(|&id| still_waits(id, errand));
        }
        waiting.push(id);
        Some(ticket)
    }

    fn begin(
        &mut self,
        id: ConnectionId,
        client: Option<IpAddr>,
        identity: Identity,
        task: Task,
    ) -> Result<Ticket, Task> {
        let errand = self.next;
        let claim = Arc::new(errand);
        self.helpers.submit(&claim, client, task, &self.inbox)?;
        self.next = ErrandId(errand.0.wrapping_add(1));
        let identity = Rc::new(identity);
        // Takes the place of one that was given up.
        self.by_identity.insert(Rc::clone(&identity), errand);
        let claims = Arc::downgrade(&claim);
        self.under_way.insert(errand, Errand { identity, claims, waiting: vec![id] });
        Ok(Ticket(claim))
    }

    /// The next errand that is done.
    pub fn pop(&mut self) -> Option<Done> {
        let (errand, outcome) = self.inbox.pop()?;
        let Some(Errand { identity, waiting, .. }) = self.under_way.remove(&errand) else {
            return Some(Done { errand, outcome, waiting: Vec::new() });
        };
        if self.by_identity.get(&identity) == Some(&errand) {
            self.by_identity.remove(&identity);
        }
        Some(Done { errand, outcome, waiting })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::settings::Symlinks;
    use crate::site::opening::{Opened, Opener, Opening, Wanted};
    use crate::site::resolve::Root;
    use crate::slab::Slab;
    use crate::threads::FirstStep;

    /// A tree, errands without a helper, and two connections.
    struct Desk {
        directory: tempfile::TempDir,
        release: Arc<Release>,
        helpers: Arc<Helpers>,
        errands: Errands,
        ids: Vec<ConnectionId>,
        _poll: mio::Poll,
    }

    impl Desk {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("a"), "a").unwrap();
            let release = Release::first(Root::open(directory.path(), Symlinks::Inside).unwrap());
            let poll = mio::Poll::new().unwrap();
            let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
            let helpers = Helpers::start(0, &FirstStep::default()).unwrap();
            let errands = Errands::new(Arc::clone(&helpers), Inbox::new(waker));
            let mut slab = Slab::with_limit(100);
            let ids = (0..100).map(|_| slab.insert(()).unwrap()).collect();
            Self { directory, release, helpers, errands, ids, _poll: poll }
        }

        fn open(&self, path: &str, release: &Arc<Release>) -> Task {
            let opener = Opener::new(Arc::clone(release), Arc::default());
            let (key, path) = (format!("/{path}").into_bytes().into(), path.as_bytes().to_vec());
            Task::Open(Box::new(Opening { key, path, wanted: Wanted::File, unix_s: 0, opener }))
        }

        fn submit(&mut self, connection: usize, path: &str) -> Ticket {
            let task = self.open(path, &Arc::clone(&self.release));
            self.errands.submit(self.ids[connection], None, task, |_, _| true).unwrap()
        }

        fn wait(&mut self) -> Done {
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                if let Some(done) = self.errands.pop() {
                    return done;
                }
                assert!(Instant::now() < deadline, "no outcome");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn is_file(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Opened(_, Ok(Opened::Files(_))))
    }

    #[test]
    fn what_several_want_is_done_once_for_all_of_them() {
        let mut desk = Desk::new();
        let (first, second) = (desk.submit(0, "a"), desk.submit(1, "a"));
        let other = desk.submit(2, "b");
        assert_eq!(desk.errands.under_way.len(), 2);
        // The first gives up, which is nothing to the second.
        drop(first);
        desk.helpers.start_one();
        let done = desk.wait();
        assert!(second.is_for(done.errand) && !other.is_for(done.errand));
        assert_eq!(done.waiting, desk.ids[..2]);
        assert!(is_file(&done.outcome), "{:?}", done.outcome);
        assert!(other.is_for(desk.wait().errand));
        // What is done is done anew for who comes later.
        let third = desk.submit(0, "a");
        assert!(!third.is_for(done.errand));
        assert!(third.is_for(desk.wait().errand));
        assert!(desk.errands.under_way.is_empty() && desk.errands.by_identity.is_empty());
    }

    #[test]
    fn what_was_given_up_is_not_joined() {
        let mut desk = Desk::new();
        drop(desk.submit(0, "a"));
        let second = desk.submit(1, "a");
        desk.helpers.start_one();
        assert!(matches!(desk.wait(), Done { outcome: Outcome::Cancelled, .. }));
        // Whose outcome that was does not matter to those who can be joined.
        let third = desk.submit(2, "a");
        let done = desk.wait();
        assert!(second.is_for(done.errand) && is_file(&done.outcome));
        assert!(third.is_for(done.errand) || is_file(&desk.wait().outcome));
    }

    #[test]
    fn another_release_is_another_errand() {
        let mut desk = Desk::new();
        let old = desk.submit(0, "a");
        let release = Release::first(Root::open(desk.directory.path(), Symlinks::Inside).unwrap());
        let task = desk.open("a", &release);
        let new = desk.errands.submit(desk.ids[1], None, task, |_, _| true).unwrap();
        desk.helpers.start_one();
        let (one, other) = (desk.wait(), desk.wait());
        assert!(old.is_for(one.errand) && new.is_for(other.errand));
        assert_eq!((one.waiting, other.waiting), (vec![desk.ids[0]], vec![desk.ids[1]]));
    }

    #[test]
    fn who_comes_and_goes_is_forgotten_while_another_waits() {
        let mut desk = Desk::new();
        let patient = desk.submit(0, "a");
        let waits = desk.ids[0];
        for _ in 0..50 {
            for connection in 1..100 {
                let task = desk.open("a", &Arc::clone(&desk.release));
                let id = desk.ids[connection];
                drop(desk.errands.submit(id, None, task, |id, _| id == waits).unwrap());
            }
        }
        desk.helpers.start_one();
        let done = desk.wait();
        assert!(patient.is_for(done.errand) && done.waiting[0] == waits);
        assert!(done.waiting.len() <= STALE_MAX + 5, "{} names", done.waiting.len());
    }
}
