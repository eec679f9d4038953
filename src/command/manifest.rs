//! `oneloop manifest`: lists the files of a tree with a digest of each, so that a server need not read them for their
//! entity tags.
//!
//! What the server would not find is not listed: hidden names, links that lead out of the tree, anything but regular
//! files.

use std::ffi::CString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::Status;
use rustix::fs::{Dir, FileType};
use worker::Symlinks;
use worker::site::digest;
use worker::site::manifest::{self, Listed, Manifest, NAME};
use worker::site::resolve::{Found, Obstacle, Patience, Root};
use worker::site::stamp::Stamp;

use super::Ended;
use crate::cli;
use crate::show::{plain, quoted};

/// A file that was modified this recently could be modified again without its time telling.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
const SHOW_INTERVAL: Duration = Duration::from_millis(100);
const BAR_CELLS: usize = 30;

/// Lists the files, and fails if one cannot be read.
///
/// # Errors
/// [`Unlisted`], when there is no manifest to be had at all.
pub(crate) fn run(asked: &cli::Manifest) -> Ended {
    let unlisted = |source| Unlisted { directory: asked.directory.clone(), source };
    let root = Root::open(&asked.directory, Symlinks::Inside).map_err(unlisted)?;
    if root.only().is_some() {
        return Err(unlisted(io::ErrorKind::NotADirectory.into()).into());
    }
    let known = if asked.fresh { Manifest::default() } else { Manifest::read(&root) };
    let (hidden, is_crossing) = (asked.hidden, asked.cross_file_systems);
    let mut listing = Listing { root, known, hidden, is_crossing, device: None, read: 0, failed: 0 };
    let mut bar = Bar::new(!asked.quiet && io::stderr().is_terminal());
    let mut paths = listing.paths(&mut bar);
    // So that the same tree has the same manifest, byte for byte.
    paths.sort_unstable();
    let mut lines = Vec::with_capacity(paths.len());
    for path in &paths {
        lines.extend(listing.list(path, &mut bar).map(|listed| (path.as_slice(), listed)));
        bar.advance();
    }
    bar.clear();
    let count = lines.len();
    write(&asked.directory, lines).map_err(unlisted)?;
    if !asked.quiet {
        let read = listing.read;
        say(format_args!(
            "listed {count} files in {}, {read} read",
            quoted(asked.directory.join(NAME).display())
        ));
    }
    Ok(if listing.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the manifest is made of.
struct Listing {
    root: Root,
    /// What was listed before.
    known: Manifest,
    hidden: bool,
    /// Whether directories of other file systems are listed.
    is_crossing: bool,
    /// Of the root.
    device: Option<u64>,
    /// Files that were read.
    read: usize,
    /// Files and directories that could not be.
    failed: usize,
}

impl Listing {
    /// The paths of whatever may be a file.
    fn paths(&mut self, bar: &mut Bar) -> Vec<Vec<u8>> {
        let mut files = Vec::new();
        let mut directories = vec![Vec::new()];
        while let Some(directory) = directories.pop() {
            if let Err(problem) = self.read_directory(&directory, &mut files, &mut directories) {
                bar.clear();
                self.fail(&directory, &problem);
            }
            bar.found(files.len());
        }
        files
    }

    fn read_directory(
        &mut self,
        path: &[u8],
        files: &mut Vec<Vec<u8>>,
        directories: &mut Vec<Vec<u8>>,
    ) -> io::Result<()> {
        let directory = match self.root.open_directory(&CString::new(path)?) {
            Ok(directory) => directory,
            Err(Status::NotFound) if !path.is_empty() => return Ok(()),
            Err(status) => return Err(refused(status)),
        };
        let device = rustix::fs::fstat(&directory)?.st_dev;
        if *self.device.get_or_insert(device) != device && !self.is_crossing {
            let path = quoted(String::from_utf8_lossy(path));
            say(format_args!("{path} is left out: another file system, which --cross-file-systems lists"));
            return Ok(());
        }
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || !self.is_listed(path, name) {
                continue;
            }
            let path = if path.is_empty() { name.to_vec() } else { [path, name].join(&b'/') };
            match entry.file_type() {
                FileType::Directory => directories.push(path),
                // The file system does not say.
                FileType::Unknown if self.is_directory(&path) => directories.push(path),
                FileType::RegularFile | FileType::Symlink | FileType::Unknown => files.push(path),
                _ => {}
            }
        }
        Ok(())
    }

    fn is_listed(&self, directory: &[u8], name: &[u8]) -> bool {
        let is_ours = directory.is_empty() && name.starts_with(NAME.as_bytes());
        // RFC 8615.
        let is_well_known = directory.is_empty() && name == b".well-known";
        !is_ours && (self.hidden || is_well_known || !name.starts_with(b"."))
    }

    fn is_directory(&self, path: &[u8]) -> bool {
        matches!(self.resolve(path), Ok(Found::Directory))
    }

    fn resolve(&self, path: &[u8]) -> Result<Found, Obstacle> {
        let path = CString::new(path).map_err(|_| Obstacle::Refused(Status::NotFound))?;
        self.root.resolve(&path, Patience::MayWait)
    }

    /// The line of a file; none for what is no file of the tree, or cannot be read, which is said.
    fn list(&mut self, path: &[u8], bar: &mut Bar) -> Option<Listed> {
        self.try_list(path, bar).unwrap_or_else(|problem| {
            bar.clear();
            self.fail(path, &problem);
            None
        })
    }

    fn try_list(&mut self, path: &[u8], bar: &mut Bar) -> io::Result<Option<Listed>> {
        let (file, stat) = match self.resolve(path) {
            Ok(Found::File(file, stat)) => (file, stat),
            Ok(Found::Directory) | Err(Obstacle::Refused(Status::NotFound)) => return Ok(None),
            Err(Obstacle::Refused(status)) => return Err(refused(status)),
            Err(Obstacle::Cold) => return Err(io::ErrorKind::WouldBlock.into()),
        };
        let stamp = Stamp::of(&stat);
        if let Some(listed) = self.known.get(path).filter(|listed| listed.is_about(stamp)) {
            return Ok(Some(*listed));
        }
        // As files of pseudo file systems do, with whatever is in them.
        if !is_whole(&file, stamp.size())? {
            return Err(io::Error::other("it ends before the size that it is said to have"));
        }
        std::thread::sleep(unsettled_for(stamp));
        let digest = digest::of_file(&file, stamp.size(), |bytes| bar.read(bytes))?;
        if Stamp::asked_for(file.as_fd())? != stamp {
            return Err(io::Error::other("it changed while it was read"));
        }
        self.read += 1;
        Ok(Some(Listed { size: stamp.size(), modified: stamp.modified(), digest }))
    }

    fn fail(&mut self, path: &[u8], problem: &io::Error) {
        self.failed += 1;
        say(format_args!("cannot list {}: {problem}", quoted(String::from_utf8_lossy(path))));
    }
}

/// What keeps the server from it, in words.
fn refused(status: Status) -> io::Error {
    match status {
        Status::Forbidden => io::ErrorKind::PermissionDenied.into(),
        Status::NotFound => io::ErrorKind::NotFound.into(),
        other => io::Error::other(other.reason()),
    }
}

fn is_whole(file: impl AsFd, size: u64) -> io::Result<bool> {
    let Some(last) = size.checked_sub(1) else { return Ok(true) };
    Ok(rustix::io::pread(file, &mut [0; 1], last)? == 1)
}

/// How long to wait until a version can be told from one that comes after it. One from the future never can; one that
/// is empty always can.
fn unsettled_for(stamp: Stamp) -> Duration {
    if stamp.size() == 0 {
        return Duration::ZERO;
    }
    let (seconds, nanoseconds) = stamp.modified();
    let modified = u64::try_from(seconds).map_or(UNIX_EPOCH, |seconds| {
        UNIX_EPOCH
            + Duration::from_secs(seconds.min(u64::from(u32::MAX)))
            + Duration::from_nanos(nanoseconds.into())
    });
    let left = (modified + SETTLED_AFTER).duration_since(SystemTime::now()).unwrap_or_default();
    if left <= SETTLED_AFTER { left } else { Duration::ZERO }
}

/// Puts the manifest in the place of the old one, in one step.
fn write(directory: &Path, lines: Vec<(&[u8], Listed)>) -> io::Result<()> {
    let fresh = directory.join(format!("{NAME}.{}", std::process::id()));
    let put = || {
        let mut out = BufWriter::new(File::options().write(true).create_new(true).open(&fresh)?);
        manifest::write(lines, &mut out)?;
        out.into_inner()?.sync_all()?;
        fs::rename(&fresh, directory.join(NAME))
    };
    let result = put();
    if result.is_err() {
        // What cannot be made cannot be removed either, perhaps.
        let _ = fs::remove_file(&fresh);
    }
    result
}

fn say(message: fmt::Arguments<'_>) {
    // Nobody may be listening, which changes nothing.
    let _ = writeln!(io::stderr(), "oneloop: {message}");
}

/// How far it is, for somebody who waits.
struct Bar {
    is_shown: bool,
    shown_at: Option<Instant>,
    files: usize,
    done: usize,
    read_bytes: u64,
}

impl Bar {
    const fn new(is_shown: bool) -> Self {
        Self { is_shown, shown_at: None, files: 0, done: 0, read_bytes: 0 }
    }

    fn found(&mut self, files: usize) {
        self.files = files;
        self.show();
    }

    fn advance(&mut self) {
        self.done += 1;
        self.show();
    }

    fn read(&mut self, bytes: usize) {
        self.read_bytes += bytes as u64;
        self.show();
    }

    fn show(&mut self) {
        if self.is_shown && self.shown_at.is_none_or(|at| at.elapsed() >= SHOW_INTERVAL) {
            self.shown_at = Some(Instant::now());
            let _ = write!(io::stderr(), "\r\x1b[K{}", self.line());
        }
    }

    fn line(&self) -> String {
        let full = (BAR_CELLS * self.done).checked_div(self.files).unwrap_or(BAR_CELLS);
        let (full, empty) = ("#".repeat(full), "-".repeat(BAR_CELLS.saturating_sub(full)));
        format!("[{full}{empty}] {} of {} files, {} MiB read", self.done, self.files, self.read_bytes >> 20)
    }

    fn clear(&mut self) {
        if self.shown_at.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Why there is no manifest.
#[derive(Debug)]
struct Unlisted {
    directory: PathBuf,
    source: io::Error,
}

impl fmt::Display for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (directory, source) = (quoted(self.directory.display()), plain(&self.source));
        write!(f, "cannot list the files of {directory}: {source}; name a directory that you may write to")
    }
}

impl std::error::Error for Unlisted {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_from_end_to_end() {
        let bar = |done, files| Bar { done, files, read_bytes: 5 << 20, ..Bar::new(true) }.line();
        assert_eq!(bar(0, 9), "[------------------------------] 0 of 9 files, 5 MiB read");
        assert_eq!(bar(3, 9), "[##########--------------------] 3 of 9 files, 5 MiB read");
        assert_eq!(bar(9, 9), "[##############################] 9 of 9 files, 5 MiB read");
        assert_eq!(bar(0, 0), "[##############################] 0 of 0 files, 5 MiB read");
    }

    #[test]
    fn only_what_was_modified_a_moment_ago_is_waited_for() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(unsettled_for(Stamp::of(&rustix::fs::fstat(&file).unwrap())), Duration::ZERO);
        file.set_len(1).unwrap();
        let wait = |at: SystemTime| {
            file.set_modified(at).unwrap();
            unsettled_for(Stamp::of(&rustix::fs::fstat(&file).unwrap()))
        };
        let now = SystemTime::now();
        let recent = wait(now);
        assert!(recent > Duration::ZERO && recent <= SETTLED_AFTER, "{recent:?}");
        for far in [UNIX_EPOCH, UNIX_EPOCH - Duration::from_secs(9), now + Duration::from_secs(60)] {
            assert_eq!(wait(far), Duration::ZERO);
        }
        assert_eq!(wait(now - Duration::from_secs(3)), Duration::ZERO);
    }
}
