//! One budget of memory: whatever clients do, the process keeps to it, serves everybody else meanwhile, and is as small
//! afterwards as it was before.
//!
//! Counted are `RssAnon` and `RssShmem`. Pages of mapped files, the program itself among them, are the kernel's to take
//! back; and what is made lies in memfds, which are not mapped, so that their lengths are added.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::client::{Client, eventually, request};
use super::process::raise_descriptor_limit;
use super::schedule::{heavy, note, skip};
use super::server::{Launch, Server};
use super::tree::{Tree, pattern};

const BUDGET: u64 = 64 << 20;
const SECOND: Duration = Duration::from_secs(1);

/// A server with that budget, two workers and deadlines that let an attack last.
fn start(tree: &Tree, flags: &[&str]) -> Server {
    raise_descriptor_limit();
    let launch = Launch::new(tree.root()).flags(&["-t", "2", "--memory-budget", "64m", "--verbose"]);
    launch
        .flags(&["--header-timeout", "60s", "--send-timeout", "60s", "--idle-timeout", "60s"])
        .flags(flags)
        .start()
}

/// What it may keep in buffers for reuse, as it says at the start. How much it does is decided by who goes first.
fn spare_bytes(server: &Server) -> u64 {
    let told = server.stderr();
    let share = told
        .split(", ")
        .find_map(|share| share.split_once(" for ").filter(|(_, what)| what.contains("spare buffers")));
    let (figure, unit) =
        share.and_then(|(size, _)| size.split_once(' ')).expect("the share of spare buffers");
    let (whole, tenths) = figure.split_once('.').unwrap_or((figure, "0"));
    let number = |text: &str| -> u64 { text.parse().expect("a figure") };
    (number(whole) * 10 + number(tenths)) * (if unit == "MiB" { 1 << 20 } else { 1 << 10 }) / 10
}

/// What it takes of the budget now.
fn taken(server: &Server) -> u64 {
    server.process().own_bytes() + server.process().memfd_bytes()
}

/// Watches the memory, and a client that does nothing wrong, while `attack` runs. Every request of that client must be
/// answered, on new connections and on a kept one.
fn under_attack<R>(server: &Server, target: &str, content: &[u8], attack: impl FnOnce() -> R) -> (R, u64) {
    let (is_over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                most.fetch_max(taken(server), Ordering::Relaxed);
                std::thread::sleep(SECOND / 100);
            }
        });
        let client = scope.spawn(|| {
            let mut kept = server.connect();
            let mut answered = 0_u32;
            while !is_over.load(Ordering::Relaxed) {
                for response in [server.connect().get(target), kept.get(target)] {
                    assert!(response.content == content, "{} instead of {target}", response.status);
                }
                answered += 1;
                std::thread::sleep(SECOND / 50);
            }
            answered
        });
        let over = Over(&is_over);
        let result = attack();
        drop(over);
        watch.join().expect("the watch");
        assert!(client.join().expect("the client is answered") > 0);
        most.fetch_max(taken(server), Ordering::Relaxed);
        let most = most.load(Ordering::Relaxed);
        assert!(most < BUDGET, "{most} bytes of {BUDGET}");
        (result, most)
    })
}

/// Ends what goes on beside an attack, even if the attack fails.
struct Over<'o>(&'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs an attack three times. The first makes what is made once, and its end is what calm is like: so much may remain
/// after the others, and a tenth, and spare buffers. A twentieth of the budget is how far the allocator alone may be off.
fn expect_calm_again(test: &str, server: &Server, target: &str, content: &[u8], attack: impl Fn()) {
    let sockets = server.process().sockets();
    let settle = || {
        assert!(eventually(SECOND * 10, || server.process().sockets() <= sockets), "clients are gone");
        server.connect().get(target);
    };
    let start = Instant::now();
    let calm = |most: u64| {
        settle();
        let now = taken(server);
        note(&format!("{test}: {} KiB at most, {} KiB afterwards", most >> 10, now >> 10));
        now
    };
    let fresh = taken(server);
    let before = calm(under_attack(server, target, content, &attack).1);
    for _ in 0..2 {
        calm(under_attack(server, target, content, &attack).1);
    }
    let most = before + (before / 10).max(BUDGET / 20) + spare_bytes(server);
    // What nobody needed for two periods of ten seconds is given up.
    let is_calm = eventually(SECOND * 25, || taken(server) <= most);
    assert!(is_calm, "{} bytes after, {before} before, {fresh} at the start", taken(server));
    assert!(start.elapsed() < SECOND * 60);
}

