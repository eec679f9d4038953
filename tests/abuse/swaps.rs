//! Names that change what they are while they are asked for: a file inside, links outside, a directory, a pipe, a
//! socket. Nothing from outside ever leaks, nothing hangs, and it is never the server's fault.

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::random::Random;
use super::response::Response;
use super::scale::{report, scaled};
use super::schedule::heavy;
use super::server::Server;
use super::tree::{Tree, pattern};

const SECRET: &[u8] = b"what nobody may see";
const INSIDE: &[u8] = b"inside";
const THREADS: usize = 2;
/// Large enough to be sent from its file.
const FILE_BYTES: usize = 40_000;

/// A tree with what takes turns, in `.pool`, and those outside of it.
fn trees() -> (Tree, Tree, UnixListener) {
    let outside = Tree::new(&[("secret.txt", SECRET), ("deep/inner.txt", SECRET)]);
    let tree = Tree::new(&[
        ("name", &pattern(FILE_BYTES)),
        ("deep/inner.txt", INSIDE),
        (".pool/0/index.html", INSIDE),
        (".pool/6", INSIDE),
    ]);
    tree.link(".pool/1", outside.path("secret.txt"));
    // From `name` and from `.pool/2`, as the link moves: both lead out.
    let up = Path::new("..").join(outside.root().file_name().expect("a name")).join("secret.txt");
    tree.link(".pool/2", up);
    tree.fifo(".pool/3");
    let socket = UnixListener::bind(tree.path(".pool/4")).expect("bind");
    tree.link(".pool/5", "/dev/zero");
    tree.link(".pool/deep", outside.path("deep"));
    (tree, outside, socket)
}

/// Exchanges what is where, until `is_over`. Returns how often.
fn swap(tree: &Tree, is_over: &AtomicBool) -> usize {
    let mut random = Random::new(7);
    let mut swaps = 0;
    let exchange = |name: &str, other: &str| {
        renameat_with(CWD, tree.path(name), CWD, tree.path(other), RenameFlags::EXCHANGE).expect("renameat2");
    };
    while !is_over.load(Ordering::Relaxed) {
        exchange("name", &format!(".pool/{}", random.below(7)));
        exchange("deep", ".pool/deep");
        swaps += 2;
        if random.once_in(4) {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    swaps
}

/// What may be said of each name, whatever it is at the moment.
#[track_caller]
fn check(target: &str, response: &Response, whole: &[u8]) {
    let content = &response.content;
    assert!(!content.windows(SECRET.len()).any(|window| window == SECRET), "{target} leaks");
    match (target, response.status) {
        ("/name", 200) => assert!(content == whole || content == INSIDE, "{target}: {} bytes", content.len()),
        ("/name/" | "/deep/inner.txt", 200) => assert_eq!(content, INSIDE, "{target}"),
        ("/name", 301) | (_, 404) => {}
        (_, status) => panic!("{status} to {target}"),
    }
}

#[test]
fn a_name_that_is_swapped_never_leads_out() {
    let tries = scaled(2_000, 100_000);
    let _heavy = heavy();
    let (tree, _outside, _socket) = trees();
    let whole = pattern(FILE_BYTES);
    let server = Server::start(&["-t", "2", "--cache-check", "0"], tree.root());
    let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let ask = || {
        let mut statuses = BTreeMap::<(&str, u16), usize>::new();
        let mut client = server.connect();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= tries {
                return statuses;
            }
            let target = ["/name", "/deep/inner.txt", "/name/"][number % 3];
            let response = client.get(target);
            check(target, &response, &whole);
            *statuses.entry((target, response.status)).or_default() += 1;
        }
    };
    let start = Instant::now();
    let (swaps, statuses) = std::thread::scope(|scope| {
        let swapper = scope.spawn(|| swap(&tree, &is_over));
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
        let all: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        let mut statuses = BTreeMap::<(&str, u16), usize>::new();
        for (key, count) in all.into_iter().flat_map(|result| result.expect("no leak")) {
            *statuses.entry(key).or_default() += count;
        }
        (swapper.join().expect("a swapper"), statuses)
    });
    let took = start.elapsed();
    for seen in
        [("/name", 200), ("/name", 301), ("/name", 404), ("/deep/inner.txt", 200), ("/deep/inner.txt", 404)]
    {
        assert!(statuses.contains_key(&seen), "{seen:?} was never the answer: {statuses:?}");
    }
    let is_back = super::client::eventually(Duration::from_secs(5), || server.process().sockets() < 8);
    assert!(is_back, "connections are left");
    report(
        "swap races",
        &format!("{tries} tries while names changed {swaps} times in {took:.1?}: {statuses:?}; no leak"),
    );
}
