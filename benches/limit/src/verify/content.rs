//! What is in the files: noise that follows from the file, the version and the offset, so that every byte of an answer
//! can be told to be right or of somewhere else, and nothing has to be kept. And the dice that the clients throw.

/// Compared at a time.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;
const WORD_BYTES: usize = 8;

/// SplitMix64: neighbours in, nothing alike out.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The endless content of which one version of one file is the beginning.
#[derive(Clone, Copy)]
pub(crate) struct Content {
    seed: u64,
}

impl Content {
    pub(crate) fn of(file: usize, version: usize) -> Self {
        Self { seed: mixed(((file as u64) << 32) + version as u64 + 1) }
    }

    /// The bytes from `offset` on.
    pub(crate) fn fill(self, offset: u64, bytes: &mut [u8]) {
        let skip = (offset % WORD_BYTES as u64) as usize;
        let first = offset / WORD_BYTES as u64;
        let mut word = self.word(first);
        let (head, rest) = bytes.split_at_mut((WORD_BYTES - skip).min(bytes.len()));
        head.copy_from_slice(&word[skip..skip + head.len()]);
        for (number, chunk) in (first + 1..).zip(rest.chunks_mut(WORD_BYTES)) {
            word = self.word(number);
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    fn word(self, number: u64) -> [u8; WORD_BYTES] {
        mixed(self.seed ^ number).to_le_bytes()
    }
}

/// Chance that repeats.
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: mixed(seed + 1) }
    }

    /// Less than `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(1);
        mixed(self.state) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_the_same_however_it_is_cut() {
        let content = Content::of(3, 4);
        let mut whole = [0; 100];
        content.fill(0, &mut whole);
        for first in 0..100 {
            for last in first..100 {
                let mut part = vec![0; last - first];
                content.fill(first as u64, &mut part);
                assert_eq!(part, whole[first..last], "{first} to {last}");
            }
        }
    }

    #[test]
    fn no_file_version_or_offset_has_the_bytes_of_another() {
        let start = |file, version, offset| {
            let mut bytes = [0; 16];
            Content::of(file, version).fill(offset, &mut bytes);
            bytes
        };
        let starts = [start(0, 0, 0), start(0, 1, 0), start(1, 0, 0), start(0, 0, 1), start(0, 0, 16)];
        for (at, one) in starts.iter().enumerate() {
            assert!(!starts[at + 1..].contains(one), "{at}");
        }
    }
}
