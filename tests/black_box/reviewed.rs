//! What a review of the server found: one test for each finding, from the outside.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::{Domain, SockRef, Socket, Type};

use super::client::{Client, eventually, request};
use super::process::{raise_descriptor_limit, this_thread_waited_for_processor};
use super::schedule::{heavy, skip, timed};
use super::server::{Launch, PATIENCE, Server};
use super::tree::{Tree, pattern};

const SECOND: Duration = Duration::from_secs(1);

/// After this long a change must be seen by every new request.
const SEEN_WITHIN: Duration = Duration::from_millis(1_500);

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

/// A response on its way to a client that is slow to take it. So small that the kernel of the server's side takes
/// it whole: the server is done with it long before its client.
struct SlowDownload {
    client: Client,
    expected: Vec<u8>,
}

impl SlowDownload {
    /// Asks for `/file.bin`, whose content is `length` bytes of the pattern.
    #[track_caller]
    fn begin(server: &Server, request: &[u8], length: usize) -> Self {
        let mut client = Client::connect_with_window(server.address(), 16 << 10);
        client.send(request);
        assert_eq!(client.response_head().content_length(), Some(length as u64));
        Self { client, expected: pattern(length) }
    }

    /// Takes the content, 100 kB a second for three seconds, and says `bytes` at some of the tenths of a second.
    /// All of it has to arrive; what comes then is up to the caller.
    #[track_caller]
    fn finish(mut self, bytes: &[u8], at_tenths: &[u32]) -> Client {
        let mut rest = self.expected.as_slice();
        let mut compare = |received: &[u8]| {
            let (here, after) = rest.split_at(received.len());
            assert!(here == received, "wrong bytes, {} from the end", rest.len());
            rest = after;
        };
        let start = Instant::now();
        for tenth in 0..30 {
            if at_tenths.contains(&tenth) {
                self.client.send_to_deaf(bytes);
            }
            self.client.content(10_000, &mut compare);
            std::thread::sleep((start + SECOND / 10 * (tenth + 1)).saturating_duration_since(Instant::now()));
        }
        self.client.content(self.expected.len() as u64 - 300_000, &mut compare);
        self.client
    }
}

#[test]
fn a_stray_line_behind_the_last_request_costs_no_tail() {
    let tree = Tree::new(&[("file.bin", &pattern(1_000_000))]);
    let server = Server::start(&[], tree.root());
    let _timed = timed();
    let download = SlowDownload::begin(&server, b"GET /file.bin HTTP/1.0\r\n\r\n", 1_000_000);
    download.finish(b"\r\n", &[5, 15, 25]).expect_closed();
}

#[test]
fn a_request_while_the_server_ends_costs_no_tail() {
    let tree = Tree::new(&[("file.bin", &pattern(600_000)), ("a.txt", b"a")]);
    let mut server = Server::start(&["--grace", "20s"], tree.root());
    let _timed = timed();
    let download = SlowDownload::begin(&server, &request("GET", "/file.bin", &[]), 600_000);
    server.terminate();
    let mut client = download.finish(&request("GET", "/a.txt", &[]), &[5, 15]);
    // The others may be answered or not.
    while let Some(response) = client.response_or_end() {
        assert_eq!(response.content, b"a");
    }
    assert_eq!(server.wait_exit(PATIENCE).code(), Some(0));
}

#[test]
fn a_request_behind_the_idle_timeout_costs_no_tail() {
    let tree = Tree::new(&[("file.bin", &pattern(1_000_000)), ("a.txt", b"a")]);
    let server = Server::start(&["--idle-timeout", "1s"], tree.root());
    let _timed = timed();
    let download = SlowDownload::begin(&server, &request("GET", "/file.bin", &[]), 1_000_000);
    let mut client = download.finish(&request("GET", "/a.txt", &[]), &[18]);
    if let Some(response) = client.response_or_end() {
        assert_eq!(response.content, b"a");
    }
}

/// Many parts of one byte and then the whole of a large file, read in turns: slowly but steadily, 40 kB a second,
/// and then quickly, so that the server can go on until the socket is full once more.
#[track_caller]
fn read_parts_slowly(server: &Server, whole: &[u8], heads: usize) {
    // The socket holds megabytes, which are some 10,000 responses.
    const PARTS: usize = 30_000;
    // A small window, since the loopback interface acknowledges in lumps of its size: so the server hears several
    // times a second that its client is reading.
    let mut client = Client::connect_with_window(server.address(), 8 << 10);
    let pipeline = [
        request("HEAD", "/file.bin", &[]).repeat(heads),
        request("GET", "/file.bin", &["Range: bytes=0-0"]).repeat(PARTS),
        request("GET", "/file.bin", &[]),
    ];
    let mut writer = client.writer();
    let writing = std::thread::spawn(move || writer.write_all(&pipeline.concat()));
    for _ in 0..heads {
        client.response_head();
    }
    for index in 0..PARTS {
        // 12 responses of 350 bytes at a time, for two and a half seconds.
        if index < 18_000 && index % 6_000 < 300 && index % 12 == 0 {
            std::thread::sleep(SECOND / 10);
        }
        let response = client.response();
        assert_eq!((response.status, response.content.as_slice()), (206, &whole[..1]));
    }
    assert_eq!(client.response_head().content_length(), Some(whole.len() as u64));
    let mut rest = whole;
    client.content(whole.len() as u64, |bytes| {
        assert!(rest.starts_with(bytes), "wrong bytes, {} from the end", rest.len());
        rest = &rest[bytes.len()..];
    });
    writing.join().unwrap().expect("everything was asked for");
}

