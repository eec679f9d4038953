//! Rates: nobody is sent more than allowed, everybody gets as much, and who is too slow is cut.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::client::{Client, End, eventually, request};
use super::schedule::timed;
use super::server::{Launch, Server};
use super::slow_fs::{Delays, LARGE_BYTES, tree_with_cold};
use super::tree::{Tree, pattern};

const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1 << 20;

fn expect_between(took: Duration, least: Duration, most: Duration) {
    assert!((least..=most).contains(&took), "{took:?} is not between {least:?} and {most:?}");
}

/// A figure of all workers.
fn counter(server: &Server, name: &str) -> u64 {
    server.counters(2).iter().map(|counters| counters.get(name)).sum()
}

/// A server with two workers.
fn start(flags: &[&str], tree: &Tree) -> Server {
    Launch::new(tree.root()).flags(&["-t", "2"]).flags(flags).start()
}

#[test]
fn twenty_downloads_each_get_the_rate_and_small_files_come_at_once() {
    let whole = pattern(2 * MIB);
    let tree = Tree::new(&[("a.bin", &whole), ("small.txt", b"small"), ("page.html", &pattern(20_000))]);
    let server = start(&["--limit-rate", "512k", "--send-timeout", "1s"], &tree);
    let _timed = timed();
    let times = std::thread::scope(|scope| {
        let download = || {
            let mut client = server.connect();
            let start = Instant::now();
            client.download("/a.bin", &whole);
            start.elapsed()
        };
        let downloads: Vec<_> = (0..20).map(|_| scope.spawn(download)).collect();
        for _ in 0..20 {
            let start = Instant::now();
            let mut client = server.connect();
            assert_eq!(client.get("/small.txt").content, b"small");
            assert_eq!(client.get("/page.html").content.len(), 20_000);
            assert!(start.elapsed() < SECOND / 5, "{:?}", start.elapsed());
            std::thread::sleep(SECOND / 20);
        }
        downloads.into_iter().map(|download| download.join().expect("a download")).collect::<Vec<_>>()
    });
    for took in times {
        expect_between(took, SECOND * 35 / 10, SECOND * 48 / 10);
    }
}

