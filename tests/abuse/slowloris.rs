//! Slowloris: heads that drip in and never end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::pace::{Calm, FLOOR, Latencies};
use super::process::this_thread_waited_for_processor;
use super::scale::{report, scaled};
use super::schedule::{heavy, skip};
use super::server::Server;
use super::tree::Tree;

const CONTENT: &[u8] = b"for those who wait their turn";
const DRIP_INTERVAL: Duration = Duration::from_secs(2);
/// Until one is good: other programs disturb the stopwatch.
const ROUNDS: usize = 4;

/// How an attack went.
struct Attack {
    /// Connections at once, on average.
    open: usize,
    /// Bytes dripped, one at a time.
    drops: usize,
    /// Connections that the server cut.
    cut: usize,
}

/// Holds `size` connections open, each with a head that grows by a byte every [`DRIP_INTERVAL`], until `is_over`; those that
/// are cut come back.
fn drip(server: &Server, size: usize, is_ready: &AtomicBool, is_over: &AtomicBool) -> Attack {
    // Each on its own schedule, as it would be of a botnet: whoever drips in bursts makes others wait for the burst.
    const PARTS: u32 = 500;
    // Attackers have processors of their own; here they get what the others leave.
    let _ = rustix::process::setpriority_process(None, 19);
    let mut crowd = Crowd::new(server.address(), size);
    let start = b"GET /index.html HTTP/1.1\r\nHost: oneloop.test\r\nX-Slow: ";
    crowd.fill_up(None, start);
    is_ready.store(true, Ordering::Release);
    let mut attack = Attack { open: 0, drops: 0, cut: 0 };
    let (mut open, mut looks) = (size, 1);
    let mut due = Instant::now();
    for part in 0.. {
        if is_over.load(Ordering::Acquire) {
            break;
        }
        crowd.each(part % PARTS as usize, PARTS as usize, |member| {
            attack.drops += 1;
            member.say(b"a")
        });
        due += DRIP_INTERVAL / PARTS;
        crowd.look(due.saturating_duration_since(Instant::now()));
        crowd.fill(None, start);
        (open, looks) = (open + crowd.open(), looks + 1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    attack.open = open / looks;
    attack.cut = crowd.total.closed + crowd.total.reset;
    crowd.leave();
    attack
}

/// Others before an attack, during it and after it.
struct Round {
    before: Latencies,
    during: Latencies,
    after: Latencies,
    attack: Attack,
    /// How long server and stopwatch were ready to run while the processors ran others, during the attack.
    starved: Duration,
}

impl Round {
    fn new(server: &Server, calm: &Calm, size: usize, span: Duration) -> Self {
        let others = || Latencies::of(server.address(), "/index.html", CONTENT, span);
        let before = others();
        let (is_ready, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        let (during, attack, starved) = std::thread::scope(|scope| {
            let attacker = scope.spawn(|| drip(server, size, &is_ready, &is_over));
            while !is_ready.load(Ordering::Acquire) {
                assert!(!attacker.is_finished(), "no attack");
                std::thread::sleep(Duration::from_millis(1));
            }
            let starved = || server.process().waited_for_processor() + this_thread_waited_for_processor();
            let starved_before = starved();
            let during = others();
            let starved = starved() - starved_before;
            is_over.store(true, Ordering::Release);
            (during, attacker.join().expect("an attacker"), starved)
        });
        calm.expect_back(server, Duration::from_secs(10));
        Self { before, during, after: others(), attack, starved }
    }

    /// Half of what others may notice: the better of the calm before and the one after.
    fn calm_p99(&self) -> Duration {
        self.before.percentile(99).min(self.after.percentile(99))
    }

    fn shown(&self) -> String {
        format!(
            "{} connections dripped {} bytes, {} were cut; {} requests beside it {}; calm before {}, after {}; all descriptors \
             back; {:.0?} without a processor",
            self.attack.open,
            self.attack.drops,
            self.attack.cut,
            self.during.count(),
            self.during.shown(),
            self.before.shown(),
            self.after.shown(),
            self.starved,
        )
    }
}

/// A round in which the server waited for a processor says nothing of it; one in which others waited for the server
/// does.
#[test]
fn slowloris_is_not_noticed_by_others() {
    let (size, span) = scaled((1_000, Duration::from_secs(2)), (5_000, Duration::from_secs(30)));
    let _heavy = heavy();
    let tree = Tree::new(&[("index.html", CONTENT)]);
    let server = Server::start(&["-t", "2", "--header-timeout", "8s"], tree.root());
    let calm = Calm::of(&server, &["/index.html"]);
    let mut noticed = Vec::new();
    for _ in 0..scaled(2, ROUNDS) {
        let round = Round::new(&server, &calm, size, span);
        assert!(round.attack.open >= size * 9 / 10, "only {} connections at once", round.attack.open);
        report("slowloris", &round.shown());
        // At full scale, the calm is measured long enough to be compared with as it is.
        let floor = scaled(FLOOR, Duration::ZERO);
        if round.during.percentile(99) <= (2 * round.calm_p99()).max(floor) {
            return;
        }
        if round.starved <= span / 100 {
            noticed.push(round.shown());
        }
    }
    assert!(noticed.is_empty(), "others notice it: {noticed:#?}");
    skip("slowloris::slowloris_is_not_noticed_by_others", "too busy a machine for the stopwatch");
}