fn connect(server: SocketAddr) -> TcpStream {
    TcpStream::connect(server).expect("connect")
}

fn counter(server: &Server, name: &str) -> u64 {
    server.counters(2).iter().map(|counters| counters.get(name)).sum()
}

#[test]
fn thousands_of_partial_heads_fit_into_the_budget() {
    let test = "memory::thousands_of_partial_heads_fit_into_the_budget";
    let _heavy = heavy();
    if raise_descriptor_limit() < 8_000 {
        return skip(test, "too few descriptors");
    }
    let content = pattern(9_000);
    let tree = Tree::new(&[("a.bin", &content)]);
    // Where connections were scarce, idle ones would have to make room.
    let server = start(&tree, &["--max-conns", "5000"]);
    let mut head = b"GET /a.bin HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
    head.resize(15 << 10, b'x');
    expect_calm_again(test, &server, "/a.bin", &content, || {
        let mut streams: Vec<_> = (0..4_000).map(|_| connect(server.address())).collect();
        // In two pieces, for which buffers grow. Some are refused before all of it is sent.
        for piece in head.chunks(8 << 10) {
            for stream in &mut streams {
                let _ = stream.write_all(piece);
            }
        }
        std::thread::sleep(SECOND);
    });
    assert!(counter(&server, "memory_refusals") > 1_000);
    // Who is refused is told, and that it may try again.
    let mut streams: Vec<_> = (0..3_000).map(|_| connect(server.address())).collect();
    for stream in &mut streams {
        let _ = stream.write_all(&head);
    }
    let mut last = Client::over(streams.pop().unwrap());
    let response = last.response();
    assert_eq!((response.status, response.closes()), (503, true));
    // Who was let in is served when the rest comes.
    let mut first = Client::over(streams.remove(0));
    first.send(b"\r\n\r\n");
    assert!(first.response().content == content);
}

#[test]
fn thousands_of_slow_readers_fit_into_the_budget() {
    let test = "memory::thousands_of_slow_readers_fit_into_the_budget";
    let _heavy = heavy();
    if raise_descriptor_limit() < 8_000 {
        return skip(test, "too few descriptors");
    }
    let (small, medium) = (pattern(15_000), pattern(300_000));
    let tree = Tree::new(&[("small.bin", &small), ("medium.bin", &medium)]);
    let server = start(&tree, &[]);
    // What is there for each connection stays: so all of it is made first.
    let idle: Vec<_> = (0..2_000).map(|_| connect(server.address())).collect();
    assert!(eventually(SECOND * 10, || counter(&server, "open") >= 2_000), "all are taken over");
    drop(idle);
    expect_calm_again(test, &server, "/small.bin", &small, || {
        let mut clients = Vec::new();
        for number in 0..2_000 {
            let mut client = Client::connect_with_window(server.address(), 4 << 10);
            // Those of a file wait in the kernel, those of many small ones in the process.
            let asked = match number % 2 {
                0 => request("GET", "/medium.bin", &[]).repeat(3),
                _ => request("GET", "/small.bin", &[]).repeat(200),
            };
            client.send_to_deaf(&asked);
            clients.push(client);
        }
        std::thread::sleep(SECOND);
    });
    assert!(counter(&server, "memory_refusals") > 100, "the share was not used up");
    let mut client = Client::connect_with_window(server.address(), 4 << 10);
    client.download("/medium.bin", &medium);
}

#[test]
fn caches_that_overflow_keep_to_the_budget() {
    let test = "memory::caches_that_overflow_keep_to_the_budget";
    let _heavy = heavy();
    let content = pattern(16_000);
    let tree = Tree::new(&[("a.bin", &content)]);
    for number in 0..4_000 {
        tree.write(&format!("file-{number}.bin"), &content[..15_000 + number % 1_000]);
    }
    let server = start(&tree, &[]);
    expect_calm_again(test, &server, "/a.bin", &content, || {
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.connect();
                    for number in (0..4_000).filter(|number| number % 2 == thread) {
                        // So that each worker's cache overflows.
                        if number % 100 == thread {
                            client = server.connect();
                        }
                        let length = client.get(&format!("/file-{number}.bin")).content.len();
                        assert_eq!(length, 15_000 + number % 1_000);
                    }
                });
            }
        });
    });
}

