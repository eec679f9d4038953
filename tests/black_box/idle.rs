//! Ten thousand idle connections: what they cost, and that they are let go in time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::client::Client;
use super::process::raise_descriptor_limit;
use super::schedule::{heavy, note, skip};
use super::server::Server;
use super::tree::Tree;

const COUNT: usize = 10_000;

/// What an idle connection may cost in resident memory.
const BYTES_MAX: u64 = 256;

const IDLE_TIMEOUT: Duration = Duration::from_secs(8);

/// Connects from one of several addresses of this machine, since each has only so many ports.
fn connect_from(index: usize, server: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let source = [[127, 0, 1, 1], [127, 0, 1, 2], [127, 0, 1, 3], [127, 0, 1, 4]][index % 4];
    socket.bind(&SocketAddr::from((source, 0)).into()).expect("bind");
    socket.connect(&server.into()).expect("connect");
    Client::over(socket.into())
}

#[test]
fn ten_thousand_idle_connections_are_cheap_and_end_in_time() {
    let _heavy = heavy();
    if raise_descriptor_limit() < COUNT as u64 + 1_000 {
        return skip("idle::ten_thousand_idle_connections_are_cheap_and_end_in_time", "too few descriptors");
    }
    let tree = Tree::new(&[("a.txt", b"a")]);
    let idle_timeout = format!("{}ms", IDLE_TIMEOUT.as_millis());
    let server = Server::start(&["-t", "2", "--idle-timeout", &idle_timeout], tree.root());
    // Whatever is made once, at the first use, is no cost of a connection.
    for index in 0..200 {
        connect_from(index, server.address()).get("/a.txt");
    }
    std::thread::sleep(Duration::from_millis(200));
    let process = server.process();
    let (baseline, before) = (process.sockets(), process.resident_bytes());

    let start = Instant::now();
    let mut streams = Vec::with_capacity(COUNT);
    for index in 0..COUNT {
        let mut client = connect_from(index, server.address());
        assert_eq!(client.get("/a.txt").content, b"a");
        streams.push(client.into_stream());
    }
    let opened_in = start.elapsed();
    assert!(opened_in < IDLE_TIMEOUT, "too slow a machine: the first end before the last begin");
    let bytes = process.resident_bytes().saturating_sub(before) / COUNT as u64;
    note(&format!("idle: {bytes} bytes of resident memory a connection, {COUNT} opened in {opened_in:?}"));
    assert!(process.sockets() >= baseline + COUNT, "all are held");
    if !cfg!(debug_assertions) {
        assert!(bytes <= BYTES_MAX, "{bytes} bytes of resident memory an idle connection");
    }

    let mut other = server.connect();
    for _ in 0..100 {
        let asked = Instant::now();
        assert_eq!(other.get("/a.txt").content, b"a");
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    drop(other);

    for stream in streams {
        Client::over(stream).expect_closed();
    }
    let took = start.elapsed();
    assert!(took >= IDLE_TIMEOUT, "closed after {took:?}");
    assert!(took < opened_in + IDLE_TIMEOUT + Duration::from_secs(4), "closed after {took:?}");
    let is_clean = super::client::eventually(Duration::from_secs(3), || process.sockets() <= baseline);
    assert!(is_clean, "{} sockets, {baseline} before", process.sockets());
}
