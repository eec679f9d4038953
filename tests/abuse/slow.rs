//! Slow readers and slow talkers: each costs a little memory, and nobody else anything.

use std::time::{Duration, Instant};

use super::crowd::{Crowd, Tally};
use super::pace::{Calm, Latencies};
use super::scale::{report, scaled};
use super::schedule::heavy;
use super::server::Server;
use super::tree::{Tree, pattern};

/// Larger than any socket buffer, so that a response never fits.
const FILE_BYTES: usize = 8 << 20;
/// What the server may use for each connection that is stuck in a response or in content, apart from the kernel.
const MEMORY_EACH_BYTES: u64 = 2_048;
/// What it may use besides: pools that keep what they once gave.
const MEMORY_BYTES: u64 = 16 << 20;

struct Site {
    _tree: Tree,
    server: Server,
    calm: Calm,
}

fn site() -> Site {
    let tree = Tree::new(&[("small.txt", b"small"), ("large.bin", &pattern(FILE_BYTES))]);
    let server = Server::start(&["-t", "2", "--send-timeout", "30s"], tree.root());
    let calm = Calm::of(&server, &["/small.txt", "/large.bin"]);
    Site { _tree: tree, server, calm }
}

/// Others are served as long as half of their requests take no longer: a server that waited for one of the crowd would
/// take as long as that waits. How much less it is depends on the machine, and is reported.
const SERVED_WITHIN: Duration = Duration::from_millis(50);

/// What a scenario did to the server, and whether that is within bounds.
#[track_caller]
fn judge(
    site: &Site,
    scenario: &str,
    size: usize,
    tally: Tally,
    acts: usize,
    peak_bytes: u64,
    others: &Latencies,
) {
    let served = others.shown();
    let grown = peak_bytes.saturating_sub(site.calm.resident_bytes);
    let back = site.calm.expect_back(&site.server, Duration::from_secs(20));
    report(
        scenario,
        &format!(
            "{size} connections, {acts} bytes at a second's pace, {} cut by the server; {:.1} MiB more memory, \
             {} bytes each; others {served}; all descriptors back after {back:.1?}",
            tally.closed + tally.reset,
            grown as f64 / 1_048_576.0,
            grown / size as u64,
        ),
    );
    assert!(others.percentile(50) < SERVED_WITHIN, "others {served}");
    let most = MEMORY_BYTES + size as u64 * MEMORY_EACH_BYTES;
    assert!(grown <= most, "{grown} bytes more memory for {size} connections, allowed are {most}");
}

/// Runs a crowd at a second's pace beside clients who behave.
fn beside_others(
    site: &Site,
    crowd: &mut Crowd,
    span: Duration,
    mut act: impl FnMut(&mut super::crowd::Member) -> bool + Send,
    may_look: bool,
) -> (usize, u64, Latencies) {
    const PARTS: usize = 20;
    let (mut acts, mut peak_bytes) = (0, 0);
    // First everybody gets what fits into the buffers of the kernel; then they are slow.
    settle(&site.server);
    let others = std::thread::scope(|scope| {
        let address = site.server.address();
        let others = scope.spawn(move || Latencies::of(address, "/small.txt", b"small", span));
        let mut due = Instant::now();
        for part in 0.. {
            if others.is_finished() {
                break;
            }
            crowd.each(part % PARTS, PARTS, |member| {
                acts += 1;
                act(member)
            });
            due += Duration::from_secs(1) / 20;
            if may_look {
                crowd.look(Duration::ZERO);
            }
            peak_bytes = peak_bytes.max(site.server.process().resident_bytes());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        others.join().expect("clients who behave")
    });
    (acts, peak_bytes, others)
}

/// Waits until the server has nothing left to do.
fn settle(server: &Server) {
    let is_settled = super::client::eventually(Duration::from_secs(30), || {
        server.process().processor_time_over(Duration::from_millis(100)) < Duration::from_millis(20)
    });
    assert!(is_settled, "the server does not come to rest");
}

#[test]
fn slow_readers_cost_a_little_memory_and_nobody_anything() {
    let (size, span) = scaled((500, Duration::from_secs(2)), (4_000, Duration::from_secs(45)));
    let _heavy = heavy();
    let site = site();
    let mut crowd = Crowd::new(site.server.address(), size);
    crowd.fill_up(Some(4_096), b"GET /large.bin HTTP/1.1\r\nHost: oneloop.test\r\n\r\n");
    let mut ended = 0;
    let (acts, peak, others) = beside_others(
        &site,
        &mut crowd,
        span,
        |member| {
            let goes_on = member.sip();
            ended += usize::from(!goes_on);
            goes_on
        },
        false,
    );
    crowd.leave();
    let tally = Tally { reset: ended, ..crowd.total };
    judge(&site, "slow readers", size, tally, acts, peak, &others);
}

#[test]
fn slow_content_costs_a_little_memory_and_nobody_anything() {
    let (size, span) = scaled((500, Duration::from_secs(2)), (4_000, Duration::from_secs(45)));
    let _heavy = heavy();
    let site = site();
    let mut crowd = Crowd::new(site.server.address(), size);
    let head = b"POST /small.txt HTTP/1.1\r\nHost: oneloop.test\r\nContent-Length: 1000000\r\n\r\n";
    crowd.fill_up(None, head);
    let (acts, peak, others) = beside_others(&site, &mut crowd, span, |member| member.say(b"a"), true);
    let answered = crowd.total.received;
    crowd.leave();
    assert!(answered > 100 * size as u64, "they were not answered: {answered} bytes");
    judge(&site, "slow content", size, crowd.total, acts, peak, &others);
}
