//! The recipes of the README, taken from there, so that none promises what the server no longer takes or does.

use std::fs;

use super::client::eventually;
use super::server::{Launch, PATIENCE, Server};
use super::tree::Tree;

const README: &str = include_str!("../../README.md");

/// From one heading of the README to the next of its kind.
fn section(heading: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("\n## {heading}\n")).expect(heading);
    rest.split("\n## ").next().expect(heading)
}

/// A line as the shell splits it, without comments and variables, which no recipe has.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut is_quoted, mut is_escaped) = (vec![String::new()], false, false);
    for character in line.chars() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if !is_quoted => {
                is_escaped = true;
                continue;
            }
            '\'' => {
                is_quoted = !is_quoted;
                continue;
            }
            ' ' if !is_quoted => {
                words.push(String::new());
                continue;
            }
            _ => {}
        }
        words.last_mut().expect("the first word").push(character);
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The arguments of every command line that serves, wherever the recipes have it.
fn commands() -> Vec<Vec<String>> {
    let blocks = section("Recipes").split("\n```").skip(1).step_by(2);
    let command = |line: &str| {
        let line = line.strip_prefix("ExecStart=").unwrap_or(line);
        let line = match line.strip_prefix("ENTRYPOINT ") {
            Some(array) => array.replace(['[', ']', '"', ','], ""),
            None => line.to_owned(),
        };
        let (program, arguments) = line.split_once(' ')?;
        program.rsplit('/').next().filter(|&name| name == "oneloop")?;
        Some(words(arguments))
    };
    blocks.flat_map(str::lines).filter_map(command).collect()
}

/// What the recipes serve, and where their sockets lie.
fn site() -> Tree {
    let tree = Tree::new(&[
        ("site/releases/42/index.html", b"42"),
        ("site/releases/42/about.html", b"about"),
        ("site/releases/42/app.3f2a9c1b.js", b"script of 42"),
        ("site/releases/43/index.html", b"43"),
        ("dist/index.html", b"application"),
        ("dist/assets/app-3f2a9c1b.js", b"script"),
        ("mirror/simple/demo/demo-1.0-py3-none-any.whl", b"0123456789"),
        ("srv/www/current/index.html", b"service"),
        ("run/oneloop/here", b""),
    ]);
    tree.link("site/current", "releases/42");
    tree
}

/// The same command over a tree of ours, on a free port.
fn moved(command: &[String], tree: &Tree) -> Vec<String> {
    let here = |path: &str| tree.path(path).to_str().expect("UTF-8").to_owned();
    let word = |word: &String| match word.as_str() {
        "systemd" | "127.0.0.1:8080" => "127.0.0.1:0".to_owned(),
        // Not every machine that runs tests has a sandbox.
        "require" => "auto".to_owned(),
        "site/current" | "dist" | "mirror" => here(word),
        _ if word.starts_with('/') && !word.contains(' ') => here(&word[1..]),
        _ => match word.strip_prefix("unix:/") {
            Some(path) => format!("unix:{}", here(path)),
            None => word.clone(),
        },
    };
    let mut moved: Vec<String> = command.iter().map(word).collect();
    if !command.iter().any(|word| word == "-l") {
        moved.extend(["-l", "127.0.0.1:0"].map(str::to_owned));
    }
    moved
}

/// A server from the recipe for a root.
#[track_caller]
fn serve(root: &str, tree: &Tree) -> Server {
    let command = commands().into_iter().find(|command| command.iter().any(|word| word == root));
    Launch::bare().flags(&moved(&command.expect(root), tree)).start()
}

#[test]
fn every_recipe_could_start() {
    let (tree, commands) = (site(), commands());
    assert_eq!(commands.len(), 8, "{commands:?}");
    for command in commands {
        let ended = Launch::bare().flags(&["check"]).flags(&moved(&command, &tree)).run();
        assert_eq!(ended.code, Some(0), "{command:?}: {}{}", ended.stdout, ended.stderr);
    }
}

#[test]
fn a_site_switches_releases_and_keeps_the_scripts_of_the_last() {
    let tree = site();
    let server = serve("site/current", &tree);
    let get = |target: &str| server.connect().get(target);
    assert_eq!((get("/about").status, get("/").field("X-Frame-Options")), (200, Some("SAMEORIGIN")));
    tree.link("site/next", "releases/43");
    fs::rename(tree.path("site/next"), tree.path("site/current")).unwrap();
    assert!(eventually(PATIENCE, || get("/").content == b"43"));
    assert_eq!(get("/app.3f2a9c1b.js").content, b"script of 42");
}

#[test]
fn an_application_is_sent_for_what_people_navigate_to() {
    let tree = site();
    let server = serve("dist", &tree);
    let page = server.connect().get_with("/users/7", &["Sec-Fetch-Mode: navigate"]);
    assert_eq!((page.status, page.field("Cache-Control")), (200, Some("no-cache")));
    assert_eq!(page.field("Content-Security-Policy"), Some("default-src 'self'"));
    assert_eq!(server.connect().get("/users/7").status, 404);
    let script = server.connect().get("/assets/app-3f2a9c1b.js");
    assert!(script.require("Cache-Control").contains("max-age=31536000"), "{script:?}");
    assert_eq!(script.field("Content-Security-Policy"), None);
}

#[test]
fn a_mirror_lists_and_resumes() {
    let tree = site();
    let server = serve("mirror", &tree);
    let listing = server.connect().get_with("/simple/demo/", &["Accept: text/html;q=0.1"]);
    let listing = String::from_utf8(listing.content).unwrap();
    assert!(listing.contains("href=\"demo-1.0-py3-none-any.whl\""), "{listing}");
    let part = server.connect().get_with("/simple/demo/demo-1.0-py3-none-any.whl", &["Range: bytes=7-"]);
    assert_eq!((part.status, part.content.as_slice()), (206, b"789".as_slice()));
}

#[test]
fn what_others_call_otherwise_is_there() {
    let help = Launch::bare().flags(&["--help"]).run().stdout;
    let known: Vec<&str> = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).collect();
    let rows = section("Coming from another server").lines().filter(|line| line.starts_with("| "));
    let ours: Vec<&str> = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next()).collect();
    assert!(ours.len() > 30, "{ours:?}");
    for cell in ours {
        for flag in cell.split(['`', ' ', '=', ',']).filter(|word| word.starts_with("--")) {
            assert!(known.contains(&flag), "there is no {flag}, as in {cell:?}");
        }
    }
}
