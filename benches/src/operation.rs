//! The operations that are measured, each made once and then repeated.
//!
//! Those on a connection run the whole way of a request, from the bytes received to the bytes sent, but for the
//! poll. Each is checked while it is made: it answers what it is meant to answer.

use std::fs::{self, File};
use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use protocol::http1::head::FieldLines;
use protocol::validator::EntityTag;
use protocol::{Http1, Limits};
use worker::clock::Clock;
use worker::close::CloseReason;
use worker::cold::{Helpers, Inbox};
use worker::connection::{Connection, Fate};
use worker::context::Context;
use worker::errands::Errands;
use worker::site::Site;
use worker::site::resolve::{Patience, Root};
use worker::wheel::{TICK_MS, Wheel};
use worker::{
    Accepted, Counters, Deadlines, FirstStep, Peer, Plan, Settings, SiteSettings, Symlinks, VirtualHosts,
    handoff,
};

use crate::heads;
use crate::link::Link;

/// One run of an operation.
pub type Run = Box<dyn FnMut()>;

/// An operation, and how it is made.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// What it is called in tables and on command lines.
    pub name: &'static str,
    /// Makes it.
    pub make: fn() -> Run,
}

/// All of them.
pub const ALL: [Operation; 17] = [
    operation("parse-minimal", || parse(heads::minimal("/1k.html", ""))),
    operation("parse-browser", || parse(heads::browser("/1k.html"))),
    operation("hit-1k", || exchange(heads::minimal("/1k.html", ""), 200, 1_024)),
    operation("hit-1k-browser", || exchange(heads::browser("/1k.html"), 200, 1_024)),
    operation("fresh-1k", || fresh_heads(&heads::minimal("/1k.html", ""), 200, 1_024)),
    operation("fresh-1k-browser", || fresh_heads(&heads::browser("/1k.html"), 200, 1_024)),
    operation("hit-10k", || exchange(heads::minimal("/10k.html", ""), 200, 10 << 10)),
    operation("hit-decoded", || exchange(heads::minimal("/%31k.html", ""), 200, 1_024)),
    operation("sendfile-100k", || exchange(heads::minimal("/100k.bin", ""), 200, 100 << 10)),
    operation("range-of-100k", || {
        exchange(heads::minimal("/100k.bin", "Range: bytes=50000-50999\r\n"), 206, 1_000)
    }),
    operation("not-modified", not_modified),
    operation("not-found", || exchange(heads::minimal(&format!("/{MISSING}"), ""), 404, 0)),
    operation("pipelined-16", || exchange(heads::minimal("/1k.html", "").repeat(16), 200, 16 * 1_024)),
    operation("short-connection", short_connection),
    operation("timer-rearm", timer_rearm),
    operation("timer-expiry", timer_expiry),
    operation("hand-off", hand_off),
];

const fn operation(name: &'static str, make: fn() -> Run) -> Operation {
    Operation { name, make }
}

/// The operation of that name.
#[must_use]
pub fn find(name: &str) -> Option<Operation> {
    ALL.into_iter().find(|operation| operation.name == name)
}

/// The files that are asked for, with their sizes.
const FILES: [(&str, usize); 3] = [("1k.html", 1 << 10), ("10k.html", 10 << 10), ("100k.bin", 100 << 10)];
/// A file that is not there.
const MISSING: &str = "nothing";
/// When they were last modified.
const MODIFIED_S: u32 = 1_700_000_000;
/// The time it is, always.
const NOW_S: i64 = 1_800_000_000;
/// Room for a response's head.
const HEAD_BYTES_MAX: u64 = 400;

/// What connections share, for a site of [`FILES`].
fn context(root: &Path) -> Context {
    for (name, bytes) in FILES {
        let path = root.join(name);
        fs::write(&path, vec![b'x'; bytes]).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(MODIFIED_S.into());
        File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    }
    // Once somebody has looked, the kernel knows that there is no such file.
    assert!(fs::metadata(root.join(MISSING)).is_err());
    let site = SiteSettings {
        root: root.to_owned(),
        vhosts: VirtualHosts::default(),
        keep_release_ms: 0,
        plan: Plan { index: vec!["index.html".to_owned()], ..Plan::default() }.into(),
        spa: None,
        error_pages: Vec::new(),
        hidden: false,
        symlinks: Symlinks::Inside,
        open_files_max: 4096,
        memory_bytes_max: 32 << 20,
        lent_bytes_max: 128 << 20,
        check_interval_ms: 1_000,
    };
    let settings = Settings {
        limits: Limits::default(),
        deadlines: Deadlines::default(),
        rates: worker::Rates::default(),
        memory: worker::Memory::default(),
        connections_max: 1,
        handoff_capacity: 1,
        backlog: 1,
        processor: None,
        spin_us: 0,
        first: FirstStep::default(),
        gate: None,
        site: site.clone(),
    };
    let releases = Root::open(root, Symlinks::Inside).unwrap().into();
    let mut cx = Context::new(
        &settings,
        Site::new(site, &releases, Patience::Never),
        Arc::new(Counters::default()),
        None,
        Clock::fixed(0, NOW_S),
    );
    // As in a server, the loop never waits for a disk; but then, all the files are in memory.
    cx.errands = Some(Errands::new(Helpers::start(0, &FirstStep::default()).unwrap(), Inbox::new(waker())));
    cx
}

