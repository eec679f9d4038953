//! The work that listings are: done anew as often as needed, once for a crowd, by nobody who is waited for, and bounded.

use std::fs;
use std::time::{Duration, Instant};

use super::client::{Client, request};
use super::listing::{between, names, site, text};
use super::schedule::heavy;
use super::server::Server;
use super::slow_fs::{Delays, expect_loops_never_asked, mount, tree_with_cold};
use super::tree::Tree;

/// Within which a change is seen.
const SEEN_WITHIN: Duration = Duration::from_millis(1_500);

#[test]
fn changes_are_seen_soon() {
    let tree = site();
    let server = Server::start(&["-z=json", "-t", "1"], tree.root());
    let mut client = server.connect();
    let wait = || std::thread::sleep(SEEN_WITHIN);
    let before = client.get("/sub/");
    wait();
    let same = client.get("/sub/");
    assert_eq!((same.etag(), &same.content), (before.etag(), &before.content), "nothing has changed");
    // A file that is written to leaves its directory as it was.
    tree.write("sub/x", b"longer");
    wait();
    let after = client.get_with("/sub/", &[&format!("If-None-Match: {}", before.etag())]);
    assert_eq!(after.status, 200);
    assert!(text(&after).contains("\"size\":6"), "{}", text(&after));
    tree.write("sub/y", b"");
    fs::remove_file(tree.path("sub/x")).unwrap();
    wait();
    assert_eq!(names(&mut client, "/sub/"), ["y"]);
    tree.write("sub/index.html", b"index");
    wait();
    assert_eq!(client.get("/sub/").content, b"index");
    fs::remove_file(tree.path("sub/index.html")).unwrap();
    wait();
    assert_eq!(names(&mut client, "/sub/"), ["y"]);
    fs::remove_dir_all(tree.path("sub")).unwrap();
    wait();
    assert_eq!(client.get("/sub/").status, 404);
    tree.write("sub/z", b"");
    wait();
    assert_eq!(names(&mut client, "/sub/"), ["z"]);
}

#[test]
fn whoever_does_the_work_and_whatever_is_kept_a_listing_is_the_same() {
    let tree = Tree::new(&[]);
    (0..500).for_each(|number| tree.write(&format!("a-{number}"), b""));
    let expected = Server::start(&["-z"], tree.root()).connect().get("/?sort=time");
    let table: [&[&str]; 4] = [
        &["--helpers", "0"],
        &["--cache-check", "0"],
        &["--mem-cache", "0"],
        &["--helpers", "0", "--cache-check", "0", "--mem-cache", "0", "--open-cache", "1"],
    ];
    for flags in table {
        let server = Server::start(&[&["-z"], flags].concat(), tree.root());
        let mut client = server.connect();
        for _ in 0..3 {
            let response = client.get("/?sort=time");
            assert_eq!((response.status, response.etag()), (200, expected.etag()), "{flags:?}");
            assert!(response.content == expected.content, "{flags:?}");
            assert_eq!(client.get("/nothing/").status, 404, "{flags:?}");
        }
    }
}

#[test]
fn a_crowd_is_shown_a_directory_that_was_read_once() {
    const CROWD: usize = 50;
    let test = "listing_work::a_crowd_is_shown_a_directory_that_was_read_once";
    let delays = Delays { directory: Duration::from_millis(500), ..Delays::default() };
    let Some((tree, fs)) = tree_with_cold(test, delays) else { return };
    let server = Server::start(&["-z=json", "-t", "1"], tree.root());
    fs.take_asked();
    let mut crowd: Vec<Client> = (0..CROWD).map(|_| server.connect()).collect();
    for client in &mut crowd {
        client.send(&request("GET", "/cold/", &[]));
    }
    // Meanwhile others are served.
    assert_eq!(server.connect().get("/warm.txt").content, b"warm");
    for client in &mut crowd {
        let response = client.response();
        let names = between(text(&response), "{\"name\":\"", "\"");
        assert_eq!(names, ["huge-0.bin", "large-0.bin", "small-0.bin"]);
    }
    let asked = fs.take_asked();
    let read: u64 = asked.iter().filter(|((kind, _), _)| *kind == "directory").map(|(_, times)| times).sum();
    // What is in it, and that this was all.
    assert_eq!(read, 2, "{asked:?}");
    assert!(asked.keys().all(|(_, thread)| !thread.starts_with("worker")), "{asked:?}");
}

