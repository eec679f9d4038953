//! From the command line to what each room reads: everything is validated here, once, and never per request.

mod access;
mod budget;
mod confinement;
mod listening;
mod machine;
mod memory;
mod site;
mod warnings;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use acceptor::Address;
use protocol::Limits;
use worker::gate::GateSettings;
use worker::log_writer::Destination;
use worker::{Deadlines, FirstStep, Memory, Rates};

use crate::cli::{Accept, Cli, Vhost, Workers};
use crate::os;
use crate::sandbox::privileges::{self, Identity, PrivilegeError};
use crate::sandbox::{Reach, Wish};
use crate::show::quoted;
pub(crate) use access::{UserFile, UserFileError};
use budget::Budget;
use confinement::wish;
pub(crate) use confinement::{identity, reach, unix_path};
use listening::descriptors;
pub(crate) use listening::{addresses, check_overlap, forms};
pub(crate) use machine::{Machine, processors};
pub(crate) use memory::{MemoryError, Shares};
use site::site;
pub(crate) use warnings::warnings;

/// Sockets that may wait for one worker. More than it takes over in one turn under the heaviest load.
const HANDOFF_CAPACITY: usize = 1024;
/// The kernel rounds the time that it holds a silent connection back to whole seconds and does not count it as
/// ours: only a header timeout beside which a second is small is worth the system calls saved.
const DEFERRING_HEADER_MS_MIN: u64 = 5000;

/// Everything that the server is started with.
#[derive(Debug)]
pub(crate) struct Settings {
    /// For the acceptor.
    pub(crate) acceptor: acceptor::Settings,
    /// Most connections that all workers hold together. Beyond it, new ones wait in the backlog.
    pub(crate) connections_max: u64,
    /// How the memory is shared out.
    pub(crate) shares: Shares,
    /// Most connections of each client, if that is limited.
    pub(crate) of_client_max: Option<u32>,
    /// For every worker, but for its processor.
    pub(crate) worker: worker::Settings,
    /// One worker for each: the processor it is bound to.
    pub(crate) processors: Vec<Option<usize>>,
    /// Threads that wait for disks, of all workers together.
    pub(crate) helpers: usize,
    /// Who the process becomes once the listeners are open.
    pub(crate) identity: Option<Identity>,
    /// The sandbox that it is to be in.
    pub(crate) sandbox: Wish,
    /// What may be opened there.
    pub(crate) reach: Reach,
    /// Where users are read from, on HUP once more.
    pub(crate) user_file: Option<UserFile>,
    /// Where to listen.
    pub(crate) listen: Vec<Address>,
    /// Whether each worker has listeners of its own, where that is possible.
    pub(crate) is_sharded: bool,
    /// Whether the kernel may hold back connections that have sent nothing yet.
    pub(crate) defers_accept: bool,
    /// Where requests are logged.
    pub(crate) access_log: Option<Destination>,
    /// How long requests in flight have when the server stops.
    pub(crate) grace: Duration,
    /// The root without symbolic links, for the banner.
    pub(crate) root: PathBuf,
    /// Virtual hosts, and their roots without symbolic links, for the banner.
    pub(crate) vhosts: Vec<(String, PathBuf)>,
    /// Whether nothing but errors is said.
    pub(crate) is_quiet: bool,
    /// Whether the counters are logged at exit.
    pub(crate) is_verbose: bool,
}

impl Settings {
    /// Validates what the command line asks for.
    ///
    /// Adopts inherited sockets and changes the root of the file system, so it comes before anything that opens descriptors.
    ///
    /// # Errors
    /// The flag to blame, what is wrong with it, and what to do.
    pub(crate) fn new(cli: &Cli, machine: &Machine, stdout_is_terminal: bool) -> Result<Self, SettingsError> {
        let workers = workers(cli, machine);
        let access_log = access_log(cli.access_log.as_deref(), stdout_is_terminal);
        // First, because everything else opens something.
        let budget = budget(cli, machine, access_log.is_some())?;
        let listen = addresses(&forms(cli))?;
        // Names are looked up outside of a new root; every path is one inside of it.
        let identity = identity(&cli.confinement)?;
        if let Some(directory) = &cli.confinement.chroot {
            privileges::change_root(directory).map_err(SettingsError::Privileges)?;
        }
        check_overlap(&listen)?;
        let root = check_root(&cli.root)?;
        let vhosts = cli.content.vhost.iter().flatten().map(check_vhost).collect::<Result<_, _>>()?;
        let gate = gate(cli)?;
        let shares = shares(cli, workers, budget, access_log.is_some(), gate.as_ref())?;
        let mut worker =
            worker::Settings { gate, ..worker(cli, budget.connections_max, budget.open_files_max) };
        shares.apply(&mut worker);
        Ok(Self {
            acceptor: acceptor::Settings { backlog: cli.backlog.into() },
            connections_max: shares.connections_max(),
            shares,
            of_client_max: cli.overload.max_conns_per_ip.some(),
            processors: processors(&cli.pin, machine, workers)?,
            sandbox: wish(cli),
            reach: reach(cli, &worker.site, listen.iter().filter_map(unix_path), access_log.as_ref()),
            listen,
            is_sharded: is_sharded(cli),
            defers_accept: worker.deadlines.header_ms >= DEFERRING_HEADER_MS_MIN,
            worker,
            access_log,
            grace: cli.grace,
            root,
            vhosts,
            is_quiet: cli.quiet,
            is_verbose: cli.verbose,
            helpers: cli.helpers,
            user_file: UserFile::of(&cli.access),
            identity,
        })
    }
}

