//! How many connections each client has, over all workers, and who has as many as allowed.
//!
//! Owns a table of fixed size, made once at the start, and who counts as one client ([`ClientKey`]). Threads change
//! single words of it and nobody waits. A place is given back when its [`Place`] is dropped: however a connection
//! ends, and be it by the panic of its worker, what it took comes back exactly once.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::throttle::Throttle;

/// Counts of one bucket, which is a cache line.
const SLOTS: usize = 8;
/// Slots for each connection that there may be. With two buckets to choose from, half of the slots are in use at
/// most, so that practically none is missing even if every connection is another client's.
const SLOTS_PER_CONNECTION: u64 = 2;
/// A slot holds a tag in its upper bits and a count in so many lower ones; the limit on connections is far below.
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const FREE: u64 = 0;
/// What a table takes for each connection that there may be, rounded up to a power of two of buckets, beside one bucket.
pub const BYTES_PER_CONNECTION: u64 = 2 * SLOTS_PER_CONNECTION * size_of::<AtomicU64>() as u64;

/// Who counts as one client: an IPv4 address, or the 64 bits of an IPv6 address that name a network, since whoever
/// has one of its addresses has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(NonZeroU64);

impl ClientKey {
    /// As a number, of which no two clients have the same.
    #[must_use]
    pub const fn get(self) -> NonZeroU64 {
        self.0
    }
}

impl From<IpAddr> for ClientKey {
    /// IPv4-mapped addresses (RFC 4291 §2.5.5.2) are those that they stand for. Networks below `0000:0001::/32` and
    /// `0000:0002::/32` are reserved (RFC 4291 §2.4), so those numbers are free for others.
    fn from(address: IpAddr) -> Self {
        const V4: NonZeroU64 = NonZeroU64::new(1 << 32).unwrap();
        const ZERO_NETWORK: NonZeroU64 = NonZeroU64::new(2 << 32).unwrap();
        Self(match address.to_canonical() {
            IpAddr::V4(ip) => V4 | u64::from(ip.to_bits()),
            IpAddr::V6(ip) => {
                let network = u64::try_from(ip.to_bits() >> 64).ok();
                network.and_then(NonZeroU64::new).unwrap_or(ZERO_NETWORK)
            }
        })
    }
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([AtomicU64; SLOTS]);

impl Bucket {
    fn taken(&self) -> usize {
        self.0.iter().filter(|slot| slot.load(Ordering::Relaxed) != FREE).count()
    }
}

/// Connections of clients, counted.
#[derive(Debug)]
pub struct AddressTable {
    connections_max: u32,
    /// Seeded at random, so that nobody outside can choose addresses that meet in one bucket.
    hasher: RandomState,
    /// A power of two of them.
    buckets: Box<[Bucket]>,
    refusals: Throttle,
}

/// The place of one connection among those of its client, given back when it is dropped.
#[derive(Debug, Default)]
#[must_use = "a place that is dropped is given back"]
pub struct Place(Option<&'static AtomicU64>);

/// A client has as many connections as allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverLimit;

impl AddressTable {
    /// A table for `clients_max` clients, each of which may have `connections_max` connections. It lives as long as
    /// the process, so that a place needs no more than a reference.
    #[must_use]
    pub fn leak(clients_max: u64, connections_max: u32) -> &'static Self {
        let buckets = (clients_max * SLOTS_PER_CONNECTION / SLOTS as u64).next_power_of_two();
        Box::leak(Box::new(Self {
            connections_max,
            hasher: RandomState::new(),
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            refusals: Throttle::new(),
        }))
    }

    /// Takes a place for another connection of a client.
    ///
    /// Never do more connections of a client have places than allowed. Within a slot each thread learns how many there
    /// are with its own. Two threads may find no slot of a client at the same time and make two; so each looks for others
    /// after it has counted: all these steps have one order, and whoever counts second sees the first.
    ///
    /// Where no slot is free the connection is not counted: rather that than refuse somebody for others.
    ///
    /// # Errors
    /// When there is none.
    pub fn take(&'static self, client: ClientKey) -> Result<Place, OverLimit> {
        let (tag, buckets) = self.locate(client);
        let connections_max = u64::from(self.connections_max);
        if slots(buckets).map(|slot| count(tag, slot)).sum::<u64>() >= connections_max {
            return Err(OverLimit);
        }
        let Some((slot, own)) = raise(tag, buckets).or_else(|| occupy(tag, buckets)) else {
            return Ok(Place(None));
        };
        let place = Place(Some(slot));
        let others = slots(buckets).filter(|&other| !std::ptr::eq(other, slot));
        if own + others.map(|slot| count(tag, slot)).sum::<u64>() > connections_max {
            return Err(OverLimit);
        }
        Ok(place)
    }

    /// Logs, once a second at most, that a connection was refused.
    pub fn note_refusal(&self, address: IpAddr) {
        if let Some(left_out) = self.refusals.pass_now() {
            let limit = self.connections_max;
            tracing::warn!(
                %address,
                left_out,
                "a connection was refused: its address has {limit}, as many as --max-conns-per-ip allows"
            );
        }
    }

    /// The tag of a client, and the two buckets in which its count may be.
    fn locate(&'static self, client: ClientKey) -> (u64, [&'static Bucket; 2]) {
        let hash = |number: u8| self.hasher.hash_one((client, number));
        let bucket = |hash: u64| {
            let index = usize::try_from(hash & (self.buckets.len() as u64 - 1)).unwrap_or(0);
            &self.buckets[index]
        };
        let (one, other) = (hash(0), hash(1));
        (one >> COUNT_BITS, [bucket(one), bucket(other)])
    }
}

