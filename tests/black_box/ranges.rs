//! Parts of a file (RFC 9110 §14, §13.1.5).

use std::io::{Seek as _, SeekFrom, Write as _};

use super::client::{Client, request};
use super::date::imf_fixdate;
use super::server::Server;
use super::tree::{Tree, pattern};

const LENGTH: usize = 1_000;
const MODIFIED_S: u64 = 1_600_000_000;

fn site() -> (Tree, Server) {
    let tree =
        Tree::new(&[("a.bin", &pattern(LENGTH)), ("empty.bin", b""), ("big.bin", &pattern(2_000_000))]);
    tree.modified_at("a.bin", MODIFIED_S as i64, 0);
    let server = Server::start(&[], tree.root());
    (tree, server)
}

#[track_caller]
fn expect_part(client: &mut Client, target: &str, range: &str, first: usize, last: usize, whole: &[u8]) {
    let response = client.get_with(target, &[&format!("Range: {range}")]);
    assert_eq!(response.status, 206, "{range}");
    assert_eq!(response.require("Content-Range"), format!("bytes {first}-{last}/{}", whole.len()), "{range}");
    assert!(response.content == whole[first..=last], "{range}: wrong bytes");
    response.etag();
}

#[test]
fn one_range_is_that_part() {
    let (_tree, server) = site();
    let whole = pattern(LENGTH);
    let mut client = server.connect();
    let table = [
        ("bytes=0-0", 0, 0),
        ("bytes=0-499", 0, 499),
        ("bytes=500-999", 500, 999),
        ("bytes=500-", 500, 999),
        ("bytes=999-", 999, 999),
        ("bytes=999-999", 999, 999),
        ("bytes=0-", 0, 999),
        ("bytes=0-99999", 0, 999),
        ("bytes=17-18446744073709551615", 17, 999),
        ("bytes=-1", 999, 999),
        ("bytes=-500", 500, 999),
        ("bytes=-1000", 0, 999),
        ("bytes=-5000", 0, 999),
        ("bytes=-18446744073709551615", 0, 999),
        ("bytes=007-008", 7, 8),
        ("Bytes=1-2", 1, 2),
    ];
    for (range, first, last) in table {
        expect_part(&mut client, "/a.bin", range, first, last, &whole);
    }
}

#[test]
fn parts_of_a_large_file_are_exact_and_leave_the_connection_usable() {
    let (_tree, server) = site();
    let whole = pattern(2_000_000);
    let mut client = server.connect();
    for (first, last) in
        [(0, 1_999_998), (1, 1_999_999), (65_535, 65_536), (4_095, 131_073), (1_999_999, 1_999_999)]
    {
        expect_part(&mut client, "/big.bin", &format!("bytes={first}-{last}"), first, last, &whole);
    }
    client.download("/big.bin", &whole);
}

#[test]
fn a_range_behind_the_end_is_416() {
    let (_tree, server) = site();
    let mut client = server.connect();
    let table = [
        ("/a.bin", "bytes=1000-", "bytes */1000"),
        ("/a.bin", "bytes=1000-1000", "bytes */1000"),
        ("/a.bin", "bytes=18446744073709551615-", "bytes */1000"),
        ("/a.bin", "bytes=-0", "bytes */1000"),
        ("/empty.bin", "bytes=0-", "bytes */0"),
        ("/empty.bin", "bytes=0-0", "bytes */0"),
    ];
    for (target, range, content_range) in table {
        let response = client.get_with(target, &[&format!("Range: {range}")]);
        assert_eq!((response.status, response.require("Content-Range")), (416, content_range), "{range}");
    }
}

#[test]
fn what_is_no_range_is_the_whole() {
    let (_tree, server) = site();
    let mut client = server.connect();
    let malformed = [
        "bytes=",
        "bytes=-",
        "bytes=abc",
        "bytes=5-2",
        "bytes=0-5x",
        "bytes=--5",
        "bytes=1-2-3",
        "bytes=0x1-",
        "bytes=+1-2",
        "bytes=1-+2",
        "bytes=0-1,abc",
        "bytes=0-1,5-2",
        "bytes=0-1;2-3",
        "bytes=,",
        "bytes 0-5",
        "bytes:0-5",
        "bytes",
        "0-5",
        "=0-5",
        "items=0-5",
        "seconds=1-2",
    ];
    for range in malformed {
        let response = client.get_with("/a.bin", &[&format!("Range: {range}")]);
        assert_eq!((response.status, response.content.len()), (200, LENGTH), "{range}");
    }
}

