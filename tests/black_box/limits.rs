//! How much of a request is accepted, and that a refusal reaches a client that is still talking.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::client::{Client, eventually, request};
use super::schedule::timed;
use super::server::Server;
use super::tree::{Tree, pattern};

fn site(flags: &[&str]) -> (Tree, Server) {
    let tree = Tree::new(&[("a.txt", b"a"), ("big.bin", &pattern(1 << 20))]);
    let server = Server::start(flags, tree.root());
    (tree, server)
}

/// A request for `/a.txt` with a target of `bytes`.
fn target_of(bytes: usize) -> Vec<u8> {
    request("GET", &format!("/a.txt?{}", "q".repeat(bytes - "/a.txt?".len())), &[])
}

/// A request for `/a.txt` with a head of `bytes`, spread over lines of moderate length.
fn head_of(bytes: usize) -> Vec<u8> {
    let mut head = b"GET /a.txt HTTP/1.1\r\nHost: x\r\n".to_vec();
    while bytes - head.len() > 1_200 {
        head.extend(format!("Filler: {}\r\n", "f".repeat(990)).as_bytes());
    }
    let rest = bytes - head.len() - "Last: \r\n\r\n".len();
    head.extend(format!("Last: {}\r\n\r\n", "l".repeat(rest)).as_bytes());
    assert_eq!(head.len(), bytes);
    head
}

/// A request for `/a.txt` with so many field lines, `Host` among them.
fn fields_of(count: usize) -> Vec<u8> {
    let lines: Vec<String> = (1..count).map(|index| format!("X-{index}: {index}")).collect();
    request("GET", "/a.txt", &lines.iter().map(String::as_str).collect::<Vec<_>>())
}

#[track_caller]
fn expect(server: &Server, request: &[u8], status: u16) {
    let mut client = server.connect();
    let response = client.exchange(request);
    assert_eq!(response.status, status, "{} bytes", request.len());
    if status == 200 {
        assert_eq!(client.get("/a.txt").content, b"a");
    } else {
        assert!(response.closes());
        client.expect_closed();
    }
}

#[test]
fn what_real_clients_send_is_accepted() {
    let (_tree, server) = site(&[]);
    let cookie = format!("Cookie: {}", "c".repeat(7 << 10));
    expect(&server, &target_of(8_000), 200);
    expect(&server, &request("GET", "/a.txt", &[&cookie]), 200);
    expect(&server, &fields_of(100), 200);
}

#[test]
fn each_limit_is_exact() {
    let (_tree, server) = site(&[]);
    expect(&server, &target_of(8 << 10), 200);
    expect(&server, &target_of((8 << 10) + 1), 414);
    expect(&server, &target_of(60_000), 414);
    expect(&server, &head_of(16 << 10), 200);
    expect(&server, &head_of((16 << 10) + 1), 431);
    expect(&server, &head_of(60_000), 431);
    expect(&server, &fields_of(101), 431);
    expect(&server, &fields_of(500), 431);
}

#[test]
fn each_limit_has_its_flag() {
    let (_tree, server) =
        site(&["--max-uri", "100", "--max-header", "1k", "--max-fields", "10", "--max-body", "50"]);
    expect(&server, &target_of(100), 200);
    expect(&server, &target_of(101), 414);
    expect(&server, &head_of(1_024), 200);
    expect(&server, &head_of(1_025), 431);
    expect(&server, &fields_of(10), 200);
    expect(&server, &fields_of(11), 431);
    let sized = |bytes: usize| {
        let length = format!("Content-Length: {bytes}");
        [request("GET", "/a.txt", &[&length]), vec![b'c'; bytes]].concat()
    };
    expect(&server, &sized(50), 200);
    expect(&server, &sized(51), 413);
    // The head alone is enough to know.
    expect(&server, &request("GET", "/a.txt", &["Content-Length: 51"]), 413);
}

