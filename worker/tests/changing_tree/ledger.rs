//! What is known of the files of all trees of a life: their versions, each with a number that its content shows in each
//! sixteen bytes, and a stamp that no other has.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, Timespec, Timestamps};

/// What a file was at some time.
#[derive(Debug)]
pub struct Version {
    pub number: usize,
    pub content: Rc<Vec<u8>>,
    /// Seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    /// The number of the file: another one takes its place by a rename only.
    pub file: usize,
}

/// What is known of all trees of a life together.
#[derive(Debug, Default)]
pub struct Ledger {
    pub versions: usize,
    pub files: usize,
    /// All that each file has been.
    of_files: HashMap<usize, Vec<Rc<Version>>>,
    /// When the content of each file was last changed in place.
    pub changed_in_place: HashMap<usize, usize>,
    /// Stamps that were seen: no two versions may have the same.
    stamps: HashSet<([u64; 3], [i64; 4])>,
}

impl Ledger {
    /// Whether the content of a file was changed in place after that step.
    pub fn has_changed_since(&self, file: usize, step: usize) -> bool {
        self.changed_in_place.get(&file).is_some_and(|&changed| changed > step)
    }

    /// Whether some version of a file had that byte there.
    pub fn may_have_been(&self, file: usize, offset: usize, byte: u8) -> bool {
        self.of_files[&file].iter().any(|version| version.content.get(offset) == Some(&byte))
    }

    /// What the next version of a file will hold. A gzip file holds what the number stands for, coded.
    pub fn next_content(&mut self, name: &str, bytes: usize) -> Vec<u8> {
        self.versions += 1;
        content_of(self.versions, name, bytes)
    }

    /// Notes the version that was just written.
    pub fn note(
        &mut self,
        path: &Path,
        name: &str,
        bytes: usize,
        modified: (i64, u32),
        file: usize,
    ) -> Rc<Version> {
        let content = content_of(self.versions, name, bytes);
        self.stamp(path, self.versions, content, modified, file)
    }

    /// Gives a version its time. Time stamps of changes are as coarse as the kernel's tick: it waits until no other
    /// version had the same, as simulated time passes faster than that.
    pub fn stamp(
        &mut self,
        path: &Path,
        number: usize,
        content: impl Into<Rc<Vec<u8>>>,
        modified: (i64, u32),
        file: usize,
    ) -> Rc<Version> {
        let content = content.into();
        let time = Timespec { tv_sec: modified.0, tv_nsec: modified.1.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        loop {
            rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::empty()).unwrap();
            let seen = fs::metadata(path).unwrap();
            assert_eq!(seen.len(), content.len() as u64);
            let times = [seen.mtime(), seen.mtime_nsec(), seen.ctime(), seen.ctime_nsec()];
            if self.stamps.insert(([seen.dev(), seen.ino(), seen.len()], times)) {
                break;
            }
        }
        let version = Rc::new(Version { number, content, modified, file });
        self.of_files.entry(file).or_default().push(Rc::clone(&version));
        version
    }
}

/// Text that shows the number of the version in each sixteen bytes.
pub fn text_of(number: usize, bytes: usize) -> Vec<u8> {
    let line = format!("{number:015x}\n");
    line.bytes().cycle().take(bytes).collect()
}

fn content_of(number: usize, name: &str, bytes: usize) -> Vec<u8> {
    let text = text_of(number, bytes);
    if !name.ends_with(".gz") {
        return text;
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&text).unwrap();
    encoder.finish().unwrap()
}
