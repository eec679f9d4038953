//! The life of connections on a worker, as it is written down: see the letters of the simulation.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use oneloop_fuzz::simulation::directed;
use oneloop_fuzz::simulation::places::Places;

static PLACES: LazyLock<Places> = LazyLock::new(Places::new);

fuzz_target!(|text: &[u8]| directed::play(text, &PLACES));
