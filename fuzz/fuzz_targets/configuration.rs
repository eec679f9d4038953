//! What an operator writes, beside the paths that it meets. The first byte says what.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use oneloop_fuzz::invariants::{client, content, routing};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((what, text)) = input.split_first() else { return Corpus::Reject };
    match what {
        b'g' => routing::glob(text),
        b'h' => routing::hosts(text),
        b'm' => content::media_type(text),
        b'n' => client::cidr(text),
        b'o' => content::origin(text),
        b'r' => routing::rules(text),
        _ => return Corpus::Reject,
    }
    Corpus::Keep
});
