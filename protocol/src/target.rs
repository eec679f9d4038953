//! The request target (RFC 9112 §3.2): which form it has, and the relative path of a file that it names.
//!
//! This module owns every rule about target syntax, authorities, percent-encoding and dot segments. It never
//! looks at a file system: what comes out of [`decode_path`] is confined to the root by construction, and the
//! kernel confines it once more when it is opened.

use std::net::Ipv6Addr;

use crate::error::RequestError;
use crate::method::Method;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestTarget<'b> {
    /// A resource, by origin-form or absolute-form (RFC 9112 §3.2.1, §3.2.2).
    Origin {
        /// The path as it was sent, still encoded. Starts with a slash.
        path: &'b [u8],
        /// What follows the first question mark, if there is one.
        query: Option<&'b [u8]>,
    },
    /// The server as a whole: `*`, with OPTIONS alone (RFC 9112 §3.2.4).
    Asterisk,
    /// The far end of a tunnel: `host:port`, with CONNECT alone (RFC 9112 §3.2.3).
    Authority,
}

/// Splits a request target by its form. An absolute-form target also yields its authority, which then counts
/// instead of `Host` (RFC 9112 §3.2.2).
///
/// # Errors
/// [`RequestError::Target`] if the target has none of the forms that the method allows, or holds white space, a
/// control character or a fragment.
pub fn parse(raw: &[u8], method: Method) -> Result<(RequestTarget<'_>, Option<&[u8]>), RequestError> {
    // No early exit: targets are almost always good, and without a branch a byte costs three instructions.
    let classes = raw.iter().fold(0, |seen, &byte| seen | class(byte));
    if classes & FORBIDDEN != 0 {
        return Err(RequestError::Target);
    }
    match (method, raw) {
        (Method::Connect, _) if is_tunnel_end(raw) => Ok((RequestTarget::Authority, None)),
        (Method::Connect, _) => Err(RequestError::Target),
        (_, [b'/', ..]) if classes & QUESTION == 0 => {
            Ok((RequestTarget::Origin { path: raw, query: None }, None))
        }
        (_, [b'/', ..]) => Ok((origin(raw), None)),
        (Method::Options, b"*") => Ok((RequestTarget::Asterisk, None)),
        _ => absolute(raw).ok_or(RequestError::Target),
    }
}

/// A byte that no target may hold.
const FORBIDDEN: u8 = 1;
/// The byte that a query begins with.
const QUESTION: u8 = 2;

/// What a byte of a target is, as far as the whole target has to know.
fn class(byte: u8) -> u8 {
    const TABLE: [u8; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            while byte <= b' ' {
                table[byte as usize] = FORBIDDEN;
                byte += 1;
            }
            table[0x7f] = FORBIDDEN;
            table[b'#' as usize] = FORBIDDEN;
            table[b'?' as usize] = QUESTION;
        }
        table
    };
    TABLE.get(usize::from(byte)).copied().unwrap_or_default()
}

/// `raw` starts with a slash.
fn origin(raw: &[u8]) -> RequestTarget<'_> {
    match raw.iter().position(|&byte| byte == b'?').and_then(|mark| raw.split_at_checked(mark)) {
        Some((path, query)) => RequestTarget::Origin { path, query: query.get(1..) },
        None => RequestTarget::Origin { path: raw, query: None },
    }
}

fn absolute(raw: &[u8]) -> Option<(RequestTarget<'_>, Option<&[u8]>)> {
    let rest = strip_scheme(raw, b"http://").or_else(|| strip_scheme(raw, b"https://"))?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end)?;
    let target = match rest {
        [b'/', ..] => origin(rest),
        // An empty path means the root (RFC 9110 §4.2.3).
        [_, query @ ..] => RequestTarget::Origin { path: b"/", query: Some(query) },
        [] => RequestTarget::Origin { path: b"/", query: None },
    };
    is_authority(authority).then_some((target, Some(authority)))
}

/// Schemes are case-insensitive (RFC 3986 §3.1).
fn strip_scheme<'b>(raw: &'b [u8], scheme: &[u8]) -> Option<&'b [u8]> {
    let (start, rest) = raw.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Whether a value is a `host[:port]` with a host that is not empty, as `Host` and absolute-form targets carry
/// it (RFC 9110 §7.2, RFC 3986 §3.2.2). User information, zone identifiers and future address formats are not.
#[must_use]
pub fn is_authority(value: &[u8]) -> bool {
    port_of(value).is_some_and(is_port_or_empty)
}

