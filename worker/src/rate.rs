//! How many requests each client may make: a token bucket for each, over all workers.
//!
//! Owns a table of fixed size and knows no request. A bucket is one number, the time at which it will be full again
//! (the generic cell rate algorithm, ITU-T I.371): a request moves it by the time in which one token grows. A bucket
//! that is full says nothing that no bucket would not say, so its place in the table is free; where all places that a
//! client may have are in use, the one that is full soonest is given up, and whose it was begins anew.
//!
//! Threads change single words and nobody waits. A place changes hands in two steps. So while clients take places from
//! each other, a request may be counted to the wrong one of the two, and a client may get a second place and begin
//! anew, as if its first had been given up: it has one burst more at worst. Who keeps its place is counted exactly.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::address_table::ClientKey;

/// Places that a client may have, two cache lines of them.
const PLACES: usize = 8;
const SETS: usize = 8_192;
/// Clients whose buckets are known at a time.
pub const CLIENTS_MAX: usize = SETS * PLACES;
/// What the buckets take.
pub const BUCKETS_BYTES: usize = SETS * size_of::<Set>();
/// How often a thread tries to get a place before it shares one.
const TRIES: usize = 4;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// Tokens that grow in a time, and how many there are at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in each period, not 0.
    pub requests: u32,
    /// The period, in seconds, not 0.
    pub period_s: u32,
    /// Requests that may come at once, not 0.
    pub burst: u32,
}

#[derive(Debug, Default)]
struct Bucket {
    /// Whose it is; 0 is nobody's.
    client: AtomicU64,
    /// When it is full, in nanoseconds of the monotonic clock.
    full_ns: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Set([Bucket; PLACES]);

/// The buckets of all clients.
#[derive(Debug)]
pub struct Rates {
    /// In which one token grows.
    token_ns: u64,
    /// In which an empty bucket fills.
    full_after_ns: u64,
    /// Seeded at random, so that nobody outside can choose addresses that meet in one set.
    hasher: RandomState,
    sets: Box<[Set]>,
}

/// There is no token: a request may be made again after so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// At least 1.
    pub retry_after_s: u64,
}

impl Rates {
    /// Buckets that are all full.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let token_ns = (u64::from(rate.period_s) * NS_PER_S / u64::from(rate.requests)).max(1);
        Self {
            token_ns,
            full_after_ns: token_ns * u64::from(rate.burst),
            hasher: RandomState::new(),
            sets: (0..SETS).map(|_| Set::default()).collect(),
        }
    }

    /// Takes a token of a client, by the clock of a worker, whose milliseconds are the same for all of them.
    ///
    /// # Errors
    /// When there is none, with how long one takes. To have asked costs nothing.
    pub fn take(&self, address: IpAddr, now_ms: u64) -> Result<(), TooMany> {
        let now_ns = now_ms * NS_PER_MS;
        let bucket = self.bucket(address.into(), now_ns);
        let most_ns = now_ns + self.full_after_ns;
        let taken =
            |full_ns: u64| Some(full_ns.max(now_ns) + self.token_ns).filter(|&full_ns| full_ns <= most_ns);
        match bucket.full_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken) {
            Ok(_) => Ok(()),
            Err(full_ns) => {
                let wait_ns = (full_ns + self.token_ns).saturating_sub(most_ns);
                Err(TooMany { retry_after_s: wait_ns.div_ceil(NS_PER_S).max(1) })
            }
        }
    }

    /// The bucket of a client: its own, or one that it takes over.
    fn bucket(&self, client: ClientKey, now_ns: u64) -> &Bucket {
        let key = client.get().get();
        let index = self.hasher.hash_one(client) % SETS as u64;
        let Set(buckets) = &self.sets[usize::try_from(index).unwrap_or(0)];
        let own = || buckets.iter().find(|bucket| bucket.client.load(Ordering::Acquire) == key);
        let [mut last, ..] = buckets.each_ref();
        for _ in 0..TRIES {
            if let Some(bucket) = own() {
                return bucket;
            }
            let Some((full_ns, owner, bucket)) = soonest_full(buckets) else { break };
            last = bucket;
            // What another has spent is not owed by this one. Who spends more meanwhile has the place still, or again.
            let is_free = full_ns <= now_ns
                || bucket.full_ns.compare_exchange(full_ns, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            // Whoever reads the new owner reads that nothing is owed, too.
            if is_free
                && bucket.client.compare_exchange(owner, key, Ordering::Release, Ordering::Relaxed).is_ok()
            {
                return bucket;
            }
        }
        last
    }
}

