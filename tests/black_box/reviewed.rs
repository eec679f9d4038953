//! What a review of the server found: one test for each finding, from the outside.

use std::time::{Duration, Instant};

use super::client::{Client, eventually, request};
use super::schedule::skip;
use super::server::{Launch, PATIENCE, Server};
use super::tree::{Tree, pattern};

const SECOND: Duration = Duration::from_secs(1);

/// A server that panics when `/panic` is asked for; builds without debug assertions cannot.
fn fault_server(test: &str, flags: &[&str], root: &std::path::Path) -> Option<Server> {
    if !cfg!(debug_assertions) {
        skip(test, "faults are built into debug builds only");
        return None;
    }
    Some(Launch::new(root).env("ONELOOP_FAULT_PANIC", "/panic").flags(flags).start())
}

/// Lets a worker panic: the next one, since connections are dealt in turn.
#[track_caller]
fn strike(server: &Server) {
    let mut client = server.connect();
    client.send(&request("GET", "/panic", &[]));
    assert!(client.response_or_end().is_none(), "the panic answers nothing");
}

#[test]
fn a_worker_that_panics_keeps_a_root_that_was_renamed_away() {
    let tree = Tree::new(&[("site/a.txt", b"a")]);
    let test = "reviewed::a_worker_that_panics_keeps_a_root_that_was_renamed_away";
    let Some(mut server) = fault_server(test, &["-t", "3", "-v"], &tree.path("site")) else { return };
    std::fs::rename(tree.path("site"), tree.path("elsewhere")).unwrap();
    for _ in 0..3 {
        strike(&server);
    }
    let have_panicked = eventually(PATIENCE, || server.counters(3).iter().all(|one| one.get("panics") == 1));
    assert!(have_panicked, "not each worker once: {:?}", server.counters(3));
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/a.txt").content, b"a");
    }
    assert!(server.exited().is_none());
}

#[test]
fn ten_panics_in_a_row_do_not_end_the_process() {
    let large = pattern(1 << 20);
    let tree = Tree::new(&[("a.txt", b"a"), ("large.bin", &large)]);
    let test = "reviewed::ten_panics_in_a_row_do_not_end_the_process";
    let Some(mut server) = fault_server(test, &["-t", "1", "-v"], tree.root()) else { return };
    let start = Instant::now();
    for _ in 0..10 {
        strike(&server);
    }
    assert!(start.elapsed() < SECOND * 50, "too slow to be ten in a row");
    let mut client = server.connect();
    assert_eq!(client.get("/a.txt").content, b"a");
    client.download("/large.bin", &large);
    assert_eq!(client.get("/missing").status, 404);
    assert_eq!(server.counters(1)[0].get("panics"), 10);
    server.terminate();
    assert_eq!(server.wait_exit(PATIENCE).code(), Some(0));
}
