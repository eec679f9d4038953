//! The access log: one line a request, nothing that a terminal would obey, and never a reason to wait.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::client::{eventually, request};
use super::schedule::timed;
use super::server::{PATIENCE, Server};
use super::tree::Tree;

fn site() -> (Tree, Tree) {
    (Tree::new(&[("a.txt", b"a")]), Tree::new(&[]))
}

fn logging_to(path: &Path, tree: &Tree) -> Server {
    Server::start(&["--access-log", path.to_str().unwrap()], tree.root())
}

/// The log, once it has `count` lines.
#[track_caller]
fn lines(path: &Path, count: usize) -> Vec<Vec<u8>> {
    let mut log = Vec::new();
    eventually(PATIENCE, || {
        log = fs::read(path).unwrap_or_default();
        log.iter().filter(|&&byte| byte == b'\n').count() >= count
    });
    let lines: Vec<Vec<u8>> = log.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    assert_eq!(lines.len(), count + 1, "{}", log.escape_ascii());
    assert!(lines[count].is_empty(), "the last line ends: {}", log.escape_ascii());
    lines[..count].to_vec()
}

#[test]
fn each_request_is_one_line_in_order() {
    let (tree, logs) = site();
    let path = logs.path("access.log");
    let server = logging_to(&path, &tree);
    let mut client = server.connect();
    for index in 0..100 {
        let target = if index % 2 == 0 { format!("/a.txt?{index}") } else { format!("/missing?{index}") };
        client.get_with(&target, &["User-Agent: tester/1.0", "Referer: http://oneloop.test/from"]);
    }
    for (index, line) in lines(&path, 100).iter().enumerate() {
        let line = String::from_utf8_lossy(line);
        let status = if index % 2 == 0 { "200" } else { "404" };
        assert!(line.starts_with("127.0.0.1 "), "{line}");
        assert!(line.contains(&format!("?{index} HTTP/1.1\" {status} ")), "{index}: {line}");
        assert!(line.contains("tester/1.0") && line.contains("http://oneloop.test/from"), "{line}");
    }
}

#[test]
fn bytes_that_a_terminal_would_obey_are_escaped() {
    let (tree, logs) = site();
    let path = logs.path("access.log");
    let server = logging_to(&path, &tree);
    let requests: [&[u8]; 6] = [
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nUser-Agent: tab\there \x80\x9b31m\xff end\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nUser-Agent: quote\" 200 \"back\\slash\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\nReferer: \xe2\x80\xae\xc2\x9b2J\r\n\r\n",
        b"GET /%0a%1b%5b31m HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\"quoted\" HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for request in requests {
        server.connect().exchange(request);
    }
    for line in lines(&path, requests.len()) {
        let shown = line.escape_ascii();
        assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~')), "{shown}");
        let unescaped = String::from_utf8(line.clone()).unwrap().replace("\\\\", "").replace("\\\"", "");
        let quotes = unescaped.matches('"').count();
        assert!(quotes.is_multiple_of(2), "a quote of the client's ends a field: {shown}");
        assert!(!unescaped.contains("\" 200 \"back"), "a field of the client's own making: {shown}");
    }
}

#[test]
fn a_dash_is_standard_output() {
    let (tree, _) = site();
    let server = Server::start(&["--access-log", "-"], tree.root());
    server.connect().get("/a.txt?logged");
    assert!(eventually(PATIENCE, || server.stdout().contains("GET /a.txt?logged HTTP/1.1\" 200 ")));
}

#[test]
fn by_default_nothing_is_logged_but_to_a_terminal() {
    let (tree, _) = site();
    let server = Server::start(&[], tree.root());
    server.connect().get("/a.txt");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.stdout(), "");
}

/// Makes more log than any pipe holds, and expects answers all the while.
#[track_caller]
fn expect_service(server: &Server) {
    let start = Instant::now();
    let mut client = server.connect();
    let long = format!("/a.txt?{}", "q".repeat(400));
    for _ in 0..20 {
        let batch = request("GET", &long, &[]).repeat(100);
        client.send(&batch);
        for _ in 0..100 {
            assert_eq!(client.response().content, b"a");
        }
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "2,000 requests took {took:?}");
}

#[test]
fn a_log_that_nobody_reads_delays_nothing() {
    let (tree, logs) = site();
    let _timed = timed();
    logs.fifo("stuck");
    let path = logs.path("stuck");
    // Open for reading, so that the pipe can be opened for writing, and never read.
    let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut server = logging_to(&path, &tree);
    expect_service(&server);
    let used = server.process().processor_time_over(Duration::from_secs(1));
    assert!(used < Duration::from_millis(150), "{used:?} of processor time spent on a log that is stuck");
    server.terminate();
    assert_eq!(server.wait_exit(Duration::from_secs(8)).code(), Some(0), "the end does not wait for the log");
    drop(reader);
}

#[test]
fn a_log_whose_reader_leaves_is_no_end() {
    let (tree, logs) = site();
    logs.fifo("left");
    let path = logs.path("left");
    // Not blocking, since there is no writer yet.
    let non_blocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let mut reader = OpenOptions::new().read(true).custom_flags(non_blocking).open(&path).unwrap();
    let server = logging_to(&path, &tree);
    server.connect().get("/a.txt");
    let mut start = [0; 10];
    assert!(
        eventually(PATIENCE, || reader.read(&mut start).is_ok_and(|count| count > 0)),
        "nothing is logged"
    );
    drop(reader);
    expect_service(&server);
}

#[test]
fn a_log_on_a_full_disk_is_no_end() {
    let (tree, _) = site();
    if File::open("/dev/full").is_err() {
        return super::schedule::skip("access_log::a_log_on_a_full_disk_is_no_end", "no /dev/full here");
    }
    let server = logging_to(Path::new("/dev/full"), &tree);
    expect_service(&server);
    let said = server.stderr();
    assert!(said.len() < 10_000, "{} bytes about a log that cannot be written", said.len());
}

#[test]
fn a_pipe_without_a_reader_keeps_nobody_waiting() {
    let (tree, logs) = site();
    logs.fifo("alone");
    let path = logs.path("alone");
    let mut server =
        super::server::Launch::new(tree.root()).flags(&[Path::new("--access-log"), &path]).spawn();
    // To start without the log or not to start are both right; to wait for a reader is neither.
    let decided = eventually(PATIENCE, || server.exited().is_some() || server.stderr().contains("http://"));
    assert!(decided, "{}", server.stderr());
}

#[test]
fn hup_opens_a_log_anew_that_was_moved_away() {
    let (tree, logs) = site();
    let (path, moved) = (logs.path("access.log"), logs.path("access.log.1"));
    let server = logging_to(&path, &tree);
    let mut client = server.connect();
    client.get("/a.txt?before");
    assert!(String::from_utf8_lossy(&lines(&path, 1)[0]).contains("?before "));
    fs::rename(&path, &moved).unwrap();
    server.signal(rustix::process::Signal::HUP);
    assert!(eventually(PATIENCE, || path.exists()), "no new log");
    client.get("/a.txt?after");
    assert!(String::from_utf8_lossy(&lines(&path, 1)[0]).contains("?after "));
    lines(&moved, 1);
}

#[test]
fn a_log_that_cannot_be_opened_is_a_failure_to_start() {
    let (tree, logs) = site();
    let path = logs.path("no/such/directory/access.log");
    let ended = super::server::Launch::new(tree.root()).flags(&[Path::new("--access-log"), &path]).run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains(path.to_str().unwrap()), "{}", ended.stderr);
}
