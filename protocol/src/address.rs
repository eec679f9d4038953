//! Whose request it is: networks, who of them may, and the client's address as trusted proxies tell it.
//!
//! Owns `Forwarded` (RFC 7239) and `X-Forwarded-For`. An IPv4 address that is mapped into IPv6 is the IPv4
//! address, here as everywhere; so `::/0` is about IPv6 alone.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::field::{self, Fields, RareName};

/// The addresses that begin with the same bits (RFC 4632 §3.1, RFC 4291 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix_bits: u32,
}

impl Cidr {
    /// Whether an address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                is_same_network(network.to_bits().into(), address.to_bits().into(), 32 - self.prefix_bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                is_same_network(network.to_bits(), address.to_bits(), 128 - self.prefix_bits)
            }
            _ => false,
        }
    }
}

/// Whether two addresses differ in their last bits only.
fn is_same_network(network: u128, address: u128, host_bits: u32) -> bool {
    (network ^ address).checked_shr(host_bits).unwrap_or_default() == 0
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CidrError {
    /// What stands before the slash is no IP address.
    Address,
    /// What stands behind the slash is no number of bits, or one that the address does not have.
    Prefix,
    /// The address has bits behind the prefix; this network is what it lies in.
    HostBits(Cidr),
}

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str(
                "it must be a network such as 10.0.0.0/8, or an address; everybody is 0.0.0.0/0 and ::/0",
            ),
            Self::Prefix => f.write_str("not a prefix length of that address"),
            Self::HostBits(cidr) => {
                write!(f, "an address with bits behind its prefix; the network is {cidr}")
            }
        }
    }
}

impl Error for CidrError {}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_bits)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// Reads `10.0.0.0/8`, `2001:db8::/32`, or a single address.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| CidrError::Address)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Some(bits), |prefix| prefix_length(prefix, bits));
        let (network, prefix_bits) = unmapped(address, prefix_bits.ok_or(CidrError::Prefix)?);
        let masked = Self { network: mask(network, prefix_bits), prefix_bits };
        if masked.network == network { Ok(masked) } else { Err(CidrError::HostBits(masked)) }
    }
}

fn prefix_length(digits: &str, bits: u32) -> Option<u32> {
    let is_plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|&prefix_bits| is_plain && prefix_bits <= bits)
}

/// A network below `::ffff:0:0/96` is one of IPv4 addresses.
fn unmapped(address: IpAddr, prefix_bits: u32) -> (IpAddr, u32) {
    match (address.to_canonical(), prefix_bits.checked_sub(96)) {
        (canonical @ IpAddr::V4(_), Some(prefix_bits)) if address.is_ipv6() => (canonical, prefix_bits),
        _ => (address, prefix_bits),
    }
}

fn mask(address: IpAddr, prefix_bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - prefix_bits).unwrap_or_default();
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - prefix_bits).unwrap_or_default();
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// What a list says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may.
    Allow,
    /// It may not.
    Deny,
}

/// Networks that may and that may not, in the order in which they were named.
#[derive(Clone, Debug, Default)]
pub struct AccessList(Vec<(Access, Cidr)>);

impl AccessList {
    /// A list. An empty one allows everybody.
    #[must_use]
    pub const fn new(entries: Vec<(Access, Cidr)>) -> Self {
        Self(entries)
    }

    /// What the first entry that is about the address says. If there is none, the opposite of what the last
    /// entry says: who allows some denies all others, who denies some allows all others.
    #[must_use]
    pub fn access(&self, address: IpAddr) -> Access {
        match (self.entry(address), self.0.last()) {
            (Some(&(access, _)), _) => access,
            (None, Some((Access::Allow, _))) => Access::Deny,
            (None, _) => Access::Allow,
        }
    }

    /// The first entry that is about the address: the one that decides.
    #[must_use]
    pub fn entry(&self, address: IpAddr) -> Option<&(Access, Cidr)> {
        self.0.iter().find(|(_, cidr)| cidr.contains(address))
    }

