//! Pipelines: of garbage, and with garbage in the middle.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::mutation::{FLAGS, compare, converse, site};
use super::pace::Calm;
use super::random::Random;
use super::scale::{report, scaled};
use super::schedule::timed;
use super::server::Server;

const PLAIN: &[u8] = b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_pipeline_of_garbage_gets_one_refusal() {
    let rounds = scaled(200, 20_000);
    let _timed = timed();
    let (tree, files) = site();
    let server = Server::start(&FLAGS, tree.root());
    let calm = Calm::of(&server, &["/a.txt"]);
    let mut random = Random::new(4);
    let (mut sent, mut silent, start) = (0, 0, Instant::now());
    for round in 0..rounds {
        let length = 1 + random.below(100_000);
        let is_text = random.once_in(2);
        let byte = |byte: u8| if is_text { b' ' + byte % 0x5f } else { byte };
        let mut stream: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect();
        stream.iter_mut().for_each(|value| *value = byte(*value));
        stream.extend_from_slice(PLAIN);
        sent += stream.len();
        let received = converse(server.address(), &stream, None)
            .unwrap_or_else(|wrong| panic!("round {round}: {wrong}"));
        let statuses =
            compare(&stream, &received, &files).unwrap_or_else(|wrong| panic!("round {round}: {wrong}"));
        assert!(statuses.len() <= 1, "round {round}: {statuses:?}");
        silent += usize::from(statuses.is_empty());
    }
    let took = start.elapsed();
    calm.expect_back(&server, Duration::from_secs(10));
    report(
        "pipelines of garbage",
        &format!(
            "{rounds} of {sent} bytes in {took:.1?}: one refusal each, or silence where no line ended ({silent})"
        ),
    );
}

#[test]
fn garbage_in_the_middle_ends_a_pipeline_there() {
    const HALF: usize = 5_000;
    let _timed = timed();
    let (tree, files) = site();
    let server = Server::start(&FLAGS, tree.root());
    let calm = Calm::of(&server, &["/a.txt"]);
    let garbage: [&[u8]; 6] = [
        b"\0\0\0\0\r\n\r\n",
        b"GET /a.txt HTTP/1.1\nHost: a\n\n",
        b"POST /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"garbage garbage garbage garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ];
    let rounds = scaled(garbage.len(), 60);
    let mut took = Duration::ZERO;
    for round in 0..rounds {
        let stream = [&PLAIN.repeat(HALF), garbage[round % garbage.len()], &PLAIN.repeat(HALF)].concat();
        let start = Instant::now();
        let received = all_of(&server, &stream);
        took += start.elapsed();
        let statuses =
            compare(&stream, &received, &files).unwrap_or_else(|wrong| panic!("round {round}: {wrong}"));
        let served = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!((served, statuses.len()), (HALF, HALF + 1), "round {round}");
    }
    calm.expect_back(&server, Duration::from_secs(10));
    report(
        "garbage in a pipeline of 10,000",
        &format!("{rounds} in {took:.1?}: {HALF} answers each, one refusal, and nothing behind it"),
    );
}

/// All that comes back, read while it is sent.
fn all_of(server: &Server, stream: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(server.address()).expect("connect");
    let mut writer = socket.try_clone().expect("dup");
    socket.set_read_timeout(Some(Duration::from_secs(8))).expect("SO_RCVTIMEO");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = writer.write_all(stream);
            let _ = writer.shutdown(Shutdown::Write);
        });
        let mut received = Vec::new();
        socket.read_to_end(&mut received).expect("an end in order");
        received
    })
}
