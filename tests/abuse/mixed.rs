//! Everything at once, for a while, beside clients who compare every byte: none is wrong, and nothing is left over.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use super::client::{Client, eventually, request};
use super::crowd::{Crowd, reset};
use super::mutation;
use super::oracle::Files;
use super::pace::{Calm, WORKERS};
use super::random::Random;
use super::scale::{report, scaled};
use super::schedule::heavy;
use super::server::Server;
use super::tree::pattern;

/// Lines that the server may write meanwhile, each with the reason.
const EXPLAINED: [(&str, &str); 6] = [
    (" serves ", "the banner"),
    ("listening on http://127.0.0.1:", "the banner"),
    ("2 workers, at most ", "the banner"),
    ("counters worker=", "the counters, which the test asks for"),
    ("acceptor accepted=", "the counters, which the test asks for"),
    ("access log dropped_lines=", "the counters, which the test asks for"),
];

/// Enough memory for the crowd that there is: with less there is none to keep its heads in, and others, whose heads come in
/// pieces, hear 503 as well. With a budget, memory that is freed goes back to the system.
fn budget_mib() -> u64 {
    scaled(128, 512)
}

const LARGE_BYTES: usize = 3 << 20;

/// What nobody needed for two periods of ten seconds is given up.
const PATIENCE: Duration = Duration::from_secs(25);

/// How much more memory there may be afterwards, as a share.
const GROWTH_MAX: f64 = 0.10;

/// What is asked for: by name, with its content.
struct Wanted {
    name: &'static str,
    content: Vec<u8>,
}

fn wanted() -> Vec<Wanted> {
    vec![
        Wanted { name: "/wanted/small.txt", content: pattern(900) },
        Wanted { name: "/wanted/medium.bin", content: pattern(60_000) },
        Wanted { name: "/wanted/large.bin", content: pattern(LARGE_BYTES) },
    ]
}

/// Fetches whole files and parts of them and compares every byte, until `is_over`. Returns requests and bytes.
fn check(address: SocketAddr, wanted: &[Wanted], seed: u64, is_over: &AtomicBool) -> (u64, u64) {
    let mut random = Random::new(seed);
    let mut client = Client::connect(address);
    let (mut requests, mut bytes) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        let file = &wanted[if random.once_in(20) { 2 } else { random.below(2) }];
        if random.once_in(50) {
            client = Client::connect(address);
        }
        requests += 1;
        if random.once_in(2) {
            client.download(file.name, &file.content);
            bytes += file.content.len() as u64;
        } else {
            let first = random.below(file.content.len());
            let last = (first + random.below(30_000)).min(file.content.len() - 1);
            let response = client.get_with(file.name, &[&format!("Range: bytes={first}-{last}")]);
            assert!(
                response.status == 206 && response.content == file.content[first..=last],
                "{}",
                file.name
            );
            bytes += response.content.len() as u64;
        }
    }
    (requests, bytes)
}

/// Holds connections that drip, that read slowly and that say nothing, until `is_over`.
fn crowd_in(address: SocketAddr, size: usize, is_over: &AtomicBool, acts: &AtomicU64) {
    const PARTS: usize = 20;
    let mut drips = Crowd::new(address, size);
    let mut readers = Crowd::new(address, size / 2);
    let mut silent = Crowd::new(address, size / 2);
    for part in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        drips.fill(None, b"GET /a.txt HTTP/1.1\r\nHost: a\r\nX: ");
        readers.fill(Some(4_096), &request("GET", "/wanted/large.bin", &[]));
        silent.fill(None, b"");
        drips.each(part % PARTS, PARTS, |member| member.say(b"a"));
        readers.each(part % PARTS, PARTS, super::crowd::Member::sip);
        drips.look(Duration::from_millis(20));
        silent.look(Duration::from_millis(20));
        acts.fetch_add((drips.open() + readers.open()) as u64 / PARTS as u64, Ordering::Relaxed);
        // Now and then everybody hangs up at once.
        if part % 250 == 249 {
            [&mut drips, &mut readers, &mut silent].into_iter().for_each(Crowd::leave);
        }
    }
}

