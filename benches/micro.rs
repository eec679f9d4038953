//! Micro benchmarks in nanoseconds: `cargo bench -p oneloop-benches`; see `instructions/README.md`.
//!
//! The allocations of each are counted too. On the way of a request there are none.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark is run, not called, and a panic is how it fails"
)]

use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::BytesMut;
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use oneloop_benches::operation::{self, ALL};
use protocol::coding::{Coding, CodingSet};
use protocol::http1::state::Persistence;
use protocol::{Method, Status, Version, date, target};
use rustix::process::{Rlimit, getrlimit, setrlimit};
use worker::clock::Clock;
use worker::respond::{self, Asker};
use worker::site::cache::{Cache, Hit};
use worker::site::heads::{Description, Origin, Role};
use worker::site::opening::OpenedFiles;
use worker::site::representation::Representation;
use worker::site::resolve::Patience;
use worker::site::resource::Resource;
use worker::site::{Answer, Extras};
use worker::slab::{ConnectionId, Slab};
use worker::wheel::Wheel;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// The time it is.
const NOW_S: i64 = 1_800_000_000;
/// Deadlines of an idle connection lie this far ahead.
const KEEP_ALIVE_MS: u64 = 15_000;
/// Bytes of a connection in the worker's slab, about.
const CONNECTION_BYTES: usize = 240;

