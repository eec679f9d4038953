//! Connections over their life: input in any pieces, pipelines, half-closed clients, persistence (RFC 9112 §9),
//! and that waiting costs nothing.

use std::io::Write as _;
use std::time::Duration;

use super::client::{Client, request};
use super::schedule::timed;
use super::server::Server;
use super::tree::{Tree, pattern};

/// Processor time that a waiting server may use in a second: a busy loop uses all of it.
const IDLE_SHARE: Duration = Duration::from_millis(100);

fn site() -> (Tree, Server) {
    let files: [(&str, &[u8]); 4] = [
        ("a.txt", b"first"),
        ("b.txt", b"second"),
        ("c.txt", &pattern(3_000)),
        ("big.bin", &pattern(20 << 20)),
    ];
    let tree = Tree::new(&files);
    let server = Server::start(&[], tree.root());
    (tree, server)
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let (_tree, server) = site();
    let mut client = server.connect();
    for byte in request("GET", "/a.txt", &["Accept: */*"]) {
        client.send(&[byte]);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.response().content, b"first");
    let post = [
        request("POST", "/a.txt", &["Transfer-Encoding: chunked"]),
        b"3;x\r\nabc\r\n0\r\nT: t\r\n\r\n".to_vec(),
    ];
    for byte in [post.concat(), request("GET", "/b.txt", &[])].concat() {
        client.send(&[byte]);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.response().status, 405);
    assert_eq!(client.response().content, b"second");
}

#[test]
fn two_requests_may_be_split_anywhere() {
    let (_tree, server) = site();
    let mut client = server.connect();
    let both = [request("GET", "/a.txt", &[]), request("GET", "/b.txt", &[])].concat();
    for at in 1..both.len() {
        let (start, rest) = both.split_at(at);
        client.send(start);
        std::thread::sleep(Duration::from_millis(1));
        client.send(rest);
        assert_eq!(client.response().content, b"first", "split at {at}");
        assert_eq!(client.response().content, b"second", "split at {at}");
    }
}

#[test]
fn a_pipeline_of_ten_thousand_is_answered_in_order() {
    const COUNT: usize = 10_000;
    let (_tree, server) = site();
    let mut client = server.connect();
    let large = pattern(3_000);
    let kinds: [(Vec<u8>, u16, &[u8]); 5] = [
        (request("GET", "/a.txt", &[]), 200, b"first"),
        (request("GET", "/b.txt", &[]), 200, b"second"),
        (request("GET", "/c.txt", &[]), 200, &large),
        (request("GET", "/a.txt", &["Range: bytes=1-2"]), 206, b"ir"),
        ([request("POST", "/a.txt", &["Content-Length: 4"]), b"GET ".to_vec()].concat(), 405, b""),
    ];
    // Scrambled, so that a lost or repeated response does not fall in with a period.
    let order: Vec<usize> = (0..COUNT).map(|index| ((index * 0x9e37_79b1) >> 16) % kinds.len()).collect();
    let pipeline: Vec<u8> = order.iter().flat_map(|&kind| kinds[kind].0.iter().copied()).collect();
    let mut writer = client.writer();
    let writing = std::thread::spawn(move || writer.write_all(&pipeline));
    for (index, &kind) in order.iter().enumerate() {
        let response = client.response();
        let (_, status, content) = &kinds[kind];
        assert_eq!(response.status, *status, "response {index}");
        assert!(*status == 405 || response.content == *content, "response {index}");
    }
    writing.join().unwrap().unwrap();
    client.finish_sending();
    client.expect_closed();
}

#[test]
fn nothing_is_answered_after_a_close() {
    let (_tree, server) = site();
    let mut client = server.connect();
    let last = request("GET", "/a.txt", &["Connection: close"]);
    client.send(&[request("GET", "/b.txt", &[]), last, request("GET", "/b.txt", &[])].concat());
    assert_eq!(client.response().content, b"second");
    let response = client.response();
    assert_eq!((response.closes(), response.content.as_slice()), (true, &b"first"[..]));
    client.expect_closed();
}

#[test]
fn a_half_closed_client_is_answered_in_full() {
    let (_tree, server) = site();
    let whole = pattern(20 << 20);
    let mut client = server.connect();
    client.send(&request("GET", "/big.bin", &[]));
    client.finish_sending();
    let response = client.response();
    assert_eq!(response.status, 200);
    assert!(response.content == whole, "wrong bytes");
    client.expect_closed();

    let mut client = server.connect();
    client.send(&request("GET", "/c.txt", &[]).repeat(100));
    client.finish_sending();
    for _ in 0..100 {
        assert_eq!(client.response().content.len(), 3_000);
    }
    client.expect_closed();
}

#[test]
fn a_half_closed_pipeline_of_large_files_is_answered_in_full() {
    let (_tree, server) = site();
    let whole = pattern(20 << 20);
    let mut client = server.connect();
    client.send(&[request("GET", "/big.bin", &[]).repeat(3), request("GET", "/a.txt", &[])].concat());
    client.finish_sending();
    for _ in 0..3 {
        let response = client.response();
        assert!(response.content == whole, "wrong bytes");
    }
    assert_eq!(client.response().content, b"first");
    client.expect_closed();
}

