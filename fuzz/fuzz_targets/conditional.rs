//! Preconditions: lines of which the first byte chooses the field.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oneloop_fuzz::invariants;

fuzz_target!(|input: &[u8]| invariants::conditional(input));
