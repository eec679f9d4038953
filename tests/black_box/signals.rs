//! Signals: an end in order, an end at once, a reload.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::client::{Client, eventually, request};
use super::process::Process;
use super::schedule::timed;
use super::server::{PATIENCE, Server};
use super::tree::{Tree, pattern};

const SECOND: Duration = Duration::from_secs(1);
const LENGTH: usize = 8 << 20;

fn site(flags: &[&str]) -> (Tree, Server) {
    let tree = Tree::new(&[("a.txt", b"a"), ("big.bin", &pattern(LENGTH))]);
    let server = Server::start(flags, tree.root());
    (tree, server)
}

/// A client in the middle of a large response.
#[track_caller]
fn download_begun(server: &Server, more: &[u8]) -> (Client, Vec<u8>) {
    let mut client = Client::connect_with_window(server.address(), 64 << 10);
    client.send(&[&request("GET", "/big.bin", &[]), more].concat());
    assert_eq!(client.response_head().content_length(), Some(LENGTH as u64));
    let mut received = Vec::new();
    client.content(10_000, |bytes| received.extend_from_slice(bytes));
    (client, received)
}

/// Takes the rest of a download, slowly at first.
fn finish_slowly(client: &mut Client, received: &mut Vec<u8>) {
    for _ in 0..15 {
        std::thread::sleep(SECOND / 10);
        client.content(20_000, |bytes| received.extend_from_slice(bytes));
    }
    let rest = (LENGTH - received.len()) as u64;
    client.content(rest, |bytes| received.extend_from_slice(bytes));
    assert!(*received == pattern(LENGTH), "wrong bytes");
}

#[test]
fn term_finishes_what_is_in_flight() {
    let (_tree, mut server) = site(&["--grace", "20s"]);
    let _timed = timed();
    let mut idle = server.connect();
    idle.get("/a.txt");
    let downloads: Vec<_> = (0..8).map(|_| download_begun(&server, b"")).collect();
    server.terminate();
    let address = server.address();
    assert!(eventually(SECOND * 3, || TcpStream::connect(address).is_err()), "still takes connections");
    idle.expect_closed();
    assert!(server.exited().is_none(), "ended during eight downloads");
    std::thread::scope(|scope| {
        for (mut client, mut received) in downloads {
            scope.spawn(move || {
                finish_slowly(&mut client, &mut received);
                client.expect_closed();
            });
        }
    });
    assert_eq!(server.wait_exit(SECOND * 5).code(), Some(0));
}

#[test]
fn what_is_answered_while_draining_says_that_it_is_the_last() {
    let (_tree, mut server) = site(&["--grace", "20s"]);
    let _timed = timed();
    let (mut client, mut received) = download_begun(&server, &request("GET", "/a.txt", &[]));
    let mut half = server.connect();
    half.send(b"GET /a.txt HTTP/1.1\r\nHost: x");
    std::thread::sleep(SECOND / 5);
    server.terminate();
    std::thread::sleep(SECOND / 5);
    half.send_to_deaf(b"\r\n\r\n");
    if let Some(response) = half.response_or_end() {
        assert!(response.closes(), "{:?}", response.head());
        half.expect_closed();
    }
    // A request that waits behind the download may remain unanswered, but may not cost the download its end.
    finish_slowly(&mut client, &mut received);
    if let Some(response) = client.response_or_end() {
        assert!(response.closes(), "{:?}", response.head());
        assert_eq!(response.content, b"a");
        client.expect_closed();
    }
    assert_eq!(server.wait_exit(SECOND * 10).code(), Some(0));
}

#[test]
fn an_idle_server_ends_at_once_and_in_order() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let (_tree, mut server) = site(&[]);
        let mut idle = server.connect();
        idle.get("/a.txt");
        server.signal(signal);
        assert_eq!(server.wait_exit(SECOND * 5).code(), Some(0), "{signal:?}");
        idle.expect_closed();
    }
}

#[test]
fn the_grace_period_has_an_end() {
    let (_tree, mut server) = site(&["--grace", "1s", "--send-timeout", "60s"]);
    let _timed = timed();
    let (mut client, received) = download_begun(&server, b"");
    let start = Instant::now();
    server.terminate();
    let status = server.wait_exit(SECOND * 8);
    assert!(start.elapsed() > SECOND * 9 / 10, "{:?}", start.elapsed());
    assert_eq!(status.code(), Some(0));
    let cut = client.content_or_cut((LENGTH - received.len()) as u64, |_| ());
    assert!(cut.is_err(), "nobody was left to send it");
}

#[test]
fn a_second_signal_ends_at_once() {
    for second in [Signal::TERM, Signal::INT] {
        let (_tree, mut server) = site(&["--grace", "60s", "--send-timeout", "60s"]);
        let _timed = timed();
        let _stalled = download_begun(&server, b"");
        server.terminate();
        std::thread::sleep(SECOND / 2);
        assert!(server.exited().is_none(), "the first signal waits for the download");
        server.signal(second);
        server.wait_exit(SECOND * 3);
    }
}

