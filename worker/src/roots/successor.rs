//! Where a worker finds the releases that it is to serve from now on: a place for one, and a flag.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::atomic::{AtomicBool, Ordering};
use crate::site::release::Release;

/// Where a worker finds the releases that it is to serve from now on.
#[derive(Debug)]
pub struct Successor {
    /// For each tree room for one: of several that were not taken yet, only the last matters.
    next: Box<[ArrayQueue<Arc<Release>>]>,
    /// Whether there may be one, so that looking for it costs the same for any number of trees.
    has_next: AtomicBool,
    pub(super) waker: Arc<mio::Waker>,
}

impl Successor {
    /// None yet, for the worker of `trees` trees that `waker` wakes.
    #[must_use]
    pub fn new(trees: usize, waker: Arc<mio::Waker>) -> Arc<Self> {
        let next = (0..trees).map(|_| ArrayQueue::new(1)).collect();
        Arc::new(Self { next, has_next: AtomicBool::new(false), waker })
    }

    /// The next release to change over to, and the number of its tree. One load if there is none.
    pub fn take(&self) -> Option<(usize, Arc<Release>)> {
        // Lowered before anything is looked for: what is given later raises it again.
        if !self.has_next.load(Ordering::Relaxed) || !self.has_next.swap(false, Ordering::Acquire) {
            return None;
        }
        let taken = self.next.iter().enumerate().find_map(|(number, next)| Some((number, next.pop()?)));
        if taken.is_some() {
            // There may be more.
            self.has_next.store(true, Ordering::Release);
        }
        taken
    }

    /// Lets the worker change over to a release of a tree; of several, to the last.
    pub fn give(&self, number: usize, release: &Arc<Release>) {
        if let Some(next) = self.next.get(number) {
            drop(next.force_push(Arc::clone(release)));
        }
        self.has_next.store(true, Ordering::Release);
        // A worker that has ended needs no wake.
        let _ = self.waker.wake();
    }
}
