//! Short texts. The first byte says what: the value of a field, or lines of it with an LF between them (small letters), or
//! what an operator writes, beside the paths that it meets (capitals).
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use oneloop_fuzz::invariants::{self, client, content, routing};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((what, text)) = input.split_first() else { return Corpus::Reject };
    match what {
        b'a' => content::accept(text),
        b'c' => invariants::conditional(text),
        b'd' => invariants::date(text),
        b'e' => content::coding(text),
        b'f' => client::forwarded(text),
        b'r' => invariants::range(text),
        b'u' => client::authorization(text),
        b'G' => routing::glob(text),
        b'H' => routing::hosts(text),
        b'M' => content::media_type(text),
        b'N' => client::cidr(text),
        b'O' => content::origin(text),
        b'R' => routing::rules(text),
        _ => return Corpus::Reject,
    }
    Corpus::Keep
});
