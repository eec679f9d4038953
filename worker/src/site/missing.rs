//! Paths that lately named nothing. Asking the kernel again for each request of a missing icon costs more than
//! all the rest of the answer.
//!
//! A table of fixed size: each path has one place, and whoever comes last has it. So it needs no memory as it
//! runs, and a client that asks for many missing paths only ever displaces missing paths.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// Places in the table.
const SLOTS: usize = 256;
/// Longer paths are not remembered.
const PATH_BYTES_MAX: usize = 118;

#[derive(Clone, Debug)]
struct Slot {
    /// When the path was seen to name nothing; `u64::MAX` if there is none.
    checked_ms: u64,
    path_bytes: u8,
    path: [u8; PATH_BYTES_MAX],
}

/// Missing paths, each believed for as long as an entry of the cache is.
#[derive(Debug)]
pub struct Missing {
    slots: Vec<Slot>,
    hasher: RandomState,
    check_interval_ms: u64,
}

impl Missing {
    /// A table of none.
    #[must_use]
    pub fn new(check_interval_ms: u64) -> Self {
        let empty = Slot { checked_ms: u64::MAX, path_bytes: 0, path: [0; PATH_BYTES_MAX] };
        Self { slots: vec![empty; SLOTS], hasher: RandomState::default(), check_interval_ms }
    }

    /// Whether the path was seen to name nothing, within the check interval.
    #[must_use]
    #[inline]
    pub fn has(&self, path: &[u8], now_ms: u64) -> bool {
        self.slots.get(self.place(path)).is_some_and(|slot| {
            slot.path.get(..usize::from(slot.path_bytes)) == Some(path)
                && now_ms.checked_sub(slot.checked_ms).is_some_and(|age_ms| age_ms < self.check_interval_ms)
        })
    }

    /// Notes that the path names nothing.
    pub fn insert(&mut self, path: &[u8], now_ms: u64) {
        let place = self.place(path);
        let Some(slot) = self.slots.get_mut(place) else { return };
        let (Some(kept), Ok(path_bytes)) = (slot.path.get_mut(..path.len()), u8::try_from(path.len())) else {
            return;
        };
        kept.copy_from_slice(path);
        slot.path_bytes = path_bytes;
        slot.checked_ms = now_ms;
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        for slot in &mut self.slots {
            slot.checked_ms = u64::MAX;
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the lowest bits count")]
    fn place(&self, path: &[u8]) -> usize {
        self.hasher.hash_one(path) as usize % SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_path_is_believed_for_the_check_interval() {
        let mut missing = Missing::new(1_000);
        assert!(!missing.has(b"/x", 500));
        missing.insert(b"/x", 500);
        assert!(missing.has(b"/x", 500) && missing.has(b"/x", 1_499));
        assert!(!missing.has(b"/x", 1_500));
        assert!(!missing.has(b"/y", 500) && !missing.has(b"", 500));
        missing.clear();
        assert!(!missing.has(b"/x", 501));
    }

    #[test]
    fn long_paths_and_many_paths_do_no_harm() {
        let mut missing = Missing::new(1_000);
        let long = vec![b'a'; PATH_BYTES_MAX + 1];
        missing.insert(&long, 0);
        assert!(!missing.has(&long, 0));
        for number in 0..10_000_u32 {
            missing.insert(&number.to_ne_bytes(), 0);
            assert!(missing.has(&number.to_ne_bytes(), 0));
        }
        let kept = (0..10_000_u32).filter(|number| missing.has(&number.to_ne_bytes(), 0)).count();
        assert!(kept <= SLOTS);
    }

    #[test]
    fn without_an_interval_nothing_is_believed() {
        let mut missing = Missing::new(0);
        missing.insert(b"/x", 5);
        assert!(!missing.has(b"/x", 5));
    }
}
