//! Who wants nothing makes room for who does, and nobody who asked for something does.

use std::time::{Duration, Instant};

use super::client::{Client, eventually, request};
use super::fair::{MODES, served, sum};
use super::overload::{busy, finish, leave_no_descriptor, site};
use super::schedule::timed;
use super::server::Server;
use super::tree::{Tree, pattern};

/// A newcomer is served soon.
#[track_caller]
fn expect_service(server: &Server) -> Client {
    let start = Instant::now();
    let client = served(server.connect());
    assert!(start.elapsed() < Duration::from_secs(1), "served after {:?}", start.elapsed());
    client
}

/// Which of the clients are closed, after a while in which nobody else should be.
fn closed(clients: &mut [Client]) -> Vec<usize> {
    std::thread::sleep(Duration::from_millis(200));
    let closed = clients.iter_mut().enumerate().filter_map(|(at, client)| client.is_closed().then_some(at));
    closed.collect()
}

const CONNECTIONS: usize = 300;
const BUSY: usize = 10;

/// Clients that became idle one after another, in the reverse of the order in which they came.
fn crowd(server: &Server, count: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| served(server.connect())).collect();
    for client in clients.iter_mut().rev() {
        assert_eq!(client.get("/a.txt").content, b"a");
        std::thread::sleep(Duration::from_millis(2));
    }
    clients.reverse();
    clients
}

#[test]
fn at_the_limit_those_idle_longest_make_room_and_nobody_else() {
    let tree = site();
    let _timed = timed();
    // Turns are strict, so each worker has the same share of the oldest; the kernel deals by chance.
    for (mode, slack) in MODES.into_iter().zip([0, 50]) {
        let max = CONNECTIONS.to_string();
        let flags = [mode, "-t", "2", "--max-conns", &max, "--idle-timeout", "60s"];
        let server = Server::start(&flags, tree.root());
        let mut busy: Vec<_> = (0..BUSY).map(|_| busy(&server)).collect();
        let mut idle = crowd(&server, CONNECTIONS - BUSY);
        assert_eq!(closed(&mut idle), [0; 0], "{mode}: nobody waits");
        let newcomer = expect_service(&server);
        let gone = closed(&mut idle);
        assert_eq!(sum(&server, 2, "displaced_idle"), gone.len() as u64, "{mode}: {gone:?}");
        assert!((1..=20).contains(&gone.len()), "{mode}: {gone:?}");
        assert!(gone.iter().all(|&at| at < gone.len() + slack), "{mode}: not the oldest: {gone:?}");
        // One newcomer after another, and all are let in.
        let _newcomers: Vec<_> = (0..50).map(|_| expect_service(&server)).collect();
        let still = closed(&mut idle);
        assert!(still.iter().all(|&at| at < still.len() + slack), "{mode}: not the oldest: {still:?}");
        assert!((50..100).contains(&still.len()), "{mode}: {still:?}");
        busy.iter_mut().for_each(finish);
        drop(newcomer);
        assert_eq!(sum(&server, 2, "displaced_unfinished"), 0, "{mode}");
    }
}

#[test]
fn without_descriptors_those_idle_longest_make_room_too() {
    let tree = site();
    let _timed = timed();
    for mode in MODES {
        let server = Server::start(&[mode, "-t", "1", "--idle-timeout", "60s"], tree.root());
        let mut busy = busy(&server);
        let mut idle = crowd(&server, 40);
        leave_no_descriptor(&server);
        let _newcomers = [expect_service(&server), expect_service(&server)];
        let gone = closed(&mut idle);
        assert!((1..20).contains(&gone.len()), "{mode}: {gone:?}");
        assert_eq!(gone, (0..gone.len()).collect::<Vec<_>>(), "{mode}: the oldest");
        finish(&mut busy);
    }
}

