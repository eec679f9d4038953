//! Content codings: files that lie coded beside the file they were made of, and which of them a client gets.

use super::client::{Client, request};
use super::server::Server;
use super::tree::Tree;

const PLAIN: &[u8] = b"plain content of the file, which is longer than any coding of it";
/// Nothing decodes these: the server sends what lies there.
const CODED: [(&str, &str, &[u8]); 3] =
    [("br", "br", b"BROTLI-"), ("zstd", "zst", b"ZSTD--"), ("gzip", "gz", b"GZIP-")];

/// Modified one after the other: the file first.
const MODIFIED_S: i64 = 1_600_000_000;

fn tree() -> Tree {
    let tree = Tree::new(&[("app.js", PLAIN)]);
    tree.modified_at("app.js", MODIFIED_S, 0);
    for (number, (_, suffix, content)) in CODED.iter().enumerate() {
        let name = format!("app.js.{suffix}");
        tree.write(&name, content);
        tree.modified_at(&name, MODIFIED_S + number as i64, 0);
    }
    tree
}

fn accepting(client: &mut Client, target: &str, accepted: &str) -> super::response::Response {
    client.get_with(target, &[&format!("Accept-Encoding: {accepted}")])
}

#[test]
fn the_best_coding_that_the_client_takes_is_sent() {
    let tree = tree();
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    let table: [(&str, Option<&str>); 20] = [
        ("br", Some("br")),
        ("gzip", Some("gzip")),
        ("zstd", Some("zstd")),
        ("gzip, deflate, br, zstd", Some("br")),
        ("gzip, zstd", Some("zstd")),
        ("GZip", Some("gzip")),
        ("x-gzip", Some("gzip")),
        ("br;q=0.5, gzip;q=0.8", Some("gzip")),
        ("br;q=0, gzip", Some("gzip")),
        ("br;q=0.000, *;q=0.5", Some("zstd")),
        ("*", Some("br")),
        ("*;q=0", None),
        ("identity", None),
        ("identity, gzip;q=0.9", None),
        ("gzip;q=0", None),
        ("", None),
        ("brotli", None),
        ("gzipped, xbr", None),
        ("gzip;q=2", None),
        ("deflate, compress", None),
    ];
    for (accepted, coding) in table {
        let response = accepting(&mut client, "/app.js", accepted);
        assert_eq!((response.status, response.field("Content-Encoding")), (200, coding), "{accepted}");
        let content =
            CODED.iter().find(|(name, ..)| Some(*name) == coding).map_or(PLAIN, |(.., bytes)| bytes);
        assert_eq!(response.content, content, "{accepted}");
        assert_eq!(response.content_length(), Some(content.len() as u64), "{accepted}");
        assert_eq!(response.require("Vary"), "Accept-Encoding", "{accepted}");
        assert_eq!(response.require("Content-Type"), "text/javascript; charset=utf-8", "{accepted}");
    }
    assert_eq!(client.get("/app.js").content, PLAIN);
}

#[test]
fn each_coding_is_a_representation_of_its_own() {
    let tree = tree();
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    let mut tags = Vec::new();
    for accepted in ["identity", "br", "zstd", "gzip"] {
        let whole = accepting(&mut client, "/app.js", accepted);
        let tag = whole.etag().to_owned();
        assert!(tag.starts_with('"') && !tags.contains(&tag), "{accepted}: {tag} after {tags:?}");
        let accept = format!("Accept-Encoding: {accepted}");
        let not_modified = client.get_with("/app.js", &[&accept, &format!("If-None-Match: {tag}")]);
        assert_eq!((not_modified.status, not_modified.etag()), (304, &*tag), "{accepted}");
        assert_eq!(not_modified.require("Vary"), "Accept-Encoding", "{accepted}");
        assert_eq!(not_modified.field("Content-Encoding"), None, "{accepted}");
        for other in &tags {
            let changed = client.get_with("/app.js", &[&accept, &format!("If-None-Match: {other}")]);
            assert_eq!(changed.status, 200, "{accepted} is not {other}");
        }
        let part = client.get_with("/app.js", &[&accept, "Range: bytes=1-3", &format!("If-Range: {tag}")]);
        assert_eq!((part.status, part.content.as_slice()), (206, &whole.content[1..4]), "{accepted}");
        assert_eq!(part.field("Content-Encoding"), whole.field("Content-Encoding"), "{accepted}");
        let length = whole.content.len();
        assert_eq!(part.require("Content-Range"), format!("bytes 1-3/{length}"), "{accepted}");
        let head = client.exchange(&request("HEAD", "/app.js", &[&accept]));
        assert_eq!(head.dateless(), whole.dateless(), "{accepted}");
        tags.push(tag);
    }
}

