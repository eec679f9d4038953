//! Several parts of a file in one response (RFC 9110 §14.6, §15.3.7.2).

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::client::{Client, Cut, End, eventually, request};
use super::date::imf_fixdate;
use super::response::Response;
use super::schedule::skip;
use super::server::{PATIENCE, Server};
use super::slow_fs::{Delays, expect_loops_never_asked, mount};
use super::tree::{Tree, pattern};

const LENGTH: usize = 1_000;
const BIG_LENGTH: usize = 8_000_000;
const MODIFIED_S: u64 = 1_600_000_000;

/// First and last position.
type Ends = (usize, usize);

fn site() -> (Tree, Server) {
    let tree =
        Tree::new(&[("a.txt", &pattern(LENGTH)), ("empty.bin", b""), ("big.bin", &pattern(BIG_LENGTH))]);
    tree.modified_at("a.txt", MODIFIED_S as i64, 0);
    let server = Server::start(&["-t", "1"], tree.root());
    (tree, server)
}

/// The `Range` of these parts.
fn range(parts: &[Ends]) -> String {
    let members: Vec<String> = parts.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    format!("Range: bytes={}", members.join(","))
}

#[track_caller]
fn boundary(response: &Response) -> &str {
    let media_type = response.require("Content-Type");
    let boundary = media_type.strip_prefix("multipart/byteranges; boundary=").expect("several parts");
    assert_eq!(boundary.len(), 32);
    assert!(boundary.bytes().all(|byte| byte.is_ascii_hexdigit()), "{boundary}");
    boundary
}

/// The content of a response with these parts of `whole`.
fn framed(boundary: &str, media_type: &str, parts: &[Ends], whole: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    for (number, &(first, last)) in parts.iter().enumerate() {
        let line_end = if number == 0 { "" } else { "\r\n" };
        let length = whole.len();
        let head = format!(
            "{line_end}--{boundary}\r\nContent-Type: {media_type}\r\n\
             Content-Range: bytes {first}-{last}/{length}\r\n\r\n"
        );
        content.extend_from_slice(head.as_bytes());
        content.extend_from_slice(&whole[first..=last]);
    }
    content.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    content
}

#[track_caller]
fn expect_parts(response: &Response, media_type: &str, parts: &[Ends], whole: &[u8]) {
    assert_eq!(response.status, 206, "{parts:?}");
    let expected = framed(boundary(response), media_type, parts, whole);
    assert_eq!(response.content_length(), Some(expected.len() as u64), "{parts:?}");
    assert!(response.content == expected, "{parts:?}: wrong bytes");
    assert_eq!(response.require("Accept-Ranges"), "bytes");
    response.etag();
    response.require("Last-Modified");
}

#[test]
fn parts_come_in_the_order_in_which_they_were_asked_for() {
    let (_tree, server) = site();
    let whole = pattern(LENGTH);
    let mut client = server.connect();
    let table: [(&str, &[Ends]); 8] = [
        ("bytes=0-9,20-29", &[(0, 9), (20, 29)]),
        ("bytes=20-29, 0-9", &[(20, 29), (0, 9)]),
        ("bytes=0-0,-1", &[(0, 0), (999, 999)]),
        ("bytes=0-9,,20-29,", &[(0, 9), (20, 29)]),
        ("bytes=-10,500-500,0-9", &[(990, 999), (500, 500), (0, 9)]),
        ("bytes=0-9,30-39,8-19", &[(0, 19), (30, 39)]),
        ("bytes=2000-,0-9,20-29", &[(0, 9), (20, 29)]),
        ("BYTES=0-9,11-99999", &[(0, 9), (11, 999)]),
    ];
    for (set, parts) in table {
        let response = client.get_with("/a.txt", &[&format!("Range: {set}")]);
        expect_parts(&response, "text/plain; charset=utf-8", parts, &whole);
        assert_eq!(client.get("/a.txt").content, whole, "after {set}");
    }
}

