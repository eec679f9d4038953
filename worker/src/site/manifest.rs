//! The manifest of a tree: the digest of each of its files, so that none has to be read for its entity tag.
//!
//! Owns the format. A manifest is text; every line ends in a line feed, and after the first each is about one file:
//!
//! ```text
//! oneloop manifest 1
//! SIZE SECONDS.NANOSECONDS DIGEST PATH
//! ```
//!
//! Size and time of the last modification say of which version the digest is: where they differ, the line means
//! nothing. The path is relative to the root; control characters and `%` are percent-encoded in it.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};

use foldhash::fast::RandomState;

use super::resolve::{Found, Obstacle, Patience, Root};
use super::stamp::Stamp;

/// The name of a manifest, at the root of what it is about.
pub const NAME: &str = ".oneloop-manifest";
/// Whether that path, relative to the root, is one of a manifest's: itself, or one that is being written.
#[must_use]
pub fn is_manifest(path: &[u8]) -> bool {
    path.starts_with(NAME.as_bytes())
}

const FIRST_LINE: &[u8] = b"oneloop manifest 1";
/// Digits of a digest.
const DIGEST_BYTES: usize = 32;

/// What a manifest says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Length in bytes.
    pub size: u64,
    /// When it was last modified: seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    /// The digest of its content, see [`super::digest::of`].
    pub digest: u128,
}

impl Listed {
    /// Whether it is about that version of the file.
    #[must_use]
    pub fn is_about(&self, version: Stamp) -> bool {
        (self.size, self.modified) == (version.size(), version.modified())
    }

    fn parse(line: &[u8]) -> Option<(Box<[u8]>, Self)> {
        let mut words = line.splitn(4, |&byte| byte == b' ');
        let mut word = || std::str::from_utf8(words.next()?).ok();
        let size = word()?.parse().ok()?;
        let (seconds, nanoseconds) = word()?.split_once('.')?;
        let modified = (seconds.parse().ok()?, nanoseconds.parse().ok()?);
        let digest = word().filter(|digits| digits.len() == DIGEST_BYTES)?;
        let digest = u128::from_str_radix(digest, 16).ok()?;
        Some((decode(words.next()?)?.into(), Self { size, modified, digest }))
    }
}

/// What a manifest says of all files.
#[derive(Debug, Default)]
pub struct Manifest(HashMap<Box<[u8]>, Listed, RandomState>);

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The first line that is none of ours.
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut lines = text.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\n"));
        if lines.next() != Some(Some(FIRST_LINE)) {
            return Err(Malformed(1));
        }
        let parse =
            |(at, line): (usize, Option<&[u8]>)| line.and_then(Listed::parse).ok_or(Malformed(at + 2));
        lines.enumerate().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// The manifest in the directory that is served; an empty one if there is none, or none that is right. May wait.
    #[must_use]
    pub fn read(root: &Root) -> Self {
        let file = match root.resolve(c".oneloop-manifest", Patience::MayWait) {
            Ok(Found::File(file, _)) if root.only().is_none() => file,
            Ok(_) | Err(Obstacle::Refused(_) | Obstacle::Cold) => return Self::default(),
        };
        let mut text = Vec::new();
        let read = File::from(file).read_to_end(&mut text);
        let manifest = read.and_then(|_| Self::parse(&text).map_err(io::Error::other));
        manifest.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot use the manifest {NAME}; files are read for their entity tags");
            Self::default()
        })
    }

    /// What it says of the file at that path, relative to the root.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&Listed> {
        self.0.get(path)
    }
}

/// The line of a manifest that means nothing, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub usize);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is not that of a manifest of this version", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Writes a manifest.
///
/// # Errors
/// What writing to `out` fails with.
pub fn write<'l>(
    files: impl IntoIterator<Item = (&'l [u8], Listed)>,
    out: &mut impl Write,
) -> io::Result<()> {
    out.write_all(FIRST_LINE)?;
    out.write_all(b"\n")?;
    for (path, Listed { size, modified: (seconds, nanoseconds), digest }) in files {
        write!(out, "{size} {seconds}.{nanoseconds:09} {digest:032x} ")?;
        for &byte in path {
            match byte {
                b'%' | 0..0x20 | 0x7f => write!(out, "%{byte:02x}")?,
                _ => out.write_all(&[byte])?,
            }
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [byte, behind @ ..] = rest {
        let (byte, behind) = match byte {
            b'%' => {
                let (digits, behind) = behind.split_at_checked(2)?;
                (u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?, behind)
            }
            byte => (*byte, behind),
        };
        path.push(byte);
        rest = behind;
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let files: [(&[u8], Listed); 5] = [
            (b"a.html", Listed { size: 0, modified: (0, 0), digest: 0 }),
            (b"a b/c%41", Listed { size: u64::MAX, modified: (-1, 999_999_999), digest: u128::MAX }),
            (b"line\nfeed\r\x7f", Listed { size: 1, modified: (1_600_000_000, 5), digest: 1 }),
            (b"z\xc3\xbc\xff", Listed { size: 2, modified: (i64::MAX, 0), digest: 2 }),
            (b" ", Listed { size: 3, modified: (i64::MIN, 1), digest: 3 }),
        ];
        let mut text = Vec::new();
        write(files, &mut text).unwrap();
        assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), 6);
        let manifest = Manifest::parse(&text).unwrap();
        for (path, listed) in files {
            assert_eq!(manifest.get(path), Some(&listed), "{}", path.escape_ascii());
        }
        assert_eq!(manifest.0.len(), 5);
        assert_eq!(manifest.get(b"b.html"), None);
    }

    #[test]
    fn a_line_is_right_to_the_byte() {
        let mut text = Vec::new();
        write([(b"a/b c".as_slice(), Listed { size: 7, modified: (5, 40), digest: 0xab })], &mut text)
            .unwrap();
        let expected = "oneloop manifest 1\n7 5.000000040 000000000000000000000000000000ab a/b c\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_its_line() {
        const GOOD: &str = "7 5.000000040 000000000000000000000000000000ab a\n";
        let table = [
            (String::new(), 1),
            ("oneloop manifest 2\n".into(), 1),
            ("oneloop manifest 1".into(), 1),
            (format!("oneloop manifest 1\n{GOOD}7 5.0 ab a\n"), 3),
            (format!("oneloop manifest 1\n{GOOD}\n"), 3),
            (format!("oneloop manifest 1\n{}", GOOD.trim_end()), 2),
            (format!("oneloop manifest 1\n{}", GOOD.replace(" a", "")), 2),
            (format!("oneloop manifest 1\n{}", GOOD.replace(" a", " %4")), 2),
            (format!("oneloop manifest 1\n{}", GOOD.replace("5.", "5")), 2),
            (format!("oneloop manifest 1\n-{GOOD}"), 2),
        ];
        for (text, line) in table {
            assert_eq!(Manifest::parse(text.as_bytes()).unwrap_err(), Malformed(line), "{text}");
        }
    }
}