#[test]
fn what_is_asked_for_by_its_own_name_is_content_not_coding() {
    let tree = tree();
    tree.write("x.tar", PLAIN);
    tree.write("x.tar.gz", b"ARCHIVE");
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    for (target, content, media_type) in [
        ("/app.js.gz", b"GZIP-".as_slice(), "application/gzip"),
        ("/app.js.br", b"BROTLI-", "application/x-brotli"),
        ("/x.tar.gz", b"ARCHIVE", "application/gzip"),
    ] {
        let response = accepting(&mut client, target, "br, gzip, zstd");
        assert_eq!((response.status, response.field("Content-Encoding")), (200, None), "{target}");
        assert_eq!((&*response.content, response.require("Content-Type")), (content, media_type), "{target}");
        assert_eq!(response.field("Vary"), None, "{target}");
    }
}

#[test]
fn a_coded_file_that_cannot_be_meant_is_passed_over() {
    let tree = tree();
    // Older than the file: made of another version of it.
    tree.modified_at("app.js.br", MODIFIED_S - 10, 0);
    std::fs::remove_file(tree.path("app.js.zst")).expect("remove");
    tree.directory("app.js.zst");
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    assert_eq!(accepting(&mut client, "/app.js", "br, zstd").field("Content-Encoding"), None);
    assert_eq!(accepting(&mut client, "/app.js", "br, zstd, gzip").content, b"GZIP-");
    std::fs::remove_file(tree.path("app.js.gz")).expect("remove");
    tree.link("app.js.gz", "../outside");
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    let response = accepting(&mut client, "/app.js", "gzip");
    assert_eq!((response.field("Content-Encoding"), &*response.content), (None, PLAIN));
}

#[test]
fn an_unreadable_coded_file_is_passed_over() {
    let tree = tree();
    tree.mode("app.js.br", 0o000);
    tree.publish();
    let server = super::server::Launch::new(tree.root()).unprivileged().start();
    let response = accepting(&mut server.connect(), "/app.js", "br");
    assert_eq!((response.status, response.field("Content-Encoding"), &*response.content), (200, None, PLAIN));
}

#[test]
fn a_coded_file_that_appears_changes_or_goes_is_noticed() {
    let tree = Tree::new(&[("a.css", PLAIN)]);
    tree.modified_at("a.css", MODIFIED_S, 0);
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    let mut expect = |coding: Option<&str>, content: &[u8]| {
        std::thread::sleep(std::time::Duration::from_millis(1_300));
        let response = accepting(&mut client, "/a.css", "gzip");
        assert_eq!((response.field("Content-Encoding"), &*response.content), (coding, content));
        assert_eq!(response.field("Vary"), coding.map(|_| "Accept-Encoding"));
    };
    expect(None, PLAIN);
    tree.replace("a.css.gz", b"ONE");
    expect(Some("gzip"), b"ONE");
    tree.replace("a.css.gz", b"OTHER");
    expect(Some("gzip"), b"OTHER");
    std::fs::remove_file(tree.path("a.css.gz")).expect("remove");
    expect(None, PLAIN);
}

#[test]
fn codings_can_be_chosen_and_switched_off() {
    let tree = tree();
    for (flag, coding) in
        [("off", None), ("gzip", Some("gzip")), ("gz,zstd", Some("zstd")), ("all", Some("br"))]
    {
        let server = Server::start(&["--precompressed", flag], tree.root());
        let response = accepting(&mut server.connect(), "/app.js", "br, gzip, zstd");
        assert_eq!(response.field("Content-Encoding"), coding, "{flag}");
    }
}

#[test]
fn index_files_and_clean_urls_have_codings_too() {
    let tree = Tree::new(&[
        ("index.html", PLAIN),
        ("index.html.gz", b"INDEX"),
        ("about.html", PLAIN),
        ("about.html.gz", b"ABOUT"),
    ]);
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    for (target, content) in [("/", b"INDEX"), ("/about", b"ABOUT")] {
        let response = accepting(&mut client, target, "gzip");
        assert_eq!(
            (&*response.content, response.field("Content-Encoding")),
            (&content[..], Some("gzip")),
            "{target}"
        );
        assert_eq!(response.require("Content-Type"), "text/html; charset=utf-8", "{target}");
    }
}
