//! A request head, against a naive reading of the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oneloop_fuzz::invariants;

fuzz_target!(|input: &[u8]| invariants::machine::head(input));
