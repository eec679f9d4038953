//! A file system that takes its time: FUSE, served by the tests themselves, with a delay before each answer.
//!
//! It knows which thread asked for what, so a test need not guess from a stopwatch whether a loop has waited.

// Said in full because another test binary includes this file, too.
#[path = "slow_fs/files.rs"]
mod files;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{BackgroundSession, Config, Errno, MountOption, Request, SessionACL};
use rustix::mount::{UnmountFlags, unmount};

use super::schedule::skip;
use super::tree::{Tree, pattern};
use files::Files;

/// Files of either kind.
const FILES: u64 = 8_192;
/// Length of `large-N.bin`.
pub(crate) const LARGE_BYTES: usize = 1 << 20;
/// Length of `small-N.bin`.
pub(crate) const SMALL_BYTES: usize = 1_000;
/// Length of `huge-N.bin`.
pub(crate) const HUGE_BYTES: usize = 16 << 20;

/// Kinds of files: what the name begins with, and the length.
const KINDS: [(&str, usize); 3] = [("large", LARGE_BYTES), ("small", SMALL_BYTES), ("huge", HUGE_BYTES)];

/// How long each answer takes, and how long the kernel may remember what it was told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delays {
    /// Finding a name.
    pub(crate) lookup: Duration,
    /// Telling the attributes.
    pub(crate) attributes: Duration,
    /// Opening a file.
    pub(crate) open: Duration,
    /// Reading a piece of it, at most 128 KiB.
    pub(crate) read: Duration,
    /// Telling what is in the directory.
    pub(crate) directory: Duration,
    /// What close(2) waits for.
    pub(crate) flush: Duration,
    /// How long names and attributes are believed.
    pub(crate) validity: Duration,
}

impl Delays {
    /// Opening and reading take this long, the rest no time.
    pub(crate) fn of(delay: Duration) -> Self {
        Self { open: delay, read: delay, validity: Duration::from_secs(1), ..Self::default() }
    }

    /// Everything takes this long, and nothing is believed for any time.
    pub(crate) fn everywhere(delay: Duration) -> Self {
        let (lookup, attributes, directory, flush) = (delay, delay, delay, delay);
        Self { lookup, attributes, directory, flush, validity: Duration::ZERO, ..Self::of(delay) }
    }
}

/// Requests by kind and by the name of the thread that made them.
pub(crate) type Asked = BTreeMap<(&'static str, String), u64>;

#[derive(Debug, Default)]
struct State {
    delays: Delays,
    asked: Asked,
    /// Answers that are still to come.
    pending: usize,
    /// Files that are open.
    open_files: usize,
    /// By file: how often it was changed.
    generations: BTreeMap<u64, u8>,
    /// Nothing takes any time any more.
    is_hurried: bool,
    /// Nothing can be read any more.
    is_broken: bool,
    /// Why nothing can be opened.
    open_error: Option<Errno>,
    /// What is in `image`.
    image: Option<Arc<File>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    hurried: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes who asked, and answers in time without keeping others waiting.
    fn answer(
        self: &Arc<Self>,
        kind: &'static str,
        request: &Request,
        delay: impl FnOnce(&Delays) -> Duration,
        answer: impl FnOnce() + Send + 'static,
    ) {
        let name = fs::read_to_string(format!("/proc/{}/comm", request.pid())).unwrap_or_default();
        let mut state = self.state();
        *state.asked.entry((kind, name.trim().to_owned())).or_default() += 1;
        let delay = delay(&state.delays);
        if delay.is_zero() || state.is_hurried {
            drop(state);
            return answer();
        }
        state.pending += 1;
        drop(state);
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            let state = shared.state();
            let waited = shared.hurried.wait_timeout_while(state, delay, |state| !state.is_hurried);
            waited.unwrap_or_else(PoisonError::into_inner).0.pending -= 1;
            answer();
        });
    }
}