/// How many workers there are.
pub(crate) fn workers(cli: &Cli, machine: &Machine) -> usize {
    match cli.workers {
        Workers::Auto => machine.parallelism.max(1),
        Workers::Count(count) => count,
    }
}

fn is_sharded(cli: &Cli) -> bool {
    cli.accept == Accept::Sharded
}

/// How the descriptors are shared out.
pub(crate) fn budget(cli: &Cli, machine: &Machine, has_access_log: bool) -> Result<Budget, SettingsError> {
    let workers = workers(cli, machine);
    let listeners = forms(cli).iter().map(|form| descriptors(form, is_sharded(cli), workers)).sum();
    Budget::new(cli, machine, workers, listeners, has_access_log)
}

/// How the memory is shared out between as many connections and files as there are descriptors for, and the rest.
fn shares(
    cli: &Cli,
    workers: usize,
    descriptors: Budget,
    has_access_log: bool,
    gate: Option<&GateSettings>,
) -> Result<Shares, SettingsError> {
    let users = gate.and_then(|gate| gate.users.as_ref());
    let password_kib = users.map_or(0, |roll| roll.users().password_kib());
    let load = memory::Load { workers: workers as u64, descriptors, has_access_log, password_kib };
    Shares::new(cli, &load).map_err(SettingsError::Memory)
}

/// The same, for whoever wants to know no more.
///
/// # Errors
/// Why the server would not start.
pub(crate) fn memory(cli: &Cli, machine: &Machine, has_access_log: bool) -> Result<Shares, SettingsError> {
    let gate = gate(cli)?;
    let descriptors = budget(cli, machine, has_access_log)?;
    shares(cli, workers(cli, machine), descriptors, has_access_log, gate.as_ref())
}

/// Who may ask, if not everybody.
pub(crate) fn gate(cli: &Cli) -> Result<Option<GateSettings>, SettingsError> {
    access::gate(&cli.access, cli.overload.rate.some()).map_err(SettingsError::Users)
}

/// What a worker is told, whatever processor it is bound to and whoever may ask.
pub(crate) fn worker(cli: &Cli, connections_max: u64, open_files_max: usize) -> worker::Settings {
    worker::Settings {
        limits: Limits {
            head_bytes_max: cli.max_header,
            target_bytes_max: cli.max_uri,
            fields_max: cli.max_fields.into(),
            content_bytes_max: cli.max_body,
        },
        deadlines: deadlines(cli),
        memory: Memory::default(),
        rates: Rates { most: cli.bounds.most(), least: cli.bounds.least() },
        // Any worker may end up with all connections: turns are strict, but lifetimes differ.
        connections_max: saturate(connections_max),
        handoff_capacity: HANDOFF_CAPACITY,
        backlog: cli.backlog.into(),
        processor: None,
        spin_us: cli.spin_us,
        first: FirstStep::default(),
        gate: None,
        site: site(cli, open_files_max),
    }
}

pub(crate) fn saturate(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn deadlines(cli: &Cli) -> Deadlines {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Deadlines {
        header_ms: milliseconds(cli.header_timeout),
        keep_alive_ms: milliseconds(cli.idle_timeout),
        content_ms: milliseconds(cli.body_timeout),
        send_ms: milliseconds(cli.send_timeout),
        linger_ms: milliseconds(cli.linger_timeout),
    }
}

/// A directory that can be entered, or a regular file that can be read.
pub(crate) fn check_root(path: &Path) -> Result<PathBuf, SettingsError> {
    check_tree(path).map_err(|source| SettingsError::Root { path: path.to_owned(), source })
}

fn check_tree(path: &Path) -> io::Result<PathBuf> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        fs::metadata(path.join("."))?;
    } else if kind.is_file() {
        fs::File::open(path)?;
    } else {
        return Err(io::Error::other("it is neither a directory nor a regular file"));
    }
    path.canonicalize()
}

