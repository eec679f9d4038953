//! A listing for programs.

use super::entries::Entry;
use super::text;

/// Room for an entry with a name of usual length.
const ENTRY_BYTES: usize = 128;

/// An array with an object for each entry, one a line: `name`, for people; `kind`, `"directory"` or `"file"`;
/// `size` in bytes, `null` for a directory; `modified` (RFC 3339); `href`, relative to the directory and exact
/// where the name is not UTF-8.
pub(super) fn array(entries: &[Entry]) -> Vec<u8> {
    let mut json = String::with_capacity(entries.len() * ENTRY_BYTES + 4);
    let mut separator = "[\n";
    for entry in entries {
        json.push_str(separator);
        object(entry, &mut json);
        separator = ",\n";
    }
    json.push_str(if entries.is_empty() { "[]\n" } else { "\n]\n" });
    json.into_bytes()
}

fn object(entry: &Entry, json: &mut String) {
    let (kind, size) = match entry.is_directory {
        true => ("directory", "null".to_owned()),
        false => ("file", entry.size.to_string()),
    };
    json.push_str("{\"name\":");
    text::quote(&entry.name, json);
    for part in
        [",\"kind\":\"", kind, "\",\"size\":", &size, ",\"modified\":\"", &text::rfc3339(entry.modified_s)]
    {
        json.push_str(part);
    }
    json.push_str("\",\"href\":");
    text::quote(text::reference(&entry.name, entry.is_directory).as_bytes(), json);
    json.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8], is_directory: bool) -> Entry {
        Entry { name: name.into(), is_directory, size: 1_234, modified_s: 1_795_191_853 }
    }

    #[test]
    fn nothing_is_an_empty_array() {
        assert_eq!(array(&[]), b"[]\n");
    }

    #[test]
    fn each_entry_is_an_object_on_a_line() {
        let entries = [entry(b"a b", true), entry(b"\"\\\n<&\xff:", false)];
        let expected = concat!(
            "[\n",
            r#"{"name":"a b","kind":"directory","size":null,"modified":"2026-11-20T16:24:13Z","href":"a%20b/"}"#,
            ",\n",
            r#"{"name":"\"\\\u000a<&"#,
            "\u{fffd}:",
            r#"","kind":"file","size":1234,"modified":"2026-11-20T16:24:13Z","href":"./%22%5C%0A%3C&%FF:"}"#,
            "\n]\n",
        );
        assert_eq!(String::from_utf8(array(&entries)).unwrap(), expected);
    }
}
