//! Seeded simulation of a connection: the real machine over a made-up socket and a clock that is set by hand.
//!
//! Each seed is one connection's life: a script of requests, sliced at random; a socket that fills up at random;
//! events in any order, spurious ones among them; and in most lives one fault. Whatever happens, what the client
//! has read must be the right responses in the right order, cut off at worst, and the connection must end for the
//! right reason. A seed that fails prints itself; `ONELOOP_SEED=n` plays that one alone.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::missing_panics_doc,
    reason = "a panic is how a test fails, and numbers here are small"
)]

pub mod simulation {
    pub mod client;
    pub mod directed;
    pub mod displacing;
    pub mod fault;
    pub mod letters;
    pub mod places;
    pub mod rated;
    pub mod verdict;
    pub mod versions;
    pub mod wire;
    pub mod world;
}

use std::num::NonZeroU64;

use oneloop_worker::Rates;
use oneloop_worker::close::CloseReason;
use simulation::directed;
use simulation::fault::Fault;
use simulation::places::Places;
use simulation::rated::Rated;
use simulation::wire::Random;
use simulation::world::World;

/// Lives to play. CI plays all of them.
const SEEDS: u64 = 6_000;
/// Written lives to play that nobody has thought of.
const NONSENSE: usize = 3_000;

#[test]
fn every_seeded_life_ends_as_it_should() {
    let places = Places::new();
    let only = std::env::var("ONELOOP_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let seeds = only.map_or(0..SEEDS, |seed| seed..seed + 1);
    let mut seen = [0_u64; Fault::ALL.len()];
    for seed in seeds {
        let life = std::panic::catch_unwind(|| {
            let mut world = World::new(seed, &places);
            let reason = world.play();
            world.judge(reason);
            world.fault
        });
        match life {
            Ok(fault) => seen[fault as usize] += 1,
            Err(_) => panic!("seed {seed} failed; ONELOOP_SEED={seed} plays it again"),
        }
    }
    if only.is_none() {
        assert!(seen.iter().all(|&lives| lives > SEEDS / 20), "some fault was hardly played: {seen:?}");
    }
}

#[test]
fn a_seed_always_plays_the_same_life() {
    let places = Places::new();
    let life = |seed| {
        let mut world = World::new(seed, &places);
        let reason: CloseReason = world.play();
        (reason, world.steps, world.wire.borrow().outbound.len())
    };
    for seed in 0..50 {
        assert_eq!(life(seed), life(seed), "seed {seed}");
    }
}

/// What a fuzzer begins with, and what it has found since, is played again; and so is nonsense. `ONELOOP_LIFE=file` plays
/// that one alone.
#[test]
fn lives_that_are_written_down_break_no_promise() {
    let places = Places::new();
    let play = |text: &[u8]| {
        let played = std::panic::catch_unwind(|| directed::play(text, &places));
        assert!(played.is_ok(), "that was {}", text.escape_ascii());
    };
    if let Ok(path) = std::env::var("ONELOOP_LIFE") {
        return play(&std::fs::read(path).unwrap());
    }
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/connection");
    let mut seeds_played = 0;
    for entry in std::fs::read_dir(seeds).unwrap() {
        play(&std::fs::read(entry.unwrap().path()).unwrap());
        seeds_played += 1;
    }
    assert!(seeds_played > 0, "there are seeds");
    let mut random = Random::new(9);
    for _ in 0..NONSENSE {
        let length = random.below(200);
        let letters = b"mpvfeRiGckldzuwtDhHTWXns";
        let text: Vec<u8> = (0..length)
            .map(|_| {
                if random.chance(3) { random.below(256) as u8 } else { letters[random.below(letters.len())] }
            })
            .collect();
        play(&text);
    }
}

fn demanding(places: &Places, least: u64) -> Rated {
    Rated::new(places, Rates { most: None, least: NonZeroU64::new(least) })
}

#[test]
fn all_that_a_client_gives_counts_however_it_comes_together() {
    let places = Places::new();
    let head = b"POST /index.html HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999\r\n\r\n";
    // As much as a turn reads, which does not see the end of it then, and more; and less.
    for burst in [256 << 10, 512 << 10, 10 << 20, 100_000] {
        let mut giving = demanding(&places, 50_000);
        assert_eq!(giving.send(head, 0), None);
        for seconds in 0..2_000 {
            assert_eq!(giving.send(&vec![b'x'; burst], 1_000), None, "{burst} a second, after {seconds} s");
        }
        let slow = (0..2_000).find_map(|_| giving.send(&vec![b'x'; 49_000], 1_000));
        assert_eq!(slow, Some(CloseReason::TooSlow), "{burst}");
    }
}

#[test]
fn each_request_has_a_window_of_its_own() {
    let places = Places::new();
    let request = b"GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n";
    // In pieces that end in the midst of a request, less than is demanded.
    let (first, rest) = request.split_at(10);
    let mut giving = demanding(&places, 1_000);
    assert_eq!(giving.send(first, 0), None);
    for seconds in 0..2_000 {
        assert_eq!(giving.send(&[rest, first].concat(), 1_000), None, "after {seconds} s");
    }
    let slow = (0..2_000).find_map(|_| giving.send(b"x", 1_000));
    assert_eq!(slow, Some(CloseReason::TooSlow));
}

#[test]
fn an_event_that_comes_when_more_may_be_sent_begins_the_next_wait() {
    let places = Places::new();
    let mut paced = Rated::new(&places, Rates { most: NonZeroU64::new(10_000), least: None });
    assert_eq!(paced.send(b"GET /victim HTTP/1.1\r\nHost: x\r\n\r\n", 0), None);
    for _ in 0..10 {
        let (left_ms, sent) = (paced.left_ms(), paced.wire.borrow().outbound.len());
        assert!(left_ms >= 125, "{left_ms}");
        assert_eq!(paced.send(b"", left_ms - 1), None);
        assert_eq!(paced.wire.borrow().outbound.len(), sent, "an event before");
        assert_eq!(paced.send(b"", 1), None);
        assert!(paced.wire.borrow().outbound.len() > sent);
    }
}
