//! Files that change under the server: what is sent is one state of the file, whole, or the connection ends.

use std::fs::{self, OpenOptions};
use std::time::{Duration, Instant};

use super::client::{Client, Cut, request};
use super::response::Response;
use super::server::Server;
use super::tree::{Tree, pattern};

/// After this long a change must be seen by every new request.
const SEEN_WITHIN: Duration = Duration::from_millis(1_500);

/// Small enough to be kept in memory, and large enough not to be.
const SIZES: [usize; 2] = [1_000, 1_000_000];

#[test]
fn a_change_is_seen_soon() {
    std::thread::scope(|scope| {
        for size in SIZES {
            for in_place in [false, true] {
                scope.spawn(move || expect_change_seen(size, in_place));
            }
        }
    });
}

fn expect_change_seen(size: usize, in_place: bool) {
    let tree = Tree::new(&[("a.bin", &vec![b'0'; size])]);
    let server = Server::start(&["-t", "2"], tree.root());
    // Two connections, for two workers.
    let mut clients = [server.connect(), server.connect()];
    let mut tags = Vec::new();
    for (generation, length) in [(b'0', size), (b'1', size), (b'2', size + 1), (b'3', size / 2)] {
        let content = vec![generation; length];
        if in_place {
            tree.write("a.bin", &content);
        } else {
            tree.replace("a.bin", &content);
        }
        if generation != b'0' {
            std::thread::sleep(SEEN_WITHIN);
        }
        for client in &mut clients {
            let response = client.get("/a.bin");
            assert_eq!(response.content.len(), length, "generation {generation}, in place: {in_place}");
            assert!(response.content == content, "generation {generation}, in place: {in_place}");
            tags.push(response.etag().to_owned());
        }
    }
    tags.dedup();
    assert_eq!(tags.len(), 4, "one tag a generation, the same for every worker: {tags:?}");
}

#[test]
fn a_file_that_appears_or_goes_is_noticed_soon() {
    let tree = Tree::new(&[("small.bin", b"small"), ("large.bin", &pattern(1_000_000))]);
    let server = Server::start(&["-t", "2"], tree.root());
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        assert_eq!(client.get("/new.bin").status, 404);
        assert_eq!(client.get("/small.bin").status, 200);
        assert_eq!(client.get("/large.bin").status, 200);
    }
    tree.write("new.bin", b"new");
    fs::remove_file(tree.path("small.bin")).unwrap();
    fs::remove_file(tree.path("large.bin")).unwrap();
    std::thread::sleep(SEEN_WITHIN);
    for client in &mut clients {
        assert_eq!(client.get("/new.bin").content, b"new");
        assert_eq!(client.get("/small.bin").status, 404);
        assert_eq!(client.get("/large.bin").status, 404);
    }
}

#[test]
fn a_response_is_one_state_of_the_file() {
    std::thread::scope(|scope| {
        for size in SIZES {
            scope.spawn(move || expect_single_states(size));
        }
    });
}

/// Rewrites a file in place with another length each time and gets it at once, in the very interval in which
/// what is remembered of it is out of date. Each generation consists of one letter and has a length of its own.
fn expect_single_states(size: usize) {
    let tree = Tree::new(&[]);
    let server = Server::start(&["-t", "1"], tree.root());
    let mut client = server.connect();
    let length_of =
        |generation: u8| size + usize::from(generation) * 7 - usize::from(generation % 2) * size / 3;
    let mut tags = vec![String::new(); 26];
    for generation in 0..26 {
        let written_at = Instant::now();
        tree.write("a.bin", &vec![b'a' + generation; length_of(generation)]);
        while written_at.elapsed() < Duration::from_millis(200) {
            let response = client.get("/a.bin");
            assert_eq!(response.status, 200);
            let letter = response.content[0];
            let whole = response.content.iter().all(|&byte| byte == letter);
            assert!(whole, "two states in one response of {} bytes", response.content.len());
            let sent = usize::from(letter - b'a');
            assert_eq!(response.content.len(), length_of(letter - b'a'), "letter {}", char::from(letter));
            if tags[sent].is_empty() {
                tags[sent] = response.etag().to_owned();
            }
            assert_eq!(tags[sent], response.etag(), "letter {}", char::from(letter));
        }
    }
    tags.retain(|tag| !tag.is_empty());
    let count = tags.len();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), count, "a tag for each state");
}

