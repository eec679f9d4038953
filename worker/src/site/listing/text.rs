//! How names, sizes and times are written.

use std::fmt::Write;

use protocol::{date, target};

const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A size as people say it, in powers of 1000 and two or three digits: `999 B`, `1.2 kB`, `34 MB`.
pub(super) fn rounded_size(bytes: u64) -> String {
    let mut unit_bytes = 1_000_u64;
    for unit in UNITS {
        let tenths = bytes.saturating_add(unit_bytes / 20) / (unit_bytes / 10);
        let whole = bytes.saturating_add(unit_bytes / 2) / unit_bytes;
        match (bytes, tenths, whole) {
            (..1_000, ..) => break,
            (_, ..100, _) => return format!("{}.{} {unit}", tenths / 10, tenths % 10),
            (_, _, ..1_000) => return format!("{whole} {unit}"),
            _ => unit_bytes = unit_bytes.saturating_mul(1_000),
        }
    }
    format!("{bytes} B")
}

/// A size to the byte: `1,234 bytes`.
pub(super) fn exact_size(bytes: u64) -> String {
    format!("{} {}", grouped(bytes), if bytes == 1 { "byte" } else { "bytes" })
}

/// A number with commas between its thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in UTC, as RFC 3339 writes it: `2026-11-20T16:24:13Z`. Not before 1970, not after 9999.
pub(super) fn rfc3339(unix_s: i64) -> String {
    let date = date::format(unix_s);
    // `Fri, 20 Nov 2026 16:24:13 GMT`, the fields of which have fixed places.
    let text = std::str::from_utf8(&date).unwrap_or_default();
    let field = |places| text.get(places).unwrap_or_default();
    let month = MONTHS.iter().position(|month| *month == field(8..11)).map_or(0, |index| index + 1);
    format!("{}-{month:02}-{}T{}Z", field(12..16), field(5..7), field(17..25))
}

/// Appends text, escaped for HTML between tags and in quoted attributes.
pub(super) fn escape(text: &str, html: &mut String) {
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
}

/// Appends a name for people to read, escaped for HTML. What is not UTF-8 is replaced, and so is what would be
/// invisible or would let a name look like another one: control characters, and those that reorder what follows.
pub(super) fn escape_name(name: &[u8], html: &mut String) {
    let visible: String = String::from_utf8_lossy(name).chars().map(visible).collect();
    escape(&visible, html);
}

fn visible(character: char) -> char {
    match character {
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        other => other,
    }
}

/// A reference to something in the directory, relative to it and percent-encoded to the byte. A name with a
/// colon gets a `./` in front, or it would be taken for a scheme (RFC 3986 §4.2).
pub(super) fn reference(name: &[u8], is_directory: bool) -> String {
    let mut reference = if name.contains(&b':') { b"./".to_vec() } else { Vec::new() };
    target::encode_path(name, &mut reference);
    if is_directory {
        reference.push(b'/');
    }
    // It is ASCII.
    String::from_utf8(reference).unwrap_or_default()
}

/// Appends a string of JSON, quotes included (RFC 8259 §7). What is not UTF-8 is replaced.
pub(super) fn quote(text: &[u8], json: &mut String) {
    json.push('"');
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\0'..='\x1f' => {
                // A `String` takes everything.
                let _ = write!(json, "\\u{:04x}", u32::from(character));
            }
            other => json.push(other),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_what_people_say() {
        let table = [
            (0, "0 B"),
            (1, "1 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_049, "1.0 kB"),
            (1_050, "1.1 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (10_499, "10 kB"),
            (10_500, "11 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (1_234_567, "1.2 MB"),
            (4_700_000_000, "4.7 GB"),
            (999_500_000_000, "1.0 TB"),
            (1_000_000_000_000_000, "1.0 PB"),
            (u64::MAX, "18 EB"),
        ];
        for (bytes, expected) in table {
            assert_eq!(rounded_size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn exact_sizes_have_commas_between_thousands() {
        let table = [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1_000, "1,000 bytes"),
            (1_234_567, "1,234,567 bytes"),
            (u64::MAX, "18,446,744,073,709,551,615 bytes"),
        ];
        for (bytes, expected) in table {
            assert_eq!(exact_size(bytes), expected);
        }
    }

    #[test]
    fn times_are_written_in_utc() {
        let table = [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_191_853, "2026-11-20T16:24:13Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
        ];
        for (unix_s, expected) in table {
            assert_eq!(rfc3339(unix_s), expected);
        }
        for (month, name) in (1..).zip(["2026-01", "2026-02", "2026-03", "2026-04", "2026-05", "2026-06"]) {
            // The middle of each month.
            assert!(rfc3339(1_767_225_600 + 86_400 * (30 * month - 15)).starts_with(name), "{name}");
        }
    }

    #[test]
    fn names_can_neither_be_markup_nor_look_like_another() {
        let table: [(&[u8], &str); 11] = [
            (b"plain.txt", "plain.txt"),
            (b"<script>alert('\"&')", "&lt;script&gt;alert(&#39;&quot;&amp;&#39;)"),
            (b"&amp;", "&amp;amp;"),
            (b"a\nb\tc\x1b[31m\x7f", "a\u{fffd}b\u{fffd}c\u{fffd}[31m\u{fffd}"),
            (b"\xff\xfename", "\u{fffd}\u{fffd}name"),
            (b"\xe2\x82", "\u{fffd}"),
            ("photo\u{202e}gpj.exe".as_bytes(), "photo\u{fffd}gpj.exe"),
            ("a\u{2066}b\u{2069}c\u{2028}d\u{85}".as_bytes(), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}"),
            ("שלום\u{200f}.txt".as_bytes(), "שלום\u{200f}.txt"),
            ("👩\u{200d}🚀".as_bytes(), "👩\u{200d}🚀"),
            (b"", ""),
        ];
        for (name, expected) in table {
            let mut html = String::new();
            escape_name(name, &mut html);
            assert_eq!(html, expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn references_name_the_entry_to_the_byte_and_never_a_scheme() {
        let table: [(&[u8], bool, &str); 13] = [
            (b"a.txt", false, "a.txt"),
            (b"a", true, "a/"),
            (b"javascript:alert(1)", false, "./javascript:alert(1)"),
            (b":", false, "./:"),
            (b"http:", true, "./http:/"),
            (b"-rf", false, "-rf"),
            (b"\\\\evil.example", false, "%5C%5Cevil.example"),
            (b"a b?c#d%2fe", false, "a%20b%3Fc%23d%252fe"),
            (b"\"<>'&", false, "%22%3C%3E'&"),
            (b"\xff\n", false, "%FF%0A"),
            ("é\u{202e}".as_bytes(), false, "%C3%A9%E2%80%AE"),
            (b"...", true, ".../"),
            (b"@:x", false, "./@:x"),
        ];
        for (name, is_directory, expected) in table {
            assert_eq!(reference(name, is_directory), expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn strings_of_json_are_quoted() {
        let table: [(&[u8], &str); 6] = [
            (b"plain", "\"plain\""),
            (b"\"\\/", "\"\\\"\\\\/\""),
            (b"\0\n\x1f\x7f", "\"\\u0000\\u000a\\u001f\x7f\""),
            (b"a\xffb", "\"a\u{fffd}b\""),
            ("é\u{202e}".as_bytes(), "\"é\u{202e}\""),
            (b"", "\"\""),
        ];
        for (text, expected) in table {
            let mut json = String::new();
            quote(text, &mut json);
            assert_eq!(json, expected);
        }
    }
}
