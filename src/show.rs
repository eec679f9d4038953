//! How names and values are shown to people: on one line, and with nothing in them that a terminal obeys.

use std::fmt::Display;

/// The text with its control characters escaped.
pub(crate) fn plain(text: impl Display) -> String {
    let mut plain = String::new();
    for character in text.to_string().chars() {
        if character.is_control() {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// The same between quotes, so that it is seen where it begins and ends.
pub(crate) fn quoted(text: impl Display) -> String {
    format!("'{}'", plain(text))
}

/// So many of them.
pub(crate) fn counted(count: u64, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {one}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let table = [
            ("", "''"),
            ("a b/c", "'a b/c'"),
            ("zwölf", "'zwölf'"),
            ("a\nb\t\r", r"'a\nb\t\r'"),
            ("\x1b[31m\x7f\u{9b}", r"'\u{1b}[31m\u{7f}\u{9b}'"),
        ];
        for (text, shown) in table {
            assert_eq!(quoted(text), shown);
        }
    }
}
