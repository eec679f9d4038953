//! The stylesheet of the HTML page, and the policy that lets a browser use it and nothing else.

use sha2::{Digest, Sha256};

/// What stands between `<style>` and `</style>`, to the byte.
pub(super) const STYLESHEET: &str = include_str!("style.css");

/// The value of `Content-Security-Policy` for HTML listings (CSP Level 3): no script, no request but for the
/// icon of the site, and this one stylesheet, by its digest. Hashes, which a listing does with all of its content, too.
#[must_use]
pub fn content_security_policy() -> String {
    let digest = base64(&Sha256::digest(STYLESHEET));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; img-src 'self'; base-uri 'none'; form-action 'none'"
    )
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            (0..3).fold(0, |bits, index| bits << 8 | usize::from(group.get(index).copied().unwrap_or(0)));
        for place in 0..4 {
            let digit = ALPHABET.get(bits >> (18 - 6 * place) & 63).filter(|_| place <= group.len());
            text.push(digit.map_or('=', |&digit| char::from(digit)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_base64() {
        // RFC 4648 §10.
        let table: [(&[u8], &str); 8] = [
            (b"", ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"fooba", "Zm9vYmE="),
            (b"foobar", "Zm9vYmFy"),
            (b"\xff\xfe\xfd\x00", "//79AA=="),
        ];
        for (bytes, expected) in table {
            assert_eq!(base64(bytes), expected);
        }
    }

    #[test]
    fn the_policy_names_the_stylesheet_by_its_digest() {
        let policy = content_security_policy();
        let digest = policy.split_once("'sha256-").and_then(|(_, rest)| rest.split_once('\'')).unwrap().0;
        assert_eq!((digest.len(), digest.ends_with('=')), (44, true));
        assert!(policy.starts_with("default-src 'none'; "));
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn the_stylesheet_cannot_end_early_and_asks_for_nothing() {
        for forbidden in ["<", "url(", "@import"] {
            assert!(!STYLESHEET.contains(forbidden), "{forbidden}");
        }
        assert!(STYLESHEET.is_ascii());
    }
}
