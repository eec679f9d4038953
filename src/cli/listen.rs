//! The forms of an address to listen on. Whether there is such an address is decided in `settings`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::RawFd;
use std::path::PathBuf;

use crate::show::quoted;

/// The port that is listened on where none is named.
pub(super) const DEFAULT_PORT: u16 = 8080;

const FORMS: &str = "it must be PORT, HOST:PORT, [IPV6]:PORT, unix:PATH, fd:N or systemd, \
                     with a port from 0 to 65535";

/// Where to listen, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// A TCP port.
    Tcp {
        /// Address or name, without brackets; empty for all.
        host: String,
        /// 0 for a free one.
        port: u16,
    },
    /// A Unix socket at a path.
    Unix(PathBuf),
    /// A descriptor that the process was started with.
    Inherited(RawFd),
    /// The sockets that systemd opened.
    Systemd,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(number) => write!(f, "fd:{number}"),
            Self::Systemd => f.write_str("systemd"),
        }
    }
}

pub(super) fn parse_listen(text: &str) -> Result<Listen, String> {
    listen(text).ok_or_else(|| match parse_host(text) {
        // A port with something behind it is no host that somebody forgot the port of.
        Ok(host) if is_address(&host) || !text.starts_with(|first: char| first.is_ascii_digit()) => {
            let meant = Listen::Tcp { host, port: DEFAULT_PORT };
            format!("{FORMS}; did you mean {}?", quoted(meant))
        }
        _ => FORMS.into(),
    })
}

fn is_address(host: &str) -> bool {
    is_ipv6(host) || host.parse::<Ipv4Addr>().is_ok()
}

fn listen(text: &str) -> Option<Listen> {
    if text == "systemd" {
        return Some(Listen::Systemd);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty()).then(|| Listen::Unix(path.into()));
    }
    if let Some(number) = text.strip_prefix("fd:") {
        return number.parse().ok().filter(|&number| number >= 0).map(Listen::Inherited);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let host = match unbracketed(host) {
        Some(address) => is_ipv6(address).then_some(address),
        None => (host.is_empty() || is_name(host)).then_some(host),
    };
    Some(Listen::Tcp { host: host?.into(), port: port.parse().ok()? })
}

/// An address or a name alone, with or without the brackets of an IPv6 address.
pub(super) fn parse_host(text: &str) -> Result<String, String> {
    if listen(text).is_some() {
        return Err(format!(
            "it must be an address or a name alone: use --listen {text}, or --host and --port"
        ));
    }
    let address = unbracketed(text).unwrap_or(text);
    let is_host = is_ipv6(address) || (address == text && is_name(text));
    is_host.then(|| address.to_owned()).ok_or_else(|| "it must be an address or a name".into())
}

fn unbracketed(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

/// An address, maybe with the interface that it belongs to: `fe80::1%eth0`.
fn is_ipv6(host: &str) -> bool {
    let (address, _) = host.split_once('%').unwrap_or((host, ""));
    address.parse::<Ipv6Addr>().is_ok()
}

/// What the resolver may be asked for.
fn is_name(host: &str) -> bool {
    let is_foreign = |character: char| {
        matches!(character, ':' | '/' | '[' | ']') || character.is_control() || character.is_whitespace()
    };
    !host.is_empty() && !host.contains(is_foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_address_is_understood() {
        let table = [
            ("8080", ":8080"),
            (":80", ":80"),
            ("*:80", "*:80"),
            ("[::]:80", "[::]:80"),
            ("[fe80::1%eth0]:80", "[fe80::1%eth0]:80"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("localhost:0", "localhost:0"),
            ("unix:/run/a:b", "unix:/run/a:b"),
            ("fd:3", "fd:3"),
            ("systemd", "systemd"),
        ];
        for (text, shown) in table {
            assert_eq!(parse_listen(text).map(|listen| listen.to_string()).as_deref(), Ok(shown), "{text}");
        }
        for wrong in [
            "",
            ":",
            "host",
            "8080x",
            "1.2.3.4",
            "::1:80",
            "[::1]",
            "[a]:80",
            "a:65536",
            ":99999",
            "80:",
            "a b:80",
            "unix:",
            "fd:",
            "fd:x",
            "fd:-1",
            "fd:99999999999",
            "http://a:1",
        ] {
            assert!(parse_listen(wrong).unwrap_err().starts_with(FORMS), "{wrong}");
        }
        let table = [
            ("::1", "[::1]:8080"),
            ("[::1]", "[::1]:8080"),
            ("localhost", "localhost:8080"),
            ("1.2.3.4", "1.2.3.4:8080"),
        ];
        for (wrong, meant) in table {
            assert_eq!(parse_listen(wrong).unwrap_err(), format!("{FORMS}; did you mean '{meant}'?"));
        }
        assert_eq!(parse_listen("8080x").unwrap_err(), FORMS);
    }

    #[test]
    fn a_host_is_no_place_for_a_port() {
        let table = [
            ("127.0.0.1", "127.0.0.1"),
            ("localhost", "localhost"),
            ("*", "*"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
        ];
        for (text, host) in table {
            assert_eq!(parse_host(text).as_deref(), Ok(host), "{text}");
        }
        for wrong in ["127.0.0.1:80", "[::1]:80", ":80", "8080", "unix:/s"] {
            assert!(parse_host(wrong).unwrap_err().contains(&format!("--listen {wrong}")), "{wrong}");
        }
        for wrong in ["", "[]", "[localhost]", "a/b", "a:b", "a b", "::1:x"] {
            assert_eq!(parse_host(wrong), Err("it must be an address or a name".into()), "{wrong}");
        }
    }
}