#[test]
fn what_is_left_of_a_set_may_be_one_part_or_none_or_the_whole() {
    let (_tree, server) = site();
    let whole = pattern(LENGTH);
    let mut client = server.connect();
    let table = [
        ("/a.txt", "bytes=0-9,2000-", 206, Some("bytes 0-9/1000")),
        ("/a.txt", "bytes=0-9,5-14", 206, Some("bytes 0-14/1000")),
        ("/a.txt", "bytes=10-19,0-9", 206, Some("bytes 0-19/1000")),
        ("/a.txt", "bytes=500-,-600", 206, Some("bytes 400-999/1000")),
        ("/a.txt", "bytes=1000-,-0,5000-6000", 416, Some("bytes */1000")),
        ("/empty.bin", "bytes=0-,1-1", 416, Some("bytes */0")),
        ("/a.txt", "bytes=0-9,20-29,x", 200, None),
        ("/a.txt", "bytes=0-9,29-20", 200, None),
        ("/a.txt", "pages=0-9,20-29", 200, None),
        ("/missing", "bytes=0-9,20-29", 404, None),
    ];
    for (target, set, status, content_range) in table {
        let response = client.get_with(target, &[&format!("Range: {set}")]);
        assert_eq!((response.status, response.field("Content-Range")), (status, content_range), "{set}");
        assert_ne!(response.require("Content-Type").get(..9), Some("multipart"), "{set}");
        if status == 200 {
            assert_eq!(response.content, whole, "{set}");
        }
    }
}

#[test]
fn preconditions_come_first() {
    let (_tree, server) = site();
    let mut client = server.connect();
    let several = "Range: bytes=0-9,20-29";
    let tag = client.get("/a.txt").etag().to_owned();
    let table = [
        (format!("If-Range: {tag}"), 206),
        (format!("If-Range: {}", imf_fixdate(MODIFIED_S)), 206),
        (format!("If-Range: W/{tag}"), 200),
        ("If-Range: \"other\"".into(), 200),
        (format!("If-None-Match: {tag}"), 304),
        ("If-Match: \"other\"".into(), 412),
        (format!("If-Match: {tag}"), 206),
    ];
    for (field, status) in table {
        assert_eq!(client.get_with("/a.txt", &[several, &field]).status, status, "{field}");
    }
    let head = client.exchange(&request("HEAD", "/a.txt", &[several]));
    assert_eq!((head.status, head.content_length(), head.field("Content-Range")), (200, Some(1_000), None));
    assert_eq!(client.get_with("/a.txt", &[several, several]).status, 200, "two fields");
}

#[test]
fn large_parts_are_exact_and_leave_the_connection_usable() {
    let (_tree, server) = site();
    let whole = pattern(BIG_LENGTH);
    let mut client = Client::connect_with_window(server.address(), 64 << 10);
    let last = BIG_LENGTH - 1;
    let sets: [&[Ends]; 5] = [
        &[(0, 2_999_999), (3_000_001, last)],
        &[(7_000_000, last), (0, 0), (1_000_000, 5_999_999), (6_500_000, 6_500_009)],
        &[(65_535, 65_536), (4_095, 40_961)],
        &[(0, 16_383), (20_000, 20_000)],
        &[(5, 8_000), (10_000, 18_000)],
    ];
    // All at once: no part may meet what belongs to another response.
    let requests: Vec<_> = sets
        .iter()
        .flat_map(|parts| {
            [request("GET", "/big.bin", &[&range(parts)]), request("GET", "/a.txt", &[])].concat()
        })
        .collect();
    client.send(&requests);
    for parts in sets {
        expect_parts(&client.response(), "application/octet-stream", parts, &whole);
        assert_eq!(client.response().content, pattern(LENGTH), "after {parts:?}");
    }
    client.send(&request("GET", "/big.bin", &[&range(sets[0]), "Connection: close"]));
    expect_parts(&client.response(), "application/octet-stream", sets[0], &whole);
    client.expect_closed();
}

