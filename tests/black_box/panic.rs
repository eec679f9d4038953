//! A panic costs the connections of one worker and nothing else.

use super::client::{Client, eventually, request};
use super::schedule::skip;
use super::server::{Launch, PATIENCE, Server};
use super::tree::Tree;

/// Builds with debug assertions panic when the target that this variable names is asked for.
const FAULT: (&str, &str) = ("ONELOOP_FAULT_PANIC", "/panic");

const WORKERS: usize = 3;
const PER_WORKER: usize = 4;

fn fault_site(test: &str) -> Option<(Tree, Server)> {
    if !cfg!(debug_assertions) {
        skip(test, "faults are built into debug builds only");
        return None;
    }
    let tree = Tree::new(&[("a.txt", b"a")]);
    let workers = WORKERS.to_string();
    let server = Launch::new(tree.root()).env(FAULT.0, FAULT.1).flags(&["-t", &workers, "-v"]).start();
    Some((tree, server))
}

fn panics(server: &Server) -> Vec<u64> {
    server.counters(WORKERS).iter().map(|worker| worker.get("panics")).collect()
}

/// Connections to all workers, each after one exchange.
fn crowd(server: &Server) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..WORKERS * PER_WORKER).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/a.txt").content, b"a");
    }
    clients
}

fn is_alive(client: &mut Client) -> bool {
    client.send_to_deaf(&request("GET", "/a.txt", &[]));
    client.response_or_end().is_some_and(|response| response.content == b"a")
}

#[test]
fn a_panic_costs_the_connections_of_one_worker() {
    let Some((_tree, mut server)) = fault_site("panic::a_panic_costs_the_connections_of_one_worker") else {
        return;
    };
    let mut clients = crowd(&server);
    let before = server.counters(WORKERS);
    clients[0].send(&request("GET", "/panic", &[]));
    assert!(clients[0].response_or_end().is_none(), "the panic answers nothing");

    let mut counted = Vec::new();
    let is_counted = eventually(PATIENCE, || {
        counted = panics(&server);
        counted.iter().sum::<u64>() == 1
    });
    assert!(is_counted, "{counted:?}");
    let struck = counted.iter().position(|&panics| panics == 1).unwrap();
    let dead = clients.iter_mut().map(|client| !is_alive(client)).filter(|&is_dead| is_dead).count();
    assert_eq!(dead as u64, before[struck].get("adopted"), "only the struck worker's connections end");

    let _next = crowd(&server);
    for (then, now) in before.iter().zip(server.counters(WORKERS)) {
        assert!(now.get("adopted") > then.get("adopted"), "every worker adopts new connections: {now:?}");
        assert!(now.get("requests") > then.get("requests"), "and answers on them: {now:?}");
    }
    server.terminate();
    assert_eq!(server.wait_exit(PATIENCE).code(), Some(0));
}

#[test]
fn panics_leak_no_descriptor() {
    let Some((_tree, server)) = fault_site("panic::panics_leak_no_descriptor") else { return };
    drop(crowd(&server));
    let settled = |server: &Server| {
        let mut last = usize::MAX;
        eventually(PATIENCE, || {
            let now = server.process().descriptors();
            std::mem::replace(&mut last, now) == now
        });
        last
    };
    let before = settled(&server);
    // Fewer than would make the server give itself up.
    for _ in 0..3 {
        let mut client = server.connect();
        client.send(&request("GET", "/panic", &[]));
        assert!(client.response_or_end().is_none());
    }
    drop(crowd(&server));
    let is_clean = eventually(PATIENCE, || server.process().descriptors() <= before);
    let after = server.process().descriptors();
    assert!(is_clean, "{after} descriptors after three panics, {before} before");
}

/// The loop that takes over needs no descriptor that it might not get.
#[test]
fn a_worker_recovers_while_no_descriptor_can_be_had() {
    let Some((_tree, server)) = fault_site("panic::a_worker_recovers_while_no_descriptor_can_be_had") else {
        return;
    };
    let mut clients = crowd(&server);
    server.limit_descriptors(1);
    clients[0].send(&request("GET", "/panic", &[]));
    assert!(clients[0].response_or_end().is_none(), "the panic answers nothing");
    assert!(eventually(PATIENCE, || panics(&server).iter().sum::<u64>() == 1), "{:?}", panics(&server));
    server.limit_descriptors(1_000);
    let _next = crowd(&server);
    assert!(!server.stderr().contains("loop failed"), "{}", server.stderr());
}
