//! `Accept`: lines with an LF between them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oneloop_fuzz::invariants;

fuzz_target!(|input: &[u8]| invariants::content::accept(input));
