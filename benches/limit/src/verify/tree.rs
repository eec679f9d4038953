//! The files that are asked for, all versions that there ever were of them, and their replacement.
//!
//! A version is known here before the server can see it, and as replaced only after it was: what a server may answer
//! is never judged by what it could not know.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::content::{CHUNK_BYTES, Content, Dice};

const FILES: usize = 1000;
/// The first ones are replaced again and again.
const CHANGING: usize = 40;
/// Of 1 MiB, but the last one of 20: one of those that change, the rest behind them.
const LARGE: [usize; 11] = [0, 40, 41, 42, 43, 44, 45, 46, 47, 48, HUGE];
const HUGE: usize = 49;
const MIB: u64 = 1 << 20;
const SMALL_BYTES_MAX: u64 = 64 << 10;
/// Where servers change their ways: empty, around what is kept in memory, around a power of two.
const EDGES: [u64; 8] = [0, 1, (16 << 10) - 1, 16 << 10, (16 << 10) + 1, 4096, (64 << 10) - 1, 64 << 10];
const TICK: Duration = Duration::from_millis(100);
const TICKS_PER_S: usize = 10;
const REPLACED_A_TICK: usize = 10;
/// Large files and changing ones are asked for more often than they are many.
const CHANGING_ONE_IN: u64 = 2;
const LARGE_ONE_IN: u64 = 64;

/// What a file was from one moment to another.
pub(crate) struct Version {
    pub(crate) content: Content,
    pub(crate) length: u64,
    /// As oneloop makes it, of the time and the length: a strong one (RFC 9110 §8.8.3).
    pub(crate) tag: String,
    replaced_at: OnceLock<Instant>,
}

impl Version {
    /// For how long it had been replaced at that time.
    pub(crate) fn age_at(&self, then: Instant) -> Duration {
        self.replaced_at.get().map_or(Duration::ZERO, |&at| then.saturating_duration_since(at))
    }
}

/// A file and its versions, the oldest first.
pub(crate) struct File {
    pub(crate) number: usize,
    versions: Box<[OnceLock<Version>]>,
}

impl File {
    fn new(number: usize, versions_max: usize) -> Self {
        Self { number, versions: (0..versions_max).map(|_| OnceLock::new()).collect() }
    }

    pub(crate) fn versions(&self) -> impl DoubleEndedIterator<Item = &Version> {
        self.versions[..self.count()].iter().filter_map(OnceLock::get)
    }

    pub(crate) fn any(&self, dice: &mut Dice) -> Option<&Version> {
        let count = self.count();
        // The last three, mostly: older ones are all alike to the server.
        let back = dice.below(3.min(count as u64)) as usize;
        self.versions[count - 1 - back].get()
    }

    fn count(&self) -> usize {
        self.versions.partition_point(|version| version.get().is_some())
    }

    fn length_of_next(&self, dice: &mut Dice) -> u64 {
        let length = match self.versions().next_back() {
            // With the same length, only the time tells.
            Some(last) if dice.below(2) == 0 => return last.length,
            _ if self.number == HUGE => return 20 * MIB,
            _ if dice.below(4) == 0 => EDGES[dice.below(EDGES.len() as u64) as usize],
            _ => dice.below(SMALL_BYTES_MAX + 1) >> dice.below(8),
        };
        if LARGE.contains(&self.number) { MIB - length } else { length }
    }
}

/// The folder that is served.
pub(crate) struct Tree {
    site: PathBuf,
    /// Where versions are written before they are seen.
    next: PathBuf,
    files: Vec<File>,
}

impl Tree {
    /// Writes the first version of every file into `directory`/site/files.
    pub(crate) fn make(directory: &Path, seconds: u64) -> io::Result<Self> {
        let (site, next) = (directory.join("site/files"), directory.join("next"));
        fs::create_dir_all(&site)?;
        fs::create_dir_all(&next)?;
        let rounds = (seconds as usize * TICKS_PER_S * REPLACED_A_TICK).div_ceil(CHANGING);
        let versions_max = |number| if number < CHANGING { rounds + 1 } else { 1 };
        let files = (0..FILES).map(|number| File::new(number, versions_max(number))).collect();
        let tree = Self { site, next, files };
        let mut dice = Dice::new(u64::MAX / 2);
        for file in &tree.files {
            tree.replace(file, &mut dice)?;
        }
        Ok(tree)
    }

    /// Any file, with those preferred where something can go wrong.
    pub(crate) fn any(&self, dice: &mut Dice) -> &File {
        let number = if dice.below(LARGE_ONE_IN) == 0 {
            LARGE[dice.below(LARGE.len() as u64) as usize]
        } else if dice.below(CHANGING_ONE_IN) == 0 {
            dice.below(CHANGING as u64) as usize
        } else {
            dice.below(FILES as u64) as usize
        };
        &self.files[number]
    }

    /// Replaces some files at every tick. Gives the number of versions that it made.
    pub(crate) fn replace_until(&self, end: Instant) -> io::Result<u64> {
        let mut dice = Dice::new(u64::MAX / 3);
        let mut due = Instant::now() + TICK;
        let mut changing = self.files[..CHANGING].iter().cycle();
        let mut versions = 0;
        while due < end {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            for file in changing.by_ref().take(REPLACED_A_TICK) {
                self.replace(file, &mut dice)?;
                versions += 1;
            }
            due += TICK;
        }
        Ok(versions)
    }

    fn replace(&self, file: &File, dice: &mut Dice) -> io::Result<()> {
        let number = file.count();
        let version = write(&self.next.join("version"), file.number, number, file.length_of_next(dice))?;
        file.versions[number].set(version).map_err(|_| io::Error::other("two writers of one file"))?;
        fs::rename(self.next.join("version"), self.site.join(file.number.to_string()))?;
        if let Some(last) = number.checked_sub(1).and_then(|last| file.versions[last].get()) {
            // Set once, as every version is followed once.
            let _ = last.replaced_at.set(Instant::now());
        }
        Ok(())
    }
}

fn write(path: &Path, file: usize, version: usize, length: u64) -> io::Result<Version> {
    let content = Content::of(file, version);
    let mut out = fs::File::create(path)?;
    let mut chunk = vec![0; CHUNK_BYTES.min(length as usize)];
    let mut offset = 0;
    while offset < length {
        let bytes = chunk.len().min((length - offset) as usize);
        content.fill(offset, &mut chunk[..bytes]);
        out.write_all(&chunk[..bytes])?;
        offset += bytes as u64;
    }
    out.set_modified(now_of(file))?;
    let stat = out.metadata()?;
    let mtime_ns = i128::from(stat.mtime()) * 1_000_000_000 + i128::from(stat.mtime_nsec());
    let tag = format!("\"{mtime_ns:x}-{length:x}\"");
    Ok(Version { content, length, tag, replaced_at: OnceLock::new() })
}

/// The time now, with the number of the file for its nanoseconds: no two files share a tag.
fn now_of(file: usize) -> SystemTime {
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    UNIX_EPOCH + Duration::from_micros(now_us) + Duration::from_nanos(file as u64 % 1000)
}
