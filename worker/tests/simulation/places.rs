//! Where the files of the simulation lie, and who opens them.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use oneloop_worker::clock::Clock;
use oneloop_worker::cold::{Helpers, Inbox};
use oneloop_worker::connection::Connection;
use oneloop_worker::context::Context;
use oneloop_worker::errands::{Done, Errands};
use oneloop_worker::site::Site;
use oneloop_worker::site::resolve::{Patience, Root};
use oneloop_worker::slab::{ConnectionId, Slab};
use oneloop_worker::{
    Counters, Deadlines, FirstStep, Memory, Plan, Rates, Settings, SiteSettings, Symlinks, VirtualHosts,
};
use tempfile::TempDir;

use super::client::{self, FILES};
use super::wire::Simulated;

/// Two directories with the same files. What lies on another file system than the root, a loop thread does not
/// open itself: every file of the cold place has to be opened by a helper, until it is in the cache.
#[derive(Debug)]
pub struct Places {
    pub plain: TempDir,
    /// None where there is no second file system.
    pub cold: Option<TempDir>,
    /// What leads from the root above the cold place to the place.
    pub cold_prefix: String,
}

impl Places {
    pub fn new() -> Self {
        remove_leftovers();
        let prefix = format!("{COLD_PREFIX}{}-", std::process::id());
        let cold = tempfile::Builder::new().prefix(&prefix).tempdir_in("/dev/shm").ok();
        let name =
            cold.as_ref().map(|place| place.path().file_name().unwrap().to_string_lossy().into_owned());
        Self {
            plain: tempfile::tempdir().unwrap(),
            cold,
            cold_prefix: name.map_or(String::new(), |name| format!("/shm/{name}")),
        }
    }
}

/// What the names of cold places begin with; the number of the process that made it follows.
const COLD_PREFIX: &str = "oneloop-simulation-";

/// A process that is killed, or that a fuzzer ends, removes nothing.
fn remove_leftovers() {
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix(COLD_PREFIX).and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|maker| !Path::new("/proc").join(maker).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Writes the files that are not as they were: a life before may have cut, replaced or removed some. Each other version
/// that a life makes has another length.
pub fn restore(directory: &Path) {
    for (name, length) in FILES {
        let path = directory.join(name);
        if fs::metadata(&path).map_or(true, |metadata| metadata.len() != length as u64) {
            fs::write(&path, client::content_of(name)).unwrap();
        }
    }
}

impl Default for Places {
    fn default() -> Self {
        Self::new()
    }
}

/// What a connection needs that serves a directory. Where files are cold, helpers open them. Elsewhere the connection opens them itself, so that it does not depend on
/// the page cache what happens.
pub fn context(
    directory: &Path,
    is_cold: bool,
    deadlines: Deadlines,
    rates: Rates,
    memory: Memory,
) -> Context {
    let patience = if is_cold { Patience::Never } else { Patience::MayWait };
    let site = SiteSettings {
        root: directory.to_owned(),
        vhosts: VirtualHosts::default(),
        keep_release_ms: 0,
        plan: Plan { index: vec!["index.html".to_owned()], ..Plan::default() }.into(),
        spa: None,
        error_pages: Vec::new(),
        hidden: false,
        symlinks: Symlinks::Inside,
        open_files_max: 16,
        memory_bytes_max: 1 << 20,
        lent_bytes_max: 128 << 20,
        check_interval_ms: 1_000,
    };
    let settings = Settings {
        limits: protocol::Limits::default(),
        deadlines,
        rates,
        memory,
        connections_max: 1,
        handoff_capacity: 1,
        backlog: 1,
        processor: None,
        spin_us: 0,
        first: FirstStep::default(),
        gate: None,
        site: site.clone(),
    };
    let releases = Root::open(directory, Symlinks::Inside).unwrap().into();
    let mut cx = Context::new(
        &settings,
        Site::new(site, &releases, patience),
        Arc::new(Counters::default()),
        None,
        Clock::fixed(0, 1_800_000_000),
    );
    cx.errands = is_cold.then(errands);
    cx
}

/// The errands of one life; the helper is that of all.
fn errands() -> Errands {
    static HELPERS: OnceLock<(Arc<Helpers>, Arc<mio::Waker>, mio::Poll)> = OnceLock::new();
    let (helpers, waker, _) = HELPERS.get_or_init(|| {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        (Helpers::start(1, &FirstStep::default()).unwrap(), waker, poll)
    });
    Errands::new(Arc::clone(helpers), Inbox::new(Arc::clone(waker)))
}

/// What the helper has done that a connection waits for.
pub fn what_is_done(errands: &mut Errands, connection: &Connection<Simulated>) -> Done {
    loop {
        match errands.pop() {
            Some(done) if connection.waits_for(done.errand) => return done,
            Some(_) => {}
            None => std::thread::yield_now(),
        }
    }
}

/// Ids for the connection and for others that want the same, though none of them is in a slab.
pub fn ids() -> [ConnectionId; 2] {
    let mut slab = Slab::with_limit(2);
    [(); 2].map(|()| slab.insert(()).unwrap())
}
