//! What is served to whom: the root and those of virtual hosts, each of which has to be servable at the start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::host::Hosts;
use worker::VirtualHosts;

use super::SettingsError;
use crate::cli::Vhost;

/// Hosts with the same directory are one tree.
pub(super) fn virtual_hosts(vhosts: &[Vhost]) -> VirtualHosts {
    let mut roots: Vec<PathBuf> = Vec::new();
    let number = |vhost: &Vhost| {
        let at = roots.iter().position(|root| *root == vhost.root).unwrap_or_else(|| {
            roots.push(vhost.root.clone());
            roots.len() - 1
        });
        // The root itself comes before them.
        (vhost.host.clone(), at + 1)
    };
    let hosts: Hosts = vhosts.iter().map(number).collect();
    VirtualHosts { roots, hosts: Arc::new(hosts) }
}

/// A directory that can be entered, or a regular file that can be read.
pub(super) fn check_root(path: &Path) -> io::Result<PathBuf> {
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

/// The host and its directory without symbolic links.
///
/// # Errors
/// When it cannot be served.
pub(super) fn check_vhost(vhost: &Vhost) -> Result<(String, PathBuf), SettingsError> {
    let host = vhost.host.to_string();
    match check_root(&vhost.root) {
        Ok(root) => Ok((host, root)),
        Err(source) => Err(SettingsError::Vhost { host, path: vhost.root.clone(), source }),
    }
}
