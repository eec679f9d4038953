//! Media types by file name (RFC 9110 §8.3.1): the table of `mime_guess`, corrected where it is behind the
//! registry or would hurt on the web, and by what an operator says instead.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::str::FromStr;

use crate::field;

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
        Some(known) => as_utf8(known),
        None => Cow::Borrowed(UNKNOWN),
    }
}

/// A type without a charset, with that of text.
fn as_utf8(media_type: &str) -> Cow<'_, str> {
    let is_text = media_type.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/"));
    if is_text { Cow::Owned(format!("{media_type}; charset=utf-8")) } else { Cow::Borrowed(media_type) }
}

/// What an operator says of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    extension: Box<str>,
    value: Box<str>,
}

/// Why a text is not an extension and its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaTypeError {
    /// There is no `=`.
    Form,
    /// What stands before it is not what follows the last dot of a name.
    Extension,
    /// What stands behind it is no media type.
    Value,
}

impl fmt::Display for MediaTypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "it must be EXT=TYPE, such as glb=model/gltf-binary",
            Self::Extension => "an extension is what follows the last dot of a name, without that dot",
            Self::Value => "a media type is TYPE/SUBTYPE, and perhaps parameters: text/plain; charset=utf-8",
        })
    }
}

impl Error for MediaTypeError {}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    /// Reads `EXT=TYPE`. Text is said to be UTF-8, unless the type says what it is.
    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        let (extension, value) = text.split_once('=').ok_or(MediaTypeError::Form)?;
        if extension.is_empty() || extension.contains(['.', '/', '\0']) {
            return Err(MediaTypeError::Extension);
        }
        let value = value.trim_matches([' ', '\t']);
        let mut parts = value.split(';').map(|part| part.trim_matches([' ', '\t']));
        let essence = parts.next().unwrap_or_default();
        let parameters: Option<Vec<&str>> = parts.map(parameter_name).collect();
        let parameters = parameters.filter(|_| is_essence(essence)).ok_or(MediaTypeError::Value)?;
        let has_charset = parameters.iter().any(|name| name.eq_ignore_ascii_case("charset"));
        let value = if has_charset { Cow::Borrowed(value) } else { as_utf8(value) };
        Ok(Self { extension: extension.into(), value: value.into() })
    }
}

fn is_essence(text: &str) -> bool {
    text.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

/// The name of a parameter (RFC 9110 §5.6.6).
fn parameter_name(parameter: &str) -> Option<&str> {
    let (name, value) = parameter.split_once('=')?;
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let is_quotable = |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    let is_value = is_token(value) || quoted.is_some_and(|quoted| quoted.bytes().all(is_quotable));
    (is_token(name) && is_value).then_some(name)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(field::is_token_byte)
}

/// What operators say of extensions; of all others, [`of`] says it.
#[derive(Clone, Debug, Default)]
pub struct MediaTypes(Vec<MediaType>);

impl MediaTypes {
    /// Those types. Of several for one extension, the last counts.
    #[must_use]
    pub const fn new(types: Vec<MediaType>) -> Self {
        Self(types)
    }

    /// The same as [`of`], by these types first.
    #[must_use]
    pub fn of(&self, name: &[u8]) -> Cow<'_, str> {
        let said = extension(name).and_then(|extension| {
            self.0.iter().rfind(|known| known.extension.eq_ignore_ascii_case(extension))
        });
        said.map_or_else(|| of(name), |said| Cow::Borrowed(&*said.value))
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

    #[test]
    fn an_operator_knows_better() {
        let said =
            ["md=text/plain", "GLB=model/x", "glb=model/gltf-binary", "txt=Text/X ; Charset=\"latin 1\""];
        let types = MediaTypes::new(said.iter().map(|said| said.parse().unwrap()).collect());
        let table = [
            ("a.md", "text/plain; charset=utf-8"),
            ("a.MD", "text/plain; charset=utf-8"),
            ("a.glb", "model/gltf-binary"),
            ("a.txt", "Text/X ; Charset=\"latin 1\""),
            ("a.css", "text/css; charset=utf-8"),
            ("md", UNKNOWN),
            (".md", UNKNOWN),
        ];
        for (name, media_type) in table {
            assert_eq!(types.of(name.as_bytes()), media_type, "{name}");
        }
        let parameter: MediaType = "x=TEXT/x;a=b".parse().unwrap();
        assert_eq!(&*parameter.value, "TEXT/x;a=b; charset=utf-8");
    }

    #[test]
    fn what_is_no_type_is_refused() {
        use MediaTypeError::{Extension, Form, Value};
        let table = [
            ("", Form),
            ("md", Form),
            ("=text/plain", Extension),
            (".md=text/plain", Extension),
            ("tar.gz=text/plain", Extension),
            ("a/b=text/plain", Extension),
            ("md=", Value),
            ("md=text", Value),
            ("md=text/", Value),
            ("md=/plain", Value),
            ("md=text/a/b", Value),
            ("md=text/pl ain", Value),
            ("md=text/plain\r\nX: y", Value),
            ("md=text/plain;", Value),
            ("md=text/plain; charset", Value),
            ("md=text/plain; charset=", Value),
            ("md=text/plain; charset=\"a", Value),
            ("md=text/plain; charset=\"a\"b\"", Value),
            ("md=text/plain; charset=\"\r\n\"", Value),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<MediaType>(), Err(error), "{text:?}");
        }
    }
}
