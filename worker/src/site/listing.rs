//! The page that stands for a directory without an index file: what lies in it, as HTML for people and as JSON
//! for programs.
//!
//! A listing is produced anew from the file system each time, and reading a directory may wait for a disk, so
//! this belongs on helper threads and never on a loop. It shows nothing that a request would not be answered
//! with: only regular files that the server may read and directories that it may enter, links only where they may be
//! followed, names that start with a dot only if they are served.
//!
//! **How much.** At most `entries_max` entries are read, which bounds the memory: of more, those whose names come
//! first by their bytes. HTML is divided into pages of [`PAGE_ENTRIES`], since a browser takes seconds to lay out
//! a table of 100,000 rows; it says when it does not show all. JSON is whole or refused, since a program could
//! not tell.
//!
//! **Validators.** The modification time of a directory says nothing about the sizes of its files, so the entity
//! tag is a digest of the content: equal directories have equal listings and equal tags, on every replica.
//! `Last-Modified` is the last time that anything shown changed. The change time counts too, since nobody can
//! set it back.

mod entries;
mod html;
mod json;
mod kind;
mod order;
mod style;
mod text;
mod view;

use std::fmt;

use protocol::validator::{EntityTag, Validators};
use protocol::{Fields, Status, accept, date};
use sha2::{Digest, Sha256};

use super::fields::Paths;
use super::resolve::Root;
pub use order::{Column, Direction, Order};
pub use style::content_security_policy;
pub use view::View;

/// Most entries on one page of HTML.
pub const PAGE_ENTRIES: usize = 1_000;
/// Most entries of a directory that are listed, unless somebody knows better.
pub const ENTRIES_MAX: usize = 100_000;
/// What changed this recently could change again within the same tick of the clock.
const SETTLED_AFTER_S: i64 = 2;

/// For whom a listing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// For people.
    Html,
    /// For programs: an array of objects.
    Json,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Html => "HTML",
            Self::Json => "JSON",
        })
    }
}

/// Which formats there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formats {
    /// One for all.
    Only(Format),
    /// To each client the one that it prefers.
    Preferred,
}

impl Formats {
    /// The format that a client gets.
    #[must_use]
    pub fn choose(self, fields: &Fields<'_>) -> Format {
        match self {
            Self::Only(format) => format,
            Self::Preferred => match accept::preferred(fields) {
                accept::Format::Html => Format::Html,
                accept::Format::Json => Format::Json,
            },
        }
    }
}

/// How directories are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// As what.
    pub formats: Formats,
    /// Whether names that start with a dot are shown.
    pub hidden: bool,
    /// The order in which a directory is shown to who asks for none.
    pub order: Order,
    /// Most entries of one directory that are listed.
    pub entries_max: usize,
}

/// A listing, ready to be sent.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The page, or the page of pages.
    pub content: Vec<u8>,
    /// The value of `Content-Type`.
    pub media_type: &'static str,
    /// `ETag` and `Last-Modified`.
    pub validators: Validators,
}

/// Lists the directory that was found, to people under the path that they asked for; `unix_s` is the time now. May
/// wait.
///
/// # Errors
/// The status to refuse the request with. 403 for a directory that may not be read, or has more entries than JSON
/// may have; 404 also for a page beyond the last.
pub fn produce(
    root: &Root,
    paths: Paths<'_>,
    settings: &Settings,
    view: View,
    format: Format,
    unix_s: i64,
) -> Result<Listing, Status> {
    let mut directory = entries::read(root, paths.found, settings, format == Format::Html)?;
    if view.page > directory.entries.len().div_ceil(PAGE_ENTRIES).max(1) {
        return Err(Status::NotFound);
    }
    directory.entries.sort_unstable_by(|one, other| view.order.compare(one, other));
    let (content, media_type) = match format {
        Format::Html => {
            (html::page(&directory, paths.asked, view, settings.order), "text/html; charset=utf-8")
        }
        Format::Json => (json::array(&directory.entries), "application/json"),
    };
    Ok(Listing { validators: validators(&content, directory.changed_s, unix_s), content, media_type })
}

