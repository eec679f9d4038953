//! Which trees are served: a thread for each opens it, watches it, and hands a new release to every worker.
//!
//! Opening a root may mean waiting for a disk or another machine, so it is done neither on a loop nor by the acceptor,
//! and once for all of them; each tree has a thread of its own, so that none waits for the disk of another. A root that
//! cannot be opened is handed to nobody: the old one is served on. A worker changes over between two of its turns. What
//! was begun on the old root ends on it, and the last who lets go of it closes it.
//!
//! The path of a root may be or hold a symbolic link, by which releases are switched; so it is looked at once a second
//! whether it leads to another directory than the one that is held.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;

use crate::settings::{SiteSettings, Symlinks};
use crate::site::release::{Release, Releases};
use crate::site::resolve::{Place, Root};
use crate::threads::{FirstStep, ThreadKind};
use crate::warming;

/// A root is looked at no more often than this.
const LOOK_MS_MIN: u64 = 250;
/// And no more seldom, however long files are believed: whoever switches a release waits for it.
const LOOK_MS_MAX: u64 = 1_000;
/// Releases that are kept behind the one that is served, however quickly they follow each other.
pub const KEPT_MAX: usize = 3;

/// Where a worker finds the releases that it is to serve from now on.
#[derive(Debug)]
pub struct Successor {
    /// For each tree room for one: of several that were not taken yet, only the last matters.
    next: Box<[ArrayQueue<Arc<Release>>]>,
    /// Whether there may be one, so that looking for it costs the same for any number of trees.
    has_next: AtomicBool,
    waker: Arc<mio::Waker>,
}

impl Successor {
    /// None yet, for the worker of `trees` trees that `waker` wakes.
    #[must_use]
    pub fn new(trees: usize, waker: Arc<mio::Waker>) -> Arc<Self> {
        let next = (0..trees).map(|_| ArrayQueue::new(1)).collect();
        Arc::new(Self { next, has_next: AtomicBool::new(false), waker })
    }

    /// The next release to change over to, and the number of its tree. One load if there is none.
    pub fn take(&self) -> Option<(usize, Arc<Release>)> {
        // Lowered before anything is looked for: what is given later raises it again.
        if !self.has_next.load(Ordering::Relaxed) || !self.has_next.swap(false, Ordering::Acquire) {
            return None;
        }
        let taken = self.next.iter().enumerate().find_map(|(number, next)| Some((number, next.pop()?)));
        if taken.is_some() {
            // There may be more.
            self.has_next.store(true, Ordering::Release);
        }
        taken
    }

    fn give(&self, number: usize, release: &Arc<Release>) {
        if let Some(next) = self.next.get(number) {
            drop(next.force_push(Arc::clone(release)));
        }
        self.has_next.store(true, Ordering::Release);
        // A worker that has ended needs no wake.
        let _ = self.waker.wake();
    }
}

/// The way to the threads that keep the roots.
#[derive(Debug)]
pub struct Keeper {
    threads: Vec<(Thread, Arc<AtomicBool>)>,
}

impl Keeper {
    /// Starts the threads, each with its `first` step, for workers that serve `releases`. They end with the process: one that is stuck in a dead
    /// file system must not keep the process from ending.
    ///
    /// # Errors
    /// When the kernel refuses a thread.
    pub fn start(
        settings: &SiteSettings,
        releases: &Releases,
        successors: &[Arc<Successor>],
        first: &FirstStep,
    ) -> io::Result<Self> {
        let interval = Duration::from_millis(settings.check_interval_ms.clamp(LOOK_MS_MIN, LOOK_MS_MAX));
        let mut threads = Vec::with_capacity(releases.count());
        for (number, (path, release)) in settings.roots().zip(releases.iter()).enumerate() {
            let is_asked = Arc::new(AtomicBool::new(false));
            let watch = Watch {
                number,
                path: path.clone(),
                symlinks: settings.symlinks,
                keep: Duration::from_millis(settings.keep_release_ms),
                root: Arc::clone(release.root()),
                kept: VecDeque::new(),
                successors: successors.to_vec(),
                is_asked: Arc::clone(&is_asked),
                has_complained: false,
            };
            let name = if number == 0 { "root".to_owned() } else { format!("root-{number}") };
            let first = first.clone();
            let thread = thread::Builder::new().name(name).spawn(move || {
                first.take(ThreadKind::Root);
                watch.run(interval);
            })?;
            threads.push((thread.thread().clone(), is_asked));
        }
        Ok(Self { threads })
    }

