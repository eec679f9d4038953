//! Nothing is allocated for a request once a worker is warm: counted, on a real worker over a real socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use oneloop_worker::cold::Helpers;
use oneloop_worker::log_writer::{self, Destination, Opened};
use oneloop_worker::{
    Accepted, Control, Deadlines, Entrance, FieldPolicy, FirstStep, Memory, Peer, Phase, Plan, Rates,
    Redirect, Room, Routes, Settings, SiteSettings, Symlinks, VirtualHosts, open_roots, spawn,
};
use protocol::cors::Origins;
use protocol::rule::{Action, Rule};

/// Counts what every thread allocates but those that say that they are not to be counted.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(true) };
}

fn count() {
    if IS_COUNTED.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on to the system's allocator as it is.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SMALL: usize = 1_000;
const LARGE: usize = 300_000;
/// Short enough to be held in memory once parts of it were asked for often enough.
const HELD: usize = 60_000;

fn settings(root: &Path) -> Settings {
    Settings {
        limits: protocol::Limits::default(),
        deadlines: Deadlines::default(),
        rates: Rates::default(),
        memory: Memory::default(),
        connections_max: 100,
        handoff_capacity: 16,
        backlog: 16,
        processor: None,
        spin_us: 0,
        first: FirstStep::default(),
        gate: None,
        site: SiteSettings {
            root: root.to_owned(),
            vhosts: VirtualHosts::default(),
            keep_release_ms: 0,
            plan: Plan { index: vec!["index.html".to_owned()], ..Plan::default() }.into(),
            spa: None,
            error_pages: Vec::new(),
            hidden: false,
            symlinks: Symlinks::Inside,
            open_files_max: 100,
            memory_bytes_max: 1 << 20,
            lent_bytes_max: 128 << 20,
            // Entries are not checked again while requests are counted; a check may open and read a file.
            check_interval_ms: 3_600_000,
        },
    }
}

/// Sends a request and reads its response, of which the length is known.
fn exchange(client: &mut UnixStream, request: &[u8], response: &mut [u8]) {
    client.write_all(request).unwrap();
    client.read_exact(response).unwrap();
    assert!(response.starts_with(b"HTTP/1.1 "));
}

/// How long the response to a request is: all that comes until nothing comes any more.
fn response_bytes(client: &mut UnixStream, request: &[u8]) -> usize {
    client.write_all(request).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    while let Ok(bytes) = client.read(&mut buffer) {
        assert!(bytes > 0, "the connection was closed");
        total += bytes;
    }
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    total
}

fn get(path: &str, fields: &str) -> String {
    format!("GET /{path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn a_warm_worker_allocates_nothing_for_a_request() {
    IS_COUNTED.set(false);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("small.html"), vec![b'x'; SMALL]).unwrap();
    std::fs::write(directory.path().join("large.bin"), vec![b'y'; LARGE]).unwrap();
    // A file that was modified a moment ago is not held.
    std::fs::write(directory.path().join("held.bin"), vec![b'z'; HELD]).unwrap();
    std::thread::sleep(Duration::from_millis(3_100));
    std::fs::create_dir(directory.path().join("directory")).unwrap();
    let plain = settings(directory.path());
    let table = [
        ("small file", get("small.html", "User-Agent: test\r\n")),
        ("file by sendfile", get("large.bin", "")),
        ("304", get("small.html", "If-None-Match: *\r\n")),
        ("range from memory", get("small.html", "Range: bytes=10-99\r\n")),
        ("range by sendfile", get("large.bin", "Range: bytes=1000-1999\r\n")),
        ("range of a file that is held", get("held.bin", "Range: bytes=1000-1999\r\n")),
        ("404", get("nothing", "")),
        ("redirect", get("directory", "")),
        ("path that has to be decoded", get("%73mall.html?x", "")),
        ("pipeline", get("small.html", "").repeat(16)),
        ("content", format!("{}{}", get("small.html", "Content-Length: 5\r\n"), "xxxxx")),
    ];
    expect_no_allocation(plain.clone(), directory.path(), &table);
    let ruled = Settings { site: SiteSettings { plan: rules().into(), ..plain.site.clone() }, ..plain };
    let table = [
        ("file beside rules", get("small.html", "")),
        ("rewrite", get("old/small.html", "")),
        ("rewrite to a file by sendfile", get("old/large.bin", "")),
        ("redirect by a rule", get("gone/a/b?c", "")),
        ("file for a script of another site", get("small.html", "Origin: https://a.example\r\n")),
        ("404 for a script of another site", get("nothing", "Origin: https://a.example\r\n")),
    ];
    expect_no_allocation(ruled, directory.path(), &table);
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "the counter counts");
}

fn rules() -> Plan {
    let rule = |action, from, to| Rule::new(action, from, to).unwrap();
    let redirect = rule(Action::Redirect, "/gone/*", "/else/$1");
    Plan {
        routes: Routes {
            redirects: vec![Redirect { status: protocol::Status::Found, rule: redirect }],
            rewrites: vec![rule(Action::Rewrite, "/old/*", "/$1")],
        },
        fields: FieldPolicy {
            sharing: Some(Origins::These(vec!["https://a.example".parse().unwrap()])),
            ..FieldPolicy::default()
        },
        ..Plan::default()
    }
}

/// Starts a worker with these settings, and asks it for each of these until it is warm, and then counts.
fn expect_no_allocation(settings: Settings, directory: &Path, table: &[(&str, String)]) {
    let control = Arc::new(Control::default());
    let log = directory.join("access.log");
    let (writer, mut producers) = {
        let opened = Opened::new(Destination::File(log)).unwrap();
        log_writer::start(opened, 1, &FirstStep::default()).unwrap()
    };
    let helpers = Helpers::start(1, &FirstStep::default()).unwrap();
    let releases = open_roots(&settings.site).unwrap();
    let entrance = Entrance { room: Arc::new(Room::new(1)), queues: Vec::new() };
    let (handle, mut sender) =
        spawn(0, settings, releases, entrance, Arc::clone(&control), producers.pop(), Some(helpers)).unwrap();
    let (mut client, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    assert!(sender.send(Accepted { stream: theirs.into(), peer: Peer::Unix }).is_ok());
    sender.wake().unwrap();
    for (what, request) in table {
        let bytes = response_bytes(&mut client, request.as_bytes());
        let mut response = vec![0; bytes];
        for _ in 0..100 {
            exchange(&mut client, request.as_bytes(), &mut response);
        }
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..1_000 {
            exchange(&mut client, request.as_bytes(), &mut response);
        }
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert_eq!(allocations, 0, "{what}");
    }
    control.enter(Phase::Draining);
    handle.wake().unwrap();
    assert!(handle.join().is_ok());
    assert!(writer.finish(Duration::from_secs(5)));
}