/// A tunnel needs a port (RFC 9110 §9.3.6).
fn is_tunnel_end(value: &[u8]) -> bool {
    port_of(value).is_some_and(|port| !port.is_empty() && is_port_or_empty(port))
}

/// What stands behind the colon that follows a valid host; empty if there is no colon.
fn port_of(value: &[u8]) -> Option<&[u8]> {
    let rest = match value {
        [b'[', literal @ ..] => strip_ipv6_literal(literal)?,
        _ => strip_registered_name(value)?,
    };
    match rest {
        [] => Some(rest),
        [b':', port @ ..] => Some(port),
        _ => None,
    }
}

/// The opening bracket is gone already.
fn strip_ipv6_literal(literal: &[u8]) -> Option<&[u8]> {
    let (address, rest) = literal.split_at_checked(memchr::memchr(b']', literal)?)?;
    std::str::from_utf8(address).ok()?.parse::<Ipv6Addr>().ok()?;
    rest.get(1..)
}

/// `reg-name` of RFC 3986 §3.2.2; every IPv4 address is one too.
fn strip_registered_name(value: &[u8]) -> Option<&[u8]> {
    let mut rest = value;
    loop {
        let end = rest.iter().position(|&byte| !is_name_byte(byte)).unwrap_or(rest.len());
        rest = rest.get(end..)?;
        match rest {
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = after;
            }
            _ => return (rest.len() < value.len()).then_some(rest),
        }
    }
}

fn is_port_or_empty(digits: &[u8]) -> bool {
    if digits.len() <= 4 {
        return digits.iter().all(u8::is_ascii_digit);
    }
    let value = digits.iter().try_fold(0_u32, |port, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| port.saturating_mul(10).saturating_add(u32::from(digit)))
    });
    value.is_some_and(|port| port <= u32::from(u16::MAX))
}

/// Unreserved or a sub-delimiter: looked up, because every request asks for every byte of its host.
fn is_name_byte(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
            #[expect(clippy::cast_possible_truncation, reason = "below 128")]
            {
                table[byte] = is_unreserved(byte as u8) || is_sub_delimiter(byte as u8);
            }
            byte += 1;
        }
        table
    };
    TABLE.get(usize::from(byte)).copied().unwrap_or_default()
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 §2.2.
const fn is_sub_delimiter(byte: u8) -> bool {
    matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// What [`decode_path`] learned besides the path itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodedPath {
    /// The path ended in a slash or a dot segment, so that it can only name a directory.
    pub is_directory: bool,
    /// Some segment starts with a dot. A first segment `.well-known` (RFC 8615) does not count.
    pub is_hidden: bool,
}

/// Replaces `out` by the relative path that a target's path names: percent-decoded once, then freed of empty and
/// dot segments (RFC 3986 §5.2.4). No slash at either end, so the root is empty. An encoded slash separates
/// like any other. Nothing is allocated but what `out` grows by.
///
/// # Errors
/// [`RequestError::Target`] if the path does not start with a slash, rises above the root (even if it comes
/// back), or holds NUL or a `%` that no two hexadecimal digits follow. `out` is then unspecified.
pub fn decode_path(path: &[u8], out: &mut Vec<u8>) -> Result<DecodedPath, RequestError> {
    out.clear();
    let [b'/', relative @ ..] = path else { return Err(RequestError::Target) };
    if !is_plain(path, relative) {
        return normalize(relative, out);
    }
    let stripped = relative.strip_suffix(b"/").unwrap_or(relative);
    out.extend_from_slice(stripped);
    Ok(DecodedPath { is_directory: path.ends_with(b"/"), is_hidden: false })
}

/// Whether a path stands for itself: nothing encoded, no empty segment, none that starts with a dot.
fn is_plain(path: &[u8], relative: &[u8]) -> bool {
    // Pairs of neighbours, and no early exit: this is the loop every request runs, so it must be vectorized.
    path.iter().zip(relative).fold(true, |plain, (&before, &byte)| {
        plain & (byte != b'%') & (byte != 0) & !((before == b'/') & ((byte == b'/') | (byte == b'.')))
    })
}

/// The long way, for a path of which the leading slash is gone.
fn normalize(relative: &[u8], out: &mut Vec<u8>) -> Result<DecodedPath, RequestError> {
    // Finished segments lie in `out`, each with a slash behind it; from `start` on grows the current one.
    let mut start = 0;
    let mut rest = relative;
    while let [byte, tail @ ..] = rest {
        let (byte, tail) = if *byte == b'%' { decode_octet(tail)? } else { (*byte, tail) };
        rest = tail;
        match byte {
            0 => return Err(RequestError::Target),
            b'/' => {
                finish_segment(out, start)?;
                start = out.len();
            }
            _ => out.push(byte),
        }
    }
    let is_directory = finish_segment(out, start)?;
    out.pop_if(|last| *last == b'/');
    Ok(DecodedPath { is_directory, is_hidden: has_hidden_segment(out) })
}

