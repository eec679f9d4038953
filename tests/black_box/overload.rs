//! Out of descriptors: the server neither spins nor floods its log nor lies, and recovers.

use std::time::Duration;

use super::client::{Client, eventually, request};
use super::schedule::timed;
use super::server::{Launch, PATIENCE, Server};
use super::tree::Tree;

const DESCRIPTORS: u32 = 64;

/// More than a socket holds, so that whoever does not read it keeps a response under way.
pub(super) const BIG_BYTES: u64 = 64 << 20;

/// A tree with a small file and a big one.
pub(super) fn site() -> Tree {
    let tree = Tree::new(&[("a.txt", b"a")]);
    tree.sparse("big", BIG_BYTES);
    tree
}

/// A client with a response under way, which it does not read.
pub(super) fn busy(server: &Server) -> Client {
    let mut client = Client::connect_with_window(server.address(), 64 << 10);
    client.send_to_deaf(&request("GET", "/big", &[]));
    client
}

/// Reads the response that is under way to its end.
#[track_caller]
pub(super) fn finish(client: &mut Client) {
    assert_eq!(client.response_head().content_length(), Some(BIG_BYTES));
    client.content(BIG_BYTES, |bytes| assert!(bytes.iter().all(|&byte| byte == 0)));
}

/// A server that is at its limit of connections, and the kernel at that of descriptors not yet.
pub(super) fn limited(tree: &Tree, flags: &[&str]) -> (Server, Client, Vec<Client>) {
    exhaust(Launch::new(tree.root()).descriptors_max(DESCRIPTORS).flags(flags).start())
}

/// A server that has lost most of its descriptors since it shared them out, so that the kernel refuses it more.
pub(super) fn starved(tree: &Tree, flags: &[&str]) -> (Server, Client, Vec<Client>) {
    let server = Launch::new(tree.root()).flags(flags).start();
    server.limit_descriptors(DESCRIPTORS);
    let exhausted = exhaust(server);
    let refused = eventually(PATIENCE, || exhausted.0.stderr().contains("Too many open files"));
    assert!(refused, "{}", exhausted.0.stderr());
    exhausted
}

/// Lets the server have the descriptors that it has, and no more.
pub(super) fn leave_no_descriptor(server: &Server) {
    server.limit_descriptors(u32::try_from(server.process().descriptors()).expect("not that many"));
}

/// Far more clients than descriptors, and none of those that were let in can be spared.
fn exhaust(server: Server) -> (Server, Client, Vec<Client>) {
    let first = busy(&server);
    std::thread::sleep(Duration::from_millis(100));
    let others: Vec<Client> = (0..4 * DESCRIPTORS).map(|_| busy(&server)).collect();
    std::thread::sleep(Duration::from_millis(300));
    (server, first, others)
}

/// What a client may be told of a file that is there. That a 503 says when to try again is checked for every
/// response.
#[track_caller]
fn expect_served_or_put_off(client: &mut Client, target: &str, content: &[u8]) {
    let response = client.get(target);
    match response.status {
        200 => assert_eq!(response.content, content, "{target}"),
        status => assert_eq!(status, 503, "{target}"),
    }
}

#[test]
fn at_its_limit_of_connections_the_server_rests_and_recovers() {
    expect_rest_and_recovery(|tree| limited(tree, &[]));
}

#[test]
fn without_descriptors_the_server_rests_and_recovers() {
    expect_rest_and_recovery(|tree| starved(tree, &[]));
}

#[track_caller]
pub(super) fn expect_rest_and_recovery(exhausted: fn(&Tree) -> (Server, Client, Vec<Client>)) {
    let tree = site();
    let _timed = timed();
    let (server, mut first, others) = exhausted(&tree);
    let said = server.stderr().len();
    let used = server.process().processor_time_over(Duration::from_secs(2));
    assert!(used < Duration::from_millis(300), "{used:?} of processor time in two seconds of waiting");
    let said = server.stderr().len() - said;
    assert!(said < 2_000, "{said} bytes of log in two seconds");
    finish(&mut first);
    drop(others);
    let recovered = eventually(Duration::from_secs(5), || {
        let mut client = server.connect();
        client.send_to_deaf(&request("GET", "/a.txt", &[]));
        client.response_or_end().is_some_and(|response| response.status == 200)
    });
    assert!(recovered, "no service although descriptors are free again");
}

#[test]
fn a_file_that_cannot_be_opened_for_lack_of_descriptors_is_not_missing() {
    let names: Vec<String> = (0..100).map(|index| format!("{index}.txt")).collect();
    let tree = site();
    for name in &names {
        tree.write(name, name.as_bytes());
    }
    let server = Server::start(&["-t", "1"], tree.root());
    let mut first = server.connect();
    assert_eq!(first.get("/a.txt").content, b"a");
    let mut others: Vec<Client> = (0..4).map(|_| busy(&server)).collect();
    others.iter_mut().for_each(|client| assert_eq!(client.response_head().status, 200));
    leave_no_descriptor(&server);
    for name in &names {
        expect_served_or_put_off(&mut first, &format!("/{name}"), name.as_bytes());
    }
}

/// Beyond what was promised, idle connections make room a few at a time, and the next few come in soon behind.
#[test]
fn a_crowd_without_descriptors_is_let_in_promptly() {
    let tree = site();
    let _timed = timed();
    for accept in ["robin", "sharded"] {
        let server = Server::start(&["-t", "2", "--idle-timeout", "60s", "--accept", accept], tree.root());
        server.limit_descriptors(DESCRIPTORS);
        let start = std::time::Instant::now();
        let mut crowd: Vec<Client> = (0..4 * DESCRIPTORS)
            .map(|_| {
                let mut client = server.connect();
                client.send_to_deaf(&request("GET", "/a.txt", &[]));
                client
            })
            .collect();
        // Nobody leaves.
        for client in &mut crowd {
            let response = client.response_or_end().expect("each is let in");
            assert!([200, 503].contains(&response.status), "{}", response.status);
        }
        assert!(start.elapsed() < Duration::from_secs(4), "{:?} with {accept}", start.elapsed());
        assert!(server.stderr().contains("Too many open files"), "{}", server.stderr());
    }
}
