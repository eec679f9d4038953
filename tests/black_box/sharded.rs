//! Workers that accept for themselves: the same promises as with one acceptor.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rustix::process::Signal;

use super::client::{Client, eventually, request};
use super::overload::{self, expect_rest_and_recovery, limited, starved};
use super::schedule::{skip, timed};
use super::server::{Launch, PATIENCE, Server};
use super::startup::expect_failure;
use super::tree::Tree;

const SHARDED: &[&str] = &["--accept", "sharded"];
const WORKERS: usize = 3;

fn site(flags: &[&str]) -> (Tree, Server) {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let server = Launch::new(tree.root()).flags(SHARDED).flags(flags).start();
    (tree, server)
}

fn get_and_close() -> Vec<u8> {
    request("GET", "/a.txt", &["Connection: close"])
}

/// So many connections, each with one exchange.
#[track_caller]
fn ask(server: &Server, connections: usize) {
    for _ in 0..connections {
        let mut client = server.connect();
        assert_eq!(client.exchange(&get_and_close()).content, b"a");
        client.expect_closed();
    }
}

fn figures(server: &Server, name: &str) -> Vec<u64> {
    server.counters(WORKERS).iter().map(|worker| worker.get(name)).collect()
}

/// That one worker of three gets none of 200 connections happens less than once in 10^34 times.
#[test]
fn every_connection_is_answered_and_every_worker_gets_some() {
    let (_tree, server) = site(&["-t", &WORKERS.to_string()]);
    ask(&server, 100);
    let mut kept: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for _ in 0..3 {
        kept.iter_mut().for_each(|client| client.send(&request("GET", "/a.txt", &[])));
        kept.iter_mut().for_each(|client| assert_eq!(client.response().content, b"a"));
    }
    let adopted = figures(&server, "adopted");
    assert!(adopted.iter().sum::<u64>() == 200 && !adopted.contains(&0), "{adopted:?}");
    assert_eq!(figures(&server, "open").iter().sum::<u64>(), 100);
    let acceptor = server.stderr();
    assert!(acceptor.contains("accepted=0 "), "nobody hands anything over: {acceptor}");
}

#[test]
fn a_wildcard_is_shared_for_ipv4_and_ipv6() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let launch = Launch::bare().flags(&["-l", "127.0.0.1:0", "-l", "[::]:0", "-t", "3"]).flags(SHARDED);
    let server = launch.flags(&["--root"]).flags(&[tree.root()]).start();
    let banner = server.stderr();
    let port = banner.split_once("http://localhost:").and_then(|(_, rest)| rest.split(' ').next());
    let port: u16 = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no port in {banner}"));
    let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    for address in addresses.repeat(30) {
        assert_eq!(Client::connect((address, port).into()).get("/a.txt").content, b"a");
    }
    let adopted = figures(&server, "adopted");
    assert!(adopted.iter().sum::<u64>() == 60 && !adopted.contains(&0), "{adopted:?}");
}

/// The kernel would let both listen, and hand each a part of the connections.
#[test]
fn a_second_server_on_the_port_is_refused() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let second = |flags: &[&str], first: &Server| {
        let address = format!("127.0.0.1:{}", first.address().port());
        Launch::bare().flags(&["-l", &address, "--root"]).flags(&[tree.root()]).flags(flags).run()
    };
    let modes = [SHARDED, &["--accept", "robin"]];
    for mode in modes {
        let first = Launch::new(tree.root()).flags(mode).flags(&["-t", "2"]).start();
        for other in modes {
            let refused = second(other, &first);
            expect_failure(&refused, 1, &["Address already in use", "stop what listens there"]);
        }
        ask(&first, 20);
    }
}

/// The server is held still while connections come, so all of them are queued in the kernel when it is told to stop.
#[test]
fn term_answers_what_is_queued_already() {
    const QUEUED: usize = 300;
    for mode in [SHARDED, &["--accept", "robin"]] {
        let tree = Tree::new(&[("a.txt", b"a")]);
        let mut server = Launch::new(tree.root()).flags(mode).flags(&["-t", "2"]).start();
        ask(&server, 4);
        server.signal(Signal::STOP);
        let mut clients: Vec<Client> = (0..QUEUED).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.send(&request("GET", "/a.txt", &[])));
        server.terminate();
        server.signal(Signal::CONT);
        for client in &mut clients {
            assert_eq!(client.response().content, b"a", "{mode:?}");
            client.expect_closed();
        }
        assert_eq!(server.wait_exit(PATIENCE).code(), Some(0), "{mode:?}");
    }
}

