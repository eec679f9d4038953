//! Targets and authorities (RFC 9112 §3.2, RFC 3986), and which file a path names.

use super::{Files, Place};

/// What the form of a target says.
pub(super) struct Form<'a> {
    /// It may be refused: characters that no URI has, but many clients send.
    pub(super) may_be_refused: bool,
    /// It has no form that the method allows.
    pub(super) must_be_refused: bool,
    /// The path, still encoded and with its query; none where there is none.
    pub(super) path: Option<&'a [u8]>,
}

pub(super) fn form<'a>(method: &[u8], target: &'a [u8]) -> Form<'a> {
    let is_unusual = target.iter().any(|&byte| byte >= 0x7f || b"\"<>\\^`{|}".contains(&byte));
    let refused = Form { may_be_refused: true, must_be_refused: true, path: None };
    let accepted = |path| Form { may_be_refused: is_unusual, must_be_refused: false, path };
    if method == b"CONNECT" {
        return match authority_faults(target) {
            (true, true) => refused,
            // Without a port it is none: RFC 9112 §3.2.3.
            _ => Form { may_be_refused: true, must_be_refused: false, path: None },
        };
    }
    if target.starts_with(b"/") {
        return accepted(Some(target));
    }
    if target == b"*" {
        // With OPTIONS alone: RFC 9112 §3.2.4.
        return if method == b"OPTIONS" { accepted(None) } else { refused };
    }
    let lower = target.to_ascii_lowercase();
    let Some(length) = ["http://", "https://"].iter().find(|&&scheme| lower.starts_with(scheme.as_bytes()))
    else {
        return refused;
    };
    let rest = &target[length.len()..];
    let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
    let path = if rest[end..].starts_with(b"/") { &rest[end..] } else { b"/" };
    match authority_faults(&rest[..end]) {
        (_, true) => refused,
        (may, false) => Form { may_be_refused: may || is_unusual, must_be_refused: false, path: Some(path) },
    }
}

/// Whether an authority may be refused, and whether it must be.
pub(super) fn authority_faults(authority: &[u8]) -> (bool, bool) {
    if authority.is_empty() {
        return (true, false);
    }
    let (host, port) = match authority.iter().rposition(|&byte| byte == b':') {
        Some(colon) if !authority[colon..].contains(&b']') => (&authority[..colon], &authority[colon + 1..]),
        _ => (authority, &b""[..]),
    };
    if !port.iter().all(u8::is_ascii_digit) {
        return (true, true);
    }
    let is_far = std::str::from_utf8(port).ok().is_none_or(|digits| digits.parse::<u16>().is_err());
    let may = host.is_empty() || (!port.is_empty() && is_far);
    if let Some(literal) = host.strip_prefix(b"[") {
        let literal = literal.strip_suffix(b"]").and_then(|literal| std::str::from_utf8(literal).ok());
        let is_address = literal.is_some_and(|literal| literal.parse::<std::net::Ipv6Addr>().is_ok());
        // Addresses of the future, and zones, are in the grammar or near it.
        let is_near = literal.is_some_and(|literal| literal.starts_with(['v', 'V']) || literal.contains('%'));
        return (may || !is_address, !is_address && !is_near);
    }
    let mut rest = host;
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => tail,
            (byte, _) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => tail,
            _ => return (true, true),
        };
    }
    (may, false)
}

/// What a target's path names, decoded once and freed of dot segments.
///
/// # Errors
/// If it is malformed, or leads out of the root.
pub(crate) fn resolve(target: &[u8], files: &Files) -> Result<Option<Place>, ()> {
    let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
    let mut decoded = Vec::new();
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(())?;
        // A sign would pass for a digit.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(());
        }
        decoded.push(u8::from_str_radix(digits, 16).map_err(drop)?);
        rest = &rest[2..];
    }
    if decoded.contains(&0) {
        return Err(());
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut is_directory = true;
    for segment in decoded.split(|&byte| byte == b'/') {
        is_directory = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop().ok_or(())?),
            _ => segments.push(segment),
        }
    }
    let mut name = segments.join(&b'/');
    let with_slash = if name.is_empty() { Vec::new() } else { [&name[..], b"/"].concat() };
    if is_directory {
        name = with_slash;
    } else if !files.contains_key(&name) && files.contains_key(&with_slash) {
        return Ok(Some(Place::Directory));
    }
    Ok(files.get(&name).map(|content| Place::File(content.clone())))
}
