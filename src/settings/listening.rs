//! Where to listen, from flags and what the process was started with.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{OwnedFd, RawFd};

use acceptor::Address;
use rustix::fs::FileType;

use super::SettingsError;
use crate::cli::{Cli, Listen};
use crate::os;

/// Where to listen: as asked for, or what the shorthands stand for.
pub(crate) fn forms(cli: &Cli) -> Vec<Listen> {
    cli.forms()
}

/// Descriptors that listening there takes, beside those that are open already.
pub(super) const fn descriptors(listen: &Listen, is_sharded: bool, workers: usize) -> usize {
    match listen {
        Listen::Tcp { .. } if is_sharded => workers,
        Listen::Tcp { .. } | Listen::Unix(_) => 1,
        Listen::Inherited(_) | Listen::Systemd => 0,
    }
}

pub(crate) fn addresses(forms: &[Listen]) -> Result<Vec<Address>, SettingsError> {
    let mut addresses = Vec::with_capacity(forms.len());
    for form in forms {
        let inherited = |source| SettingsError::Inherited { text: form.to_string(), source };
        match form {
            Listen::Tcp { host, port } => addresses.push(
                endpoint(host, *port)
                    .map_err(|source| SettingsError::Unresolved { text: form.to_string(), source })?,
            ),
            Listen::Unix(path) => addresses.push(Address::Unix(path.clone())),
            Listen::Inherited(number) => {
                let descriptor = os::adopt(*number).and_then(|descriptor| socket(*number, descriptor));
                addresses.push(Address::Inherited(descriptor.map_err(inherited)?));
            }
            Listen::Systemd => {
                let sockets = os::adopt_from_systemd().map_err(inherited)?;
                addresses.extend(sockets.into_iter().map(Address::Inherited));
            }
        }
    }
    Ok(addresses)
}

fn socket(number: RawFd, descriptor: OwnedFd) -> io::Result<OwnedFd> {
    let stat = rustix::fs::fstat(&descriptor)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Socket {
        return Ok(descriptor);
    }
    Err(io::Error::other(format!("descriptor {number} is no socket")))
}

/// The first of the addresses that an earlier one leaves nothing of, or that is a part of an earlier one.
///
/// # Errors
/// Both of them.
pub(crate) fn check_overlap(addresses: &[Address]) -> Result<(), SettingsError> {
    for (at, late) in addresses.iter().enumerate() {
        if let Some(early) = addresses.iter().take(at).find(|early| do_overlap(early, late)) {
            return Err(SettingsError::Overlap { early: early.to_string(), late: late.to_string() });
        }
    }
    Ok(())
}

fn do_overlap(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Unix(one), Address::Unix(other)) => one == other,
        (Address::Tcp(one), Address::Tcp(other)) if one.port() == other.port() && one.port() != 0 => {
            let has_all = one.ip().is_unspecified() || other.ip().is_unspecified();
            one == other || (has_all && one.is_ipv4() == other.is_ipv4())
        }
        (Address::DualStack { port: one }, Address::DualStack { port: other }) => one == other && *one != 0,
        (Address::DualStack { port }, Address::Tcp(address))
        | (Address::Tcp(address), Address::DualStack { port }) => address.port() == *port && *port != 0,
        _ => false,
    }
}

/// An address to bind: every one of the machine for no host, the address itself, or what the name stands for.
/// Of several addresses IPv4 is taken, as every client tries it.
fn endpoint(host: &str, port: u16) -> io::Result<Address> {
    if matches!(host, "" | "*" | "::") {
        return Ok(Address::DualStack { port });
    }
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let address = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
    address.copied().map(Address::Tcp).ok_or_else(|| io::Error::other("the name has no address"))
}
