//! Entity tags made of content, and the manifest that lists what they are made of.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::client::{Client, eventually, request};
use super::date::imf_fixdate;
use super::server::{Ended, Launch, PATIENCE, Server};
use super::slow_fs::{Delays, expect_loops_never_asked, mount};
use super::tree::{Tree, pattern};

const NAME: &str = ".oneloop-manifest";
const MODIFIED_S: i64 = 1_600_000_000;
/// Too large to be held in memory.
const LARGE: usize = 1_000_000;
/// What no content has for a digest.
const FORGED: &str = "00112233445566778899aabbccddeeff";

fn by_content(tree: &Tree) -> Server {
    Server::start(&["-t", "2", "--etag", "content"], tree.root())
}

fn list(flags: &[&str], root: &Path) -> Ended {
    Launch::bare().flags(&["manifest"]).flags(flags).flags(&[root]).run()
}

/// The lines about files, by path.
fn lines(tree: &Tree) -> BTreeMap<String, String> {
    let text = fs::read_to_string(tree.path(NAME)).expect("a manifest");
    let lines = text.strip_prefix("oneloop manifest 1\n").expect("the first line").lines();
    lines.map(|line| (line.splitn(4, ' ').nth(3).unwrap().to_owned(), line.to_owned())).collect()
}

/// Puts another digest into the line of a file, to see whether it is believed.
fn forge(tree: &Tree, path: &str) {
    let mut lines = lines(tree);
    let line = lines.get_mut(path).expect("the line of the file");
    let words: Vec<&str> = line.splitn(4, ' ').collect();
    *line = [words[0], words[1], FORGED, words[3]].join(" ");
    let text: String = lines.values().map(|line| format!("{line}\n")).collect();
    tree.write(NAME, format!("oneloop manifest 1\n{text}").as_bytes());
}

#[track_caller]
fn tag(client: &mut Client, target: &str) -> String {
    let response = client.get(target);
    assert_eq!(response.status, 200, "{target}");
    response.etag().to_owned()
}

#[test]
fn the_same_content_has_the_same_tag_whatever_its_time() {
    let contents: [(&str, &[u8]); 3] =
        [("a.html", b"<p>a"), ("large.bin", &pattern(LARGE)), ("empty.txt", b"")];
    let trees = [Tree::new(&contents), Tree::new(&contents)];
    trees[0].modified_at("a.html", MODIFIED_S, 7);
    trees[0].modified_at("large.bin", MODIFIED_S, 7);
    let servers = trees.each_ref().map(by_content);
    for (name, content) in contents {
        let target = format!("/{name}");
        let tags = servers.each_ref().map(|server| tag(&mut server.connect(), &target));
        assert_eq!(tags[0], tags[1], "{name}");
        assert_eq!(tags[0].len(), 34, "{name}");
        let mut client = servers[0].connect();
        assert_eq!(client.exchange(&request("HEAD", &target, &[])).etag(), tags[0]);
        assert_eq!(client.get_with(&target, &[&format!("If-None-Match: {}", tags[0])]).status, 304, "{name}");
        client.download(&target, content);
    }
    // Of FIPS 180-2: half of the digest of nothing.
    assert_eq!(tag(&mut servers[0].connect(), "/empty.txt"), "\"e3b0c44298fc1c149afbf4c8996fb924\"");
}

#[test]
fn another_content_of_the_same_size_and_time_has_another_tag() {
    let trees = [b'0', b'1'].map(|letter| Tree::new(&[("a.bin", &[letter; 5_000])]));
    trees.iter().for_each(|tree| tree.modified_at("a.bin", MODIFIED_S, 0));
    let tags = trees.each_ref().map(|tree| tag(&mut by_content(tree).connect(), "/a.bin"));
    assert_ne!(tags[0], tags[1]);
}

#[test]
fn every_coding_has_a_strong_tag_of_its_own() {
    let text = "text that is worth coding, ".repeat(200);
    let tree =
        Tree::new(&[("found.js", text.as_bytes()), ("found.js.br", b"BROTLI"), ("made.js", text.as_bytes())]);
    let server = Server::start(&["--etag", "content", "--compress"], tree.root());
    let mut client = server.connect();
    let mut tags = Vec::new();
    for target in ["/found.js", "/made.js"] {
        for coding in ["identity", "br", "gzip"] {
            let accept = format!("Accept-Encoding: {coding}");
            let response = client.get_with(target, &[&accept]);
            assert_eq!(response.field("Content-Encoding").unwrap_or("identity"), coding, "{target}");
            let tag = response.etag().to_owned();
            assert_eq!(client.get_with(target, &[&accept, &format!("If-None-Match: {tag}")]).status, 304);
            let part = client.get_with(target, &[&accept, "Range: bytes=0-3", &format!("If-Range: {tag}")]);
            assert_eq!(part.status, 206, "{target} in {coding}");
            tags.push(tag);
        }
    }
    // Both files have the same content, and gzip was made of either.
    assert_eq!((&tags[0], &tags[2]), (&tags[3], &tags[5]));
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 4, "{tags:?}");
}

