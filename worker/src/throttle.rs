//! Errors that may befall every request for a while, as those of a broken disk do: logged once a second at most, by
//! whatever threads meet them, without a lock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// Between two lines about the same thing.
const INTERVAL_MS: u64 = 1_000;

/// Files that are served, and cannot be read or sent.
pub static FILES: Throttle = Throttle::new();
/// Connections that cannot be registered.
pub static CONNECTIONS: Throttle = Throttle::new();

/// Lets one of many equal errors through and counts the others.
#[derive(Debug)]
pub struct Throttle {
    /// When the next may pass, in milliseconds of `CLOCK_MONOTONIC`.
    due_ms: AtomicU64,
    /// Those that were held back since the last one passed.
    left_out: AtomicU64,
}

impl Throttle {
    /// Lets the first one through.
    pub(crate) const fn new() -> Self {
        Self { due_ms: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// Logs an error with the number of those that were left out before it, or leaves it out.
    pub fn error(&self, error: &dyn fmt::Display, what: &str) {
        if let Some(left_out) = self.pass_now() {
            tracing::error!(%error, left_out, "{what}");
        }
    }

    /// How many were held back since the last one that passed, if another may pass now.
    pub fn pass_now(&self) -> Option<u64> {
        let now = clock_gettime(ClockId::MonotonicCoarse);
        self.pass(now.tv_sec.unsigned_abs() * 1_000 + now.tv_nsec.unsigned_abs() / 1_000_000)
    }

    fn pass(&self, now_ms: u64) -> Option<u64> {
        let due_ms = self.due_ms.load(Ordering::Relaxed);
        let is_due = now_ms >= due_ms
            // Of several threads at once, one.
            && self
                .due_ms
                .compare_exchange(due_ms, now_ms + INTERVAL_MS, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !is_due {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        is_due.then(|| self.left_out.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_passes_and_the_others_are_counted() {
        let throttle = Throttle::new();
        let table = [
            (5_000, Some(0)),
            (5_000, None),
            (5_999, None),
            (6_000, Some(2)),
            (6_001, None),
            (9_000, Some(1)),
            (20_000, Some(0)),
        ];
        for (now_ms, passed) in table {
            assert_eq!(throttle.pass(now_ms), passed, "{now_ms}");
        }
    }

    #[test]
    fn of_many_threads_one_passes() {
        let throttle = Throttle::new();
        let passed = || (0..1_000).filter(|_| throttle.pass(5_000).is_some()).count();
        let all: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(passed)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((all, throttle.pass(6_000)), (1, Some(3_999)));
    }
}
