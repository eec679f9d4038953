//! Slow disks: whoever has to wait for one, it is neither a loop nor a request that asks for something else.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::client::{Client, eventually, request};
use super::process::this_thread_waited_for_processor;
use super::schedule::{heavy, note, skip, timed};
use super::server::Server;
use super::slow_fs::{Delays, LARGE_BYTES, SMALL_BYTES, SlowFs, expect_loops_never_asked, tree_with_cold};
use super::tree::{Tree, pattern};

/// Between two requests of a steady client: 200 a second.
const BEAT: Duration = Duration::from_millis(5);
/// Clients that fetch cold files meanwhile.
const COLD_CLIENTS: usize = 8;
/// What a steady client must get 99 of 100 responses within, whatever others wait for.
const LATENCY_MAX: Duration = Duration::from_millis(5);
/// Below this, latencies are those of the machine's scheduler: half as much again of it means nothing.
const LATENCY_FLOOR: Duration = Duration::from_micros(1_500);
/// Until one is good.
const ROUNDS: usize = 4;
/// What the cold files must come at in total, in bytes a second, when an answer takes [`BAR_DELAY`].
const BAR_THROUGHPUT: f64 = 5e6;
const BAR_DELAY: Duration = Duration::from_millis(100);

const DELAY: Duration = Duration::from_millis(100);

/// Response times in order.
struct Latencies(Vec<Duration>);

impl Latencies {
    /// Of `target`, asked for at a steady pace on one connection. Counted from when the request was due, so that
    /// those which a stall holds up are counted as well; less the time for which the client itself was kept from a
    /// processor, as by clients beside it, since no server can do anything about that.
    fn of(server: SocketAddr, target: &str, span: Duration) -> Self {
        let mut client = Client::connect(server);
        client.patience(Duration::from_secs(60));
        let request = request("GET", target, &[]);
        let (start, mut latencies) = (Instant::now(), Vec::new());
        let mut due = start;
        // A server that stands still has been measured long before the last request that was due.
        while due < start + span && start.elapsed() < 8 * span {
            let starved = this_thread_waited_for_processor();
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            assert_eq!(client.exchange(&request).status, 200);
            let latency = due.elapsed();
            latencies.push(latency.saturating_sub(this_thread_waited_for_processor() - starved));
            due += BEAT;
        }
        latencies.sort();
        Self(latencies)
    }

    fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }

    fn shown(&self) -> String {
        format!(
            "p50 {:.1?}, p99 {:.1?}, max {:.1?}",
            self.percentile(50),
            self.percentile(99),
            self.percentile(100)
        )
    }
}

/// Fetches files that were never asked for before while `during` runs, and compares every byte afterwards, so that the
/// clients leave the processors to what is measured. Returns what `during` returned, and the bytes a second of all
/// clients together.
fn while_cold_files_are_fetched<R>(
    server: SocketAddr,
    fs: &SlowFs,
    next: &AtomicU64,
    during: impl FnOnce() -> R,
) -> (R, f64) {
    let is_over = AtomicBool::new(false);
    let start = Instant::now();
    let fetch = || {
        let mut client = Client::connect(server);
        client.patience(Duration::from_secs(60));
        let mut fetched = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let name = format!("large-{}.bin", next.fetch_add(1, Ordering::Relaxed));
            fetched.push((client.get(&format!("/cold/{name}")), name));
        }
        fetched
    };
    let (result, fetched) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..COLD_CLIENTS).map(|_| scope.spawn(fetch)).collect();
        let result = during();
        is_over.store(true, Ordering::Relaxed);
        let fetched = clients.into_iter().flat_map(|client| client.join().expect("a client"));
        (result, fetched.collect::<Vec<_>>())
    });
    let throughput = (fetched.len() * LARGE_BYTES) as f64 / start.elapsed().as_secs_f64();
    for (response, name) in fetched {
        assert!(response.status == 200 && response.content == fs.content(&name), "{name} differs");
    }
    (result, throughput)
}

/// Calm, then with cold files being fetched. A loop that waits for the disk shows in every round; a round in which
/// client or loop had to wait for a processor says nothing.
fn expect_no_stall(test: &str, delays: Delays, span: Duration) {
    let _heavy = heavy();
    let Some((tree, fs)) = tree_with_cold(test, delays) else { return };
    let server = Server::start(&["-t", "1"], tree.root());
    let next = AtomicU64::new(0);
    let bar = BAR_THROUGHPUT * BAR_DELAY.as_secs_f64() / delays.read.as_secs_f64();
    let starved =
        || server.process().thread_waited_for_processor("worker-0") + this_thread_waited_for_processor();
    let mut stalls = Vec::new();
    for _ in 0..ROUNDS {
        let calm = Latencies::of(server.address(), "/warm.txt", span / 2);
        let starved_before = starved();
        let (loaded, throughput) = while_cold_files_are_fetched(server.address(), &fs, &next, || {
            Latencies::of(server.address(), "/warm.txt", span)
        });
        let starved = starved() - starved_before;
        let line = format!(
            "slow_disk, {:?} an answer: calm {}; with cold files {}; these at {:.1} MB/s; {starved:.0?} without a \
             processor",
            delays.read,
            calm.shown(),
            loaded.shown(),
            throughput / 1e6
        );
        note(&line);
        expect_loops_never_asked(&fs);
        assert!(throughput >= bar, "too slow: {line}");
        if loaded.percentile(99) <= (calm.percentile(99) * 3 / 2).max(LATENCY_FLOOR).min(LATENCY_MAX) {
            return;
        }
        if starved <= span / 100 {
            stalls.push(line);
        }
    }
    assert!(stalls.is_empty(), "{stalls:#?}");
    skip(test, "too busy a machine for the stopwatch; no loop asked the disk");
}

