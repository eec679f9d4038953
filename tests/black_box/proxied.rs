//! Connections that begin with a header of the PROXY protocol.

use std::fs;
use std::time::Duration;

use socket2::SockRef;

use super::client::{Client, eventually, request};
use super::server::{PATIENCE, Server};
use super::tree::Tree;

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";
/// The same, with a vector that means nothing to us.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x11\xc0\x00\x02\x07\xc6\x33\x64\x01\x12\x67\x00\x50\x04\x00\x02xx";
/// About the proxy itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

fn site() -> Tree {
    Tree::new(&[("a.txt", b"a")])
}

fn after(header: &[u8], request: &[u8]) -> Vec<u8> {
    [header, request].concat()
}

#[test]
fn the_header_says_whose_connection_it_is() {
    let (tree, logs) = (site(), Tree::new(&[]));
    let path = logs.path("access.log");
    let flags =
        ["-t", "1", "--proxy-protocol=on", "--deny", "192.0.2.7", "--access-log", path.to_str().unwrap()];
    let server = Server::start(&flags, tree.root());
    let table: [(&[u8], u16, &str); 6] = [
        (V1, 403, "192.0.2.7"),
        (V2, 403, "192.0.2.7"),
        (b"PROXY TCP4 192.0.2.8 198.51.100.1 4711 80\r\n", 200, "192.0.2.8"),
        (b"PROXY TCP6 2001:db8::1 ::1 4711 80\r\n", 200, "2001:db8::1"),
        (b"PROXY UNKNOWN\r\n", 200, "127.0.0.1"),
        (LOCAL, 200, "127.0.0.1"),
    ];
    for (header, status, _) in table {
        let mut client = server.connect();
        assert_eq!(client.exchange(&after(header, &request("GET", "/a.txt", &[]))).status, status);
        // The next request has no header of its own.
        assert_eq!(client.get("/a.txt").status, status, "{}", header.escape_ascii());
    }
    let mut log = String::new();
    let count = 2 * table.len();
    eventually(PATIENCE, || {
        log = fs::read_to_string(&path).unwrap_or_default();
        log.lines().count() >= count
    });
    for (at, line) in log.lines().enumerate() {
        assert!(line.starts_with(&format!("{} - - [", table[at / 2].2)), "{line}");
    }
}

#[test]
fn a_header_may_be_split_anywhere_and_be_followed_at_once() {
    let tree = site();
    let server = Server::start(&["-t", "1", "--proxy-protocol=on"], tree.root());
    let pipeline = [request("GET", "/a.txt", &[]), request("GET", "/missing", &[])].concat();
    for header in [V1, V2] {
        let bytes = after(header, &pipeline);
        for at in 1..header.len() + 2 {
            let mut client = server.connect();
            client.send(&bytes[..at]);
            std::thread::sleep(Duration::from_millis(2));
            client.send(&bytes[at..]);
            assert_eq!([client.response().status, client.response().status], [200, 404], "{at}");
        }
        let mut client = server.connect();
        for byte in header {
            client.send(&[*byte]);
        }
        assert_eq!(client.get("/a.txt").content, b"a");
    }
    assert_eq!(server.counters(1)[0].get("panics"), 0);
}

fn expect_nothing(client: &mut Client, sent: &[u8]) {
    client.send_to_deaf(sent);
    assert!(client.response_or_end().is_none(), "{}", sent.escape_ascii());
}

