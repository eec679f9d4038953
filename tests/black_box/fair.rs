//! Overload that stays fair: no client has more than its share of connections and requests.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;

use super::client::{Client, eventually, request};
use super::overload::site;
use super::schedule::{skip, timed};
use super::server::{Launch, PATIENCE, Server};
use super::startup::expect_failure;
use super::tree::Tree;

/// How connections are accepted.
pub(super) const MODES: [&str; 2] = ["--accept=robin", "--accept=sharded"];
/// The password is `open sesame`.
const ALICE: &str = "alice:$2y$04$ttb.i4A/0YBUKjHuGzwQ7.U.Tsc5hIlUDtGvgPD/zpWmFw.YleadS";
const AS_ALICE: &str = "Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWU=";
const WRONG: &str = "Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWY=";
/// Addresses of this machine beside 127.0.0.1.
const OTHER: [u8; 4] = [127, 0, 0, 2];

/// A counter of all workers.
pub(super) fn sum(server: &Server, workers: usize, name: &str) -> u64 {
    server.counters(workers).iter().map(|counters| counters.get(name)).sum()
}

/// A connection that has been served once.
#[track_caller]
pub(super) fn served(mut client: Client) -> Client {
    assert_eq!(client.get("/a.txt").content, b"a");
    client
}

/// Whether another connection is refused, as it should be if it is.
#[track_caller]
fn is_refused(mut client: Client) -> bool {
    client.send_to_deaf(&request("GET", "/a.txt", &["Connection: close"]));
    let response = client.response();
    match response.status {
        200 => false,
        status => {
            assert_eq!((status, response.field("Retry-After"), response.closes()), (429, Some("1"), true));
            client.expect_closed();
            true
        }
    }
}

#[test]
fn the_51st_connection_of_an_address_is_refused_and_other_addresses_are_served() {
    let tree = site();
    for mode in MODES {
        let server = Server::start(&[mode, "-t", "2", "--max-conns-per-ip", "50"], tree.root());
        let mut clients: Vec<_> = (0..50).map(|_| served(server.connect())).collect();
        for _ in 0..3 {
            assert!(is_refused(server.connect()), "{mode}");
        }
        assert!(!is_refused(Client::connect_from(OTHER, server.address())), "{mode}");
        assert!(clients.iter_mut().all(|client| client.get("/a.txt").status == 200), "{mode}");
        assert_eq!(sum(&server, 2, "crowd_refusals"), 3, "{mode}");
        let warned = || server.stderr().matches("as many as --max-conns-per-ip allows").count();
        assert!(eventually(PATIENCE, || warned() > 0) && warned() < 3, "{mode}: {}", server.stderr());
        clients.pop();
        let is_served = || !is_refused(server.connect());
        assert!(eventually(PATIENCE, is_served), "{mode}");
    }
}

/// So many are served at the same time, no more and no fewer.
#[track_caller]
fn expect_places(server: &Server, count: usize, after: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    let fill = || {
        let mut client = server.connect();
        client.send_to_deaf(&request("GET", "/a.txt", &[]));
        if client.response_or_end().is_some_and(|response| response.status == 200) {
            clients.push(client);
        }
        clients.len() == count
    };
    assert!(eventually(PATIENCE, fill), "not {count} places after {after}");
    assert!(is_refused(server.connect()), "more than {count} places after {after}");
    clients
}

/// How a client ends its connection.
type End = fn(Client);

#[test]
fn a_place_comes_back_however_a_connection_ends() {
    let tree = site();
    let ends: [(&str, End); 7] = [
        ("a close", drop),
        ("a reset", |client| {
            let stream = client.into_stream();
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
        }),
        ("a close that was asked for", |mut client| {
            client.send(&request("GET", "/a.txt", &["Connection: close"]));
            assert_eq!(client.response().content, b"a");
        }),
        ("a bad request", |mut client| {
            client.send(b"BAD\r\n\r\n");
            assert_eq!(client.response().status, 400);
        }),
        ("a reset within a response", |mut client| {
            client.send(&request("GET", "/big", &[]));
            assert_eq!(client.response_head().status, 200);
        }),
        ("an idle timeout", |mut client| client.expect_closed()),
        ("a header timeout", |mut client| {
            client.send(b"GET /");
            assert_eq!(client.response().status, 408);
        }),
    ];
    for mode in MODES {
        let limits = ["--max-conns-per-ip", "6", "--idle-timeout", "1500ms", "--header-timeout", "500ms"];
        let server = Server::start(&[&[mode, "-t", "2"][..], &limits].concat(), tree.root());
        let mut clients = expect_places(&server, 6, "the start");
        for (name, end) in ends {
            std::thread::scope(|scope| {
                for client in clients {
                    scope.spawn(move || end(client));
                }
            });
            clients = expect_places(&server, 6, name);
        }
    }
}

