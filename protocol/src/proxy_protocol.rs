//! The PROXY protocol, versions 1 and 2: what a proxy says before the first request about whose connection it
//! passes on (HAProxy's `proxy-protocol.txt`).
//!
//! A header is read from a prefix of the connection's bytes. Once it is whole or wrong, more bytes do not
//! change the verdict, so it never depends on how they were split. Nothing is remembered between calls, and
//! what has to be buffered is bounded. Whether a peer may send one is for the caller to say; from one that
//! must, nothing else is accepted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, line end included.
const V1_BYTES_MAX: usize = 107;
const V1_PREFIX: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length of what follows.
const V2_FIXED_BYTES: usize = 16;
/// Most bytes that may follow the fixed part: a certificate's names fit, and a header stays a small one.
const V2_VARIABLE_BYTES_MAX: usize = 4096;
/// A vector with a checksum of the header.
const TYPE_CRC32C: u8 = 0x03;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody's who has this address, which is never an IPv4 address mapped into IPv6.
    Client(SocketAddr),
    /// The proxy's own, for a health check: the address of the peer counts.
    Local,
    /// Somebody's who has no address that means anything here, as behind a Unix socket.
    Unknown,
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes that it takes; the next one belongs to the first request.
    pub consumed: usize,
    /// Whose connection it is.
    pub source: Source,
}

/// The bytes are no header, or not one that may be believed. The peer is to blame; nothing can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no PROXY protocol header")
    }
}

impl std::error::Error for Malformed {}

/// Reads the header that a connection begins with. `None` while it is not all there; `input` must hold all
/// bytes since the first.
///
/// # Errors
/// [`Malformed`], never later than at 4,112 bytes, of which the longest header has so many.
pub fn parse(input: &[u8]) -> Result<Option<Header>, Malformed> {
    match input.first() {
        None => Ok(None),
        Some(b'P') => parse_v1(input),
        Some(_) => parse_v2(input),
    }
}

/// Whether all bytes that there are of a fixed beginning are right.
fn begins_like(input: &[u8], beginning: &[u8]) -> bool {
    input.iter().zip(beginning).all(|(byte, expected)| byte == expected)
}

fn parse_v1(input: &[u8]) -> Result<Option<Header>, Malformed> {
    if !begins_like(input, V1_PREFIX) {
        return Err(Malformed);
    }
    let line = input.get(..V1_BYTES_MAX).unwrap_or(input);
    let Some(end) = memchr::memchr(b'\n', line) else {
        return if line.len() < V1_BYTES_MAX { Ok(None) } else { Err(Malformed) };
    };
    let said = line.get(V1_PREFIX.len()..end).and_then(|said| said.strip_suffix(b"\r")).ok_or(Malformed)?;
    Ok(Some(Header { consumed: end + 1, source: v1_source(said).ok_or(Malformed)? }))
}

/// What stands between the prefix and the line end.
fn v1_source(said: &[u8]) -> Option<Source> {
    let said = std::str::from_utf8(said).ok().filter(|said| !said.contains('\r'))?;
    let mut words = said.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        // The rest of the line means nothing, but it is there until the line end.
        return Some(Source::Unknown);
    }
    let [source, destination] = [words.next()?, words.next()?];
    let [source_port, _] = [v1_port(words.next()?)?, v1_port(words.next()?)?];
    let address: IpAddr = match family {
        "TCP4" => destination.parse::<Ipv4Addr>().and(source.parse::<Ipv4Addr>()).ok()?.into(),
        "TCP6" => destination.parse::<Ipv6Addr>().and(source.parse::<Ipv6Addr>()).ok()?.into(),
        _ => return None,
    };
    words.next().is_none().then(|| client(address, source_port))
}

/// Decimal, without leading zeros.
fn v1_port(digits: &str) -> Option<u16> {
    let is_plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| is_plain)
}

fn client(address: IpAddr, port: u16) -> Source {
    Source::Client(SocketAddr::new(address.to_canonical(), port))
}

fn parse_v2(input: &[u8]) -> Result<Option<Header>, Malformed> {
    if !begins_like(input, V2_SIGNATURE) {
        return Err(Malformed);
    }
    // Each byte of the fixed part is judged as soon as it is there.
    let is_local = match input.get(12) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Malformed),
    };
    let family = match input.get(13) {
        None => return Ok(None),
        Some(&family) if is_local || is_known(family) => family,
        Some(_) => return Err(Malformed),
    };
    let Some(&[high, low]) = input.get(14..V2_FIXED_BYTES).and_then(|length| length.first_chunk()) else {
        return Ok(None);
    };
    let variable_bytes = usize::from(u16::from_be_bytes([high, low]));
    if variable_bytes > V2_VARIABLE_BYTES_MAX {
        return Err(Malformed);
    }
    let consumed = V2_FIXED_BYTES + variable_bytes;
    let Some(header) = input.get(..consumed) else { return Ok(None) };
    let source = if is_local { Source::Local } else { v2_source(family, header)? };
    Ok(Some(Header { consumed, source }))
}

