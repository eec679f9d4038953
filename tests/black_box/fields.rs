//! Fields that the operator adds: to which responses, and which of several.

use super::client::request;
use super::response::Response;
use super::server::{Launch, Server};
use super::startup::expect_failure;
use super::tree::Tree;

#[test]
fn what_says_how_long_to_keep_is_not_sent_with_errors() {
    let year = "/assets/** Cache-Control: max-age=31536000, immutable";
    let tree = Tree::new(&[("assets/a.js", b"a"), ("own/404.html", b"own")]);
    let flags =
        ["-H", year, "-H", "Expires: 0", "-H", "/assets/** CDN-Cache-Control: max-age=9", "-H", "X-A: 1"];
    let redirect = ["--redirect", "/assets/old.js=/assets/a.js"];
    let server = Server::start(&[&flags[..], &redirect].concat(), tree.root());
    let own = Server::start(&[&flags[..], &["--error-page", "404=own/404.html"]].concat(), tree.root());
    let denied = Server::start(&[&flags[..], &["--deny", "127.0.0.1"]].concat(), tree.root());
    let kept = |response: &Response| {
        let names = ["Cache-Control", "Expires", "CDN-Cache-Control"];
        assert_eq!(response.require("X-A"), "1");
        names.map(|name| response.field(name).is_some())
    };
    assert_eq!(kept(&server.connect().get("/assets/a.js")), [true; 3]);
    assert_eq!(kept(&server.connect().get("/assets/old.js")), [true; 3], "a redirect is no error");
    let range = ["Range: bytes=9-"];
    for response in [
        server.connect().get("/assets/b.js"),
        server.connect().exchange(&request("POST", "/assets/a.js", &[])),
        server.connect().get_with("/assets/a.js", &range),
        server.connect().get_with("/assets/a.js", &["If-Match: \"x\""]),
        own.connect().get("/assets/b.js"),
        denied.connect().get("/assets/a.js"),
    ] {
        assert!((403..=416).contains(&response.status));
        assert_eq!(kept(&response), [false; 3], "{:?}", response.head());
    }
}

#[test]
fn an_error_has_the_fields_of_the_path_that_was_asked_for_with_and_without_a_page() {
    let tree = Tree::new(&[("a/x", b"x"), ("page.html", b"page")]);
    let flags = ["-H", "/a/** X-A: 1", "-H", "/b/** X-B: 1", "-H", "*.html X-Page: 1"];
    let page = ["--error-page", "404=page.html"];
    for flags in [&flags[..], &[&flags[..], &page].concat()] {
        let server = Server::start(flags, tree.root());
        let mut client = server.connect();
        for _ in 0..2 {
            for (target, expected) in [
                ("/a/no", [true, false, false]),
                ("/b/no", [false, true, false]),
                ("/b/no.html", [false, true, true]),
                ("/no", [false; 3]),
            ] {
                let response = client.get(target);
                let found = ["X-A", "X-B", "X-Page"].map(|name| response.field(name).is_some());
                assert_eq!((response.status, found), (404, expected), "{flags:?} {target}");
            }
        }
    }
}

#[test]
fn of_rules_for_one_field_the_last_counts_unless_it_may_be_repeated() {
    let tree = Tree::new(&[("a/x.txt", b"x"), ("b.txt", b"b")]);
    let rules = [
        "Cache-Control: max-age=60",
        "/a/** cache-control: max-age=3600",
        "Link: </one>",
        "/a/** Link: </two>",
        "/a/** X-Y: 1",
        "X-Y: 2",
    ];
    let flags: Vec<&str> = rules.into_iter().flat_map(|rule| ["-H", rule]).collect();
    let server = Server::start(&flags, tree.root());
    let mut client = server.connect();
    for (target, expected) in [
        ("/a/x.txt", &["cache-control: max-age=3600", "Link: </one>", "Link: </two>", "X-Y: 2"][..]),
        ("/b.txt", &["Cache-Control: max-age=60", "Link: </one>", "X-Y: 2"]),
    ] {
        let fields = client.get(target).dateless();
        let lines = fields.iter().map(|(name, value)| format!("{name}: {value}"));
        let theirs = ["cache-control", "link", "x-y"];
        let lines: Vec<String> = lines
            .filter(|line| theirs.iter().any(|name| line.to_ascii_lowercase().starts_with(name)))
            .collect();
        assert_eq!(lines, expected, "{target}");
    }
}

#[test]
fn fields_that_the_server_says_itself_are_refused_at_the_start() {
    let tree = Tree::new(&[]);
    for name in ["WWW-Authenticate", "allow", "Retry-After", "Trailer", "Upgrade", "Server", "Date"] {
        let ended = Launch::new(tree.root()).flags(&["-H", &format!("{name}: x")]).run();
        expect_failure(&ended, 2, &[name, "for the server to say"]);
    }
}
