//! Jobs that take a processor, and long: representations to be made, directories to be listed, passwords to be
//! verified. Who may do one when, so that files are opened meanwhile, and which is the next.
//!
//! No kind ever has more than half of the helpers, so that none holds up another, and all kinds together leave one
//! helper to the rest. Within a kind, clients take turns, and what one client wants of several things does, too:
//! whoever asks for much waits for it behind those who ask for little. What tells them apart are digests, so two of
//! them may happen to share their turns.

use std::hash::{BuildHasher as _, Hash};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicUsize as Hint;

use crossbeam_queue::SegQueue;
use foldhash::fast::RandomState;

use crate::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

/// How many lots clients are divided into, and what each wants.
const CLIENTS: usize = 16;
const THINGS: usize = 8;
/// Jobs for which a queue has room that has ever held one: a block of `SegQueue`.
const BLOCK_JOBS: usize = 31;
/// Jobs for which there is room in all queues together, though none waits.
pub(super) const EMPTY_JOBS: usize = KINDS.len() * CLIENTS * THINGS * BLOCK_JOBS;
/// Bits of [`Long::busy`] for each kind. There are no more helpers than that holds.
const BUSY_BITS: u32 = 8;

/// What kind of job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Make,
    List,
    Verify,
}

pub(super) const KINDS: [Kind; 3] = [Kind::Make, Kind::List, Kind::Verify];

/// The network of a client: whoever has an IPv6 address has as many as 64 bits count.
pub(crate) fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// Things that take turns.
#[derive(Debug)]
struct Ring<T> {
    things: Box<[T]>,
    /// Whose turn it is. Only a hint: two helpers at once may see the same, so models leave it as it is.
    next: Hint,
}

impl<T> Ring<T> {
    fn new(count: usize, thing: impl FnMut(usize) -> T) -> Self {
        Self { things: (0..count).map(thing).collect(), next: Hint::new(0) }
    }

    fn at(&self, number: u64) -> Option<&T> {
        let count = u64::try_from(self.things.len()).ok()?;
        self.things.get(usize::try_from(number.checked_rem(count)?).ok()?)
    }

    /// What the next gives that has anything to give.
    fn take<R>(&self, take: impl Fn(&T) -> Option<R>) -> Option<R> {
        let (before, after) = self.things.split_at_checked(self.next.load(Ordering::Relaxed))?;
        let in_turn = after.iter().zip(before.len()..).chain(before.iter().zip(0..));
        in_turn.into_iter().find_map(|(thing, at)| {
            let taken = take(thing)?;
            self.next.store((at + 1) % self.things.len(), Ordering::Relaxed);
            Some(taken)
        })
    }
}

/// The jobs of one kind.
#[derive(Debug)]
struct Waiting<J> {
    jobs: Ring<Ring<SegQueue<J>>>,
    count: AtomicUsize,
}

/// All long jobs that wait.
#[derive(Debug)]
pub(super) struct Long<J> {
    waiting: [Waiting<J>; KINDS.len()],
    waiting_max: usize,
    /// How many helpers do one, by kind.
    busy: AtomicU32,
    /// How many may, of one kind and of all.
    busy_max: [u32; 2],
    /// Seeded at random, so that nobody outside can choose whom to share turns with.
    lots: RandomState,
}

impl<J> Long<J> {
    /// None yet, for so many helpers; at most `waiting_max` of each kind are to wait.
    pub(super) fn new(helpers: usize, waiting_max: usize) -> Self {
        let helpers = u32::try_from(helpers).unwrap_or(u32::MAX).min((1 << BUSY_BITS) - 1);
        let waiting = |_| Waiting {
            jobs: Ring::new(CLIENTS, |_| Ring::new(THINGS, |_| SegQueue::new())),
            count: AtomicUsize::new(0),
        };
        Self {
            waiting: KINDS.map(waiting),
            waiting_max,
            busy: AtomicU32::new(0),
            busy_max: [(helpers / 2).max(1), helpers.saturating_sub(1).max(1)],
            lots: RandomState::default(),
        }
    }

    fn of(&self, kind: Kind) -> &Waiting<J> {
        let [make, list, verify] = &self.waiting;
        match kind {
            Kind::Make => make,
            Kind::List => list,
            Kind::Verify => verify,
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.count.load(Ordering::SeqCst)).sum()
    }

    /// Queues a job of a client's about a thing.
    ///
    /// # Errors
    /// The job, when there is no room.
    pub(super) fn push(&self, kind: Kind, client: Option<IpAddr>, thing: impl Hash, job: J) -> Result<(), J> {
        let waiting = self.of(kind);
        let more = |count: usize| (count < self.waiting_max).then_some(count + 1);
        if waiting.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_err() {
            return Err(job);
        }
        let things = waiting.jobs.at(self.lots.hash_one(client.map(network)));
        match things.and_then(|things| things.at(self.lots.hash_one(thing))) {
            Some(queue) => queue.push(job),
            None => return Err(job),
        }
        Ok(())
    }

    /// The next job of a kind, if there is one, and a helper more that may do it: who then says when it is
    /// [done](Self::end).
    ///
    /// Who finds none, as another was quicker or the job is not quite there, has counted as a helper that does one for a
    /// moment. Then it has to `wake` another one at once if any may begin: somebody may have been turned away for it and
    /// sleep by now, and this helper may go on to something else that takes long.
    pub(super) fn begin(&self, kind: Kind, wake: impl FnOnce()) -> Option<J> {
        let waiting = self.of(kind);
        let more = |busy: u32| self.may_begin(busy, kind).then_some(busy + one(kind));
        if waiting.count.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        let job = waiting.jobs.take(|things| things.take(SegQueue::pop));
        match job {
            Some(_) => _ = waiting.count.fetch_sub(1, Ordering::SeqCst),
            None => {
                self.end(kind);
                if self.has_next() {
                    wake();
                }
            }
        }
        job
    }

