//! What may be done with a target: methods, HEAD beside GET, upgrades (RFC 9110 §9, §7.8).

use super::client::request;
use super::server::Server;
use super::tree::{Tree, pattern};

fn site() -> (Tree, Server) {
    let tree = Tree::new(&[
        ("a.txt", b"a"),
        ("big.bin", &pattern(300_000)),
        ("sub/index.html", b"<p>sub"),
        ("no/b", b"b"),
    ]);
    let server = Server::start(&[], tree.root());
    (tree, server)
}

#[test]
fn known_methods_that_a_file_does_not_offer_are_405() {
    let (_tree, server) = site();
    let mut client = server.connect();
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
        let response = client.exchange(&request(method, "/a.txt", &[]));
        assert_eq!(response.status, 405, "{method}");
        assert!(!response.closes(), "{method} leaves the connection usable");
        assert!(!response.content.windows(4).any(|word| word == b"Host"), "{method} echoes nothing");
    }
    assert_eq!(client.get("/a.txt").content, b"a");
}

#[test]
fn connect_is_refused_and_ends_the_connection() {
    let (_tree, server) = site();
    for target in ["example.com:443", "/a.txt"] {
        let mut client = server.connect();
        client.send(&[request("CONNECT", target, &[]), request("GET", "/a.txt", &[])].concat());
        let response = client.response();
        // With a target of another form than CONNECT's it is malformed as well as not offered.
        let allowed: &[u16] = if target.starts_with('/') { &[400, 405] } else { &[405] };
        assert!(allowed.contains(&response.status), "{target}: {}", response.status);
        assert!(response.closes(), "{target}");
        client.expect_closed();
    }
}

#[test]
fn unknown_methods_are_501_and_methods_are_case_sensitive() {
    let (_tree, server) = site();
    for method in ["BREW", "get", "Get", "head", "GETS", "PROPFIND", "M-SEARCH", "!#$%&'*+-.^_`|~"] {
        let response = server.connect().exchange(&request(method, "/a.txt", &[]));
        assert_eq!(response.status, 501, "{method}");
    }
}

#[test]
fn options_says_what_is_allowed() {
    let (_tree, server) = site();
    let mut client = server.connect();
    for target in ["/a.txt", "*", "/sub/", "/"] {
        let response = client.exchange(&request("OPTIONS", target, &[]));
        assert_eq!(response.status, 204, "{target}");
        assert_eq!(response.require("Allow"), "GET, HEAD, OPTIONS", "{target}");
        assert_eq!(response.field("Content-Length"), None, "{target}");
    }
    assert_eq!(client.get("*").status, 400, "asterisk-form is for OPTIONS alone");
}

#[test]
fn head_has_exactly_the_fields_of_get_and_no_content() {
    let (_tree, server) = site();
    let tag = server.connect().get("/a.txt").etag().to_owned();
    let none_match = format!("If-None-Match: {tag}");
    let table: &[(&str, &[&str], u16)] = &[
        ("/a.txt", &[], 200),
        ("/big.bin", &[], 200),
        ("/sub/", &[], 200),
        ("/sub", &[], 301),
        ("/sub?q=1", &[], 301),
        ("/no/", &[], 404),
        ("/missing", &[], 404),
        ("/a.txt", &[&none_match], 304),
        ("/a.txt", &["If-Match: \"no\""], 412),
        ("/a.txt", &["Connection: close"], 200),
        ("/missing", &["Connection: close"], 404),
        ("/..", &[], 400),
    ];
    for (target, fields, status) in table {
        // Twice: from the file, and from whatever the server has remembered.
        for round in 0..2 {
            let get = server.connect().exchange(&request("GET", target, fields));
            let mut client = server.connect();
            let head = client.exchange(&request("HEAD", target, fields));
            assert_eq!((get.status, head.status), (*status, *status), "{target} {fields:?} {round}");
            assert_eq!(get.dateless(), head.dateless(), "{target} {fields:?} {round}");
            if head.closes() {
                client.expect_closed();
            } else {
                assert_eq!(client.get("/a.txt").content, b"a", "after HEAD {target}: no content");
            }
        }
    }
}

#[test]
fn offers_to_upgrade_are_passed_over() {
    let (_tree, server) = site();
    let mut client = server.connect();
    let offers: [&[&str]; 3] = [
        &["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
        &[
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAA",
        ],
        &["Connection: upgrade", "Upgrade: TLS/1.3"],
    ];
    for offer in offers {
        let response = client.get_with("/a.txt", offer);
        assert_eq!((response.status, response.content.as_slice()), (200, &b"a"[..]), "{offer:?}");
        assert_eq!(response.field("Upgrade"), None, "{offer:?}");
    }
}
