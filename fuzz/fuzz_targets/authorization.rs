//! The value of `Authorization`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oneloop_fuzz::invariants;

fuzz_target!(|input: &[u8]| invariants::client::authorization(input));