    /// Whether there is a job, and a helper more that may do it.
    fn has_next(&self) -> bool {
        let busy = self.busy.load(Ordering::SeqCst);
        KINDS.iter().any(|&kind| self.of(kind).count.load(Ordering::SeqCst) > 0 && self.may_begin(busy, kind))
    }

    fn may_begin(&self, busy: u32, kind: Kind) -> bool {
        let [of_one, of_all] = self.busy_max;
        let all: u32 = KINDS.iter().map(|&kind| count(busy, kind)).sum();
        count(busy, kind) < of_one && all < of_all
    }

    /// A job of that kind is done. Whether others wait, for which somebody may have been turned away meanwhile.
    pub(super) fn end(&self, kind: Kind) -> bool {
        self.busy.fetch_sub(one(kind), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.len() > 0
    }
}

/// One helper of a kind, in [`Long::busy`].
const fn one(kind: Kind) -> u32 {
    1 << (BUSY_BITS * kind as u32)
}

const fn count(busy: u32, kind: Kind) -> u32 {
    busy >> (BUSY_BITS * kind as u32) & ((1 << BUSY_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Jobs of each kind, of which no more may begin.
    fn begun(long: &Long<u32>) -> [usize; 3] {
        KINDS.map(|kind| std::iter::from_fn(|| long.begin(kind, || {})).count())
    }

    #[test]
    fn no_kind_has_more_than_half_of_the_helpers_and_one_is_left_for_the_rest() {
        for (helpers, half, all) in [(1, 1, 1), (2, 1, 1), (3, 1, 2), (4, 2, 3), (8, 4, 7), (64, 32, 63)] {
            let long = Long::new(helpers, 100);
            for kind in KINDS {
                for job in 0..100 {
                    long.push(kind, None, job, job).unwrap();
                }
            }
            let begun = begun(&long);
            assert_eq!((begun[0], begun.iter().sum::<usize>()), (half, all), "{helpers}");
            assert!(long.end(Kind::Make), "others wait");
            assert_eq!(
                KINDS.map(|kind| long.begin(kind, || {}).is_some()),
                [true, false, false],
                "{helpers}"
            );
        }
    }

    #[test]
    fn clients_take_turns_and_so_do_the_things_that_one_of_them_wants() {
        let long = Long::new(2, 1_000);
        let client = |last: u32| Some(IpAddr::from(last.to_be_bytes()));
        // Two clients, and two things, that do not happen to share their turns.
        let lot = |client: Option<IpAddr>| long.lots.hash_one(client.map(network)) % 16;
        let other = (2..).find(|&last| lot(client(last)) != lot(client(1))).unwrap();
        let small = (1..).find(|&thing| (long.lots.hash_one(thing) ^ long.lots.hash_one(0)) % 8 != 0);
        for job in 0..20 {
            long.push(Kind::List, client(1), 0, job).unwrap();
        }
        long.push(Kind::List, client(1), small.unwrap(), 100).unwrap();
        long.push(Kind::List, client(other), 0, 200).unwrap();
        let next = || {
            let job = long.begin(Kind::List, || {}).unwrap();
            long.end(Kind::List);
            job
        };
        let first: Vec<u32> = (0..4).map(|_| next()).collect();
        assert!(first.contains(&100) && first.contains(&200), "{first:?}");
        let rest: Vec<u32> = (4..22).map(|_| next()).collect();
        assert!(rest.is_sorted() && rest.last() == Some(&19), "{rest:?}");
        assert_eq!((long.begin(Kind::List, || {}), long.len()), (None, 0));
    }

    #[test]
    fn only_so_many_of_a_kind_wait() {
        let long = Long::new(2, 3);
        for job in 0..3 {
            long.push(Kind::Verify, None, job, job).unwrap();
        }
        assert_eq!(long.push(Kind::Verify, None, 0, 7), Err(7));
        assert_eq!(long.push(Kind::List, None, 0, 8), Ok(()));
        assert!(long.begin(Kind::Verify, || {}).is_some());
        assert_eq!(long.push(Kind::Verify, None, 0, 7), Ok(()));
    }

    #[test]
    fn who_stood_in_the_way_for_nothing_wakes_another_at_once() {
        let long: Long<u32> = Long::new(4, 10);
        let wakes = std::cell::Cell::new(0);
        let begin = |kind| long.begin(kind, || wakes.set(wakes.get() + 1));
        assert_eq!((begin(Kind::Make), wakes.get()), (None, 0), "nobody waits for anything");
        // One that is counted and not quite there.
        long.of(Kind::Make).count.fetch_add(1, Ordering::SeqCst);
        assert_eq!((begin(Kind::Make), wakes.get()), (None, 1));
        assert_eq!((begin(Kind::List), wakes.get()), (None, 1), "stood in nobody's way");
        assert_eq!(long.busy.load(Ordering::SeqCst), 0);
        long.of(Kind::Make).jobs.at(0).unwrap().at(0).unwrap().push(7);
        assert_eq!((begin(Kind::Make), wakes.get()), (Some(7), 1));
    }

    #[test]
    fn whoever_has_a_network_of_ipv6_is_one_client() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
    }
}
