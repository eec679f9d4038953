//! Out of descriptors: the server neither spins nor floods its log nor lies, and recovers.

use std::time::Duration;

use super::client::{Client, eventually, request};
use super::schedule::timed;
use super::server::{Launch, PATIENCE, Server};
use super::tree::Tree;

const DESCRIPTORS: u32 = 64;

/// A server that is at its limit of connections, and the kernel at that of descriptors not yet.
pub(super) fn limited(tree: &Tree, flags: &[&str]) -> (Server, Client, Vec<Client>) {
    let launch = Launch::new(tree.root()).descriptors_max(DESCRIPTORS).flags(flags);
    exhaust(launch.flags(&["--idle-timeout", "60s"]).start())
}

/// A server that has lost most of its descriptors since it shared them out, so that the kernel refuses it more.
pub(super) fn starved(tree: &Tree, flags: &[&str]) -> (Server, Client, Vec<Client>) {
    let server = Launch::new(tree.root()).flags(&["--idle-timeout", "60s"]).flags(flags).start();
    server.limit_descriptors(DESCRIPTORS);
    let exhausted = exhaust(server);
    let refused = eventually(PATIENCE, || exhausted.0.stderr().contains("Too many open files"));
    assert!(refused, "{}", exhausted.0.stderr());
    exhausted
}

/// Far more clients than descriptors. The first one has been served before.
fn exhaust(server: Server) -> (Server, Client, Vec<Client>) {
    let mut first = server.connect();
    assert_eq!(first.get("/a.txt").content, b"a");
    let mut others: Vec<Client> = (0..4 * DESCRIPTORS).map(|_| server.connect()).collect();
    for client in &mut others {
        client.send_to_deaf(&request("GET", "/a.txt", &[]));
    }
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
    let tree = Tree::new(&[("a.txt", b"a")]);
    let _timed = timed();
    let (server, mut first, others) = exhausted(&tree);
    let said = server.stderr().len();
    let used = server.process().processor_time_over(Duration::from_secs(2));
    assert!(used < Duration::from_millis(300), "{used:?} of processor time in two seconds of waiting");
    let said = server.stderr().len() - said;
    assert!(said < 2_000, "{said} bytes of log in two seconds");
    expect_served_or_put_off(&mut first, "/a.txt", b"a");
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
    let tree = Tree::new(&[("a.txt", b"a")]);
    for name in &names {
        tree.write(name, name.as_bytes());
    }
    let (_server, mut first, others) = starved(&tree, &[]);
    for name in &names {
        expect_served_or_put_off(&mut first, &format!("/{name}"), name.as_bytes());
    }
    drop(others);
}