#[test]
fn a_thousand_ranges_do_not_multiply_the_response() {
    let (_tree, server) = site();
    let mut client = server.connect();
    let last = BIG_LENGTH - 2;
    let scattered = |count: usize| -> Vec<Ends> { (0..count).map(|at| (at * 1_999, at * 1_999)).collect() };
    let overlapping = |count| range(&(0..count).map(|at| (at, last)).collect::<Vec<_>>());
    for set in [
        range(&scattered(1_000)),
        range(&scattered(17)),
        overlapping(1_000),
        format!("Range: bytes={}", "0-,".repeat(1_000)),
        format!("Range: bytes={}", "-1999999,0-,".repeat(400)),
    ] {
        let response = client.get_with("/big.bin", &[&set]);
        assert_eq!((response.status, response.content.len()), (200, BIG_LENGTH), "{set:.40}…");
    }
    let whole = pattern(BIG_LENGTH);
    let response = client.get_with("/big.bin", &[&range(&scattered(16))]);
    expect_parts(&response, "application/octet-stream", &scattered(16), &whole);
    let response = client.get_with("/big.bin", &[&overlapping(64)]);
    assert_eq!((response.status, response.content.len()), (206, BIG_LENGTH - 1));
}

#[test]
fn parts_beyond_4_gib_are_exact() {
    let tree = Tree::new(&[]);
    let marked_at = (4_u64 << 30) - 3;
    let length = 5_u64 << 30;
    let mut file = tree.sparse("sparse.bin", length);
    file.seek(SeekFrom::Start(marked_at)).unwrap();
    file.write_all(b"marker").unwrap();
    let server = Server::start(&["-t", "1"], tree.root());
    let last = marked_at + 5;
    // Copied, and sent from the file.
    for zeros in [2, 100_000_u64] {
        let end = length - 1;
        let set = format!("Range: bytes=-{zeros},{marked_at}-{last},0-1");
        let response = server.connect().get_with("/sparse.bin", &[&set]);
        let boundary = boundary(&response);
        let head = |first: u64, last: u64| {
            format!(
                "--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {first}-{last}/{length}\r\n\r\n"
            )
        };
        let expected = [
            head(length - zeros, end).as_bytes(),
            &vec![0; usize::try_from(zeros).unwrap()],
            b"\r\n",
            head(marked_at, last).as_bytes(),
            b"marker\r\n",
            head(0, 1).as_bytes(),
            b"\0\0\r\n",
            format!("--{boundary}--\r\n").as_bytes(),
        ]
        .concat();
        assert_eq!(response.status, 206);
        assert!(response.content == expected, "{}", response.content.len());
    }
}

#[test]
fn parts_are_those_of_the_coding_that_is_sent() {
    let coded = pattern(400);
    let tree = Tree::new(&[("app.js", &pattern(LENGTH)), ("app.js.gz", &coded)]);
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    let parts = [(0, 9), (300, 399)];
    let plain = client.get_with("/app.js", &[&range(&parts)]);
    expect_parts(&plain, "text/javascript; charset=utf-8", &parts, &pattern(LENGTH));
    assert_eq!((plain.field("Content-Encoding"), plain.require("Vary")), (None, "Accept-Encoding"));
    let gzip = client.get_with("/app.js", &[&range(&parts), "Accept-Encoding: gzip"]);
    expect_parts(&gzip, "text/javascript; charset=utf-8", &parts, &coded);
    assert_eq!((gzip.require("Content-Encoding"), gzip.require("Vary")), ("gzip", "Accept-Encoding"));
    assert_ne!((plain.etag(), boundary(&plain)), (gzip.etag(), boundary(&gzip)));
    assert_ne!(boundary(&plain), boundary(&gzip), "each file has its own");
}

#[test]
fn a_boundary_that_was_seen_does_not_come_again_with_a_file_made_of_it() {
    let (tree, server) = site();
    let seen = boundary(&server.connect().get_with("/a.txt", &["Range: bytes=0-9,20-29"])).to_owned();
    let forged = format!("\r\n--{seen}\r\n").repeat(100);
    tree.replace("a.txt", forged.as_bytes());
    let is_other = eventually(PATIENCE, || {
        let response = server.connect().get_with("/a.txt", &["Range: bytes=0-99,200-299"]);
        boundary(&response) != seen && response.content.windows(32).any(|window| window == seen.as_bytes())
    });
    assert!(is_other, "still {seen}");
}

