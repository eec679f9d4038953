//! Deadlines: each cuts what stalls, soon after its time and never before, and nothing that moves.
//!
//! Lower bounds are tight, since a deadline may never fire early; upper ones leave room for a busy machine and for
//! the kernel, which may hold back a silent connection for a while before it is accepted.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::client::{Client, Cut, End, eventually, request};
use super::schedule::timed;
use super::server::Server;
use super::tree::{Tree, pattern};

const SECOND: Duration = Duration::from_secs(1);

/// A clock that counts in ticks may be ahead of the test's by one.
const EARLY: Duration = Duration::from_millis(50);

fn site(flags: &[&str]) -> (Tree, Server) {
    let tree = Tree::new(&[("a.txt", b"a"), ("big.bin", &pattern(32 << 20))]);
    let server = Server::start(flags, tree.root());
    (tree, server)
}

#[track_caller]
fn expect_between(start: Instant, least: Duration, most: Duration) {
    let took = start.elapsed();
    assert!(took + EARLY >= least && took <= most, "{took:?} is not between {least:?} and {most:?}");
}

#[test]
fn a_client_that_says_nothing_is_closed_without_a_word() {
    let (_tree, server) = site(&["--header-timeout", "1s"]);
    let _timed = timed();
    let start = Instant::now();
    let mut client = server.connect();
    client.expect_closed();
    expect_between(start, SECOND, SECOND * 10);
}

#[test]
fn a_head_that_does_not_come_whole_is_408() {
    let (_tree, server) = site(&["--header-timeout", "1s"]);
    let _timed = timed();
    for start_of_head in ["G", "GET /a.txt HTTP/1.1\r\n", "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r"] {
        let start = Instant::now();
        let mut client = server.connect();
        client.send(start_of_head.as_bytes());
        let response = client.response();
        expect_between(start, SECOND, SECOND * 4);
        assert_eq!(response.status, 408, "{start_of_head:?}");
        assert!(response.closes(), "{start_of_head:?}");
        client.expect_closed();
    }
}

#[test]
fn dripping_a_head_gains_no_time() {
    let (_tree, server) = site(&["--header-timeout", "1s", "--idle-timeout", "9s"]);
    let _timed = timed();
    // On a fresh connection, and on one that has been useful before.
    for has_history in [false, true] {
        let mut start = Instant::now();
        let mut client = server.connect();
        if has_history {
            client.get("/a.txt");
            start = Instant::now();
        }
        client.send(b"GET /a.txt HTTP/1.1\r\nHost: x\r\nDrip: ");
        let mut writer = client.writer();
        let dripping = std::thread::spawn(move || {
            while std::io::Write::write_all(&mut writer, b"d").is_ok() && start.elapsed() < SECOND * 8 {
                std::thread::sleep(SECOND / 10);
            }
        });
        let response = client.response();
        expect_between(start, SECOND, SECOND * 4);
        assert_eq!(response.status, 408);
        client.end();
        drop(client);
        dripping.join().unwrap();
    }
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let (_tree, server) = site(&["--idle-timeout", "2s", "--header-timeout", "9s"]);
    let _timed = timed();
    let mut client = server.connect();
    for _ in 0..2 {
        // Each exchange starts the time anew.
        client.get("/a.txt");
        client.expect_silence(SECOND * 11 / 10);
    }
    let start = Instant::now();
    client.get("/a.txt");
    client.expect_closed();
    expect_between(start, SECOND * 2, SECOND * 5);
}

#[test]
fn content_that_stalls_ends_the_connection() {
    let (_tree, server) = site(&["--body-timeout", "1s", "--idle-timeout", "9s", "--header-timeout", "9s"]);
    let _timed = timed();
    let mut client = server.connect();
    let head = request("POST", "/a.txt", &["Content-Length: 100"]);
    client.send(&head);
    // Content that keeps coming, however slowly, is no stall.
    let mut start = Instant::now();
    for _ in 0..4 {
        std::thread::sleep(SECOND * 4 / 10);
        start = Instant::now();
        client.send(b"slow");
    }
    let response = client.response();
    // The method is refused whenever the server likes; what counts is the end.
    assert!([405, 408].contains(&response.status), "{}", response.status);
    client.end();
    expect_between(start, SECOND, SECOND * 4);
}

#[test]
fn a_reader_that_stops_is_reset() {
    let (_tree, server) = site(&["--send-timeout", "1s"]);
    let _timed = timed();
    let baseline = server.process().sockets();
    let mut client = Client::connect_with_window(server.address(), 16 << 10);
    let start = Instant::now();
    client.send(&request("GET", "/big.bin", &[]));
    let response = client.response_head();
    while server.process().sockets() > baseline {
        assert!(start.elapsed() < SECOND * 8, "a client that reads nothing is kept");
        std::thread::sleep(SECOND / 50);
    }
    expect_between(start, SECOND, SECOND * 8);
    let received = client.expect_reset();
    assert!(received < response.content_length().unwrap(), "{received} bytes without being read");
}

#[test]
fn a_reader_that_leaves_small_responses_unread_is_reset() {
    let (_tree, server) = site(&["-t", "1", "--send-timeout", "1s"]);
    let _timed = timed();
    let start = Instant::now();
    let mut client = Client::connect_with_window(server.address(), 16 << 10);
    // Held in memory rather than sent from a file, and far more than the kernel takes.
    let ranged = request("GET", "/big.bin", &["Range: bytes=0-9999"]);
    let missing = request("GET", "/missing", &[]);
    let mut writer = client.writer();
    let writing = std::thread::spawn(move || {
        let batch = [ranged, missing].concat().repeat(100);
        // The server stops reading when it cannot write, and in the end resets.
        loop {
            if let Err(error) = std::io::Write::write_all(&mut writer, &batch) {
                return error.kind();
            }
        }
    });
    let is_cut = eventually(SECOND * 8, || server.counters(1)[0].get("send_timeouts") == 1);
    assert!(is_cut, "a client that reads nothing is kept: {:?}", server.counters(1));
    expect_between(start, SECOND, SECOND * 8);
    // A reset is told once, and here it is the writer who is waiting for it.
    assert_eq!(writing.join().unwrap(), ErrorKind::ConnectionReset);
    assert!(client.content_or_cut(u64::MAX, |_| ()).is_err());
}