#[test]
fn floods_of_ranges_keep_to_the_budget() {
    let test = "memory::floods_of_ranges_keep_to_the_budget";
    let _heavy = heavy();
    let content = pattern(250_000);
    let tree = Tree::new(&[]);
    for number in 0..300 {
        tree.write(&format!("file-{number}.bin"), &content);
    }
    // Files are held in memory for their ranges only once they are settled.
    std::thread::sleep(Duration::from_millis(2_100));
    let server = start(&tree, &[]);
    let several: Vec<_> = (0..16).map(|part| format!("{}-{}", part * 15_000, part * 15_000 + 999)).collect();
    let several = format!("Range: bytes={}", several.join(","));
    expect_calm_again(test, &server, "/file-0.bin", &content, || {
        let mut readers = Vec::new();
        for number in 0..300 {
            let target = format!("/file-{number}.bin");
            let mut client = server.connect();
            for _ in 0..18 {
                let part = client.get_with(&target, &["Range: bytes=1000-16999"]);
                assert!(part.content == content[1_000..17_000]);
            }
            assert_eq!(client.get_with(&target, &[&several]).status, 206);
            // Has the whole of what is held, and keeps it.
            let mut reader = Client::connect_with_window(server.address(), 4 << 10);
            reader.send(&request("GET", &target, &[]));
            readers.push(reader);
        }
    });
}

#[test]
fn coding_many_files_keeps_to_the_budget() {
    let test = "memory::coding_many_files_keeps_to_the_budget";
    let _heavy = heavy();
    let tree = Tree::new(&[("a.bin", b"content")]);
    for number in 0..60_u32 {
        // Text that gets hardly shorter.
        let text: String =
            pattern(400_000).iter().map(|byte| format!("{:x}", u32::from(*byte) ^ number)).collect();
        tree.write(&format!("file-{number}.txt"), text.as_bytes());
    }
    let server = start(&tree, &["-x"]);
    expect_calm_again(test, &server, "/a.bin", b"content", || {
        let mut readers = Vec::new();
        for number in 0..60 {
            for coding in ["br", "gzip"] {
                let mut reader = Client::connect_with_window(server.address(), 4 << 10);
                let fields = [&*format!("Accept-Encoding: {coding}")];
                reader.send(&request("GET", &format!("/file-{number}.txt"), &fields));
                readers.push(reader);
            }
        }
        for reader in &mut readers {
            let mut start = [0; 12];
            let mut stream = reader.writer();
            stream.read_exact(&mut start).expect("an answer");
            assert!([b"HTTP/1.1 200", b"HTTP/1.1 503"].contains(&&start), "{}", start.escape_ascii());
        }
    });
}

#[test]
fn what_does_not_fit_is_refused_at_start_and_the_rest_is_told() {
    let tree = Tree::new(&[]);
    let refused = |flags: &[&str]| {
        let ended = Launch::new(tree.root()).flags(&["-t", "2"]).flags(flags).run();
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        ended.stderr
    };
    let line = refused(&["--memory-budget", "2m"]);
    assert!(line.contains("--memory-budget 2.0 MiB") && line.contains("is needed"), "{line}");
    let (_, needed) = line.split_once("at least ").unwrap();
    let (needed, _) = needed.split_once(" is needed").unwrap();
    drop(Launch::new(tree.root()).flags(&["-t", "2", "--memory-budget", needed]).start());
    for (flag, value) in [("--mem-cache", "1g"), ("--open-cache", "100000"), ("--max-conns", "900000")] {
        if flag != "--mem-cache" && raise_descriptor_limit() < 1_000_000 {
            continue;
        }
        let line = refused(&["--memory-budget", "64m", flag, value]);
        assert!(line.contains(flag) && line.contains(" does; lower"), "{line}");
    }
    let check = |flags: &[&str]| {
        let launch = Launch::bare().flags(&["check", "-p", "0", "-t", "2"]).flags(flags);
        launch.flags(&[tree.root()]).run().stdout
    };
    let told = check(&["--memory-budget", "64m"]);
    assert!(told.contains("ok    memory") && told.contains("of 64.0 MiB shared out"), "{told}");
    assert!(check(&["--memory-budget", "2m"]).contains("fail  memory"));
    assert!(!check(&[]).contains("ok    memory"));
    let server = start(&tree, &[]);
    assert!(server.stderr().contains("memory: 63."), "{}", server.stderr());
}
