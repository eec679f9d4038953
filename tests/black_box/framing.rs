//! Where a request ends: content is skipped whole or the connection ends, and is never read as a request
//! (RFC 9112 §6–7, RFC 9110 §10.1.1).

use std::time::Duration;

use super::client::{Client, request};
use super::server::Server;
use super::tree::Tree;

/// A request hidden in content. A server that answers it can be made to answer anything.
const HIDDEN: &str = "GET /hidden.txt HTTP/1.1\r\nHost: hidden\r\n\r\n";

fn site() -> (Tree, Server) {
    let files: [(&str, &[u8]); 3] = [("a.txt", b"a"), ("hidden.txt", b"hidden"), ("sub/index.html", b"sub")];
    let tree = Tree::new(&files);
    let server = Server::start(&[], tree.root());
    (tree, server)
}

fn chunked(content: &str) -> String {
    let (first, second) = content.split_at(content.len() / 2);
    format!("{:x}\r\n{first}\r\n{:X};ext=\"a;b\"\r\n{second}\r\n0\r\n\r\n", first.len(), second.len())
}

/// One response with one of `statuses`, then the end: the request hidden behind is not answered.
#[track_caller]
fn expect_refusal(server: &Server, request: &str, statuses: &[u16]) {
    let mut client = server.connect();
    client.send_to_deaf(request.as_bytes());
    client.send_to_deaf(HIDDEN.as_bytes());
    let response = client.response();
    assert!(statuses.contains(&response.status), "{} to {request:?}", response.status);
    client.expect_closed();
}

fn post(fields: &str, content: &str) -> String {
    format!("POST /a.txt HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{content}")
}

#[test]
fn a_content_length_is_digits_and_unambiguous() {
    let (_tree, server) = site();
    let invalid = ["abc", "-1", "+5", "0x5", "1e1", "5 5", "5.0", "5;", "5, 6", "\"5\"", "", ",", "٥"];
    for length in invalid {
        expect_refusal(&server, &post(&format!("Content-Length: {length}"), "hello"), &[400]);
    }
    expect_refusal(&server, &post("Content-Length: 5\r\nContent-Length: 6", "hello!"), &[400]);
    expect_refusal(&server, &post("Content-Length: 5\r\ncontent-length: 05x", "hello"), &[400]);
    // 2^64 and more: beyond any number that can be counted with, so malformed or too large.
    for length in ["18446744073709551616", "99999999999999999999999999"] {
        expect_refusal(&server, &post(&format!("Content-Length: {length}"), ""), &[400, 413]);
    }
}

#[test]
fn only_chunked_is_understood_and_never_beside_a_length() {
    let (_tree, server) = site();
    let body = chunked("hello");
    for coding in
        ["gzip", "identity", "chunked, gzip", "gzip, chunked", "xchunked", "chunkedx", "\"chunked\""]
    {
        expect_refusal(&server, &post(&format!("Transfer-Encoding: {coding}"), &body), &[501]);
    }
    for coding in ["chunked, chunked", "chunked;q=1", ""] {
        expect_refusal(&server, &post(&format!("Transfer-Encoding: {coding}"), &body), &[400, 501]);
    }
    let doubled = post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", &body);
    expect_refusal(&server, &doubled, &[400, 501]);
    let both = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
    ];
    for fields in both {
        expect_refusal(&server, &post(fields, &body), &[400]);
    }
    let old =
        format!("POST /a.txt HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n{body}");
    expect_refusal(&server, &old, &[400]);
}

#[test]
fn a_malformed_chunk_ends_the_connection() {
    let (_tree, server) = site();
    let malformed = [
        "g\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5;a=\nb\r\nhello\r\n0\r\n\r\n",
        "10000000000000000\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\nC: d\r\n\r\n",
        "5\r\nhello\r\n0\r\n A: b\r\n\r\n",
    ];
    for content in malformed {
        // Whether the method or the content is refused first is the server's choice.
        expect_refusal(&server, &post("Transfer-Encoding: chunked", content), &[400, 405]);
    }
}

