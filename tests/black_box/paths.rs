//! From request target to file: decoding, dot segments, what lies outside, what is no regular file
//! (RFC 3986 §5.2.4, RFC 9110 §4.2). No path may ever be an error of the server's.

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use super::response::Response;
use super::schedule::timed;
use super::server::{Launch, Server};
use super::tree::Tree;

const LONG_NAME: usize = 250;

fn site() -> (Tree, Server) {
    let long = "n".repeat(LONG_NAME);
    let files: [(&str, &[u8]); 14] = [
        ("index.html", b"index"),
        ("a.txt", b"a"),
        ("A.txt", b"A"),
        ("foo..bar", b"foo..bar"),
        ("...", b"dots"),
        ("100%.txt", b"percent"),
        ("%41.txt", b"not decoded twice"),
        ("with space+plus.txt", b"space"),
        ("gr\u{fc}\u{df}e.txt", b"utf-8"),
        ("q?m#a&b=c;d,e.txt", b"reserved"),
        (&long, b"long"),
        ("sub/b.txt", b"b"),
        ("sub/index.html", b"sub"),
        (".well-known/x", b"well-known"),
    ];
    let tree = Tree::new(&files);
    let server = Server::start(&[], tree.root());
    (tree, server)
}

/// Checks each target twice, so that what the server has remembered is checked as well.
#[track_caller]
fn check(server: &Server, table: &[(&str, u16, &str)]) {
    for (target, status, content) in table {
        for round in 0..2 {
            let response = server.connect().get(target);
            assert_eq!(response.status, *status, "{target} round {round}");
            if *status == 200 {
                assert_eq!(response.content, content.as_bytes(), "{target} round {round}");
            }
        }
    }
}

#[test]
fn names_are_decoded_once() {
    let (_tree, server) = site();
    let long = format!("/{}", "n".repeat(LONG_NAME));
    check(
        &server,
        &[
            ("/a.txt", 200, "a"),
            ("/%61.txt", 200, "a"),
            ("/%41.txt", 200, "A"),
            ("/a%2etxt", 200, "a"),
            ("/a%2Etxt", 200, "a"),
            ("/%2541.txt", 200, "not decoded twice"),
            ("/%252e%252e/a.txt", 404, ""),
            ("/100%25.txt", 200, "percent"),
            ("/with%20space+plus.txt", 200, "space"),
            ("/with+space+plus.txt", 404, ""),
            ("/gr%C3%BC%c3%9fe.txt", 200, "utf-8"),
            ("/q%3Fm%23a&b=c;d,e.txt", 200, "reserved"),
            ("/foo..bar", 200, "foo..bar"),
            (&long, 200, "long"),
            ("/a.txt?", 200, "a"),
            ("/a.txt?x=/../../y%", 200, "a"),
            ("/?q", 200, "index"),
            ("/a.TXT", 404, ""),
            ("/%FF%FE", 404, ""),
        ],
    );
}

#[test]
fn a_percent_sign_needs_two_digits_and_nul_is_no_name() {
    let (_tree, server) = site();
    for target in
        ["/%", "/%4", "/%zz", "/a%2", "/a.txt%", "/%%34%31", "/%+1", "/% 1", "/%00", "/a.txt%00", "/a%00/b"]
    {
        let response = server.connect().get(target);
        assert_eq!(response.status, 400, "{target}");
    }
}

#[test]
fn dot_segments_are_removed_and_may_not_rise_above_the_root() {
    let (_tree, server) = site();
    check(
        &server,
        &[
            ("/./a.txt", 200, "a"),
            ("/sub/./b.txt", 200, "b"),
            ("/sub/../a.txt", 200, "a"),
            ("/sub/%2e%2e/a.txt", 200, "a"),
            ("/sub/.%2E/a.txt", 200, "a"),
            ("/missing/../a.txt", 200, "a"),
            ("/sub/x/y/../../b.txt", 200, "b"),
            ("/.", 200, "index"),
            ("/sub/.", 200, "sub"),
            ("/sub/x/..", 200, "sub"),
            ("/..", 400, ""),
            ("/../a.txt", 400, ""),
            ("/../x", 400, ""),
            ("/%2e%2e/a.txt", 400, ""),
            ("/%2E./a.txt", 400, ""),
            ("/sub/../../a.txt", 400, ""),
            ("/sub/../../etc/passwd", 400, ""),
            ("/./../a.txt", 400, ""),
            ("/sub/..%2f..%2fa.txt", 400, ""),
            ("/..%2f..%2fetc%2fpasswd", 400, ""),
            ("/sub%2F..%2F..%2Fa.txt", 400, ""),
            ("/../../../../../../../../etc/passwd", 400, ""),
        ],
    );
}

