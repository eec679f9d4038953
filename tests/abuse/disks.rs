//! Disks that fail, files that go away under the server, and a file system that does not answer any more.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::client::{Client, Cut, End, eventually, request};
use super::pace::WORKERS;
use super::scale::{report, scaled};
use super::schedule::timed;
use super::server::{PATIENCE, Server};
use super::slow_fs::{Delays, HUGE_BYTES, tree_with_cold};
use super::tree::{Tree, pattern};

fn sum(server: &Server, counter: &str) -> u64 {
    server.counters(WORKERS).iter().map(|worker| worker.get(counter)).sum()
}

#[test]
fn a_disk_that_fails_under_a_download_resets_it_and_is_counted() {
    const DOWNLOADS: u64 = 4;
    let _timed = timed();
    let delays = Delays { read: Duration::from_millis(2), ..Delays::default() };
    let Some((tree, fs)) = tree_with_cold("disks::a_disk_that_fails_under_a_download", delays) else {
        return;
    };
    let server = Server::start(&["-t", "2"], tree.root());
    let mut clients: Vec<Client> =
        (0..DOWNLOADS).map(|_| Client::connect_with_window(server.address(), 16 << 10)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let name = format!("huge-{number}.bin");
        client.send(&request("GET", &format!("/cold/{name}"), &[]));
        assert_eq!(client.response_head().content_length(), Some(HUGE_BYTES as u64));
        let expected = fs.content(&name);
        let mut rest = &expected[..];
        client.content(1 << 20, |bytes| {
            assert!(rest.starts_with(bytes), "{name} differs");
            rest = &rest[bytes.len()..];
        });
    }
    fs.break_down();
    for (number, client) in clients.iter_mut().enumerate() {
        let expected = fs.content(&format!("huge-{number}.bin"));
        let mut rest = &expected[1 << 20..];
        let cut = client.content_or_cut((HUGE_BYTES - (1 << 20)) as u64, |bytes| {
            assert!(rest.starts_with(bytes), "{number} differs before its end");
            rest = &rest[bytes.len()..];
        });
        assert!(matches!(cut, Err(Cut { end: End::Reset, .. })), "{cut:?}");
    }
    assert_eq!(server.connect().get("/warm.txt").content, b"warm");
    let failures = sum(&server, "failures");
    assert_eq!(failures, DOWNLOADS, "each is counted");
    report(
        "EIO under a download",
        &format!("{DOWNLOADS} downloads reset, {failures} counted, others served"),
    );
}

#[test]
fn a_file_that_cannot_be_opened_gets_the_status_of_the_reason() {
    let _timed = timed();
    let test = "disks::a_file_that_cannot_be_opened_gets_the_status_of_the_reason";
    let Some((tree, fs)) = tree_with_cold(test, Delays::default()) else { return };
    let server = Server::start(&["-t", "2", "--cache-check", "0"], tree.root());
    let mut client = server.connect();
    let table = [
        (Errno::IO, 500),
        (Errno::NFILE, 503),
        (Errno::MFILE, 503),
        (Errno::NOMEM, 503),
        (Errno::ACCESS, 403),
    ];
    let mut shown = Vec::new();
    for (number, (error, expected)) in table.into_iter().enumerate() {
        fs.fail_to_open(Some(error));
        let target = format!("/cold/small-{number}.bin");
        let status = client.get(&target).status;
        assert_eq!(status, expected, "{error}");
        shown.push(format!("{status} for {error}"));
        fs.fail_to_open(None);
        assert_eq!(client.get(&target).content, fs.content(&format!("small-{number}.bin")), "after {error}");
    }
    report("errors of open", &format!("{}; each served once it could be opened", shown.join(", ")));
}