/// Whether family and transport are assigned. Others are to be refused.
const fn is_known(family: u8) -> bool {
    matches!(family, 0x00 | 0x11 | 0x12 | 0x21 | 0x22 | 0x31 | 0x32)
}

fn v2_source(family: u8, header: &[u8]) -> Result<Source, Malformed> {
    let variable = header.get(V2_FIXED_BYTES..).unwrap_or_default();
    // Source and destination address, and for IP source and destination port.
    let addresses_bytes = match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        // Without a family, what follows is to be skipped unread.
        _ => return Ok(Source::Unknown),
    };
    let (addresses, vectors) = variable.split_at_checked(addresses_bytes).ok_or(Malformed)?;
    check_vectors(header, vectors)?;
    Ok(match family {
        0x11 => v2_client::<4>(addresses),
        0x21 => v2_client::<16>(addresses),
        // A Unix socket has no address that means anything here, and datagrams carry no HTTP/1.1.
        _ => None,
    }
    .unwrap_or(Source::Unknown))
}

/// The source of a pair of addresses of `N` bytes each, behind which the ports stand.
fn v2_client<const N: usize>(addresses: &[u8]) -> Option<Source>
where
    IpAddr: From<[u8; N]>,
{
    let address: [u8; N] = *addresses.first_chunk()?;
    let port: [u8; 2] = *addresses.get(2 * N..)?.first_chunk()?;
    Some(client(address.into(), u16::from_be_bytes(port)))
}

/// Walks the type-length-value vectors at the end of a header. All are skipped but a checksum, of which there
/// is one at most, and which has to be right.
fn check_vectors(header: &[u8], vectors: &[u8]) -> Result<(), Malformed> {
    let mut checksum = None;
    let mut rest = vectors;
    while !rest.is_empty() {
        let &[kind, high, low] = rest.first_chunk().ok_or(Malformed)?;
        let value_bytes = usize::from(u16::from_be_bytes([high, low]));
        let (value, after) =
            rest.get(3..).and_then(|rest| rest.split_at_checked(value_bytes)).ok_or(Malformed)?;
        if kind == TYPE_CRC32C {
            let value: [u8; 4] = value.try_into().map_err(|_| Malformed)?;
            let at = header.len() - after.len() - value.len();
            if checksum.replace((at, u32::from_be_bytes(value))).is_some() {
                return Err(Malformed);
            }
        }
        rest = after;
    }
    match checksum {
        Some((at, sent)) if crc32c_without(header, at) != sent => Err(Malformed),
        _ => Ok(()),
    }
}