#[test]
fn numbers_beyond_64_bits_do_not_wrap() {
    let (_tree, server) = site();
    let whole = pattern(LENGTH);
    let mut client = server.connect();
    for (range, satisfiable) in [
        ("bytes=18446744073709551616-", false),
        ("bytes=18446744073709551617-18446744073709551618", false),
        ("bytes=99999999999999999999999-", false),
        ("bytes=0-18446744073709551616", true),
        ("bytes=-18446744073709551616", true),
        ("bytes=-18446744073709551617", true),
    ] {
        let response = client.get_with("/a.bin", &[&format!("Range: {range}")]);
        match response.status {
            // Too large a number may make the whole set malformed.
            200 => (),
            206 if satisfiable => {
                assert_eq!(response.require("Content-Range"), "bytes 0-999/1000", "{range}");
            }
            416 if !satisfiable => continue,
            status => panic!("{status} to {range}"),
        }
        assert!(response.content == whole, "{range}");
    }
}

#[test]
fn ranges_are_for_get() {
    let (_tree, server) = site();
    let mut client = server.connect();
    let head = client.exchange(&request("HEAD", "/a.bin", &["Range: bytes=0-9"]));
    assert_eq!((head.status, head.content_length(), head.field("Content-Range")), (200, Some(1_000), None));
    let post = client.exchange(&request("POST", "/a.bin", &["Range: bytes=0-9"]));
    assert_eq!(post.status, 405);
    assert_eq!(client.get_with("/missing", &["Range: bytes=0-9"]).status, 404);
    assert_eq!(client.get("/a.bin").require("Accept-Ranges"), "bytes");
}

#[test]
fn if_range_needs_the_exact_validator() {
    let (_tree, server) = site();
    let mut client = server.connect();
    let tag = client.get("/a.bin").etag().to_owned();
    let unquoted = tag.trim_matches('"').to_owned();
    let table = [
        (tag.clone(), 206),
        (imf_fixdate(MODIFIED_S), 206),
        (format!("W/{tag}"), 200),
        ("\"other\"".into(), 200),
        (unquoted, 200),
        ("*".into(), 200),
        (format!("{tag}, \"other\""), 200),
        (imf_fixdate(MODIFIED_S + 1), 200),
        (imf_fixdate(MODIFIED_S - 1), 200),
        ("tomorrow".into(), 200),
    ];
    for (validator, status) in table {
        let if_range = format!("If-Range: {validator}");
        let response = client.get_with("/a.bin", &["Range: bytes=10-19", &if_range]);
        assert_eq!(response.status, status, "{validator}");
        assert_eq!(response.content.len(), if status == 206 { 10 } else { LENGTH }, "{validator}");
        assert_eq!(client.get_with("/a.bin", &[&if_range]).status, 200, "{validator} without Range");
    }
    let beyond = client.get_with("/a.bin", &["Range: bytes=1000-", "If-Range: \"other\""]);
    assert_eq!(beyond.status, 200, "a range that does not apply cannot be unsatisfiable");
}

#[test]
fn offsets_beyond_4_gib_are_exact() {
    let tree = Tree::new(&[]);
    let marked_at = (4_u64 << 30) - 3;
    let length = 5_u64 << 30;
    let mut file = tree.sparse("sparse.bin", length);
    file.seek(SeekFrom::Start(marked_at)).unwrap();
    file.write_all(b"marker").unwrap();
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    let table = [
        (format!("bytes={marked_at}-{}", marked_at + 5), marked_at, b"marker".as_slice()),
        (format!("bytes={}-{}", marked_at + 3, marked_at + 6), marked_at + 3, b"ker\0"),
        (format!("bytes={}-", length - 2), length - 2, b"\0\0"),
        ("bytes=-3".into(), length - 3, b"\0\0\0"),
    ];
    for (range, first, content) in table {
        let response = client.get_with("/sparse.bin", &[&format!("Range: {range}")]);
        let last = first + content.len() as u64 - 1;
        assert_eq!(response.status, 206, "{range}");
        assert_eq!(response.require("Content-Range"), format!("bytes {first}-{last}/{length}"), "{range}");
        assert_eq!(response.content, content, "{range}");
    }
    let head = client.exchange(&request("HEAD", "/sparse.bin", &[]));
    assert_eq!(head.content_length(), Some(length));
}
