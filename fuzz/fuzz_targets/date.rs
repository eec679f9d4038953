//! Dates: a value to read, of which the first eight bytes are also a time to write.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oneloop_fuzz::invariants;

fuzz_target!(|input: &[u8]| invariants::date(input));
