//! Digests of content, which make entity tags that are the same on every replica, whatever the times of its files.
//!
//! A digest takes reading the whole file, so it is found by a helper, once, and remembered here for all of them and
//! all loops, as far as there is room.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::stamp::Stamp;

/// Versions of files that can be remembered at once, at 24 bytes each. A power of two.
const SLOTS: usize = 1 << 16;
/// Bytes read at once.
const PIECE_BYTES: usize = 128 << 10;

/// What entity tags are made of.
#[derive(Clone, Debug, Default)]
pub enum TagPolicy {
    /// Modification time and size.
    #[default]
    Modification,
    /// The content.
    Content(Arc<Digests>),
    /// There are none.
    Off,
}

/// The digest of content: the first half of its SHA-256.
#[must_use]
pub fn of(content: &[u8]) -> u128 {
    first_half(Sha256::digest(content).as_slice())
}

/// The digest of the first `size` bytes of a file, or of fewer if it ends before: no more is ever served, and files of
/// pseudo file systems need have no end. `each` is told how many bytes were read each time. May wait.
///
/// # Errors
/// What pread(2) fails with.
pub fn of_file(file: impl AsFd, size: u64, mut each: impl FnMut(usize)) -> Result<u128, Errno> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut offset = 0;
    while offset < size {
        let left = usize::try_from(size - offset).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        match rustix::io::pread(&file, piece.get_mut(..left).unwrap_or_default(), offset) {
            Ok(0) => break,
            Ok(bytes) => {
                hasher.update(piece.get(..bytes).unwrap_or_default());
                offset += bytes as u64;
                each(bytes);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(first_half(hasher.finalize().as_slice()))
}

fn first_half(digest: &[u8]) -> u128 {
    digest.iter().take(16).fold(0, |half, &byte| half << 8 | u128::from(byte))
}

/// Digests by versions of files, as many as there is room for. Any thread may ask and add, and none ever waits.
pub struct Digests {
    /// Seeded at random, so that nobody outside can choose versions that meet.
    seed: RandomState,
    /// Each version has one place, and the last that came there is in it.
    slots: Box<[Slot]>,
}

/// A digest, and the hash of its version combined with it. Who meets two writers at once finds words that do not
/// belong together: what they come to is the hash of no version, or of one in 2⁶⁴.
#[derive(Default)]
struct Slot {
    check: AtomicU64,
    high: AtomicU64,
    low: AtomicU64,
}

impl std::fmt::Debug for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digests").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

impl Default for Digests {
    fn default() -> Self {
        Self { seed: RandomState::new(), slots: (0..SLOTS).map(|_| Slot::default()).collect() }
    }
}

impl Digests {
    /// The digest of that version, if it is remembered.
    #[must_use]
    pub fn get(&self, version: Stamp) -> Option<u128> {
        let (hash, slot) = self.place(version)?;
        let [check, high, low] =
            [&slot.check, &slot.high, &slot.low].map(|word| word.load(Ordering::Relaxed));
        (check ^ high ^ low == hash).then_some(u128::from(high) << 64 | u128::from(low))
    }

    /// Remembers the digest of a version. It must be sure that no other content will ever have that stamp.
    pub fn put(&self, version: Stamp, digest: u128) {
        let Some((hash, slot)) = self.place(version) else { return };
        let [high, low] =
            [64, 0].map(|shift| u64::try_from(digest >> shift & u128::from(u64::MAX)).unwrap_or(0));
        slot.check.store(hash ^ high ^ low, Ordering::Relaxed);
        slot.high.store(high, Ordering::Relaxed);
        slot.low.store(low, Ordering::Relaxed);
    }

    fn place(&self, version: Stamp) -> Option<(u64, &Slot)> {
        let hash = self.seed.hash_one(version);
        let at = usize::try_from(hash % SLOTS as u64).ok()?;
        self.slots.get(at).map(|slot| (hash, slot))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn stamp(content: &[u8]) -> (std::fs::File, Stamp) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let stamp = Stamp::of(&rustix::fs::fstat(&file).unwrap());
        (file, stamp)
    }

    #[test]
    fn a_digest_is_half_of_a_sha_256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(of(b"abc"), 0xba78_16bf_8f01_cfea_4141_40de_5dae_2223);
        assert_eq!(of(b""), 0xe3b0_c442_98fc_1c14_9afb_f4c8_996f_b924);
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 5] {
            let content: Vec<u8> = (0..=250).cycle().take(length).collect();
            let mut read_bytes = 0;
            let (file, stamp) = stamp(&content);
            let digest = of_file(&file, stamp.size(), |bytes| read_bytes += bytes).unwrap();
            assert_eq!((digest, read_bytes), (of(&content), length));
            assert_eq!(of_file(&file, stamp.size() / 2, drop).unwrap(), of(&content[..length / 2]));
            assert_eq!(of_file(&file, stamp.size() + 1, drop).unwrap(), of(&content));
        }
    }

    #[test]
    fn each_version_has_its_own_digest() {
        let digests = Digests::default();
        let versions: Vec<_> = (1..100_u8).map(|length| stamp(&vec![7; usize::from(length)]).1).collect();
        for (number, &version) in versions.iter().enumerate() {
            assert_eq!(digests.get(version), None);
            digests.put(version, u128::MAX - number as u128);
        }
        let known = versions.iter().enumerate().filter(|&(number, &version)| {
            let digest = digests.get(version);
            assert!(digest.is_none_or(|digest| digest == u128::MAX - number as u128));
            digest.is_some()
        });
        assert!(known.count() > 90, "some may share a place");
    }
}
