//! The value of a field, or lines of it with an LF between them. The first byte says of which.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use oneloop_fuzz::invariants::{self, client, content};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((field, value)) = input.split_first() else { return Corpus::Reject };
    match field {
        b'a' => content::accept(value),
        b'c' => invariants::conditional(value),
        b'd' => invariants::date(value),
        b'e' => content::coding(value),
        b'f' => client::forwarded(value),
        b'r' => invariants::range(value),
        b'u' => client::authorization(value),
        _ => return Corpus::Reject,
    }
    Corpus::Keep
});
