//! What of the file system the server reaches when it is confined: from what it is told to serve to the directories
//! that rules are made for.
//!
//! A rule of Landlock is about a directory as it is when the rule is made, and all that is below it, now or later. So
//! whatever is to be opened anew by its path needs a rule for a directory that stays when the path leads elsewhere: the
//! one that a link lies in, that of the link's present target, and that of the root itself, where another may be put
//! in its place. Only a directory that is the site's own is taken for that: one which holds other things too, as
//! `/srv` or a home do, is left out.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows.
const LINKS_MAX: usize = 40;

/// Paths, each with all that is below it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    /// What may be read and listed.
    pub(crate) trees: BTreeSet<PathBuf>,
    /// Where files may be read.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Where files may be made and appended to.
    pub(crate) logs: BTreeSet<PathBuf>,
    /// Where names may be removed.
    pub(crate) sockets: BTreeSet<PathBuf>,
}

impl Reach {
    /// A directory, or one file, that is served, and what may be served in its place later.
    pub(crate) fn add_root(&mut self, path: &Path) {
        let way = Way::of(path);
        if way.target.is_dir() {
            self.trees.insert(way.target.clone());
            self.trees.extend(own_parent(&way.target));
        } else {
            // Files are replaced by renaming others over them.
            self.files.extend(way.target.parent().map(Path::to_owned));
        }
        self.trees.extend(way.holders);
    }

    /// A file that is read again later.
    pub(crate) fn add_file(&mut self, path: &Path) {
        let way = Way::of(path);
        self.files.extend(own_parent(&way.target));
        self.files.insert(way.target);
        self.files.extend(way.holders);
    }

    /// A file that is appended to, and made again when it was moved away. What is no file is never made.
    pub(crate) fn add_log(&mut self, path: &Path) {
        let target = Way::of(path).target;
        let is_special = fs::metadata(&target).is_ok_and(|metadata| {
            let kind = metadata.file_type();
            kind.is_fifo() || kind.is_char_device() || kind.is_socket()
        });
        let folder = target.parent().map(Path::to_owned);
        self.logs.extend(if is_special { Some(target) } else { folder });
    }

    /// A socket that is removed at the end.
    pub(crate) fn add_socket(&mut self, path: &Path) {
        self.sockets.extend(Way::of(path).target.parent().map(Path::to_owned));
    }
}

/// Where a path leads.
struct Way {
    /// What it names in the end, without links.
    target: PathBuf,
    /// The directories in which links on the way lie, and those in which what they lead to lies; only the site's own.
    holders: BTreeSet<PathBuf>,
}

impl Way {
    fn of(path: &Path) -> Self {
        let mut target = PathBuf::from("/");
        let mut holders = BTreeSet::new();
        let mut links = 0;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut left = backwards(&absolute);
        while let Some(name) = left.pop() {
            if name == ".." {
                target.pop();
                continue;
            }
            let next = target.join(&name);
            match fs::read_link(&next) {
                Ok(link) if links < LINKS_MAX => {
                    links += 1;
                    holders.extend(is_own(&target).then(|| target.clone()));
                    holders.extend(next.canonicalize().ok().and_then(|led_to| own_parent(&led_to)));
                    if link.is_absolute() {
                        target = PathBuf::from("/");
                    }
                    left.extend(backwards(&link));
                }
                _ => target = next,
            }
        }
        Self { target, holders }
    }
}

/// The names in a path, the last one first.
fn backwards(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect()
}

fn own_parent(path: &Path) -> Option<PathBuf> {
    path.parent().filter(|parent| is_own(parent)).map(Path::to_owned)
}

/// Whether a directory may be the site's own: not one at the top, which the whole system shares, not a home, and none
/// that everybody may put things into.
fn is_own(directory: &Path) -> bool {
    let is_deep = directory.components().count() > 2;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let is_home =
        home.is_some_and(|home| home == directory) || directory.parent() == Some(Path::new("/home"));
    let is_public = fs::metadata(directory).map_or(true, |metadata| metadata.mode() & 0o002 != 0);
    is_deep && !is_home && !is_public
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn shown(directory: &Path, paths: &BTreeSet<PathBuf>) -> Vec<String> {
        let relative = |path: &PathBuf| path.strip_prefix(directory).unwrap().display().to_string();
        paths.iter().map(relative).collect()
    }

    #[test]
    fn what_is_opened_anew_later_lies_below_what_stays() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().canonicalize().unwrap();
        for path in ["app/releases/1/public", "elsewhere/1", "data/..1"] {
            fs::create_dir_all(directory.join(path)).unwrap();
        }
        symlink("releases/1", directory.join("app/current")).unwrap();
        symlink("../elsewhere/1", directory.join("app/away")).unwrap();
        symlink("..1", directory.join("data/..data")).unwrap();
        fs::write(directory.join("data/..1/users"), "x").unwrap();
        symlink("..data/users", directory.join("data/users")).unwrap();
        let root = |path: &str| {
            let mut reach = Reach::default();
            reach.add_root(&directory.join(path));
            (shown(&directory, &reach.trees), shown(&directory, &reach.files))
        };
        let none: Vec<String> = Vec::new();
        let table: [(&str, &[&str]); 4] = [
            ("app/current", &["app", "app/releases", "app/releases/1"]),
            ("app/current/public", &["app", "app/releases", "app/releases/1", "app/releases/1/public"]),
            ("app/away", &["app", "elsewhere", "elsewhere/1"]),
            ("app/releases/1/../1", &["app/releases", "app/releases/1"]),
        ];
        for (path, trees) in table {
            assert_eq!(
                root(path),
                (trees.iter().map(|&tree| tree.to_owned()).collect(), none.clone()),
                "{path}"
            );
        }
        assert_eq!(root("data/..1/users"), (none, vec!["data/..1".to_owned()]));
        let mut reach = Reach::default();
        reach.add_file(&directory.join("data/users"));
        assert_eq!(shown(&directory, &reach.files), ["data", "data/..1", "data/..1/users"]);
        reach.add_log(&directory.join("elsewhere/access.log"));
        assert_eq!(shown(&directory, &reach.logs), ["elsewhere"]);
    }

    #[test]
    fn a_directory_that_others_share_is_not_the_sites_own() {
        for shared in ["/", "/etc", "/srv", "/home/somebody", "/var/tmp", "/nowhere/at/all"] {
            assert!(!is_own(Path::new(shared)), "{shared}");
        }
        let directory = tempfile::tempdir().unwrap();
        assert!(is_own(directory.path()));
        let mut reach = Reach::default();
        reach.add_root(directory.path());
        assert_eq!(reach.trees.len(), 1, "{reach:?}");
        reach.add_log(Path::new("/dev/null"));
        assert_eq!(reach.logs, BTreeSet::from(["/dev/null".into()]));
    }

    #[test]
    fn links_that_go_round_end() {
        let directory = tempfile::tempdir().unwrap();
        symlink("b", directory.path().join("a")).unwrap();
        symlink("a", directory.path().join("b")).unwrap();
        Way::of(&directory.path().join("a"));
    }
}
