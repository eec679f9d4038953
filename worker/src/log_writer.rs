//! The access log's way out of the process: a thread of its own, so that a full disk, a closed pipe or a reader
//! that has stopped reading is that thread's problem and nobody else's.
//!
//! Each worker owns a [`Producer`]: lines gather in its buffer, which stays in the processor's cache, and once a
//! turn they are copied into a ring of bytes that the thread writes out with one system call. A worker never
//! waits: what finds no room in its ring is dropped in whole lines, and counted. What cannot be written stays
//! in the ring and is tried again, so no line is torn by a disk that was full for a while.
//!
//! A wake costs the worker a system call. Therefore the thread, once it has written something, looks again by
//! itself after 10 ms, and is woken only when it has found nothing to do or a ring is half full.

mod rest;

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, writev};

use crate::access_log::LINE_BYTES_MAX;
use crate::metrics::Counter;
use crate::threads::{FirstStep, ThreadKind};
use rest::Rest;

/// Lines that a worker gathers in one turn before it passes them on.
const BUFFER_BYTES: usize = 64 << 10;
/// What a worker may be ahead of the thread.
const RING_BYTES: usize = 1 << 20;
/// How long the thread rests after it has written something.
const NAP: Duration = Duration::from_millis(10);
/// How long it waits before it tries again what failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long it waits for a reader in one go, before it looks at its flags again.
const STUCK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// The shortest time between two warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

const _: () = assert!(BUFFER_BYTES >= 2 * LINE_BYTES_MAX, "a turn's lines fit together with the longest");

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file, which is appended to, or a named pipe that has a reader.
    File(PathBuf),
}

/// A destination that is open.
#[derive(Debug)]
pub struct Opened {
    file: OwnedFd,
    /// What to reopen; standard output is what it is.
    path: Option<PathBuf>,
}

impl Opened {
    /// Opens the destination.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn new(destination: Destination) -> io::Result<Self> {
        match destination {
            Destination::Stdout => Ok(Self { file: io::stdout().as_fd().try_clone_to_owned()?, path: None }),
            Destination::File(path) => Ok(Self { file: open(CWD, &path)?, path: Some(path) }),
        }
    }

    /// Opens the file of a path in the folder that is held, wherever the path leads by now.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn within(folder: impl AsFd, path: PathBuf) -> io::Result<Self> {
        let name = path.file_name().ok_or(Errno::ISDIR)?;
        Ok(Self { file: open(folder, Path::new(name))?, path: Some(path) })
    }
}

/// Starts the thread with its `first` step. There is one producer for each worker.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(opened: Opened, workers: usize, first: &FirstStep) -> io::Result<(Writer, Vec<Producer>)> {
    let Opened { file, path } = opened;
    let first = first.clone();
    let shared = Arc::new(Shared::default());
    let (rings, queues): (Vec<_>, _) = (0..workers).map(|_| rtrb::RingBuffer::new(RING_BYTES)).unzip();
    let (result, finished) = mpsc::sync_channel(1);
    let drain = Drain { file, path, queues, first: 0, shared: Arc::clone(&shared), warned_at: None };
    let thread = thread::Builder::new().name("access-log".into()).spawn(move || {
        first.take(ThreadKind::AccessLog);
        // The other end may have given up; then nobody wants to know.
        let _ = result.send(drain.run());
    })?;
    let thread = thread.thread().clone();
    let producer = |ring| Producer {
        buffer: Vec::with_capacity(BUFFER_BYTES),
        ring,
        shared: Arc::clone(&shared),
        thread: thread.clone(),
        dropped: Arc::default(),
    };
    let producers: Vec<_> = rings.into_iter().map(producer).collect();
    let dropped = producers.iter().map(|producer| Arc::clone(&producer.dropped)).collect();
    Ok((Writer { shared, thread, finished, dropped }, producers))
}

fn open(folder: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    // NONBLOCK means nothing to a file, and keeps a named pipe from stopping whoever opens it.
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::CLOEXEC
        | OFlags::NOCTTY
        | OFlags::NONBLOCK;
    Ok(rustix::fs::openat(folder, path, flags, Mode::from_raw_mode(0o644))?)
}

/// What the thread and the others tell each other.
#[derive(Debug, Default)]
struct Shared {
    rest: Rest,
    reopen: AtomicBool,
    finish: AtomicBool,
    /// Set when nobody waits for the thread to finish any longer.
    abandoned: AtomicBool,
    write_errors: Counter,
}

