//! Representations that are made when somebody asks: text coded for clients that take it, and coded files decoded for
//! those that do not.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::client::Client;
use super::response::Response;
use super::schedule::skip;
use super::server::Server;
use super::tree::Tree;

fn text() -> Vec<u8> {
    (0..5_000).flat_map(|line| format!("line {line} of a text\n").into_bytes()).collect()
}

/// What a program makes of bytes, or nothing where it is not there.
fn through(program: &str, flags: &[&str], bytes: &[u8]) -> Option<Vec<u8>> {
    let mut child =
        Command::new(program).args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let mut input = child.stdin.take()?;
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes).expect("write"));
    let output = child.wait_with_output().expect("output");
    writer.join().expect("writer");
    assert!(output.status.success(), "{program} {flags:?}");
    Some(output.stdout)
}

fn accepting(client: &mut Client, target: &str, accepted: &str) -> Response {
    client.get_with(target, &[&format!("Accept-Encoding: {accepted}")])
}

#[test]
fn text_is_coded_once_for_clients_that_take_it() {
    let test = "making::text_is_coded_once_for_clients_that_take_it";
    let text = text();
    let tree = Tree::new(&[("a.txt", &text), ("tiny.txt", b"tiny"), ("a.png", &text), ("b.css", &text)]);
    let server = Server::start(&["-x", "-t", "1"], tree.root());
    let mut client = server.connect();
    let plain = accepting(&mut client, "/a.txt", "identity");
    assert_eq!((plain.field("Content-Encoding"), plain.require("Vary")), (None, "Accept-Encoding"));
    assert!(plain.content == text);
    for (accepted, program) in [("gzip", Some("gzip")), ("br", None), ("gzip, br", None)] {
        let coded = accepting(&mut client, "/a.txt", accepted);
        let coding = if accepted == "gzip" { "gzip" } else { "br" };
        assert_eq!(coded.require("Content-Encoding"), coding, "{accepted}");
        assert_eq!(coded.require("Vary"), "Accept-Encoding", "{accepted}");
        assert_ne!(coded.etag(), plain.etag(), "{accepted}");
        assert!(coded.content.len() < text.len() / 4, "{accepted}: {}", coded.content.len());
        if let Some(program) = program {
            match through(program, &["-dc"], &coded.content) {
                Some(decoded) => assert!(decoded == text, "{accepted}"),
                None => skip(test, &format!("no {program}")),
            }
        }
        let fields = [&*format!("Accept-Encoding: {accepted}"), &format!("If-None-Match: {}", coded.etag())];
        assert_eq!(client.get_with("/a.txt", &fields).status, 304, "{accepted}");
        let again = accepting(&mut client, "/a.txt", accepted);
        assert!(again.content == coded.content && again.etag() == coded.etag(), "{accepted}");
        let fields = [&*format!("Accept-Encoding: {accepted}"), "Range: bytes=2-9"];
        assert!(client.get_with("/a.txt", &fields).content == coded.content[2..10], "{accepted}");
    }
    for target in ["/tiny.txt", "/a.png"] {
        let response = accepting(&mut client, target, "gzip, br");
        assert_eq!((response.field("Content-Encoding"), response.field("Vary")), (None, None), "{target}");
    }
    let unasked = Server::start(&[], tree.root());
    assert_eq!(accepting(&mut unasked.connect(), "/a.txt", "gzip").field("Content-Encoding"), None);
}

#[test]
fn a_crowd_that_asks_for_a_coding_gets_one() {
    let text = text();
    let tree = Tree::new(&[("a.txt", &text)]);
    let server = Server::start(&["-x", "-t", "1"], tree.root());
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(b"GET /a.txt HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br\r\n\r\n");
    }
    let mut contents: Vec<Vec<u8>> = clients.iter_mut().map(|client| client.response().content).collect();
    contents.dedup();
    assert_eq!(contents.len(), 1);
}

