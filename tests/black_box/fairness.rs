//! Connections are dealt to the workers in turn.

use std::time::Duration;

use super::client::{Client, eventually};
use super::server::Server;
use super::tree::Tree;

#[test]
fn forty_connections_are_ten_for_each_of_four_workers() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let server = Server::start(&["--workers", "4", "-v"], tree.root());
    let mut clients: Vec<Client> = (0..40).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/a.txt").content, b"a");
    }
    let counters = server.counters(4);
    for worker in &counters {
        let (adopted, requests) = (worker.get("adopted"), worker.get("requests"));
        assert!((9..=11).contains(&adopted), "{counters:?}");
        assert_eq!(requests, adopted, "one request a connection: {counters:?}");
    }
    assert_eq!(counters.iter().map(|worker| worker.get("adopted")).sum::<u64>(), 40, "{counters:?}");
}

#[test]
fn counters_count_what_happened() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let server = Server::start(&["--workers", "1", "-v"], tree.root());
    let mut client = server.connect();
    for _ in 0..5 {
        client.get("/a.txt");
    }
    drop(client);
    let mut last = Vec::new();
    let is_settled = eventually(Duration::from_secs(5), || {
        last = server.counters(1);
        last[0].get("requests") == 5 && last[0].get("closed") == 1
    });
    assert!(is_settled, "{last:?}");
    assert_eq!((last[0].get("adopted"), last[0].get("panics")), (1, 0), "{last:?}");
}

#[test]
fn a_worker_that_spins_serves_and_ends_like_any_other() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let mut server = Server::start(&["--workers", "2", "--spin-us", "500"], tree.root());
    let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for _ in 0..20 {
        for client in &mut clients {
            assert_eq!(client.get("/a.txt").content, b"a");
        }
    }
    server.terminate();
    assert_eq!(server.wait_exit(Duration::from_secs(5)).code(), Some(0));
}
