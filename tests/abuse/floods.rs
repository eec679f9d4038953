//! Floods: of ranges, of connections that end at once, of connections that say nothing.
//!
//! What `--max-conns-per-ip` and `--rate` make of a flood is looked at in `black_box/fair.rs`.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::client::{eventually, request};
use super::crowd::{Crowd, reset};
use super::pace::{Calm, Latencies, WORKERS};
use super::random::Random;
use super::scale::{report, scaled};
use super::schedule::heavy;
use super::server::Server;
use super::tree::{Tree, pattern};

const FILE_BYTES: usize = 1 << 20;

fn site(flags: &[&str]) -> (Tree, Server) {
    let tree = Tree::new(&[("small.txt", b"small"), ("large.bin", &pattern(FILE_BYTES))]);
    let server = Server::start(&[&["-t", "2"], flags].concat(), tree.root());
    (tree, server)
}

/// A value of `Range` as an attacker writes it.
fn ranges(random: &mut Random) -> String {
    let number = |random: &mut Random| match random.below(12) {
        0 => u64::MAX.to_string(),
        1 => "99999999999999999999999999999999".into(),
        2 => (FILE_BYTES - 1).to_string(),
        _ => random.below(FILE_BYTES).to_string(),
    };
    let most = if random.once_in(2) { 1_000 } else { 12 };
    let parts: Vec<String> = (0..1 + random.below(most))
        .map(|_| match random.below(8) {
            0 => "0-".into(),
            1 => format!("-{}", number(random)),
            2 => format!("{}-", number(random)),
            3 => "0-0".into(),
            4 => "5-2".into(),
            _ => format!("{}-{}", number(random), number(random)),
        })
        .collect();
    let unit = random.pick(&["bytes=", "bytes=", "bytes=", "BYTES=", "bytes =", "lines=", "bytes=,,"]);
    let mut value = format!("{unit}{}", parts.join(random.pick(&[",", ", ", ",,", " , "])));
    value.truncate(8_000);
    if most < 1_000 && random.once_in(4) { format!("bytes={FILE_BYTES}-") } else { value }
}

#[test]
fn no_range_multiplies_a_file() {
    let rounds = scaled(300, 20_000);
    let _heavy = heavy();
    let (_tree, server) = site(&[]);
    let whole = pattern(FILE_BYTES);
    let calm = Calm::of(&server, &["/small.txt", "/large.bin"]);
    let mut random = Random::new(1);
    let mut client = server.connect();
    let (mut statuses, mut most, start) = ([0_usize; 3], 0, Instant::now());
    for round in 0..rounds {
        let value = ranges(&mut random);
        let response = client.get_with("/large.bin", &[&format!("Range: {value}")]);
        let kind = match response.status {
            200 => {
                assert!(response.content == whole, "round {round}: {value}");
                0
            }
            206 => 1,
            416 => 2,
            status => panic!("{status} to round {round}: {value}"),
        };
        statuses[kind] += 1;
        most = most.max(response.content.len());
    }
    let took = start.elapsed();
    drop(client);
    calm.expect_back(&server, Duration::from_secs(10));
    assert!(statuses.iter().all(|count| *count > rounds / 100), "{statuses:?}");
    // Sixteen heads of parts at most.
    assert!(most <= FILE_BYTES + 16 * 256, "a response of {most} bytes for a file of {FILE_BYTES}");
    report(
        "range flood",
        &format!(
            "{rounds} requests with up to 1,000 ranges in {took:.1?}: {} × 200, {} × 206, {} × 416; longest response \
             {most} of {FILE_BYTES} bytes",
            statuses[0], statuses[1], statuses[2]
        ),
    );
}

#[test]
fn connections_that_are_reset_leave_nothing() {
    let rounds = scaled(5_000, 200_000);
    let _heavy = heavy();
    let (_tree, server) = site(&[]);
    let calm = Calm::of(&server, &["/small.txt", "/large.bin"]);
    let adopted = |server: &Server| -> u64 {
        server.counters(WORKERS).iter().map(|worker| worker.get("adopted")).sum()
    };
    let before = adopted(&server);
    let attack = || {
        let start = Instant::now();
        for round in 0..rounds {
            let stream = TcpStream::connect(server.address()).expect("connect");
            match round % 4 {
                0 => {}
                1 => super::client::Client::over(stream.try_clone().expect("dup")).send_to_deaf(b"GET /sm"),
                2 => drop(std::io::Write::write(&mut &stream, &request("GET", "/small.txt", &[]))),
                _ => drop(std::io::Write::write(&mut &stream, &request("GET", "/large.bin", &[]))),
            }
            reset(stream);
        }
        start.elapsed()
    };
    let span = scaled(Duration::from_secs(1), Duration::from_secs(10));
    let (took, others) = std::thread::scope(|scope| {
        let attacker = scope.spawn(attack);
        let others = Latencies::of(server.address(), "/small.txt", b"small", span);
        (attacker.join().expect("an attacker"), others)
    });
    let back = calm.expect_back(&server, Duration::from_secs(10));
    let seen = adopted(&server) - before;
    report(
        "connect and reset",
        &format!(
            "{rounds} connections, {:.0} a second, of which {seen} were worth adopting; others {}; all descriptors back \
             after {back:.1?}",
            f64::from(rounds) / took.as_secs_f64(),
            others.shown()
        ),
    );
}

#[test]
fn connections_that_say_nothing_are_closed_in_time() {
    let size = scaled(1_000, 8_000);
    let _heavy = heavy();
    let (_tree, server) = site(&["--header-timeout", "2s"]);
    let calm = Calm::of(&server, &["/small.txt", "/large.bin"]);
    let mut crowd = Crowd::new(server.address(), size);
    let start = Instant::now();
    crowd.fill_up(None, b"");
    let (filled, resident) = (start.elapsed(), server.process().resident_bytes());
    let others = Latencies::of(server.address(), "/small.txt", b"small", Duration::from_millis(500));
    let is_over = eventually(Duration::from_secs(10), || {
        crowd.look(Duration::from_millis(10));
        crowd.open() == 0
    });
    let over = start.elapsed();
    assert!(is_over, "{} of {size} are still open after {over:?}", crowd.open());
    assert_eq!((crowd.total.closed, crowd.total.received), (size, 0), "closed in order, without a word");
    assert!(over <= filled + Duration::from_millis(3_500), "{over:?} with a --header-timeout of two seconds");
    calm.expect_back(&server, Duration::from_secs(5));
    report(
        "connect and say nothing",
        &format!(
            "{size} connections within {filled:.1?}, all closed after {over:.1?}; {} bytes of memory each; others {}",
            resident.saturating_sub(calm.resident_bytes) / size as u64,
            others.shown()
        ),
    );
}
