//! Releases: a root that leads elsewhere is served from there, whole, soon, and what is under way ends where it began.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::client::{Client, eventually, request};
use super::schedule::timed;
use super::server::{PATIENCE, Server};
use super::tree::{Tree, pattern};

const SECOND: Duration = Duration::from_secs(1);
/// A root is looked at once a second; half a second more for a machine with other things to do.
const NOTICED_MAX: Duration = Duration::from_millis(1_500);
const LENGTH: usize = 8 << 20;
/// Files are believed for so long that only a switch can explain that they change.
const BELIEVING: [&str; 2] = ["--cache-check", "1h"];

/// Releases `1` and `2`, and `current`, which leads to the first.
fn releases() -> Tree {
    let tree = Tree::new(&[
        ("1/a.txt", b"first"),
        ("2/a.txt", b"second"),
        ("1/only-1.txt", b"x"),
        ("1/app.3f2a9c1b.js", b"first app"),
        ("1/assets/deep.0a1b2c3d4e.css", b"first style"),
        ("2/app.77aa88bb.js", b"second app"),
    ]);
    tree.link("current", "1");
    tree
}

/// Lets `current` lead to another release in one step.
fn switch(tree: &Tree, name: &str, target: &str) {
    let next = tree.path(&format!(".next-{name}"));
    std::os::unix::fs::symlink(target, &next).unwrap();
    fs::rename(next, tree.path(name)).unwrap();
}

fn start(tree: &Tree, flags: &[&str]) -> Server {
    Server::start(&[&BELIEVING, &["-t", "2"], flags].concat(), &tree.path("current"))
}

/// Waits until every worker serves that content.
#[track_caller]
fn expect_soon(
    clients: &mut [Client],
    target: &str,
    status: u16,
    content: Option<&[u8]>,
    patience: Duration,
) {
    for client in clients {
        let is_seen = eventually(patience, || {
            let response = client.get(target);
            response.status == status && content.is_none_or(|content| response.content == content)
        });
        assert!(is_seen, "{target} is not {status} with {content:?} within {patience:?}");
    }
}

fn clients(server: &Server) -> [Client; 2] {
    // Connections go round.
    [server.connect(), server.connect()]
}

#[test]
fn a_link_that_leads_elsewhere_is_noticed_within_a_second_and_a_half() {
    let tree = releases();
    let server = start(&tree, &[]);
    let mut clients = clients(&server);
    let _timed = timed();
    expect_soon(&mut clients, "/a.txt", 200, Some(b"first"), SECOND);
    for (name, content) in [("2", &b"second"[..]), ("1", b"first"), ("2", b"second")] {
        switch(&tree, "current", name);
        let start = Instant::now();
        expect_soon(&mut clients, "/a.txt", 200, Some(content), NOTICED_MAX * 2);
        let waited = server.process().waited_for_processor();
        assert!(start.elapsed() < NOTICED_MAX || waited > SECOND / 2, "{:?}", start.elapsed());
    }
    let said = server.stderr().matches("another release is served").count();
    assert_eq!(said, 3, "one line a switch: {}", server.stderr());
}

#[test]
fn a_directory_that_takes_the_place_of_the_root_is_noticed() {
    let tree = releases();
    let server = Server::start(&[&BELIEVING[..], &["-t", "2"]].concat(), &tree.path("1"));
    let mut clients = clients(&server);
    expect_soon(&mut clients, "/a.txt", 200, Some(b"first"), SECOND);
    fs::rename(tree.path("1"), tree.path("old")).unwrap();
    fs::rename(tree.path("2"), tree.path("1")).unwrap();
    expect_soon(&mut clients, "/a.txt", 200, Some(b"second"), PATIENCE);
    // Deleted and made again, as site generators do.
    fs::remove_dir_all(tree.path("1")).unwrap();
    tree.write("1/a.txt", b"third");
    expect_soon(&mut clients, "/a.txt", 200, Some(b"third"), PATIENCE);
}

