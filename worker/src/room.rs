//! Room for connections: the one limit on live ones, kept by all who accept.
//!
//! Whoever accepts takes a place first, and whoever closes gives it back, so that together they never hold more
//! than allowed. It is one number that threads change in single steps; nobody ever waits for it.

use crate::atomic::{AtomicU64, Ordering};

/// Places for connections. On cache lines of its own, because every thread writes it.
#[derive(Debug)]
#[repr(align(128))]
pub struct Room {
    free: AtomicU64,
    connections_max: u64,
}

impl Room {
    /// Room for `connections_max` connections of all workers together.
    #[must_use]
    pub fn new(connections_max: u64) -> Self {
        Self { free: AtomicU64::new(connections_max), connections_max }
    }

    /// How many places there are, taken or not.
    #[must_use]
    pub const fn connections_max(&self) -> u64 {
        self.connections_max
    }

    /// Takes a place for a connection that is to be accepted. False: there is none.
    #[must_use = "without a place, nothing may be accepted"]
    pub fn take(&self) -> bool {
        let less = |free: u64| free.checked_sub(1);
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Gives places back: of connections that were closed, or never came.
    pub fn give_back(&self, places: u64) {
        // Without the look, every turn of every worker would take the cache line away from the others.
        if places > 0 {
            self.free.fetch_add(places, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_were_given_back() {
        let room = Room::new(2);
        assert_eq!([room.take(), room.take(), room.take()], [true, true, false]);
        room.give_back(0);
        assert!(!room.take());
        room.give_back(1);
        assert_eq!([room.take(), room.take()], [true, false]);
        assert_eq!(room.connections_max(), 2);
    }

    #[test]
    fn threads_together_never_take_more_than_there_is() {
        const ROUNDS: usize = 20_000;
        let room = Room::new(3);
        let inside = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        if room.take() {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            room.give_back(1);
                        }
                    }
                });
            }
        });
        assert_eq!([(); 4].map(|()| room.take()), [true, true, true, false]);
    }
}