    /// Has every root opened anew, whatever it is. Returns at once; asking twice before it is done may be asking once.
    pub fn reload(&self) {
        for (thread, is_asked) in &self.threads {
            is_asked.store(true, Ordering::Release);
            thread.unpark();
        }
    }
}

/// What a thread knows.
struct Watch {
    /// That of the tree.
    number: usize,
    path: PathBuf,
    symlinks: Symlinks,
    /// How long a release is kept behind others.
    keep: Duration,
    /// The root that was handed over last.
    root: Arc<Root>,
    /// Those that it has taken the place of, the latest first, and since when.
    kept: VecDeque<(Arc<Root>, Instant)>,
    successors: Vec<Arc<Successor>>,
    is_asked: Arc<AtomicBool>,
    /// Whether it was said that the root cannot be opened, since it last could.
    has_complained: bool,
}

impl Watch {
    fn run(mut self, interval: Duration) {
        loop {
            self.look(Instant::now());
            thread::park_timeout(interval);
        }
    }

    /// Every reason to serve something else.
    fn look(&mut self, now: Instant) {
        let is_asked = self.is_asked.swap(false, Ordering::Acquire);
        if is_asked || self.leads_elsewhere() {
            match Root::open(&self.path, self.symlinks) {
                Ok(root) => self.change_over(root, now),
                Err(error) => self.complain(&error, is_asked),
            }
        }
        let before = self.kept.len();
        self.kept.retain(|(_, since)| now.duration_since(*since) < self.keep);
        if self.kept.len() < before {
            self.hand_over();
        }
    }

    /// Whether the path leads to another directory than the one that is held, or to nothing.
    fn leads_elsewhere(&mut self) -> bool {
        let is_same = Place::of(&self.path).is_ok_and(|place| place == *self.root.place());
        self.has_complained &= !is_same;
        !is_same
    }

    fn change_over(&mut self, root: Root, now: Instant) {
        self.has_complained = false;
        if root.place() != self.root.place() {
            warming::warm(&root);
            // One that is served again is no longer a former one.
            self.kept.retain(|(kept, _)| kept.place() != root.place());
            self.kept.push_front((Arc::clone(&self.root), now));
            self.kept.truncate(KEPT_MAX);
            tracing::info!(root = ?self.path, release = ?root.path(), "another release is served");
        }
        self.root = Arc::new(root);
        self.kept.retain(|_| !self.keep.is_zero());
        self.hand_over();
    }

    /// Once for each time that it begins, but to somebody who asked always.
    fn complain(&mut self, error: &io::Error, is_asked: bool) {
        if is_asked || !self.has_complained {
            tracing::error!(root = ?self.path, %error, "cannot open the root anew; the old one is served on");
        }
        self.has_complained = true;
    }