#[test]
fn a_steady_slow_reader_of_many_small_parts_is_not_reset() {
    let whole = pattern(8 << 20);
    let tree = Tree::new(&[("file.bin", &whole)]);
    let server = Server::start(&["--send-timeout", "1s"], tree.root());
    let _timed = timed();
    // Whether the socket is full behind a head or behind content is up to the kernel; so there are several
    // clients, each with something else in front.
    std::thread::scope(|scope| {
        for heads in [0, 5, 10, 15] {
            let (server, whole) = (&server, whole.as_slice());
            scope.spawn(move || read_parts_slowly(server, whole, heads));
        }
    });
}

/// The worst latency of a client that asks again and again for two seconds. The time for which the kernel let
/// others have the processor is not counted: it says how busy the machine is.
#[track_caller]
fn worst_latency(server: &Server, client: &mut Client) -> Duration {
    let waited = || server.process().waited_for_processor() + this_thread_waited_for_processor();
    let start = Instant::now();
    let mut worst = Duration::ZERO;
    while start.elapsed() < SECOND * 2 {
        let (asked, waited_before) = (Instant::now(), waited());
        assert_eq!(client.get("/a.txt").content, b"a");
        let latency = asked.elapsed();
        worst = worst.max(latency.saturating_sub(waited() - waited_before));
    }
    worst
}

/// A client that sends content without end, in chunks of one byte, which are slower to read than to send. Returns
/// how many chunks it got rid of.
fn talk_endlessly(address: SocketAddr, is_over: &AtomicBool) -> usize {
    const CHUNKS: usize = 10_000;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // Segments as large as the loopback interface's come one at a time, with a pause behind each.
    socket.set_tcp_mss(8 << 10).expect("TCP_MAXSEG");
    socket.connect(&address.into()).expect("connect");
    let mut client = Client::over(socket.into());
    client.send(&request("POST", "/a.txt", &["Transfer-Encoding: chunked"]));
    assert_eq!(client.response().status, 405);
    let chunks = b"1\r\nc\r\n".repeat(CHUNKS);
    let mut sent_chunks = 0;
    while !is_over.load(Ordering::Relaxed) {
        client.send_to_deaf(&chunks);
        sent_chunks += CHUNKS;
    }
    sent_chunks
}

#[test]
fn endless_request_content_starves_nobody() {
    let _heavy = heavy();
    let tree = Tree::new(&[("a.txt", b"a")]);
    let server = Server::start(&["-t", "1", "--max-body", "10g"], tree.root());
    let (address, is_over) = (server.address(), AtomicBool::new(false));
    let mut other = server.connect();
    assert_eq!(other.get("/a.txt").content, b"a");
    let (worst, sent_chunks) = std::thread::scope(|scope| {
        let talkers: Vec<_> = (0..4).map(|_| scope.spawn(|| talk_endlessly(address, &is_over))).collect();
        let listening = scope.spawn(|| worst_latency(&server, &mut other));
        // Whatever becomes of it, the talkers have to hear that it is over.
        let worst = listening.join();
        is_over.store(true, Ordering::Relaxed);
        let sent_chunks: usize = talkers.into_iter().map(|talker| talker.join().expect("a talker")).sum();
        (worst.expect("the other client is answered"), sent_chunks)
    });
    assert!(sent_chunks > 1_000_000, "only {sent_chunks} chunks of content: that was no load");
    assert!(worst < SECOND / 20, "{worst:?}");
}

#[test]
fn a_refused_head_request_gets_no_content() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let server = Server::start(&[], tree.root());
    let long = "x".repeat(60_000);
    let table = [
        (400, "HEAD /a.txt HTTP/1.1\r\n\r\n".to_owned()),
        (400, "HEAD /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: some\r\n\r\n".to_owned()),
        (414, format!("HEAD /{long} HTTP/1.1\r\nHost: x\r\n\r\n")),
        (431, format!("HEAD /a.txt HTTP/1.1\r\nHost: x\r\nLong: {long}\r\n\r\n")),
    ];
    for (status, request) in table {
        let mut client = server.connect();
        client.send(request.as_bytes());
        let response = client.response_head();
        assert_eq!(response.status, status);
        assert!(response.closes(), "{:?}", response.head());
        // Not one byte may come before the end.
        client.expect_closed();
    }
}

