//! How much memory everything that a site has made may take together, as long as anybody holds it: the cache, which
//! keeps to its own bound, and clients that take their time over what the cache has given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that may still be taken.
#[derive(Debug)]
pub struct Allowance {
    free_bytes: AtomicU64,
}

/// Bytes that were taken. They go back when it is dropped.
#[derive(Debug)]
pub struct Share {
    allowance: Arc<Allowance>,
    bytes: u64,
}

impl Allowance {
    /// An allowance of which nothing is taken.
    #[must_use]
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { free_bytes: AtomicU64::new(bytes) })
    }

    /// What is not taken at the moment.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Takes that many bytes, if there are as many.
    #[must_use]
    pub fn take(self: &Arc<Self>, bytes: u64) -> Option<Share> {
        let mut share = Share { allowance: Arc::clone(self), bytes: 0 };
        share.grow(bytes).then_some(share)
    }
}

impl Share {
    /// Takes that many bytes more, if there are as many; whether there were.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let less = |free: u64| free.checked_sub(bytes);
        let has_taken =
            self.allowance.free_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        if has_taken {
            self.bytes += bytes;
        }
        has_taken
    }

    /// How many bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.allowance.free_bytes.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_when_it_is_dropped() {
        let allowance = Allowance::new(10);
        let mut share = allowance.take(5).unwrap();
        assert!(allowance.take(6).is_none());
        assert!(!share.grow(6) && share.grow(2));
        assert!(allowance.take(4).is_none());
        assert_eq!((share.bytes(), allowance.free_bytes()), (7, 3));
        drop(share);
        assert_eq!(allowance.free_bytes(), 10);
    }
}
