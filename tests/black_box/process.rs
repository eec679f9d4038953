//! What `/proc` knows about a process, and the limits of our own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Ticks a second in `/proc/PID/stat`: `USER_HZ`, which the kernel promises to be 100.
const TICKS_PER_SECOND: u32 = 100;

/// A process by its number.
pub(crate) struct Process {
    id: u32,
    directory: PathBuf,
}

impl Process {
    /// The process of that number.
    pub(crate) fn new(pid: u32) -> Self {
        Self { id: pid, directory: PathBuf::from(format!("/proc/{pid}")) }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The id of the one thread of that name.
    #[track_caller]
    pub(crate) fn thread(&self, name: &str) -> String {
        let tasks = fs::read_dir(self.directory.join("task")).expect("task");
        let mut ids = tasks.map(|entry| entry.expect("an entry")).filter(|entry| {
            fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        });
        let id = ids.next().unwrap_or_else(|| panic!("no thread {name}")).file_name();
        assert!(ids.next().is_none(), "several threads {name}");
        id.to_string_lossy().into_owned()
    }

    /// Processor time used so far, by all threads, in user and kernel mode.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(self.directory.join("stat")).expect("stat");
        // The command name may contain anything, so count from behind its closing parenthesis: proc(5).
        let (_, rest) = stat.rsplit_once(')').expect("a command name");
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks: u32 = [11, 12].iter().map(|&index| fields[index].parse::<u32>().expect("ticks")).sum();
        Duration::from_secs(1) * ticks / TICKS_PER_SECOND
    }

    /// Processor time used during `span`.
    pub(crate) fn processor_time_over(&self, span: Duration) -> Duration {
        let before = self.processor_time();
        std::thread::sleep(span);
        self.processor_time() - before
    }

    /// Whether it catches the signal of that number.
    pub(crate) fn catches(&self, signal: i32) -> bool {
        let caught = u64::from_str_radix(&self.status("SigCgt:"), 16).expect("a mask");
        caught >> (signal - 1) & 1 == 1
    }

    /// What a line of its status says.
    fn status(&self, name: &str) -> String {
        let status = fs::read_to_string(self.directory.join("status")).expect("status");
        status.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim().into()
    }

    /// What `/proc` says of each of its threads.
    pub(crate) fn thread_statuses(&self) -> Vec<String> {
        let threads = fs::read_dir(self.directory.join("task")).expect("task").flatten();
        threads.map(|thread| fs::read_to_string(thread.path().join("status")).expect("status")).collect()
    }

    /// How long its threads together were ready to run while the processors ran others.
    pub(crate) fn waited_for_processor(&self) -> Duration {
        let threads = fs::read_dir(self.directory.join("task")).expect("task");
        threads.flatten().map(|thread| waited_for_processor(&thread.path())).sum()
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let kibibytes: u64 = self.status(name).trim_end_matches(" kB").parse().expect("a figure in kB");
        kibibytes << 10
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most that was ever resident.
    #[allow(dead_code, reason = "only the abuse needs it")]
    pub(crate) fn most_resident_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// Resident memory that is its own: pages of files, which the kernel can take back, are not.
    pub(crate) fn own_bytes(&self) -> u64 {
        self.status_bytes("RssAnon:") + self.status_bytes("RssShmem:")
    }

    /// Bytes of the files that it holds and that lie nowhere but in memory.
    pub(crate) fn memfd_bytes(&self) -> u64 {
        let links = fs::read_dir(self.directory.join("fd")).expect("fd").flatten().map(|link| link.path());
        let is_memfd = |path: &PathBuf| {
            fs::read_link(path)
                .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"))
        };
        links.filter(is_memfd).filter_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
    }

    /// Bytes that its threads whose names begin with `prefix` made the kernel fetch from disks so far.
    pub(crate) fn fetched_bytes(&self, prefix: &str) -> u64 {
        let threads = fs::read_dir(self.directory.join("task")).expect("task").flatten();
        let is_meant = |name: &str| name.starts_with(prefix);
        let threads = threads.map(|thread| thread.path());
        let meant =
            threads.filter(|path| fs::read_to_string(path.join("comm")).is_ok_and(|name| is_meant(&name)));
        let figure = |path: PathBuf| {
            let io = fs::read_to_string(path.join("io")).expect("io");
            let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: ")).expect("read_bytes");
            line.parse::<u64>().expect("a figure")
        };
        meant.map(figure).sum()
    }

    /// How long the thread of that name was ready to run while the processors ran others.
    pub(crate) fn thread_waited_for_processor(&self, name: &str) -> Duration {
        waited_for_processor(&self.task(name))
    }

    /// State and kernel stack of the thread of that name.
    pub(crate) fn thread_state(&self, name: &str) -> (char, String) {
        let read = |file| fs::read_to_string(self.task(name).join(file)).unwrap_or_default();
        let state = read("stat").rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        (state.unwrap_or('?'), read("stack"))
    }

    /// The processors on which the thread of that name may run, as `/proc` writes them.
    pub(crate) fn thread_processors(&self, name: &str) -> String {
        let status = fs::read_to_string(self.task(name).join("status")).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.expect("a list").trim().to_owned()
    }

    fn task(&self, name: &str) -> PathBuf {
        self.directory.join("task").join(self.thread(name))
    }

    /// State of its first thread: `Z` once the process has ended but for threads that the kernel holds.
    #[allow(dead_code, reason = "only the abuse needs it")]
    pub(crate) fn main_thread_state(&self) -> char {
        let stat = fs::read_to_string(self.directory.join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
    }

    /// Descriptors it holds now.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.directory.join("fd")).expect("fd").count()
    }

    /// Sockets it holds now: unlike other descriptors, none of them is kept in a cache.
    pub(crate) fn sockets(&self) -> usize {
        let links = fs::read_dir(self.directory.join("fd")).expect("fd");
        // A descriptor may be gone before its link is read.
        let targets = links.flatten().flat_map(|link| fs::read_link(link.path()));
        targets.filter(|target| target.as_os_str().as_encoded_bytes().starts_with(b"socket:")).count()
    }
}

/// How long the calling thread was ready to run while the processors ran others.
pub(crate) fn this_thread_waited_for_processor() -> Duration {
    waited_for_processor(Path::new("/proc/thread-self"))
}

/// The second figure of `schedstat`, in nanoseconds. A kernel that does not keep it knows of no waiting.
fn waited_for_processor(thread: &Path) -> Duration {
    let schedstat = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    Duration::from_nanos(schedstat.split_whitespace().nth(1).and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

/// Raises our own soft limit on descriptors to the hard one, which it returns.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("setrlimit");
    limit.maximum.unwrap_or(u64::MAX)
}
