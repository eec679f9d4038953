//! Which worker gets a connection: strictly the next one that can take it.
//!
//! Nothing is allocated or looked up for a connection, and nothing that a worker writes is read, but for the index
//! of its ring.

use worker::handoff::{Accepted, SendError, Sender};

/// The workers that are alive, in the order of their turns.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    workers: Vec<Sender>,
    next: usize,
}

/// Why nobody took a connection.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Every worker's hand-off is full. The connection is handed back.
    Full(Accepted),
    /// No worker is alive.
    NoWorker,
}

impl Dispatcher {
    pub(crate) const fn new(workers: Vec<Sender>) -> Self {
        Self { workers, next: 0 }
    }

    /// Gives the connection to the next worker, passing over those that are full; those that have ended are
    /// struck out. The worker may not notice before [`Dispatcher::wake`].
    pub(crate) fn dispatch(&mut self, mut accepted: Accepted) -> Result<(), Refused> {
        let mut full = 0;
        while full < self.workers.len() {
            let index = self.next;
            let Some(worker) = self.workers.get_mut(index) else {
                self.next = 0;
                continue;
            };
            match worker.send(accepted) {
                Ok(()) => {
                    self.next = index + 1;
                    return Ok(());
                }
                Err(SendError::Full(back)) => {
                    accepted = back;
                    full += 1;
                    self.next = index + 1;
                }
                Err(SendError::Closed(back)) => {
                    accepted = back;
                    self.workers.remove(index);
                }
            }
        }
        Err(if self.workers.is_empty() { Refused::NoWorker } else { Refused::Full(accepted) })
    }

    /// Wakes every worker that got something since the last time, once. A worker that has ended is struck out,
    /// which closes what it did not take.
    pub(crate) fn wake(&mut self) {
        self.workers.retain_mut(|worker| match worker.wake() {
            Ok(()) => true,
            Err(error) => {
                tracing::error!("a worker cannot be woken and gets no more connections: {error}");
                false
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use worker::handoff::{Peer, Receiver, channel};

    use super::*;

    /// A dispatcher over rings of the given capacities, the receivers, and the poll that keeps the wakers alive.
    fn dispatcher(capacities: &[usize]) -> (Dispatcher, VecDeque<Receiver>, mio::Poll) {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let (senders, receivers) =
            capacities.iter().map(|&capacity| channel(capacity, Arc::clone(&waker))).unzip();
        (Dispatcher::new(senders), receivers, poll)
    }

    fn connection(number: u16) -> Accepted {
        let (_, writer) = std::io::pipe().unwrap();
        Accepted { stream: writer.into(), peer: Peer::V4([127, 0, 0, 1].into(), number) }
    }

    fn numbers(receiver: &mut Receiver) -> Vec<u16> {
        std::iter::from_fn(|| receiver.recv())
            .map(|accepted| match accepted.peer {
                Peer::V4(_, number) => number,
                other => panic!("{other}"),
            })
            .collect()
    }

    #[test]
    fn connections_go_strictly_round_robin() {
        let (mut dispatcher, mut receivers, _poll) = dispatcher(&[8, 8, 8]);
        for number in 0..9 {
            dispatcher.dispatch(connection(number)).unwrap();
        }
        let taken: Vec<_> = receivers.iter_mut().map(numbers).collect();
        assert_eq!(taken, [[0, 3, 6], [1, 4, 7], [2, 5, 8]]);
    }

    #[test]
    fn a_full_worker_is_passed_over() {
        let (mut dispatcher, mut receivers, _poll) = dispatcher(&[1, 8]);
        for number in 0..4 {
            dispatcher.dispatch(connection(number)).unwrap();
        }
        let taken: Vec<_> = receivers.iter_mut().map(numbers).collect();
        assert_eq!(taken, [vec![0], vec![1, 2, 3]]);
    }

    #[test]
    fn a_connection_that_nobody_can_take_is_handed_back() {
        let (mut dispatcher, mut receivers, _poll) = dispatcher(&[1, 1]);
        dispatcher.dispatch(connection(0)).unwrap();
        dispatcher.dispatch(connection(1)).unwrap();
        let Err(Refused::Full(back)) = dispatcher.dispatch(connection(2)) else { panic!("should be full") };
        assert_eq!(numbers(&mut receivers[1]), [1]);
        dispatcher.dispatch(back).unwrap();
        assert_eq!(numbers(&mut receivers[1]), [2]);
    }

    #[test]
    fn a_dead_worker_is_struck_out_and_the_last_death_noticed() {
        let (mut dispatcher, mut receivers, _poll) = dispatcher(&[8, 8, 8]);
        for number in 0..3 {
            dispatcher.dispatch(connection(number)).unwrap();
        }
        drop(receivers.remove(1));
        for number in 3..9 {
            dispatcher.dispatch(connection(number)).unwrap();
        }
        let taken: Vec<_> = receivers.iter_mut().map(numbers).collect();
        assert_eq!(taken, [[0, 3, 5, 7], [2, 4, 6, 8]]);
        receivers.clear();
        assert!(matches!(dispatcher.dispatch(connection(9)), Err(Refused::NoWorker)));
    }

    #[test]
    fn a_worker_that_dies_with_connections_in_its_ring_is_struck_out_at_the_wake() {
        let (mut dispatcher, mut receivers, _poll) = dispatcher(&[8, 8]);
        dispatcher.dispatch(connection(0)).unwrap();
        drop(receivers.pop_front());
        dispatcher.wake();
        assert_eq!(dispatcher.workers.len(), 1);
        dispatcher.dispatch(connection(1)).unwrap();
        dispatcher.dispatch(connection(2)).unwrap();
        assert_eq!(numbers(&mut receivers[0]), [1, 2]);
    }
}
