//! A tree that changes: the real one, and beside it what is known of it.
//!
//! Times of modification are set to the simulated time, so that they go with the clock that the site sees.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::rc::Rc;

use rustix::fs::Mode;

use super::ledger::{Ledger, Version};
use super::wire::Random;

/// What may lie in a tree. The siblings of a file follow it.
pub const NAMES: [&str; 13] = [
    "a.txt",
    "a.txt.gz",
    "a.txt.br",
    "a.txt.zst",
    "b.bin",
    "app.3f2a9c1b.js",
    "app.3f2a9c1b.js.gz",
    "d",
    "d/index.html",
    "d/index.html.gz",
    "link.txt",
    "link.txt.br",
    PAGE,
];
/// The page for what is not found.
pub const PAGE: &str = "404.html";
/// Content of up to 16 KiB is kept in memory, of up to 256 KiB perhaps.
const SIZES: [usize; 8] = [0, 1, 300, 1_500, 1_500, 16 << 10, (16 << 10) + 1, 40_000];
/// No page is so long that it is worth coding.
const PAGE_BYTES_MAX: usize = 900;

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Node {
    File(Rc<Version>),
    /// A file that we may not read.
    Closed,
    Directory,
    /// A link to another name.
    Link(&'static str),
    Fifo,
}

/// The moment of a change.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub step: usize,
    pub unix_ms: i64,
}

/// One tree.
#[derive(Debug)]
pub struct Tree {
    pub directory: PathBuf,
    nodes: BTreeMap<&'static str, Node>,
}

impl Tree {
    /// An empty tree in an empty directory.
    pub const fn new(directory: PathBuf) -> Self {
        Self { directory, nodes: BTreeMap::new() }
    }

