//! When the thread of the access log has to be woken, and when it may sleep.

use crate::atomic::{AtomicU8, Ordering, fence};

/// The thread is at work, or will look again by itself before long.
const HALF_FULL: u8 = 0;
/// The thread sleeps until there is a line.
const ANY_LINE: u8 = 1;
/// The destination takes nothing at the moment: a wake would not help.
const NEVER: u8 = 2;

/// When a producer is to wake the thread: one of the three above.
#[derive(Debug, Default)]
pub(super) struct Rest(AtomicU8);

impl Rest {
    /// Whether the producer of what was written just now has to wake the thread.
    ///
    /// Against the fence in [`Rest::sleep`]: either that thread sees what was written, or we see that it sleeps.
    pub(super) fn is_to_be_woken(&self, is_half_full: impl FnOnce() -> bool) -> bool {
        fence(Ordering::SeqCst);
        match self.0.load(Ordering::Relaxed) {
            ANY_LINE => true,
            HALF_FULL => is_half_full(),
            _ => false,
        }
    }

    /// Parks the thread unless something was written.
    pub(super) fn sleep(&self, is_empty: impl FnOnce() -> bool, park: impl FnOnce()) {
        self.0.store(ANY_LINE, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if is_empty() {
            park();
        }
        self.0.store(HALF_FULL, Ordering::Relaxed);
    }

    /// Waits for something else, in which no producer can help.
    pub(super) fn undisturbed(&self, wait: impl FnOnce()) {
        self.0.store(NEVER, Ordering::Relaxed);
        wait();
        self.0.store(HALF_FULL, Ordering::Relaxed);
    }
}