#[test]
fn what_is_under_way_ends_on_the_release_on_which_it_began() {
    let tree = releases();
    let first = pattern(LENGTH);
    let second: Vec<u8> = first.iter().rev().copied().collect();
    tree.write("1/big.bin", &first);
    tree.write("2/big.bin", &second);
    let server = start(&tree, &[]);
    let mut download = Client::connect_with_window(server.address(), 64 << 10);
    // The request behind it is answered when its turn comes, by what is served then.
    download.send(&[request("GET", "/big.bin", &[]), request("GET", "/a.txt", &[])].concat());
    assert_eq!(download.response_head().content_length(), Some(LENGTH as u64));
    let mut received = Vec::new();
    download.content(10_000, |bytes| received.extend_from_slice(bytes));
    switch(&tree, "current", "2");
    server.signal(Signal::HUP);
    expect_soon(&mut clients(&server), "/big.bin", 200, Some(&second), PATIENCE);
    fs::remove_dir_all(tree.path("1")).unwrap();
    download.content((LENGTH - received.len()) as u64, |bytes| received.extend_from_slice(bytes));
    assert!(received == first, "wrong bytes");
    assert_eq!(download.response().content, b"second");
}

#[test]
fn names_with_a_digest_are_answered_from_the_release_before_for_a_while() {
    let tree = releases();
    let server = start(&tree, &["--keep-release", "6s"]);
    let mut clients = clients(&server);
    let _timed = timed();
    expect_soon(&mut clients, "/app.77aa88bb.js", 404, None, SECOND);
    switch(&tree, "current", "2");
    server.signal(Signal::HUP);
    let start = Instant::now();
    expect_soon(&mut clients, "/a.txt", 200, Some(b"second"), PATIENCE);
    for _ in 0..2 {
        for client in &mut clients {
            for (target, status, content) in [
                ("/app.3f2a9c1b.js", 200, &b"first app"[..]),
                ("/assets/deep.0a1b2c3d4e.css", 200, b"first style"),
                ("/app.77aa88bb.js", 200, b"second app"),
                ("/only-1.txt", 404, b""),
                ("/app.00000000a.js", 404, b""),
            ] {
                let response = client.get(target);
                let is_late = start.elapsed() > SECOND * 5;
                assert!(is_late || response.status == status, "{target}: {}", response.status);
                assert!(is_late || status == 404 || response.content == content, "{target}");
            }
        }
    }
    expect_soon(&mut clients, "/app.3f2a9c1b.js", 404, None, PATIENCE);
    assert!(start.elapsed() > SECOND * 5, "gone after {:?}", start.elapsed());
    expect_soon(&mut clients, "/app.77aa88bb.js", 200, Some(b"second app"), SECOND);
}

#[test]
fn nothing_is_kept_where_nothing_is_to_be() {
    let tree = releases();
    let server = start(&tree, &["--keep-release", "0"]);
    let mut clients = clients(&server);
    expect_soon(&mut clients, "/app.3f2a9c1b.js", 200, Some(b"first app"), SECOND);
    switch(&tree, "current", "2");
    server.signal(Signal::HUP);
    expect_soon(&mut clients, "/app.3f2a9c1b.js", 404, None, PATIENCE);
}

#[test]
fn a_link_that_leads_nowhere_changes_nothing_and_is_said_once() {
    let tree = releases();
    let server = start(&tree, &[]);
    let mut clients = clients(&server);
    expect_soon(&mut clients, "/a.txt", 200, Some(b"first"), SECOND);
    switch(&tree, "current", "missing");
    let complaint = "cannot open the root anew";
    assert!(eventually(PATIENCE, || server.stderr().contains(complaint)), "{}", server.stderr());
    std::thread::sleep(SECOND * 5 / 2);
    assert_eq!(server.stderr().matches(complaint).count(), 1, "{}", server.stderr());
    server.signal(Signal::HUP);
    let is_answered = eventually(PATIENCE, || server.stderr().matches(complaint).count() == 2);
    assert!(is_answered, "who asks is answered: {}", server.stderr());
    expect_soon(&mut clients, "/a.txt", 200, Some(b"first"), SECOND);
    expect_soon(&mut clients, "/app.3f2a9c1b.js", 200, Some(b"first app"), SECOND);
    switch(&tree, "current", "2");
    expect_soon(&mut clients, "/a.txt", 200, Some(b"second"), PATIENCE);
}