/// CRC32C (RFC 3720 §B.4) of a header in which the four bytes at `at` count as zeros. Bit by bit: it comes once
/// a connection, if at all.
fn crc32c_without(header: &[u8], at: usize) -> u32 {
    const POLYNOMIAL_REFLECTED: u32 = 0x82f6_3b78;
    let bytes =
        header.iter().enumerate().map(|(place, &byte)| if (at..at + 4).contains(&place) { 0 } else { byte });
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ POLYNOMIAL_REFLECTED }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::Client(address.parse().unwrap())
    }

    /// The verdict on the whole, after every shorter prefix has been found to need more, or to be as wrong.
    fn verdict(header: &[u8]) -> Result<Source, Malformed> {
        let whole = parse(&[header, b"GET /"].concat());
        for end in 0..header.len() {
            let partial = parse(&header[..end]);
            assert!(partial == Ok(None) || (partial == Err(Malformed) && whole.is_err()), "{end}");
        }
        let whole = whole?.expect("more is wanted");
        assert_eq!(whole.consumed, header.len());
        Ok(whole.source)
    }

    #[test]
    fn version_1_is_read_to_its_line_end() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
        let table: [(&str, Source); 9] = [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r\n", source("192.0.2.1:4711")),
            ("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", source("255.255.255.255:65535")),
            ("PROXY TCP6 2001:db8::1 ::1 4711 443\r\n", source("[2001:db8::1]:4711")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 0 443\r\n", source("192.0.2.1:0")),
            (
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                source("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
            ("PROXY UNKNOWN\r\n", Source::Unknown),
            ("PROXY UNKNOWN ffff:: x  y\r\n", Source::Unknown),
            ("PROXY UNKNOWN ::1 ::1 1 1\r\n", Source::Unknown),
            (&longest, Source::Unknown),
        ];
        for (header, source) in table {
            assert_eq!(verdict(header.as_bytes()), Ok(source), "{header:?}");
        }
        assert_eq!(longest.len(), V1_BYTES_MAX);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let too_long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(92));
        let table: [&str; 27] = [
            "GET / HTTP/1.1\r\n",
            "POST / HTTP/1.1\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "proxy UNKNOWN\r\n",
            "PROXY UNKNOWN\n",
            "PROXY UNKNOWN \r x\r\n",
            "PROXY UNKNOWNX\r\n",
            "PROXY TCP5 192.0.2.1 192.0.2.2 1 1\r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 1 \r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 1 1\r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 1\r\n",
            "PROXY TCP4\t192.0.2.1 192.0.2.2 1 1\r\n",
            "PROXY TCP4 192.0.2.1 ::1 1 1\r\n",
            "PROXY TCP4 ::1 192.0.2.1 1 1\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 1\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 -1 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2  1\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\n",
            "\0",
            &too_long,
        ];
        for header in table {
            assert_eq!(verdict(header.as_bytes()), Err(Malformed), "{header:?}");
        }
        let endless = "PROXY UNKNOWN ".to_owned() + &"x".repeat(V1_BYTES_MAX);
        assert_eq!(parse(&endless.as_bytes()[..V1_BYTES_MAX - 1]), Ok(None));
        assert_eq!(parse(&endless.as_bytes()[..V1_BYTES_MAX]), Err(Malformed));
    }

    fn v2(command: u8, family: u8, variable: &[u8]) -> Vec<u8> {
        let length = u16::try_from(variable.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family][..], &length, variable].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0, 80];

    fn ipv6(first: u8) -> Vec<u8> {
        [&[first][..], &[0; 14], &[1], &[0; 16], &[0x12, 0x67, 0, 80]].concat()
    }

    #[test]
    fn version_2_is_read_to_its_length() {
        let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1], &[0; 16], &[0x12, 0x67, 0, 80]].concat();
        let vectors = [&IPV4[..], &[0x01, 0, 2, b'h', b'2', 0x04, 0, 0, 0xee, 0, 1, 0]].concat();
        let longest = [&IPV4[..], &[0x04, 0x0f, 0xf1], &[0; 4081]].concat();
        let table: [(Vec<u8>, Source); 14] = [
            (v2(0x21, 0x11, &IPV4), source("192.0.2.1:4711")),
            (v2(0x21, 0x21, &ipv6(0xfd)), source("[fd00::1]:4711")),
            (v2(0x21, 0x21, &mapped), source("192.0.2.1:4711")),
            (v2(0x21, 0x11, &vectors), source("192.0.2.1:4711")),
            (v2(0x21, 0x11, &longest), source("192.0.2.1:4711")),
            (v2(0x21, 0x12, &IPV4), Source::Unknown),
            (v2(0x21, 0x22, &ipv6(0xfd)), Source::Unknown),
            (v2(0x21, 0x31, &[0; 216]), Source::Unknown),
            (v2(0x21, 0x00, &[]), Source::Unknown),
            (v2(0x21, 0x00, b"whatever"), Source::Unknown),
            (v2(0x20, 0x00, &[]), Source::Local),
            (v2(0x20, 0x11, &IPV4), Source::Local),
            (v2(0x20, 0x11, b"x"), Source::Local),
            (v2(0x20, 0xff, b"whatever"), Source::Local),
        ];
        for (header, source) in table {
            assert_eq!(verdict(&header), Ok(source), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn a_header_of_version_2_that_contradicts_itself_is_refused() {
        let with = |tail: &[u8]| v2(0x21, 0x11, &[&IPV4[..], tail].concat());
        let table: [Vec<u8>; 16] = [
            v2(0x11, 0x11, &IPV4),
            v2(0x22, 0x11, &IPV4),
            v2(0x2f, 0x11, &IPV4),
            v2(0x21, 0x10, &IPV4),
            v2(0x21, 0x13, &IPV4),
            v2(0x21, 0x41, &IPV4),
            v2(0x21, 0x01, &IPV4),
            v2(0x21, 0x11, &IPV4[..11]),
            v2(0x21, 0x21, &ipv6(0)[..35]),
            v2(0x21, 0x31, &[0; 215]),
            v2(0x21, 0x11, &[0; 4097]),
            with(&[0x01]),
            with(&[0x01, 0, 1]),
            with(&[0x01, 0, 2, 0]),
            with(&[0x03, 0, 3, 0, 0, 0]),
            with(&[0x03, 0, 4, 0, 0, 0, 0]),
        ];
        for header in table {
            assert_eq!(verdict(&header), Err(Malformed), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn a_checksum_has_to_be_right_and_the_only_one() {
        // The check value of CRC32C: that of nine digits.
        assert_eq!(crc32c_without(b"123456789", 9), 0xe306_9283);
        let tail = |checksum: u32| {
            [&[0x04, 0, 1, 7, 0x03, 0, 4][..], &checksum.to_be_bytes(), &[0x04, 0, 0]].concat()
        };
        let with = |tail: &[u8]| v2(0x21, 0x11, &[&IPV4[..], tail].concat());
        let right = crc32c_without(&with(&tail(0)), V2_FIXED_BYTES + IPV4.len() + 7);
        assert_eq!(verdict(&with(&tail(right))), Ok(source("192.0.2.1:4711")));
        assert_eq!(verdict(&with(&tail(right ^ 1))), Err(Malformed));
        let mut changed = with(&tail(right));
        changed[V2_FIXED_BYTES] ^= 1;
        assert_eq!(verdict(&changed), Err(Malformed));
        assert_eq!(verdict(&with(&[tail(right), tail(right)].concat())), Err(Malformed));
    }
}
