//! The chunked coding: where it ends (RFC 9112 §7.1).

use super::{After, CONTENT_BYTES_MAX};

/// Beyond these a server may give up.
const EXTENSION_BYTES: usize = 1_000;
const TRAILER_BYTES: usize = 8_000;

/// The line that starts at `at`, without its CR LF, and where the next one starts.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|window| window == b"\r\n")?;
    Some((&rest[..end], at + end + 2))
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// Where a content ends that starts at the start of `bytes`.
pub(super) fn skip(bytes: &[u8]) -> After {
    skipped(bytes).unwrap_or(After::END)
}

fn skipped(bytes: &[u8]) -> Option<After> {
    let (mut at, mut extensions, mut content, mut may_end) = (0, 0, 0_u64, false);
    loop {
        let (head, next) = line(bytes, at)?;
        let digits = head.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extension = &head[digits..];
        if digits == 0 || !is_text(extension) {
            return None;
        }
        // White space may stand before a semicolon alone; what is not a list of extensions may be refused or skipped.
        let trimmed: Vec<u8> = extension.iter().copied().skip_while(|byte| b" \t".contains(byte)).collect();
        if !trimmed.is_empty() && trimmed[0] != b';' {
            return None;
        }
        may_end |= !is_extension_list(extension);
        extensions += extension.len();
        may_end |= extensions > EXTENSION_BYTES || digits > 16;
        let size = u64::from_str_radix(std::str::from_utf8(&head[..digits]).ok()?, 16).ok()?;
        at = next;
        if size == 0 {
            break;
        }
        content += size.min(1 << 40);
        may_end |= content > CONTENT_BYTES_MAX;
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        if bytes.get(end..end.checked_add(2)?)? != b"\r\n" {
            return None;
        }
        at = end + 2;
    }
    let trailers_start = at;
    loop {
        let (field, next) = line(bytes, at)?;
        at = next;
        if field.is_empty() {
            break;
        }
        let colon = field.iter().position(|&byte| byte == b':')?;
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if colon == 0 || !field[..colon].iter().all(is_name) || !is_text(&field[colon..]) {
            return None;
        }
    }
    may_end |= at - trailers_start > TRAILER_BYTES;
    Some(After { may_end, next: Some(at) })
}

/// Roughly `*( BWS ";" BWS name [ BWS "=" BWS value ] )`: whether it certainly is one.
fn is_extension_list(bytes: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    bytes.is_empty()
        || (bytes[0] == b';'
            && bytes[1..].split(|&byte| byte == b';').all(|part| {
                let mut sides = part.split(|&byte| byte == b'=');
                let is_side = |side: &[u8]| !side.is_empty() && side.iter().all(is_plain);
                sides.next().is_some_and(is_side) && sides.all(is_side)
            }))
}
