//! Scripts of other sites: who may read what, and what a preflight is told (Fetch standard §3.2).

use super::client::{Client, request};
use super::response::Response;
use super::server::Server;
use super::tree::{Tree, pattern};

const ORIGIN: &str = "Origin: https://app.example";
const EXPOSED: &str = "Accept-Ranges, Content-Encoding, Content-Length, Content-Range, ETag";

fn tree() -> Tree {
    let tree = Tree::new(&[
        ("a.js", b"plain"),
        ("a.js.gz", b"coded"),
        ("big.bin", &pattern(300_000)),
        ("dir/index.html", b"index"),
        ("404.html", b"lost"),
    ]);
    tree.write("b.txt", b"b");
    tree
}

/// Requests of every kind, and the status that each gets.
fn ask_all(client: &mut Client, fields: &[&str]) -> Vec<(String, Response)> {
    let mut responses = Vec::new();
    let mut ask = |method: &str, target: &str, more: &[&str], status| {
        let response = client.exchange(&request(method, target, &[fields, more].concat()));
        assert_eq!(response.status, status, "{method} {target} {more:?}");
        responses.push((format!("{method} {target} {more:?}"), response));
    };
    // Twice: from the file, and from whatever the server has remembered.
    for _ in 0..2 {
        ask("GET", "/a.js", &[], 200);
        ask("GET", "/a.js", &["Accept-Encoding: gzip"], 200);
        ask("HEAD", "/a.js", &[], 200);
        ask("GET", "/a.js", &["If-None-Match: *"], 304);
        ask("GET", "/a.js", &["If-Match: \"no\""], 412);
        ask("GET", "/a.js", &["Range: bytes=0-1"], 206);
        ask("GET", "/a.js", &["Range: bytes=99-"], 416);
        ask("GET", "/big.bin", &["Range: bytes=0-0,1000-1001"], 206);
        ask("GET", "/b.txt", &[], 200);
        ask("GET", "/big.bin", &[], 200);
        ask("GET", "/dir", &[], 301);
        ask("GET", "/moved", &[], 301);
        ask("GET", "/nothing", &[], 404);
        ask("POST", "/a.js", &[], 405);
        ask("OPTIONS", "/a.js", &[], 204);
    }
    responses
}

