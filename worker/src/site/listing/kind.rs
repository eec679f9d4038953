//! What kind of thing an entry is, by its name: a picture for the eye and a word for the ear.

use protocol::media_type;

/// Kinds that people tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    Archive,
    Audio,
    Code,
    Document,
    File,
    Font,
    Image,
    Text,
    Video,
}

impl Kind {
    /// The kind of a file of this name, by its media type.
    pub(super) fn of_file(name: &[u8]) -> Self {
        let media_type = media_type::of(name);
        let essence = media_type.split(';').next().unwrap_or_default();
        let (class, subtype) = essence.split_once('/').unwrap_or_default();
        match (class, subtype) {
            ("audio", _) => Self::Audio,
            ("font", _) => Self::Font,
            ("image", _) => Self::Image,
            ("video", _) => Self::Video,
            ("text", "plain" | "markdown" | "csv" | "tab-separated-values") => Self::Text,
            ("text", _) => Self::Code,
            ("application", "octet-stream") if is_image_of_a_disk(name) => Self::Archive,
            ("application", subtype) => Self::of_application(subtype),
            _ => Self::File,
        }
    }

    fn of_application(subtype: &str) -> Self {
        match subtype {
            "json" | "toml" | "wasm" | "x-sh" | "xml" | "xhtml+xml" | "yaml" => Self::Code,
            "epub+zip" | "msword" | "pdf" | "postscript" | "rtf" => Self::Document,
            "gzip"
            | "java-archive"
            | "vnd.android.package-archive"
            | "vnd.rar"
            | "x-brotli"
            | "x-bzip"
            | "x-bzip2"
            | "x-cpio"
            | "x-rar-compressed"
            | "x-rpm"
            | "x-tar"
            | "x-xz"
            | "zip"
            | "zstd"
            | "x-7z-compressed"
            | "vnd.debian.binary-package" => Self::Archive,
            _ if subtype.starts_with("vnd.oasis.opendocument") => Self::Document,
            _ if subtype.starts_with("vnd.openxmlformats-officedocument") => Self::Document,
            _ if subtype.starts_with("vnd.ms-") => Self::Document,
            _ => Self::File,
        }
    }

    /// The word for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Directory => "Directory",
            Self::Archive => "Archive",
            Self::Audio => "Audio",
            Self::Code => "Code",
            Self::Document => "Document",
            Self::File => "File",
            Self::Font => "Font",
            Self::Image => "Image",
            Self::Text => "Text",
            Self::Video => "Video",
        }
    }

    /// The name of its picture in [`PICTURES`].
    pub(super) const fn picture(self) -> &'static str {
        match self {
            Self::Directory => "d",
            Self::Archive => "z",
            Self::Audio => "a",
            Self::Code => "c",
            Self::Document => "p",
            Self::File => "f",
            Self::Font => "o",
            Self::Image => "i",
            Self::Text => "t",
            Self::Video => "v",
        }
    }
}

/// These have no media type of their own.
fn is_image_of_a_disk(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    [b".iso", b".img", b".dmg"].iter().any(|extension| name.ends_with(*extension))
}

/// All pictures, as SVG that is put into a page once; lines of 24 by 24 in the colour of the text.
pub(super) const PICTURES: &str = include_str!("pictures.svg");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_kind_of_a_file() {
        let table: [(&[u8], Kind); 33] = [
            (b"a.tar.gz", Kind::Archive),
            (b"a.ZIP", Kind::Archive),
            (b"a.tar.xz", Kind::Archive),
            (b"a.tar.bz2", Kind::Archive),
            (b"a.tar.zst", Kind::Archive),
            (b"a.7z", Kind::Archive),
            (b"a.deb", Kind::Archive),
            (b"a.rpm", Kind::Archive),
            (b"a.ISO", Kind::Archive),
            (b"a.jar", Kind::Archive),
            (b"a.apk", Kind::Archive),
            (b"a.mp3", Kind::Audio),
            (b"a.flac", Kind::Audio),
            (b"a.html", Kind::Code),
            (b"a.css", Kind::Code),
            (b"a.mjs", Kind::Code),
            (b"a.json", Kind::Code),
            (b"a.toml", Kind::Code),
            (b"a.sh", Kind::Code),
            (b"a.pdf", Kind::Document),
            (b"a.docx", Kind::Document),
            (b"a.ods", Kind::Document),
            (b"a.xls", Kind::Document),
            (b"a.epub", Kind::Document),
            (b"a.woff2", Kind::Font),
            (b"a.JPG", Kind::Image),
            (b"a.svg", Kind::Image),
            (b"a.txt", Kind::Text),
            (b"README.md", Kind::Text),
            (b"a.csv", Kind::Text),
            (b"a.mp4", Kind::Video),
            (b"Makefile", Kind::File),
            (b"a.\xff", Kind::File),
        ];
        for (name, kind) in table {
            assert_eq!(Kind::of_file(name), kind, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn each_kind_has_a_word_and_a_picture_of_its_own() {
        let kinds = [
            Kind::Directory,
            Kind::Archive,
            Kind::Audio,
            Kind::Code,
            Kind::Document,
            Kind::File,
            Kind::Font,
            Kind::Image,
            Kind::Text,
            Kind::Video,
        ];
        for kind in kinds {
            let id = format!("<symbol id=\"{}\" ", kind.picture());
            assert_eq!(PICTURES.matches(&id).count(), 1, "{kind:?}");
            assert_eq!(kind.word(), format!("{kind:?}"));
        }
        // And one for the parent directory.
        assert_eq!(PICTURES.matches("<symbol ").count(), kinds.len() + 1);
    }
}
