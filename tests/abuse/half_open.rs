//! Peers that are gone without a word: their cable is pulled. In a network namespace of its own the loopback interface
//! is the cable.

use std::process::Command;
use std::time::{Duration, Instant};

use super::client::{Client, eventually, request};
use super::pace::{Calm, WORKERS};
use super::scale::report;
use super::schedule::{skip, timed};
use super::server::Server;
use super::tree::{Tree, pattern};

/// Says to the test below that it is in a network of its own.
const INSIDE: &str = "ONELOOP_TEST_OWN_NETWORK";

const EACH: usize = 6;

#[test]
fn peers_that_are_gone_are_reaped() {
    let _timed = timed();
    let test = "half_open::peers_that_are_gone_are_reaped";
    let probe = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return skip(test, "no network namespace");
    }
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("unshare");
    command.arg("--net").arg(program).args(["--exact", "--ignored", "--nocapture"]);
    command.arg("abuse::half_open::in_a_network_of_its_own").env(INSIDE, "1");
    let output = command.output().expect("unshare");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
    stderr.lines().filter_map(|line| line.strip_prefix("abuse: half-open peers: ")).for_each(|figures| {
        report("half-open peers", figures);
    });
}

fn cable(state: &str) {
    let status = Command::new("ip").args(["link", "set", "lo", state]).status().expect("ip");
    assert!(status.success(), "ip link set lo {state}");
}

#[test]
#[ignore = "the test above runs it, in a network of its own"]
fn in_a_network_of_its_own() {
    if std::env::var_os(INSIDE).is_none() {
        return skip(
            "half_open::in_a_network_of_its_own",
            "only where another test has made a network for it",
        );
    }
    cable("up");
    let tree =
        Tree::new(&[("a.txt", b"a"), ("huge.bin", &pattern(64 << 20)), ("tail.bin", &pattern(100_000))]);
    let flags =
        ["--send-timeout", "2s", "--idle-timeout", "3s", "--header-timeout", "3s", "--body-timeout", "3s"];
    let server = Server::start(&[&["-t", "2", "--linger-timeout", "1s"], &flags[..]].concat(), tree.root());
    let calm = Calm::of(&server, &["/a.txt", "/huge.bin", "/tail.bin"]);
    let crowd = |request: &[u8]| -> Vec<Client> {
        let connect = || {
            let mut client = Client::connect(server.address());
            client.send(request);
            client
        };
        (0..EACH).map(|_| connect()).collect()
    };
    let mut readers = crowd(&request("GET", "/huge.bin", &[]));
    for client in &mut readers {
        client.response_head();
        client.content(1 << 20, |_| ());
    }
    let mut idle = crowd(&request("GET", "/a.txt", &[]));
    for client in &mut idle {
        client.response();
    }
    let _partial = crowd(b"GET /a.txt HTTP/1.1\r\nHo");
    let _content = crowd(b"POST /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    cable("down");
    let start = Instant::now();
    let sockets = || server.process().sockets();
    let held = sockets();
    let is_reaped =
        eventually(Duration::from_secs(10), || server.process().descriptors() == calm.descriptors);
    let took = start.elapsed();
    assert!(is_reaped, "{} of {held} sockets are held after {took:?}", sockets());
    let counters = server.counters(WORKERS);
    let sum = |name: &str| -> u64 { counters.iter().map(|worker| worker.get(name)).sum() };
    let cut = ["send_timeouts", "keep_alive_timeouts", "header_timeouts", "content_timeouts"].map(sum);
    assert_eq!(cut, [EACH as u64; 4], "each kind by its deadline");
    assert!(took < Duration::from_secs(5), "{took:?}");
    cable("up");
    assert_eq!(server.connect().get("/a.txt").content, b"a");
    report(
        "half-open peers",
        &format!(
            "{} connections without a cable were reaped after {took:.1?}, by sends, idle, heads, content {cut:?}",
            4 * EACH
        ),
    );
}