/// A mounted file system. It has `large-N.bin`, `small-N.bin` and `huge-N.bin` for any small number N, and tells of the
/// first of each when it is read.
pub(crate) struct SlowFs {
    at: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl SlowFs {
    /// Mounts it on the directory `at`, which is made.
    ///
    /// # Errors
    /// Where nothing may be mounted.
    pub(crate) fn mount(at: &Path, delays: Delays) -> io::Result<Self> {
        fs::create_dir_all(at)?;
        let shared = Arc::new(Shared::default());
        shared.state().delays = delays;
        let mut config = Config::default();
        config.acl = SessionACL::All;
        config.mount_options = vec![MountOption::FSName("slow".into()), MountOption::RO];
        let session = fuser::spawn_mount(Files(Arc::clone(&shared)), at, &config)?;
        Ok(Self { at: at.to_owned(), shared, session: Some(session) })
    }

    /// Changes the delays from now on.
    pub(crate) fn delay(&self, delays: Delays) {
        self.shared.state().delays = delays;
    }

    /// Lets `image` have the content of another file.
    pub(crate) fn put_image(&self, file: File) {
        self.shared.state().image = Some(Arc::new(file));
    }

    /// Answers everything at once, what is being asked already included.
    pub(crate) fn hurry(&self) {
        self.shared.state().is_hurried = true;
        self.shared.hurried.notify_all();
    }

    /// Lets all reading fail from now on.
    pub(crate) fn break_down(&self) {
        self.shared.state().is_broken = true;
    }

    /// Lets all opening fail from now on with an error of the system, or nothing any more.
    #[allow(dead_code, reason = "only the abuse needs it")]
    pub(crate) fn fail_to_open(&self, error: Option<rustix::io::Errno>) {
        self.shared.state().open_error = error.map(|error| Errno::from_i32(error.raw_os_error()));
    }

    /// Who has asked for what since the last time.
    pub(crate) fn take_asked(&self) -> Asked {
        std::mem::take(&mut self.shared.state().asked)
    }

    /// Requests that are being answered.
    pub(crate) fn pending(&self) -> usize {
        self.shared.state().pending
    }

    /// Files that are open.
    pub(crate) fn open_files(&self) -> usize {
        self.shared.state().open_files
    }

    /// Changes content and modification time of a file behind the kernel's back.
    pub(crate) fn change(&self, name: &str) {
        let inode = inode_of(name).expect("a file");
        *self.shared.state().generations.entry(inode).or_default() += 1;
    }

    /// What a file contains now.
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let inode = inode_of(name).expect("a file");
        content(inode, self.generation(inode), 0, length_of(inode))
    }

    fn generation(&self, inode: u64) -> u8 {
        self.shared.state().generations.get(&inode).copied().unwrap_or(0)
    }
}

impl Drop for SlowFs {
    /// Whoever still waits gets an answer, and the mount goes even while files in it are open.
    fn drop(&mut self) {
        self.hurry();
        let unmounted = unmount(&self.at, UnmountFlags::DETACH);
        drop(self.session.take());
        if let Err(error) = unmounted {
            eprintln!("{} is still mounted: {error}", self.at.display());
        }
    }
}

/// A tree with small local files and a slow file system in `cold/`.
pub(crate) fn tree_with_cold(test: &str, delays: Delays) -> Option<(Tree, SlowFs)> {
    let tree = Tree::new(&[("warm.txt", b"warm"), ("warm.bin", &pattern(200_000))]);
    let fs = mount(test, &tree, "cold", delays)?;
    Some((tree, fs))
}

/// Mounts a slow file system in a tree, or says that it cannot be done.
pub(crate) fn mount(test: &str, tree: &Tree, name: &str, delays: Delays) -> Option<SlowFs> {
    SlowFs::mount(&tree.path(name), delays)
        .inspect_err(|error| skip(test, &format!("cannot mount FUSE: {error}")))
        .ok()
}

/// Nobody on a loop has asked the slow file system for anything.
#[track_caller]
pub(crate) fn expect_loops_never_asked(fs: &SlowFs) {
    let asked = fs.take_asked();
    assert!(!asked.is_empty(), "nobody asked for anything");
    let waited: Vec<_> = asked.iter().filter(|((_, thread), _)| thread.starts_with("worker")).collect();
    assert!(waited.is_empty(), "a loop waited for the disk: {waited:?}");
}

/// The inode of `image`.
const IMAGE: u64 = 2 + KINDS.len() as u64 * FILES;

fn inode_of(name: &str) -> Option<u64> {
    if name == "image" {
        return Some(IMAGE);
    }
    let (kind, number) = name.strip_suffix(".bin")?.split_once('-')?;
    let kind = KINDS.iter().position(|(prefix, _)| *prefix == kind)? as u64;
    let number: u64 = number.parse().ok().filter(|number| *number < FILES)?;
    Some(2 + kind * FILES + number)
}

fn length_of(inode: u64) -> usize {
    usize::try_from((inode - 2) / FILES).map_or(0, |kind| KINDS[kind].1)
}

/// A part of a file: every eight bytes are told from those of any other place, file and generation.
fn content(inode: u64, generation: u8, offset: usize, length: usize) -> Vec<u8> {
    let seed = (inode << 40) ^ (u64::from(generation) << 32);
    let end = (offset + length).min(length_of(inode));
    let mut bytes = Vec::with_capacity(length + 16);
    for word in offset / 8..end.div_ceil(8) {
        let word = (seed ^ (word as u64 + 1)).wrapping_mul(GOLDEN);
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes.drain(..(offset % 8).min(bytes.len()));
    bytes.truncate(end.saturating_sub(offset));
    bytes
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