#[test]
fn a_root_on_a_slow_disk_is_listed_whatever_is_believed() {
    let test = "listing_work::a_root_on_a_slow_disk_is_listed_whatever_is_believed";
    let tree = Tree::new(&[]);
    let Some(fs) = mount(test, &tree, "root", Delays::everywhere(Duration::from_millis(5))) else { return };
    for flags in [&["--cache-check", "0"][..], &[]] {
        let server = Server::start(&[&["-z=json", "-t", "1"], flags].concat(), &tree.path("root"));
        fs.take_asked();
        let mut client = server.connect();
        for _ in 0..2 {
            assert_eq!(names(&mut client, "/"), ["huge-0.bin", "large-0.bin", "small-0.bin"], "{flags:?}");
        }
        expect_loops_never_asked(&fs);
    }
}

#[test]
fn a_hundred_thousand_entries_are_divided_for_people_and_whole_for_programs() {
    let _heavy = heavy();
    let tree = Tree::new(&[("0", b"")]);
    // Links are made faster than files, but one file has so many at most.
    let mut linked = tree.path("0");
    for number in 1..100_000 {
        let path = tree.path(&number.to_string());
        if number % 1_000 == 0 {
            fs::write(&path, "").unwrap();
            linked = path;
        } else {
            fs::hard_link(&linked, path).unwrap();
        }
    }
    let server = Server::start(&["-z", "-t", "1", "--send-timeout", "60s"], tree.root());
    let mut client = server.connect();
    client.patience(Duration::from_secs(60));
    for (target, first, last, page) in
        [("/", "0", "999", "Page 1 of 100"), ("/?page=100", "99000", "99999", "Page 100 of 100")]
    {
        let response = client.get(target);
        assert!(response.content.len() < 1 << 20, "{target}: {} bytes", response.content.len());
        let names = between(text(&response), "<bdi translate=\"no\">", "</bdi>");
        assert_eq!((names.len(), names[0], names[999]), (1_000, first, last), "{target}");
        assert!(text(&response).contains(page) && text(&response).contains("100,000 files"), "{target}");
    }
    for target in ["/?page=101", "/?page=18446744073709551615"] {
        assert_eq!(client.get(target).status, 404, "{target}");
    }
    let json = client.get_with("/", &["Accept: application/json"]);
    let found = between(text(&json), "{\"name\":\"", "\"");
    assert_eq!((json.status, found.len(), found[99_999]), (200, 100_000, "99999"));
    tree.write("one more", b"");
    std::thread::sleep(SEEN_WITHIN);
    let refused = client.get_with("/", &["Accept: application/json"]);
    assert_eq!((refused.status, refused.require("Vary")), (403, "Accept"), "a program could not tell");
    let part = client.get("/");
    assert!(text(&part).contains("class=\"notice\""), "people are told");
}

#[test]
fn a_large_directory_holds_up_no_small_one() {
    let _heavy = heavy();
    let tree = Tree::new(&[("large/0", b"")]);
    for number in 1..20_000 {
        fs::hard_link(tree.path("large/0"), tree.path(&format!("large/{number}"))).unwrap();
    }
    // By chance, one of these may share the turns of the large one, but not most.
    let small: Vec<String> = (0..9).map(|number| format!("small-{number}")).collect();
    small.iter().for_each(|name| tree.write(&format!("{name}/x"), b""));
    let server = Server::start(&["-z", "-t", "1"], tree.root());
    let mut crowd: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    let begun = Instant::now();
    for (number, client) in (1..).zip(&mut crowd) {
        client.patience(Duration::from_secs(60));
        client.send(&request("GET", &format!("/large/?sort=size&page={number}"), &[]));
    }
    let mut others: Vec<Client> = small.iter().map(|_| server.connect()).collect();
    for (name, client) in small.iter().zip(&mut others) {
        client.patience(Duration::from_secs(60));
        client.send(&request("GET", &format!("/{name}/"), &[]));
    }
    let mut listed: Vec<Duration> = std::thread::scope(|scope| {
        let listing = |client: &mut Client| {
            assert_eq!(client.response().status, 200);
            begun.elapsed()
        };
        let threads: Vec<_> = others.iter_mut().map(|client| scope.spawn(move || listing(client))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    listed.sort_unstable();
    let listed = listed[small.len() / 2];
    for client in &mut crowd {
        assert_eq!(client.response().status, 200);
    }
    let all = begun.elapsed();
    assert!(listed * 2 < all, "most small ones took {listed:?}, the large one {all:?}");
}