#[test]
fn content_is_skipped_with_any_method_and_any_outcome() {
    let (_tree, server) = site();
    let tag = server.connect().get("/a.txt").etag().to_owned();
    let none_match = format!("If-None-Match: {tag}\r\n");
    let table = [
        ("GET", "/a.txt", "", 200),
        ("GET", "/sub", "", 301),
        ("GET", "/a.txt", none_match.as_str(), 304),
        ("GET", "/missing", "", 404),
        ("GET", "/a.txt", "If-Match: \"no\"\r\n", 412),
        ("GET", "/a.txt", "Range: bytes=5-\r\n", 416),
        ("HEAD", "/a.txt", "", 200),
        ("OPTIONS", "*", "", 204),
        ("POST", "/a.txt", "", 405),
        ("DELETE", "/missing", "", 405),
    ];
    let sized = format!("Content-Length: {}\r\n\r\n{HIDDEN}", HIDDEN.len());
    let in_chunks = format!("Transfer-Encoding: Chunked\r\n\r\n{}", chunked(HIDDEN));
    for (method, target, fields, status) in table {
        let mut client = server.connect();
        for framed in [&sized, &in_chunks] {
            let request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}{framed}");
            let response = client.exchange(request.as_bytes());
            assert_eq!(response.status, status, "{request}");
            assert_eq!(client.get("/a.txt").content, b"a", "after {request}");
            // Once more with the content arriving late and in pieces.
            let (head, content) = request.split_at(request.find("\r\n\r\n").unwrap() + 4);
            client.send(head.as_bytes());
            for piece in content.as_bytes().chunks(7) {
                std::thread::sleep(Duration::from_millis(1));
                client.send(piece);
            }
            client.send(&super::client::request("GET", "/a.txt", &[]));
            let response = if method == "HEAD" { client.response_head() } else { client.response() };
            assert_eq!(response.status, status, "{request}");
            assert_eq!(client.response().content, b"a", "after {request} in pieces");
        }
    }
}

#[test]
fn chunks_of_any_size_with_extensions_and_trailers_are_skipped() {
    let (_tree, server) = site();
    let many: String = "1;x\r\n.\r\n".repeat(500) + "0\r\n\r\n";
    let contents = [
        "0\r\n\r\n",
        "000\r\n\r\n",
        "05;a;b=c;d=\"e\\\"f\"\r\nhello\r\n0;last\r\n\r\n",
        "5\r\nhello\r\n0\r\nTrailer: yes\r\nMore: \t\r\n\r\n",
        "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        &many,
    ];
    let mut client = server.connect();
    for content in contents {
        let response = client.exchange(post("Transfer-Encoding: chunked", content).as_bytes());
        assert_eq!(response.status, 405, "{content:?}");
        assert_eq!(client.get("/a.txt").content, b"a", "after {content:?}");
    }
}

#[test]
fn content_is_skipped_up_to_its_limit() {
    let (_tree, server) = site();
    let mut client = server.connect();
    let content = HIDDEN.repeat((1 << 20) / HIDDEN.len() + 1);
    let content = &content[..1 << 20];
    let sized = post(&format!("Content-Length: {}", content.len()), content);
    let in_chunks = post("Transfer-Encoding: chunked", &chunked(content));
    for request in [sized, in_chunks] {
        assert_eq!(client.exchange(request.as_bytes()).status, 405);
        assert_eq!(client.get("/a.txt").content, b"a");
    }
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let (_tree, server) = site();
    let endless = [
        ("5;", "x=y;"),
        ("5\r\nhello\r\n0\r\n", "Trailer: goes on and on\r\n"),
        ("5\r\nhello\r\n0\r\nTrailer: ", "on and on "),
    ];
    for (start, more) in endless {
        let mut client = server.connect();
        client.send(post("Transfer-Encoding: chunked", start).as_bytes());
        // Twice the content that is accepted at all: no reading of the limits takes that much framing.
        client.send_to_deaf(more.repeat((2 << 20) / more.len()).as_bytes());
        client.send_to_deaf(HIDDEN.as_bytes());
        let response = client.response();
        assert!([400, 405, 413, 431].contains(&response.status), "{} to {start:?}", response.status);
        // So much may be read out of politeness, or not.
        client.end();
    }
}

#[test]
fn an_expectation_gets_the_final_answer_at_once() {
    let (_tree, server) = site();
    for expectation in ["100-continue", "100-Continue"] {
        for (method, status) in [("POST", 405), ("PUT", 405), ("GET", 200)] {
            let mut client = server.connect();
            let fields = [&*format!("Expect: {expectation}"), "Content-Length: 1000"];
            let response = client.exchange(&request(method, "/a.txt", &fields));
            assert_eq!(response.status, status, "{method} {expectation}");
            assert!(response.closes(), "whether the content follows is unknown: {method} {expectation}");
            client.expect_closed();
        }
    }
    for expectation in ["200-ok", "100-continue-please", "100-continue, x"] {
        let response = server.connect().get_with("/a.txt", &[&format!("Expect: {expectation}")]);
        assert_eq!(response.status, 417, "{expectation}");
    }
}

#[test]
fn http_1_0_knows_no_expectations() {
    let (_tree, server) = site();
    let mut client = server.connect();
    let response = client.exchange(b"GET /a.txt HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!((response.status, response.content.as_slice()), (200, &b"a"[..]));
    client.expect_closed();
}

#[test]
fn content_that_never_comes_whole_is_no_request() {
    let (_tree, server) = site();
    let mut client: Client = server.connect();
    client.send(post("Content-Length: 1000", HIDDEN).as_bytes());
    client.finish_sending();
    let response = client.response();
    assert!([400, 405].contains(&response.status), "{}", response.status);
    client.expect_closed();
}