#[test]
fn small_files_are_served_while_cold_ones_are_fetched() {
    let test = "slow_disk::small_files_are_served_while_cold_ones_are_fetched";
    expect_no_stall(test, Delays::of(DELAY), Duration::from_secs(6));
}

#[test]
fn faster_and_slower_disks_stall_nobody() {
    for delay in [50, 200] {
        let delays = Delays::of(Duration::from_millis(delay));
        expect_no_stall("slow_disk::faster_and_slower_disks_stall_nobody", delays, Duration::from_secs(3));
    }
}

#[test]
fn no_loop_waits_for_a_lookup_an_attribute_or_a_close() {
    let test = "slow_disk::no_loop_waits_for_a_lookup_an_attribute_or_a_close";
    let _timed = timed();
    let Some((tree, fs)) = tree_with_cold(test, Delays::everywhere(Duration::from_millis(20))) else {
        return;
    };
    // Few files are kept open, so that others have to be closed.
    let server = Server::start(&["-t", "1", "--open-cache", "3"], tree.root());
    let mut client = server.connect();
    for round in 0..4 {
        for number in 0..5 {
            for name in [format!("large-{number}.bin"), format!("small-{number}.bin")] {
                client.download(&format!("/cold/{name}"), &fs.content(&name));
                client.download(&format!("/cold/{name}?again"), &fs.content(&name));
            }
        }
        assert_eq!(client.get("/cold/none.bin").status, 404, "{round}");
        assert_eq!(client.get("/warm.txt").content, b"warm");
    }
    expect_loops_never_asked(&fs);
    let is_closed = eventually(Duration::from_secs(5), || fs.open_files() <= 3);
    assert!(is_closed, "{} files are open, 3 may be", fs.open_files());
}

#[test]
fn a_local_file_that_is_not_in_memory_is_read_by_helpers() {
    const LENGTH: usize = 64 << 20;
    let content = pattern(LENGTH);
    let tree = Tree::new(&[("a.bin", &content)]);
    let file = File::open(tree.path("a.bin")).expect("open");
    let server = Server::start(&["-t", "1"], tree.root());
    let mut client = server.connect();
    client.exchange(&request("HEAD", "/a.bin", &[]));
    file.sync_all().expect("fsync");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("fadvise");
    client.download("/a.bin", &content);
    let fetched = |thread| server.process().fetched_bytes(thread);
    let (by_loops, by_helpers) = (fetched("worker"), fetched("helper"));
    note(&format!("slow_disk: {by_helpers} bytes fetched from disk by helpers, {by_loops} by the loop"));
    if by_loops + by_helpers < LENGTH as u64 / 2 {
        let test = "slow_disk::a_local_file_that_is_not_in_memory_is_read_by_helpers";
        return skip(test, "temporary files do not leave memory here");
    }
    assert!(by_loops <= by_helpers / 50, "the loop fetched {by_loops} bytes");
}

#[test]
fn a_greedy_client_does_not_keep_the_helpers_from_others() {
    let test = "slow_disk::a_greedy_client_does_not_keep_the_helpers_from_others";
    let _timed = timed();
    let Some((tree, fs)) = tree_with_cold(test, Delays::of(DELAY)) else { return };
    let server = Server::start(&["-t", "1"], tree.root());
    let (mut greedy, mut modest) = (server.connect(), server.connect());
    let targets = (0..50).map(|number| format!("/cold/small-{number}.bin"));
    greedy.send(&targets.flat_map(|target| request("GET", &target, &[])).collect::<Vec<_>>());
    std::thread::sleep(DELAY);
    let asked_at = Instant::now();
    modest.download("/cold/small-99.bin", &fs.content("small-99.bin"));
    let took = asked_at.elapsed();
    // Behind the greedy one it would be a hundred.
    assert!(took < 20 * DELAY, "{took:?} for one open and one read of {DELAY:?} each");
    for number in 0..50 {
        assert!(greedy.response().content == fs.content(&format!("small-{number}.bin")), "{number}");
    }
    expect_loops_never_asked(&fs);
}