#[test]
fn a_file_that_goes_away_under_a_download_is_sent_or_reset() {
    const BYTES: usize = 24 << 20;
    let _timed = timed();
    let content = pattern(BYTES);
    let names = ["deleted", "replaced", "truncated", "directory", "fifo", "socket"];
    let tree = Tree::new(&[]);
    for name in names {
        tree.write(name, &content);
    }
    let server = Server::start(&["-t", "2", "--cache-check", "0"], tree.root());
    let mut clients: Vec<Client> = names
        .iter()
        .map(|name| {
            let mut client = Client::connect_with_window(server.address(), 16 << 10);
            client.send(&request("GET", &format!("/{name}"), &[]));
            assert_eq!(client.response_head().content_length(), Some(BYTES as u64));
            client.content(1 << 20, |_| ());
            client
        })
        .collect();
    tree.replace("replaced", b"new");
    fs::File::options()
        .write(true)
        .open(tree.path("truncated"))
        .expect("open")
        .set_len(2 << 20)
        .expect("truncate");
    for name in ["deleted", "directory", "fifo", "socket"] {
        fs::remove_file(tree.path(name)).expect("remove");
    }
    tree.write("directory/index.html", b"index");
    tree.fifo("fifo");
    let _socket = UnixListener::bind(tree.path("socket")).expect("bind");
    for (name, client) in names.iter().zip(&mut clients) {
        let mut rest = &content[1 << 20..];
        let end = client.content_or_cut((BYTES - (1 << 20)) as u64, |bytes| {
            assert!(rest.starts_with(bytes), "{name} differs");
            rest = &rest[bytes.len()..];
        });
        match *name {
            "truncated" => assert!(matches!(end, Err(Cut { end: End::Reset, .. })), "{end:?}"),
            _ => assert!(end.is_ok(), "{name}: {end:?}"),
        }
    }
    assert_eq!(sum(&server, "truncated_files"), 1, "the one that got shorter");
    let table = [
        ("deleted", 404),
        ("replaced", 200),
        ("truncated", 200),
        ("directory", 301),
        ("fifo", 404),
        ("socket", 404),
    ];
    for (name, status) in table {
        assert_eq!(server.connect().get(&format!("/{name}")).status, status, "{name}");
    }
    report(
        "files that go away",
        "five kinds were sent to their last byte, the one that got shorter was reset and counted",
    );
}

#[test]
fn a_dead_file_system_takes_nobody_with_it() {
    let dead_for = scaled(Duration::from_secs(10), Duration::from_secs(60));
    const CLIENTS: usize = 8;
    const TIMEOUT: Duration = Duration::from_secs(2);
    let _timed = timed();
    let test = "disks::a_dead_file_system_takes_nobody_with_it";
    let Some((tree, fs)) = tree_with_cold(test, Delays::of(dead_for)) else { return };
    let mut server = Server::start(&["-t", "2", "--send-timeout", "2s", "--grace", "2s"], tree.root());
    assert_eq!(server.connect().get("/warm.txt").content, b"warm");
    let start = Instant::now();
    let mut stuck: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    for (number, client) in stuck.iter_mut().enumerate() {
        client.send(&request("GET", &format!("/cold/small-{number}.bin"), &[]));
    }
    let others = super::pace::Latencies::of(server.address(), "/warm.txt", b"warm", Duration::from_secs(1));
    for client in &mut stuck {
        assert_eq!(client.response().status, 503);
    }
    let answered = start.elapsed();
    let slack = Duration::from_millis(1_500);
    assert!((TIMEOUT..TIMEOUT + slack).contains(&answered), "503 after {answered:?}");
    assert!(others.percentile(99) < Duration::from_millis(100), "others {}", others.shown());
    let is_stuck = fs.pending() > 0;
    server.terminate();
    let end = Instant::now();
    // A helper cannot be ended while the kernel waits for the file system on its behalf, so its process lingers as a
    // zombie; everything else of it has to be gone within the grace.
    let has_ended = || server.process().main_thread_state() == 'Z';
    assert!(
        eventually(Duration::from_millis(3_500), has_ended),
        "still running 3.5 s after TERM: {}",
        server.stderr()
    );
    let took = end.elapsed();
    assert!(TcpStream::connect(server.address()).is_err(), "nobody listens any more");
    assert!(is_stuck, "no helper was stuck");
    fs.hurry();
    assert_eq!(server.wait_exit(PATIENCE).code(), Some(0));
    report(
        "dead file system",
        &format!(
            "{CLIENTS} requests got 503 after {answered:.1?}; others {}; the server ended in {took:.1?}",
            others.shown()
        ),
    );
}
