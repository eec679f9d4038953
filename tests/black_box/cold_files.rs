//! Files that helpers have to open and read are served as right as any other, and whatever becomes of disk, file,
//! client or server meanwhile has an end.

use std::time::{Duration, Instant};

use super::client::{Client, Cut, End, eventually, request};
use super::process::raise_descriptor_limit;
use super::schedule::{heavy, note, skip, timed};
use super::server::{PATIENCE, Server};
use super::slow_fs::{Delays, HUGE_BYTES, SMALL_BYTES, expect_loops_never_asked, mount, tree_with_cold};
use super::tree::Tree;

/// Longer than any test.
const STUCK: Duration = Duration::from_secs(600);

#[test]
fn a_root_on_a_slow_disk_is_served_right() {
    let test = "cold_files::a_root_on_a_slow_disk_is_served_right";
    let tree = Tree::new(&[]);
    let Some(fs) = mount(test, &tree, "root", Delays::everywhere(Duration::from_millis(10))) else { return };
    let server = Server::start(&["-t", "1"], &tree.path("root"));
    fs.take_asked();
    let mut client = server.connect();
    for name in ["small-1.bin", "large-1.bin", "huge-1.bin"] {
        let content = fs.content(name);
        let target = format!("/{name}");
        client.download(&target, &content);
        let tag = client.exchange(&request("HEAD", &target, &[])).etag().to_owned();
        let part = client.get_with(&target, &["Range: bytes=500-899", &format!("If-Range: {tag}")]);
        assert_eq!((part.status, part.content.as_slice()), (206, &content[500..900]), "{name}");
        let tail = client.get_with(&target, &["Range: bytes=-9"]);
        assert_eq!((tail.status, tail.content.as_slice()), (206, &content[content.len() - 9..]), "{name}");
        assert_eq!(client.get_with(&target, &[&format!("If-None-Match: {tag}")]).status, 304, "{name}");
    }
    assert_eq!(client.get("/").status, 404);
    assert_eq!(client.get("/none.bin").status, 404);
    assert_eq!(client.get("/small-1.bin/x").status, 404);
    let names: Vec<_> = (0..8).flat_map(|n| [format!("small-{n}.bin"), format!("large-{n}.bin")]).collect();
    client.send(&names.iter().flat_map(|name| request("GET", &format!("/{name}"), &[])).collect::<Vec<_>>());
    for name in &names {
        assert!(client.response().content == fs.content(name), "{name} differs");
    }
    expect_loops_never_asked(&fs);
}

/// Clients that go away.
const LEAVERS: u64 = 60;

#[test]
fn what_is_missing_on_a_slow_disk_is_missing_whatever_is_remembered() {
    let test = "cold_files::what_is_missing_on_a_slow_disk_is_missing_whatever_is_remembered";
    for remembered in ["0", "1s"] {
        // An application has to be somewhere; in the root it is not.
        let tree = Tree::new(&[("app/index.html", b"app")]);
        let Some(fs) = mount(test, &tree, "root", Delays::everywhere(Duration::from_millis(5))) else {
            return;
        };
        let vhost = format!("app.test={}", tree.path("app").display());
        let flags = ["-t", "1", "--cache-check", remembered, "--spa", "--vhost", &vhost];
        let server = Server::start(&flags, &tree.path("root"));
        let mut client = server.connect();
        let navigation = ["Accept: text/html"];
        for target in ["/none.bin", &format!("/{}", "n".repeat(200)), "/small-1.bin/x"] {
            assert_eq!(
                client.get_with(target, &navigation).status,
                404,
                "{target}, remembered for {remembered}"
            );
        }
        client.download("/small-1.bin", &fs.content("small-1.bin"));
        expect_loops_never_asked(&fs);
    }
}

#[test]
fn clients_that_go_away_leave_nothing_behind() {
    let test = "cold_files::clients_that_go_away_leave_nothing_behind";
    let Some((tree, fs)) = tree_with_cold(test, Delays::of(Duration::from_millis(30))) else { return };
    let server = Server::start(&["-t", "1", "--open-cache", "1"], tree.root());
    let process = server.process();
    // Before the first connection: afterwards nobody could tell whether it is still among them.
    let (sockets, descriptors) = (process.sockets(), process.descriptors());
    let leavers: Vec<Client> = (0..LEAVERS)
        .map(|number| {
            let mut client = server.connect();
            client.send(&request("GET", &format!("/cold/huge-{number}.bin"), &[]));
            if number % 3 == 0 {
                client.response_head();
                client.content(100_000, |_| ());
            }
            client
        })
        .collect();
    drop(leavers);
    // The last of them may not even have been accepted yet, so it takes counting to know that all are over.
    let mut left = String::new();
    let is_over = eventually(PATIENCE, || {
        let counters = &server.counters(1)[0];
        let (pending, files) = (fs.pending(), fs.open_files());
        let more_sockets = process.sockets().saturating_sub(sockets);
        let more_descriptors = process.descriptors().saturating_sub(descriptors);
        left = format!(
            "{pending} answers, {files} files, {more_sockets} sockets, {more_descriptors} descriptors more; \
             {counters:?}"
        );
        counters.get("adopted") == LEAVERS
            && counters.get("open") == 0
            && (pending, more_sockets) == (0, 0)
            && files <= 1
            && more_descriptors <= 2
    });
    assert!(is_over, "{left}");
    assert_eq!(server.counters(1)[0].get("panics"), 0);
    let mut client = server.connect();
    client.download("/cold/large-1.bin", &fs.content("large-1.bin"));
}

