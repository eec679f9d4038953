//! What befalls the process: it stands still, it panics.
//!
//! What an intruder gets is looked at in `black_box/sandbox.rs`.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::client::{Client, eventually, request};
use super::pace::{Calm, WORKERS};
use super::scale::{report, scaled};
use super::schedule::{skip, timed};
use super::server::{Launch, PATIENCE, Server};
use super::tree::{Tree, pattern};

const FILE_BYTES: usize = 32 << 20;

/// So many clients, each having sent `first`.
fn crowd(server: &Server, each: usize, first: &[u8]) -> Vec<Client> {
    let connect = || {
        let mut client = server.connect();
        client.send(first);
        client
    };
    (0..each).map(|_| connect()).collect()
}

/// Clients in every stage in which one can be active, who go on to the next while the server stands still for
/// `stopped`. Each is served afterwards. Returns how many there were, and how long the last of them took.
fn speak_meanwhile(server: &Server, each: usize, stopped: Duration) -> (usize, Duration) {
    let ask = request("GET", "/a.txt", &[]);
    let mut idle = crowd(server, each, &ask);
    let mut partial = crowd(server, each, b"GET /a.txt HTTP/1.1\r\nHo");
    let mut owing = crowd(server, each, b"POST /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
    idle.iter_mut().for_each(|client| assert_eq!(client.response().content, b"a"));
    owing.iter_mut().for_each(|client| assert_eq!(client.response().status, 405));
    server.signal(Signal::STOP);
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(300));
    idle.iter_mut().for_each(|client| client.send(&ask));
    partial.iter_mut().for_each(|client| client.send(b"st: a\r\n\r\n"));
    owing.iter_mut().for_each(|client| client.send(&[b"llo", &ask[..]].concat()));
    let newcomers = crowd(server, each, &ask);
    std::thread::sleep(stopped.saturating_sub(start.elapsed()));
    server.signal(Signal::CONT);
    let resumed = Instant::now();
    let mut all: Vec<Client> = [idle, partial, owing, newcomers].into_iter().flatten().collect();
    for client in &mut all {
        assert_eq!(client.response().content, b"a", "a client that spoke while the server stood still");
    }
    (all.len(), resumed.elapsed())
}

#[test]
fn who_was_active_is_not_cut_because_the_server_stood_still() {
    let stopped = scaled(Duration::from_secs(3), Duration::from_secs(10));
    // More connections for each worker than it takes events from the kernel at once.
    let each = scaled(600, 1_500);
    let _timed = timed();
    let content = pattern(FILE_BYTES);
    let tree = Tree::new(&[("a.txt", b"a"), ("large.bin", &content)]);
    // Long enough for so many to come before the server stands still.
    let timeout = scaled("1500ms", "5s");
    let timeouts = ["--header-timeout", "--idle-timeout", "--send-timeout", "--body-timeout"];
    let flags: Vec<&str> = timeouts.into_iter().flat_map(|flag| [flag, timeout]).collect();
    let server = Server::start(&[&["-t", "2"], &flags[..]].concat(), tree.root());
    let calm = Calm::of(&server, &["/a.txt", "/large.bin"]);
    let mut reader = Client::connect_with_window(server.address(), 64 << 10);
    reader.send(&request("GET", "/large.bin", &[]));
    reader.response_head();
    let (served, took) = speak_meanwhile(&server, each, stopped);
    let mut rest = &content[..];
    reader.content(FILE_BYTES as u64, |bytes| {
        assert!(rest.starts_with(bytes), "differs");
        rest = &rest[bytes.len()..];
    });
    drop(reader);
    calm.expect_back(&server, Duration::from_secs(5));
    report(
        "stopped and continued",
        &format!(
            "after {stopped:?}, twice every deadline, all {served} who had spoken meanwhile were served within {took:.1?}"
        ),
    );
}

#[test]
fn a_worker_that_panics_again_and_again_does_not_end_the_server() {
    let test = "faults::a_worker_that_panics_again_and_again_does_not_end_the_server";
    if !cfg!(debug_assertions) {
        return skip(test, "faults are built into debug builds only");
    }
    let panics = scaled(16, 60);
    let _timed = timed();
    let tree = Tree::new(&[("a.txt", b"a")]);
    let mut server =
        Launch::new(tree.root()).env("ONELOOP_FAULT_PANIC", "/panic").flags(&["-t", "2"]).start();
    let calm = Calm::of(&server, &["/a.txt"]);
    let mut struck = 0;
    while struck < panics {
        let mut client = server.connect();
        client.patience(Duration::from_secs(5));
        client.send_to_deaf(&request("GET", "/panic", &[]));
        assert!(client.response_or_end().is_none(), "a panic answers nothing");
        struck += 1;
    }
    let start = Instant::now();
    let served = (0..8).filter(|_| server.connect().get("/a.txt").content == b"a").count();
    let took = start.elapsed();
    assert_eq!(served, 8);
    // The one that rests gets its turn, too.
    assert!(took < Duration::from_secs(6), "eight requests took {took:?}");
    let count = || server.counters(WORKERS).iter().map(|worker| worker.get("panics")).sum::<u64>();
    assert!(eventually(PATIENCE, || count() == panics), "{} of {panics} are counted", count());
    let before = server.process().processor_time();
    std::thread::sleep(Duration::from_millis(500));
    let used = server.process().processor_time() - before;
    assert!(used < Duration::from_millis(100), "{used:?} of processor time in half a second of nothing");
    for _ in 0..4 {
        server.connect().get("/a.txt");
    }
    calm.expect_back(&server, PATIENCE);
    server.terminate();
    assert_eq!(server.wait_exit(PATIENCE).code(), Some(0));
    report(
        "panics",
        &format!(
            "{panics} panics, all counted; eight requests behind them took {took:.1?}; it ended in order"
        ),
    );
}
