//! Memory that crowds took comes back when they have gone, with the flags as they come.

use std::time::{Duration, Instant};

use super::client::{eventually, request};
use super::crowd::Crowd;
use super::pace::{Calm, WORKERS};
use super::scale::{report, scaled};
use super::schedule::timed;
use super::server::Server;
use super::tree::{Tree, pattern};

/// Until all of a crowd are there, or what they took is given back: twice the time that takes.
const PATIENCE: Duration = Duration::from_secs(40);

/// Connections that say nothing, that have said half of a long head, that do not read what they asked for, and that
/// ask for something large and read none of it.
fn manners() -> [(&'static str, Vec<u8>); 4] {
    let half = ["GET /a.txt HTTP/1.1\r\nHost: a\r\nX: ", &"a".repeat(8_000)].concat();
    [
        ("silent", Vec::new()),
        ("half a head", half.into_bytes()),
        ("unread", request("GET", "/a.txt", &[]).repeat(16)),
        ("unread, large", request("GET", "/large.bin", &["User-Agent: b"])),
    ]
}

/// So many requests with long lines that the ring of each worker's access log has been written throughout: it is fixed, and
/// a part of calm.
fn fill_log(server: &Server) {
    const RING_BYTES: usize = 1 << 20;
    let agent = "a".repeat(2_000);
    let request = request("GET", "/a.txt", &[&format!("User-Agent: {agent}")]);
    for _ in 0..WORKERS {
        let mut client = server.connect();
        for _ in 0..RING_BYTES / agent.len() + 1 {
            assert_eq!(client.exchange(&request).status, 200);
        }
    }
}

#[test]
fn the_memory_of_a_crowd_comes_back() {
    let size = scaled(1_500, 9_000);
    let guard = timed();
    let tree = Tree::new(&[("a.txt", &pattern(7_000)), ("large.bin", &pattern(3 << 20))]);
    let server = Server::start(&["-t", "2", "--access-log", "/dev/null"], tree.root());
    fill_log(&server);
    let calm = Calm::of(&server, &["/a.txt", "/large.bin"]);
    let (mut most, mut crowds) = (0, Vec::new());
    for (name, first) in manners() {
        let mut crowd = Crowd::new(server.address(), size);
        crowd.fill_up(Some(4_096), &first);
        let is_here = eventually(PATIENCE, || server.process().sockets() > size);
        assert!(is_here, "{name}: only {} sockets", server.process().sockets());
        let now = server.process().resident_bytes();
        most = most.max(now);
        crowds.push(format!("{name} {:.1}", now as f64 / 1_048_576.0));
        crowd.leave();
    }
    drop(guard);
    let start = Instant::now();
    let is_back = eventually(PATIENCE, || server.process().resident_bytes() * 10 <= calm.resident_bytes * 11);
    let now = server.process().resident_bytes();
    assert!(is_back, "{now} bytes of memory, {} before", calm.resident_bytes);
    assert!(most > calm.resident_bytes * 3 / 2, "the crowds took nothing");
    Calm::of(&server, &["/a.txt", "/large.bin"]).expect_back(&server, Duration::from_secs(5));
    let back = start.elapsed();
    let adopted: u64 = server.counters(WORKERS).iter().map(|worker| worker.get("adopted")).sum();
    report(
        "memory of crowds",
        &format!(
            "4 × {size} connections without any bound asked for ({adopted} adopted): {} MiB beside them, {:.1} before; {:+.1} % {back:.0?} after",
            crowds.join(", "),
            calm.resident_bytes as f64 / 1_048_576.0,
            (now as f64 / calm.resident_bytes as f64 - 1.0) * 100.0,
        ),
    );
}
