//! How the length of a request's content is known (RFC 9112 §6). Strict on purpose: where two readers could
//! disagree about the end of a request, one of them can be made to read a request that the other never saw.

use crate::error::RequestError;
use crate::field::{Fields, Name, trim};
use crate::limits::Limits;
use crate::version::Version;

/// The framing of a request's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no content.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
}

/// Reads the framing off a field section.
///
/// # Errors
/// [`RequestError::ConflictingFraming`], [`RequestError::TransferCoding`], [`RequestError::ContentLength`] or
/// [`RequestError::ContentTooLarge`]: RFC 9112 §6.1 and §6.3.
pub fn of(fields: &Fields<'_>, version: Version, limits: &Limits) -> Result<Framing, RequestError> {
    if fields.has(Name::TransferEncoding) {
        if fields.has(Name::ContentLength) || version == Version::Http10 {
            return Err(RequestError::ConflictingFraming);
        }
        return chunked(fields);
    }
    if !fields.has(Name::ContentLength) {
        return Ok(Framing::None);
    }
    match content_length(fields)? {
        0 => Ok(Framing::None),
        length if length > limits.content_bytes_max => Err(RequestError::ContentTooLarge),
        length => Ok(Framing::Length(length)),
    }
}

fn chunked(fields: &Fields<'_>) -> Result<Framing, RequestError> {
    let mut values = fields.all(Name::TransferEncoding);
    match (values.next(), values.next()) {
        (Some(value), None) if value.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        _ => Err(RequestError::TransferCoding),
    }
}

/// The one value of all `Content-Length` lines and list members. Repeating it is tolerated, contradicting it is not; nor
/// is writing it in another way, as `05` beside `5`, which a proxy may take for a contradiction.
fn content_length(fields: &Fields<'_>) -> Result<u64, RequestError> {
    let mut members = fields.all(Name::ContentLength).flat_map(|value| value.split(|&byte| byte == b','));
    let first = trim(members.next().unwrap_or_default());
    if members.any(|member| trim(member) != first) {
        return Err(RequestError::ContentLength);
    }
    digits(first).ok_or(RequestError::ContentLength)
}

/// A number of decimal digits alone, unless it overflows.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use httparse::Header;

    fn framing(lines: &[(&str, &str)], version: Version) -> Result<Framing, RequestError> {
        let lines: Vec<Header<'_>> =
            lines.iter().map(|&(name, value)| Header { name, value: value.as_bytes() }).collect();
        of(&Fields::new(&lines), version, &Limits::default())
    }

    #[test]
    fn framing_follows_rfc_9112_section_6() {
        use Framing::{Chunked, Length, None};
        use RequestError::{ConflictingFraming, ContentLength, ContentTooLarge, TransferCoding};
        const CL: &str = "Content-Length";
        const TE: &str = "Transfer-Encoding";
        type Case<'a> = (&'a [(&'a str, &'a str)], Result<Framing, RequestError>);
        let table: [Case<'_>; 24] = [
            (&[], Ok(None)),
            (&[(CL, "0")], Ok(None)),
            (&[(CL, "5")], Ok(Length(5))),
            (&[(CL, "005")], Ok(Length(5))),
            (&[(CL, "5"), (CL, "5")], Ok(Length(5))),
            (&[(CL, "5, 5")], Ok(Length(5))),
            (&[(CL, "5"), (CL, "6")], Err(ContentLength)),
            (&[(CL, "5, 6")], Err(ContentLength)),
            (&[(CL, "05"), (CL, "5")], Err(ContentLength)),
            (&[(CL, "5, 05")], Err(ContentLength)),
            (&[(CL, "")], Err(ContentLength)),
            (&[(CL, ",")], Err(ContentLength)),
            (&[(CL, "+5")], Err(ContentLength)),
            (&[(CL, "-5")], Err(ContentLength)),
            (&[(CL, "0x5")], Err(ContentLength)),
            (&[(CL, "5 5")], Err(ContentLength)),
            (&[(CL, "18446744073709551616")], Err(ContentLength)),
            (&[(CL, "18446744073709551615")], Err(ContentTooLarge)),
            (&[(CL, "1048577")], Err(ContentTooLarge)),
            (&[(TE, "Chunked")], Ok(Chunked)),
            (&[(TE, "gzip, chunked")], Err(TransferCoding)),
            (&[(TE, "chunked"), (TE, "chunked")], Err(TransferCoding)),
            (&[(TE, "identity")], Err(TransferCoding)),
            (&[(TE, "chunked"), (CL, "5")], Err(ConflictingFraming)),
        ];
        for (lines, expected) in table {
            assert_eq!(framing(lines, Version::Http11), expected, "{lines:?}");
        }
        assert_eq!(framing(&[(TE, "chunked")], Version::Http10), Err(ConflictingFraming));
    }
}