#[test]
fn a_reader_that_is_slow_but_steady_is_not_cut() {
    let (_tree, server) = site(&["--send-timeout", "1s", "--idle-timeout", "1s", "--header-timeout", "1s"]);
    let _timed = timed();
    let whole = pattern(32 << 20);
    let mut client = Client::connect_with_window(server.address(), 16 << 10);
    client.send(&request("GET", "/big.bin", &[]));
    assert_eq!(client.response_head().content_length(), Some(whole.len() as u64));
    let mut rest = whole.as_slice();
    let mut compare = |bytes: &[u8]| {
        assert!(bytes == &rest[..bytes.len()], "wrong bytes");
        rest = &rest[bytes.len()..];
    };
    // The kernel's send buffer holds megabytes, so that for seconds no write succeeds although bytes are
    // acknowledged all the time: what counts is the peer's progress, not ours.
    let start = Instant::now();
    let mut slow = 0;
    while start.elapsed() < SECOND * 6 {
        client.content(8 << 10, &mut compare);
        slow += 8 << 10;
        std::thread::sleep(SECOND / 20);
    }
    client.content(whole.len() as u64 - slow, &mut compare);
    assert!(rest.is_empty());
    assert_eq!(client.get("/a.txt").content, b"a", "the connection is as good as before");
}

#[test]
fn a_last_response_is_delivered_to_a_slow_reader_in_full() {
    let (_tree, server) = site(&["--send-timeout", "2s", "--idle-timeout", "1s"]);
    let _timed = timed();
    // Small enough for the kernel to take it whole: the server is done long before its client.
    let range = "Range: bytes=0-399999";
    let mut client = Client::connect_with_window(server.address(), 16 << 10);
    client.send(&request("GET", "/big.bin", &[range, "Connection: close"]));
    assert_eq!(client.response_head().content_length(), Some(400_000));
    let whole = pattern(400_000);
    let mut received = Vec::new();
    for _ in 0..40 {
        std::thread::sleep(SECOND / 10);
        client.content(10_000, |bytes| received.extend_from_slice(bytes));
    }
    assert!(received == whole, "wrong bytes");
    client.expect_closed();
}

#[test]
fn deadlines_of_one_connection_do_not_touch_another() {
    let (_tree, server) = site(&["--header-timeout", "1s", "--idle-timeout", "9s"]);
    let _timed = timed();
    let mut steady = server.connect();
    let mut stalled = server.connect();
    stalled.send(b"GET /");
    let start = Instant::now();
    while start.elapsed() < SECOND * 3 {
        assert_eq!(steady.get("/a.txt").content, b"a");
        std::thread::sleep(SECOND / 20);
    }
    assert_eq!(stalled.response().status, 408);
}

#[test]
fn times_take_their_units() {
    let (_tree, server) = site(&["--header-timeout", "700ms"]);
    let _timed = timed();
    let start = Instant::now();
    let mut client = server.connect();
    client.send(b"GET /");
    assert_eq!(client.response().status, 408);
    expect_between(start, Duration::from_millis(700), SECOND * 4);
}

#[test]
fn each_cut_is_counted() {
    let timeouts = ["--header-timeout", "--idle-timeout", "--body-timeout", "--send-timeout"];
    let flags: Vec<&str> = timeouts.iter().flat_map(|flag| [*flag, "1s"]).chain(["-t", "1", "-v"]).collect();
    let (_tree, server) = site(&flags);
    let _timed = timed();
    let mut header = server.connect();
    header.send(b"GET /");
    let mut idle = server.connect();
    idle.get("/a.txt");
    let mut content = server.connect();
    content.send(&request("POST", "/a.txt", &["Content-Length: 100"]));
    let mut unread = Client::connect_with_window(server.address(), 16 << 10);
    unread.send(&request("GET", "/big.bin", &[]));
    let names = ["header_timeouts", "keep_alive_timeouts", "content_timeouts", "send_timeouts"];
    let mut counted = Vec::new();
    let are_counted = eventually(SECOND * 10, || {
        let counters = server.counters(1);
        counted = names.iter().map(|name| counters[0].get(name)).collect();
        counted == [1; 4] && counters[0].get("adopted") == counters[0].get("closed")
    });
    assert!(are_counted, "{names:?}: {counted:?}");
}

#[test]
fn a_client_that_goes_away_frees_its_connection() {
    let (_tree, server) = site(&[]);
    let _timed = timed();
    let baseline = server.process().sockets();
    let mut half = server.connect();
    half.send(b"GET /a.txt HTT");
    let mut idle = server.connect();
    idle.get("/a.txt");
    let mut busy = Client::connect_with_window(server.address(), 16 << 10);
    busy.send(&request("GET", "/big.bin", &[]));
    busy.response_head();
    match busy.content_or_cut(1_000, |_| ()) {
        Ok(()) | Err(Cut { end: End::Closed | End::Reset, .. }) => (),
    }
    drop((half, idle, busy));
    let start = Instant::now();
    while server.process().sockets() > baseline {
        assert!(start.elapsed() < SECOND * 3, "connections are kept without a client");
        std::thread::sleep(SECOND / 50);
    }
}
