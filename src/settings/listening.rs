//! Where to listen, from flags and what the process was started with.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use acceptor::Address;

use super::SettingsError;
use crate::cli::{Cli, Listen};
use crate::os;

const DEFAULT_PORT: u16 = 8080;

/// Where to listen: as asked for, or what the shorthands stand for.
pub(crate) fn forms(cli: &Cli) -> Vec<Listen> {
    if !cli.listen.is_empty() {
        return cli.listen.clone();
    }
    let host = cli.host.clone().unwrap_or_default();
    vec![Listen::Tcp { host, port: cli.port.unwrap_or(DEFAULT_PORT) }]
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
                addresses.push(Address::Inherited(os::adopt(*number).map_err(inherited)?));
            }
            Listen::Systemd => {
                let sockets = os::adopt_from_systemd().map_err(inherited)?;
                addresses.extend(sockets.into_iter().map(Address::Inherited));
            }
        }
    }
    Ok(addresses)
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