/// The supervisor's end: outlives the workers, and is then finished.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: Thread,
    finished: mpsc::Receiver<bool>,
    dropped: Vec<Arc<Counter>>,
}

impl Writer {
    /// Makes the thread open its file anew, after somebody has moved it away. When it cannot be opened, the old
    /// one is kept.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Lines of all workers that found no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().map(|counter| counter.get()).sum()
    }

    /// Attempts to write or to reopen that failed.
    #[must_use]
    pub fn write_errors(&self) -> u64 {
        self.shared.write_errors.get()
    }

    /// Ends the thread when it has written what the producers have flushed so far, or after `wait`. Whether
    /// everything was written.
    #[must_use]
    pub fn finish(self, wait: Duration) -> bool {
        self.shared.finish.store(true, Ordering::Release);
        self.thread.unpark();
        let written = self.finished.recv_timeout(wait).unwrap_or(false);
        self.shared.abandoned.store(true, Ordering::Release);
        written
    }
}

/// A worker's end.
#[derive(Debug)]
pub struct Producer {
    buffer: Vec<u8>,
    ring: rtrb::Producer<u8>,
    shared: Arc<Shared>,
    thread: Thread,
    dropped: Arc<Counter>,
}

impl Producer {
    /// Where to append whole lines, with room for at least one of [`LINE_BYTES_MAX`].
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if BUFFER_BYTES - self.buffer.len().min(BUFFER_BYTES) < LINE_BYTES_MAX {
            self.flush();
        }
        &mut self.buffer
    }

    /// Passes on what has gathered. To be called once a turn; costs nothing when there is nothing.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if self.ring.push_entire_slice(&self.buffer).is_err() {
            self.dropped.add(memchr::memchr_iter(b'\n', &self.buffer).count() as u64);
        }
        self.buffer.clear();
        // The cached number is a lower bound, and cheaper.
        let ring = &self.ring;
        let is_half_full = || ring.cached_slots() < RING_BYTES / 2 && ring.slots() < RING_BYTES / 2;
        if self.shared.rest.is_to_be_woken(is_half_full) {
            self.thread.unpark();
        }
    }

    /// Lines of this worker that found no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The thread's end.
struct Drain {
    file: OwnedFd,
    /// What to reopen; standard output is what it is.
    path: Option<PathBuf>,
    queues: Vec<rtrb::Consumer<u8>>,
    /// The queue to begin with.
    first: usize,
    shared: Arc<Shared>,
    warned_at: Option<Instant>,
}

impl Drain {
    /// Writes until it is told to finish. Whether everything was written then.
    fn run(mut self) -> bool {
        while !self.shared.abandoned.load(Ordering::Acquire) {
            // Before the queues are read: what was flushed before `finish` is written before the end.
            let finish = self.shared.finish.load(Ordering::Acquire);
            self.reopen_if_asked();
            match self.write_queues() {
                Ok(0) if finish => return true,
                Ok(0) => self.sleep(),
                Ok(_) if finish => {}
                Ok(_) => thread::park_timeout(NAP),
                Err(Errno::AGAIN) => self.await_reader(),
                Err(error) => {
                    self.report("cannot write the access log", &error.into());
                    if finish {
                        return false;
                    }
                    self.await_retry();
                }
            }
        }
        false
    }

    /// Writes what is in the queues now, and not what comes meanwhile. The number of bytes. An error may tear a
    /// line: its queue is then the first to go on.
    fn write_queues(&mut self) -> Result<usize, Errno> {
        let mut written = 0;
        for _ in 0..self.queues.len() {
            let Some(queue) = self.queues.get_mut(self.first) else { break };
            let mut left = queue.slots();
            while left > 0 {
                let bytes = write_queue(&self.file, queue, left)?;
                left -= bytes;
                written += bytes;
            }
            self.first = (self.first + 1) % self.queues.len();
        }
        Ok(written)
    }

    /// Sleeps until a producer has a line or the supervisor a wish.
    fn sleep(&self) {
        let is_empty = || self.queues.iter().all(rtrb::Consumer::is_empty);
        self.shared.rest.sleep(is_empty, thread::park);
    }