const fn is_of(word: u64, tag: u64) -> bool {
    word != FREE && word >> COUNT_BITS == tag
}

fn slots(buckets: [&'static Bucket; 2]) -> impl Iterator<Item = &'static AtomicU64> {
    // Both hashes may lead to the same bucket.
    let [one, other] = buckets;
    let other: &[AtomicU64] = if std::ptr::eq(one, other) { &[] } else { &other.0 };
    one.0.iter().chain(other)
}

/// The connections of a client that a slot counts.
fn count(tag: u64, slot: &AtomicU64) -> u64 {
    let word = slot.load(Ordering::SeqCst);
    if is_of(word, tag) { word & COUNT } else { 0 }
}

/// Changes a slot; it and how many it counts then.
fn change(slot: &'static AtomicU64, to: impl FnMut(u64) -> Option<u64>) -> Option<(&'static AtomicU64, u64)> {
    let before = slot.fetch_update(Ordering::SeqCst, Ordering::SeqCst, to).ok()?;
    Some((slot, (before & COUNT) + 1))
}

/// Counts one more where the client has a slot.
fn raise(tag: u64, buckets: [&'static Bucket; 2]) -> Option<(&'static AtomicU64, u64)> {
    let more = |word| is_of(word, tag).then(|| word + 1);
    slots(buckets).find_map(|slot| change(slot, more))
}

/// Makes a slot for the client, in the bucket that has more of them free, and counts one.
fn occupy(tag: u64, [one, other]: [&'static Bucket; 2]) -> Option<(&'static AtomicU64, u64)> {
    let buckets = if other.taken() < one.taken() { [other, one] } else { [one, other] };
    let first = |word| match word {
        FREE => Some(tag << COUNT_BITS | 1),
        // Another thread was quicker.
        word => is_of(word, tag).then(|| word + 1),
    };
    slots(buckets).find_map(|slot| change(slot, first))
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(slot) = self.0 else { return };
        // As long as there is a place the slot is its client's.
        let less = |word: u64| Some(if word & COUNT == 1 { FREE } else { word - 1 });
        let _ = slot.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicU32;

    use proptest::prelude::*;

    use super::*;

    fn key(address: &str) -> ClientKey {
        address.parse::<IpAddr>().unwrap().into()
    }

    fn numbered(number: u32) -> ClientKey {
        IpAddr::V4(number.into()).into()
    }

    /// Whether everything has come back.
    fn is_empty(table: &AddressTable) -> bool {
        table.buckets.iter().all(|bucket| bucket.taken() == 0)
    }

    #[test]
    fn a_client_is_an_address_or_a_network() {
        let same = [
            ("192.0.2.1", "::ffff:192.0.2.1"),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"),
            ("::1", "::2"),
        ];
        for (one, other) in same {
            assert_eq!(key(one), key(other), "{one} {other}");
        }
        let all = ["192.0.2.1", "192.0.2.2", "0.0.0.0", "::1", "2001:db8::1", "2001:db8:0:1::1", "fe80::1"];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| key(one) != key(other)), "{one}");
        }
    }

    #[test]
    fn a_bucket_is_a_cache_line_and_a_place_a_reference() {
        assert_eq!((size_of::<Bucket>(), size_of::<Place>()), (64, 8));
    }

    #[test]
    fn a_client_has_as_many_places_as_allowed_and_gets_back_what_it_gave() {
        let table = AddressTable::leak(10, 2);
        let mut places: Vec<_> = (0..2).map(|_| table.take(key("192.0.2.1")).unwrap()).collect();
        assert_eq!(table.take(key("192.0.2.1")).unwrap_err(), OverLimit);
        let other = table.take(key("192.0.2.2"));
        assert!(other.is_ok());
        places.pop();
        assert!(table.take(key("192.0.2.1")).is_ok(), "and is given back at once");
        places.push(table.take(key("192.0.2.1")).unwrap());
        assert_eq!(table.take(key("192.0.2.1")).unwrap_err(), OverLimit);
        drop((places, other));
        assert!(is_empty(table));
    }

    #[test]
    fn a_panic_gives_back_what_was_taken() {
        let table = AddressTable::leak(10, 2);
        let panicked = std::panic::catch_unwind(|| {
            let _place = table.take(key("192.0.2.1"));
            panic!("with a place");
        });
        assert!(panicked.is_err() && is_empty(table));
    }

    #[test]
    fn as_many_clients_as_there_may_be_connections_are_all_counted() {
        let table = AddressTable::leak(10_000, 1);
        let places: Vec<_> = (0..10_000).map(|number| table.take(numbered(number)).unwrap()).collect();
        let counted = (0..10_000).filter(|&number| table.take(numbered(number)).is_err()).count();
        assert_eq!(counted, 10_000);
        drop(places);
        assert!(is_empty(table));
    }

    #[test]
    fn where_no_slot_is_free_nobody_is_refused() {
        let table = AddressTable::leak(1, 1);
        assert!(24 > table.buckets.len() * SLOTS);
        let places: Vec<_> = (0..24).map(|number| table.take(numbered(number))).collect();
        assert!(places.iter().all(Result::is_ok));
        drop(places);
        assert!(is_empty(table));
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map_of_counts(
            limit in 1_u32..4,
            steps in prop::collection::vec((0_u32..12, any::<bool>()), 1..300),
        ) {
            let table = AddressTable::leak(64, limit);
            let mut model: HashMap<u32, Vec<Place>> = HashMap::new();
            for (number, takes) in steps {
                let held = model.entry(number).or_default();
                if takes {
                    let taken = table.take(numbered(number));
                    prop_assert_eq!(taken.is_ok(), held.len() < limit as usize);
                    held.extend(taken);
                } else {
                    held.pop();
                }
            }
            drop(model);
            prop_assert!(is_empty(table));
        }
    }

    /// Clients come and go in a table so small that their slots are made and freed all the time, side by side.
    #[test]
    fn threads_together_never_take_more_than_allowed_and_give_back_all() {
        const ROUNDS: u32 = 30_000;
        const CLIENTS: u32 = 6;
        const LIMIT: u32 = 3;
        let table = AddressTable::leak(CLIENTS.into(), LIMIT);
        let inside: [AtomicU32; CLIENTS as usize] = Default::default();
        let refused = AtomicU32::new(0);
        let enter = |number: u32| {
            let held = &inside[number as usize];
            let Ok(place) = table.take(numbered(number)) else {
                refused.fetch_add(1, Ordering::Relaxed);
                return None;
            };
            assert!(held.fetch_add(1, Ordering::SeqCst) < LIMIT, "more than allowed");
            Some((place, held))
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    let mut kept = std::collections::VecDeque::new();
                    for round in 0..ROUNDS {
                        // More of one client in turn than it may have, and then those of the next.
                        kept.push_back(enter((round / 5 + thread) % CLIENTS));
                        if kept.len() > 6
                            && let Some((place, held)) = kept.pop_front().flatten()
                        {
                            held.fetch_sub(1, Ordering::SeqCst);
                            drop(place);
                        }
                    }
                    for (_place, held) in kept.into_iter().flatten() {
                        held.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(refused.into_inner() > 0, "nobody ever met the limit: this proved nothing");
        assert!(is_empty(table));
        assert!(table.take(numbered(0)).is_ok());
    }
}