    fn hand_over(&self) {
        let release = Release::after(&self.root, self.kept.iter().map(|(root, _)| root));
        for successor in &self.successors {
            successor.give(self.number, &release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    const KEEP: Duration = Duration::from_secs(60);

    /// A watch over the link `root` in a directory, which leads to `1`, and the successors of two workers.
    fn watch() -> (tempfile::TempDir, Watch, [Arc<Successor>; 2], mio::Poll) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root");
        for number in 1..=9 {
            fs::create_dir(directory.path().join(number.to_string())).unwrap();
        }
        symlink("1", &path).unwrap();
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let successors = [(); 2].map(|()| Successor::new(1, Arc::clone(&waker)));
        let watch = Watch {
            number: 0,
            root: Arc::new(Root::open(&path, Symlinks::Inside).unwrap()),
            path,
            symlinks: Symlinks::Inside,
            keep: KEEP,
            kept: VecDeque::new(),
            successors: successors.to_vec(),
            is_asked: Arc::new(AtomicBool::new(false)),
            has_complained: false,
        };
        (directory, watch, successors, poll)
    }

    fn switch(directory: &Path, name: &str) {
        symlink(name, directory.join("next")).unwrap();
        fs::rename(directory.join("next"), directory.join("root")).unwrap();
    }

    /// The names of the releases that a worker finds, the one that is served first.
    fn taken(successor: &Successor) -> Option<Vec<String>> {
        let (_, release) = successor.take()?;
        let releases = std::iter::successors(Some(&release), |release| release.previous());
        let name = |release: &Arc<Release>| release.root().path().file_name().unwrap().display().to_string();
        Some(releases.map(name).collect())
    }

    #[test]
    fn every_worker_gets_the_last_root_once() {
        let (_directory, mut watch, successors, mut poll) = watch();
        watch.look(Instant::now());
        assert!(successors.iter().all(|successor| successor.take().is_none()), "nobody asked for another");
        let old = Arc::downgrade(&watch.root);
        for _ in 0..3 {
            watch.is_asked.store(true, Ordering::Release);
            watch.look(Instant::now());
        }
        for successor in successors {
            assert!(successor.take().is_some_and(|(_, release)| Arc::ptr_eq(release.root(), &watch.root)));
            assert!(successor.take().is_none());
        }
        assert_eq!((old.strong_count(), Arc::strong_count(&watch.root)), (0, 1));
        let mut events = mio::Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        assert!(!events.is_empty(), "the workers were not woken");
    }

    #[test]
    fn releases_of_several_trees_do_not_displace_each_other() {
        let (_directory, watch, ..) = watch();
        let successor = Successor::new(3, Arc::clone(&watch.successors[0].waker));
        let release = Release::after(&watch.root, std::iter::empty());
        for number in [2, 0, 2] {
            successor.give(number, &release);
        }
        let numbers: Vec<usize> = std::iter::from_fn(|| successor.take()).map(|(number, _)| number).collect();
        assert_eq!(numbers, [0, 2]);
        successor.give(1, &release);
        assert_eq!(successor.take().map(|(number, _)| number), Some(1));
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_another_release_and_the_ones_before_are_kept() {
        let (directory, mut watch, [successor, _], _poll) = watch();
        let start = Instant::now();
        let table: [(u64, &str, Option<&[&str]>); 9] = [
            (0, "1", None),
            (1, "2", Some(&["2", "1"])),
            (2, "2", None),
            (3, "1", Some(&["1", "2"])),
            (4, "3", Some(&["3", "1", "2"])),
            (5, "4", Some(&["4", "3", "1", "2"])),
            (6, "5", Some(&["5", "4", "3", "1"])),
            (64, "5", Some(&["5", "4", "3"])),
            (1_000, "5", Some(&["5"])),
        ];
        for (at_s, name, expected) in table {
            switch(directory.path(), name);
            watch.look(start + Duration::from_secs(at_s));
            let found = taken(&successor);
            assert_eq!(
                found.as_deref(),
                expected
                    .map(|names| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
                    .as_deref(),
                "after {at_s} s"
            );
        }
    }

    #[test]
    fn a_switch_keeps_nothing_where_nothing_is_to_be_kept() {
        let (directory, mut watch, [successor, _], _poll) = watch();
        watch.keep = Duration::ZERO;
        let old = Arc::downgrade(&watch.root);
        switch(directory.path(), "2");
        watch.look(Instant::now());
        assert_eq!(taken(&successor).unwrap(), ["2"]);
        drop(watch);
        assert_eq!(old.strong_count(), 0);
    }

    #[test]
    fn a_root_that_is_gone_is_replaced_when_there_is_another() {
        let (directory, mut watch, [successor, _], _poll) = watch();
        fs::remove_dir(directory.path().join("1")).unwrap();
        for is_asked in [false, true] {
            watch.is_asked.store(is_asked, Ordering::Release);
            watch.look(Instant::now());
            assert!(successor.take().is_none(), "there is none");
            assert!(watch.has_complained);
        }
        fs::create_dir(directory.path().join("1")).unwrap();
        watch.look(Instant::now());
        assert!(successor.take().is_some() && !watch.has_complained);
        watch.look(Instant::now());
        assert!(successor.take().is_none());
    }

    #[test]
    fn a_directory_that_is_put_in_the_place_of_another_is_another_release() {
        let (directory, mut watch, [successor, _], _poll) = watch();
        watch.path = directory.path().join("1");
        fs::rename(directory.path().join("1"), directory.path().join("old")).unwrap();
        fs::rename(directory.path().join("2"), directory.path().join("1")).unwrap();
        watch.look(Instant::now());
        assert_eq!(taken(&successor).unwrap(), ["1", "1"]);
    }

    #[test]
    fn a_link_to_another_file_is_another_release() {
        let (directory, mut watch, [successor, _], _poll) = watch();
        for name in ["a", "b"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        switch(directory.path(), "a");
        watch.look(Instant::now());
        assert!(successor.take().is_some());
        switch(directory.path(), "b");
        watch.look(Instant::now());
        assert!(successor.take().is_some());
        watch.look(Instant::now());
        assert!(successor.take().is_none());
    }
}
