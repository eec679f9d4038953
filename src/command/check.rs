//! `oneloop check`: what would keep the server from starting, and what would make it do less than it is told, without
//! serving. One line for each finding.
//!
//! It asks the code that serves wherever there is such code: roots and files are opened, addresses bound, as they
//! would be, and closed again.

mod confinement;
mod machine;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use acceptor::{Address, Listener};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use worker::log_writer::Destination;
use worker::site::opening::{Opener, Wanted};
use worker::site::residency;
use worker::site::resolve::Root;

use super::{Ended, put_out};
use crate::cli::{self, Cli};
use crate::sandbox::privileges::Identity;
use crate::server::{self, ServerError, reopening};
use crate::settings::{self, SettingsError};
use crate::show::{plain, quoted};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// The server would start, and do less than it could.
    Warn,
    /// The server would not start, or never do something that it is told.
    Fail,
}

/// What was found out.
#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    /// What it is about.
    subject: &'static str,
    /// What, where, what to do.
    text: String,
}

impl Finding {
    fn ok(subject: &'static str, text: impl fmt::Display) -> Self {
        Self { verdict: Verdict::Ok, subject, text: text.to_string() }
    }

    fn warn(subject: &'static str, text: impl fmt::Display) -> Self {
        Self { verdict: Verdict::Warn, ..Self::ok(subject, text) }
    }

    fn fail(subject: &'static str, text: impl fmt::Display) -> Self {
        Self { verdict: Verdict::Fail, ..Self::ok(subject, text) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        write!(f, "{verdict:<6}{:<13}{}", self.subject, plain(&self.text))
    }
}

/// Checks everything. Succeeds if nothing fails.
///
/// # Errors
/// When the findings cannot be written.
pub(crate) fn run(cli: &Cli) -> Ended {
    let mut findings: Vec<Finding> =
        cli::strange_variables().into_iter().map(|line| Finding::warn("environment", line)).collect();
    // As the server does: names are looked up outside of a new root, paths inside.
    let addresses: Vec<_> =
        settings::forms(cli).into_iter().map(|form| settings::addresses(&[form])).collect();
    let (user, identity) = confinement::user(cli);
    let identity = identity.as_ref();
    findings.extend(confinement::new_root(cli));
    findings.extend(confinement::act(identity, || content(cli)));
    let sockets = addresses.iter().flatten().flatten().filter_map(settings::unix_path);
    let sockets: Vec<_> = sockets.map(Path::to_owned).collect();
    findings.extend(listening(addresses, cli));
    findings.extend(users(cli));
    findings.push(user);
    findings.extend(settings::warnings(cli).into_iter().map(|(subject, text)| Finding::warn(subject, text)));
    findings.extend(access_log(cli, identity));
    findings.extend(confinement::act(identity, || confinement::not_reopened(cli, identity)));
    findings.extend(machine::findings(cli));
    findings.extend(confinement::sandbox(cli, &sockets));
    let lines: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    put_out(lines.as_bytes())?;
    let has_failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The root, and the files in it that flags name.
fn content(cli: &Cli) -> Vec<Finding> {
    let path = match settings::check_root(&cli.root) {
        Ok(path) => path,
        Err(error) => return vec![Finding::fail("root", error)],
    };
    let site = settings::worker(cli, 1, 1).site;
    let releases = match worker::open_roots(&site) {
        Ok(releases) => releases,
        Err(error) => return vec![Finding::fail("root", ServerError::Worker(error))],
    };
    let root = releases.root().root();
    let mut findings = vec![Finding::ok("root", path.display()), file_system(&path, root)];
    let is_directory = root.only().is_none();
    let opener = Opener::new(Arc::clone(releases.root()), Arc::clone(&site.plan));
    if is_directory && !server::is_file(&opener, "", Wanted::Directory) {
        let text = format!("none of {} is there: / is answered with 404", site.plan.index.join(", "));
        findings.push(Finding::warn("index", text));
    }
    if let Some(file) = &site.spa {
        findings.push(match server::check_application(&site, &releases) {
            Ok(()) => Finding::ok("file", format!("{}, for --spa", quoted(file))),
            Err(error) => Finding::fail("file", error),
        });
    }
    findings.extend(cli.content.error_page.iter().map(|page| {
        let file = quoted(&page.file);
        if server::is_file(&opener, &page.file, Wanted::ErrorPage) {
            Finding::ok("file", format!("{file}, for --error-page"))
        } else {
            Finding::fail("file", format!("{file} cannot be served for --error-page; put it into the root"))
        }
    }));
    findings
}

fn file_system(path: &Path, root: &Root) -> Finding {
    let is_local = File::open(path).is_ok_and(residency::is_local);
    match (root.opens_from_cache(), is_local) {
        (true, _) => Finding::ok("file system", "local: what is in memory is opened at once"),
        (false, true) => Finding::warn(
            "file system",
            "local, but before Linux 5.12 helper threads have to open every file",
        ),
        (false, false) => Finding::warn(
            "file system",
            "not known to be local: helper threads open every file; more --helpers serve more at once",
        ),
    }
}

/// Every address, bound for a moment.
fn listening(resolved: Vec<Result<Vec<Address>, SettingsError>>, cli: &Cli) -> Vec<Finding> {
    let (mut findings, mut addresses) = (Vec::new(), Vec::new());
    for found in resolved {
        match found {
            Err(error) => findings.push(Finding::fail("listen", error)),
            Ok(found) => addresses.extend(found),
        }
    }
    findings.extend(settings::check_overlap(&addresses).err().map(|error| Finding::fail("listen", error)));
    findings.extend(addresses.into_iter().map(|address| bind(address, cli)));
    findings
}

fn bind(address: Address, cli: &Cli) -> Finding {
    let shown = address.to_string();
    let is_unix = matches!(address, Address::Unix(_));
    match Listener::bind(address, cli.backlog.into()) {
        Ok(_) => Finding::ok("listen", shown),
        Err(source) => Finding::fail("listen", ServerError::Listen { address: shown, is_unix, source }),
    }
}

/// Who may ask, of those who are in a file.
fn users(cli: &Cli) -> Option<Finding> {
    let path = cli.access.auth_file.as_ref()?;
    Some(match settings::gate(cli) {
        Ok(_) => Finding::ok("users", format!("of {}", path.display())),
        Err(error) => Finding::fail("users", error),
    })
}

/// The access log, without making the file.
fn access_log(cli: &Cli, identity: Option<&Identity>) -> Option<Finding> {
    let Some(Destination::File(path)) = settings::access_log(cli.access_log.as_deref(), false) else {
        return None;
    };
    let look = || may_be_log(&path);
    Some(match reopening::open_log(identity, &path, look, |_| look()) {
        Ok(()) => Finding::ok("access log", path.display()),
        Err(source) => Finding::fail("access log", ServerError::AccessLog { path, source }),
    })
}

fn may_be_log(path: &Path) -> io::Result<()> {
    if path.exists() {
        // NONBLOCK: a pipe that nobody reads keeps nobody waiting.
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::CLOEXEC;
        return Ok(rustix::fs::open(path, flags, Mode::empty()).map(drop)?);
    }
    let folder = reopening::folder_of(path);
    Ok(rustix::fs::accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}