#[test]
fn empty_segments_merge_and_an_encoded_slash_separates() {
    let (_tree, server) = site();
    check(
        &server,
        &[
            ("//a.txt", 200, "a"),
            ("///sub///b.txt", 200, "b"),
            ("//", 200, "index"),
            ("/sub%2Fb.txt", 200, "b"),
            ("/sub%2f%2Fb.txt", 200, "b"),
            ("/%2Fa.txt", 200, "a"),
            ("/sub//", 200, "sub"),
        ],
    );
}

#[test]
fn a_file_is_no_directory() {
    let (_tree, server) = site();
    for target in
        ["/a.txt/", "/a.txt/x", "/a.txt/index.html", "/sub/b.txt/", "/a.txt//", "/a.txt%2F", "/a.txt/."]
    {
        check(&server, &[(target, 404, "")]);
    }
}

#[test]
fn names_and_paths_too_long_for_the_system_are_not_found() {
    let (_tree, server) = site();
    let deep = "/a".repeat(2_500);
    let nested = format!("/sub/{}", "s/".repeat(3_000));
    for target in [format!("/{}", "n".repeat(300)), format!("/{}/a", "n".repeat(256)), deep, nested] {
        check(&server, &[(&target, 404, "")]);
    }
}

#[test]
fn dot_files_are_hidden_under_every_spelling() {
    let tree = Tree::new(&[
        (".env", b"secret"),
        (".git/config", b"secret"),
        ("sub/.env", b"secret"),
        ("sub/.git/config", b"secret"),
        (".well-known/x", b"well-known"),
        (".well-known/.env", b"secret"),
        (".well-known-not/x", b"secret"),
        ("sub/.well-known/x", b"secret"),
        ("a.txt", b"a"),
    ]);
    let server = Server::start(&[], tree.root());
    let hidden = [
        "/.env",
        "/%2eenv",
        "/%2Eenv",
        "//.env",
        "/./.env",
        "/sub/../.env",
        "/%2F.env",
        "/.git/config",
        "/.git",
        "/.git/",
        "/.git/../.env",
        "/sub/.env",
        "/sub//.env",
        "/sub%2F.env",
        "/sub/.git/config",
        "/.well-known/.env",
        "/.well-known-not/x",
        "/sub/.well-known/x",
        "/...",
        "/..env",
    ];
    for target in hidden {
        check(&server, &[(target, 404, "")]);
    }
    check(&server, &[("/.well-known/x", 200, "well-known"), ("/.git/../a.txt", 200, "a")]);
}

/// What is hidden is a name in a request; where a link may lead is the business of `--symlinks`.
#[test]
fn a_visible_link_shows_a_hidden_file() {
    let tree = Tree::new(&[(".env", b"shown")]);
    tree.link("visible", ".env");
    for (flags, status, content) in [(&[][..], 200, "shown"), (&["--symlinks", "never"], 404, "")] {
        let server = Server::start(flags, tree.root());
        check(&server, &[("/visible", status, content), ("/.env", 404, "")]);
    }
}

#[test]
fn hidden_files_are_served_when_that_is_asked_for() {
    let tree = Tree::new(&[(".env", b"shown")]);
    let server = Server::start(&["--hidden"], tree.root());
    check(&server, &[("/.env", 200, "shown")]);
}

/// A site with every kind of link, and beside it files that no link may lead to.
fn linked() -> (Tree, Tree) {
    let outside = Tree::new(&[("secret.txt", b"secret"), ("dir/secret.txt", b"secret")]);
    let tree = Tree::new(&[("a.txt", b"a"), ("sub/b.txt", b"b")]);
    let up = outside.root().file_name().unwrap().to_str().unwrap();
    tree.link("inside", "a.txt");
    tree.link("sub/up", "../a.txt");
    tree.link("way", "sub");
    tree.link("chain", "way/up");
    tree.link("absolute-out", outside.path("secret.txt"));
    tree.link("relative-out", format!("../{up}/secret.txt"));
    tree.link("dir-out", outside.path("dir"));
    tree.link("passwd", "/etc/passwd");
    tree.link("root", "/");
    tree.link("loop", "loop");
    tree.link("ping", "pong");
    tree.link("pong", "ping");
    tree.link("dangling", "nowhere");
    tree.link("proc", "/proc/self/root");
    (tree, outside)
}