#[test]
fn each_virtual_host_has_releases_of_its_own() {
    let tree = releases();
    tree.link("other", "2");
    let vhost = format!("other.example={}", tree.path("other").display());
    let server = start(&tree, &["--vhost", &vhost]);
    let get = |client: &mut Client, host: &str, target: &str| {
        client.exchange(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).content
    };
    let mut client = server.connect();
    assert_eq!(get(&mut client, "x", "/a.txt"), b"first");
    assert_eq!(get(&mut client, "other.example", "/a.txt"), b"second");
    switch(&tree, "other", "1");
    let is_seen = eventually(PATIENCE, || get(&mut client, "other.example", "/a.txt") == b"first");
    assert!(is_seen, "the switch of a virtual host is not seen");
    assert_eq!(get(&mut client, "other.example", "/app.77aa88bb.js"), b"second app");
    assert_ne!(get(&mut client, "x", "/app.77aa88bb.js"), b"second app", "it was never in the root");
    switch(&tree, "current", "2");
    let is_seen = eventually(PATIENCE, || get(&mut client, "x", "/a.txt") == b"second");
    assert!(is_seen, "the switch of the root is not seen");
    assert_eq!(get(&mut client, "other.example", "/a.txt"), b"first");
}

/// Descriptors that lead to something below a directory.
fn held_below(server: &Server, directory: &Path) -> usize {
    let links = fs::read_dir(format!("/proc/{}/fd", server.process().id())).expect("fd");
    let targets = links.flatten().flat_map(|link| fs::read_link(link.path()));
    targets.filter(|target| target.starts_with(directory)).count()
}

/// Asks until told to stop; each response has to be that of one release, and none may fail. Gives how many there were,
/// and of how many releases.
fn ask_until(is_over: &AtomicBool, server: &Server, large: usize) -> (usize, usize) {
    let mut client = server.connect();
    let (mut answers, mut releases) = (0, std::collections::BTreeSet::new());
    while !is_over.load(Ordering::Relaxed) {
        for target in ["/small.txt", "/large.bin", "/same.css"] {
            let response = client.get(target);
            assert_eq!(response.status, 200, "{target}");
            let marker = response.content[0];
            let is_whole = response.content.iter().all(|&byte| byte == marker);
            assert!(is_whole, "{target} is a mix of releases");
            let bytes = if target == "/large.bin" { large } else { 3_000 };
            assert_eq!(response.content.len(), bytes, "{target}");
            releases.insert(marker);
            answers += 1;
        }
    }
    (answers, releases.len())
}

/// The short form of `benches/release/run`.
#[test]
fn many_switches_fail_nobody_mix_nothing_and_leave_nothing_open() {
    const LARGE: usize = 300_000;
    const SWITCHES: usize = 60;
    let tree = Tree::new(&[]);
    for marker in b"abcde" {
        for (name, bytes) in [("small.txt", 3_000), ("large.bin", LARGE), ("same.css", 3_000)] {
            let name = format!("{}/{name}", char::from(*marker));
            tree.write(&name, &vec![*marker; bytes]);
            tree.modified_at(&name, 1_700_000_000, 0);
        }
    }
    tree.link("current", "a");
    let server = start(&tree, &["--keep-release", "2s"]);
    let mut warm = clients(&server);
    for client in &mut warm {
        client.get("/large.bin");
    }
    let before = held_below(&server, tree.root());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| ask_until(&is_over, &server, LARGE))).collect();
        for number in 1..=SWITCHES {
            switch(&tree, "current", ["a", "b", "c", "d", "e"][number % 5]);
            server.signal(Signal::HUP);
            std::thread::sleep(SECOND / 20);
        }
        is_over.store(true, Ordering::Relaxed);
        for thread in asking {
            let (answers, releases) = thread.join().expect("all answers are right");
            assert!(answers > 0 && releases > 1, "{answers} answers of {releases} releases");
        }
    });
    // It ends where it began, so that the same is held once the former ones are given back.
    expect_soon(&mut warm, "/large.bin", 200, Some(&[b'a'; LARGE]), PATIENCE);
    server.signal(Signal::HUP);
    let is_settled = eventually(PATIENCE, || {
        warm.iter_mut().for_each(|client| drop(client.get("/large.bin")));
        held_below(&server, tree.root()) == before
    });
    let after = held_below(&server, tree.root());
    assert!(is_settled, "{before} descriptors before, {after} after {SWITCHES} switches");
}
