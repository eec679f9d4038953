//! What befalls the process: it stands still, it panics.
//!
//! Scenarios of the sandbox belong here.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::client::{Client, eventually, request};
use super::pace::{Calm, WORKERS};
use super::scale::{report, scaled};
use super::schedule::{skip, timed};
use super::server::{Launch, PATIENCE, Server};
use super::tree::{Tree, pattern};

const FILE_BYTES: usize = 32 << 20;

#[test]
fn who_was_active_is_not_cut_because_the_server_stood_still() {
    let stopped = scaled(Duration::from_secs(3), Duration::from_secs(10));
    // More connections for each worker than it takes events from the kernel at once.
    let each = scaled(600, 1_500);
    let _timed = timed();
    let content = pattern(FILE_BYTES);
    let tree = Tree::new(&[("a.txt", b"a"), ("large.bin", &content)]);
    let timeouts = [
        "--header-timeout",
        "1500ms",
        "--idle-timeout",
        "1500ms",
        "--send-timeout",
        "1500ms",
        "--body-timeout",
        "1500ms",
    ];
    let server = Server::start(&[&["-t", "2"], &timeouts[..]].concat(), tree.root());
    let calm = Calm::of(&server, &["/a.txt", "/large.bin"]);
    let crowd = |first: &[u8]| -> Vec<Client> {
        let connect = || {
            let mut client = server.connect();
            client.send(first);
            client
        };
        (0..each).map(|_| connect()).collect()
    };
    let mut idle = crowd(&request("GET", "/a.txt", &[]));
    let mut partial = crowd(b"GET /a.txt HTTP/1.1\r\nHo");
    let mut content_owed = crowd(b"POST /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
    for client in &mut idle {
        assert_eq!(client.response().content, b"a");
    }
    for client in &mut content_owed {
        assert_eq!(client.response().status, 405);
    }
    let mut reader = Client::connect_with_window(server.address(), 64 << 10);
    reader.send(&request("GET", "/large.bin", &[]));
    reader.response_head();
    server.signal(Signal::STOP);
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(300));
    for (client, rest) in idle
        .iter_mut()
        .map(|client| (client, request("GET", "/a.txt", &[])))
        .chain(partial.iter_mut().map(|client| (client, b"st: a\r\n\r\n".to_vec())))
        .chain(
            content_owed
                .iter_mut()
                .map(|client| (client, [b"llo", &request("GET", "/a.txt", &[])[..]].concat())),
        )
    {
        client.send(&rest);
    }
    let mut newcomers = crowd(&request("GET", "/a.txt", &[]));
    std::thread::sleep(stopped.saturating_sub(start.elapsed()));
    server.signal(Signal::CONT);
    let resumed = Instant::now();
    let mut served = 0;
    for client in idle.iter_mut().chain(&mut partial).chain(&mut content_owed).chain(&mut newcomers) {
        assert_eq!(client.response().content, b"a", "a client that spoke while the server stood still");
        served += 1;
    }
    let took = resumed.elapsed();
    let mut rest = &content[..];
    reader.content(FILE_BYTES as u64, |bytes| {
        assert!(rest.starts_with(bytes), "differs");
        rest = &rest[bytes.len()..];
    });
    drop((idle, partial, content_owed, newcomers, reader));
    calm.expect_back(&server, Duration::from_secs(5));
    report(
        "stopped and continued",
        &format!(
            "after {stopped:?}, twice every deadline, all {served} who had spoken meanwhile were served in {took:.1?}"
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