/// Parts may come from memory where the whole comes from the file; which tag belongs to which bytes is the same for
/// both, and neither is out of date for long.
#[test]
fn parts_and_the_whole_of_a_file_agree() {
    const LENGTH: usize = 100_000;
    let tree = Tree::new(&[("a.bin", &[b'a'; LENGTH])]);
    let server = Server::start(&["-t", "1"], tree.root());
    let mut client = server.connect();
    let mut tags = std::collections::BTreeMap::new();
    for letter in b'a'..b'e' {
        tree.write("a.bin", &[letter; LENGTH]);
        let written_at = Instant::now();
        // Until it is settled, and so often that it is held.
        while written_at.elapsed() < Duration::from_millis(4_000) {
            let is_due = written_at.elapsed() > SEEN_WITHIN;
            let part = client.exchange(&request("GET", "/a.bin", &["Range: bytes=90000-99999"]));
            let whole = client.get("/a.bin");
            assert_eq!((part.status, part.content.len()), (206, 10_000));
            assert_eq!((whole.status, whole.content.len()), (200, LENGTH));
            for response in [&part, &whole] {
                let first = response.content[0];
                assert!(response.content.iter().all(|&byte| byte == first), "two states in one response");
                assert_eq!(tags.entry(first).or_insert_with(|| response.etag().to_owned()), response.etag());
                assert!(first == letter || !is_due, "{} after {}", char::from(first), char::from(letter));
            }
        }
    }
    assert_eq!(tags.len(), 4, "a tag for each state: {tags:?}");
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_the_connection() {
    const LENGTH: usize = 64 << 20;
    const SHORT: usize = 1 << 20;
    let tree = Tree::new(&[("a.bin", &pattern(LENGTH)), ("b.txt", b"never")]);
    let whole = pattern(LENGTH);
    let server = Server::start(&[], tree.root());
    let mut client = Client::connect_with_window(server.address(), 64 << 10);
    client.send(&[request("GET", "/a.bin", &[]), request("GET", "/b.txt", &[])].concat());
    assert_eq!(client.response_head().content_length(), Some(LENGTH as u64));
    let mut received = Vec::new();
    client.content(100_000, |bytes| received.extend_from_slice(bytes));
    let file = OpenOptions::new().write(true).open(tree.path("a.bin")).unwrap();
    file.set_len(SHORT as u64).unwrap();
    let rest = (LENGTH - received.len()) as u64;
    let cut = client.content_or_cut(rest, |bytes| received.extend_from_slice(bytes));
    assert!(matches!(cut, Err(Cut { .. })), "{} promised bytes were made up", received.len());
    assert!(received[..received.len().min(SHORT)] == whole[..received.len().min(SHORT)], "wrong bytes");
    // What the kernel was given before the file shrank are pages, not copies. It may have cleared some.
    let is_own = |(page, expected): (&[u8], &[u8])| page == expected || page.iter().all(|&byte| byte == 0);
    let mut pages = received[received.len().min(SHORT)..].chunks(4_096).zip(whole[SHORT..].chunks(4_096));
    assert!(pages.all(|(page, expected)| is_own((page, &expected[..page.len()]))), "foreign bytes");
    assert_eq!(server.connect().get("/b.txt").content, b"never", "the server goes on");
}

#[test]
fn a_file_that_grows_while_it_is_sent_is_sent_as_it_was_promised() {
    const LENGTH: usize = 32 << 20;
    let tree = Tree::new(&[("a.bin", &pattern(LENGTH)), ("b.txt", b"next")]);
    let whole = pattern(LENGTH);
    let server = Server::start(&[], tree.root());
    let mut client = Client::connect_with_window(server.address(), 64 << 10);
    client.send(&[request("GET", "/a.bin", &[]), request("GET", "/b.txt", &[])].concat());
    let promised = client.response_head().content_length().unwrap();
    let mut file = OpenOptions::new().append(true).open(tree.path("a.bin")).unwrap();
    std::io::Write::write_all(&mut file, &[b'+'; 100_000]).unwrap();
    let mut received = Vec::new();
    client.content(promised, |bytes| received.extend_from_slice(bytes));
    assert!(received == whole, "wrong bytes");
    assert_eq!(client.response().content, b"next");
}

#[test]
fn a_replaced_file_is_sent_to_its_end() {
    const LENGTH: usize = 32 << 20;
    let tree = Tree::new(&[("a.bin", &pattern(LENGTH))]);
    let server = Server::start(&[], tree.root());
    let mut client = Client::connect_with_window(server.address(), 64 << 10);
    client.send(&request("GET", "/a.bin", &[]));
    let head: Response = client.response_head();
    tree.replace("a.bin", b"new");
    std::thread::sleep(SEEN_WITHIN);
    assert_eq!(server.connect().get("/a.bin").content, b"new");
    let mut received = Vec::new();
    client.content(head.content_length().unwrap(), |bytes| received.extend_from_slice(bytes));
    assert!(received == pattern(LENGTH), "wrong bytes");
}