/// Outcomes that may wait for a worker, those that are being worked for included.
const ROOM: usize = 4_096;
/// More than that.
const CROWD: usize = 4_500;
/// For those who wait in it.
const CROWD_PATIENCE: Duration = Duration::from_secs(60);

/// A server with one worker that knows `/warm.txt` for good and gives its clients all the time that a busy machine
/// may take. None where there cannot be so many connections.
fn start_for_crowd(test: &str, tree: &Tree) -> Option<Server> {
    if raise_descriptor_limit() < 2 * CROWD as u64 {
        skip(test, "too few descriptors");
        return None;
    }
    let flags = ["-t", "1", "--cache-check", "1h", "--header-timeout", "5m", "--send-timeout", "5m"];
    let server = Server::start(&flags, tree.root());
    server.connect().get("/warm.txt");
    Some(server)
}

/// Clients that have asked a stuck disk for more than there is room for, all of which the server has heard.
fn crowd(server: &Server, request: impl Fn(usize) -> Vec<u8>) -> Vec<Client> {
    // Each asks at once: a kernel with a short queue would hold up those that say nothing yet.
    let ask = |number| {
        let mut client = server.connect();
        client.patience(CROWD_PATIENCE);
        client.send(&request(number));
        client
    };
    let clients: Vec<Client> = (0..CROWD).map(ask).collect();
    let mut overflows = 0;
    let is_heard = eventually(CROWD_PATIENCE, || {
        overflows = server.counters(1)[0].get("helper_overflows");
        overflows >= (CROWD - ROOM) as u64
    });
    assert!(is_heard, "{overflows} found no room: {:?}", server.counters(1));
    assert_eq!(server.connect().get("/warm.txt").content, b"warm", "others are served");
    clients
}

#[test]
fn requests_that_the_helpers_have_no_room_for_are_put_off() {
    let test = "cold_files::requests_that_the_helpers_have_no_room_for_are_put_off";
    let stuck = Delays { open: STUCK, ..Delays::default() };
    let _heavy = heavy();
    let Some((tree, fs)) = tree_with_cold(test, stuck) else { return };
    let Some(server) = start_for_crowd(test, &tree) else { return };
    // Whatever is asked for by two at once is opened once: so each has a name of its own.
    let target = |number| format!("/cold/small-{number}.bin");
    let mut put_off = 0;
    let mut clients = crowd(&server, |number| request("GET", &target(number), &[]));
    fs.hurry();
    for (number, client) in clients.iter_mut().enumerate() {
        let response = client.response();
        match response.status {
            200 => assert!(response.content == fs.content(&target(number)[6..]), "{number}"),
            status => {
                assert_eq!(status, 503, "{number}");
                put_off += 1;
            }
        }
    }
    // Nothing came out before all had been heard.
    let counters = &server.counters(1)[0];
    assert_eq!((counters.get("helper_overflows"), put_off), (put_off, (CROWD - ROOM) as u64), "{counters:?}");
    for (number, client) in clients.iter_mut().enumerate().step_by(10) {
        client.download(&target(number), &fs.content(&target(number)[6..]));
    }
    expect_loops_never_asked(&fs);
}

#[test]
fn content_that_the_helpers_have_no_room_for_comes_later() {
    let test = "cold_files::content_that_the_helpers_have_no_room_for_comes_later";
    let _heavy = heavy();
    let Some((tree, fs)) = tree_with_cold(test, Delays::default()) else { return };
    let Some(server) = start_for_crowd(test, &tree) else { return };
    let name = |number: usize| format!("large-{}.bin", number % 60);
    let contents: Vec<_> = (0..60).map(|number| fs.content(&name(number))).collect();
    let mut first = server.connect();
    for number in 0..60 {
        first.exchange(&request("HEAD", &format!("/cold/{}", name(number)), &[]));
    }
    fs.delay(Delays { read: STUCK, ..Delays::default() });
    // What two wait for is read once: so each wants another part.
    let part = |number| 100_000 + number..150_000 + number;
    let mut clients = crowd(&server, |number| {
        let range = format!("Range: bytes={}-{}", part(number).start, part(number).end - 1);
        request("GET", &format!("/cold/{}", name(number)), &[&range])
    });
    fs.hurry();
    for (number, client) in clients.iter_mut().enumerate() {
        let response = client.response();
        let expected = &contents[number % 60][part(number)];
        assert!(response.status == 206 && response.content == expected, "{number}");
    }
    expect_loops_never_asked(&fs);
}

