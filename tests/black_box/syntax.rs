//! Request heads to the letter of RFC 9112 §2–5: what is malformed is refused, and nothing after it is believed.

use super::client::{Client, request};
use super::server::Server;
use super::tree::Tree;

const FILE: &[u8] = b"plain text\n";

/// A second request behind the refused one. It must never be answered.
const SECOND: &[u8] = b"GET /a.txt HTTP/1.1\r\nHost: second\r\n\r\n";

fn site() -> (Tree, Server) {
    let tree = Tree::new(&[("a.txt", FILE)]);
    let server = Server::start(&[], tree.root());
    (tree, server)
}

/// Sends `request` and one more behind it: the first is answered with `status`, the second not at all.
#[track_caller]
fn expect_refusal(server: &Server, request: &[u8], status: u16) {
    let mut client = server.connect();
    client.send(&[request, SECOND].concat());
    let response = client.response();
    assert_eq!(response.status, status, "{}", request.escape_ascii());
    assert!(response.closes(), "says that it closes after {}", request.escape_ascii());
    client.expect_closed();
}

#[track_caller]
fn expect_file(client: &mut Client, request: &[u8]) {
    let response = client.exchange(request);
    assert_eq!((response.status, response.content.as_slice()), (200, FILE), "{}", request.escape_ascii());
}

#[test]
fn a_malformed_line_is_400_and_the_end() {
    let (_tree, server) = site();
    let table: &[&[u8]] = &[
        // Line ends: RFC 9112 §2.2.
        b"GET /a.txt HTTP/1.1\nHost: x\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\n\n\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n",
        b"GET /a.txt HTTP/1.1\rHost: x\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\r\nHost: x\r\n\r\n",
        // Control characters: RFC 9110 §5.5.
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA: b\x01c\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA: b\x7fc\r\n\r\n",
        b"GET /a\0.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a\x01.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a\x7f.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a.txt\t HTTP/1.1\r\nHost: x\r\n\r\n",
        // Field lines: RFC 9112 §5.
        b"GET /a.txt HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA\t: b\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\n Host: x\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\n\r\nHost: x\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nnocolon\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA(b): c\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\"A\": b\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\xc3\xbc: b\r\n\r\n",
        // Request lines: RFC 9112 §3, single SP only.
        b"GET  /a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a.txt  HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a.txt HTTP/1.1 \r\nHost: x\r\n\r\n",
        b" GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET\t/a.txt\tHTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a .txt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET\r\nHost: x\r\n\r\n",
        b"G\"T /a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"G\xc3T /a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"/a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a.txt#top HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ];
    for request in table {
        expect_refusal(&server, request, 400);
    }
    expect_file(&mut server.connect(), SECOND);
}

#[test]
fn only_http_1_0_and_1_1_are_spoken() {
    let (_tree, server) = site();
    for version in ["HTTP/2.0", "HTTP/3.0", "HTTP/9.9", "HTTP/1.2"] {
        expect_refusal(&server, format!("GET /a.txt {version}\r\nHost: x\r\n\r\n").as_bytes(), 505);
    }
    for version in ["http/1.1", "HTTP/1.", "HTTP/11", "HTTP/1.1x", "HTTP/1,1", "HTTP 1.1", "HTTPS/1.1", "1.1"]
    {
        expect_refusal(&server, format!("GET /a.txt {version}\r\nHost: x\r\n\r\n").as_bytes(), 400);
    }
    // HTTP/0.9 had neither version nor head: whoever speaks it gets no naked file.
    expect_refusal(&server, b"GET /a.txt\r\n\r\n", 400);
    expect_refusal(&server, b"GET /\r\n\r\n", 400);
}

#[test]
fn other_protocols_are_refused_at_once() {
    let (_tree, server) = site();
    // The start of a TLS 1.2 record with a ClientHello in it, long enough to look like one.
    let mut hello = b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03".to_vec();
    hello.extend((0_u8..250).map(|byte| byte.wrapping_mul(83) | 0x80));
    for request in [hello.as_slice(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let mut client = server.connect();
        client.send(request);
        let response = client.response();
        assert_eq!(response.status, 400, "{}", request.escape_ascii());
        client.expect_closed();
    }
}

#[test]
fn what_the_grammar_allows_is_accepted() {
    let (_tree, server) = site();
    let table: &[&[u8]] = &[
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\nGET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nhOST:x\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: \t x \t \r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nEmpty:\r\nBlank: \t\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA: b\tc \"d\" (e) {f}: g,;\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA: gr\xc3\xbc\xc3\x9fe \x80\xff\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\n!#$%&'*+-.^_`|~09Az: token\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nTwice: 1\r\nTwice: 2\r\n\r\n",
        b"GET /a.txt?q=a|b HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    let mut client = server.connect();
    for request in table {
        expect_file(&mut client, request);
    }
}

#[test]
fn an_empty_line_before_each_request_is_passed_over() {
    let (_tree, server) = site();
    let mut client = server.connect();
    for _ in 0..3 {
        client.send(b"\r\n");
        expect_file(&mut client, &request("GET", "/a.txt", &[]));
    }
}
