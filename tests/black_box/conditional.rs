//! Conditional requests: all five fields, in the order of RFC 9110 §13.2.2.

use super::client::{Client, request};
use super::date::{asctime, imf_fixdate, rfc850};
use super::server::Server;
use super::tree::Tree;

/// When the file was modified: a second in 2020.
const MODIFIED_S: u64 = 1_600_000_000;

struct Site {
    _tree: Tree,
    _server: Server,
    client: Client,
    tag: String,
}

fn site() -> Site {
    let tree = Tree::new(&[("a.txt", b"0123456789")]);
    tree.modified_at("a.txt", MODIFIED_S as i64, 123_456_789);
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    let response = client.get("/a.txt");
    assert_eq!(response.require("Last-Modified"), imf_fixdate(MODIFIED_S));
    let tag = response.etag().to_owned();
    Site { _tree: tree, _server: server, client, tag }
}

impl Site {
    /// Checks the status of GET and of HEAD with these field lines.
    #[track_caller]
    fn expect(&mut self, fields: &[&str], status: u16) {
        for method in ["GET", "HEAD"] {
            let response = self.client.exchange(&request(method, "/a.txt", fields));
            assert_eq!(response.status, status, "{method} {fields:?}");
            if status == 304 {
                assert_eq!(response.etag(), self.tag, "{method} {fields:?}");
            }
            if status == 200 && method == "GET" {
                assert_eq!(response.content, b"0123456789", "{fields:?}");
            }
        }
    }
}

#[test]
fn if_none_match_compares_weakly() {
    let mut site = site();
    let tag = site.tag.clone();
    for value in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"other\", {tag}"),
        format!("{tag},\"other\""),
        format!("\"a,b\" ,, W/{tag} ,"),
        "*".into(),
    ] {
        site.expect(&[&format!("If-None-Match: {value}")], 304);
    }
    site.expect(&["If-None-Match: \"other\"", &format!("If-None-Match: {tag}")], 304);
    let unquoted = tag.trim_matches('"');
    for value in [
        "\"other\"",
        "W/\"other\"",
        unquoted,
        "\"\"",
        "\"*\"",
        &format!("\"x{unquoted}\""),
        &format!("w/{tag}"),
    ] {
        site.expect(&[&format!("If-None-Match: {value}")], 200);
    }
}

#[test]
fn if_modified_since_means_not_later_than() {
    let mut site = site();
    let dates = [
        (imf_fixdate(MODIFIED_S), 304),
        (rfc850(MODIFIED_S), 304),
        (asctime(MODIFIED_S), 304),
        (imf_fixdate(MODIFIED_S + 1), 304),
        (asctime(MODIFIED_S + 86_400 * 9), 304),
        (imf_fixdate(MODIFIED_S - 1), 200),
        (rfc850(MODIFIED_S - 1), 200),
        (asctime(MODIFIED_S - 86_400), 200),
        (imf_fixdate(0), 200),
        ("yesterday".into(), 200),
        ("0".into(), 200),
        (imf_fixdate(MODIFIED_S).replace(" GMT", ""), 200),
        (imf_fixdate(MODIFIED_S).replace("Sep", "Foo"), 200),
        (imf_fixdate(MODIFIED_S).replace("2020", "99999999999"), 200),
    ];
    for (date, status) in dates {
        site.expect(&[&format!("If-Modified-Since: {date}")], status);
    }
}

#[test]
fn if_match_compares_strongly() {
    let mut site = site();
    let tag = site.tag.clone();
    for value in [tag.clone(), format!("\"other\", {tag}"), "*".into()] {
        site.expect(&[&format!("If-Match: {value}")], 200);
    }
    for value in ["\"other\"".into(), format!("W/{tag}"), format!("\"other\", W/{tag}")] {
        site.expect(&[&format!("If-Match: {value}")], 412);
    }
}

#[test]
fn if_unmodified_since_is_the_counterpart() {
    let mut site = site();
    let dates = [
        (imf_fixdate(MODIFIED_S), 200),
        (imf_fixdate(MODIFIED_S + 10), 200),
        (asctime(MODIFIED_S), 200),
        (imf_fixdate(MODIFIED_S - 1), 412),
        (rfc850(MODIFIED_S - 1), 412),
        ("never".into(), 200),
    ];
    for (date, status) in dates {
        site.expect(&[&format!("If-Unmodified-Since: {date}")], status);
    }
}

