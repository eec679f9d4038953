//! A request head, against a naive reading of the same bytes; and its target, by every method, be the rest of the head
//! right or wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memchr::memmem;
use oneloop_fuzz::invariants::{self, machine};

fuzz_target!(|input: &[u8]| {
    machine::head(input);
    if let Some(start) = memmem::find(input, b" ") {
        let rest = &input[start + 1..];
        let end = memmem::find(rest, b" HTTP/").unwrap_or(rest.len());
        invariants::target(&rest[..end]);
    }
});
