//! Whose site is meant: `Host` and absolute-form (RFC 9112 §3.2, RFC 9110 §7.2).

use super::server::Server;
use super::tree::Tree;

#[track_caller]
fn check(table: &[(&str, u16)]) {
    let tree = Tree::new(&[("a.txt", b"a"), ("index.html", b"index")]);
    let server = Server::start(&[], tree.root());
    for (request, status) in table {
        let mut client = server.connect();
        let response = client.exchange(request.as_bytes());
        assert_eq!(response.status, *status, "{request:?}");
        if *status == 400 {
            client.expect_closed();
        }
    }
}

#[test]
fn http_1_1_needs_exactly_one_valid_host() {
    let valid = [
        "localhost",
        "localhost:8080",
        "localhost:",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:8080",
        "[2001:db8::192.0.2.1]",
        "example.com.",
        "EXAMPLE.com",
        "under_score.example",
        "xn--bcher-kva.example",
    ];
    let invalid = [
        "a b", "a/b", "a@b", "a#b", "a?b", "a\\b", "a\"b", "<a>", "[::1", "::1", "[::1]x", "[]", "[x]",
        "a:port", "a:80:80", "a:-1", "http://a", "a%zz",
    ];
    let lines = |hosts: &[&str], status| -> Vec<(String, u16)> {
        let request = |host: &&str| (format!("GET /a.txt HTTP/1.1\r\nHost: {host}\r\n\r\n"), status);
        hosts.iter().map(request).collect()
    };
    let table = [lines(&valid, 200), lines(&invalid, 400)].concat();
    check(&table.iter().map(|(request, status)| (request.as_str(), *status)).collect::<Vec<_>>());
    check(&[
        ("GET /a.txt HTTP/1.1\r\n\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ]);
}

#[test]
fn http_1_0_may_come_without_host() {
    check(&[
        ("GET /a.txt HTTP/1.0\r\n\r\n", 200),
        ("GET /a.txt HTTP/1.0\r\nHost: a\r\n\r\n", 200),
        ("GET /a.txt HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /a.txt HTTP/1.0\r\nHost: a b\r\n\r\n", 400),
    ]);
}

#[test]
fn absolute_form_is_accepted_and_does_not_replace_host() {
    check(&[
        ("GET http://a/a.txt HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET http://a:8080/a.txt?q HTTP/1.1\r\nHost: b\r\n\r\n", 200),
        ("GET HTTP://A/a.txt HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET http://[::1]:80/a.txt HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET http://a/missing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET http://a/a.txt HTTP/1.1\r\n\r\n", 400),
        ("GET http:///a.txt HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a:x/a.txt HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ://a/a.txt HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ]);
}
