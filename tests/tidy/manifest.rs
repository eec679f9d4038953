//! Rules about the manifests: who may depend on whom.

/// The rooms, by the names that their dependants give them.
const ROOMS: [&str; 3] = ["acceptor", "worker", "protocol"];

/// The headings of a manifest, each with the keys below it.
fn tables(manifest: &str) -> Vec<(&str, Vec<&str>)> {
    let mut tables: Vec<(&str, Vec<&str>)> = vec![("", Vec::new())];
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(heading) = line.strip_prefix('[') {
            tables.push((heading.trim_matches(['[', ']']), Vec::new()));
        } else if let (Some((key, _)), Some((_, keys))) = (line.split_once('='), tables.last_mut()) {
            keys.push(key.trim().split('.').next().unwrap_or_default());
        }
    }
    tables
}

/// What a table of a manifest lists.
pub(super) fn dependencies<'m>(manifest: &'m str, table: &str) -> Vec<&'m str> {
    tables(manifest).into_iter().filter(|(heading, _)| *heading == table).flat_map(|(_, keys)| keys).collect()
}

/// Tables that add dependencies to what is built, beside the one that everybody looks at.
pub(super) fn dependencies_elsewhere(manifest: &str) -> Vec<String> {
    let is_hidden = |heading: &str| {
        heading.contains("dependencies") && !["dependencies", "dev-dependencies"].contains(&heading)
    };
    let headings =
        tables(manifest).into_iter().map(|(heading, _)| heading).filter(|heading| is_hidden(heading));
    headings.map(|heading| format!("1: [{heading}]")).collect()
}

/// Rooms that a crate depends on, for its tests too, and may not. Every table counts but that of the workspace,
/// which only says where things are.
pub(super) fn wrong_rooms(manifest: &str, allowed: &[&str]) -> Vec<String> {
    let tables = tables(manifest).into_iter();
    let named = tables
        .filter(|(heading, _)| heading.contains("dependencies") && !heading.starts_with("workspace"))
        .flat_map(|(heading, keys)| keys.into_iter().chain(heading.rsplit('.').next()))
        .map(|name| name.strip_prefix("oneloop-").unwrap_or(name));
    named
        .filter(|name| ROOMS.contains(name) && !allowed.contains(name))
        .map(|name| format!("1: may not depend on {name}"))
        .collect()
}

#[test]
fn dependencies_are_read_from_their_table() {
    let manifest = "[package]\nname = \"a\"\n\n[dependencies]\n# b\nc.workspace = true\nd = { version = \"1\" }\n\n[lints]\ne = 1\n";
    assert_eq!(dependencies(manifest, "dependencies"), ["c", "d"]);
    assert_eq!(dependencies_elsewhere(manifest), [""; 0]);
    for bad in ["[target.'cfg(unix)'.dependencies]", "[dependencies.mio]", "[build-dependencies]"] {
        assert_eq!(dependencies_elsewhere(bad).len(), 1, "{bad}");
    }
}

#[test]
fn an_arrow_that_points_backwards_is_found() {
    let manifest = "[workspace.dependencies]\nacceptor = { path = \"acceptor\" }\n[dependencies]\nworker.workspace = true\n";
    assert_eq!(wrong_rooms(manifest, &["worker"]), [""; 0]);
    assert_eq!(wrong_rooms(manifest, &["protocol"]), ["1: may not depend on worker"]);
    for bad in [
        "[dev-dependencies]\nacceptor.workspace = true",
        "[dependencies.acceptor]",
        "[dependencies]\noneloop-acceptor = \"1\"",
    ] {
        assert_eq!(wrong_rooms(bad, &["worker"]), ["1: may not depend on acceptor"], "{bad}");
    }
}