    /// Whether it says nothing of anybody.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The field in which our proxies tell us whose requests they pass on. It must be the one that they really
/// write: the other one comes from the client as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedBy {
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded` (RFC 7239)
    Forwarded,
}

fn is_trusted(address: IpAddr, trusted: &[Cidr]) -> bool {
    trusted.iter().any(|cidr| cidr.contains(address))
}

/// The address of the client of a peer that is trusted; `None` if it tells of nobody. Each proxy adds, on the right, whom it got the request from. So the list is
/// believed from the right, for as long as the one who wrote an entry is trusted: the client is the first
/// address that is not, or the leftmost if all are. An entry that does not tell an address (`unknown`,
/// `_hidden`, anything malformed) ends it as well; the client is then who wrote that entry.
///
/// A comma always separates entries, even in quotes: nothing that a client writes can swallow the entry that a
/// proxy puts behind it. No address needs one.
#[must_use]
pub fn forwarded_client(fields: &Fields<'_>, trusted: &[Cidr], by: ForwardedBy) -> Option<IpAddr> {
    let name = match by {
        ForwardedBy::XForwardedFor => RareName::XForwardedFor,
        ForwardedBy::Forwarded => RareName::Forwarded,
    };
    let entry = |text| match by {
        ForwardedBy::XForwardedFor => node(text),
        ForwardedBy::Forwarded => forwarded_for(text),
    };
    // Walked from the left, so that each entry is read once: what lies to the left of one that ends the search
    // is forgotten.
    let mut found = None;
    for address in fields.find_all(name).flat_map(field::tokens).map(entry) {
        found = match address {
            Some(address) if is_trusted(address, trusted) => found.or(Some(address)),
            untrusted_or_none => untrusted_or_none,
        };
    }
    found
}

/// The `for` of one element of `Forwarded` (RFC 7239 §4), if it is an address. Space around semicolons, which
/// some proxies write, is taken.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(|&byte| byte == b';').map(field::trim).filter(|pair| !pair.is_empty()) {
        let equals = memchr::memchr(b'=', pair)?;
        let (name, value) = pair.split_at_checked(equals)?;
        let value = unquoted(value.get(1..)?)?;
        if name.is_empty() || !name.iter().copied().all(field::is_token_byte) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") && found.replace(node(value)).is_some() {
            return None;
        }
    }
    found.flatten()
}

/// What a token or a quoted string says, unless something in it is escaped, which no address needs.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', inside @ .., b'"'] => {
            Some(inside).filter(|inside| !inside.iter().any(|byte| b"\"\\".contains(byte)))
        }
        [_, ..] => Some(value).filter(|value| value.iter().copied().all(field::is_token_byte)),
        [] => None,
    }
}

/// The address of a node (RFC 7239 §6), with or without a port; an IPv6 address may lack its brackets, as in
/// `X-Forwarded-For`.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address: IpAddr = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        (port.is_empty() || is_port(port.strip_prefix(':')?))
            .then(|| address.parse::<Ipv6Addr>().ok())??
            .into()
    } else if let Ok(address) = text.parse() {
        address
    } else {
        let (address, port) = text.split_once(':')?;
        is_port(port).then(|| address.parse::<Ipv4Addr>().ok())??.into()
    };
    Some(address.to_canonical())
}

/// A number, or a name that hides it.
fn is_port(port: &str) -> bool {
    match port.strip_prefix('_') {
        Some(name) => {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        None => {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.len() <= 5 && port.parse::<u16>().is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use httparse::Header;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_contains_what_begins_alike() {
        let table: [(&str, &[&str], &[&str]); 10] = [
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], &["11.0.0.0", "a00::"]),
            ("192.0.2.128/25", &["192.0.2.128", "192.0.2.255"], &["192.0.2.127", "192.0.3.128"]),
            ("192.0.2.1", &["192.0.2.1", "::ffff:192.0.2.1"], &["192.0.2.0", "::192.0.2.1"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], &["::", "::1"]),
            ("::/0", &["::", "2001:db8::1"], &["1.2.3.4", "::ffff:1.2.3.4"]),
            ("2001:db8::/32", &["2001:db8::", "2001:db8:ffff::1"], &["2001:db9::", "32.1.13.184"]),
            ("::1", &["::1"], &["::", "127.0.0.1"]),
            ("::ffff:10.0.0.0/104", &["10.1.2.3", "::ffff:10.1.2.3"], &["11.0.0.0"]),
            ("::ffff:192.0.2.1", &["192.0.2.1"], &["192.0.2.2"]),
            ("::ffff:0:0/96", &["0.0.0.0", "255.255.255.255"], &["::1"]),
        ];
        for (network, inside, outside) in table {
            for address in inside {
                assert!(cidr(network).contains(ip(address)), "{address} in {network}");
            }
            for address in outside {
                assert!(!cidr(network).contains(ip(address)), "{address} not in {network}");
            }
            assert_eq!(cidr(&cidr(network).to_string()), cidr(network));
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_reason() {
        use CidrError::{Address, HostBits, Prefix};
        let table: [(&str, CidrError); 15] = [
            ("", Address),
            ("/8", Address),
            ("10/8", Address),
            ("010.0.0.0/8", Address),
            ("localhost", Address),
            ("fe80::1%eth0", Address),
            ("10.0.0.0/", Prefix),
            ("10.0.0.0/33", Prefix),
            ("10.0.0.0/08", Prefix),
            ("10.0.0.0/+8", Prefix),
            ("10.0.0.0/255.0.0.0", Prefix),
            ("::/129", Prefix),
            ("10.0.0.1/8", HostBits(cidr("10.0.0.0/8"))),
            ("2001:db8::1/32", HostBits(cidr("2001:db8::/32"))),
            ("::ffff:10.0.0.1/104", HostBits(cidr("10.0.0.0/8"))),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Cidr>(), Err(error), "{text}");
        }
        assert!("10.0.0.1/8".parse::<Cidr>().unwrap_err().to_string().ends_with("the network is 10.0.0.0/8"));
    }

    #[test]
    fn the_first_entry_about_an_address_decides() {
        use Access::{Allow, Deny};
        type Entries<'b> = &'b [(Access, Cidr)];
        let office = (Allow, cidr("192.0.2.0/24"));
        let guest = (Deny, cidr("192.0.2.7"));
        let table: [(Entries<'_>, &str, Access); 9] = [
            (&[], "192.0.2.7", Allow),
            (&[office], "192.0.2.7", Allow),
            (&[office], "198.51.100.1", Deny),
            (&[guest], "192.0.2.7", Deny),
            (&[guest], "198.51.100.1", Allow),
            (&[guest, office], "192.0.2.7", Deny),
            (&[guest, office], "198.51.100.1", Deny),
            (&[office, guest], "192.0.2.7", Allow),
            (&[office, guest], "198.51.100.1", Allow),
        ];
        for (entries, address, access) in table {
            assert_eq!(
                AccessList::new(entries.to_vec()).access(ip(address)),
                access,
                "{entries:?} {address}"
            );
        }
    }

    /// Who the client is if nobody is named.
    const PROXY: &str = "10.0.0.1";

    fn told(by: ForwardedBy, values: &[&str]) -> String {
        let name = match by {
            ForwardedBy::XForwardedFor => "X-Forwarded-For",
            ForwardedBy::Forwarded => "Forwarded",
        };
        let other = if name == "Forwarded" { "X-Forwarded-For" } else { "Forwarded" };
        let mut lines: Vec<_> = values.iter().map(|value| Header { name, value: value.as_bytes() }).collect();
        lines.push(Header { name: other, value: b"for=203.0.113.99" });
        let trusted = [cidr("10.0.0.0/8"), cidr("fd00::/8")];
        let client = forwarded_client(&Fields::new(&lines), &trusted, by);
        client.map_or_else(|| PROXY.to_owned(), |client| client.to_string())
    }

    #[test]
    fn x_forwarded_for_is_believed_from_the_right() {
        let table: [(&[&str], &str); 23] = [
            (&[], PROXY),
            (&[""], PROXY),
            (&["198.51.100.1"], "198.51.100.1"),
            (&["203.0.113.5, 198.51.100.1"], "198.51.100.1"),
            (&["203.0.113.5", "198.51.100.1"], "198.51.100.1"),
            (&["198.51.100.1, 10.0.0.2,10.0.0.3"], "198.51.100.1"),
            (&["198.51.100.1", "10.0.0.2", "10.0.0.3"], "198.51.100.1"),
            (&["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
            (&["198.51.100.1,, 10.0.0.2 ,"], "198.51.100.1"),
            (&["198.51.100.1:4711"], "198.51.100.1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[2001:db8::1]:4711, [fd00::1]"], "2001:db8::1"),
            (&["::ffff:198.51.100.1"], "198.51.100.1"),
            (&["198.51.100.1, unknown"], PROXY),
            (&["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["198.51.100.1, unknown, 10.0.0.2, 10.0.0.3"], "10.0.0.2"),
            (&["198.51.100.1, x, 203.0.113.5"], "203.0.113.5"),
            (&["198.51.100.1:65536"], PROXY),
            (&["198.51.100.01"], PROXY),
            (&["198.51.100.1 10.0.0.2"], PROXY),
            (&["[198.51.100.1]"], PROXY),
            (&["[2001:db8::1]4711"], PROXY),
        ];
        for (values, client) in table {
            assert_eq!(told(ForwardedBy::XForwardedFor, values), client, "{values:?}");
        }
    }

    #[test]
    fn forwarded_is_believed_from_the_right() {
        let table: [(&[&str], &str); 27] = [
            (&[], PROXY),
            (&["for=198.51.100.1"], "198.51.100.1"),
            (&["For=198.51.100.1;proto=https;by=10.0.0.1"], "198.51.100.1"),
            (&["proto=https; host=\"a:80\" ; FOR=\"198.51.100.1:4711\""], "198.51.100.1"),
            (&["for=\"[2001:db8::1]\""], "2001:db8::1"),
            (&["for=\"[2001:db8::1]:4711\";;"], "2001:db8::1"),
            (&["for=\"198.51.100.1:_p-1\""], "198.51.100.1"),
            (&["for=203.0.113.5, for=198.51.100.1"], "198.51.100.1"),
            (&["for=198.51.100.1, for=10.0.0.2", "for=10.0.0.3"], "198.51.100.1"),
            (&["for=10.0.0.2, for=10.0.0.3"], "10.0.0.2"),
            (&["for=198.51.100.1, for=unknown"], PROXY),
            (&["for=198.51.100.1, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
            (&["for=198.51.100.1, for=\"_hidden:80\""], PROXY),
            (&["for=198.51.100.1, proto=https"], PROXY),
            (&["for=198.51.100.1, for=10.0.0.2;for=10.0.0.3"], PROXY),
            // What a client left open does not reach over the comma.
            (&["for=\"203.0.113.5, for=198.51.100.1"], "198.51.100.1"),
            (&["for=\"203.0.113.5;x=\", for=198.51.100.1;proto=https"], "198.51.100.1"),
            (&["for=198.51.100.1;x=\"a,b\""], PROXY),
            (&["for=198.51.100.1:4711"], PROXY),
            (&["for=[2001:db8::1]"], PROXY),
            (&["for=\"198.51.100.1"], PROXY),
            (&["for=\"198.51.\\100.1\""], PROXY),
            (&["for=198.51.100.1;proto"], PROXY),
            (&["for=198.51.100.1;=a"], PROXY),
            (&["for=198.51.100.1;a="], PROXY),
            (&["for = 198.51.100.1"], PROXY),
            (&["198.51.100.1"], PROXY),
        ];
        for (values, client) in table {
            assert_eq!(told(ForwardedBy::Forwarded, values), client, "{values:?}");
        }
    }
}