#[test]
fn what_is_no_header_is_closed_without_a_word_and_counted() {
    let tree = site();
    let server = Server::start(&["-t", "1", "--proxy-protocol"], tree.root());
    let endless = after(b"PROXY UNKNOWN ", &[b'x'; 200]);
    let too_long = after(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", &[0; 100]);
    let get = request("GET", "/a.txt", &[]);
    let wrong: [&[u8]; 6] =
        [&get, b"PROXY TCP4 nowhere\r\n", &endless, &too_long, b"\r\n\r\n\0\r\nQUIT\n\x31", b"\x16\x03\x01"];
    for bytes in wrong {
        expect_nothing(&mut server.connect(), bytes);
    }
    let mut cut = server.connect();
    cut.send(&V1[..9]);
    cut.finish_sending();
    assert!(cut.response_or_end().is_none());
    // Who only looks whether somebody listens is not to blame.
    let silent = server.connect();
    silent.finish_sending();
    drop(silent);
    // Nor is a proxy that has died.
    let counted = |name| server.counters(1)[0].get(name);
    let count = wrong.len() as u64 + 3;
    let mut reset = server.connect();
    reset.send(&V1[..9]);
    assert!(eventually(PATIENCE, || counted("adopted") == count), "{}", counted("adopted"));
    SockRef::from(&reset.writer()).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    drop(reset);
    assert!(eventually(PATIENCE, || counted("closed") == count), "{}", counted("closed"));
    assert_eq!(counted("proxy_refusals"), wrong.len() as u64 + 1);
}

#[test]
fn a_header_that_takes_too_long_is_cut_off_without_a_word() {
    let tree = site();
    let server = Server::start(&["-t", "1", "--proxy-protocol=on", "--header-timeout", "500ms"], tree.root());
    let mut client = server.connect();
    client.send(&V1[..9]);
    client.expect_closed();
    assert_eq!(server.counters(1)[0].get("header_timeouts"), 1);
    // With the header, the rest is a request like any other.
    let mut client = server.connect();
    client.send(&after(V1, b"GET / HT"));
    assert_eq!(client.response().status, 408);
}

#[test]
fn only_who_is_trusted_may_send_a_header() {
    let tree = site();
    let bytes = after(V1, &request("GET", "/a.txt", &[]));
    let trusting = |network: &str| Server::start(&["--proxy-protocol=on", "--trust", network], tree.root());
    assert_eq!(trusting("127.0.0.0/8").connect().exchange(&bytes).status, 200);
    expect_nothing(&mut trusting("10.0.0.0/8").connect(), &bytes);
    // Without the flag it is no request.
    let server = Server::start(&[], tree.root());
    assert_eq!(server.connect().exchange(&bytes).status, 400);
}

#[test]
fn an_address_from_the_header_is_believed_or_not_like_any_other() {
    let tree = site();
    let flags = ["--proxy-protocol=on", "--trust", "127.0.0.1,192.0.2.7", "--deny", "203.0.113.1"];
    let server = Server::start(&flags, tree.root());
    let forwarded = request("GET", "/a.txt", &["X-Forwarded-For: 203.0.113.1"]);
    assert_eq!(server.connect().exchange(&after(V1, &forwarded)).status, 403);
    let other = b"PROXY TCP4 192.0.2.8 198.51.100.1 4711 80\r\n";
    assert_eq!(server.connect().exchange(&after(other, &forwarded)).status, 200);
}

#[test]
fn what_a_client_says_whom_the_proxy_cannot_name_is_not_believed() {
    let tree = site();
    let flags = ["--proxy-protocol=on", "--trust", "127.0.0.1", "--deny", "203.0.113.1"];
    let server = Server::start(&flags, tree.root());
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let unspecified = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0";
    let unix = [b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8".as_slice(), &[b'x'; 216]].concat();
    let table: [(&[u8], u16); 4] =
        [(b"PROXY UNKNOWN\r\n", 200), (unspecified, 200), (&unix, 200), (local, 403)];
    for (header, status) in table {
        let denied = request("GET", "/a.txt", &["X-Forwarded-For: 203.0.113.1"]);
        let mut client = server.connect();
        assert_eq!(client.exchange(&after(header, &denied)).status, status, "{}", header.escape_ascii());
        // It is served like the proxy itself, which the address of the peer is.
        assert_eq!(client.exchange(&request("GET", "/a.txt", &[])).status, 200);
    }
    let server = Server::start(
        &["--proxy-protocol=on", "--trust", "127.0.0.1", "--allow", "203.0.113.1"],
        tree.root(),
    );
    let allowed = request("GET", "/a.txt", &["X-Forwarded-For: 203.0.113.1"]);
    assert_eq!(server.connect().exchange(&after(b"PROXY UNKNOWN\r\n", &allowed)).status, 403);
}