    /// Waits for a reader who has fallen behind, or for a moment.
    fn await_reader(&self) {
        // Whatever comes of it, writing again tells.
        self.shared.rest.undisturbed(|| {
            let _ = poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&STUCK));
        });
    }

    /// Waits before trying again what failed, unless the supervisor has a wish.
    fn await_retry(&self) {
        let start = Instant::now();
        let is_wanted =
            || self.shared.finish.load(Ordering::Acquire) || self.shared.reopen.load(Ordering::Acquire);
        self.shared.rest.undisturbed(|| {
            while start.elapsed() < RETRY && !is_wanted() {
                thread::park_timeout(RETRY.saturating_sub(start.elapsed()));
            }
        });
    }

    fn reopen_if_asked(&mut self) {
        if !self.shared.reopen.swap(false, Ordering::AcqRel) {
            return;
        }
        match self.path.as_deref().map(|path| open(CWD, path)) {
            Some(Ok(file)) => self.file = file,
            Some(Err(error)) => self.report("cannot reopen the access log", &error),
            None => {}
        }
    }

    /// Counts an error, and warns about the first and then of one a minute.
    fn report(&mut self, what: &str, error: &io::Error) {
        self.shared.write_errors.increment();
        if self.warned_at.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
            self.warned_at = Some(Instant::now());
            let errors = self.shared.write_errors.get();
            let path = self.path.as_deref().unwrap_or(Path::new("-")).display();
            tracing::warn!(%error, errors, %path, "{what}");
        }
    }
}

