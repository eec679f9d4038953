//! Slowloris: heads that drip in and never end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::pace::{Calm, FLOOR, Latencies};
use super::scale::{report, scaled};
use super::schedule::heavy;
use super::server::Server;
use super::tree::Tree;

const CONTENT: &[u8] = b"for those who wait their turn";
/// Until one is good: other programs disturb the stopwatch.
const ROUNDS: usize = 4;

/// How an attack went.
struct Attack {
    /// Connections at once, at least, while it was measured.
    open: usize,
    /// Bytes dripped, one at a time.
    drops: usize,
    /// Connections that the server cut.
    cut: usize,
}

/// Holds `size` connections open, each with a head that grows by a byte every two seconds, until `is_over`; those that
/// are cut come back.
fn drip(server: &Server, size: usize, is_ready: &AtomicBool, is_over: &AtomicBool) -> Attack {
    const PARTS: usize = 40;
    let mut crowd = Crowd::new(server.address(), size);
    let start = b"GET /index.html HTTP/1.1\r\nHost: oneloop.test\r\nX-Slow: ";
    crowd.fill_up(None, start);
    is_ready.store(true, Ordering::Release);
    let mut attack = Attack { open: size, drops: 0, cut: 0 };
    let mut due = Instant::now();
    for part in 0.. {
        if is_over.load(Ordering::Acquire) {
            break;
        }
        crowd.each(part % PARTS, PARTS, |member| {
            attack.drops += 1;
            member.say(b"a")
        });
        due += Duration::from_secs(2) / 40;
        crowd.look(due.saturating_duration_since(Instant::now()));
        crowd.fill(None, start);
        attack.open = attack.open.min(crowd.open());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    attack.cut = crowd.total.closed + crowd.total.reset;
    crowd.leave();
    attack
}

#[test]
fn slowloris_is_not_noticed_by_others() {
    let (size, span) = scaled((1_000, Duration::from_secs(2)), (5_000, Duration::from_secs(30)));
    let _heavy = heavy();
    let tree = Tree::new(&[("index.html", CONTENT)]);
    let server = Server::start(&["-t", "2", "--header-timeout", "8s"], tree.root());
    let calm = Calm::of(&server, &["/index.html"]);
    let mut lines = Vec::new();
    for _ in 0..ROUNDS {
        let before = Latencies::of(server.address(), "/index.html", CONTENT, span);
        let (is_ready, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        let (during, attack) = std::thread::scope(|scope| {
            let attacker = scope.spawn(|| drip(&server, size, &is_ready, &is_over));
            while !is_ready.load(Ordering::Acquire) {
                assert!(!attacker.is_finished(), "no attack");
                std::thread::sleep(Duration::from_millis(1));
            }
            let during = Latencies::of(server.address(), "/index.html", CONTENT, span);
            is_over.store(true, Ordering::Release);
            (during, attacker.join().expect("an attacker"))
        });
        assert!(attack.open >= size * 9 / 10, "only {} connections at once", attack.open);
        let back = calm.expect_back(&server, Duration::from_secs(10));
        lines.push(format!(
            "{} connections dripped {} bytes, {} were cut; {} requests, calm {}; during {}; all descriptors back after \
             {back:.1?}",
            attack.open,
            attack.drops,
            attack.cut,
            during.count(),
            before.shown(),
            during.shown(),
        ));
        if during.percentile(99) <= (2 * before.percentile(99)).max(FLOOR) {
            return report("slowloris", &lines[lines.len() - 1]);
        }
    }
    panic!("others notice it: {lines:#?}");
}