/// The octet that two hexadecimal digits stand for, and what follows them (RFC 3986 §2.1).
pub(crate) fn decode_octet(digits: &[u8]) -> Result<(u8, &[u8]), RequestError> {
    let [high, low, rest @ ..] = digits else { return Err(RequestError::Target) };
    match (hex_value(*high), hex_value(*low)) {
        (Some(high), Some(low)) => Ok((high << 4 | low, rest)),
        _ => Err(RequestError::Target),
    }
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Settles the segment that starts at `start`: keeps it, drops it, or drops the one before it as well. True if
/// it was empty or a dot segment, which only directories may end in.
fn finish_segment(out: &mut Vec<u8>, start: usize) -> Result<bool, RequestError> {
    match out.get(start..) {
        Some(b"" | b".") => out.truncate(start),
        Some(b"..") => {
            let parent =
                out.get(..start).and_then(|kept| kept.strip_suffix(b"/")).ok_or(RequestError::Target)?;
            let parent_start = memchr::memrchr(b'/', parent).map_or(0, |slash| slash + 1);
            out.truncate(parent_start);
        }
        _ => {
            out.push(b'/');
            return Ok(false);
        }
    }
    Ok(true)
}

pub(crate) fn has_hidden_segment(path: &[u8]) -> bool {
    let below_well_known = match path.strip_prefix(b".well-known") {
        Some(rest @ ([] | [b'/', ..])) => rest,
        _ => path,
    };
    below_well_known.split(|&byte| byte == b'/').any(|segment| segment.starts_with(b"."))
}

/// Appends a path in the form that a `Location` may carry: all but slashes and the characters that RFC 3986 §3.3
/// allows in a segment is percent-encoded.
pub fn encode_path(decoded: &[u8], out: &mut Vec<u8>) {
    encode(decoded, out, |byte| is_sub_delimiter(byte) || matches!(byte, b'/' | b':' | b'@'));
}

/// Appends a query as it came, in the form that a `Location` may carry: what RFC 3986 §3.4 does not allow in a
/// query is percent-encoded, what is encoded already is left alone.
pub fn encode_query(query: &[u8], out: &mut Vec<u8>) {
    encode(query, out, |byte| is_sub_delimiter(byte) || matches!(byte, b'/' | b':' | b'@' | b'?' | b'%'));
}

/// Appends text as one value in a query or fragment: all is percent-encoded that could mean something there.
pub fn encode_value(text: &[u8], out: &mut Vec<u8>) {
    encode(text, out, |byte| byte == b'/');
}

fn encode(bytes: &[u8], out: &mut Vec<u8>, is_kept: impl Fn(u8) -> bool) {
    for &byte in bytes {
        if is_unreserved(byte) || is_kept(byte) {
            out.push(byte);
        } else {
            out.extend([b'%', hex_digit(byte >> 4), hex_digit(byte & 0xf)]);
        }
    }
}

const fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'A' + value - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parsed<'b> = (RequestTarget<'b>, Option<&'b [u8]>);

    fn at<'b>(path: &'b [u8], query: Option<&'b [u8]>) -> RequestTarget<'b> {
        RequestTarget::Origin { path, query }
    }

    #[test]
    fn a_query_is_carried_over_without_being_encoded_twice() {
        let mut out = Vec::new();
        encode_query(b"a=b%20c&d=\"<\xc3\xa4>\\?/", &mut out);
        assert_eq!(out, b"a=b%20c&d=%22%3C%C3%A4%3E%5C?/");
    }

    #[test]
    fn each_form_is_told_from_the_others() {
        let table: [(&[u8], Method, Parsed<'_>); 16] = [
            (b"/", Method::Get, (at(b"/", None), None)),
            (b"/a/b?c=d?e", Method::Get, (at(b"/a/b", Some(b"c=d?e")), None)),
            (b"/a?", Method::Head, (at(b"/a", Some(b"")), None)),
            (b"//host/x", Method::Get, (at(b"//host/x", None), None)),
            (b"/\xc3\xa4\\\"<>", Method::Unknown, (at(b"/\xc3\xa4\\\"<>", None), None)),
            (b"/*", Method::Options, (at(b"/*", None), None)),
            (b"*", Method::Options, (RequestTarget::Asterisk, None)),
            (b"http://h/p?q", Method::Get, (at(b"/p", Some(b"q")), Some(b"h"))),
            (b"HTTPS://h:1/", Method::NotAllowed, (at(b"/", None), Some(b"h:1"))),
            (b"http://h", Method::Get, (at(b"/", None), Some(b"h"))),
            (b"http://h?q/r", Method::Get, (at(b"/", Some(b"q/r")), Some(b"h"))),
            (b"http://h/?", Method::Get, (at(b"/", Some(b"")), Some(b"h"))),
            (b"http://[::1]:80/x", Method::Get, (at(b"/x", None), Some(b"[::1]:80"))),
            (b"http://h//x", Method::Get, (at(b"//x", None), Some(b"h"))),
            (b"h:443", Method::Connect, (RequestTarget::Authority, None)),
            (b"[::1]:443", Method::Connect, (RequestTarget::Authority, None)),
        ];
        for (raw, method, parsed) in table {
            assert_eq!(parse(raw, method), Ok(parsed), "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn what_has_no_form_is_refused() {
        let table: [(&[u8], Method); 24] = [
            (b"", Method::Get),
            (b"a", Method::Get),
            (b"?q", Method::Get),
            (b"*", Method::Get),
            (b"**", Method::Options),
            (b"*/", Method::Options),
            (b"h:80", Method::Get),
            (b"/", Method::Connect),
            (b"h", Method::Connect),
            (b"h:", Method::Connect),
            (b"h:65536", Method::Connect),
            (b"http://h:80/", Method::Connect),
            (b"ftp://h/", Method::Get),
            (b"http:/h", Method::Get),
            (b"http:///x", Method::Get),
            (b"http://:80/", Method::Get),
            (b"http://u@h/", Method::Get),
            (b"http://h:x/", Method::Get),
            (b"http://h\\x/", Method::Get),
            (b"/a#b", Method::Get),
            (b"/a b", Method::Get),
            (b"/a\tb", Method::Get),
            (b"/a?\0", Method::Get),
            (b"/\x7f", Method::Get),
        ];
        for (raw, method) in table {
            assert_eq!(parse(raw, method), Err(RequestError::Target), "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        let good: [&[u8]; 18] = [
            b"example.com",
            b"example.com.",
            b"a_b",
            b"-",
            b"h:",
            b"h:0",
            b"h:65535",
            b"h:00080",
            b"127.0.0.1:80",
            b"999.1.1.1",
            b"[::]",
            b"[::1]:",
            b"[::ffff:1.2.3.4]:8080",
            b"[2001:DB8::1]",
            b"x%41y",
            b"!$&'()*+,;=~",
            b"%c3%a4",
            b"xn--4ca",
        ];
        let bad: [&[u8]; 28] = [
            b"",
            b":",
            b":80",
            b"h:65536",
            b"h:99999999999999999999",
            b"h:+1",
            b"h:1 ",
            b"h:8o",
            b"a:b:c",
            b"::1",
            b"[]",
            b"[::1",
            b"::1]",
            b"[::1]x",
            b"[::1]80",
            b"[::1%25eth0]",
            b"[fe80::1%eth0]",
            b"[1.2.3.4]",
            b"[v1.x]",
            b"[[::1]]",
            b"[12345::]",
            b"u@h",
            b"a b",
            b"a/b",
            b"a%4",
            b"a%zz",
            b"\xc3\xa4",
            b"a\0",
        ];
        for value in good {
            assert!(is_authority(value), "{}", value.escape_ascii());
        }
        for value in bad {
            assert!(!is_authority(value), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn paths_are_decoded_once_and_freed_of_dot_segments() {
        let file = DecodedPath { is_directory: false, is_hidden: false };
        let directory = DecodedPath { is_directory: true, is_hidden: false };
        let hidden = DecodedPath { is_directory: false, is_hidden: true };
        let hidden_directory = DecodedPath { is_directory: true, is_hidden: true };
        let table: [(&[u8], &[u8], DecodedPath); 50] = [
            (b"/", b"", directory),
            (b"//", b"", directory),
            (b"/.", b"", directory),
            (b"/./", b"", directory),
            (b"/a", b"a", file),
            (b"/a/", b"a", directory),
            (b"/a//", b"a", directory),
            (b"//a", b"a", file),
            (b"/a/b.txt", b"a/b.txt", file),
            (b"/a///b", b"a/b", file),
            (b"/a/./b", b"a/b", file),
            (b"/a/.", b"a", directory),
            (b"/a/..", b"", directory),
            (b"/a/../", b"", directory),
            (b"/a/b/..", b"a", directory),
            (b"/a/b/../c", b"a/c", file),
            (b"/a/b/../../c", b"c", file),
            (b"/a//../b", b"b", file),
            (b"/%61", b"a", file),
            (b"/%2561", b"%61", file),
            (b"/%252e%252e/", b"%2e%2e", directory),
            (b"/a%2Fb", b"a/b", file),
            (b"/a%2f", b"a", directory),
            (b"/%2f%2Fa", b"a", file),
            (b"/a/%2e%2E/b", b"b", file),
            (b"/a%2f..%2fb", b"b", file),
            (b"/a/%2e", b"a", directory),
            (b"/a/b%2f%2e%2e", b"a", directory),
            (b"/foo..bar", b"foo..bar", file),
            (b"/a./b../c", b"a./b../c", file),
            (b"/a\\b", b"a\\b", file),
            (b"/a%5c..%5cb", b"a\\..\\b", file),
            (b"/%0a%7f%ff", b"\n\x7f\xff", file),
            (b"/\xc3\xa4", b"\xc3\xa4", file),
            (b"/%3f%23", b"?#", file),
            (b"/+", b"+", file),
            (b"/.git", b".git", hidden),
            (b"/%2egit/config", b".git/config", hidden),
            (b"/a/.b/c", b"a/.b/c", hidden),
            (b"/.git/", b".git", hidden_directory),
            (b"/...", b"...", hidden),
            (b"/.../a", b".../a", hidden),
            (b"/..a", b"..a", hidden),
            (b"/.git/../a", b"a", file),
            (b"/.well-known", b".well-known", file),
            (b"/.well-known/acme/x", b".well-known/acme/x", file),
            (b"/a/../.well-known/", b".well-known", directory),
            (b"/.well-known/.x", b".well-known/.x", hidden),
            (b"/.well-knownx", b".well-knownx", hidden),
            (b"/a/.well-known/x", b"a/.well-known/x", hidden),
        ];
        let mut out = b"left over".to_vec();
        for (path, decoded, facts) in table {
            assert_eq!(decode_path(path, &mut out), Ok(facts), "{}", path.escape_ascii());
            assert_eq!(out, decoded, "{}", path.escape_ascii());
        }
    }

    #[test]
    fn paths_out_of_the_root_and_bad_octets_are_refused() {
        let table: [&[u8]; 24] = [
            b"",
            b"a",
            b"%2fa",
            b"/..",
            b"/../",
            b"/../a",
            b"/a/../..",
            b"/a/../../a",
            b"/./..",
            b"//..",
            b"/%2e%2e",
            b"/.%2e/a",
            b"/..%2f..%2fetc/passwd",
            b"/a/%2e%2e%2f%2e%2e%2fb",
            b"/%",
            b"/%4",
            b"/%zz",
            b"/%4g",
            b"/%%41",
            b"/% 41",
            b"/%+1",
            b"/a%00.txt",
            b"/a\0",
            b"/a/%",
        ];
        let mut out = Vec::new();
        for path in table {
            assert_eq!(decode_path(path, &mut out), Err(RequestError::Target), "{}", path.escape_ascii());
        }
    }

    #[test]
    fn locations_encode_all_that_a_segment_may_not_hold() {
        let table: [(&[u8], &[u8]); 6] = [
            (b"", b""),
            (b"a-Z.0_9~/b", b"a-Z.0_9~/b"),
            (b"!$&'()*+,;=:@", b"!$&'()*+,;=:@"),
            (b"a b?c#d%e", b"a%20b%3Fc%23d%25e"),
            (b"\\\"<>^`{|}[]", b"%5C%22%3C%3E%5E%60%7B%7C%7D%5B%5D"),
            (b"\r\n\0\x7f\xc3\xa4", b"%0D%0A%00%7F%C3%A4"),
        ];
        for (decoded, encoded) in table {
            let mut out = b"/".to_vec();
            encode_path(decoded, &mut out);
            assert_eq!(out.strip_prefix(b"/"), Some(encoded), "{}", decoded.escape_ascii());
        }
    }

    #[test]
    fn every_octet_survives_encoding_and_decoding() {
        let name: Vec<u8> = (1..=255).filter(|&byte| byte != b'/').collect();
        let mut encoded = b"/x".to_vec();
        encode_path(&name, &mut encoded);
        let mut out = Vec::new();
        decode_path(&encoded, &mut out).unwrap();
        assert_eq!(out.strip_prefix(b"x"), Some(&name[..]));
    }
}
