//! What holds for any input that says who the client is.

use httparse::Header;
use oneloop_protocol::address::{Cidr, ForwardedBy, forwarded_client};
use oneloop_protocol::authorization::{AuthorizationError, basic};
use oneloop_protocol::field::Fields;
use oneloop_protocol::proxy_protocol::{self, Source};

/// Most bytes that a header of the PROXY protocol takes here.
const HEADER_BYTES_MAX: usize = 16 + 4096;

/// Lines of `Forwarded` or `X-Forwarded-For`, an LF between them.
pub fn forwarded(input: &[u8]) {
    let trusted: Vec<Cidr> = ["10.0.0.0/8", "fd00::/8"].iter().map(|cidr| cidr.parse().unwrap()).collect();
    let values: Vec<_> = input.split(|&byte| byte == b'\n').collect();
    for (by, name) in [(ForwardedBy::Forwarded, "forwarded"), (ForwardedBy::XForwardedFor, "x-forwarded-for")]
    {
        let told = |values: &[&[u8]]| {
            let lines: Vec<_> = values.iter().map(|value| Header { name, value }).collect();
            forwarded_client(&Fields::new(&lines), &trusted, by)
        };
        let address = told(&values);
        assert_eq!(address, address.map(|address| address.to_canonical()));
        assert_eq!(told(&[&values.join(&b',')]), address);
        // Whom a proxy of ours has named stays named, whatever the client wrote before.
        if address.is_none_or(|address| trusted.iter().any(|cidr| cidr.contains(address))) {
            continue;
        }
        for forged in [&b"for=203.0.113.9"[..], b"203.0.113.9, 10.0.0.9", b"for=\"", b"\"", b"x"] {
            assert_eq!(told(&[&[forged], &values[..]].concat()), address);
            assert_eq!(told(&[&[forged, b",", &values.join(&b',')].concat()]), address);
        }
    }
}

/// The text of a network, which is written again as something that reads the same.
pub fn cidr(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(cidr) = text.parse::<Cidr>() {
        let written = cidr.to_string();
        assert_eq!(written.parse(), Ok(cidr));
        let network = written.split('/').next().unwrap();
        assert!(cidr.contains(network.parse().unwrap()));
    }
}

/// What a connection behind a proxy begins with. The verdict is the same however it is split.
pub fn proxy_protocol(input: &[u8]) {
    let whole = proxy_protocol::parse(input);
    match whole {
        Ok(None) => assert!(input.len() < HEADER_BYTES_MAX),
        Ok(Some(header)) => {
            assert!(header.consumed <= input.len() && header.consumed <= HEADER_BYTES_MAX);
            assert_eq!(proxy_protocol::parse(&input[..header.consumed]), whole);
            if let Source::Client(address) = header.source {
                assert_eq!(address.ip(), address.ip().to_canonical());
            }
        }
        Err(_) => {}
    }
    // Before the end of a header, more is wanted; after a verdict, more does not change it.
    let decided_at = whole.ok().flatten().map_or(input.len(), |header| header.consumed);
    for end in (0..decided_at.min(300)).chain(decided_at.checked_sub(1)) {
        let partial = proxy_protocol::parse(&input[..end]);
        assert!(partial == Ok(None) || (partial.is_err() && whole.is_err()), "{end}");
    }
    if whole != Ok(None) {
        assert_eq!(proxy_protocol::parse(&[input, b"\r\nPROXY \n"].concat()), whole);
    }
}

/// The value of `Authorization`: what is read is what would be written.
pub fn authorization(input: &[u8]) {
    let mut buffer = vec![0; input.len()];
    match basic(input, &mut buffer) {
        Ok(credentials) => {
            assert!(!credentials.user.contains(&b':'));
            let plain = [credentials.user, b":", credentials.password].concat();
            assert!(!plain.iter().any(u8::is_ascii_control));
            assert!(input.ends_with(base64(&plain).as_bytes()));
            assert_eq!(basic(input, &mut vec![0; plain.len() - 1]), Err(AuthorizationError::TooLong));
        }
        Err(error) => assert_ne!(error, AuthorizationError::TooLong),
    }
}

/// Written as RFC 4648 says, from bits instead of bytes.
pub fn base64(plain: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = plain.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let digit = |six: &[u8]| {
        let value = (0..6).fold(0, |value, at| value << 1 | usize::from(six.get(at).copied().unwrap_or(0)));
        char::from(ALPHABET[value])
    };
    let digits: String = bits.chunks(6).map(digit).collect();
    let padding = digits.len().next_multiple_of(4) - digits.len();
    digits + &"=".repeat(padding)
}