#[test]
fn chunked_content_beyond_the_limit_ends_the_connection() {
    let (_tree, server) = site(&["--max-body", "1k"]);
    let mut client = server.connect();
    client.send(&request("POST", "/a.txt", &["Transfer-Encoding: chunked"]));
    for _ in 0..40 {
        client.send_to_deaf(format!("40\r\n{}\r\n", "c".repeat(0x40)).as_bytes());
    }
    client.send_to_deaf(b"0\r\n\r\n");
    client.send_to_deaf(&request("GET", "/a.txt", &[]));
    // The length is not known beforehand, so the answer to the method may be on its way already.
    let response = client.response();
    assert!([405, 413].contains(&response.status), "{}", response.status);
    client.expect_closed();
}

#[test]
fn endless_lines_are_refused_before_they_end() {
    let (_tree, server) = site(&[]);
    let table: [(&[u8], &[u16]); 3] = [
        (b"GET /", &[414]),
        (b"GET / HTTP/1.1\r\nHost: x\r\nEndless: ", &[431]),
        // A method without end: no registered status fits exactly.
        (b"", &[400, 414, 431, 501]),
    ];
    for (start, statuses) in table {
        let mut client = server.connect();
        client.send(start);
        client.send(&b"x".repeat(17 << 10));
        let response = client.response();
        assert!(statuses.contains(&response.status), "{} to {}", response.status, start.escape_ascii());
        client.expect_closed();
    }
}

/// Goes on talking for `span`, whether anybody listens or not.
fn keep_talking(mut writer: TcpStream, span: Duration) {
    let start = Instant::now();
    while start.elapsed() < span && writer.write_all(&[b'x'; 4_096]).is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_refusal_reaches_a_client_that_goes_on_sending() {
    let (_tree, server) = site(&[]);
    let large = request("POST", "/a.txt", &["Content-Length: 100000000"]);
    let table: [(&[u8], u16); 4] = [
        (b"GET /", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nEndless: ", 431),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (&large, 413),
    ];
    std::thread::scope(|scope| {
        for (start, status) in table {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.connect();
                client.send(start);
                // Nothing is read meanwhile: a reset in reply to unread input would destroy the answer.
                keep_talking(client.writer(), Duration::from_secs(1));
                assert_eq!(client.response().status, status, "{}", start.escape_ascii());
                client.expect_closed();
            });
        }
    });
}

#[test]
fn a_lingering_close_has_an_end() {
    let (_tree, server) = site(&[]);
    let _timed = timed();
    let baseline = server.process().sockets();
    let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(b"BAD\r\n\r\n");
        assert_eq!(client.response().status, 400);
        client.expect_closed();
    }
    // The clients neither close nor fall silent, and yet the server gets its descriptors back.
    let start = Instant::now();
    while server.process().sockets() > baseline {
        assert!(start.elapsed() < Duration::from_secs(13), "lingers for ever");
        std::thread::sleep(Duration::from_millis(100));
        for client in &mut clients {
            client.send_to_deaf(b"x");
        }
    }
}

#[test]
fn a_lingering_close_ends_with_the_client() {
    let (_tree, server) = site(&[]);
    let _timed = timed();
    let baseline = server.process().sockets();
    let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(b"BAD\r\n\r\n");
        assert_eq!(client.response().status, 400);
        client.expect_closed();
        // The last bytes and the end of the stream come together, and only once.
        client.send(b"last words");
        client.finish_sending();
    }
    let is_over = eventually(Duration::from_secs(3), || server.process().sockets() <= baseline);
    assert!(is_over, "waits for clients that have said that they are done");
}

#[test]
fn nothing_is_read_ahead_while_output_is_blocked() {
    let (_tree, server) = site(&[]);
    let _timed = timed();
    let process = server.process();
    server.connect().get("/big.bin");
    let before = process.resident_bytes();
    let client = Client::connect_with_window(server.address(), 8 << 10);
    client.patience(Duration::from_secs(1));
    let mut writer = client.writer();
    let requests = request("GET", "/big.bin", &[]).repeat(1_000);
    let mut accepted = 0;
    // The kernel's buffers take some megabytes; a server that reads on takes everything.
    let blocked = loop {
        match writer.write(&requests) {
            Ok(count) => accepted += count,
            Err(error) => break matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
        if accepted > 64 << 20 {
            break false;
        }
    };
    assert!(blocked, "took {accepted} bytes of requests without being able to answer them");
    let grown = process.resident_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "holds {grown} bytes for one client that does not read");
}