#[test]
fn a_place_comes_back_when_a_worker_panics() {
    if !cfg!(debug_assertions) {
        return skip(
            "fair::a_place_comes_back_when_a_worker_panics",
            "faults are built into debug builds only",
        );
    }
    let tree = site();
    for mode in MODES {
        let launch = Launch::new(tree.root()).env("ONELOOP_FAULT_PANIC", "/panic");
        let server = launch.flags(&[mode, "-t", "1", "--max-conns-per-ip", "6"]).start();
        for round in 0..3 {
            let mut clients = expect_places(&server, 6, &format!("{round} panics"));
            clients[0].send(&request("GET", "/panic", &[]));
            for client in &mut clients {
                assert!(client.response_or_end().is_none());
            }
        }
        expect_places(&server, 6, "the panics");
    }
}

#[test]
fn the_address_that_a_proxy_introduces_is_the_one_that_counts() {
    let tree = site();
    let server = Server::start(&["-t", "2", "--proxy-protocol=on", "--max-conns-per-ip", "2"], tree.root());
    let introduce = |address: &str| {
        let mut client = server.connect();
        client.send(format!("PROXY TCP4 {address} 198.51.100.1 4711 80\r\n").as_bytes());
        client
    };
    let _two = [served(introduce("192.0.2.7")), served(introduce("192.0.2.7"))];
    assert!(is_refused(introduce("192.0.2.7")));
    let _other = [served(introduce("192.0.2.8")), served(introduce("192.0.2.8"))];
    assert!(is_refused(introduce("192.0.2.8")));
    assert_eq!(sum(&server, 2, "crowd_refusals"), 2);
}

#[test]
fn whoever_speaks_for_many_has_no_limit() {
    let tree = site();
    let server = Server::start(&["--trust", "127.0.0.1", "--max-conns-per-ip", "1"], tree.root());
    let _many: Vec<_> = (0..10).map(|_| served(server.connect())).collect();
    let _one = served(Client::connect_from(OTHER, server.address()));
    assert!(is_refused(Client::connect_from(OTHER, server.address())));
    let sockets = Tree::new(&[]);
    let path = sockets.path("s");
    let listen = format!("unix:{}", path.display());
    let launch = Launch::bare().flags(&["-l", &listen, "--max-conns-per-ip", "1"]);
    let _server = launch.flags(&[tree.root()]).spawn();
    assert!(eventually(PATIENCE, || Client::connect_unix(&path).is_ok()));
    let _many: Vec<_> = (0..10).map(|_| served(Client::connect_unix(&path).unwrap())).collect();
}

/// The statuses of requests on a connection of its own each.
fn statuses(source: [u8; 4], address: SocketAddr, fields: &[&str], count: usize) -> Vec<u16> {
    (0..count).map(|_| Client::connect_from(source, address).get_with("/a.txt", fields).status).collect()
}

const HOME: [u8; 4] = [127, 0, 0, 1];
/// Three at once, and then one in ten seconds.
const SLOW: [&str; 4] = ["-t", "2", "--rate", "6/m:3"];

#[test]
fn a_burst_passes_and_the_next_is_one_too_many_for_this_address_alone() {
    let tree = site();
    for mode in MODES {
        let server = Server::start(&[&SLOW[..], &[mode]].concat(), tree.root());
        assert_eq!(statuses(HOME, server.address(), &[], 6), [200, 200, 200, 429, 429, 429], "{mode}");
        assert_eq!(statuses(OTHER, server.address(), &[], 4), [200, 200, 200, 429], "{mode}");
        let mut client = server.connect();
        for target in ["/a.txt", "/missing", "/"] {
            let response = client.get(target);
            let wait_s: u64 = response.field("Retry-After").expect("Retry-After").parse().expect("seconds");
            assert_eq!((response.status, response.closes()), (429, false), "{mode} {target}");
            assert!((1..=10).contains(&wait_s), "{mode}: {wait_s} s");
        }
        assert_eq!(client.exchange(&request("HEAD", "/a.txt", &[])).status, 429, "{mode}");
        let post = [request("POST", "/a.txt", &["Content-Length: 3"]), b"abc".to_vec()].concat();
        assert_eq!([client.exchange(&post).status, client.get("/a.txt").status], [429; 2], "{mode}");
        assert_eq!(sum(&server, 2, "rate_refusals"), 3 + 1 + 6, "{mode}");
    }
}