#[test]
fn while_draining_counters_are_shown_and_a_reload_is_not_done() {
    let (_tree, mut server) = site(&["--grace", "20s", "-t", "1", "--log-level", "debug"]);
    let _timed = timed();
    let (mut client, mut received) = download_begun(&server, b"");
    server.terminate();
    let said = eventually(PATIENCE, || server.stderr().contains("stopping; open connections: 1\n"));
    assert!(said, "{}", server.stderr());
    assert_eq!(server.counters(1)[0].get("open"), 1);
    server.signal(Signal::HUP);
    let said = eventually(PATIENCE, || server.stderr().contains("reload while stopping is ignored"));
    let stderr = server.stderr();
    assert!(said && !stderr.contains("anew"), "{stderr}");
    finish_slowly(&mut client, &mut received);
    assert_eq!(server.wait_exit(SECOND * 5).code(), Some(0));
}

/// The earliest that can be held: when help is printed, the command line is being read.
#[test]
fn a_signal_during_the_start_ends_it_only_when_it_means_to() {
    for (signals, ends) in [(&[Signal::HUP, Signal::USR1][..], false), (&[Signal::TERM][..], true)] {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        // Full, so that whoever writes to it waits.
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while writer.write(&[b'x'; 512]).is_ok() {}
        rustix::io::ioctl_fionbio(&writer, false).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_oneloop"));
        let mut child = command.arg("--help").stdout(writer).stderr(Stdio::null()).spawn().unwrap();
        drop(command);
        let process = Process::new(child.id());
        assert!(eventually(PATIENCE, || process.catches(Signal::USR1.as_raw())), "HUP and USR1 would end it");
        let pid = Pid::from_child(&child);
        for &signal in signals {
            kill_process(pid, signal).unwrap();
        }
        std::thread::sleep(SECOND / 10);
        assert_eq!(child.try_wait().unwrap().is_some(), ends, "{signals:?}");
        let mut printed = Vec::new();
        reader.read_to_end(&mut printed).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), ends.then_some(Signal::TERM.as_raw()));
        assert_eq!(printed.windows(7).any(|window| window == b"--grace"), !ends);
    }
}

#[test]
fn hup_keeps_serving() {
    let (tree, server) = site(&["--cache-check", "1h"]);
    let mut client = server.connect();
    assert_eq!(client.get("/a.txt").content, b"a");
    let (mut download, mut received) = download_begun(&server, b"");
    for generation in 0..5 {
        let content = format!("generation {generation}");
        tree.write("a.txt", content.as_bytes());
        server.signal(Signal::HUP);
        // Whatever was remembered is forgotten long before it is out of date.
        let seen = eventually(PATIENCE, || client.get("/a.txt").content == content.as_bytes());
        assert!(seen, "{content} is not seen");
    }
    finish_slowly(&mut download, &mut received);
    assert_eq!(server.connect().get("/a.txt").status, 200);
}

#[test]
fn hup_opens_the_root_anew() {
    let releases = Tree::new(&[("1/a.txt", b"first release"), ("2/a.txt", b"second release")]);
    releases.link("current", "1");
    let server = Server::start(&[], &releases.path("current"));
    let mut client = server.connect();
    assert_eq!(client.get("/a.txt").content, b"first release");
    symlink("2", releases.path("next")).unwrap();
    std::fs::rename(releases.path("next"), releases.path("current")).unwrap();
    server.signal(Signal::HUP);
    let seen = eventually(SECOND * 3, || client.get("/a.txt").content == b"second release");
    assert!(seen, "the second release is not seen");
}

#[test]
fn hup_survives_a_root_that_is_gone() {
    let releases = Tree::new(&[("1/a.txt", b"first release")]);
    releases.link("current", "1");
    let server = Server::start(&[], &releases.path("current"));
    let mut client = server.connect();
    assert_eq!(client.get("/a.txt").status, 200);
    std::fs::remove_file(releases.path("current")).unwrap();
    server.signal(Signal::HUP);
    std::thread::sleep(SECOND / 2);
    // The old root is better than none.
    assert_eq!(client.get("/a.txt").content, b"first release");
    assert_eq!(server.connect().get("/a.txt").content, b"first release");
}

#[test]
fn broken_pipes_are_no_end() {
    let (_tree, server) = site(&[]);
    server.signal(Signal::PIPE);
    for _ in 0..20 {
        // Gone in the middle of a response, with bytes unread: the server writes into a reset connection.
        drop(download_begun(&server, b""));
    }
    assert_eq!(server.connect().get("/a.txt").content, b"a");
}
