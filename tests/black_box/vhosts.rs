//! Virtual hosts: which tree a request is for, and that none shows in another.

use super::client::{Client, request};
use super::response::Response;
use super::server::{Launch, Server};
use super::startup::expect_failure;
use super::tree::Tree;

const FILES: [(&str, &[u8]); 10] = [
    ("root/a.txt", b"root"),
    ("root/only-root.txt", b"x"),
    ("root/404.html", b"page of the root"),
    ("a/a.txt", b"a"),
    ("a/only-a.txt", b"x"),
    ("a/dir/index.html", b"index of a"),
    ("a/404.html", b"page of a"),
    ("a/a b.txt", b"spaced"),
    ("star/a.txt", b"star"),
    ("deep/a.txt", b"deep"),
];

fn start(tree: &Tree, more: &[&str]) -> Server {
    let vhost = |host: &str, name: &str| format!("--vhost={host}={}", tree.path(name).display());
    let flags = [
        vhost("a.example", "a"),
        vhost("WWW.a.example.", "a"),
        vhost("*.example.org", "star"),
        vhost("*.deep.example.org", "deep"),
    ];
    Launch::new(&tree.path("root")).flags(&["-t", "1"]).flags(&flags).flags(more).start()
}

#[test]
fn an_ipv6_address_is_the_same_host_however_it_is_written() {
    let tree = Tree::new(&FILES);
    let star = format!("--vhost=[0:0:0::1]={}", tree.path("star").display());
    let server = start(&tree, &[&star]);
    let mut client = server.connect();
    for (host, expected) in
        [("[::1]", "star"), ("[0::0:1]:80", "star"), ("[::0001]", "star"), ("[::2]", "root")]
    {
        assert_eq!(get(&mut client, host, "/a.txt").content, expected.as_bytes(), "{host}");
    }
    let again = format!("--vhost=[::1]={}", tree.path("deep").display());
    let launch = Launch::new(&tree.path("root")).flags(&[&star, &again]);
    expect_failure(&launch.run(), 2, &["[::1]", "two directories"]);
}

#[test]
fn a_refusal_at_the_gate_has_the_page_of_the_host_that_was_asked_for() {
    let tree = Tree::new(&[("root/403.html", b"root"), ("a/403.html", b"a"), ("a/a.txt", b"a")]);
    let vhost = format!("--vhost=a.example={}", tree.path("a").display());
    let flags = ["-t", "1", "--deny", "127.0.0.1", "--error-page", "403=403.html", &vhost];
    let server = Server::start(&flags, &tree.path("root"));
    let (mut one, mut other) = (server.connect(), server.connect());
    for _ in 0..2 {
        for (client, host, page) in [(&mut one, "a.example", "a"), (&mut other, "b.example", "root")] {
            let response = get(client, host, "/a.txt");
            assert_eq!((response.status, &*response.content), (403, page.as_bytes()), "{host}");
        }
    }
}

fn get(client: &mut Client, host: &str, target: &str) -> Response {
    client.exchange(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
}

#[test]
fn the_host_decides_which_tree_is_served() {
    let tree = Tree::new(&FILES);
    let server = start(&tree, &[]);
    let table = [
        ("a.example", "a"),
        ("A.Example:8080", "a"),
        ("a.example.", "a"),
        ("www.a.example", "a"),
        ("b.a.example", "root"),
        ("example.org", "root"),
        ("x.example.org", "star"),
        ("x.y.example.org.:1", "star"),
        ("deep.example.org", "star"),
        ("x.deep.example.org", "deep"),
        ("127.0.0.1", "root"),
        ("unknown", "root"),
    ];
    let mut client = server.connect();
    // The second time from the cache, and in between the same path of every other tree.
    for _ in 0..3 {
        for (host, expected) in table {
            let response = get(&mut client, host, "/a.txt");
            assert_eq!((response.status, &*response.content), (200, expected.as_bytes()), "{host}");
        }
    }
    // The authority of an absolute-form target counts, not the field beside it.
    let response = get(&mut client, "unknown", "http://a.example:80/a.txt");
    assert_eq!(response.content, b"a");
    let response = get(&mut client, "a.example", "http://unknown/a.txt");
    assert_eq!(response.content, b"root");
    client.send(b"GET /a.txt HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().content, b"root");
}

#[test]
fn what_is_known_of_one_tree_says_nothing_of_another() {
    let tree = Tree::new(&FILES);
    // Without a check within the test, so that a mix-up would last.
    let server = start(&tree, &["--cache-check", "1h", "--spa=a.txt"]);
    let mut client = server.connect();
    for _ in 0..3 {
        for (host, target, status, content) in [
            ("a.example", "/only-a.txt", 200, "x"),
            ("unknown", "/only-a.txt", 404, "page of the root"),
            ("a.example", "/only-root.txt", 404, "page of a"),
            ("unknown", "/only-root.txt", 200, "x"),
            ("x.example.org", "/only-root.txt", 404, ""),
            ("a.example", "/dir/", 200, "index of a"),
            ("unknown", "/dir/", 404, "page of the root"),
            ("a.example", "/a%20b.txt", 200, "spaced"),
            ("unknown", "/a%20b.txt", 404, "page of the root"),
        ] {
            let response = get(&mut client, host, target);
            assert_eq!(response.status, status, "{host}{target}");
            let is_right = content.is_empty() || response.content == content.as_bytes();
            assert!(is_right, "{host}{target}: {}", response.content.escape_ascii());
        }
        let navigation = ["Sec-Fetch-Mode: navigate", "Accept: text/html"];
        for (host, content) in [("a.example", "a"), ("unknown", "root"), ("x.example.org", "star")] {
            let head = String::from_utf8(request("GET", "/somewhere", &navigation)).unwrap();
            let response = client.exchange(head.replacen("oneloop.test", host, 1).as_bytes());
            assert_eq!((response.status, &*response.content), (200, content.as_bytes()), "{host}");
        }
    }
}

#[test]
fn the_banner_names_virtual_hosts_and_the_environment_sets_them() {
    let tree = Tree::new(&FILES);
    let value =
        format!("a.example={}\n*.b.example={}", tree.path("a").display(), tree.path("star").display());
    let server = Launch::new(&tree.path("root")).env("ONELOOP_VHOST", value).start();
    let banner = server.stderr();
    let served = |host, name| format!("{host} is served {}\n", tree.path(name).display());
    assert!(banner.contains(&served("a.example", "a")), "{banner}");
    assert!(banner.contains(&served("*.b.example", "star")), "{banner}");
    assert_eq!(banner.lines().count(), 5, "{banner}");
    assert_eq!(get(&mut server.connect(), "a.example", "/a.txt").content, b"a");
}

#[test]
fn a_virtual_host_that_cannot_be_served_is_a_clear_failure() {
    let tree = Tree::new(&FILES);
    let launch = |flags: &[&str]| Launch::new(&tree.path("root")).flags(flags).run();
    let missing = format!("b.example={}", tree.path("missing").display());
    expect_failure(
        &launch(&["--vhost", &missing]),
        1,
        &["for b.example", "No such file", "--vhost b.example=DIR"],
    );
    for (flags, mention) in [
        (["--vhost", "b.example"], "HOST=DIR"),
        (["--vhost", "b.example:80=/"], "no port"),
        (["--vhost", "*=/"], "a star"),
    ] {
        expect_failure(&launch(&flags), 2, &[mention]);
    }
    expect_failure(&launch(&["--vhost", "b.example=/", "--vhost", "B.example=/tmp"]), 2, &["b.example"]);
}