fn check_vhost(vhost: &Vhost) -> Result<(String, PathBuf), SettingsError> {
    let host = vhost.host.to_string();
    match check_tree(&vhost.root) {
        Ok(root) => Ok((host, root)),
        Err(source) => Err(SettingsError::Vhost { host, path: vhost.root.clone(), source }),
    }
}

pub(crate) fn access_log(argument: Option<&str>, stdout_is_terminal: bool) -> Option<Destination> {
    match argument {
        Some("off") => None,
        None if !stdout_is_terminal => None,
        None | Some("-") => Some(Destination::Stdout),
        Some(path) => Some(Destination::File(path.into())),
    }
}

/// What is wrong with the configuration, on this machine. One line: what, where, what to do.
#[derive(Debug)]
pub(crate) enum SettingsError {
    /// The root cannot be served.
    Root {
        /// As it was given.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// What is to be served for a host cannot be.
    Vhost {
        /// Who asks for it.
        host: String,
        /// As it was given.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Not even one connection could be served.
    Descriptors {
        /// How many there are.
        allowed: u64,
        /// How many are enough.
        least: u64,
        /// What they are needed for.
        workers: usize,
    },
    /// The host name means nothing here.
    Unresolved {
        /// As it was given.
        text: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// There is no such descriptor for us.
    Inherited {
        /// As it was given.
        text: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Two addresses cannot be listened on at once.
    Overlap {
        /// The one that was given first.
        early: String,
        /// The one that is too much.
        late: String,
    },
    /// Nobody could be let in.
    Users(UserFileError),
    /// There is too little memory.
    Memory(MemoryError),
    /// The process cannot be who it is to be.
    Privileges(PrivilegeError),
    /// The process may not run there.
    Processor {
        /// The one that was asked for.
        processor: usize,
        /// Those that there are.
        allowed: Vec<usize>,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root { path, source } => write!(
                f,
                "cannot serve {}: {}; give --root a directory or file that exists and is readable",
                quoted(path.display()),
                os::reason(source)
            ),
            Self::Vhost { host, path, source } => write!(
                f,
                "cannot serve {} for {host}: {}; give --vhost {host}=DIR a directory that exists and is readable",
                quoted(path.display()),
                os::reason(source)
            ),
            Self::Descriptors { allowed, least, workers } => write!(
                f,
                "cannot serve with at most {allowed} open files: raise `ulimit -n` to at least {least}{}",
                if *workers > 1 { ", or use fewer --workers" } else { "" }
            ),
            Self::Unresolved { text, source } => write!(
                f,
                "cannot listen on {}: {}; give --listen or --host an address or name of this machine",
                quoted(text),
                os::reason(source)
            ),
            Self::Inherited { text, source } => write!(
                f,
                "cannot listen on {}: {}; start oneloop from what opens the sockets, or choose another --listen",
                quoted(text),
                os::reason(source)
            ),
            Self::Overlap { early, late } => write!(
                f,
                "cannot listen on {} as well: {}, which is given before, covers it or is a part of it; remove one",
                quoted(late),
                quoted(early)
            ),
            Self::Users(source) => source.fmt(f),
            Self::Memory(source) => source.fmt(f),
            Self::Privileges(source) => source.fmt(f),
            Self::Processor { processor, allowed } => {
                let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
                let allowed = allowed.join(", ");
                write!(
                    f,
                    "cannot bind a worker to processor {processor}: the process may run on {allowed}; change --pin"
                )
            }
        }
    }
}

impl std::error::Error for SettingsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Root { source, .. }
            | Self::Vhost { source, .. }
            | Self::Unresolved { source, .. }
            | Self::Inherited { source, .. } => Some(source),
            Self::Users(source) => Some(source),
            Self::Memory(source) => Some(source),
            Self::Privileges(source) => Some(source),
            Self::Descriptors { .. } | Self::Overlap { .. } | Self::Processor { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::cli::Listen;

    const MACHINE: (u64, usize) = (20_000, 4);

    pub(super) fn machine() -> Machine {
        Machine {
            descriptors_max: MACHINE.0,
            descriptors_open: 5,
            processors: vec![0, 1, 4, 5],
            parallelism: MACHINE.1,
        }
    }

    pub(super) fn cli(arguments: &[&str]) -> Cli {
        Cli::read(std::iter::once("oneloop").chain(arguments.iter().copied()), None).unwrap()
    }

    fn settings(arguments: &[&str]) -> Result<Settings, SettingsError> {
        Settings::new(&cli(arguments), &machine(), false)
    }

    fn shown(arguments: &[&str]) -> String {
        let addresses = addresses(&forms(&cli(arguments))).unwrap();
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_address_is_what_its_form_stands_for() {
        let table = [
            ("8080", "[::]:8080"),
            ("*:80", "[::]:80"),
            ("[::]:80", "[::]:80"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("unix:/run/a:b", "unix:/run/a:b"),
        ];
        for (text, expected) in table {
            assert_eq!(shown(&["-l", text]), expected);
        }
        for number in [1, 9999] {
            let refused = addresses(&[Listen::Inherited(number)]);
            assert!(matches!(refused, Err(SettingsError::Inherited { .. })), "{number}");
        }
    }

    #[test]
    fn shorthands_make_one_address() {
        assert_eq!(shown(&[]), "[::]:8080");
        assert_eq!(shown(&["-p", "0"]), "[::]:0");
        assert_eq!(shown(&["-a", "127.0.0.1"]), "127.0.0.1:8080");
        assert_eq!(shown(&["-a", "::1", "-p", "80"]), "[::1]:80");
        assert_eq!(shown(&["-l", "127.0.0.1:1", "-l", "unix:s"]), "127.0.0.1:1 unix:s");
    }

    #[test]
    fn listeners_of_the_workers_take_as_many_descriptors() {
        let table =
            [("80", false, 1), ("80", true, 4), ("unix:s", true, 1), ("fd:9", true, 0), ("systemd", true, 0)];
        for (form, is_sharded, count) in table {
            assert_eq!(descriptors(&cli(&["-l", form]).listen[0], is_sharded, 4), count, "{form}");
        }
        let connections = |arguments: &[&str]| settings(arguments).unwrap().connections_max;
        let sharded = ["--accept", "sharded", "-t", "4", "-l", "80", "-l", "unix:s"];
        // Three more listeners than without; the caches take a quarter of what is left.
        assert!(connections(&sharded) < connections(&sharded[2..]));
    }

    #[test]
    fn workers_are_bound_in_turns_and_only_where_they_may_run() {
        let bound = |arguments: &[&str]| settings(arguments).map(|settings| settings.processors);
        assert_eq!(bound(&[]).unwrap(), [None; 4]);
        assert_eq!(bound(&["-t", "2", "--pin", "auto"]).unwrap(), [Some(0), Some(1)]);
        assert_eq!(bound(&["-t", "3", "--pin", "5,0"]).unwrap(), [Some(5), Some(0), Some(5)]);
        let error = bound(&["--pin", "0-2"]).unwrap_err();
        assert!(error.to_string().contains("processor 2") && error.to_string().contains("--pin"), "{error}");
    }

    #[test]
    fn the_root_must_be_there_and_servable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.txt");
        fs::write(&file, "a").unwrap();
        let root = |path: &Path| settings(&["--root", path.to_str().unwrap()]);
        assert_eq!(root(folder.path()).unwrap().root, folder.path().canonicalize().unwrap());
        assert!(root(&file).is_ok());
        for wrong in [folder.path().join("missing").as_path(), Path::new("/dev/null")] {
            let line = root(wrong).unwrap_err().to_string();
            assert!(line.starts_with(&format!("cannot serve '{}': ", wrong.display())), "{line}");
            assert!(line.contains("--root") && !line.contains("os error") && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn each_directory_of_virtual_hosts_must_be_servable_and_is_one_tree() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let vhost = |host: &str, name: &str| format!("--vhost={host}={}", folder.path().join(name).display());
        let flags = [vhost("a.org", "a"), vhost("b.org", "b"), vhost("*.a.org", "a")];
        let settings = |flags: &[String]| settings(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        let served = settings(&flags).unwrap();
        assert_eq!(served.worker.site.roots().count(), 3);
        let number = |host: &str| served.worker.site.vhosts.hosts.find(host.as_bytes());
        assert_eq!(["a.org", "b.org", "x.a.org", "c.org"].map(number), [Some(1), Some(2), Some(1), None]);
        assert_eq!(served.vhosts.len(), 3);
        let line = settings(&[vhost("c.org", "missing")]).unwrap_err().to_string();
        assert!(line.contains("missing' for c.org: ") && line.contains("--vhost c.org=DIR"), "{line}");
    }

    #[test]
    fn the_access_log_is_off_unless_somebody_looks() {
        assert!(access_log(None, false).is_none());
        assert!(matches!(access_log(None, true), Some(Destination::Stdout)));
        assert!(access_log(Some("off"), true).is_none());
        assert!(matches!(access_log(Some("-"), false), Some(Destination::Stdout)));
        assert!(
            matches!(access_log(Some("a.log"), false), Some(Destination::File(path)) if path == Path::new("a.log"))
        );
    }

    #[test]
    fn accepting_is_deferred_only_beside_a_long_header_timeout() {
        assert!(settings(&[]).unwrap().defers_accept);
        assert!(!settings(&["--header-timeout", "1s"]).unwrap().defers_accept);
    }
}