#[test]
fn a_crowd_that_asks_for_one_cold_file_is_served_soon() {
    const CLIENTS: usize = 100;
    const PART: Range<usize> = 300_000..400_000;
    let test = "slow_disk::a_crowd_that_asks_for_one_cold_file_is_served_soon";
    let _timed = timed();
    let Some((tree, fs)) = tree_with_cold(test, Delays::of(DELAY)) else { return };
    let server = Server::start(&["-t", "1", "--cache-check", "1h"], tree.root());
    let range = format!("Range: bytes={}-{}", PART.start, PART.end - 1);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    for (name, fields, part) in [("small-7.bin", None, 0..SMALL_BYTES), ("large-7.bin", Some(&*range), PART)]
    {
        let content = &fs.content(name)[part];
        let asked_at = Instant::now();
        for client in &mut clients {
            client.send(&request("GET", &format!("/cold/{name}"), fields.as_slice()));
        }
        for client in &mut clients {
            assert!(client.response().content == content, "{name}");
        }
        let took = asked_at.elapsed();
        note(&format!("slow_disk: cold {name} to {CLIENTS} clients in {took:.1?}"));
        let asked = fs.take_asked();
        let of =
            |kind| asked.iter().filter(|((asked, _), _)| *asked == kind).map(|(_, count)| count).sum::<u64>();
        // One of each, and what the kernel reads ahead.
        assert!(of("open") == 1 && of("read") <= 16, "{name}: {asked:?}");
    }
}

#[test]
fn what_comes_too_late_answers_no_other_request() {
    let test = "slow_disk::what_comes_too_late_answers_no_other_request";
    let stuck = Delays { open: Duration::from_secs(600), ..Delays::default() };
    let _timed = timed();
    let Some((tree, fs)) = tree_with_cold(test, stuck) else { return };
    let server = Server::start(&["-t", "1", "--helpers", "1", "--send-timeout", "2s"], tree.root());
    let mut client = server.connect();
    assert_eq!(client.get("/cold/small-1.bin").status, 503, "the helper is stuck");
    // Queued behind the first, the outcome of which comes while this one is waited for.
    client.send(&request("GET", "/cold/small-2.bin", &[]));
    let other = server.connect().get("/warm.txt");
    assert!([200, 503].contains(&other.status), "{}", other.status);
    fs.hurry();
    let response = client.response();
    assert!(response.status == 503 || response.content == fs.content("small-2.bin"), "the first file");
    client.download("/cold/small-2.bin", &fs.content("small-2.bin"));
}

/// Another server, ended when dropped.
struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Peer {
    /// nginx with one worker.
    fn nginx(root: &Path, scratch: &Path, more: &str) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};", scratch.display()));
        let configuration = format!(
            "daemon off; master_process off; user root; pid {0}/pid; error_log {0}/error.log;\n\
             events {{ worker_connections 512; }}\n\
             http {{ {1} access_log off; sendfile on; {more} keepalive_requests 1000000;\n\
             server {{ listen {address}; root {2}; }} }}\n",
            scratch.display(),
            temporary.concat(),
            root.display()
        );
        let path = scratch.join("nginx.conf");
        std::fs::write(&path, configuration).expect("write");
        let child = Command::new("nginx").arg("-c").arg(&path).stderr(Stdio::null()).spawn().ok()?;
        let peer = Self { child, address };
        eventually(Duration::from_secs(5), || TcpStream::connect(address).is_ok()).then_some(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calm and loaded by turns; the medians of all rounds, and the smallest and largest ratio of the two.
fn compare(name: &str, server: SocketAddr, fs: &SlowFs, next: &AtomicU64, rounds: usize) {
    let span = Duration::from_secs(4);
    let (mut calm_p99, mut loaded_p99, mut ratios, mut rates) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let calm = Latencies::of(server, "/warm.txt", span).percentile(99);
        let (loaded, throughput) =
            while_cold_files_are_fetched(server, fs, next, || Latencies::of(server, "/warm.txt", span));
        let loaded = loaded.percentile(99);
        calm_p99.push(calm);
        loaded_p99.push(loaded);
        ratios.push(loaded.as_secs_f64() / calm.as_secs_f64());
        rates.push(throughput / 1e6);
    }
    for figures in [&mut calm_p99, &mut loaded_p99] {
        figures.sort();
    }
    for figures in [&mut ratios, &mut rates] {
        figures.sort_by(f64::total_cmp);
    }
    let middle = rounds / 2;
    note(&format!(
        "{name}: p99 {:.2?} calm, {:.2?} with cold files: x {:.2} ({:.2} to {:.2}); these at {:.1} MB/s; {rounds} rounds",
        calm_p99[middle],
        loaded_p99[middle],
        ratios[middle],
        ratios[0],
        ratios[rounds - 1],
        rates[middle]
    ));
}

#[test]
#[ignore = "a measurement: benches/slow_disk/run"]
fn beside_nginx() {
    let _heavy = heavy();
    let Some((tree, fs)) = tree_with_cold("slow_disk::beside_nginx", Delays::of(DELAY)) else { return };
    let next = AtomicU64::new(0);
    let server = Server::start(&["-t", "1"], tree.root());
    compare("oneloop", server.address(), &fs, &next, 7);
    drop(server);
    for (name, more) in [("nginx", ""), ("nginx with aio threads", "aio threads;")] {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let Some(nginx) = Peer::nginx(tree.root(), scratch.path(), more) else {
            return skip("slow_disk::beside_nginx", "no nginx here");
        };
        compare(name, nginx.address, &fs, &next, 1);
    }
}