#[test]
fn a_request_that_comes_while_output_is_blocked_is_answered_after_it() {
    let (_tree, server) = site();
    let whole = pattern(20 << 20);
    let mut client = Client::connect_with_window(server.address(), 64 << 10);
    client.send(&request("GET", "/big.bin", &[]));
    client.response_head();
    // In pieces, each of them an event that the server cannot act upon yet.
    for piece in request("GET", "/a.txt", &[]).chunks(10) {
        std::thread::sleep(Duration::from_millis(20));
        client.send(piece);
    }
    let mut received = Vec::new();
    client.content(whole.len() as u64, |bytes| received.extend_from_slice(bytes));
    assert!(received == whole, "wrong bytes");
    assert_eq!(client.response().content, b"first");
}

#[test]
fn half_a_request_is_none() {
    let (_tree, server) = site();
    for start in [&b""[..], b"G", b"\r\n", b"GET /a.txt HTTP/1.1\r\nHost: x\r\n"] {
        let mut client = server.connect();
        client.get("/b.txt");
        client.send(start);
        client.finish_sending();
        // Whoever sends half a head and hangs up has gone: nobody is left to be told.
        client.expect_closed();
    }
}

#[test]
fn http_1_0_closes_unless_asked_to_stay() {
    let (_tree, server) = site();
    for fields in ["", "Connection: close\r\n", "Connection: keep\r\n", "Connection: keep-alive, close\r\n"] {
        let mut client = server.connect();
        let response = client.exchange(format!("GET /a.txt HTTP/1.0\r\n{fields}\r\n").as_bytes());
        assert_eq!(response.content, b"first");
        client.expect_closed();
    }
    for token in ["keep-alive", "Keep-Alive", "foo, KEEP-ALIVE"] {
        let mut client = server.connect();
        for _ in 0..3 {
            let response =
                client.exchange(format!("GET /a.txt HTTP/1.0\r\nConnection: {token}\r\n\r\n").as_bytes());
            assert_eq!(response.content, b"first");
            assert_eq!(response.require("Connection"), "keep-alive", "{token}");
        }
        client.exchange(b"GET /a.txt HTTP/1.0\r\n\r\n");
        client.expect_closed();
    }
}

#[test]
fn connection_is_a_list_of_whole_tokens_in_any_case() {
    let (_tree, server) = site();
    let closing: [&[&str]; 8] = [
        &["Connection: close"],
        &["Connection: CLOSE"],
        &["connection: \t Close \t"],
        &["Connection: keep-alive, close"],
        &["Connection: close, x"],
        &["Connection: ,, close ,"],
        &["Connection: x", "Connection: close"],
        &["Connection: close", "Connection: keep-alive"],
    ];
    for fields in closing {
        let mut client = server.connect();
        let response = client.get_with("/a.txt", fields);
        assert!(response.closes(), "{fields:?}");
        client.expect_closed();
    }
    let mut client = server.connect();
    for value in
        ["keep-alive", "closed", "not-close", "close-x", "xclose", "\"close\"", "clo se", "", "close;x"]
    {
        let response = client.get_with("/a.txt", &[&format!("Connection: {value}")]);
        assert!(!response.closes(), "{value:?}");
        assert_eq!(response.content, b"first", "{value:?}");
    }
}

/// Lets eight clients bring themselves into a state of waiting, and measures what that costs the server.
#[track_caller]
fn expect_rest(what: &str, prepare: impl Fn(&mut Client)) {
    let (_tree, server) = site();
    let _timed = timed();
    let mut clients: Vec<Client> =
        (0..8).map(|_| Client::connect_with_window(server.address(), 16 << 10)).collect();
    clients.iter_mut().for_each(prepare);
    std::thread::sleep(Duration::from_millis(500));
    let used = server.process().processor_time_over(Duration::from_secs(1));
    assert!(used <= IDLE_SHARE, "{used:?} of processor time in a second of waiting: {what}");
    assert_eq!(server.connect().get("/a.txt").content, b"first", "{what}");
}

#[test]
fn blocked_output_costs_nothing() {
    expect_rest("blocked output", |client| client.send(&request("GET", "/big.bin", &[])));
    expect_rest("blocked output, more requests waiting", |client| {
        client.send(&request("GET", "/big.bin", &[]).repeat(50));
    });
}

#[test]
fn a_half_closed_connection_costs_nothing() {
    expect_rest("blocked output to a half-closed client", |client| {
        client.send(&request("GET", "/big.bin", &[]));
        client.finish_sending();
    });
}

#[test]
fn an_unfinished_request_costs_nothing() {
    expect_rest("a partial head", |client| client.send(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n"));
    expect_rest("partial content", |client| {
        client.send(&request("POST", "/a.txt", &["Content-Length: 100"]));
        client.send(b"some");
    });
}

#[test]
fn idle_and_refused_connections_cost_nothing() {
    expect_rest("idle", |client| drop(client.get("/a.txt")));
    expect_rest("refused, not yet closed by the client", |client| {
        client.send(b"BAD\r\n\r\n");
        client.response();
    });
}