#[test]
fn listings_are_coded_like_files() {
    let test = "making::listings_are_coded_like_files";
    let names: Vec<String> = (0..100).map(|number| format!("file-{number}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b""[..])).collect();
    let tree = Tree::new(&files);
    tree.directory("empty");
    for helpers in ["4", "0"] {
        let flags = ["-z", "-x", "-t", "1", "--helpers", helpers];
        let server = Server::start(&flags, tree.root());
        let mut client = server.connect();
        for accept in ["text/html", "application/json"] {
            let mut get = |coding: &str, more: &[&str]| {
                let fields = [format!("Accept: {accept}"), format!("Accept-Encoding: {coding}")];
                let fields: Vec<&str> =
                    fields.iter().map(String::as_str).chain(more.iter().copied()).collect();
                client.get_with("/", &fields)
            };
            let plain = get("identity", &[]);
            assert!(plain.varies_by("Accept-Encoding") && plain.varies_by("Accept"), "{:?}", plain.head());
            let stem = plain.etag().trim_matches('"').to_owned();
            for (coding, suffix) in [("gzip", "gz"), ("br", "br"), ("gzip;q=0.1, br", "br")] {
                let coded = get(coding, &[]);
                let token = if suffix == "gz" { "gzip" } else { "br" };
                assert_eq!(coded.require("Content-Encoding"), token, "{accept}, {coding}");
                assert_eq!(coded.etag(), format!("\"{stem}-{suffix}\""), "{accept}, {coding}");
                assert!(
                    coded.varies_by("Accept-Encoding") && coded.varies_by("Accept"),
                    "{:?}",
                    coded.head()
                );
                for name in ["Content-Type", "Last-Modified", "Cache-Control", "Content-Security-Policy"] {
                    assert_eq!(coded.field(name), plain.field(name), "{accept}, {coding}");
                }
                assert!(coded.content.len() < plain.content.len() / 3, "{accept}, {coding}");
                let condition = format!("If-None-Match: {}", coded.etag());
                let unchanged = get(coding, &[&condition]);
                assert_eq!((unchanged.status, unchanged.etag()), (304, coded.etag()), "{accept}, {coding}");
                assert!(unchanged.varies_by("Accept-Encoding") && unchanged.varies_by("Accept"));
                assert_eq!(
                    get(coding, &["Range: bytes=3-9"]).content,
                    coded.content[3..10],
                    "{accept}, {coding}"
                );
                if suffix == "gz" {
                    match through("gzip", &["-dc"], &coded.content) {
                        Some(decoded) => assert!(decoded == plain.content, "{accept}"),
                        None => skip(test, "no gzip"),
                    }
                }
            }
        }
        // Below a kibibyte nothing is won.
        let small = client.get_with("/empty/", &["Accept: application/json", "Accept-Encoding: br"]);
        assert_eq!((small.field("Content-Encoding"), small.require("Vary")), (None, "Accept"));
    }
    let unasked = Server::start(&["-z"], tree.root());
    let plain = unasked.connect().get_with("/", &["Accept-Encoding: br"]);
    assert_eq!((plain.field("Content-Encoding"), plain.require("Vary")), (None, "Accept"));
}

#[test]
fn a_change_is_coded_anew() {
    let text = text();
    let tree = Tree::new(&[("a.txt", &text)]);
    let server = Server::start(&["-x"], tree.root());
    let mut client = server.connect();
    let before = accepting(&mut client, "/a.txt", "gzip");
    tree.replace("a.txt", &text[..text.len() / 2]);
    std::thread::sleep(std::time::Duration::from_millis(1_300));
    let after = accepting(&mut client, "/a.txt", "gzip");
    assert_ne!(before.etag(), after.etag());
    assert!(after.content.len() < before.content.len());
}

#[test]
fn what_changes_before_it_is_coded_is_sent_as_it_is_by_then() {
    for helpers in ["4", "0"] {
        let mut text = text();
        let tree = Tree::new(&[("a.txt", &text)]);
        let server =
            Server::start(&["-x", "-t", "1", "--helpers", helpers, "--cache-check", "1h"], tree.root());
        let mut client = server.connect();
        assert!(accepting(&mut client, "/a.txt", "identity").content == text);
        // In place, so that the file which is open is the one that changes.
        text[..4].copy_from_slice(b"LINE");
        tree.write("a.txt", &text);
        let changed = accepting(&mut client, "/a.txt", "gzip");
        assert_eq!(changed.status, 200, "{helpers} helpers");
        if changed.field("Content-Encoding").is_none() {
            assert!(changed.content == text, "{helpers} helpers");
        }
        assert!(accepting(&mut client, "/a.txt", "identity").content == text, "{helpers} helpers");
        assert_eq!(accepting(&mut client, "/a.txt", "gzip").require("Content-Encoding"), "gzip");
    }
}

#[test]
fn a_file_that_lies_there_coded_only_is_decoded_for_those_who_need_it() {
    let test = "making::a_file_that_lies_there_coded_only_is_decoded_for_those_who_need_it";
    let text = text();
    let programs = [("gzip", "gz", "gzip"), ("brotli", "br", "br"), ("zstd", "zst", "zstd")];
    for (program, suffix, coding) in programs {
        let Some(coded) = through(program, &["-c"], &text) else {
            skip(test, &format!("no {program}"));
            continue;
        };
        let tree = Tree::new(&[(&format!("a.txt.{suffix}"), &coded)]);
        let server = Server::start(&["-t", "1"], tree.root());
        let mut client = server.connect();
        let taken = accepting(&mut client, "/a.txt", coding);
        assert_eq!((taken.status, taken.require("Content-Encoding")), (200, coding));
        assert!(taken.content == coded, "{coding}");
        for accepted in ["identity", "", "deflate"] {
            let decoded = accepting(&mut client, "/a.txt", accepted);
            assert_eq!(
                (decoded.status, decoded.field("Content-Encoding")),
                (200, None),
                "{coding}, {accepted}"
            );
            assert!(decoded.content == text, "{coding}, {accepted}");
            assert_eq!(decoded.require("Vary"), "Accept-Encoding", "{coding}");
            assert_eq!(decoded.require("Content-Type"), "text/plain; charset=utf-8", "{coding}");
            assert_ne!(decoded.etag(), taken.etag(), "{coding}");
        }
        let part = client.get_with("/a.txt", &["Accept-Encoding: identity", "Range: bytes=1000-1009"]);
        assert_eq!((part.status, &*part.content), (206, &text[1000..1010]), "{coding}");
    }
}

#[test]
fn a_coded_file_that_is_broken_is_an_error_of_ours_and_no_more() {
    for (suffix, coding, helpers) in
        [("gz", "gzip", "4"), ("br", "br", "4"), ("zst", "zstd", "4"), ("gz", "gzip", "0")]
    {
        let coded = format!("a.txt.{suffix}");
        let tree = Tree::new(&[(&coded, b"\xff this is none"), ("b.txt", b"b")]);
        tree.modified_at(&coded, 1_700_000_000, 0);
        let server = Server::start(&["-t", "1", "--helpers", helpers, "--cache-check", "100ms"], tree.root());
        let mut client = server.connect();
        // The file changes its status a moment ago, and is not sure of itself before two seconds are over.
        std::thread::sleep(std::time::Duration::from_millis(2_100));
        // At once, from what is known, and when it was looked at again.
        for accepted in ["identity", "", "deflate", "identity"] {
            let refused = accepting(&mut client, "/a.txt", accepted);
            assert_eq!(
                (refused.status, refused.require("Vary")),
                (500, "Accept-Encoding"),
                "{coding}, {accepted}"
            );
            let taken = accepting(&mut client, "/a.txt", coding);
            assert_eq!(
                (taken.status, taken.require("Vary")),
                (200, "Accept-Encoding"),
                "{coding}, {accepted}"
            );
            // What the refusal said besides is not said again.
            let other = client.get("/b.txt");
            assert_eq!((&*other.content, other.field("Vary")), (&b"b"[..], None), "{coding}, {accepted}");
            std::thread::sleep(std::time::Duration::from_millis(150));
        }
        let stderr = server.stderr();
        assert_eq!(stderr.matches("cannot code or decode").count(), 1, "{coding}: {stderr}");
        assert!(stderr.contains("a.txt"), "{coding}: {stderr}");
    }
}
