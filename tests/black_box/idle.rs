//! Ten thousand idle connections: what they cost, and that they are let go in time.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::client::{Client, eventually};
use super::process::raise_descriptor_limit;
use super::schedule::{heavy, note, skip};
use super::server::Server;
use super::tree::Tree;

const COUNT: usize = 10_000;

/// What an idle connection may cost in resident memory.
const BYTES_MAX: u64 = 256;

const IDLE_TIMEOUT: Duration = Duration::from_secs(8);

/// Where the connections come from, since one address has only so many ports.
const SOURCES: [[u8; 4]; 4] = [[127, 0, 1, 1], [127, 0, 1, 2], [127, 0, 1, 3], [127, 0, 1, 4]];

/// Opens the connections of one source, each after one exchange.
fn open_share(source: usize, server: SocketAddr) -> Vec<TcpStream> {
    let open = |_| {
        let mut client = Client::connect_from(SOURCES[source], server);
        assert_eq!(client.get("/a.txt").content, b"a");
        client.into_stream()
    };
    (0..COUNT / SOURCES.len()).map(open).collect()
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
    let address = server.address();
    let process = server.process();
    let baseline = process.sockets();
    // Whatever is made once, at the first use, is no cost of a connection.
    for index in 0..200 {
        Client::connect_from(SOURCES[index % SOURCES.len()], address).get("/a.txt");
    }
    let is_clean = || eventually(Duration::from_secs(5), || process.sockets() <= baseline);
    assert!(is_clean(), "{} sockets, {baseline} before", process.sockets());
    let before = process.resident_bytes();

    let start = Instant::now();
    let streams: Vec<TcpStream> = std::thread::scope(|scope| {
        let shares: Vec<_> =
            (0..SOURCES.len()).map(|source| scope.spawn(move || open_share(source, address))).collect();
        shares.into_iter().flat_map(|share| share.join().expect("all connections open")).collect()
    });
    let opened_in = start.elapsed();
    assert!(opened_in < IDLE_TIMEOUT, "too slow a machine: the first end before the last begin");
    let bytes = process.resident_bytes().saturating_sub(before) / COUNT as u64;
    note(&format!("idle: {bytes} bytes of resident memory a connection, {COUNT} opened in {opened_in:?}"));
    assert!(process.sockets() >= baseline + COUNT, "all are held");
    assert!(bytes <= BYTES_MAX, "{bytes} bytes of resident memory an idle connection");

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
    assert!(is_clean(), "{} sockets, {baseline} before", process.sockets());
}
