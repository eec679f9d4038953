//! The style of this repository as a test: what is not checked here or by a lint is only a wish.
//!
//! Each rule is a function from text to problems, shown to fail on bad text beside it; the tests below hold it to
//! every file there is.

#[cfg(test)]
mod tidy {
    mod documents;
    mod layout;
    mod manifest;
    mod source;
    mod tree;

    use tree::{File, Tree};

    /// Fails with every problem that a rule finds, each with the file it is in.
    fn hold(files: &[File], rule: impl Fn(&File) -> Vec<String>) {
        assert!(!files.is_empty(), "nothing to check");
        let problems: Vec<String> = files
            .iter()
            .flat_map(|file| rule(file).into_iter().map(|problem| format!("{}:{problem}", file.path)))
            .collect();
        assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    }

    #[test]
    fn functions_fit_on_a_page() {
        hold(&Tree::read().sources, |file| layout::long_functions(&file.text));
    }

    #[test]
    fn files_stay_short() {
        hold(&Tree::read().sources, |file| layout::long_file(&file.text));
    }

    #[test]
    fn modules_open_with_what_they_are() {
        hold(&Tree::read().sources, |file| layout::missing_opening(&file.text));
    }

    #[test]
    fn nothing_is_left_for_later() {
        hold(&Tree::read().sources, |file| layout::leftovers(&file.text));
    }

    #[test]
    fn only_the_system_call_modules_are_unsafe() {
        let allowed = [
            "worker/src/sys.rs",
            "src/os.rs",
            // A test that has to be an allocator to count allocations.
            "worker/tests/allocations.rs",
            "benches/instructions/trace.rs",
            "benches/limit/src/sys.rs",
        ];
        let mut files = Tree::read().sources;
        files.retain(|file| !allowed.contains(&file.path.as_str()));
        hold(&files, |file| layout::words(&file.text, &["unsafe"]));
    }

    #[test]
    fn no_room_has_a_lock() {
        let mut files = Tree::read().sources;
        files.retain(|file| {
            ["protocol/", "worker/", "acceptor/"].iter().any(|room| file.path.starts_with(room))
        });
        hold(&files, |file| layout::words(&file.text, &["Mutex", "RwLock", "Condvar"]));
    }

    #[test]
    fn the_map_names_every_file_and_no_other() {
        let tree = Tree::read();
        let paths: Vec<&str> = tree.sources.iter().map(|file| file.path.as_str()).collect();
        hold(&[tree.document("ARCHITECTURE.md")], |map| documents::wrong_names(&map.text, &paths));
    }

    #[test]
    fn the_readme_opens_with_how_to_run_and_how_to_test() {
        hold(&[Tree::read().document("README.md")], |readme| documents::wrong_opening(&readme.text));
    }

    #[test]
    fn each_room_knows_only_the_next() {
        let allowed: [(&str, &[&str]); 4] = [
            ("protocol/Cargo.toml", &[]),
            ("worker/Cargo.toml", &["protocol"]),
            ("acceptor/Cargo.toml", &["worker"]),
            ("Cargo.toml", &["acceptor", "worker", "protocol"]),
        ];
        let tree = Tree::read();
        for (path, rooms) in allowed {
            hold(&[tree.document(path)], |file| manifest::wrong_rooms(&file.text, rooms));
        }
    }

    #[test]
    fn protocol_depends_on_nothing_that_does_io() {
        let allowed = ["bytes", "httparse", "httpdate", "memchr", "mime_guess"];
        let manifest = Tree::read().document("protocol/Cargo.toml");
        assert_eq!(manifest::dependencies(&manifest.text, "dependencies"), allowed);
        hold(&[manifest], |file| manifest::dependencies_elsewhere(&file.text));
    }

    #[test]
    fn protocol_and_acceptor_forbid_unsafe_code() {
        let tree = Tree::read();
        let roots = ["protocol/src/lib.rs", "acceptor/src/lib.rs"].map(|path| tree.document(path));
        hold(&roots, |file| layout::missing_forbid(&file.text));
    }
}