#[test]
fn they_make_room_for_files_as_well() {
    let tree = site();
    let _timed = timed();
    let names: Vec<String> = (0..20).map(|index| format!("{index}.txt")).collect();
    // Too large to be held without a descriptor.
    for name in &names {
        tree.write(name, &pattern(40_000));
    }
    let server = Server::start(&["-t", "1", "--idle-timeout", "60s"], tree.root());
    let mut idle = crowd(&server, 40);
    let mut asker = served(server.connect());
    leave_no_descriptor(&server);
    for name in &names {
        let is_served = || {
            let response = asker.get(&format!("/{name}"));
            assert!(matches!(response.status, 200 | 503), "{:?}", response.head());
            response.status == 200
        };
        assert!(eventually(Duration::from_secs(1), is_served), "{name}");
    }
    let gone = closed(&mut idle);
    assert!(!gone.is_empty() && gone == (0..gone.len()).collect::<Vec<_>>(), "{gone:?}");
}

/// Clients that have sent so much and no more.
fn stalled(server: &Server, count: usize, sent: &[u8]) -> Vec<Client> {
    let stall = |_| {
        let mut client = server.connect();
        client.send(sent);
        client
    };
    (0..count).map(stall).collect()
}

/// A server that is full, with deadlines that are far off. Below 5 s for heads the kernel holds nobody back.
fn small(tree: &Tree) -> Server {
    let deadlines = ["--header-timeout", "4500ms", "--idle-timeout", "60s", "--body-timeout", "60s"];
    Server::start(&[&["-t", "2", "--max-conns", "20"][..], &deadlines].concat(), tree.root())
}

/// Longer than whoever is about to say something is left alone.
const GRACE: Duration = Duration::from_millis(1_200);

#[test]
fn those_who_never_said_anything_count_as_idle() {
    let tree = site();
    let _timed = timed();
    let server = small(&tree);
    let mut silent = stalled(&server, 20, b"");
    std::thread::sleep(GRACE);
    let _newcomer = expect_service(&server);
    assert!((1..=4).contains(&closed(&mut silent).len()));
    assert_eq!(sum(&server, 2, "displaced_unfinished"), 0);
}

#[test]
fn those_who_do_not_finish_what_they_say_make_room_when_nobody_is_idle() {
    let tree = site();
    let _timed = timed();
    let post = request("POST", "/a.txt", &["Content-Length: 100"]);
    for (sent, status) in [(&b"GET / HT"[..], None), (&post, Some(405)), (b"BAD\r\n\r\n", Some(400))] {
        let server = small(&tree);
        let mut busy: Vec<_> = (0..4).map(|_| busy(&server)).collect();
        let mut stalled = stalled(&server, 8, sent);
        for client in &mut stalled {
            assert!(status.is_none_or(|status| client.response().status == status));
        }
        let mut idle: Vec<_> = (0..8).map(|_| served(server.connect())).collect();
        std::thread::sleep(GRACE);
        // Those idle go first, though they came last.
        let mut newcomers: Vec<_> = (0..2).map(|_| expect_service(&server)).collect();
        assert!(!closed(&mut idle).is_empty(), "{}", sent.escape_ascii());
        assert_eq!(sum(&server, 2, "displaced_unfinished"), 0, "{}", sent.escape_ascii());
        // Whoever is about to ask is idle no more.
        newcomers.extend(idle.into_iter().filter_map(|mut client| (!client.is_closed()).then_some(client)));
        newcomers.iter_mut().for_each(|client| client.send_to_deaf(b"GET /a.txt HTTP/1.1\r\n"));
        std::thread::sleep(GRACE);
        let _newcomer = expect_service(&server);
        assert!(sum(&server, 2, "displaced_unfinished") > 0, "{}", sent.escape_ascii());
        busy.iter_mut().for_each(finish);
    }
}

/// A flood that comes again as often as it is turned away keeps nobody out.
#[test]
fn a_flood_of_unfinished_heads_keeps_nobody_out() {
    let tree = site();
    let _timed = timed();
    let server = small(&tree);
    let address = server.address();
    let mut flood = stalled(&server, 40, b"GET / HT");
    for _ in 0..5 {
        std::thread::sleep(GRACE);
        let _newcomer = expect_service(&server);
        for client in flood.iter_mut().filter_map(|client| client.is_closed().then_some(client)) {
            *client = Client::connect(address);
            client.send(b"GET / HT");
        }
    }
}
