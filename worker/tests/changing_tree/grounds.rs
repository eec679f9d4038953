//! Where the trees of a life lie, which releases there are, and what is open of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use oneloop_worker::Symlinks;
use oneloop_worker::site::release::Release;
use oneloop_worker::site::resolve::Root;
use tempfile::TempDir;

use super::ledger::Ledger;
use super::tree::{Moment, NAMES, Tree};
use super::wire::Random;

/// A file system in memory.
const MEMORY: &str = "/dev/shm";
/// Releases that are kept behind the one that is served, if any.
const KEPT: usize = 2;

/// The places, and what grows in them.
#[derive(Debug)]
pub struct Grounds {
    place: TempDir,
    /// Where the files lie, if not in the place itself: then only a helper may open them.
    far: Option<TempDir>,
    keeps_releases: bool,
    made: usize,
    /// The latest first.
    roots: Vec<Arc<Root>>,
    /// The trees below them.
    pub trees: Vec<Tree>,
    pub ledger: Ledger,
}

impl Grounds {
    /// Grounds with one release.
    pub fn new(is_far: bool, keeps_releases: bool, random: &mut Random, at: Moment) -> Self {
        let far = is_far.then(|| tempfile::tempdir_in(MEMORY).ok()).flatten();
        // Mostly in memory, where nothing waits for a disk. What is far has to lie on another file system.
        let is_on_disk = far.is_some() || random.chance(16);
        let near = (!is_on_disk).then(|| tempfile::tempdir_in(MEMORY).ok()).flatten();
        let mut grounds = Self {
            place: near.unwrap_or_else(|| tempfile::tempdir().unwrap()),
            far,
            keeps_releases,
            made: 0,
            roots: Vec::new(),
            trees: Vec::new(),
            ledger: Ledger::default(),
        };
        grounds.release(random, at);
        grounds
    }

    /// Links that lead out of the root are followed where they have to be.
    pub const fn symlinks(&self) -> Symlinks {
        if self.far.is_some() { Symlinks::Any } else { Symlinks::Inside }
    }

    /// The directory that is served first.
    pub fn root(&self) -> PathBuf {
        self.place.path().join("1")
    }

    /// What is to be served.
    pub fn served(&self) -> Arc<Release> {
        Release::after(&self.roots[0], self.roots[1..].iter())
    }

    /// Another release takes the place of the one that is served, and what is there in its tree.
    pub fn release(&mut self, random: &mut Random, at: Moment) {
        self.made += 1;
        let root = self.place.path().join(self.made.to_string());
        fs::create_dir(&root).unwrap();
        let below = root.join("w");
        let directory = match &self.far {
            Some(far) => {
                let there = far.path().join(self.made.to_string());
                symlink(&there, &below).unwrap();
                there
            }
            None => below,
        };
        fs::create_dir(&directory).unwrap();
        let mut tree = Tree::new(directory);
        for name in NAMES {
            if name != "d" && !random.chance(4) {
                tree.replace(name, &mut self.ledger, random, at);
            }
        }
        self.roots.insert(0, Arc::new(Root::open(&root, self.symlinks()).unwrap()));
        self.trees.insert(0, tree);
        self.keep(if self.keeps_releases { KEPT } else { 0 });
    }

    /// Gives up the releases before, but for so many.
    pub fn keep(&mut self, behind: usize) {
        self.roots.truncate(behind + 1);
        self.trees.truncate(behind + 1);
    }

    /// Waits until no more than so many files are open besides the roots: helpers close some.
    pub fn expect_open(&self, most: usize) {
        let most = most + self.roots.len();
        let mut open = Vec::new();
        for _ in 0..1_000 {
            open = self.open_files();
            if open.len() <= most {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        panic!("more than {most} files are open: {open:?}");
    }

    /// The open files that lie here, or in memory.
    fn open_files(&self) -> Vec<PathBuf> {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap();
        let links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok());
        let is_here = |path: &PathBuf| {
            path.starts_with(self.place.path())
                || self.far.as_ref().is_some_and(|far| path.starts_with(far.path()))
                || path.starts_with("/memfd:oneloop (deleted)")
        };
        links.filter(is_here).collect()
    }
}