#[test]
fn the_server_ends_in_time_while_a_disk_is_stuck() {
    let test = "cold_files::the_server_ends_in_time_while_a_disk_is_stuck";
    let _timed = timed();
    let stuck = Delays { read: STUCK, ..Delays::default() };
    let Some((tree, fs)) = tree_with_cold(test, stuck) else { return };
    let mut server = Server::start(&["-t", "1", "--grace", "1s", "--cache-check", "1h"], tree.root());
    server.connect().get("/warm.txt");
    let mut clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&request("GET", &format!("/cold/large-{number}.bin"), &[]));
    }
    assert!(eventually(PATIENCE, || fs.pending() >= 4), "only {} helpers are stuck", fs.pending());
    assert_eq!(server.connect().get("/warm.txt").content, b"warm");
    let asked_at = Instant::now();
    server.terminate();
    let ended = eventually(Duration::from_secs(5), || server.exited().is_some());
    let took = asked_at.elapsed();
    fs.hurry();
    let status = server.wait_exit(Duration::from_secs(5));
    assert!(ended, "still there after {took:?}");
    assert_eq!(status.code(), Some(0));
    note(&format!("cold_files: ended within {took:.1?} with {:?} answers under way", fs.pending()));
}

#[test]
fn a_cold_file_that_changes_is_never_mixed() {
    for validity in [Duration::ZERO, Duration::from_secs(1)] {
        expect_never_mixed(validity);
    }
}

fn expect_never_mixed(validity: Duration) {
    let test = "cold_files::a_cold_file_that_changes_is_never_mixed";
    let delays = Delays { validity, ..Delays::of(Duration::from_millis(10)) };
    let Some((tree, fs)) = tree_with_cold(test, delays) else { return };
    let server = Server::start(&["-t", "1"], tree.root());
    let mut client = Client::connect_with_window(server.address(), 64 << 10);
    let old = fs.content("huge-1.bin");
    client.send(&request("GET", "/cold/huge-1.bin", &[]));
    assert_eq!(client.response_head().content_length(), Some(HUGE_BYTES as u64));
    let mut received = Vec::new();
    client.content(1_000_000, |bytes| received.extend_from_slice(bytes));
    fs.change("huge-1.bin");
    let rest = (HUGE_BYTES - received.len()) as u64;
    let cut = client.content_or_cut(rest, |bytes| received.extend_from_slice(bytes));
    let is_old = received == old[..received.len()];
    assert!(is_old, "two versions in {} bytes, attributes believed for {validity:?}", received.len());
    assert!(matches!(cut, Err(Cut { end: End::Reset, .. })), "{cut:?}");
    std::thread::sleep(Duration::from_millis(1_500).saturating_add(validity));
    let new = fs.content("huge-1.bin");
    server.connect().download("/cold/huge-1.bin", &new);
    expect_loops_never_asked(&fs);
}

#[test]
fn a_broken_disk_does_not_flood_the_log() {
    const REQUESTS: usize = 600;
    let test = "cold_files::a_broken_disk_does_not_flood_the_log";
    let Some((tree, fs)) = tree_with_cold(test, Delays::default()) else { return };
    let server = Server::start(&["-t", "2"], tree.root());
    fs.break_down();
    let start = Instant::now();
    let mut client = server.connect();
    for number in 0..REQUESTS {
        assert_eq!(client.get(&format!("/cold/small-{number}.bin")).status, 500);
    }
    // One more, with the number of those that were left out.
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(client.get("/cold/small-0.bin").status, 500);
    let is_told = eventually(PATIENCE, || {
        let stderr = server.stderr();
        let left_out = stderr.split("left_out=").skip(1).filter_map(|rest| rest.split_whitespace().next());
        let left_out: usize = left_out.filter_map(|count| count.parse::<usize>().ok()).sum();
        left_out + stderr.matches("left_out=").count() == REQUESTS + 1
    });
    let (stderr, took) = (server.stderr(), start.elapsed());
    let lines = stderr.matches("cannot read a file").count();
    assert!(is_told, "not every error is counted: {stderr}");
    assert!(lines as u64 <= took.as_secs() + 2, "{lines} lines within {took:?}");
    assert_eq!(server.connect().get("/warm.txt").content, b"warm");
}

#[test]
fn small_cold_files_are_one_version() {
    let test = "cold_files::small_cold_files_are_one_version";
    let Some((tree, fs)) = tree_with_cold(test, Delays::of(Duration::from_millis(5))) else { return };
    let server = Server::start(&["-t", "1"], tree.root());
    let mut client = server.connect();
    let mut seen = Vec::new();
    for _ in 0..40 {
        let versions = [fs.content("small-1.bin"), {
            fs.change("small-1.bin");
            fs.content("small-1.bin")
        }];
        let response = client.get("/cold/small-1.bin");
        assert_eq!(response.content.len(), SMALL_BYTES);
        seen.push((response.etag().to_owned(), response.content));
        drop(versions);
        std::thread::sleep(Duration::from_millis(130));
    }
    for (tag, content) in &seen {
        let same = seen.iter().find(|(other, _)| other == tag).expect("itself");
        assert!(same.1 == *content, "two contents with the tag {tag}");
    }
}
