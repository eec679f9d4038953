//! What can be served or believed that probably should not be: no reason not to start, and one to say so.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use worker::log_writer::Destination;

use super::access_log;
use crate::cli::Cli;
use crate::show::quoted;

/// Each of them: what it is about, what, where, and what to do.
pub(crate) fn warnings(cli: &Cli) -> Vec<(&'static str, String)> {
    let log = match access_log(cli.access_log.as_deref(), false) {
        Some(Destination::File(path)) => Some(path),
        Some(Destination::Stdout) | None => None,
    };
    let files = [("users", "--auth-file", cli.access.auth_file.clone()), ("access log", "--access-log", log)];
    let roots: Vec<PathBuf> = roots(cli).filter_map(|root| root.canonicalize().ok()).collect();
    let exposed = files.into_iter().filter_map(|(subject, flag, path)| {
        let path = path?;
        let root = roots.iter().find(|root| is_served(&path, root, cli.hidden))?;
        let (path, root) = (quoted(path.display()), quoted(root.display()));
        Some((subject, format!("{flag} {path} lies in {root}, so whoever may ask can read it: move it out")))
    });
    let is_open = cli.access.proxy_protocol && cli.access.trust.is_empty();
    let claimed =
        "--proxy-protocol without --trust: whoever can connect can claim any address; name the proxies";
    let missing = cli.confinement.sandbox_allow.iter().flatten().filter(|directory| !directory.is_dir()).map(
        |directory| {
            let directory = quoted(directory.display());
            (
                "reach",
                format!(
                    "{directory} is no directory, so --sandbox-allow is about nothing; name one that is there"
                ),
            )
        },
    );
    exposed.chain(is_open.then(|| ("proxies", claimed.to_owned()))).chain(missing).collect()
}

fn roots(cli: &Cli) -> impl Iterator<Item = &Path> {
    let vhosts = cli.content.vhost.iter().flatten().map(|vhost| &*vhost.root);
    std::iter::once(&*cli.root).chain(vhosts)
}

/// Whether a file, which need not be there yet, can be asked for by a name below the root, or is the root.
fn is_served(path: &Path, root: &Path, hidden: bool) -> bool {
    let Some(path) = canonical(path) else { return false };
    let Ok(below) = path.strip_prefix(root) else { return false };
    let mut names = below.iter().map(OsStr::as_encoded_bytes).enumerate();
    // RFC 8615.
    hidden || names.all(|(depth, name)| !name.starts_with(b".") || (depth == 0 && name == b".well-known"))
}

fn canonical(path: &Path) -> Option<PathBuf> {
    let of_folder = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    };
    path.canonicalize().ok().or_else(of_folder)
}

#[cfg(test)]
mod tests {
    use super::super::tests::cli;
    use super::*;

    #[test]
    fn a_file_that_could_be_asked_for_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        for directory in ["public/.hidden", "other"] {
            std::fs::create_dir_all(folder.path().join(directory)).unwrap();
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (root, vhost) = (path("public"), format!("a.test={}", path("other")));
        let table: [(&str, &[&str], bool); 8] = [
            ("public/log", &[], true),
            ("public/../public/log", &[], true),
            ("public/.log", &[], false),
            ("public/.hidden/log", &[], false),
            ("public/.hidden/log", &["--hidden"], true),
            ("public2", &[], false),
            ("other/log", &[], true),
            ("nowhere/log", &[], false),
        ];
        for (log, flags, is_warned_of) in table {
            let log = path(log);
            let flags = [&["--access-log", &log, "--vhost", &vhost, &root], flags].concat();
            assert_eq!(warnings(&cli(&flags)).len(), usize::from(is_warned_of), "{flags:?}");
        }
    }

    #[test]
    fn addresses_that_anybody_can_claim_are_warned_of() {
        let count = |flags: &[&str]| warnings(&cli(flags)).len();
        assert_eq!(count(&["--proxy-protocol=on"]), 1);
        assert_eq!(count(&["--proxy-protocol=on", "--trust", "::1"]), 0);
        assert_eq!(count(&["--access-log", "-"]), 0);
    }
}
