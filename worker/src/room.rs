//! Room for connections: the one limit on live ones, kept by all who accept.
//!
//! Whoever accepts takes a place first, and whoever closes gives it back, so that together they never hold more
//! than allowed. It is one number that threads change in single steps; nobody ever waits for it. Whoever finds no
//! place asks the workers to make some, each of which then closes a few of its own connections.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use mio::Waker;

use crate::address_table::AddressTable;

/// Places for connections. On cache lines of its own, because every thread writes it.
#[derive(Debug)]
#[repr(align(128))]
pub struct Room {
    free: AtomicU64,
    connections_max: u64,
    /// The places of each client, if those are limited too.
    of_clients: Option<&'static AddressTable>,
    /// One for each worker.
    bells: Box<[Bell]>,
}

/// How a worker is told that room is needed. On a cache line of its own, which the worker reads once a turn.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Bell {
    is_rung: AtomicBool,
    /// Set once, when the worker is started.
    waker: OnceLock<Arc<Waker>>,
}

impl Room {
    /// Room for `connections_max` connections of all workers together.
    #[must_use]
    pub fn new(connections_max: u64) -> Self {
        let free = AtomicU64::new(connections_max);
        Self { free, connections_max, of_clients: None, bells: Box::default() }
    }

    /// The same room with so many workers who can be asked for more, and perhaps a limit for each client.
    #[must_use]
    pub fn shared_by(self, workers: usize, of_clients: Option<&'static AddressTable>) -> Self {
        Self { of_clients, bells: (0..workers).map(|_| Bell::default()).collect(), ..self }
    }

    /// The places of each client, if those are limited too.
    #[must_use]
    pub const fn of_clients(&self) -> Option<&'static AddressTable> {
        self.of_clients
    }

    /// How a worker is woken that is asked to make room.
    pub fn introduce(&self, worker: usize, waker: Arc<Waker>) {
        if let Some(bell) = self.bells.get(worker) {
            // It is set once; a second waker would be no better.
            let _ = bell.waker.set(waker);
        }
    }

    /// Asks every worker to make room. One that was asked and has not looked yet is not woken again.
    pub fn ask(&self) {
        for bell in &self.bells {
            if !bell.is_rung.swap(true, Ordering::AcqRel)
                && let Some(Err(error)) = bell.waker.get().map(|waker| waker.wake())
            {
                tracing::debug!(%error, "a worker cannot be woken to make room");
            }
        }
    }

    /// Whether a worker was asked since it last looked.
    #[must_use]
    pub fn is_asked(&self, worker: usize) -> bool {
        let Some(bell) = self.bells.get(worker) else { return false };
        bell.is_rung.load(Ordering::Relaxed) && bell.is_rung.swap(false, Ordering::AcqRel)
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
    fn each_worker_is_asked_by_itself_and_woken_once() {
        let mut poll = mio::Poll::new().unwrap();
        let mut events = mio::Events::with_capacity(4);
        let room = Room::new(1).shared_by(2, None);
        room.introduce(0, Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap()));
        let mut wakes = || {
            poll.poll(&mut events, Some(std::time::Duration::ZERO)).unwrap();
            events.iter().count()
        };
        assert!(!room.is_asked(0) && !room.is_asked(1) && !room.is_asked(2));
        room.ask();
        assert_eq!(wakes(), 1);
        room.ask();
        assert_eq!(wakes(), 0);
        assert!(room.is_asked(0) && room.is_asked(1) && !room.is_asked(0) && !room.is_asked(1));
        room.ask();
        assert_eq!(wakes(), 1);
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
