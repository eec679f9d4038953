//! The server under test: how it is started, asked for its figures, and ended.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use tempfile::TempDir;

use super::client::Client;
use super::process::Process;

/// How long a start, an exit or a line on standard error may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// User and group without rights, by convention `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;

/// A command line for the binary, and the circumstances it runs in.
pub(crate) struct Launch {
    binary: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    descriptors_max: Option<u32>,
    unprivileged: bool,
    /// A program and its arguments that runs the rest of its command line, as unshare(1) does.
    wrapper: Vec<OsString>,
    scratch: TempDir,
}

impl Launch {
    /// A server of `root` on a free port of 127.0.0.1.
    pub(crate) fn new(root: &Path) -> Self {
        let mut launch = Self::bare().flags(&["-p", "0", "-a", "127.0.0.1"]);
        launch.arguments.push("--root".into());
        launch.arguments.push(root.into());
        launch
    }

    /// The binary without any argument.
    pub(crate) fn bare() -> Self {
        Self {
            binary: env!("CARGO_BIN_EXE_oneloop").into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            descriptors_max: None,
            unprivileged: false,
            wrapper: Vec::new(),
            scratch: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// Adds arguments.
    pub(crate) fn flags<S: AsRef<OsStr>>(mut self, flags: &[S]) -> Self {
        self.arguments.extend(flags.iter().map(|flag| flag.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().into()));
        self
    }

    /// Allows the server only so many descriptors, hard and soft.
    pub(crate) fn descriptors_max(mut self, count: u32) -> Self {
        self.descriptors_max = Some(count);
        self
    }

    /// Starts the server through a program that becomes it in the end, so that its number stays the same.
    #[allow(dead_code, reason = "only the abuse needs it")]
    pub(crate) fn through<S: AsRef<OsStr>>(mut self, wrapper: &[S]) -> Self {
        self.wrapper = wrapper.iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Runs as `nobody` when the tests run as the superuser, for whom no file is unreadable. The binary is
    /// copied, because the build directory may lie where `nobody` may not look.
    pub(crate) fn unprivileged(mut self) -> Self {
        if rustix::process::geteuid().is_root() {
            let copy = self.scratch.path().join("oneloop");
            fs::copy(&self.binary, &copy).expect("a copy of the binary");
            fs::set_permissions(self.scratch.path(), Permissions::from_mode(0o755)).expect("chmod");
            self.binary = copy;
            self.unprivileged = true;
        }
        self
    }

    /// Starts the server and waits for its banner.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        let mut server = self.spawn();
        server.address = server.wait_for_address();
        server
    }

    /// Starts the server and waits for nothing: its address is unknown, as on a Unix socket.
    pub(crate) fn spawn(self) -> Server {
        let child = loop {
            match self.command().spawn() {
                // Another test forked while our copy of the binary was being written.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                child => break child.expect("the binary starts"),
            }
        };
        Server { child, address: SocketAddr::from(([0, 0, 0, 0], 0)), scratch: self.scratch }
    }

    /// Runs the binary to its end, which it must reach by itself.
    #[track_caller]
    pub(crate) fn run(self) -> Ended {
        let mut server = self.spawn();
        let status = server.wait_exit(PATIENCE);
        Ended { code: status.code(), stdout: server.stdout(), stderr: server.stderr() }
    }

    fn command(&self) -> Command {
        let mut command = match (self.descriptors_max, self.wrapper.split_first()) {
            (None, None) => Command::new(&self.binary),
            (None, Some((program, arguments))) => {
                let mut wrapper = Command::new(program);
                wrapper.args(arguments).arg(&self.binary);
                wrapper
            }
            (Some(count), _) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &count.to_string()]).arg(&self.binary);
                shell
            }
        };
        for (name, _) in std::env::vars_os() {
            if name == "PORT" || name.as_encoded_bytes().starts_with(b"ONELOOP_") {
                command.env_remove(name);
            }
        }
        if self.unprivileged {
            command.uid(NOBODY).gid(NOBODY);
        }
        let file = |name| File::create(self.scratch.path().join(name)).expect("a file for the output");
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        command
    }
}

