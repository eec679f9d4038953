//! What is asked for, and what it leads to in one state of the trees: the rules by which a path becomes a file, written
//! once more.

use std::rc::Rc;

use protocol::coding::{Coding, CodingSet};

use super::ledger::Version;
use super::tree::{Node, PAGE, Tree};

/// What a path leads to at one time.
#[derive(Clone, Debug)]
pub enum State {
    Missing,
    Redirect,
    Forbidden,
    /// A file, in the codings that it lies there in.
    Files(Vec<(Coding, Rc<Version>)>),
}

/// What is promised of a path: the name that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub path: &'static str,
    name: &'static str,
    is_directory: bool,
    is_digested: bool,
    /// Whether its name says that it is text.
    pub is_text: bool,
}

const fn file(path: &'static str, name: &'static str) -> Target {
    Target { path, name, is_directory: false, is_digested: false, is_text: true }
}

/// What is asked for.
pub const TARGETS: [Target; 10] = [
    file("/w/a.txt", "a.txt"),
    // Another spelling has a key of its own.
    file("/w/%61.txt", "a.txt"),
    Target { is_text: false, ..file("/w/a.txt.gz", "a.txt.gz") },
    Target { is_text: false, ..file("/w/b.bin", "b.bin") },
    Target { is_digested: true, ..file("/w/app.3f2a9c1b.js", "app.3f2a9c1b.js") },
    Target { is_text: false, ..file("/w/d", "d") },
    Target { is_directory: true, ..file("/w/d/", "d/index.html") },
    file("/w/d/index.html", "d/index.html"),
    file("/w/link.txt", "link.txt"),
    file("/w/nothing", "nothing"),
];

impl State {
    /// What the path leads to in these releases, the latest first.
    pub fn of(target: Target, trees: &[Tree]) -> Self {
        let state = |tree| Self::in_tree(target, tree);
        let considered = if target.is_digested { trees.len() } else { 1 };
        let mut states = trees.iter().take(considered).map(state);
        states.find(|state| !matches!(state, Self::Missing)).unwrap_or(Self::Missing)
    }

    pub fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Files(own), Self::Files(other)) => {
                own.len() == other.len()
                    && own
                        .iter()
                        .zip(other)
                        .all(|(own, other)| own.0 == other.0 && Rc::ptr_eq(&own.1, &other.1))
            }
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    fn in_tree(target: Target, tree: &Tree) -> Self {
        let itself = match tree.resolve(target.name) {
            Some(Node::Directory) if target.is_directory => return Self::Missing,
            Some(Node::Directory) => return Self::Redirect,
            Some(Node::Closed) => return Self::Forbidden,
            Some(Node::File(version)) => Some(Rc::clone(version)),
            None | Some(Node::Fifo | Node::Link(_)) => None,
        };
        let mut files = Vec::new();
        if !target.name.ends_with(".gz") {
            for coding in CodingSet::COMPRESSING.iter() {
                let name = format!("{}{}", target.name, coding.suffix());
                let Some(Node::File(coded)) = tree.resolve(&name) else { continue };
                if itself.as_ref().is_none_or(|itself| coded.modified.0 >= itself.modified.0) {
                    files.push((coding, Rc::clone(coded)));
                }
            }
        }
        files.extend(itself.map(|itself| (Coding::Identity, itself)));
        if files.is_empty() { Self::Missing } else { Self::Files(files) }
    }
}

/// The page for what is not found, if there is one in the tree.
pub fn page(tree: &Tree) -> Option<Rc<Version>> {
    match tree.resolve(PAGE) {
        Some(Node::File(version)) => Some(Rc::clone(version)),
        _ => None,
    }
}
