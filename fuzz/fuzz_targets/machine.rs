//! The bytes of a whole connection, in one piece and in many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oneloop_fuzz::invariants;

fuzz_target!(|input: &[u8]| invariants::machine::split(input));