/// Clients that come and go all the time: nobody who was let in goes without an answer, but for those who came
/// between the last look into a queue and its end.
#[test]
fn term_under_load_ends_in_order() {
    let (_tree, mut server) = site(&["-t", "2", "--grace", "20s"]);
    let address = server.address();
    let answered = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let mut answered = 0_u32;
                    while let Ok(stream) = std::net::TcpStream::connect(address) {
                        let mut client = Client::over(stream);
                        client.send_to_deaf(&get_and_close());
                        let Some(response) = client.response_or_end() else { break };
                        assert_eq!(response.content, b"a");
                        client.expect_closed();
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        server.terminate();
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(answered.iter().all(|&answered| answered > 0), "{answered:?}");
    assert_eq!(server.wait_exit(PATIENCE).code(), Some(0));
    let stderr = server.stderr();
    assert!(!stderr.contains("cut off") && !stderr.contains("ERROR"), "{stderr}");
}

#[test]
fn at_its_limit_of_connections_the_server_rests_and_recovers() {
    expect_rest_and_recovery(|tree| limited(tree, SHARDED));
}

#[test]
fn without_descriptors_the_server_rests_and_recovers() {
    expect_rest_and_recovery(|tree| starved(tree, SHARDED));
}

/// What cannot be sharded is accepted by the one thread, and the limit is one for all.
#[test]
fn a_unix_socket_beside_shards_keeps_to_the_same_limit() {
    let tree = overload::site();
    let _timed = timed();
    for leaves in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let unix = format!("unix:{}", path.display());
        let launch = Launch::bare().flags(&["-l", "127.0.0.1:0", "-l", &unix, "-t", "3", "--max-conns", "2"]);
        let server = launch.flags(SHARDED).flags(&["--root"]).flags(&[tree.root()]).start();
        let both = || vec![Client::connect_unix(&path).unwrap(), server.connect()];
        let mut inside = both();
        // Responses under way, so that none of them can be spared.
        for client in &mut inside {
            client.send(&request("GET", "/big", &[]));
            assert_eq!(client.response_head().status, 200);
        }
        // Both ways in are closed now, until either leaves.
        let mut waiting = both();
        for client in &mut waiting {
            client.send(&get_and_close());
            client.expect_silence(Duration::from_millis(200));
        }
        drop(inside.remove(leaves));
        for client in &mut waiting {
            assert_eq!(client.response().content, b"a");
            client.expect_closed();
        }
        inside.remove(0).content(overload::BIG_BYTES, |_| ());
    }
}

#[test]
fn hup_opens_the_root_anew() {
    let (tree, server) = site(&["-t", "2", "--cache-check", "1h"]);
    ask(&server, 20);
    tree.replace("a.txt", b"b");
    server.signal(Signal::HUP);
    // Connections go to either worker by chance: none of them may serve the old one any more.
    let is_new = || server.connect().get("/a.txt").content == b"b";
    assert!(eventually(PATIENCE, || (0..20).all(|_| is_new())));
}

/// More panics than are an accident, so workers rest meanwhile; their queues are kept.
#[test]
fn listeners_outlive_the_panics_of_their_workers() {
    if !cfg!(debug_assertions) {
        return skip(
            "sharded::listeners_outlive_the_panics_of_their_workers",
            "faults are in debug builds only",
        );
    }
    let tree = Tree::new(&[("a.txt", b"a")]);
    let launch = Launch::new(tree.root()).env("ONELOOP_FAULT_PANIC", "/panic").flags(SHARDED);
    let mut server = launch.flags(&["-t", &WORKERS.to_string()]).start();
    for _ in 0..12 * WORKERS {
        let mut client = server.connect();
        client.send(&request("GET", "/panic", &[]));
        assert!(client.response_or_end().is_none());
    }
    let before = figures(&server, "adopted");
    ask(&server, 60);
    let after = figures(&server, "adopted");
    assert!(before.iter().zip(&after).all(|(before, after)| after > before), "{before:?} {after:?}");
    assert!(figures(&server, "panics").iter().all(|&panics| panics > 0));
    server.terminate();
    assert_eq!(server.wait_exit(PATIENCE).code(), Some(0));
}
