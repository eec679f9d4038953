//! Seeded lives of a worker whose files change: the real site and the real connections over made-up sockets and a clock
//! that is set by hand, and a real tree in which files are written, replaced, removed, linked and released, with helpers
//! that come late.
//!
//! Beside it stands a model of the tree with its history. Each response must be the right one for one state in which the
//! tree was between the request, less the time for which an entry is believed, and the answer: status, validators,
//! coding, length and every byte of one version of one file. A life that fails prints what happened in it;
//! `ONELOOP_SEED=n` plays that one alone, `ONELOOP_LIVES=n` so many.
//!
//! No two versions have the same stamp here: the kernel's time does not pass as fast as the simulated one. What happens
//! within one tick is for `tests/black_box/changing_files.rs`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::missing_panics_doc,
    missing_debug_implementations,
    reason = "a panic is how a test fails, and numbers here are small"
)]

pub mod changing_tree {
    pub mod client;
    pub mod expected;
    pub mod grounds;
    pub mod ledger;
    pub mod life;
    pub mod past;
    pub mod response;
    pub mod states;
    pub mod surroundings;
    pub mod tree;
    #[path = "../simulation/wire.rs"]
    pub mod wire;
}

use std::rc::Rc;

use changing_tree::expected;
use changing_tree::life::{Life, STEPS, Story, Tally};

/// Lives to play.
const LIVES: u64 = 60;

#[test]
fn every_answer_was_right_when_it_may_be_from() {
    let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let only = number("ONELOOP_SEED");
    let lives = number("ONELOOP_LIVES").unwrap_or(LIVES);
    let seeds = only.map_or(0..lives, |seed| seed..seed + 1);
    let mut tally = Tally::default();
    for seed in seeds {
        let story = Story::default();
        let told = Rc::clone(&story);
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Life::new(seed, &told).live()));
        expected::forget();
        match lived {
            Ok(lived) => lived.iter().for_each(|(what, count)| *tally.entry(what).or_default() += count),
            Err(_) => {
                let story = story.borrow().join("\n");
                panic!("{story}\nseed {seed} failed; ONELOOP_SEED={seed} plays it again");
            }
        }
    }
    println!("{tally:?}");
    if only.is_none() {
        assert_eq!(tally["steps"] as u64, lives * STEPS as u64);
    }
}