#[test]
fn without_tags_dates_are_what_is_left() {
    let tree = Tree::new(&[("a.txt", &pattern(100))]);
    tree.modified_at("a.txt", MODIFIED_S, 0);
    let server = Server::start(&["--etag", "off"], tree.root());
    let mut client = server.connect();
    assert_eq!(client.get("/a.txt").field("ETag"), None);
    let date = imf_fixdate(MODIFIED_S.unsigned_abs());
    let table = [
        ("If-None-Match: \"a\"".to_owned(), 200),
        ("If-None-Match: *".to_owned(), 304),
        (format!("If-Modified-Since: {date}"), 304),
        ("If-Match: \"a\"".to_owned(), 412),
        ("If-Match: *".to_owned(), 200),
    ];
    for (field, status) in table {
        assert_eq!(client.get_with("/a.txt", &[&field]).status, status, "{field}");
    }
    for (validator, status) in [(date.as_str(), 206), ("\"a\"", 200)] {
        let response = client.get_with("/a.txt", &["Range: bytes=0-9", &format!("If-Range: {validator}")]);
        assert_eq!((response.status, response.field("ETag")), (status, None), "{validator}");
    }
}

#[test]
fn new_bytes_never_have_an_old_tag() {
    std::thread::scope(|scope| {
        for size in [1_000, LARGE] {
            scope.spawn(move || expect_own_tags(size));
        }
    });
}

/// Rewrites a file in place, with the same length each time, and asks for it all the while.
fn expect_own_tags(size: usize) {
    let tree = Tree::new(&[]);
    let server = Server::start(&["-t", "1", "--etag", "content", "--cache-check", "100ms"], tree.root());
    let mut client = server.connect();
    let mut tags: BTreeMap<String, u8> = BTreeMap::new();
    for letter in b'a'..b'k' {
        let written_at = Instant::now();
        tree.write("a.bin", &vec![letter; size]);
        while written_at.elapsed() < Duration::from_millis(300) {
            let response = client.get("/a.bin");
            // The file may be between two states: what is sent then is one of them.
            let Some(&first) = response.content.first() else { continue };
            if response.content.len() < size || response.field("ETag").is_none() {
                continue;
            }
            assert!(response.content.iter().all(|&byte| byte == first), "two states in one response");
            let known = *tags.entry(response.etag().to_owned()).or_insert(first);
            assert_eq!(known, first, "{} with the tag of {}", char::from(first), char::from(known));
        }
    }
    assert!(tags.len() > 5, "{tags:?}");
}

#[test]
fn all_who_wait_for_a_digest_get_it() {
    let tree = Tree::new(&[]);
    drop(tree.sparse("sparse.bin", 300 << 20));
    let server = by_content(&tree);
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.patience(Duration::from_secs(60));
        client.send(&request("HEAD", "/sparse.bin", &[]));
    }
    let tags: Vec<String> =
        clients.iter_mut().map(|client| client.response_head().etag().to_owned()).collect();
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
}

#[test]
fn no_loop_reads_for_a_tag() {
    let test = "manifest::no_loop_reads_for_a_tag";
    let tree = Tree::new(&[]);
    let Some(fs) = mount(test, &tree, "root", Delays::everywhere(Duration::from_millis(2))) else { return };
    let server = Server::start(&["-t", "1", "--etag", "content"], &tree.path("root"));
    fs.take_asked();
    let mut client = server.connect();
    let tags = ["small-1.bin", "large-1.bin"].map(|name| {
        client.download(&format!("/{name}"), &fs.content(name));
        tag(&mut client, &format!("/{name}"))
    });
    assert_ne!(tags[0], tags[1]);
    expect_loops_never_asked(&fs);
}

fn site() -> Tree {
    let tree = Tree::new(&[
        ("index.html", b"<p>a"),
        ("assets/app.js", b"app()"),
        ("assets/app.js.gz", b"GZIP"),
        ("assets/large.bin", &pattern(LARGE)),
        ("with space and %41.txt", b"b"),
        (".hidden", b"c"),
        (".git/config", b"d"),
        (".well-known/security.txt", b"e"),
        ("deep/.well-known/f", b"f"),
    ]);
    tree.link("inside.html", "index.html");
    tree.link("loop", ".");
    tree.link("outside", "/etc/passwd");
    tree.link("dangling", "nowhere");
    tree.fifo("fifo");
    tree
}

const VISIBLE: [&str; 7] = [
    ".well-known/security.txt",
    "assets/app.js",
    "assets/app.js.gz",
    "assets/large.bin",
    "index.html",
    "inside.html",
    "with space and %2541.txt",
];