#[test]
fn a_file_that_shrinks_between_its_parts_ends_the_connection() {
    const LONG: usize = 64 << 20;
    let tree = Tree::new(&[("a.bin", &pattern(LONG)), ("b.txt", b"never")]);
    let server = Server::start(&["-t", "1"], tree.root());
    let mut client = Client::connect_with_window(server.address(), 64 << 10);
    let set = range(&[(LONG / 2, LONG - 1), (1 << 20, LONG / 2 - 2), (0, 99)]);
    client.send(&[request("GET", "/a.bin", &[&set]), request("GET", "/b.txt", &[])].concat());
    let promised = client.response_head().content_length().unwrap();
    client.content(LONG as u64 / 2 + 100_000, |_| ());
    OpenOptions::new().write(true).open(tree.path("a.bin")).unwrap().set_len(1_000).unwrap();
    let cut = client.content_or_cut(promised - LONG as u64 / 2 - 100_000, |_| ());
    assert!(matches!(cut, Err(Cut { end: End::Reset, .. })), "{cut:?}");
    assert_eq!(server.connect().get("/b.txt").content, b"never", "the server goes on");
}

#[test]
fn parts_of_a_file_on_a_slow_disk_are_exact() {
    let test = "several_ranges::parts_of_a_file_on_a_slow_disk_are_exact";
    let tree = Tree::new(&[]);
    let Some(fs) = mount(test, &tree, "root", Delays::everywhere(Duration::from_millis(5))) else { return };
    let server = Server::start(&["-t", "1"], &tree.path("root"));
    fs.take_asked();
    let mut client = server.connect();
    let table: [(&str, &[Ends]); 4] = [
        ("small-1.bin", &[(900, 999), (0, 9)]),
        ("large-1.bin", &[(700_000, 1_000_000), (5, 5), (100_000, 400_000)]),
        ("large-2.bin", &[(0, 9), (20, 29)]),
        ("huge-1.bin", &[(9_000_000, 9_999_999), (1_000_000, 1_600_000), (0, 0)]),
    ];
    for (name, parts) in table {
        let response = client.get_with(&format!("/{name}"), &[&range(parts)]);
        expect_parts(&response, "application/octet-stream", parts, &fs.content(name));
    }
    expect_loops_never_asked(&fs);
}

/// The numbers of bytes that were logged.
fn logged(path: &Path) -> Vec<usize> {
    let log = std::fs::read_to_string(path).unwrap_or_default();
    let numbers =
        log.lines().filter_map(|line| line.split("\" 206 ").nth(1)?.split(' ').next()?.parse().ok());
    numbers.collect()
}

#[test]
fn the_log_counts_what_stands_between_the_parts() {
    let (tree, logs) = (Tree::new(&[("big.bin", &pattern(BIG_LENGTH))]), Tree::new(&[]));
    let path = logs.path("access.log");
    let server = Server::start(&["--access-log", path.to_str().unwrap()], tree.root());
    let mut client = server.connect();
    let sets: [&[Ends]; 2] = [&[(0, 9), (20, 29)], &[(0, 99_999), (200_000, 299_999)]];
    let sent: Vec<usize> =
        sets.map(|parts| client.get_with("/big.bin", &[&range(parts)]).content.len()).to_vec();
    assert!(eventually(PATIENCE, || logged(&path) == sent), "{:?} instead of {sent:?}", logged(&path));
}

#[test]
fn curl_understands_it() {
    let (_tree, server) = site();
    for (target, parts) in [("/a.txt", [(0, 9), (20, 29)]), ("/big.bin", [(5, 70_000), (100_000, 170_000)])] {
        let url = format!("http://{}{target}", server.address());
        let set = range(&parts);
        let set = set.strip_prefix("Range: bytes=").unwrap();
        let output =
            Command::new("curl").args(["--silent", "--max-time", "10", "-i", "-r", set, &url]).output();
        let Ok(output) = output else {
            return skip("several_ranges::curl_understands_it", "curl is not installed");
        };
        assert!(output.status.success(), "{output:?}");
        let end = output.stdout.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let mut response = Response::parse(&output.stdout[..end], super::date::now_s() - 10);
        response.content = output.stdout[end..].to_vec();
        let (media_type, length) = match target {
            "/a.txt" => ("text/plain; charset=utf-8", LENGTH),
            _ => ("application/octet-stream", BIG_LENGTH),
        };
        expect_parts(&response, media_type, &parts, &pattern(length));
    }
}