#[test]
fn links_are_followed_inside_the_root_only() {
    let (tree, _outside) = linked();
    let server = Server::start(&[], tree.root());
    check(
        &server,
        &[
            ("/inside", 200, "a"),
            ("/sub/up", 200, "a"),
            ("/way/b.txt", 200, "b"),
            ("/chain", 200, "a"),
            ("/absolute-out", 404, ""),
            ("/relative-out", 404, ""),
            ("/dir-out/secret.txt", 404, ""),
            ("/dir-out/", 404, ""),
            ("/dir-out", 404, ""),
            ("/passwd", 404, ""),
            ("/root/etc/passwd", 404, ""),
            ("/proc/etc/passwd", 404, ""),
            ("/loop", 404, ""),
            ("/loop/x", 404, ""),
            ("/ping", 404, ""),
            ("/dangling", 404, ""),
        ],
    );
}

#[test]
fn links_are_followed_never_or_anywhere_when_that_is_asked_for() {
    let (tree, _outside) = linked();
    let never = Server::start(&["--symlinks", "never"], tree.root());
    let any = Server::start(&["--symlinks", "any"], tree.root());
    check(
        &never,
        &[("/a.txt", 200, "a"), ("/inside", 404, ""), ("/way/b.txt", 404, ""), ("/passwd", 404, "")],
    );
    check(
        &any,
        &[("/inside", 200, "a"), ("/absolute-out", 200, "secret"), ("/dir-out/secret.txt", 200, "secret")],
    );
    check(&any, &[("/loop", 404, ""), ("/dangling", 404, "")]);
}

#[test]
fn what_is_no_regular_file_is_not_found_at_once() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    tree.fifo("fifo");
    tree.link("device", "/dev/zero");
    let _socket = UnixListener::bind(tree.path("socket")).unwrap();
    let server = Server::start(&[], tree.root());
    let _timed = timed();
    let start = Instant::now();
    check(&server, &[("/fifo", 404, ""), ("/socket", 404, ""), ("/device", 404, ""), ("/a.txt", 200, "a")]);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3), "opening a pipe waits for a writer: {took:?}");
}

#[test]
fn what_may_not_be_read_is_forbidden() {
    let tree =
        Tree::new(&[("a.txt", b"a"), ("private.txt", b"p"), ("closed/b.txt", b"b"), ("mute/c.txt", b"c")]);
    tree.publish();
    tree.mode("private.txt", 0o000);
    tree.mode("closed", 0o000);
    tree.mode("mute", 0o711);
    let server = Launch::new(tree.root()).unprivileged().start();
    check(
        &server,
        &[
            ("/a.txt", 200, "a"),
            ("/private.txt", 403, ""),
            ("/closed/b.txt", 403, ""),
            ("/mute/c.txt", 200, "c"),
        ],
    );
    tree.mode("closed", 0o755);
}

#[track_caller]
fn expect_no_reflection(response: &Response, tree: &Tree, target: &str) {
    let content = String::from_utf8_lossy(&response.content);
    for marker in ["<script", "marker\"", "onerror='", tree.root().to_str().unwrap()] {
        assert!(!content.contains(marker), "{target}: {content}");
        assert!(
            !response.fields.iter().any(|(_, value)| value.contains(marker)),
            "{target}: {:?}",
            response.fields
        );
    }
}

#[test]
fn error_pages_reflect_neither_the_request_nor_the_file_system() {
    let (tree, server) = site();
    let table = [
        ("/%3Cscript%3Ealert(1)%3C%2Fscript%3E", 404),
        ("/x?<script>alert(1)</script>", 404),
        ("/<script>", 404),
        ("/%22marker%22", 404),
        ("/x?\"marker\"", 404),
        ("/<script>/..%2f..", 400),
        ("/%zz<script>", 400),
        ("/sub?<script>", 301),
        ("/sub?onerror='x'", 301),
    ];
    for (target, status) in table {
        let response = server.connect().get(target);
        // Characters that no URI may hold may also be refused as such.
        assert!(response.status == status || response.status == 400, "{target}: {}", response.status);
        if response.status == 301 {
            assert!(!String::from_utf8_lossy(&response.content).contains("<script"), "{target}");
        } else {
            expect_no_reflection(&response, &tree, target);
        }
    }
}