#[test]
fn tokens_grow_again_up_to_a_burst() {
    let tree = site();
    let _timed = timed();
    let server = Server::start(&["-t", "2", "--rate", "1/s:2"], tree.root());
    let passed = || {
        let statuses = statuses(HOME, server.address(), &[], 5);
        statuses.iter().filter(|&&status| status == 200).count()
    };
    assert_eq!(passed(), 2);
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(passed(), 1);
    std::thread::sleep(Duration::from_millis(3_000));
    assert_eq!(passed(), 2);
}

#[test]
fn behind_a_trusted_proxy_each_of_its_clients_has_a_rate() {
    let tree = site();
    let server = Server::start(&[&SLOW[..], &["--trust", "127.0.0.1"]].concat(), tree.root());
    for field in ["X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 2001:db8::1"] {
        assert_eq!(statuses(HOME, server.address(), &[field], 4), [200, 200, 200, 429], "{field}");
    }
    let neighbour = "X-Forwarded-For: 2001:db8::2";
    assert_eq!(statuses(HOME, server.address(), &[neighbour], 1), [429]);
    // From anybody else the field means nothing.
    let claims = ["X-Forwarded-For: 192.0.2.8", "X-Forwarded-For: 192.0.2.9"];
    let status = |at: usize| statuses(OTHER, server.address(), &[claims[at % 2]], 1);
    assert_eq!((0..4).flat_map(status).collect::<Vec<_>>(), [200, 200, 200, 429]);
}

#[test]
fn who_guesses_passwords_is_slowed_and_nobody_else() {
    let tree = site();
    let server = Server::start(&[&SLOW[..], &["--auth", ALICE]].concat(), tree.root());
    assert_eq!(statuses(HOME, server.address(), &[WRONG], 5), [401, 401, 401, 429, 429]);
    assert_eq!(statuses(HOME, server.address(), &[AS_ALICE], 1), [429]);
    assert_eq!(statuses(OTHER, server.address(), &[AS_ALICE], 4), [200, 200, 200, 429]);
    let server = Server::start(&[&SLOW[..], &["--deny", "127.0.0.1"]].concat(), tree.root());
    assert_eq!(statuses(HOME, server.address(), &[], 5), [403; 5]);
}

/// A file that has to be opened first is asked about twice, and counts once.
#[test]
fn a_request_that_waits_for_a_helper_counts_once() {
    let tree = site();
    tree.write("page.txt", "some text that is long enough to be coded ".repeat(100).as_bytes());
    let server =
        Server::start(&[&SLOW[..], &["--compress", "--error-page", "404=404.html"]].concat(), tree.root());
    let mut client = server.connect();
    let statuses = ["/page.txt", "/nothing", "/page.txt", "/a.txt"]
        .map(|target| client.get_with(target, &["Accept-Encoding: gzip"]).status);
    assert_eq!(statuses, [200, 404, 200, 429]);
}

#[test]
fn wrong_limits_are_refused_with_what_is_right() {
    let tree = site();
    let table: [(&[&str], &str); 6] = [
        (&["--max-conns-per-ip", "0"], "off or a number from 1 to 1048576"),
        (&["--max-conns-per-ip", "many"], "off or a number from 1 to 1048576"),
        (&["--max-conns-per-ip", "50", "--max-conns", "20"], "lower the one or raise the other"),
        (&["--rate", "20"], "such as 20/s, 300/m or 20/s:50"),
        (&["--rate", "20/h"], "use s or m"),
        (&["--rate", "20/s:0"], "the burst must be from 1 to 1000000"),
    ];
    for (flags, advice) in table {
        expect_failure(&Launch::new(tree.root()).flags(flags).run(), 2, &[flags[0], advice]);
    }
    let launch = Launch::new(tree.root()).env("ONELOOP_RATE", "20/h").run();
    expect_failure(&launch, 2, &["ONELOOP_RATE", "use s or m"]);
    let off = ["--max-conns-per-ip", "off", "--rate", "off"];
    let server = Launch::new(tree.root()).env("ONELOOP_RATE", "1/m").flags(&off).start();
    assert_eq!(statuses(HOME, server.address(), &[], 3), [200; 3]);
}
