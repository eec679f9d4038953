//! Content as it is on disk, to the byte, and what kind it is said to be (RFC 9110 §8.3, §8.6).

use super::client::{Client, request};
use super::server::Server;
use super::tree::{Tree, pattern};

/// Sizes around everything that an implementation may treat differently: memory or file, one send or several.
const SIZES: [usize; 22] = [
    0, 1, 2, 511, 1_000, 1_024, 4_095, 4_096, 4_097, 8_191, 8_192, 8_193, 16_383, 16_384, 16_385, 32_768,
    65_535, 65_537, 131_072, 1_048_575, 1_048_577, 3_000_001,
];

#[test]
fn files_of_every_size_arrive_to_the_byte() {
    let tree = Tree::new(&[]);
    let all = pattern(SIZES[SIZES.len() - 1]);
    for size in SIZES {
        tree.write(&format!("{size}.bin"), &all[..size]);
    }
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    for round in 0..3 {
        for size in SIZES {
            client.download(&format!("/{size}.bin?round={round}"), &all[..size]);
        }
    }
}

#[test]
fn responses_of_all_sizes_follow_each_other_in_a_pipeline() {
    let tree = Tree::new(&[]);
    let all = pattern(SIZES[SIZES.len() - 1]);
    for size in SIZES {
        tree.write(&format!("{size}.bin"), &all[..size]);
    }
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    let pipeline: Vec<u8> =
        SIZES.iter().rev().flat_map(|size| request("GET", &format!("/{size}.bin"), &[])).collect();
    client.send(&pipeline);
    for size in SIZES.iter().rev() {
        let response = client.response();
        assert_eq!(response.status, 200, "{size}");
        assert!(response.content == all[..*size], "{size} differs");
    }
}

#[track_caller]
fn media_type(client: &mut Client, target: &str) -> String {
    let response = client.get(target);
    assert_eq!(response.status, 200, "{target}");
    response.require("Content-Type").to_owned()
}

#[test]
fn media_types_come_from_the_name() {
    let table = [
        ("a.html", "text/html; charset=utf-8"),
        ("a.htm", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.csv", "text/csv; charset=utf-8"),
        ("a.md", "text/markdown; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.map", "application/json"),
        ("a.webmanifest", "application/manifest+json"),
        ("a.wasm", "application/wasm"),
        ("a.pdf", "application/pdf"),
        ("a.woff2", "font/woff2"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("a.jpg", "image/jpeg"),
        ("a.webp", "image/webp"),
        ("a.avif", "image/avif"),
        ("a.ico", "image/x-icon"),
        ("a.mp4", "video/mp4"),
        ("a.webm", "video/webm"),
        ("A.HTML", "text/html; charset=utf-8"),
        ("A.Js", "text/javascript; charset=utf-8"),
        ("PHOTO.JPG", "image/jpeg"),
        ("a.b.css", "text/css; charset=utf-8"),
        ("a.unheard-of", "application/octet-stream"),
        ("none", "application/octet-stream"),
    ];
    let tree = Tree::new(&[]);
    for (name, _) in table {
        tree.write(name, b"content");
    }
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    for (name, expected) in table {
        let said = media_type(&mut client, &format!("/{name}"));
        // Types that mark their own encoding may name it nonetheless.
        assert!(said == expected || said == format!("{expected}; charset=utf-8"), "{name}: {said}");
    }
}

#[test]
fn an_archive_asked_for_by_name_is_content_not_coding() {
    let tree = Tree::new(&[("a.tar.gz", b"\x1f\x8b archive"), ("b.svgz", b"\x1f\x8b picture")]);
    let server = Server::start(&[], tree.root());
    let response = server.connect().get_with("/a.tar.gz", &["Accept-Encoding: gzip, br"]);
    assert_eq!((response.status, response.field("Content-Encoding")), (200, None));
    assert_eq!(response.content, b"\x1f\x8b archive");
}

#[test]
fn error_pages_are_small_text_and_leave_the_connection_usable() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    for _ in 0..3 {
        let response = client.get("/missing");
        assert_eq!(response.status, 404);
        assert!(response.require("Content-Type").starts_with("text/"), "{:?}", response.head());
        assert!(response.content.len() < 4_096);
        assert!(response.field("ETag").is_none() && response.field("Last-Modified").is_none());
        assert_eq!(client.get("/a.txt").content, b"a");
    }
}