/// Nobody will ever sleep on this.
fn waker() -> Arc<mio::Waker> {
    let poll = mio::Poll::new().unwrap();
    Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap())
}

/// A head that comes whole, on a fresh machine.
fn parse(input: Vec<u8>) -> Run {
    let limits = Limits::default();
    Box::new(move || {
        let mut http = Http1::new();
        let mut lines = FieldLines::new();
        let received = http.receive_head(black_box(&input), &mut lines, &limits);
        assert!(matches!(black_box(&received), Ok(Some((_, bytes))) if *bytes == input.len()));
    })
}

/// A persistent connection on which `request`, sent again and again, is answered with `status` and so much content.
fn exchange(request: Vec<u8>, status: u16, content_bytes: u64) -> Run {
    exchanges(vec![request], status, content_bytes)
}

/// More heads than are sent while instructions are counted.
const FRESH_HEADS: usize = 256;

/// The same where no head is one that was sent before, though as long, and different only near its end.
fn fresh_heads(request: &[u8], status: u16, content_bytes: u64) -> Run {
    exchanges((0..FRESH_HEADS).map(|number| heads::varied(request, number)).collect(), status, content_bytes)
}

fn exchanges(requests: Vec<Vec<u8>>, status: u16, content_bytes: u64) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let mut cx = context(directory.path());
    let link = Link::lasting(requests);
    let mut connection = Connection::new(link, Peer::Unix, &cx);
    checked(link, status, content_bytes, move || {
        let _kept = &directory;
        link.deliver();
        connection.readable(false);
        assert_eq!(connection.advance(&mut cx), Fate::Wait);
    })
}

/// A connection from its adoption to its end, with one request.
fn short_connection() -> Run {
    let directory = tempfile::tempdir().unwrap();
    let mut cx = context(directory.path());
    let link = Link::lasting(vec![heads::minimal("/1k.html", "Connection: close\r\n")]);
    checked(link, 200, 1_024, move || {
        let _kept = &directory;
        link.deliver();
        let mut connection = Connection::new(link, Peer::Unix, &cx);
        assert_eq!(connection.advance(&mut cx), Fate::Close(CloseReason::Finished));
        connection.end(&mut cx);
    })
}

fn not_modified() -> Run {
    let tag = EntityTag::from_modification(MODIFIED_S.into(), 0, 1_024);
    let field = format!("If-None-Match: {}\r\n", String::from_utf8_lossy(tag.as_bytes()));
    exchange(heads::minimal("/1k.html", &field), 304, 0)
}

/// Looks at the answers of the first runs, of which the second meets a warm cache.
fn checked(link: &Link, status: u16, content_bytes: u64, mut run: impl FnMut() + 'static) -> Run {
    let responses = (content_bytes / 1_024).clamp(1, 16);
    for _ in 0..2 {
        run();
        let head_bytes = link.taken_bytes().checked_sub(content_bytes).unwrap();
        assert_eq!(link.status(), Some(status));
        assert!((100..HEAD_BYTES_MAX * responses).contains(&head_bytes), "{head_bytes} bytes of heads");
    }
    Box::new(run)
}

/// Moves a deadline of one among many later, as each request does.
fn timer_rearm() -> Run {
    let (mut wheel, mut now_ms, mut index) = (full_wheel(), 0, 0);
    Box::new(move || {
        now_ms += 1;
        index = (index + 7) % TIMERS;
        wheel.arm(index, now_ms + KEEP_ALIVE_MS);
        black_box(&mut wheel);
    })
}

/// Sets a deadline and meets it.
fn timer_expiry() -> Run {
    let (mut wheel, mut now_ms) = (Wheel::new(0, 1), 0);
    Box::new(move || {
        wheel.arm(0, now_ms + 1);
        now_ms += TICK_MS;
        assert_eq!(wheel.pop_expired(now_ms), Some(0));
    })
}

/// Timers of which one after another is moved.
const TIMERS: u32 = 1_000;
const KEEP_ALIVE_MS: u64 = 15_000;

fn full_wheel() -> Wheel {
    let mut wheel = Wheel::new(0, TIMERS as usize);
    for index in 0..TIMERS {
        wheel.arm(index, KEEP_ALIVE_MS);
    }
    wheel
}

/// A socket from acceptor to worker, and back by the hand of the benchmark.
fn hand_off() -> Run {
    let (mut sender, mut receiver) = handoff::channel(16, waker());
    let stream = OwnedFd::from(tempfile::tempfile().unwrap());
    let mut travelling = Some(Accepted { stream, peer: Peer::Unix });
    Box::new(move || {
        let Some(accepted) = travelling.take() else { return };
        assert!(sender.send(accepted).is_ok());
        sender.wake().unwrap();
        travelling = receiver.recv();
        assert!(travelling.is_some());
    })
}
