//! Input that looks like the real thing.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Sequences of the given words, in which any byte may stand as well. A bar separates the words.
pub fn text_of(words: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<_> = words.split('|').map(|word| word.as_bytes().to_vec()).collect();
    vec(prop_oneof![20 => select(words), 1 => vec(any::<u8>(), 1)], 0..20).prop_map(|words| words.concat())
}