/// Sends mutated requests and connections that are reset, until `is_over`.
fn mutate(address: SocketAddr, files: &Files, seed: u64, is_over: &AtomicBool, acts: &AtomicU64) {
    let mut seed = seed << 32;
    while !is_over.load(Ordering::Relaxed) {
        seed += 1;
        mutation::attempt(address, files, seed).unwrap_or_else(|wrong| panic!("{wrong}"));
        if seed.is_multiple_of(4) {
            let mut client = Client::connect(address);
            client.send_to_deaf(&request("GET", "/wanted/large.bin", &[]));
            reset(client.into_stream());
        }
        acts.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// Everything at once for `span`. Returns requests and bytes that were compared, and acts of abuse.
fn abuse(server: &Server, files: &Files, wanted: &[Wanted], span: Duration) -> (u64, u64, u64) {
    let (is_over, acts) = (AtomicBool::new(false), AtomicU64::new(0));
    let address = server.address();
    let size = scaled(200, 1_000);
    std::thread::scope(|scope| {
        let checkers: Vec<_> = (1..3)
            .map(|seed| {
                scope.spawn({
                    let is_over = &is_over;
                    move || check(address, wanted, seed, is_over)
                })
            })
            .collect();
        let attackers = [
            scope.spawn(|| crowd_in(address, size, &is_over, &acts)),
            scope.spawn(|| mutate(address, files, 5, &is_over, &acts)),
        ];
        let start = Instant::now();
        while start.elapsed() < span && !checkers.iter().any(ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(50));
        }
        is_over.store(true, Ordering::Relaxed);
        attackers.into_iter().for_each(|thread| thread.join().expect("an attacker"));
        let sums = checkers.into_iter().map(|thread| thread.join().expect("no wrong byte"));
        let (requests, bytes) = sums.fold((0, 0), |sum, figures| (sum.0 + figures.0, sum.1 + figures.1));
        (requests, bytes, acts.load(Ordering::Relaxed))
    })
}

#[test]
fn mixed_abuse_leaves_nothing_behind() {
    let span = scaled(Duration::from_secs(8), Duration::from_secs(20 * 60));
    let _heavy = heavy();
    let (tree, files) = mutation::site();
    let wanted = wanted();
    for file in &wanted {
        tree.write(&file.name[1..], &file.content);
    }
    let flags = ["--header-timeout", "2s", "--send-timeout", "3s", "--access-log", "/dev/null"];
    let budget_flag = format!("--memory-budget={}m", budget_mib());
    let server = Server::start(&[&mutation::FLAGS[..], &flags, &[&budget_flag]].concat(), tree.root());
    let targets: Vec<&str> = wanted.iter().map(|file| file.name).chain(mutation::TARGETS).collect();
    // What caches, rings and arenas hold after a little of everything is what they will hold.
    abuse(&server, &files, &wanted, scaled(Duration::from_secs(4), Duration::from_secs(5 * 60)));
    settle(&server);
    std::thread::sleep(scaled(Duration::ZERO, PATIENCE));
    let calm = Calm::of(&server, &targets);
    let (requests, bytes, acts) = abuse(&server, &files, &wanted, span);
    settle(&server);
    Calm::of(&server, &targets);
    let back = calm.expect_back(&server, Duration::from_secs(10));
    eventually(PATIENCE, || {
        server.process().resident_bytes() as f64 <= calm.resident_bytes as f64 * (1.0 + GROWTH_MAX)
    });
    let resident = server.process().resident_bytes();
    let counters = server.counters(WORKERS);
    let sum = |name: &str| counters.iter().map(|worker| worker.get(name)).sum::<u64>();
    let cut = sum("header_timeouts") + sum("send_timeouts") + sum("refused_requests");
    let growth = resident as f64 / calm.resident_bytes as f64 - 1.0;
    let stderr = server.stderr();
    let unexplained: Vec<&str> =
        stderr.lines().filter(|line| !EXPLAINED.iter().any(|(part, _)| line.contains(part))).collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    let most = server.process().most_resident_bytes();
    assert!(most <= budget_mib() << 20, "{most} bytes of memory at most, more than {budget_flag}");
    assert!(growth <= GROWTH_MAX, "{resident} bytes of memory, {} before", calm.resident_bytes);
    assert!(requests > 100 && acts > 100 && cut > 100, "too little happened");
    report(
        "everything at once",
        &format!(
            "{span:?}: {requests} requests, {} MB, every byte compared, none wrong; {acts} acts of abuse, {cut} of them cut \
             or refused; memory {:.1} MiB, {:+.1} % of calm, at most {:.1} MiB with {budget_flag}; all descriptors back after {back:.1?}; {} lines, none \
             unexplained",
            bytes / 1_000_000,
            resident as f64 / 1_048_576.0,
            growth * 100.0,
            most as f64 / 1_048_576.0,
            stderr.lines().count(),
        ),
    );
}

/// Waits until nobody is connected any more.
#[track_caller]
fn settle(server: &Server) {
    let is_settled = eventually(Duration::from_secs(20), || server.process().sockets() < 8);
    assert!(is_settled, "{} sockets are left", server.process().sockets());
}