#[test]
fn a_manifest_lists_what_is_served() {
    let tree = site();
    let ended = list(&[], tree.root());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("oneloop: listed 7 files in "), "{}", ended.stderr);
    assert!(ended.stderr.ends_with(", 7 read\n"), "{}", ended.stderr);
    let listed = lines(&tree);
    assert_eq!(listed.keys().collect::<Vec<_>>(), VISIBLE);
    assert!(listed["index.html"].starts_with("4 "), "{listed:?}");
    let first = fs::read(tree.path(NAME)).unwrap();
    assert_eq!(list(&["--quiet", "--fresh"], tree.root()).stderr, "");
    assert_eq!(fs::read(tree.path(NAME)).unwrap(), first, "the same, byte for byte");
    assert_eq!(list(&["--hidden"], tree.root()).code, Some(0));
    let more: Vec<String> =
        lines(&tree).into_keys().filter(|path| !VISIBLE.contains(&path.as_str())).collect();
    assert_eq!(more, [".git/config", ".hidden", "deep/.well-known/f"]);
    let left = fs::read_dir(tree.root()).unwrap().filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(NAME))
    });
    assert_eq!(left.count(), 1, "nothing is left behind");
    assert_eq!(by_content(&tree).connect().get(&format!("/{NAME}")).status, 404);
}

#[test]
fn only_what_has_changed_is_read_again() {
    let tree = site();
    list(&[], tree.root());
    let read = |flags: &[&str]| {
        let said = list(flags, tree.root()).stderr;
        said.trim_end().rsplit_once(", ").expect("a number").1.to_owned()
    };
    assert_eq!(read(&[]), "0 read");
    tree.modified_at("index.html", MODIFIED_S, 1);
    // The file, and the link to it.
    assert_eq!(read(&[]), "2 read");
    assert_eq!(read(&["--fresh"]), "7 read");
    fs::remove_file(tree.path("assets/app.js.gz")).unwrap();
    assert_eq!(read(&[]), "0 read");
    assert!(!lines(&tree).contains_key("assets/app.js.gz"));
    tree.write(NAME, b"what is this?\n");
    assert_eq!(read(&[]), "6 read");
}

#[test]
fn a_line_that_fits_is_believed_and_one_that_does_not_is_not() {
    let tree = site();
    let honest = {
        let server = by_content(&tree);
        tag(&mut server.connect(), "/assets/large.bin")
    };
    list(&[], tree.root());
    assert!(lines(&tree)["assets/large.bin"].contains(honest.trim_matches('"')), "both make the same digest");
    for path in ["assets/large.bin", "assets/app.js.gz", "index.html"] {
        forge(&tree, path);
    }
    let server = by_content(&tree);
    let mut client = server.connect();
    assert_eq!(tag(&mut client, "/assets/large.bin"), format!("\"{FORGED}\""));
    assert_eq!(tag(&mut client, "/"), format!("\"{FORGED}\""));
    let plain = client.get("/assets/app.js").etag().to_owned();
    let gzip = client.get_with("/assets/app.js", &["Accept-Encoding: gzip"]).etag().to_owned();
    assert!(!plain.contains(FORGED) && gzip.contains(FORGED), "{plain} {gzip}");
    let before = fs::metadata(tree.path("index.html")).unwrap().modified().unwrap();
    tree.write("index.html", b"<p>another length");
    fs::File::options().write(true).open(tree.path("index.html")).unwrap().set_modified(before).unwrap();
    let is_own = eventually(PATIENCE, || {
        let response = client.get("/");
        response.content == b"<p>another length"
            && response.field("ETag").is_some_and(|tag| !tag.contains(FORGED))
    });
    assert!(is_own, "the size is another");
}

#[test]
fn hup_reads_the_manifest_anew() {
    let tree = site();
    let server = by_content(&tree);
    let mut client = server.connect();
    let honest = tag(&mut client, "/assets/large.bin");
    assert!(!honest.contains(FORGED));
    list(&[], tree.root());
    forge(&tree, "assets/large.bin");
    server.signal(Signal::HUP);
    let is_read = eventually(PATIENCE, || tag(&mut client, "/assets/large.bin").contains(FORGED));
    assert!(is_read, "still what was made of the content");
}

#[test]
fn a_manifest_that_makes_no_sense_is_said_and_passed_over() {
    let tree = site();
    let honest = tag(&mut by_content(&tree).connect(), "/index.html");
    tree.write(NAME, b"oneloop manifest 1\nnonsense\n");
    let server = by_content(&tree);
    assert_eq!(tag(&mut server.connect(), "/index.html"), honest);
    let is_said = eventually(PATIENCE, || server.stderr().contains("line 2"));
    assert!(is_said && server.stderr().contains(NAME), "{}", server.stderr());
}

#[test]
fn what_cannot_be_listed_is_said() {
    let tree = site();
    let missing = list(&[], &tree.path("nowhere"));
    assert_eq!(missing.code, Some(1));
    assert_eq!(missing.stderr.lines().count(), 1, "{}", missing.stderr);
    assert!(missing.stderr.contains("nowhere"), "{}", missing.stderr);
    assert_eq!(list(&[], &tree.path("index.html")).code, Some(1), "one file has no manifest");
    assert_eq!(list(&["--wrong"], tree.root()).code, Some(2));
    tree.publish();
    tree.mode("index.html", 0o000);
    tree.mode("", 0o777);
    let ended = Launch::bare().flags(&["manifest"]).flags(&[tree.root()]).unprivileged().run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot list 'index.html'"), "{}", ended.stderr);
    let listed = lines(&tree);
    assert!(!listed.contains_key("index.html") && listed.contains_key("assets/app.js"), "{listed:?}");
}
