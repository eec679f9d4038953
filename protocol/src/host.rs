//! Names of hosts: which of several trees a request is for, by its authority (RFC 9110 §7.2).
//!
//! A pattern is the name of one host, or `*.` and a name: every host below that name, however deep, but not the name
//! itself. Letters may be small or capital, a port and a dot at the end count for nothing. The name of one host beats
//! every star, and of several stars the one with the longest name wins.

use std::error::Error;
use std::fmt;
use std::io::Write as _;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// No name in the DNS is longer (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// Which hosts are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// The host of this name, in small letters.
    One(Box<str>),
    /// All hosts below this name.
    Below(Box<str>),
}

/// What is wrong with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// There is no name.
    Empty,
    /// The name is longer than any host's.
    TooLong,
    /// A star stands where none may.
    Star,
    /// There is something in it that no name holds.
    Character,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the name of a host is missing",
            Self::TooLong => "the name of a host has at most 255 characters",
            Self::Star => "a star may only stand for all of the first labels, as in *.example.org",
            Self::Character => {
                "the name of a host holds letters, digits, dots, - and _, and no port; other scripts are written xn--"
            }
        })
    }
}

impl Error for HostError {}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        match text.strip_prefix("*.") {
            Some(name) => host_name(name).map(Self::Below),
            None => match ipv6_literal(text.as_bytes()) {
                Some(address) => Ok(Self::One(format!("[{address}]").into())),
                None => host_name(text).map(Self::One),
            },
        }
    }
}

fn host_name(text: &str) -> Result<Box<str>, HostError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.contains('*') {
        return Err(HostError::Star);
    }
    if name.split('.').any(str::is_empty) {
        return Err(HostError::Empty);
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
        return Err(HostError::Character);
    }
    if name.len() > HOST_BYTES_MAX {
        return Err(HostError::TooLong);
    }
    Ok(name.to_ascii_lowercase().into())
}

/// The address in brackets, which can be written in many ways (RFC 5952 §2).
fn ipv6_literal(text: &[u8]) -> Option<Ipv6Addr> {
    let address = text.strip_prefix(b"[")?.strip_suffix(b"]")?;
    std::str::from_utf8(address).ok()?.parse().ok()
}

/// Patterns, each with a number that says whose it is. Both lists are sorted by name.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    one: Vec<(Box<str>, usize)>,
    below: Vec<(Box<str>, usize)>,
}

impl FromIterator<(HostPattern, usize)> for Hosts {
    fn from_iter<I: IntoIterator<Item = (HostPattern, usize)>>(patterns: I) -> Self {
        let mut hosts = Self::default();
        for (pattern, number) in patterns {
            match pattern {
                HostPattern::One(name) => hosts.one.push((name, number)),
                HostPattern::Below(name) => hosts.below.push((name, number)),
            }
        }
        hosts.one.sort();
        hosts.below.sort();
        hosts
    }
}

impl Hosts {
    /// The number of the pattern that is nearest to the host of an authority (`host[:port]`), if one matches.
    /// Allocates nothing.
    #[must_use]
    pub fn find(&self, authority: &[u8]) -> Option<usize> {
        let mut buffer = [0; HOST_BYTES_MAX];
        let host = plain_host(authority, &mut buffer)?;
        // The first dots leave the longest names.
        let parents = || memchr::memchr_iter(b'.', host).filter(|&dot| dot > 0);
        look_up(&self.one, host).or_else(|| {
            parents().find_map(|dot| host.get(dot + 1..).and_then(|parent| look_up(&self.below, parent)))
        })
    }
}

fn look_up(sorted: &[(Box<str>, usize)], name: &[u8]) -> Option<usize> {
    let at = sorted.binary_search_by(|(own, _)| own.as_bytes().cmp(name)).ok()?;
    sorted.get(at).map(|&(_, number)| number)
}

/// The host in small letters, without port and final dot, an IPv6 address as RFC 5952 writes it. None if it is too long to be one.
fn plain_host<'b>(authority: &[u8], buffer: &'b mut [u8; HOST_BYTES_MAX]) -> Option<&'b [u8]> {
    let end = match authority {
        [b'[', ..] => memchr::memchr(b']', authority).map(|bracket| bracket + 1),
        _ => memchr::memchr(b':', authority),
    };
    let host = authority.get(..end.unwrap_or(authority.len()))?;
    if let Some(address) = ipv6_literal(host) {
        let mut rest = buffer.as_mut_slice();
        write!(rest, "[{address}]").ok()?;
        let rest_bytes = rest.len();
        return buffer.get(..HOST_BYTES_MAX - rest_bytes);
    }
    let host = host.strip_suffix(b".").unwrap_or(host);
    let plain = buffer.get_mut(..host.len())?;
    plain.copy_from_slice(host);
    plain.make_ascii_lowercase();
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_pattern_wins() {
        let patterns =
            ["example.org", "*.example.org", "*.b.example.org", "a.b.example.org", "[::1]", "10.0.0.1"];
        let hosts: Hosts =
            patterns.iter().enumerate().map(|(at, text)| (text.parse().unwrap(), at)).collect();
        let long = "a".repeat(300);
        let table = [
            ("example.org", Some("example.org")),
            ("EXAMPLE.Org", Some("example.org")),
            ("example.org:8080", Some("example.org")),
            ("example.org.", Some("example.org")),
            ("example.org.:80", Some("example.org")),
            ("example.org:", Some("example.org")),
            ("www.example.org", Some("*.example.org")),
            ("b.example.org", Some("*.example.org")),
            ("x.y.Example.org:1", Some("*.example.org")),
            ("c.b.example.org", Some("*.b.example.org")),
            ("x.a.b.example.org", Some("*.b.example.org")),
            ("a.b.example.org", Some("a.b.example.org")),
            (".example.org", None),
            ("badexample.org", None),
            ("org", None),
            ("example.org.evil.net", None),
            ("example.org..", None),
            ("[::1]", Some("[::1]")),
            ("[::1]:80", Some("[::1]")),
            ("[::2]", None),
            ("10.0.0.1:80", Some("10.0.0.1")),
            ("", None),
            (&long, None),
        ];
        for (authority, expected) in table {
            let found = hosts.find(authority.as_bytes()).map(|at| patterns[at]);
            assert_eq!(found, expected, "{authority}");
        }
        assert_eq!(Hosts::default().find(b"example.org"), None);
    }

    #[test]
    fn patterns_are_names() {
        let table = [
            ("Example.ORG", Ok("example.org")),
            ("example.org.", Ok("example.org")),
            ("*.Example.org", Ok("*.example.org")),
            ("localhost", Ok("localhost")),
            ("my_host-1", Ok("my_host-1")),
            ("[FE80::1]", Ok("[fe80::1]")),
            ("", Err(HostError::Empty)),
            (".", Err(HostError::Empty)),
            ("*.", Err(HostError::Empty)),
            ("a..b", Err(HostError::Empty)),
            ("*", Err(HostError::Star)),
            ("a.*.org", Err(HostError::Star)),
            ("*a.org", Err(HostError::Star)),
            ("*.*.org", Err(HostError::Star)),
            ("a.org:80", Err(HostError::Character)),
            ("bücher.example", Err(HostError::Character)),
            ("[::x]", Err(HostError::Character)),
            ("a/b", Err(HostError::Character)),
        ];
        for (text, expected) in table {
            let pattern = text.parse::<HostPattern>().map(|pattern| pattern.to_string());
            assert_eq!(pattern.as_deref().map_err(|error| *error), expected, "{text}");
        }
        assert_eq!("a".repeat(256).parse::<HostPattern>(), Err(HostError::TooLong));
    }
}
