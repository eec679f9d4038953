//! Why a server could not start or go on: one line that says what, where and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use acceptor::AcceptError;
use rustix::io::Errno;
use worker::StartError;

use super::named::NotServed;
use crate::os;
use crate::sandbox::Incomplete;
use crate::sandbox::privileges::PrivilegeError;
use crate::show::quoted;

/// Why there is no server. One line: what, where, what to do.
#[derive(Debug)]
pub(crate) enum ServerError {
    /// A listener could not be opened.
    Listen {
        /// Where.
        address: String,
        /// Whether that is a path.
        is_unix: bool,
        /// What the kernel says.
        source: io::Error,
    },
    /// The access log could not be opened.
    AccessLog {
        /// Where.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The file of an application of one page is not in what is served.
    Application(NotServed),
    /// Signals cannot be received.
    Signals(io::Error),
    /// Rights could not be given up.
    Privileges(PrivilegeError),
    /// The sandbox is not what it has to be.
    Sandbox(Incomplete),
    /// A worker could not be started.
    Worker(StartError),
    /// The acceptor could not be set up.
    Acceptor(io::Error),
    /// The acceptor could not go on.
    Accept(AcceptError),
}

/// Whether the process has no descriptors or memory left.
fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// What to do when the kernel is out of something.
const SHORTAGE_ADVICE: &str = "raise `ulimit -n`, or free some memory";

/// What to do when the root was there a moment ago, and cannot be opened.
fn root_advice(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::NOSYS | Errno::PERM) => "oneloop needs Linux 5.6 or later, and to be allowed openat2(2)",
        _ => "give --root or --vhost a directory that exists and is readable",
    }
}

/// What to do when nobody can listen there.
fn listen_advice(error: &io::Error, is_unix: bool) -> &'static str {
    match (error.kind(), is_unix) {
        (io::ErrorKind::AddrInUse, true) => "stop what listens there, or remove the file if it is no socket",
        (io::ErrorKind::AddrInUse, false) => "stop what listens there, or choose another --port",
        (io::ErrorKind::PermissionDenied, true) => "choose a folder that this user may write to",
        (io::ErrorKind::PermissionDenied, false) => {
            "choose a --port from 1024 up, run as root, or grant CAP_NET_BIND_SERVICE"
        }
        (io::ErrorKind::AddrNotAvailable, _) => "choose an address of this machine with --listen or --host",
        (_, true) => "choose another path with --listen",
        (_, false) => "choose another address with --listen",
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, is_unix, source } => {
                let (reason, advice) = (os::reason(source), listen_advice(source, *is_unix));
                write!(f, "cannot listen on {}: {reason}; {advice}", quoted(address))
            }
            Self::AccessLog { path, source } => write!(
                f,
                "cannot write the access log {}: {}; choose another --access-log",
                quoted(path.display()),
                os::reason(source)
            ),
            Self::Application(error) => error.fmt(f),
            Self::Signals(source) => {
                write!(f, "cannot receive signals: {}; {SHORTAGE_ADVICE}", os::reason(source))
            }
            Self::Worker(StartError::Root { path, source }) if !is_shortage(source) => {
                let (path, reason) = (quoted(path.display()), os::reason(source));
                write!(f, "cannot open {path}: {reason}; {}", root_advice(source))
            }
            Self::Worker(StartError::Root { source, .. } | StartError::Loop(source)) => write!(
                f,
                "cannot start the workers: {}; use fewer --workers, or raise the limits on open files and threads",
                os::reason(source)
            ),
            Self::Acceptor(source) => {
                write!(f, "cannot set up the acceptor: {}; {SHORTAGE_ADVICE}", os::reason(source))
            }
            Self::Privileges(source) => source.fmt(f),
            Self::Sandbox(source) => source.fmt(f),
            Self::Accept(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. }
            | Self::AccessLog { source, .. }
            | Self::Signals(source)
            | Self::Acceptor(source) => Some(source),
            Self::Worker(source) => Some(source),
            Self::Accept(source) => Some(source),
            Self::Privileges(source) => Some(source),
            Self::Sandbox(_) => None,
            Self::Application(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_to_listen_says_what_where_and_what_to_do() {
        let error = |kind: io::ErrorKind, is_unix| {
            ServerError::Listen { address: "x".into(), is_unix, source: kind.into() }.to_string()
        };
        let in_use = error(io::ErrorKind::AddrInUse, false);
        assert!(
            in_use.starts_with("cannot listen on 'x': ") && in_use.ends_with("another --port"),
            "{in_use}"
        );
        assert!(error(io::ErrorKind::PermissionDenied, false).contains("1024"));
        assert!(error(io::ErrorKind::PermissionDenied, true).contains("folder"));
        assert!(error(io::ErrorKind::NotFound, true).contains("--listen"));
        let source = Errno::ACCESS.into();
        let line = ServerError::Listen { address: "127.0.0.1:80".into(), is_unix: false, source }.to_string();
        assert!(line.starts_with("cannot listen on '127.0.0.1:80': Permission denied; "), "{line}");
    }

    #[test]
    fn a_failure_to_start_says_once_what_went_wrong_and_what_to_do() {
        let root = |errno: Errno| {
            ServerError::Worker(StartError::Root { path: "a\nb".into(), source: errno.into() })
        };
        let table = [
            (
                ServerError::Signals(Errno::MFILE.into()),
                "cannot receive signals: Too many open files; ",
                "ulimit",
            ),
            (ServerError::Acceptor(Errno::MFILE.into()), "cannot set up the acceptor: Too many", "ulimit"),
            (
                ServerError::Worker(StartError::Loop(Errno::AGAIN.into())),
                "cannot start the workers: Resource temporarily unavailable; ",
                "--workers",
            ),
            (root(Errno::MFILE), "cannot start the workers: Too many open files; ", "--workers"),
            (root(Errno::ACCESS), r"cannot open 'a\nb': Permission denied; ", "--root"),
            (root(Errno::NOSYS), r"cannot open 'a\nb': Function not implemented; ", "Linux 5.6"),
        ];
        for (error, start, advice) in table {
            let line = error.to_string();
            assert!(line.starts_with(start) && line.contains(advice) && !line.contains('\n'), "{line}");
            assert_eq!(line.matches("cannot").count(), 1, "{line}");
        }
    }
}