/// Writes as many of the first `left` bytes of a queue as the file takes at once. What was not written stays in
/// the queue.
fn write_queue(file: &OwnedFd, queue: &mut rtrb::Consumer<u8>, left: usize) -> Result<usize, Errno> {
    let Ok(chunk) = queue.read_chunk(left) else { return Ok(0) };
    let (first, second) = chunk.as_slices();
    match writev(file, &[IoSlice::new(first), IoSlice::new(second)]) {
        Ok(0) => Err(Errno::IO),
        Ok(written) => {
            chunk.commit(written);
            Ok(written)
        }
        Err(Errno::INTR) => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, mknodat};
    use tempfile::TempDir;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A line of 100 bytes that says who wrote it, and as which of its lines.
    fn write_line(producer: &mut Producer, who: usize, number: u64) {
        use std::io::Write;
        writeln!(producer.buffer(), "{who} {number} {:.<80}", "").unwrap();
    }

    /// Reads the lines of each writer: whole ones, in order.
    fn check_lines(text: &str, writers: usize) -> u64 {
        let mut next = vec![0; writers];
        assert!(text.is_empty() || text.ends_with('\n'));
        for line in text.lines() {
            let parts: Vec<_> = line.split(' ').collect();
            assert_eq!(
                parts[2..],
                ["................................................................................"]
            );
            let (who, number): (usize, u64) = (parts[0].parse().unwrap(), parts[1].parse().unwrap());
            assert!(number >= next[who], "{line} after {}", next[who]);
            next[who] = number + 1;
        }
        text.lines().count() as u64
    }

    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn open_and_start(destination: Destination, workers: usize) -> io::Result<(Writer, Vec<Producer>)> {
        start(Opened::new(destination)?, workers, &FirstStep::default())
    }

    fn start_one(path: &Path) -> (Writer, Producer) {
        let (writer, mut producers) = open_and_start(Destination::File(path.into()), 1).unwrap();
        (writer, producers.pop().unwrap())
    }

    fn make_fifo(folder: &TempDir) -> PathBuf {
        let path = folder.path().join("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        path
    }

    /// Opens a named pipe for reading without waiting for a writer.
    fn open_reader(path: &Path) -> fs::File {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap().into()
    }

    /// Waits until no more is written to a pipe, and tells how much was.
    fn wait_until_full(reader: &fs::File) -> usize {
        let mut before = 0;
        loop {
            thread::sleep(10 * NAP);
            let bytes = rustix::io::ioctl_fionread(reader).unwrap();
            if bytes > 0 && bytes == before {
                return usize::try_from(bytes).unwrap();
            }
            before = bytes;
        }
    }

    /// Reads until the last writer is gone.
    fn read_to_end(reader: &mut fs::File) -> Vec<u8> {
        let start = Instant::now();
        let (mut text, mut piece) = (Vec::new(), [0; 1_000]);
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return text,
                Ok(bytes) => text.extend_from_slice(&piece[..bytes]),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    assert!(start.elapsed() < PATIENCE);
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    #[test]
    fn a_folder_that_is_held_is_where_the_file_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("logs")).unwrap();
        let held = fs::File::open(path("logs")).unwrap();
        fs::rename(path("logs"), path("moved")).unwrap();
        fs::create_dir(path("logs")).unwrap();
        let opened = Opened::within(&held, path("logs/log")).unwrap();
        assert!(path("moved/log").exists() && !path("logs/log").exists());
        assert_eq!(opened.path, Some(path("logs/log")), "what is opened anew later");
        assert!(Opened::within(&held, "..".into()).is_err());
    }

    #[test]
    fn many_producers_write_whole_lines_in_order() {
        const LINES: u64 = 20_000;
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "").unwrap();
        let (writer, producers) = open_and_start(Destination::File(path.clone()), 4).unwrap();
        thread::scope(|scope| {
            for (who, mut producer) in producers.into_iter().enumerate() {
                scope.spawn(move || {
                    for number in 0..LINES {
                        write_line(&mut producer, who, number);
                        if number % 7 == 0 {
                            producer.flush();
                        }
                    }
                });
            }
        });
        let dropped = writer.dropped();
        assert_eq!(writer.write_errors(), 0);
        assert!(writer.finish(PATIENCE));
        assert_eq!(check_lines(&fs::read_to_string(path).unwrap(), 4) + dropped, 4 * LINES);
    }

    #[test]
    fn the_buffer_always_takes_the_longest_line_and_never_grows() {
        let folder = TempDir::new().unwrap();
        let (writer, mut producer) = start_one(&folder.path().join("log"));
        let (place, capacity) = (producer.buffer().as_ptr(), producer.buffer().capacity());
        for length in (1..LINE_BYTES_MAX).step_by(97).chain([LINE_BYTES_MAX; 20]) {
            let buffer = producer.buffer();
            assert!(buffer.capacity() - buffer.len() >= LINE_BYTES_MAX);
            buffer.resize(buffer.len() + length, b'x');
            assert_eq!((buffer.as_ptr(), buffer.capacity()), (place, capacity));
        }
        assert!(writer.finish(PATIENCE));
    }

    #[test]
    fn a_sleeping_writer_is_woken_by_every_line() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let (writer, mut producers) =
            start(Opened { file: pipe.into(), path: None }, 1, &FirstStep::default()).unwrap();
        let producer = &mut producers[0];
        for number in 0..100 {
            // Around the moment at which the thread goes to sleep.
            thread::sleep(NAP + Duration::from_micros(number * 4));
            producer.buffer().extend_from_slice(b"line\n");
            producer.flush();
            let wait = Timespec { tv_sec: 5, tv_nsec: 0 };
            assert_eq!(poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&wait)), Ok(1), "line {number}");
            let mut line = [0; 5];
            reader.read_exact(&mut line).unwrap();
            assert_eq!(&line, b"line\n");
        }
        assert!(writer.finish(PATIENCE));
    }

    #[test]
    fn a_stuck_reader_costs_lines_but_no_time_and_tears_none() {
        const LINES: u64 = 50_000;
        let folder = TempDir::new().unwrap();
        let path = make_fifo(&folder);
        let mut reader = open_reader(&path);
        let (writer, mut producer) = start_one(&path);
        let start = Instant::now();
        for number in 0..LINES {
            write_line(&mut producer, 0, number);
            if number % 10 == 0 {
                producer.flush();
            }
        }
        producer.flush();
        assert!(start.elapsed() < Duration::from_secs(5));
        let dropped = producer.dropped();
        assert!(dropped > LINES / 2 && dropped == writer.dropped());

        let finished = thread::spawn(move || writer.finish(PATIENCE));
        let text = read_to_end(&mut reader);
        assert!(finished.join().unwrap());
        assert_eq!(check_lines(&String::from_utf8(text).unwrap(), 1) + dropped, LINES);
    }

    #[test]
    fn a_line_that_was_torn_is_completed_before_anybody_elses_begins() {
        const LINES: u64 = 2_000;
        let folder = TempDir::new().unwrap();
        let path = make_fifo(&folder);
        let mut reader = open_reader(&path);
        let (writer, mut producers) = open_and_start(Destination::File(path), 2).unwrap();
        for number in 0..LINES {
            write_line(&mut producers[1], 1, number);
        }
        producers[1].flush();
        let pipe_bytes = wait_until_full(&reader);
        for number in 0..LINES {
            write_line(&mut producers[0], 0, number);
        }
        drop(producers);
        let finished = thread::spawn(move || writer.finish(PATIENCE));
        let text = read_to_end(&mut reader);
        assert!(finished.join().unwrap());
        assert_ne!(text[pipe_bytes - 1], b'\n', "no line was torn");
        assert_eq!(check_lines(&String::from_utf8(text).unwrap(), 2), 2 * LINES);
    }

    #[test]
    fn a_closed_pipe_is_counted_and_tried_again() {
        let folder = TempDir::new().unwrap();
        let path = make_fifo(&folder);
        let reader = open_reader(&path);
        let (writer, mut producer) = start_one(&path);
        drop(reader);
        write_line(&mut producer, 0, 0);
        producer.flush();
        wait_until("the write fails", || writer.write_errors() > 0);
        let mut reader = open_reader(&path);
        write_line(&mut producer, 0, 1);
        producer.flush();
        assert!(writer.finish(PATIENCE));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(check_lines(&text, 1), 2);
        assert_eq!(producer.dropped(), 0);
    }

    #[test]
    fn lines_survive_a_full_disk_until_the_log_is_reopened_elsewhere() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("log");
        symlink("/dev/full", &path).unwrap();
        let (writer, mut producer) = start_one(&path);
        for number in 0..1_000 {
            write_line(&mut producer, 0, number);
            producer.flush();
        }
        wait_until("the write fails", || writer.write_errors() > 0);
        assert!(writer.write_errors() < 5, "no wake makes a full disk take more");
        fs::remove_file(&path).unwrap();
        writer.reopen();
        wait_until("the new file is there", || path.exists());
        assert!(writer.finish(PATIENCE));
        assert_eq!(check_lines(&fs::read_to_string(path).unwrap(), 1), 1_000);
    }

    #[test]
    fn a_log_that_was_moved_away_is_opened_anew_when_asked() {
        let folder = TempDir::new().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let (writer, mut producer) = start_one(&path);
        let mut log = |text: &str| {
            producer.buffer().extend_from_slice(text.as_bytes());
            producer.flush();
        };
        let is = |path: &Path, text: &str| fs::read_to_string(path).is_ok_and(|found| found == text);
        log("a\n");
        wait_until("the first line is written", || is(&path, "a\n"));
        fs::rename(&path, &moved).unwrap();
        log("b\n");
        wait_until("the second line is in the old file", || is(&moved, "a\nb\n"));
        writer.reopen();
        wait_until("there is a new file", || path.exists());
        log("c\n");
        assert!(writer.finish(PATIENCE));
        assert!(is(&moved, "a\nb\n") && is(&path, "c\n"));
    }

    #[test]
    fn a_log_that_cannot_be_reopened_goes_on_in_the_old_file() {
        let folder = TempDir::new().unwrap();
        let (logs, moved) = (folder.path().join("logs"), folder.path().join("moved"));
        fs::create_dir(&logs).unwrap();
        let (writer, mut producer) = start_one(&logs.join("log"));
        fs::rename(&logs, &moved).unwrap();
        writer.reopen();
        wait_until("reopening fails", || writer.write_errors() == 1);
        producer.buffer().extend_from_slice(b"a\n");
        drop(producer);
        assert!(writer.finish(PATIENCE));
        assert_eq!(fs::read_to_string(moved.join("log")).unwrap(), "a\n");
    }

    #[test]
    fn finishing_gives_up_on_a_stuck_writer() {
        let folder = TempDir::new().unwrap();
        let fifo = make_fifo(&folder);
        let (blocking_reader, pipe) = io::pipe().unwrap();
        let fifo_reader = open_reader(&fifo);
        for file in [OwnedFd::from(pipe), open(CWD, &fifo).unwrap()] {
            let (writer, mut producers) =
                start(Opened { file, path: None }, 1, &FirstStep::default()).unwrap();
            for number in 0..5_000 {
                write_line(&mut producers[0], 0, number);
            }
            producers[0].flush();
            let start = Instant::now();
            assert!(!writer.finish(Duration::from_millis(50)));
            assert!(start.elapsed() < Duration::from_secs(5));
        }
        drop((blocking_reader, fifo_reader));
    }

    #[test]
    fn a_destination_that_cannot_be_opened_is_an_error_at_start() {
        let folder = TempDir::new().unwrap();
        for path in [folder.path().join("missing/log"), folder.path().into(), make_fifo(&folder)] {
            assert!(open_and_start(Destination::File(path.clone()), 1).is_err(), "{path:?}");
        }
    }
}
