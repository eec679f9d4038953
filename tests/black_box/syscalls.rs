//! System calls a request, counted by strace(1) on the running server.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use super::client::{Client, eventually, request};
use super::schedule::{note, skip, timed};
use super::server::{PATIENCE, Server};
use super::tree::Tree;

/// Rounds that are not counted: caches are filled, and the kernel finds out how large buffers have to be.
const WARM_UP_ROUNDS: usize = 20;
/// Rounds that are counted.
const ROUNDS: usize = 100;
const CONNECTIONS: usize = 64;
const PIPELINED: usize = 16;

/// How often each call was made.
type Calls = BTreeMap<String, usize>;

/// The server as strace sees it.
struct Trace {
    strace: Child,
    scratch: TempDir,
    /// Thread id of the only worker.
    worker: String,
    /// Thread id of the one that looks once a second where the root leads, whatever is asked for.
    keeper: String,
}

impl Trace {
    /// Attaches to all threads of a server with one worker.
    ///
    /// # Errors
    /// Why that is not possible on this machine.
    fn attach(server: &Server) -> Result<Self, String> {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let stderr = File::create(scratch.path().join("stderr")).expect("a file for the output");
        let strace = Command::new("strace")
            .args(["-ff", "-p", &server.process().id().to_string(), "-o"])
            .arg(scratch.path().join("calls"))
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(|error| format!("no strace: {error}"))?;
        let [worker, keeper] = ["worker-0", "root"].map(|name| server.process().thread(name));
        let mut trace = Self { strace, scratch, worker, keeper };
        let is_settled = eventually(PATIENCE, || trace.said("attached") || trace.has_ended());
        assert!(is_settled, "strace neither attaches nor ends: {}", trace.stderr());
        if trace.has_ended() { Err(trace.stderr().trim().to_owned()) } else { Ok(trace) }
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.scratch.path().join("stderr")).expect("the output")
    }

    fn said(&self, word: &str) -> bool {
        self.stderr().contains(word)
    }

    fn has_ended(&mut self) -> bool {
        self.strace.try_wait().expect("wait").is_some()
    }

    /// Detaches, and tells how often the worker has made which call, and that the other threads made none, but for the one
    /// that keeps the root.
    #[track_caller]
    fn finish(mut self) -> Calls {
        rustix::process::kill_process(Pid::from_child(&self.strace), Signal::INT).expect("a signal");
        assert!(eventually(PATIENCE, || self.has_ended()), "strace does not end");
        let mut calls = Calls::new();
        for entry in fs::read_dir(self.scratch.path()).expect("the directory") {
            let path: PathBuf = entry.expect("an entry").path();
            let Some(thread) = path.extension().map(|id| id.to_string_lossy().into_owned()) else { continue };
            let text = fs::read_to_string(&path).expect("the calls");
            if thread == self.worker {
                for name in text.lines().filter_map(call_name) {
                    *calls.entry(name.to_owned()).or_default() += 1;
                }
            } else if thread != self.keeper {
                assert!(text.lines().count() <= 1, "a thread did more than wait: {text}");
            }
        }
        calls
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// The name in `name(arguments) = result`. Signals and ends of threads have none.
fn call_name(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('(')?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some(name)
}

fn site() -> Tree {
    Tree::new(&[("small.html", &[b'x'; 1 << 10]), ("large.bin", &vec![b'y'; 100 << 10])])
}

/// A server with one worker that does not look at its files again while calls are counted.
fn start(tree: &Tree) -> Server {
    Server::start(&["-t", "1", "--cache-check", "1h"], tree.root())
}

/// The calls that the worker makes in [`ROUNDS`] rounds, after some that are not counted.
fn count(server: &Server, mut round: impl FnMut()) -> Result<Calls, String> {
    (0..WARM_UP_ROUNDS).for_each(|_| round());
    let trace = Trace::attach(server)?;
    (0..ROUNDS).for_each(|_| round());
    Ok(trace.finish())
}

/// Whether these are the calls, each once a round. The waits that strace breaks into, at the beginning and at the
/// end, may be seen or not.
#[track_caller]
fn assert_once_a_round(what: &str, calls: &Calls, expected: &[&str]) {
    let names: Vec<&str> = calls.keys().map(String::as_str).collect();
    assert_eq!(names, expected, "{what}: {calls:?}");
    for (name, count) in calls {
        let spare = if name == "epoll_wait" { 2 } else { 0 };
        assert!(count.abs_diff(ROUNDS) <= spare, "{what}: {calls:?} in {ROUNDS} rounds");
    }
}

/// One after the other, a request makes exactly the calls that it needs, and no others: nothing is registered,
/// set, opened or looked up again.
#[test]
fn a_request_makes_only_the_calls_it_needs() {
    let tree = site();
    let server = start(&tree);
    let mut client = server.connect();
    let tag = format!("If-None-Match: {}", client.get("/small.html").etag());
    let get = |target: &str, fields: &[&str]| request("GET", target, fields);
    let few: &[&str] = &["epoll_wait", "recvfrom", "sendto"];
    let by_kernel: &[&str] = &["epoll_wait", "fstat", "recvfrom", "sendfile", "sendto"];
    let copied: &[&str] = &["epoll_wait", "fstat", "preadv2", "recvfrom", "sendto"];
    let table = [
        ("1 KiB from memory", get("/small.html", &[]), few),
        ("304", get("/small.html", &[&tag]), few),
        ("range from memory", get("/small.html", &["Range: bytes=5-104"]), few),
        ("404", get("/nothing", &[]), few),
        ("small range of a large file", get("/large.bin", &["Range: bytes=5-1004"]), copied),
        ("range by sendfile", get("/large.bin", &["Range: bytes=5-40004"]), by_kernel),
        ("100 KiB by sendfile", get("/large.bin", &[]), by_kernel),
    ];
    for (what, request, expected) in table {
        match count(&server, || drop(client.exchange(&request))) {
            Ok(calls) => assert_once_a_round(what, &calls, expected),
            Err(reason) => return skip("syscalls::a_request_makes_only_the_calls_it_needs", &reason),
        }
    }
}

/// Small parts of a file cost what a small file does, once enough of them were asked for, if there is room.
#[test]
fn a_file_that_parts_are_asked_of_is_held_in_memory() {
    let tree = site();
    // A file that was modified a moment ago is not held.
    std::thread::sleep(Duration::from_millis(3_100));
    let few: &[&str] = &["epoll_wait", "recvfrom", "sendmsg"];
    let copied: &[&str] = &["epoll_wait", "fstat", "preadv2", "recvfrom", "sendto"];
    let part = request("GET", "/large.bin", &["Range: bytes=5-16004"]);
    for (memory, expected) in [("32m", few), ("64k", copied)] {
        let server = Server::start(&["-t", "1", "--cache-check", "1h", "--mem-cache", memory], tree.root());
        let mut client = server.connect();
        match count(&server, || drop(client.exchange(&part))) {
            Ok(calls) => assert_once_a_round(memory, &calls, expected),
            Err(reason) => {
                return skip("syscalls::a_file_that_parts_are_asked_of_is_held_in_memory", &reason);
            }
        }
        drop(client);
    }
}

#[test]
fn pipelined_requests_share_their_calls() {
    let tree = site();
    let server = start(&tree);
    let mut client = server.connect();
    let requests = request("GET", "/small.html", &[]).repeat(PIPELINED);
    let round = || {
        client.send(&requests);
        (0..PIPELINED).for_each(|_| drop(client.response()));
    };
    match count(&server, round) {
        Ok(calls) => assert_once_a_round("pipelined", &calls, &["epoll_wait", "recvfrom", "sendto"]),
        Err(reason) => skip("syscalls::pipelined_requests_share_their_calls", &reason),
    }
}

/// With listeners of its own, a worker does all that a short connection takes, and never registers it. An accept
/// that finds nothing, and a wait, are left out where the next connection is there already.
#[test]
fn a_short_connection_costs_a_sharded_worker_only_the_calls_it_needs() {
    let tree = site();
    let flags = ["-t", "1", "--cache-check", "1h", "--accept", "sharded"];
    let server = Server::start(&flags, tree.root());
    let request = request("GET", "/small.html", &["Connection: close"]);
    let round = || {
        let mut client = server.connect();
        drop(client.exchange(&request));
        client.expect_closed();
    };
    match count(&server, round) {
        Ok(mut calls) => {
            let looks = calls.remove("accept4").unwrap_or(0);
            let waits = calls.remove("epoll_wait").unwrap_or(0);
            assert!(looks <= 2 * ROUNDS + 1 && waits <= ROUNDS + 2, "{looks} looks, {waits} waits");
            // Before it closes a descriptor, the standard library of a debug build looks whether it is open.
            if cfg!(debug_assertions) {
                calls.remove("fcntl");
            }
            assert_once_a_round("a short connection", &calls, &["close", "recvfrom", "sendto"]);
        }
        Err(reason) => {
            skip("syscalls::a_short_connection_costs_a_sharded_worker_only_the_calls_it_needs", &reason);
        }
    }
}

/// Connections that have something to say at the same time share the wait for it.
#[test]
fn concurrent_requests_share_the_wait() {
    let _timed = timed();
    let tree = site();
    let server = start(&tree);
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| server.connect()).collect();
    let small = request("GET", "/small.html", &[]);
    let round = || {
        clients.iter_mut().for_each(|client| client.send(&small));
        clients.iter_mut().for_each(|client| drop(client.response()));
    };
    let calls = match count(&server, round) {
        Ok(calls) => calls,
        Err(reason) => return skip("syscalls::concurrent_requests_share_the_wait", &reason),
    };
    let requests = ROUNDS * CONNECTIONS;
    let total: usize = calls.values().sum();
    note(&format!("system calls of {requests} requests on {CONNECTIONS} connections: {calls:?}"));
    assert_eq!((calls["recvfrom"], calls["sendto"], calls.len()), (requests, requests, 3), "{calls:?}");
    assert!(total * 10 <= requests * 23, "more than 2.3 calls a request: {calls:?}");
}