fn main() {
    // Thousands of files are held open.
    let limit = getrlimit(rustix::process::Resource::Nofile);
    setrlimit(rustix::process::Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .unwrap();
    divan::main();
}

/// The operations of which instructions are counted as well.
#[divan::bench(args = ALL.map(|operation| operation.name), sample_size = 200)]
fn operations(bencher: Bencher<'_, '_>, name: &str) {
    let mut run = (operation::find(name).unwrap().make)();
    bencher.bench_local(&mut run);
}

#[divan::bench(sample_size = 1_000)]
fn date_format() -> [u8; date::LENGTH] {
    date::format(black_box(NOW_S))
}

#[divan::bench(args = ["/", "/index.html", "/assets/app-3f9c1b7e.js", "/a%20b/%C3%A4.html", "/a/../b/./c.html"])]
fn decode_path(bencher: Bencher<'_, '_>, path: &str) {
    let mut out = Vec::with_capacity(64);
    bencher.bench_local(|| target::decode_path(black_box(path.as_bytes()), &mut out));
}

/// Files of a kilobyte each, asked for in an order that no cache of the processor's foresees.
#[divan::bench(args = [1, 1_000, 4_096], sample_size = 1_000)]
fn cache_hit(bencher: Bencher<'_, '_>, entries: usize) {
    let mut cache = Cache::new(entries, 32 << 20, 1_000);
    let keys: Vec<String> = (0..entries).map(|entry| format!("/assets/image-{entry}.webp")).collect();
    for key in &keys {
        cache.insert(key.as_bytes(), resource(), 0);
    }
    let mut order = scattered(entries);
    bencher.bench_local(|| {
        let hit = order.next().and_then(|entry| cache.get(keys[entry].as_bytes(), 0));
        assert!(matches!(black_box(hit), Some(Hit::Fresh(_))));
    });
}

/// A connection comes and goes while others stay.
#[divan::bench(args = [1, 1_000, 100_000], sample_size = 1_000)]
fn slab_insert_remove(bencher: Bencher<'_, '_>, others: usize) {
    let mut slab = Slab::with_limit(others + 1);
    for _ in 0..others {
        assert!(slab.insert([0_u8; CONNECTION_BYTES]).is_ok());
    }
    bencher.bench_local(|| {
        let id = slab.insert(black_box([0; CONNECTION_BYTES])).unwrap();
        slab.remove(id)
    });
}

#[divan::bench(args = [1, 1_000, 100_000], sample_size = 1_000)]
fn slab_get(bencher: Bencher<'_, '_>, connections: usize) {
    let mut slab = Slab::with_limit(connections);
    let ids: Vec<ConnectionId> =
        (0..connections).map(|_| slab.insert([0_u8; CONNECTION_BYTES]).unwrap()).collect();
    let mut order = scattered(connections);
    bencher.bench_local(|| {
        let connection = order.next().and_then(|index| slab.get_mut(ids[index]));
        black_box(connection.map(|connection| connection[0]))
    });
}

/// The wheel of so many connections: the allocated bytes are what it costs in memory.
#[divan::bench(args = [1_000, 1_000_000], sample_count = 20, sample_size = 1)]
fn wheel_fill(bencher: Bencher<'_, '_>, connections: u32) {
    bencher.counter(ItemsCount::new(connections)).bench_local(|| filled(connections));
}

/// A request on one of the connections: its deadline moves later.
#[divan::bench(args = [1_000, 1_000_000], sample_size = 1_000)]
fn wheel_rearm(bencher: Bencher<'_, '_>, connections: u32) {
    let mut wheel = filled(connections);
    let mut order = scattered(connections as usize);
    bencher.bench_local(|| {
        if let Some(index) = order.next().and_then(|index| u32::try_from(index).ok()) {
            wheel.arm(index, 2 * KEEP_ALIVE_MS);
        }
    });
}

/// All connections expire.
#[divan::bench(args = [1_000, 1_000_000], sample_count = 20, sample_size = 1)]
fn wheel_expire(bencher: Bencher<'_, '_>, connections: u32) {
    bencher.counter(ItemsCount::new(connections)).with_inputs(|| filled(connections)).bench_local_refs(
        |wheel| {
            while let Some(index) = wheel.pop_expired(2 * KEEP_ALIVE_MS) {
                black_box(index);
            }
        },
    );
}

#[divan::bench(args = ["whole", "head", "not modified", "not found", "redirect"])]
fn respond_put(bencher: Bencher<'_, '_>, which: &str) {
    let answer = match which {
        "whole" | "head" => Answer::Whole(representation()),
        "not modified" => Answer::NotModified(representation()),
        "not found" => Answer::Refusal(Status::NotFound),
        _ => Answer::Redirect(Status::MovedPermanently),
    };
    let method = if which == "head" { Method::Head } else { Method::Get };
    let asker = Asker { method, version: Version::Http11, persistence: Persistence::Persistent };
    let clock = Clock::fixed(0, NOW_S);
    let extras = Extras { location: b"/directory/".to_vec(), ..Extras::default() };
    let mut out = BytesMut::with_capacity(64 << 10);
    bencher.bench_local(|| {
        out.clear();
        respond::put(&mut out, black_box(&answer), &extras, asker, &clock)
    });
}

fn resource() -> Rc<Resource> {
    let representations = vec![Rc::into_inner(representation()).unwrap()];
    Rc::new(Resource::new(OpenedFiles { representations, possible: CodingSet::EMPTY, recipe: None }))
}

/// A file of a kilobyte, held in memory.
fn representation() -> Rc<Representation> {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 10).unwrap();
    let file = OwnedFd::from(file);
    let stat = rustix::fs::fstat(&file).unwrap();
    let description = Description {
        name: b"image.webp",
        coding: Coding::Identity,
        role: Role::Content,
        varies: false,
        fields: b"",
        origin: Origin::Found,
        unix_s: NOW_S,
    };
    Rc::new(Representation::new(file, &stat, &description, true, Patience::MayWait).unwrap())
}

/// As many deadlines as connections, spread over a quarter of a second as those of a busy server are.
fn filled(connections: u32) -> Wheel {
    let mut wheel = Wheel::new(0, connections as usize);
    for index in 0..connections {
        wheel.arm(index, KEEP_ALIVE_MS + u64::from(index % 250));
    }
    wheel
}

/// All numbers below `end`, over and over, far apart from one to the next.
fn scattered(end: usize) -> impl Iterator<Item = usize> {
    /// A prime, so that it divides no `end` in use.
    const STRIDE: usize = 7_919;
    (0..end).map(move |step| step * STRIDE % end).cycle()
}