/// What a run that ended by itself left behind.
pub(crate) struct Ended {
    /// Exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Everything on standard output.
    pub(crate) stdout: String,
    /// Everything on standard error.
    pub(crate) stderr: String,
}

/// A running server. Killed when dropped; if the test failed, its standard error is shown.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    scratch: TempDir,
}

impl Server {
    /// Starts a server of `root` on a free port of 127.0.0.1.
    #[track_caller]
    pub(crate) fn start(flags: &[&str], root: &Path) -> Self {
        Launch::new(root).flags(flags).start()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection to it.
    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Its entry in `/proc`.
    pub(crate) fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// Everything it has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.output("stderr")
    }

    /// Everything it has written to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.output("stdout")
    }

    fn output(&self, name: &str) -> String {
        let bytes = fs::read(self.scratch.path().join(name)).expect("the output");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends a signal to it.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("the server takes a signal");
    }

    fn pid(&self) -> Pid {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid")
    }

    /// Lets it write to no file beyond so many bytes, or as far as it likes.
    pub(crate) fn limit_file_bytes(&self, bytes: Option<u64>) {
        let current = rustix::process::getrlimit(Resource::Fsize);
        let limit = Rlimit { current: bytes.or(current.maximum), maximum: current.maximum };
        rustix::process::prlimit(Some(self.pid()), Resource::Fsize, limit).expect("prlimit");
    }

    /// Takes descriptors away from it: it may open no more while it has so many.
    pub(crate) fn limit_descriptors(&self, count: u32) {
        let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: Some(count.into()), maximum };
        rustix::process::prlimit(Some(self.pid()), Resource::Nofile, limit).expect("prlimit");
    }

    /// Asks it to finish what is in flight and to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// How it ended, if it has.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it is still alive after `patience`.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {patience:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The counters of each of its `workers`, in order, as SIGUSR1 makes it print them: one line a worker of
    /// `name=value` pairs, `worker=I` among them.
    #[track_caller]
    pub(crate) fn counters(&self, workers: usize) -> Vec<Counters> {
        let seen = self.stderr().len();
        self.signal(Signal::USR1);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stderr = self.stderr();
            let fresh = stderr.get(seen..).unwrap_or_default();
            let whole = fresh.get(..fresh.rfind('\n').map_or(0, |end| end + 1)).unwrap_or_default();
            let mut found: Vec<Counters> = whole.lines().filter_map(Counters::parse).collect();
            if found.len() >= workers {
                found.sort_by_key(|counters| counters.get("worker"));
                let indices: Vec<_> = found.iter().map(|counters| counters.get("worker")).collect();
                assert_eq!(indices, (0..workers as u64).collect::<Vec<_>>(), "one line a worker");
                return found;
            }
            assert!(Instant::now() < deadline, "no counters of {workers} workers in {fresh:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn wait_for_address(&mut self) -> SocketAddr {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stderr = self.stderr();
            if let Some(address) = address_in(&stderr) {
                return address;
            }
            if let Some(status) = self.exited() {
                panic!("the server did not start ({status}): {stderr}");
            }
            assert!(Instant::now() < deadline, "no address in the banner: {stderr}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- standard error of the server ---\n{}---", self.stderr());
        }
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first `http://127.0.0.1:PORT` of a banner whose lines are complete.
fn address_in(banner: &str) -> Option<SocketAddr> {
    let banner = banner.get(..=banner.rfind('\n')?)?;
    let (_, rest) = banner.split_once("http://127.0.0.1:")?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?)))
}

/// The figures of one worker.
#[derive(Debug)]
pub(crate) struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Reads the `name=value` pairs of a line that names a worker.
    fn parse(line: &str) -> Option<Self> {
        let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
        let figures: BTreeMap<_, _> =
            pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect();
        (figures.contains_key("worker") && figures.contains_key("adopted")).then_some(Self(figures))
    }

    /// The figure of that name.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> u64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no {name}= among {:?}", self.0))
    }
}
