//! The `Basic` authentication scheme (RFC 7617): who a client says it is, out of the value of `Authorization`.
//!
//! Owns the syntax and the base64 in it (RFC 4648 §4). Whether the password is right is for others to find out.

/// Name and password. They are bytes: clients differ in how they encode what is not ASCII.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'b> {
    /// May be empty; holds no colon.
    pub user: &'b [u8],
    /// May be empty, and hold colons.
    pub password: &'b [u8],
}

/// Passwords do not belong into logs.
impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.user.escape_ascii())
    }
}

/// Why a value holds no credentials. The client is to blame, and gets 401 in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizationError {
    /// It is of another scheme, or of none.
    Scheme,
    /// What follows the scheme is no base64, or nothing that a name and a password would be encoded as.
    Malformed,
    /// Name and password do not fit into the buffer.
    TooLong,
}

impl std::fmt::Display for AuthorizationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Scheme => "not of the scheme Basic",
            Self::Malformed => "malformed credentials",
            Self::TooLong => "credentials too long",
        })
    }
}

impl std::error::Error for AuthorizationError {}

/// Reads credentials of the scheme `Basic` (RFC 7617 §2) into a buffer of the caller's, which takes as many
/// bytes as name, colon and password have. Base64 is read strictly: there is one way to write each pair.
///
/// # Errors
/// What is wrong with them; the buffer is then unspecified.
pub fn basic<'b>(value: &[u8], buffer: &'b mut [u8]) -> Result<Credentials<'b>, AuthorizationError> {
    let (scheme, rest) = value.split_at_checked(5).ok_or(AuthorizationError::Scheme)?;
    if !scheme.eq_ignore_ascii_case(b"Basic") || !matches!(rest, [] | [b' ', ..]) {
        return Err(AuthorizationError::Scheme);
    }
    let start = rest.iter().position(|&byte| byte != b' ').ok_or(AuthorizationError::Malformed)?;
    let decoded = decode_base64(rest.get(start..).unwrap_or_default(), buffer)?;
    let colon = memchr::memchr(b':', decoded).ok_or(AuthorizationError::Malformed)?;
    match decoded.split_at_checked(colon) {
        Some((user, [_, password @ ..])) if !decoded.iter().any(u8::is_ascii_control) => {
            Ok(Credentials { user, password })
        }
        _ => Err(AuthorizationError::Malformed),
    }
}

/// Base64 with its padding, in the standard alphabet, with nothing but zeros in the bits that are left over.
fn decode_base64<'b>(text: &[u8], buffer: &'b mut [u8]) -> Result<&'b [u8], AuthorizationError> {
    let (groups, []) = text.as_chunks::<4>() else { return Err(AuthorizationError::Malformed) };
    let mut used = 0;
    for (at, group) in groups.iter().enumerate() {
        let is_last = at + 1 == groups.len();
        let (octets, count) = decode_group(*group, is_last).ok_or(AuthorizationError::Malformed)?;
        let octets = octets.get(..count).unwrap_or_default();
        let place = buffer.get_mut(used..used + count).ok_or(AuthorizationError::TooLong)?;
        place.copy_from_slice(octets);
        used += count;
    }
    Ok(buffer.get(..used).unwrap_or_default())
}

/// The octets of four characters, and how many of the three count.
fn decode_group(group: [u8; 4], is_last: bool) -> Option<([u8; 3], usize)> {
    let (digits, count) = match group {
        [one, two, b'=', b'='] if is_last => ([one, two, b'A', b'A'], 1),
        [one, two, three, b'='] if is_last => ([one, two, three, b'A'], 2),
        digits => (digits, 3),
    };
    let bits = digits
        .into_iter()
        .try_fold(0, |bits: u32, digit| Some(bits << 6 | u32::from(digit_value(digit)?)))?;
    let [_, octets @ ..] = bits.to_be_bytes();
    octets.get(count..)?.iter().all(|&octet| octet == 0).then_some((octets, count))
}

const fn digit_value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &[u8]) -> Result<(Vec<u8>, Vec<u8>), AuthorizationError> {
        basic(value, &mut [0; 64])
            .map(|credentials| (credentials.user.to_vec(), credentials.password.to_vec()))
    }

    #[test]
    fn name_and_password_are_what_lies_around_the_first_colon() {
        let table: [(&[u8], &[u8], &[u8]); 10] = [
            (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", b"Aladdin", b"open sesame"),
            (b"Basic dGVzdDoxMjPCow==", b"test", b"123\xc2\xa3"),
            (b"basic YTpi", b"a", b"b"),
            (b"BASIC   YTpi", b"a", b"b"),
            (b"Basic YTpiYw==", b"a", b"bc"),
            (b"Basic YTpiY2Q=", b"a", b"bcd"),
            (b"Basic YTpiOmM6", b"a", b"b:c:"),
            (b"Basic Og==", b"", b""),
            (b"Basic OmI=", b"", b"b"),
            (b"Basic /+Q6++8=", b"\xff\xe4", b"\xfb\xef"),
        ];
        for (value, user, password) in table {
            assert_eq!(read(value), Ok((user.to_vec(), password.to_vec())), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn anything_else_is_refused() {
        use AuthorizationError::{Malformed, Scheme};
        let table: [(&[u8], AuthorizationError); 27] = [
            (b"", Scheme),
            (b"Basi", Scheme),
            (b"BasicYTpi", Scheme),
            (b"Basic\tYTpi", Scheme),
            (b"Bearer YTpi", Scheme),
            (b" Basic YTpi", Scheme),
            (b"Basic", Malformed),
            (b"Basic ", Malformed),
            (b"Basic \tYTpi", Malformed),
            (b"Basic YTpi ", Malformed),
            (b"Basic YT pi", Malformed),
            (b"Basic YTpi, Basic YTpi", Malformed),
            (b"Basic YTp", Malformed),
            (b"Basic YTpiYw", Malformed),
            (b"Basic YTpiYw=", Malformed),
            (b"Basic YTpiYw===", Malformed),
            (b"Basic YTpiYx==", Malformed),
            (b"Basic YTpiY2R=", Malformed),
            (b"Basic Og==Og==", Malformed),
            (b"Basic Y===", Malformed),
            (b"Basic ====", Malformed),
            (b"Basic YT=p", Malformed),
            (b"Basic YTpi_w==", Malformed),
            (b"Basic YTpi\xc3\xa4", Malformed),
            (b"Basic YWJj", Malformed),
            (b"Basic YToK", Malformed),
            (b"Basic AGE6", Malformed),
        ];
        for (value, error) in table {
            assert_eq!(read(value), Err(error), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn credentials_need_as_much_room_as_they_have_bytes() {
        let value = b"Basic YTpiYw==";
        assert!(basic(value, &mut [0; 4]).is_ok());
        assert_eq!(basic(value, &mut [0; 3]), Err(AuthorizationError::TooLong));
        assert_eq!(basic(b"Basic Og==", &mut []), Err(AuthorizationError::TooLong));
    }

    #[test]
    fn a_password_is_not_shown() {
        let mut buffer = [0; 8];
        let credentials = basic(b"Basic YTpiY2Q=", &mut buffer).unwrap();
        assert_eq!(format!("{credentials:?}"), "Credentials(a)");
    }
}