    /// What a name leads to, links followed; to nothing, if they lead round in a circle.
    pub fn resolve(&self, mut name: &str) -> Option<&Node> {
        for _ in 0..NAMES.len() {
            match self.nodes.get(name)? {
                Node::Link(target) => name = target,
                node => return Some(node),
            }
        }
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Takes away what is at a name.
    fn clear(&mut self, name: &'static str) {
        match self.nodes.remove(name) {
            None => {}
            Some(Node::Directory) => {
                fs::remove_dir_all(self.path(name)).unwrap();
                let inside = format!("{name}/");
                self.nodes.retain(|other, _| !other.starts_with(&inside));
            }
            Some(_) => fs::remove_file(self.path(name)).unwrap(),
        }
    }

    /// Sees to the directory that a name lies in.
    fn make_room_for(&mut self, name: &'static str) {
        if name.starts_with("d/") && !matches!(self.nodes.get("d"), Some(Node::Directory)) {
            self.clear("d");
            self.make_directory("d");
        }
    }

    fn make_directory(&mut self, name: &'static str) {
        fs::create_dir(self.path(name)).unwrap();
        self.nodes.insert(name, Node::Directory);
    }

    /// Something changes; what, in words.
    pub fn change(&mut self, ledger: &mut Ledger, random: &mut Random, at: Moment) -> String {
        let name = NAMES[random.below(NAMES.len())];
        let is_file = matches!(self.nodes.get(name), Some(Node::File(_)));
        self.make_room_for(name);
        let what = match random.below(20) {
            0..=4 if is_file => self.write_in_place(name, ledger, random, at),
            5 if is_file => self.append(name, ledger, random, at),
            6 | 7 if is_file => self.set_back(name, ledger, random, at),
            8 if is_file => self.write_unnoticed(name, ledger, random, at),
            9 if is_file => self.change_mode(name, ledger, random),
            10..=12 => {
                self.clear(name);
                "deleted".into()
            }
            13 if name == "d" || random.chance(4) => {
                self.clear(name);
                // No other name has any below it.
                self.make_directory(name);
                "a directory".into()
            }
            14 | 15 if name == "link.txt" || random.chance(4) => {
                self.clear(name);
                let target = ["a.txt", "b.bin", "d", "nothing"][random.below(4)];
                let up = if name.starts_with("d/") { "../" } else { "" };
                symlink(format!("{up}{target}"), self.path(name)).unwrap();
                self.nodes.insert(name, Node::Link(target));
                format!("a link to {target}")
            }
            16 if random.chance(3) => {
                self.clear(name);
                let directory = File::open(&self.directory).unwrap();
                rustix::fs::mkfifoat(directory, name, Mode::RUSR | Mode::WUSR).unwrap();
                self.nodes.insert(name, Node::Fifo);
                "a pipe".into()
            }
            _ => self.replace(name, ledger, random, at),
        };
        format!("{name}: {what}")
    }

    /// Another file takes the place of what is there.
    pub fn replace(
        &mut self,
        name: &'static str,
        ledger: &mut Ledger,
        random: &mut Random,
        at: Moment,
    ) -> String {
        self.make_room_for(name);
        let bytes = length(name, random);
        let size_before = self.content(name).map(|before| before.content.len());
        let bytes = size_before.filter(|_| random.chance(3)).unwrap_or(bytes);
        ledger.files += 1;
        let new = self.directory.join("new");
        fs::write(&new, ledger.next_content(name, bytes)).unwrap();
        let file = ledger.files;
        let version = ledger.note(&new, name, bytes, modified(random, at), file);
        if matches!(self.nodes.get(name), Some(Node::Directory)) {
            self.clear(name);
        }
        fs::rename(&new, self.path(name)).unwrap();
        let what = format!("replaced by {}", told(&version));
        self.nodes.insert(name, Node::File(version));
        what
    }

    fn content(&self, name: &str) -> Option<Rc<Version>> {
        match self.nodes.get(name) {
            Some(Node::File(version)) => Some(Rc::clone(version)),
            _ => None,
        }
    }

    /// The same file gets other content, perhaps as much as it has.
    fn write_in_place(
        &mut self,
        name: &'static str,
        ledger: &mut Ledger,
        random: &mut Random,
        at: Moment,
    ) -> String {
        let before = self.content(name).unwrap();
        let same = random.chance(2) && !name.ends_with(".gz");
        let bytes = if same { before.content.len() } else { length(name, random) };
        fs::write(self.path(name), ledger.next_content(name, bytes)).unwrap();
        self.become_version(name, &before, bytes, modified(random, at), ledger, at)
    }

    fn append(&mut self, name: &'static str, ledger: &mut Ledger, random: &mut Random, at: Moment) -> String {
        let before = self.content(name).unwrap();
        if name == PAGE || name.ends_with(".gz") {
            return self.set_back(name, ledger, random, at);
        }
        let mut file = File::options().append(true).open(self.path(name)).unwrap();
        file.write_all(b"and more").unwrap();
        drop(file);
        let content = [&before.content[..], b"and more"].concat();
        ledger.versions += 1;
        let number = ledger.versions;
        let version = ledger.stamp(&self.path(name), number, content, modified(random, at), before.file);
        ledger.changed_in_place.insert(before.file, at.step);
        let what = format!("appended to: {}", told(&version));
        self.nodes.insert(name, Node::File(version));
        what
    }

    /// The content stays, and its time goes to an earlier one, perhaps within the same second.
    fn set_back(
        &mut self,
        name: &'static str,
        ledger: &mut Ledger,
        random: &mut Random,
        _at: Moment,
    ) -> String {
        let before = self.content(name).unwrap();
        let (s, ns) = before.modified;
        let earlier =
            [(s, ns.saturating_sub(1)), (s - 1, ns), (s - 10, 0), (s - 10_000_000, 7)][random.below(4)];
        let version =
            ledger.stamp(&self.path(name), before.number, Rc::clone(&before.content), earlier, before.file);
        let what = format!("set back: {}", told(&version));
        self.nodes.insert(name, Node::File(version));
        what
    }

    /// Other content of the same size, with the time that the file had before.
    fn write_unnoticed(
        &mut self,
        name: &'static str,
        ledger: &mut Ledger,
        random: &mut Random,
        at: Moment,
    ) -> String {
        if name.ends_with(".gz") {
            return self.set_back(name, ledger, random, at);
        }
        let before = self.content(name).unwrap();
        let bytes = before.content.len();
        let mut file = File::options().write(true).open(self.path(name)).unwrap();
        file.write_all(&ledger.next_content(name, bytes)).unwrap();
        drop(file);
        self.become_version(name, &before, bytes, before.modified, ledger, at)
    }

    fn become_version(
        &mut self,
        name: &'static str,
        before: &Version,
        bytes: usize,
        modified: (i64, u32),
        ledger: &mut Ledger,
        at: Moment,
    ) -> String {
        let version = ledger.note(&self.path(name), name, bytes, modified, before.file);
        ledger.changed_in_place.insert(before.file, at.step);
        let what = format!("in place: {}", told(&version));
        self.nodes.insert(name, Node::File(version));
        what
    }

    /// Nothing but the mode changes: with it, the file may be closed to us, unless nothing is.
    fn change_mode(&mut self, name: &'static str, ledger: &mut Ledger, random: &mut Random) -> String {
        let before = self.content(name).unwrap();
        let path = self.path(name);
        let mode = [0o600, 0o644, 0][random.below(3)];
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if File::open(&path).is_err() {
            self.nodes.insert(name, Node::Closed);
            return "closed to us".into();
        }
        let version =
            ledger.stamp(&path, before.number, Rc::clone(&before.content), before.modified, before.file);
        self.nodes.insert(name, Node::File(version));
        format!("mode {mode:o}")
    }
}

fn length(name: &str, random: &mut Random) -> usize {
    let bytes = SIZES[random.below(SIZES.len())];
    if name == PAGE { bytes.min(PAGE_BYTES_MAX) } else { bytes }
}

/// Now, or within the same millisecond.
fn modified(random: &mut Random, at: Moment) -> (i64, u32) {
    let ms = at.unix_ms.rem_euclid(1_000) as usize;
    (at.unix_ms.div_euclid(1_000), (ms * 1_000_000 + random.below(3)) as u32)
}

fn told(version: &Version) -> String {
    let (s, ns) = version.modified;
    format!("version {}, {} bytes, {s}.{ns:09}", version.number, version.content.len())
}
