//! Who the process would be, and what the sandbox would keep it to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Finding;
use crate::cli::{Cli, Mode};
use crate::sandbox::privileges::{Identity, PrivilegeError};
use crate::sandbox::{self, Reach, privileges};
use crate::server::reopening;
use crate::settings;

/// The directory that would be the root of the file system, which it is from now on.
pub(super) fn new_root(cli: &Cli) -> Option<Finding> {
    let directory = cli.confinement.chroot.as_ref()?;
    Some(match privileges::change_root(directory) {
        Ok(()) => Finding::ok("chroot", format!("{}: all paths are inside", directory.display())),
        Err(error) => Finding::fail("chroot", error),
    })
}

/// What there is of a sandbox, and what could be opened in it; `sockets` are removed at the end.
pub(super) fn sandbox(cli: &Cli, sockets: &[PathBuf]) -> Vec<Finding> {
    let mut findings = vec![offer(cli)];
    if cli.confinement.sandbox != Mode::Off {
        let site = settings::worker(cli, 1, 1).site;
        let access_log = settings::access_log(cli.access_log.as_deref(), false);
        let reach = settings::reach(cli, &site, sockets.iter().map(PathBuf::as_path), access_log.as_ref());
        findings.push(Finding::ok("reach", described(&reach)));
    }
    findings
}

/// Who the process would be, and who that is if somebody else.
pub(super) fn user(cli: &Cli) -> (Finding, Option<Identity>) {
    let finding = match settings::identity(&cli.confinement) {
        Err(error) => Finding::fail("user", error),
        Ok(Some(identity)) => {
            let finding = Finding::ok("user", format!("{identity}, once the listeners are open"));
            return (finding, Some(identity));
        }
        Ok(None) if privileges::is_superuser() => Finding::warn(
            "user",
            "root, to the end: --user gives that up once the listeners are open; the sandbox keeps root to less",
        ),
        Ok(None) => Finding::ok("user", "stays who started it"),
    };
    (finding, None)
}

/// Looks with the rights of the user that the process would be.
pub(super) fn act(identity: Option<&Identity>, look: impl FnOnce() -> Vec<Finding>) -> Vec<Finding> {
    let Some(identity) = identity else { return look() };
    let found = identity.act(look).map_err(PrivilegeError::Kept);
    found.unwrap_or_else(|error| vec![Finding::fail("user", error)])
}

/// What HUP would change nothing about.
pub(super) fn not_reopened(cli: &Cli, identity: Option<&Identity>) -> Vec<Finding> {
    let Some(identity) = identity else { return Vec::new() };
    let access_log = settings::access_log(cli.access_log.as_deref(), false);
    let warnings = reopening::warnings(identity, access_log.as_ref(), cli.access.auth_file.as_deref());
    warnings.into_iter().map(|(subject, text)| Finding::warn(subject, text)).collect()
}

fn offer(cli: &Cli) -> Finding {
    if cli.confinement.sandbox == Mode::Off {
        return Finding::ok("sandbox", "off");
    }
    let (version, shortcomings) = sandbox::offer();
    let text = match (version, shortcomings.is_empty()) {
        (Some(version), true) => format!("Landlock, version {version} of its interface, and seccomp"),
        _ => shortcomings.join("; "),
    };
    match (cli.confinement.sandbox, shortcomings.is_empty()) {
        (_, true) => Finding::ok("sandbox", text),
        (Mode::Require, false) => Finding::fail("sandbox", text),
        (_, false) => Finding::warn("sandbox", text),
    }
}

fn described(reach: &Reach) -> String {
    let named = |what: &str, paths: &BTreeSet<PathBuf>| {
        let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        (!paths.is_empty()).then(|| format!("{what} {}", paths.join(", ")))
    };
    let parts = [
        named("reads below", &reach.trees),
        named("reads files below", &reach.files),
        named("appends below", &reach.logs),
        named("removes sockets in", &reach.sockets),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
