//! Media types by file name (RFC 9110 §8.3.1): the table of `mime_guess`, corrected where it is behind the
//! registry or would hurt on the web.

use std::borrow::Cow;

/// What is said of content about which nothing is known.
const UNKNOWN: &str = "application/octet-stream";

/// Where the table has no type, a deprecated one, or one that browsers do not take.
const CORRECTIONS: [(&str, &str); 16] = [
    ("br", "application/x-brotli"),
    ("cjs", "text/javascript"),
    ("deb", "application/vnd.debian.binary-package"),
    ("dtd", "application/xml-dtd"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("map", "application/json"),
    ("otf", "font/otf"),
    ("rpm", "application/x-rpm"),
    ("tgz", "application/gzip"),
    ("toml", "application/toml"),
    ("ts", "video/mp2t"),
    ("woff", "font/woff"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zst", "application/zstd"),
];

/// The value of `Content-Type` for a file of this name, by its extension in any case. Text is said to be UTF-8.
/// Only what follows the last slash counts; a leading dot makes a hidden file, not an extension.
#[must_use]
pub fn of(name: &[u8]) -> Cow<'static, str> {
    match extension(name).and_then(by_extension) {
        Some(text) if text.starts_with("text/") => Cow::Owned(format!("{text}; charset=utf-8")),
        Some(other) => Cow::Borrowed(other),
        None => Cow::Borrowed(UNKNOWN),
    }
}

fn extension(name: &[u8]) -> Option<&str> {
    let file = name.rsplit(|&byte| byte == b'/').next()?;
    let dot = memchr::memrchr(b'.', file).filter(|&dot| dot > 0)?;
    std::str::from_utf8(file.get(dot + 1..)?).ok()
}

fn by_extension(extension: &str) -> Option<&'static str> {
    let corrected = CORRECTIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    let media_type = match corrected {
        Some((_, media_type)) => media_type,
        None => mime_guess::from_ext(extension).first_raw()?,
    };
    Some(match media_type {
        // RFC 9239 §6
        "application/javascript" => "text/javascript",
        // As text, a charset parameter would overrule what the document says of itself (RFC 7303 §3.2).
        "text/xml" => "application/xml",
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_name_the_type_in_any_case() {
        let table: [(&[u8], &str); 36] = [
            (b"index.html", "text/html; charset=utf-8"),
            (b"INDEX.HTM", "text/html; charset=utf-8"),
            (b"a/b.d/style.Css", "text/css; charset=utf-8"),
            (b"app.js", "text/javascript; charset=utf-8"),
            (b"app.mjs", "text/javascript; charset=utf-8"),
            (b"app.cjs", "text/javascript; charset=utf-8"),
            (b"app.js.map", "application/json"),
            (b"data.JSON", "application/json"),
            (b"site.webmanifest", "application/manifest+json"),
            (b"m.wasm", "application/wasm"),
            (b"f.woff", "font/woff"),
            (b"f.woff2", "font/woff2"),
            (b"f.ttf", "font/ttf"),
            (b"f.otf", "font/otf"),
            (b"i.svg", "image/svg+xml"),
            (b"i.png", "image/png"),
            (b"i.JPG", "image/jpeg"),
            (b"i.webp", "image/webp"),
            (b"i.avif", "image/avif"),
            (b"i.ico", "image/x-icon"),
            (b"f.xml", "application/xml"),
            (b"f.xsl", "application/xml"),
            (b"f.xhtml", "application/xhtml+xml"),
            (b"README.md", "text/markdown; charset=utf-8"),
            (b"a.txt", "text/plain; charset=utf-8"),
            (b"a.csv", "text/csv; charset=utf-8"),
            (b"x.tar.gz", "application/gzip"),
            (b"x.tgz", "application/gzip"),
            (b"x.js.br", "application/x-brotli"),
            (b"x.js.zst", "application/zstd"),
            (b"v.mp4", "video/mp4"),
            (b"v.ts", "video/mp2t"),
            (b"d.pdf", "application/pdf"),
            (b"p.deb", "application/vnd.debian.binary-package"),
            (b"p.rpm", "application/x-rpm"),
            (b".config.yml", "application/yaml"),
        ];
        for (name, media_type) in table {
            assert_eq!(of(name), media_type, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn without_a_known_extension_the_type_is_unknown() {
        let table: [&[u8]; 11] = [
            b"",
            b"html",
            b".html",
            b"a/.html",
            b"a.html/",
            b"a.html/b",
            b"a.",
            b".",
            b"a.nosuchtype",
            b"a.\xff\xfe",
            b"a.html ",
        ];
        for name in table {
            assert_eq!(of(name), UNKNOWN, "{}", name.escape_ascii());
        }
    }
}