fn validators(content: &[u8], changed_s: i64, unix_s: i64) -> Validators {
    let digest = Sha256::digest(content);
    let half = digest.first_chunk().copied().map_or(0, u128::from_be_bytes);
    Validators {
        entity_tag: Some(EntityTag::from_digest(half)),
        // Never later than the answer itself (RFC 9110 §8.8.2.1).
        last_modified_s: date::clamp(changed_s.min(unix_s)),
        is_date_strong: changed_s + SETTLED_AFTER_S <= unix_s,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::settings::Symlinks;

    const BY_NAME: Order = Order { column: Column::Name, direction: Direction::Ascending };
    const FAR_FUTURE_S: i64 = 5_000_000_000;

    fn list(root: &Path, entries_max: usize, query: &[u8], format: Format) -> Result<Listing, Status> {
        let root = Root::open(root, Symlinks::Inside).unwrap();
        let formats = Formats::Only(format);
        let settings = Settings { formats, hidden: false, order: BY_NAME, entries_max };
        let view = View::from_query(Some(query), BY_NAME);
        produce(&root, Paths { asked: b"", found: b"" }, &settings, view, format, FAR_FUTURE_S)
    }

    fn text(listing: &Listing) -> &str {
        std::str::from_utf8(&listing.content).unwrap()
    }

    /// Whatever was in it before, the file is as old as all the others.
    fn write(path: &Path, content: &str) {
        fs::write(path, content).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_191_853);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    fn names(json: &str) -> Vec<&str> {
        json.split("{\"name\":\"").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect()
    }

    #[test]
    fn equal_directories_have_equal_listings_and_others_have_others() {
        let [one, other] = [["a", "b", "c"], ["c", "a", "b"]].map(|names| {
            let tree = tempfile::tempdir().unwrap();
            names.iter().for_each(|name| write(&tree.path().join(name), name));
            tree
        });
        for format in [Format::Html, Format::Json] {
            let list = |tree: &tempfile::TempDir| list(tree.path(), 100, b"", format).unwrap();
            let (first, second) = (list(&one), list(&other));
            assert_eq!(text(&first), text(&second));
            assert_eq!(first.validators.entity_tag, second.validators.entity_tag);
            // Changed in place: the directory's own time does not tell.
            write(&other.path().join("b"), "longer");
            assert_ne!(list(&other).validators.entity_tag, first.validators.entity_tag);
            write(&other.path().join("b"), "b");
            assert_eq!(list(&other).validators.entity_tag, first.validators.entity_tag);
        }
    }

    #[test]
    fn the_last_modification_is_never_in_the_future_and_only_an_old_one_is_sure() {
        let table =
            [(100, 99, 99, false), (100, 100, 100, false), (100, 101, 100, false), (100, 102, 100, true)];
        for (changed_s, unix_s, expected, is_strong) in table {
            let validators = validators(b"", changed_s, unix_s);
            assert_eq!(validators.last_modified_s, expected, "{changed_s} at {unix_s}");
            assert_eq!(validators.is_date_strong, is_strong, "{changed_s} at {unix_s}");
        }
        // The beginning of the SHA-256 of nothing.
        let tag = validators(b"", 0, 0).entity_tag.unwrap();
        assert_eq!(tag.as_bytes(), b"\"e3b0c44298fc1c149afbf4c8996fb924\"");
    }

    #[test]
    fn the_view_says_in_which_order() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("z")).unwrap();
        for (name, content) in [("a2", "22"), ("a10", "1"), ("B", "333")] {
            write(&tree.path().join(name), content);
        }
        let table: [(&[u8], [&str; 4]); 3] = [
            (b"", ["z", "a2", "a10", "B"]),
            (b"order=desc", ["z", "B", "a10", "a2"]),
            (b"sort=size&order=desc", ["z", "B", "a2", "a10"]),
        ];
        for (query, expected) in table {
            let listing = list(tree.path(), 100, query, Format::Json).unwrap();
            assert_eq!(names(text(&listing)), expected, "{}", query.escape_ascii());
        }
    }

    #[test]
    fn a_part_of_a_directory_is_for_people_only() {
        let tree = tempfile::tempdir().unwrap();
        ["a", "b", "c"].iter().for_each(|name| write(&tree.path().join(name), ""));
        assert_eq!(list(tree.path(), 2, b"", Format::Json).err(), Some(Status::Forbidden));
        let html = list(tree.path(), 2, b"", Format::Html).unwrap();
        assert!(text(&html).contains("class=\"notice\"") && text(&html).contains("2 files"));
        assert!(list(tree.path(), 3, b"", Format::Json).is_ok());
    }

    #[test]
    fn a_name_of_any_bytes_is_listed() {
        let tree = tempfile::tempdir().unwrap();
        let all: Vec<u8> = (1..=255).filter(|&byte| byte != b'/').collect();
        let long = vec![b'w'; 255];
        for name in [&all[..], &long[..], b"-", b" "] {
            write(&tree.path().join(std::ffi::OsStr::from_bytes(name)), "");
        }
        for format in [Format::Html, Format::Json] {
            let listing = list(tree.path(), 100, b"", format).unwrap();
            for reference in ["%01%02%03", "%FD%FE%FF\"", "\"%20\"", "\"-\"", &"w".repeat(255)] {
                assert!(text(&listing).contains(reference), "{reference}");
            }
        }
    }

    #[test]
    fn a_hundred_thousand_entries_are_listed_in_bounded_time_and_space() {
        let tree = tempfile::tempdir().unwrap();
        let first = tree.path().join("0");
        write(&first, "");
        // Names are enough; links are made faster than files, but one file has so many at most.
        let mut linked = first;
        for index in 1..100_000 {
            let name = tree.path().join(index.to_string());
            if index % 1_000 == 0 {
                write(&name, "");
                linked = name;
            } else {
                fs::hard_link(&linked, name).unwrap();
            }
        }
        let begin = Instant::now();
        let html = list(tree.path(), 100_000, b"sort=name&order=asc&page=100", Format::Html).unwrap();
        let json = list(tree.path(), 100_000, b"", Format::Json).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
        assert!(html.content.len() < 1 << 20, "{} bytes of HTML", html.content.len());
        assert!(text(&html).contains("<bdi translate=\"no\">99999</bdi>"));
        assert!(text(&html).contains("100,000 files"));
        assert!(json.content.len() < 16 << 20, "{} bytes of JSON", json.content.len());
        let names = names(text(&json));
        assert_eq!((names.len(), names[2], names[99_999]), (100_000, "2", "99999"));
    }
}
