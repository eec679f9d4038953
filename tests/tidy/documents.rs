//! Rules about what people read first: the map names what there is, and the README how to run it.

/// Source files that the map does not name, and files that it names though there are none. A name is the path
/// from the root of the repository, in backticks.
pub(super) fn wrong_names(map: &str, paths: &[&str]) -> Vec<String> {
    let named: Vec<(usize, &str)> = map
        .lines()
        .enumerate()
        .flat_map(|(at, line)| line.split('`').skip(1).step_by(2).map(move |name| (at + 1, name)))
        .filter(|(_, name)| name.ends_with(".rs") && name.contains('/'))
        .collect();
    let unnamed = paths.iter().filter(|path| !named.iter().any(|(_, name)| name == *path));
    let ghosts = named.iter().filter(|(_, name)| !paths.contains(name));
    unnamed
        .map(|path| format!("1: does not name {path}"))
        .chain(ghosts.map(|(line, name)| format!("{line}: there is no {name}")))
        .collect()
}

/// The README, unless the first thing to type that it shows is how to run the server and how to test it.
pub(super) fn wrong_opening(readme: &str) -> Vec<String> {
    let opening = readme.split("\n## ").next().unwrap_or_default();
    let block = opening.split("\n```").nth(1).unwrap_or_default();
    let commands: Vec<&str> =
        block.lines().skip(1).map(|line| line.split('#').next().unwrap_or_default().trim()).collect();
    if commands == ["cargo run --release -- DIR", "cargo test"] {
        Vec::new()
    } else {
        vec![format!("1: opens with {commands:?}")]
    }
}

#[test]
fn the_map_must_name_what_there_is() {
    let map = "| `src/a.rs` | A |\nsee `a.rs`, `b/c.rs` and src/d.rs\n";
    assert_eq!(wrong_names(map, &["src/a.rs", "b/c.rs"]), [""; 0]);
    assert_eq!(wrong_names(map, &["src/a.rs", "b/c.rs", "src/d.rs"]), ["1: does not name src/d.rs"]);
    assert_eq!(wrong_names(map, &["src/a.rs"]), ["2: there is no b/c.rs"]);
}

#[test]
fn the_readme_must_open_with_two_commands() {
    let good = "# A\n\nB.\n\n```\ncargo run --release -- DIR     # c\ncargo test\n```\n\n## D\n";
    assert_eq!(wrong_opening(good), [""; 0]);
    let late = "# A\n\n## D\n\n```\ncargo run --release -- DIR\ncargo test\n```\n";
    let other = "# A\n\n```\ncargo run --release -- DIR\ncargo test --all\n```\n";
    for bad in ["", late, other] {
        assert_eq!(wrong_opening(bad).len(), 1, "{bad}");
    }
}
