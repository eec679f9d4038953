//! What a connection behind a proxy begins with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oneloop_fuzz::invariants;

fuzz_target!(|input: &[u8]| invariants::client::proxy_protocol(input));
