//! Heads that are the same, to the byte, as one before them. They are not decoded again, and nobody can tell.

use std::time::Duration;

use super::client::{Client, eventually, request};
use super::server::{PATIENCE, Server};
use super::tree::Tree;

/// Times that a head is sent: the second time it is known.
const TIMES: usize = 3;

/// One worker, which has every head.
fn serve(flags: &[&str], tree: &Tree) -> Server {
    Server::start(&[&["-t", "1", "--cache-check", "0"], flags].concat(), tree.root())
}

#[test]
fn what_is_asked_for_again_is_answered_with_what_is_there_by_now() {
    let tree = Tree::new(&[("a.txt", b"one")]);
    let server = serve(&[], &tree);
    let mut client = server.connect();
    for content in [&b"one"[..], b"two", b"three"] {
        tree.write("a.txt", content);
        (0..TIMES).for_each(|_| assert_eq!(client.get("/a.txt").content, content));
    }
    std::fs::remove_file(tree.path("a.txt")).expect("a file to remove");
    (0..TIMES).for_each(|_| assert_eq!(client.get("/a.txt").status, 404));
    tree.write("a.txt", b"back");
    (0..TIMES).for_each(|_| assert_eq!(client.get("/a.txt").content, b"back"));
}

#[test]
fn content_behind_a_known_head_is_no_request() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let framings = [
        (request("POST", "/a.txt", &["Content-Length: 18"]), &b"GET / HTTP/1.1\r\n\r\n"[..]),
        (
            request("POST", "/a.txt", &["Transfer-Encoding: chunked"]),
            b"12\r\nGET / HTTP/1.1\r\n\r\n\r\n0\r\n\r\n",
        ),
    ];
    for (head, content) in framings {
        // The first head that a server hears is the one that it knows then.
        let server = serve(&[], &tree);
        let mut client = server.connect();
        for _ in 0..TIMES {
            client.send(&[&head, content].concat());
            assert_eq!(client.response().status, 405);
            assert_eq!(client.get("/a.txt").content, b"a");
        }
    }
}

#[test]
fn a_known_head_may_come_in_pieces_or_many_times_at_once() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let server = serve(&[], &tree);
    let mut client = server.connect();
    let head = request("GET", "/a.txt", &[]);
    assert_eq!(client.exchange(&head).content, b"a");
    for cut in 1..head.len() {
        client.send(&head[..cut]);
        std::thread::sleep(Duration::from_millis(1));
        client.send(&head[cut..]);
        assert_eq!(client.response().content, b"a", "cut at {cut}");
    }
    client.send(&[&b"\r\n"[..], &head.repeat(40)].concat());
    (0..40).for_each(|_| assert_eq!(client.response().content, b"a"));
}

#[test]
fn a_known_head_ends_the_connection_if_it_says_so() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    for head in [request("GET", "/a.txt", &["Connection: close"]), b"GET /a.txt HTTP/1.0\r\n\r\n".to_vec()] {
        let server = serve(&[], &tree);
        for _ in 0..TIMES {
            let mut client = server.connect();
            assert_eq!(client.exchange(&head).content, b"a");
            client.expect_closed();
        }
    }
}

/// Helpers make the page, and the head waits for them as it did the first time.
#[test]
fn a_known_head_waits_for_helpers_like_any_other() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let server = serve(&["--listing"], &tree);
    let mut client: Client = server.connect();
    let mut lists = |name: &str| {
        let response = client.exchange(&request("GET", "/", &[]));
        assert_eq!(response.status, 200);
        response.content.windows(name.len()).any(|window| window == name.as_bytes())
    };
    assert!(lists("a.txt") && lists("a.txt"));
    for name in ["b.txt", "c.txt"] {
        assert!(!lists(name));
        tree.write(name, b"new");
        assert!(eventually(PATIENCE, || lists(name)), "{name} is never listed");
    }
}