/// The bucket that is full soonest, with when and whose it is; of several, one that is nobody's.
fn soonest_full(buckets: &[Bucket; PLACES]) -> Option<(u64, u64, &Bucket)> {
    let seen =
        |bucket: &Bucket| (bucket.full_ns.load(Ordering::Relaxed), bucket.client.load(Ordering::Relaxed));
    let all = buckets.iter().map(|bucket| (seen(bucket), bucket));
    all.min_by_key(|(seen, _)| *seen).map(|((full_ns, owner), bucket)| (full_ns, owner, bucket))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START_MS: u64 = 1_000_000;

    fn rate(requests: u32, period_s: u32, burst: u32) -> Rates {
        Rates::new(Rate { requests, period_s, burst })
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    /// How many of `asked` requests at one time pass.
    fn passed(rates: &Rates, client: u32, now_ms: u64, asked: usize) -> usize {
        (0..asked).filter(|_| rates.take(address(client), now_ms).is_ok()).count()
    }

    #[test]
    fn a_set_is_two_cache_lines() {
        assert_eq!(size_of::<Set>(), 128);
    }

    #[test]
    fn a_burst_passes_and_then_as_many_as_grow() {
        let rates = rate(10, 1, 5);
        let table =
            [(0, 5), (0, 0), (99, 0), (100, 1), (100, 0), (399, 2), (400, 1), (1_000, 5), (100_000, 5)];
        for (after_ms, count) in table {
            assert_eq!(passed(&rates, 1, START_MS + after_ms, 9), count, "{after_ms}");
        }
    }

    #[test]
    fn each_client_has_its_own_and_addresses_of_a_network_share() {
        let rates = rate(1, 60, 2);
        assert_eq!([1, 2, 3].map(|client| passed(&rates, client, START_MS, 5)), [2, 2, 2]);
        let network = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"];
        let passes = network.map(|text| rates.take(text.parse().unwrap(), START_MS).is_ok());
        assert_eq!(passes, [true, true, false, true]);
    }

    #[test]
    fn who_is_refused_is_told_when_a_token_has_grown_and_it_has() {
        for (rates, wait_s) in
            [(rate(1, 60, 1), 60), (rate(2, 60, 3), 30), (rate(1, 1, 1), 1), (rate(1_000, 1, 1), 1)]
        {
            while rates.take(address(1), START_MS).is_ok() {}
            assert_eq!(rates.take(address(1), START_MS), Err(TooMany { retry_after_s: wait_s }));
            assert_eq!(rates.take(address(1), START_MS + wait_s * 1_000), Ok(()));
        }
        let rates = rate(1, 60, 1);
        assert_eq!(rates.take(address(1), START_MS), Ok(()));
        assert_eq!(rates.take(address(1), START_MS + 59_500), Err(TooMany { retry_after_s: 1 }));
        assert_eq!(rates.take(address(1), START_MS + 500), Err(TooMany { retry_after_s: 60 }));
    }

    #[test]
    fn the_highest_rates_and_bursts_do_not_overflow() {
        let rates = rate(1_000_000, 1, 1_000_000);
        assert_eq!(passed(&rates, 1, START_MS, 1_000_001), 1_000_000);
        let slow = rate(1, 60, 1_000_000);
        assert_eq!(passed(&slow, 1, START_MS, 1_000_001), 1_000_000);
    }

    /// The clients that share a set with client 0, which is among them.
    fn neighbours(rates: &Rates, count: usize) -> Vec<u32> {
        let set = |number: u32| rates.hasher.hash_one(ClientKey::from(address(number))) % SETS as u64;
        (0..).filter(|&number| set(number) == set(0)).take(count).collect()
    }

    #[test]
    fn without_a_place_the_bucket_that_is_full_soonest_is_given_up() {
        let rates = rate(1, 1, 10);
        let clients = neighbours(&rates, PLACES + 2);
        // Those that come later have spent more.
        for (spent, &client) in clients[..PLACES].iter().enumerate() {
            assert_eq!(passed(&rates, client, START_MS, spent + 1), spent + 1);
        }
        assert_eq!(passed(&rates, clients[PLACES], START_MS, 11), 10, "it owes nothing");
        // The first was forgotten, and takes over from the second; the last is still known.
        assert_eq!(passed(&rates, clients[0], START_MS, 11), 10);
        assert_eq!(passed(&rates, clients[PLACES - 1], START_MS, 11), 10 - PLACES);
        // Full ones are nobody's.
        let later_ms = START_MS + 60_000;
        for &client in &clients {
            assert_eq!(passed(&rates, client, later_ms, 11), 10);
        }
    }

    proptest! {
        /// Against a bucket that counts tokens.
        #[test]
        fn it_behaves_like_a_bucket_of_tokens(
            tokens_per_s in prop_oneof![Just(1_u32), Just(2), Just(4), Just(10), Just(100)],
            burst in 1_u32..20,
            steps in prop::collection::vec((0_u64..3_000, 1_usize..8), 1..100),
        ) {
            let rates = rate(tokens_per_s, 1, burst);
            let (mut now_ms, mut millitokens) = (START_MS, u64::from(burst) * 1_000);
            for (pause_ms, asked) in steps {
                now_ms += pause_ms;
                millitokens = (millitokens + pause_ms * u64::from(tokens_per_s)).min(u64::from(burst) * 1_000);
                let expected = asked.min((millitokens / 1_000) as usize);
                prop_assert_eq!(passed(&rates, 7, now_ms, asked), expected);
                millitokens -= expected as u64 * 1_000;
            }
        }
    }

    #[test]
    fn threads_together_get_one_burst_a_client() {
        const BURST: u32 = 5_000;
        const CLIENTS: u32 = 3;
        let rates = rate(1, 60, BURST);
        let passed = || {
            let each = |client| passed(&rates, client, START_MS, BURST as usize);
            (0..CLIENTS).map(each).collect::<Vec<_>>()
        };
        let all: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(passed)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for client in 0..CLIENTS as usize {
            assert_eq!(all.iter().map(|thread| thread[client]).sum::<usize>(), BURST as usize);
        }
    }

    /// More clients than there are places, from many threads: nobody gets less than it is due, but for what others spend
    /// at the moment at which they lose their place to it.
    #[test]
    fn threads_that_take_each_others_places_refuse_nobody() {
        const ASKED: u32 = 40;
        let rates = rate(1, 1, 5 * ASKED);
        let clients = neighbours(&rates, 4 * PLACES);
        let refused = &|share: &[u32]| {
            let asked = (0..ASKED).flat_map(|_| share);
            asked.filter(|&&client| rates.take(address(client), START_MS).is_err()).count()
        };
        let refused: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                clients.chunks(PLACES).map(|share| scope.spawn(move || refused(share))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(refused, 0);
    }
}
