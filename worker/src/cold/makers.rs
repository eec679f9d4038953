//! Jobs that take a processor, and long: a queue of their own, and a bound on how many are done at a time.

use crossbeam_queue::ArrayQueue;

use crate::atomic::{AtomicUsize, Ordering, fence};

/// The queue of jobs, and who does them.
pub(super) struct Makers<J> {
    queue: ArrayQueue<J>,
    busy: AtomicUsize,
    busy_max: usize,
}

impl<J> Makers<J> {
    /// No job yet; at most `busy_max` are done at a time.
    pub(super) fn new(jobs_max: usize, busy_max: usize) -> Self {
        Self { queue: ArrayQueue::new(jobs_max), busy: AtomicUsize::new(0), busy_max }
    }

    /// Jobs that nobody does yet.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Queues a job: a helper is to be woken.
    ///
    /// # Errors
    /// The job, when there is no room.
    pub(super) fn push(&self, job: J) -> Result<(), J> {
        self.queue.push(job)
    }

    /// Does a job, if there is one and one more may be done. Whether it was, and whether a helper is to be woken for
    /// another: one that was turned away meanwhile has used up its wake for nothing.
    pub(super) fn make_one(&self, work: impl FnOnce(J)) -> (bool, bool) {
        let more = |busy: usize| (busy < self.busy_max).then_some(busy + 1);
        if self.queue.is_empty() || self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_err()
        {
            return (false, false);
        }
        let is_done = self.queue.pop().map(work).is_some();
        self.busy.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        (is_done, !self.queue.is_empty())
    }
}