#[test]
fn bytes_come_a_few_times_a_second_and_nobody_is_busy_meanwhile() {
    let tree = Tree::new(&[("a.bin", &pattern(8 * MIB))]);
    let server = Server::start(&["-t", "1", "--limit-rate", "1m"], tree.root());
    let _timed = timed();
    let before = server.process().processor_time();
    let mut client = server.connect();
    client.send(&request("GET", "/a.bin", &[]));
    let (mut last, mut gaps, mut received) = (Instant::now(), Vec::new(), 0);
    let start = Instant::now();
    client.response_head();
    while start.elapsed() < SECOND * 3 {
        client.content(8 << 10, |bytes| received += bytes.len());
        let gap = last.elapsed();
        last = Instant::now();
        if gap > SECOND / 20 {
            gaps.push(gap);
        }
    }
    assert!((9..=14).contains(&gaps.len()), "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap < SECOND * 7 / 10), "{gaps:?}");
    assert!((3 * MIB..4 * MIB).contains(&received), "{received} bytes in 3 s");
    let used = server.process().processor_time() - before;
    assert!(used < SECOND / 5, "{used:?} of processor for 3 MiB");
}

/// Whatever its bytes come from, a response is paced, and arrives whole.
#[test]
fn every_kind_of_content_is_paced() {
    let whole = pattern(MIB);
    let tree = Tree::new(&[("a.bin", &whole), ("small.bin", &whole[..10_000])]);
    let server = start(&["--limit-rate", "256k", "--send-timeout", "1s"], &tree);
    let _timed = timed();
    let paced = |what: &str, bytes: usize, run: &dyn Fn(&mut Client)| {
        let mut client = server.connect();
        let start = Instant::now();
        run(&mut client);
        let full = Duration::from_secs_f64(bytes as f64 / f64::from(256 << 10));
        let took = start.elapsed();
        assert!(took + SECOND / 2 >= full && took <= full + SECOND, "{what}: {took:?} instead of {full:?}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| paced("a file", MIB, &|client| client.download("/a.bin", &whole)));
        scope.spawn(|| {
            paced("many small ones on one connection", 60 * 10_000, &|client| {
                let asked = request("GET", "/small.bin", &[]);
                client.send(&asked.repeat(60));
                for _ in 0..60 {
                    assert!(client.response().content == whole[..10_000]);
                }
            });
        });
        scope.spawn(|| {
            paced("several parts", 800_000, &|client| {
                let fields = ["Range: bytes=0-399999,500000-899999"];
                let response = client.get_with("/a.bin", &fields);
                assert_eq!(response.status, 206);
                let parts = [&whole[..400_000], &whole[500_000..900_000]];
                let holds = |part: &[u8]| response.content.windows(part.len()).any(|window| window == part);
                assert!(parts.into_iter().all(holds));
            });
        });
        scope.spawn(|| {
            // Neither a head alone nor a confirmation is content, however much that content would be.
            paced("no content", 0, &|client| {
                let tag = client.exchange(&request("HEAD", "/a.bin", &[])).etag().to_owned();
                for _ in 0..50 {
                    let response = client.get_with("/a.bin", &[&format!("If-None-Match: {tag}")]);
                    assert_eq!(response.status, 304);
                }
            });
        });
    });
    // Nobody was stalled for being paced, though the rest took longer than the deadline.
    assert_eq!(counter(&server, "send_timeouts"), 0);
}

#[test]
fn content_that_helpers_read_is_paced() {
    let test = "pacing::content_that_helpers_read_is_paced";
    let Some((tree, fs)) = tree_with_cold(test, Delays::of(SECOND / 20)) else { return };
    let server = start(&["--limit-rate", "256k", "--send-timeout", "2s"], &tree);
    let _timed = timed();
    let start = Instant::now();
    server.connect().download("/cold/large-1.bin", &fs.content("large-1.bin"));
    let full = SECOND * u32::try_from(LARGE_BYTES).unwrap() / (256 << 10);
    expect_between(start.elapsed(), full - SECOND / 2, full + SECOND * 2);
    assert_eq!(counter(&server, "send_timeouts"), 0);
}

#[test]
fn a_paced_response_is_finished_within_the_grace_and_then_closed() {
    let whole = pattern(MIB);
    let tree = Tree::new(&[("a.bin", &whole)]);
    let mut server = start(&["--limit-rate", "512k", "--send-timeout", "1s"], &tree);
    let _timed = timed();
    let mut client = server.connect();
    client.send(&request("GET", "/a.bin", &[]));
    client.response_head();
    server.signal(rustix::process::Signal::TERM);
    let mut received = Vec::new();
    client.content(MIB as u64, |bytes| received.extend_from_slice(bytes));
    assert!(received == whole);
    client.expect_closed();
    assert!(server.wait_exit(SECOND * 5).success());
}

/// Reads a response at that many bytes a second, in small steps: what came of its content, which may be cut.
fn read_at(server: &Server, target: &str, rate: usize) -> Vec<u8> {
    const STEP: usize = 8 << 10;
    let mut client = Client::connect_with_window(server.address(), 16 << 10);
    client.send(&request("GET", target, &[]));
    let length = usize::try_from(client.response_head().content_length().unwrap()).unwrap();
    let (start, mut received) = (Instant::now(), Vec::new());
    while received.len() < length {
        let due = SECOND.mul_f64(received.len() as f64 / rate as f64);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let step = STEP.min(length - received.len()) as u64;
        if let Err(cut) = client.content_or_cut(step, |bytes| received.extend_from_slice(bytes)) {
            assert_eq!(cut.end, End::Reset);
            break;
        }
    }
    received
}

#[test]
fn a_reader_that_acknowledges_too_little_is_cut_and_one_just_above_is_kept() {
    let whole = pattern(3 * MIB);
    let tree = Tree::new(&[("a.bin", &whole)]);
    // The kernel may take all of it; then the client is looked at from the end of the idle timeout on.
    let flags =
        ["--min-rate", "400k", "--send-timeout", "2s", "--idle-timeout", "1s", "--log-level", "debug"];
    let server = start(&flags, &tree);
    let _timed = timed();
    std::thread::scope(|scope| {
        let kept = scope.spawn(|| read_at(&server, "/a.bin", 520 << 10));
        let cut = scope.spawn(|| read_at(&server, "/a.bin", 280 << 10));
        let received = cut.join().unwrap();
        assert!(received.len() < 2 * MIB && whole.starts_with(&received), "{} bytes", received.len());
        let received = kept.join().unwrap();
        assert!(received == whole, "{} bytes of one that was fast enough", received.len());
    });
    assert_eq!((counter(&server, "slow_peers"), counter(&server, "send_timeouts")), (1, 0));
    assert!(server.stderr().contains("TooSlow"), "{}", server.stderr());
}

#[test]
fn who_is_paced_by_the_server_is_never_too_slow_for_it() {
    let whole = pattern(MIB);
    let tree = Tree::new(&[("a.bin", &whole)]);
    let flags = ["--limit-rate", "256k", "--min-rate", "255k", "--send-timeout", "1s"];
    let server = start(&flags, &tree);
    let _timed = timed();
    let mut client = server.connect();
    for pause in [0, 3, 0] {
        // Nor one that took a rest between two requests.
        std::thread::sleep(SECOND * pause);
        client.download("/a.bin", &whole);
    }
    assert_eq!(counter(&server, "slow_peers"), 0);
}

#[test]
fn content_and_heads_that_drip_are_cut() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let flags =
        ["--min-rate", "1k", "--send-timeout", "1s", "--header-timeout", "30s", "--body-timeout", "30s"];
    let server = start(&flags, &tree);
    let _timed = timed();
    let head = request("POST", "/a.txt", &["Content-Length: 100000"]);
    // Whether what drips is cut, and after how long at the least.
    let drip = |start: &[u8], bytes: usize, is_cut: bool| {
        let mut stream = server.connect().into_stream();
        stream.write_all(start).unwrap();
        let started = Instant::now();
        let piece = vec![b'x'; bytes];
        let mut ended = None;
        while started.elapsed() < SECOND * 4 {
            std::thread::sleep(SECOND / 10);
            if stream.write_all(&piece).is_err() {
                ended = Some(started.elapsed());
                break;
            }
        }
        match (is_cut, ended) {
            (true, Some(after)) => assert!(after >= SECOND, "{after:?}"),
            (false, None) => {}
            _ => panic!("{bytes} bytes ten times a second: ended after {ended:?}"),
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| drip(&head, 20, true));
        scope.spawn(|| drip(&head, 300, false));
        scope.spawn(|| drip(b"GET /a.txt HTTP/1.1\r\nHost: x\r\nX: ", 2, true));
        scope.spawn(|| drip(b"GET /a.txt HTTP/1.1\r\nHost: x\r\nX: ", 250, false));
    });
    assert!(eventually(SECOND * 2, || counter(&server, "slow_peers") == 2));
    // Who says nothing between two requests is idle, not slow.
    let mut client = server.connect();
    client.get("/a.txt");
    client.expect_silence(SECOND * 2);
    client.get("/a.txt");
    assert_eq!(counter(&server, "slow_peers"), 2);
}

#[test]
fn more_cannot_be_demanded_than_is_sent() {
    let tree = Tree::new(&[]);
    for least in ["512k", "1m"] {
        let flags = ["--limit-rate", "512k", "--min-rate", least];
        let ended = Launch::new(tree.root()).flags(&flags).run();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("--min-rate") && ended.stderr.contains("524288"), "{}", ended.stderr);
    }
}