fn access_control(response: &Response) -> Vec<(&str, &str)> {
    let is_ours = |name: &str| name.to_ascii_lowercase().starts_with("access-control-");
    let fields = response.fields.iter().filter(|(name, _)| is_ours(name));
    fields.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn everybody_may_read_what_is_for_all() {
    let tree = tree();
    let server = Server::start(&["--cors", "*", "--redirect", "/moved=/b.txt"], tree.root());
    let mut client = server.connect();
    for fields in [&[][..], &[ORIGIN], &["Origin: null"]] {
        for (what, response) in ask_all(&mut client, fields) {
            let expected = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", EXPOSED)];
            assert_eq!(access_control(&response), expected, "{what} {fields:?}");
            assert!(!response.varies_by("Origin"), "{what}");
        }
    }
    assert!(client.get("/a.js").varies_by("Accept-Encoding"));
}

#[test]
fn those_who_are_named_may_read_and_nobody_else() {
    let tree = tree();
    let flags = ["--cors", "https://app.example,http://localhost:3000", "--redirect", "/moved=/b.txt"];
    let server = Server::start(&flags, tree.root());
    let mut client = server.connect();
    let table: [(&[&str], Option<&str>); 9] = [
        (&[ORIGIN], Some("https://app.example")),
        (&["origin: http://localhost:3000"], Some("http://localhost:3000")),
        (&[], None),
        (&["Origin: https://evil.example"], None),
        (&["Origin: https://app.example.evil.example"], None),
        (&["Origin: http://app.example"], None),
        (&["Origin: https://app.example:443"], None),
        (&["Origin: null"], None),
        (&[ORIGIN, ORIGIN], None),
    ];
    for (fields, granted) in table {
        for (what, response) in ask_all(&mut client, fields) {
            let expected = granted.map(|origin| {
                [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", EXPOSED)]
            });
            let expected = expected.iter().flatten().copied().collect::<Vec<_>>();
            assert_eq!(access_control(&response), expected, "{what} {fields:?}");
            assert!(response.varies_by("Origin"), "{what} {fields:?}");
        }
    }
    for fields in [&["Accept-Encoding: gzip"][..], &[], &["If-None-Match: *"]] {
        let response = client.get_with("/a.js", fields);
        assert!(response.varies_by("Accept-Encoding") && response.varies_by("Origin"), "{fields:?}");
    }
    assert!(!client.get("/b.txt").varies_by("Accept-Encoding"));
}

#[test]
fn a_response_is_granted_to_the_letter() {
    let tree = Tree::new(&[("b.txt", b"b")]);
    tree.modified_at("b.txt", 1_600_000_000, 0);
    let server = Server::start(&["--cors", "https://app.example"], tree.root());
    let response = server.connect().get_with("/b.txt", &[ORIGIN]);
    let expected = [
        ("Server", "oneloop"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Accept-Ranges", "bytes"),
        ("Last-Modified", "Sun, 13 Sep 2020 12:26:40 GMT"),
        ("ETag", response.etag()),
        ("Vary", "Origin"),
        ("Content-Length", "1"),
        ("Access-Control-Allow-Origin", "https://app.example"),
        ("Access-Control-Expose-Headers", EXPOSED),
    ];
    assert_eq!(response.dateless(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn a_preflight_is_told_what_may_be_sent() {
    let tree = tree();
    let asks = "Access-Control-Request-Method: GET";
    let names = "Access-Control-Request-Headers: range,x-evil\"<";
    let told = [
        ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"),
        ("Access-Control-Allow-Headers", "Authorization, *"),
        ("Access-Control-Max-Age", "7200"),
    ];
    for (flag, granted) in [("*", "*"), ("https://app.example", "https://app.example")] {
        let server = Server::start(&["--cors", flag, "--redirect", "/moved=/b.txt"], tree.root());
        let mut client = server.connect();
        for target in ["/a.js", "/nothing", "/moved", "/dir", "*"] {
            let response = client.exchange(&request("OPTIONS", target, &[ORIGIN, asks, names]));
            assert_eq!((response.status, response.content_length()), (204, None), "{target}");
            let mut fields = access_control(&response);
            fields.sort_unstable();
            let mut expected = [
                &told[..],
                &[("Access-Control-Allow-Origin", granted), ("Access-Control-Expose-Headers", EXPOSED)],
            ]
            .concat();
            expected.sort_unstable();
            assert_eq!(fields, expected, "{target}");
            assert_eq!(response.varies_by("Origin"), flag != "*", "{target}");
        }
        let other = [ORIGIN, "Access-Control-Request-Method: DELETE"];
        let refused = client.exchange(&request("OPTIONS", "/a.js", &other));
        assert_eq!(refused.require("Access-Control-Allow-Methods"), "GET, HEAD, OPTIONS");
        for fields in [&[ORIGIN][..], &[asks]] {
            let plain = client.exchange(&request("OPTIONS", "/a.js", fields));
            assert_eq!(plain.field("Access-Control-Allow-Methods"), None, "{fields:?} is no preflight");
        }
    }
    let server = Server::start(&["--cors", "https://app.example"], tree.root());
    let stranger = ["Origin: https://evil.example", asks];
    let response = server.connect().exchange(&request("OPTIONS", "/a.js", &stranger));
    assert_eq!((response.status, access_control(&response)), (204, vec![]));
    assert!(response.varies_by("Origin"));
}

#[test]
fn without_the_flag_nothing_is_said_of_origins() {
    let tree = tree();
    let server = Server::start(&["--redirect", "/moved=/b.txt"], tree.root());
    for (what, response) in ask_all(&mut server.connect(), &[ORIGIN]) {
        assert_eq!((access_control(&response), response.varies_by("Origin")), (vec![], false), "{what}");
    }
}

#[test]
fn a_field_of_the_operators_outranks_what_is_for_all() {
    let tree = tree();
    let flags = ["--cors", "*", "-H", "/b.txt Access-Control-Allow-Origin: https://only.example"];
    let server = Server::start(&flags, tree.root());
    let mut client = server.connect();
    assert_eq!(client.get("/a.js").require("Access-Control-Allow-Origin"), "*");
    let only = client.get("/b.txt");
    assert_eq!(access_control(&only), [("Access-Control-Allow-Origin", "https://only.example")]);
}