#[test]
fn the_fields_are_evaluated_in_order() {
    let mut site = site();
    let (old, same) = (imf_fixdate(MODIFIED_S - 1), imf_fixdate(MODIFIED_S));
    let lines =
        |template: &str| template.replace("TAG", &site.tag).replace("OLD", &old).replace("SAME", &same);
    let table = [
        ("If-Match: TAG|If-Unmodified-Since: OLD", 200),
        ("If-Match: \"no\"|If-Unmodified-Since: SAME", 412),
        ("If-None-Match: \"no\"|If-Modified-Since: SAME", 200),
        ("If-None-Match: TAG|If-Modified-Since: OLD", 304),
        ("If-Match: \"no\"|If-None-Match: TAG", 412),
        ("If-None-Match: TAG|If-Match: TAG", 304),
        ("If-Unmodified-Since: OLD|If-None-Match: TAG", 412),
        ("If-Unmodified-Since: SAME|If-Modified-Since: SAME", 304),
        ("If-None-Match: TAG|Range: bytes=0-1", 304),
        ("If-Match: \"no\"|Range: bytes=0-1", 412),
        ("If-Match: \"no\"|Range: bytes=99-", 412),
    ];
    let table: Vec<(String, u16)> = table.iter().map(|(fields, status)| (lines(fields), *status)).collect();
    for (fields, status) in table {
        site.expect(&fields.split('|').collect::<Vec<_>>(), status);
    }
}

#[test]
fn conditions_mean_nothing_where_there_is_nothing() {
    let mut site = site();
    for fields in ["If-Match: *", "If-None-Match: *", "If-Match: \"x\""] {
        assert_eq!(site.client.get_with("/missing", &[fields]).status, 404, "{fields}");
    }
    let post = site.client.exchange(&request("POST", "/a.txt", &["If-None-Match: *"]));
    assert_eq!(post.status, 405);
}

#[test]
fn a_304_has_the_validators_of_the_200_and_no_content() {
    let mut site = site();
    let whole = site.client.get("/a.txt");
    let none_match = format!("If-None-Match: {}", site.tag);
    let not_modified = site.client.get_with("/a.txt", &[&none_match]);
    assert_eq!(not_modified.status, 304);
    for name in ["ETag", "Vary", "Cache-Control", "Expires", "Content-Location"] {
        assert_eq!(not_modified.field(name), whole.field(name), "{name}");
    }
    if let Some(length) = not_modified.content_length() {
        assert_eq!(Some(length), whole.content_length(), "RFC 9110 §8.6");
    }
    assert_eq!(site.client.get("/a.txt").content, b"0123456789", "nothing followed the 304");
}

#[test]
fn times_before_1970_and_in_the_future_do_no_harm() {
    let tree = Tree::new(&[("old.txt", b"old"), ("older.txt", b"older"), ("new.txt", b"new")]);
    tree.modified_at("old.txt", -1, 500_000_000);
    tree.modified_at("older.txt", -2_000_000_000, 0);
    tree.modified_at("new.txt", 4_000_000_000, 0);
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    for (target, content) in [("/old.txt", "old"), ("/older.txt", "older"), ("/new.txt", "new")] {
        // That Last-Modified is a date, and not later than Date, is checked for every response.
        let response = client.get(target);
        assert_eq!((response.status, response.content.as_slice()), (200, content.as_bytes()), "{target}");
        let fields = [format!("If-None-Match: {}", response.etag()), "If-Modified-Since: now".into()];
        assert_eq!(client.get_with(target, &[&fields[0]]).status, 304, "{target}");
        assert_eq!(client.get_with(target, &[&fields[1]]).status, 200, "{target}");
    }
}

#[test]
fn tags_are_the_same_on_every_replica_and_differ_for_every_change() {
    let replicas = [0, 1].map(|_| {
        let tree =
            Tree::new(&[("a.txt", b"0123456789"), ("b.txt", b"0123456789"), ("c.txt", b"01234567890")]);
        tree.modified_at("a.txt", MODIFIED_S as i64, 1_000);
        tree.modified_at("b.txt", MODIFIED_S as i64, 1_001);
        tree.modified_at("c.txt", MODIFIED_S as i64, 1_000);
        let server = Server::start(&[], tree.root());
        ["/a.txt", "/b.txt", "/c.txt"].map(|target| server.connect().get(target).etag().to_owned())
    });
    assert_eq!(replicas[0], replicas[1]);
    let [a, b, c] = &replicas[0];
    assert!(a != b, "a nanosecond is a change");
    assert!(a != c && b != c, "a byte more is a change");
}