#[test]
fn an_end_waits_briefly_for_clients_that_only_have_to_talk() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let mut server = Server::start(&["--grace", "20s"], tree.root());
    let _timed = timed();
    let mut refused = server.connect();
    refused.send(b"BAD\r\n\r\n");
    assert_eq!(refused.response().status, 400);
    refused.expect_closed();
    let mut half = server.connect();
    half.send(b"GET /a.txt HTTP/1.1\r\nHost: x");
    std::thread::sleep(SECOND / 5);
    server.terminate();
    // Two seconds by design; five if it waited as long as it does otherwise.
    assert_eq!(server.wait_exit(SECOND * 4).code(), Some(0));
}

#[test]
fn a_hup_right_after_the_start_is_not_lost() {
    let tree = Tree::new(&[("1/a.txt", b"first"), ("2/a.txt", b"second")]);
    for round in 0..20 {
        let root = format!("current-{round}");
        tree.link(&root, "1");
        let server = Launch::new(&tree.path(&root)).flags(&["-t", "4"]).start();
        tree.link("next", "2");
        std::fs::rename(tree.path("next"), tree.path(&root)).unwrap();
        server.signal(Signal::HUP);
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        let is_new = eventually(SECOND * 3, || {
            clients.iter_mut().all(|client| client.get("/a.txt").content == b"second")
        });
        assert!(is_new, "round {round}: a worker serves the old tree");
    }
}

#[test]
fn a_peer_that_vanishes_is_no_error_of_the_server() {
    let tree = Tree::new(&[("file.bin", &pattern(8 << 20)), ("a.txt", b"a")]);
    let server = Server::start(&["-t", "1", "-v"], tree.root());
    for _ in 0..20 {
        let mut client = Client::connect_with_window(server.address(), 64 << 10);
        client.send(&request("GET", "/file.bin", &[]));
        client.response_head();
        client.content(10_000, |_| ());
        SockRef::from(&client.writer()).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }
    let are_gone = eventually(PATIENCE, || server.counters(1)[0].get("closed") == 20);
    assert!(are_gone, "{:?}", server.counters(1));
    assert_eq!(server.connect().get("/a.txt").content, b"a");
    let stderr = server.stderr();
    assert!(!stderr.contains("ERROR"), "{stderr}");
}

#[test]
fn a_crowd_that_asks_for_missing_names_hears_that_they_are_missing() {
    const COUNT: usize = 3_000;
    let _heavy = heavy();
    if raise_descriptor_limit() < COUNT as u64 + 1_000 {
        let test = "reviewed::a_crowd_that_asks_for_missing_names_hears_that_they_are_missing";
        return skip(test, "too few descriptors");
    }
    let tree = Tree::new(&[("a.txt", b"a")]);
    let server = Server::start(&["-t", "2"], tree.root());
    let mut clients: Vec<Client> = (0..COUNT).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/a.txt").content, b"a");
    }
    // The server finds all the requests at once when it wakes up.
    server.signal(Signal::STOP);
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(&request("GET", &format!("/missing-{index}"), &[]));
    }
    server.signal(Signal::CONT);
    let statuses: Vec<u16> = clients.iter_mut().map(|client| client.response().status).collect();
    let others = statuses.iter().filter(|&&status| status != 404).count();
    assert_eq!(others, 0, "answers other than 404; 503: {}", statuses.contains(&503));
}

#[test]
fn what_comes_and_goes_is_seen_soon() {
    let large = pattern(1_000_000);
    let table: [(&str, &str, &[u8]); 4] = [
        ("/small.bin", "small.bin", b"small"),
        ("/large.bin", "large.bin", &large),
        ("/directory/", "directory/index.html", b"index"),
        ("/new/a.bin", "new/a.bin", b"in a directory that is new, too"),
    ];
    let tree = Tree::new(&[]);
    let server = Server::start(&["-t", "2"], tree.root());
    let _timed = timed();
    for (target, name, content) in table {
        // One for each worker. They never stop asking: what is asked for often has to be looked at anew as well.
        let mut clients = [server.connect(), server.connect()];
        let mut all_get = |status, span| {
            eventually(span, || clients.each_mut().map(|client| client.get(target).status) == [status; 2])
        };
        assert!(all_get(404, Duration::ZERO), "{target} is there before it is made");
        tree.write(name, content);
        assert!(all_get(200, SEEN_WITHIN), "{target} is not seen");
        std::fs::remove_file(tree.path(name)).unwrap();
        assert!(all_get(404, SEEN_WITHIN), "{target} is served although it is gone");
        tree.write(name, content);
        assert!(all_get(200, SEEN_WITHIN), "{target} is not seen again");
        assert_eq!(server.connect().get(target).content, content);
    }
}
