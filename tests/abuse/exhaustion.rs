//! Out of descriptors, again and again: service for those who are in, recovery for the rest, nothing lost.

use std::time::Duration;

use super::client::{eventually, request};
use super::crowd::Crowd;
use super::pace::{Calm, WORKERS};
use super::scale::{report, scaled};
use super::schedule::timed;
use super::server::{Launch, PATIENCE, Server};
use super::tree::{Tree, pattern};

const DESCRIPTORS: u32 = 96;
const CROWD: usize = 800;

/// So often: everybody comes, one who was there before is served, everybody leaves. Returns how long it took until all
/// descriptors were back, at worst.
#[track_caller]
fn crowd_out(server: &Server, rounds: usize) -> (Duration, u64) {
    let calm = Calm::of(server, &["/a.txt"]);
    let mut worst = Duration::ZERO;
    for _ in 0..rounds {
        let mut first = server.connect();
        assert_eq!(first.get("/a.txt").content, b"a");
        let mut crowd = Crowd::new(server.address(), CROWD);
        crowd.fill_up(None, &request("GET", "/a.txt", &[]));
        std::thread::sleep(Duration::from_millis(150));
        for target in ["/a.txt", "/cold.bin"] {
            let response = first.get(target);
            assert!([200, 503].contains(&response.status), "{} to {target}", response.status);
        }
        crowd.look(Duration::ZERO);
        crowd.leave();
        drop(first);
        let is_served = eventually(PATIENCE, || {
            let mut client = server.connect();
            client.send_to_deaf(&request("GET", "/a.txt", &[]));
            client.response_or_end().is_some_and(|response| response.content == b"a")
        });
        assert!(is_served, "no service although descriptors are free again");
        // The file that was cold is open now, in one worker or both.
        let is_back = eventually(PATIENCE, || server.process().sockets() < 8);
        assert!(is_back, "{} sockets are left", server.process().sockets());
        let warm = Calm::of(server, &["/a.txt", "/cold.bin"]);
        worst = worst.max(warm.expect_back(server, Duration::from_secs(1)));
        // As many files as there are, in each worker, and nothing else.
        let most = calm.descriptors + WORKERS;
        assert!(warm.descriptors <= most, "{} descriptors, {} before", warm.descriptors, calm.descriptors);
    }
    let pauses = server.counters(WORKERS).iter().map(|worker| worker.get("shortages")).sum();
    (worst, pauses)
}

#[test]
fn descriptors_run_out_and_come_back() {
    let rounds = scaled(2, 40);
    let _timed = timed();
    let tree = Tree::new(&[("a.txt", b"a"), ("cold.bin", &pattern(50_000))]);
    let launch = Launch::new(tree.root()).flags(&["-t", "2", "--idle-timeout", "60s"]);
    let server = launch.descriptors_max(DESCRIPTORS).start();
    crowd_out(&server, rounds);
    let at_limit = server.stderr().lines().count();
    // What was promised with many descriptors has to be kept with few.
    let starved = Server::start(&["-t", "2", "--idle-timeout", "60s"], tree.root());
    starved.limit_descriptors(DESCRIPTORS);
    crowd_out(&starved, rounds);
    let refused = starved.stderr().matches("Too many open files").count();
    assert!(refused > 0, "the kernel never refused a descriptor: {}", starved.stderr());
    assert!(at_limit < 8 + 2 * rounds && refused < 4 * rounds, "a flood of lines");
    report(
        "descriptor exhaustion",
        &format!(
            "{rounds} × {CROWD} clients for {DESCRIPTORS} descriptors, at the limit and beyond it: {refused} lines about it; \
             service before and after; exactly the descriptors of before"
        ),
    );
}
