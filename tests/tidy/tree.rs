//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// Where there is Rust.
const FOLDERS: [&str; 7] = ["src", "acceptor", "worker", "protocol", "fuzz", "benches", "tests"];
/// What cargo leaves beside it.
const TARGET: &str = "target";

/// A file and what is in it.
pub(super) struct File {
    /// From the root of the repository.
    pub(super) path: String,
    pub(super) text: String,
}

/// The repository that this test was built from.
pub(super) struct Tree {
    root: PathBuf,
    /// Every `.rs` file.
    pub(super) sources: Vec<File>,
}

impl Tree {
    pub(super) fn read() -> Self {
        let mut tree = Self { root: env!("CARGO_MANIFEST_DIR").into(), sources: Vec::new() };
        for folder in FOLDERS {
            tree.visit(&tree.root.join(folder));
        }
        tree
    }

    /// A file of any kind, by its path from the root.
    pub(super) fn document(&self, path: &str) -> File {
        let text = fs::read_to_string(self.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        File { path: path.into(), text }
    }

    fn visit(&mut self, folder: &Path) {
        // Not every folder has to be there.
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() && !path.ends_with(TARGET) {
                self.visit(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let path = path.strip_prefix(&self.root).expect("a path below the root");
                self.sources.push(self.document(path.to_str().expect("a path in UTF-8")));
            }
        }
    }
}

#[test]
fn the_files_of_every_room_are_found_and_none_that_cargo_made() {
    let tree = Tree::read();
    for path in [
        "src/main.rs",
        "acceptor/src/lib.rs",
        "worker/src/site/cache.rs",
        "protocol/src/http1/state.rs",
        file!(),
    ] {
        assert!(tree.sources.iter().any(|file| file.path == path), "{path}");
    }
    assert!(tree.sources.iter().all(|file| !file.path.contains("target/debug")));
}
