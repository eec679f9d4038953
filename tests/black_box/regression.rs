//! Bugs: one test each, named after what went wrong. A bug is fixed once its test was seen to fail here.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::client::{Client, eventually, request};
use super::schedule::timed;
use super::server::{Launch, PATIENCE, Server};
use super::tree::{Tree, pattern};

const SECOND: Duration = Duration::from_secs(1);

/// The kernel sends SIGXFSZ to a process that writes beyond its `RLIMIT_FSIZE`, which by default ends it.
#[test]
fn a_log_at_the_limit_on_file_sizes_is_no_end() {
    const LOG_BYTES: u64 = 2_000;
    let tree = Tree::new(&[("a.txt", b"a")]);
    let logs = Tree::new(&[]);
    let path = logs.path("access.log");
    let mut server = Server::start(&["-t", "2", "--access-log", path.to_str().expect("UTF-8")], tree.root());
    server.limit_file_bytes(Some(LOG_BYTES));
    for index in 0..50 {
        assert_eq!(server.connect().get(&format!("/a.txt?{index}")).content, b"a");
    }
    let is_full = || fs::metadata(&path).is_ok_and(|metadata| metadata.len() == LOG_BYTES);
    assert!(eventually(PATIENCE, is_full), "the log never reached its limit");
    std::thread::sleep(SECOND / 2);
    assert!(server.exited().is_none(), "the log ended the server");
    assert_eq!(server.connect().get("/a.txt?50").content, b"a");
    server.limit_file_bytes(None);
    let lines = || fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
    let mut seen: Vec<String> = Vec::new();
    eventually(PATIENCE, || {
        seen = lines();
        seen.len() == 51
    });
    for index in 0..51 {
        let line = format!("\"GET /a.txt?{index} HTTP/1.1\" 200 ");
        let found = seen.iter().filter(|seen| seen.contains(&line) && seen.starts_with("127.0.0.1 ")).count();
        assert_eq!(found, 1, "{line} in {seen:#?}");
    }
}

/// Some were taken at their word, and the allocation that followed aborted the process.
#[test]
fn absurd_numbers_are_refused_with_what_is_allowed() {
    let tree = Tree::new(&[]);
    let table = [
        ("--max-conns", "100000000000", "from 1 to 1048576"),
        ("--max-conns", "18446744073709551615", "from 1 to 1048576"),
        ("--max-conns", "99999999999999999999", "from 1 to 1048576"),
        ("--max-header", "100g", "from 64 to 1m"),
        ("--max-uri", "99999999999999999999", "from 64 to 1m"),
        ("--max-fields", "99999999999999999999", "from 1 to 256"),
        ("--max-body", "99999999999999999999", "at most 17179869183g"),
        ("--mem-cache", "99999999999g", "at most 17179869183g"),
        ("--workers", "100000", "from 1 to 1024"),
        ("--helpers", "100000", "from 0 to 64"),
        ("--backlog", "99999999999", "from 1 to 65535"),
        ("--backlog", "99999999999999999999", "from 1 to 65535"),
        ("--open-cache", "99999999999", "from 1 to 1048576"),
        ("--port", "99999999999999999999", "from 0 to 65535"),
        ("--idle-timeout", "876000h", "from 1ms to 8760h"),
        ("--send-timeout", "99999999999999999999h", "from 1ms to 8760h"),
        ("--cache-check", "99999999999999999999", "from 0 to 8760h"),
        ("--grace", "876000h", "from 0 to 8760h"),
    ];
    for (flag, value, allowed) in table {
        let ended = Launch::bare().flags(&[flag, value]).flags(&[tree.root()]).run();
        assert_eq!(ended.code, Some(2), "{flag} {value}: {}", ended.stderr);
        for mention in [flag, value, allowed] {
            assert!(ended.stderr.contains(mention), "{flag} {value}: {}", ended.stderr);
        }
    }
}

#[test]
fn the_largest_numbers_that_are_allowed_work() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let largest = [
        ["--max-conns", "1048576"],
        ["--max-header", "1m"],
        ["--max-uri", "1m"],
        ["--max-fields", "256"],
        ["--max-body", "17179869183g"],
        ["--mem-cache", "17179869183g"],
        ["--helpers", "64"],
        ["--backlog", "65535"],
        ["--open-cache", "1048576"],
        ["--header-timeout", "8760h"],
        ["--idle-timeout", "8760h"],
        ["--body-timeout", "8760h"],
        ["--send-timeout", "8760h"],
        ["--cache-check", "8760h"],
        ["--grace", "8760h"],
    ];
    let mut server = Server::start(largest.as_flattened(), tree.root());
    let mut client = server.connect();
    for _ in 0..2 {
        assert_eq!(client.get("/a.txt").content, b"a");
    }
    server.terminate();
    assert_eq!(server.wait_exit(PATIENCE).code(), Some(0));
}

/// The root was blamed, for being what was opened when the last descriptor was gone.
#[test]
fn more_workers_than_descriptors_allow_are_to_blame_themselves() {
    let tree = Tree::new(&[]);
    let ended = Launch::new(tree.root()).flags(&["--workers", "1024"]).descriptors_max(100).run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("open files") && last.contains("--workers"), "{}", ended.stderr);
    assert!(!last.contains("os error") && !last.contains(tree.root().to_str().expect("UTF-8")), "{last}");
}

/// Such a directory can be passed through, but not opened for reading: it was answered with 403.
#[test]
fn a_directory_that_may_not_be_listed_is_a_directory() {
    let tree = Tree::new(&[
        ("mute/index.html", b"mute"),
        ("bare/a.txt", b"a"),
        ("closed/a.txt", b"a"),
        ("private.txt", b"p"),
        ("root/index.html", b"index"),
        ("root/a.txt", b"a"),
        ("root/sub/index.html", b"sub"),
    ]);
    tree.publish();
    for (name, mode) in
        [("mute", 0o711), ("bare", 0o711), ("closed", 0o000), ("private.txt", 0o000), ("root", 0o711)]
    {
        tree.mode(name, mode);
    }
    for flags in [&[][..], &["--helpers", "0"]] {
        let server = Launch::new(tree.root()).flags(flags).unprivileged().start();
        let mut client = server.connect();
        for _ in 0..2 {
            let redirect = client.get("/mute?q");
            assert_eq!((redirect.status, redirect.field("Location")), (301, Some("/mute/?q")));
            assert_eq!(client.get("/mute/").content, b"mute");
            assert_eq!(client.get("/bare").status, 301);
            assert_eq!(client.get("/bare/").status, 404);
            assert_eq!(client.get("/closed/").status, 403);
            assert_eq!(client.get("/closed/a.txt").status, 403);
            assert_eq!(client.get("/private.txt").status, 403);
        }
        let server = Launch::new(&tree.path("root")).flags(flags).unprivileged().start();
        let mut client = server.connect();
        assert_eq!(client.get("/").content, b"index");
        assert_eq!(client.get("/a.txt").content, b"a");
        assert_eq!(client.get("/sub").status, 301);
        assert_eq!(client.get("/sub/").content, b"sub");
    }
    tree.mode("closed", 0o755);
}

/// The link was resolved first, and the file then known by the name of the link's destination alone.
#[test]
fn one_file_is_served_under_the_name_it_was_given() {
    let tree = Tree::new(&[
        ("releases/1.bin", b"first"),
        ("releases/2.bin", b"second"),
        ("here/beside.bin", b"beside"),
        ("here/other.html", b"other"),
    ]);
    tree.link("here/inside.html", "beside.bin");
    tree.link("here/outside.html", "../releases/1.bin");
    tree.link("here/absolute.html", tree.path("releases/1.bin"));
    tree.link("here/chain.html", "outside.html");
    let table = [
        ("inside.html", "beside.bin", b"beside".as_slice()),
        ("outside.html", "1.bin", b"first"),
        ("absolute.html", "1.bin", b"first"),
        ("chain.html", "1.bin", b"first"),
    ];
    for symlinks in ["never", "inside", "any"] {
        for (name, destination, content) in table {
            let server = Server::start(&["--symlinks", symlinks], &tree.path("here").join(name));
            let mut client = server.connect();
            for target in ["/".to_owned(), format!("/{name}")] {
                let response = client.get(&target);
                assert_eq!(
                    (response.status, response.content.as_slice()),
                    (200, content),
                    "{name}: {target}"
                );
                assert!(response.require("Content-Type").starts_with("text/html"), "{name}: {target}");
            }
            for target in [format!("/{destination}"), "/other.html".into(), format!("/x/../{name}/x")] {
                assert_eq!(client.get(&target).status, 404, "{name}: {target}");
            }
        }
    }
    let server = Server::start(&[], &tree.path("here/outside.html"));
    let mut client = server.connect();
    assert_eq!(client.get("/").content, b"first");
    fs::remove_file(tree.path("here/outside.html")).expect("remove");
    tree.link("here/outside.html", "../releases/2.bin");
    server.signal(rustix::process::Signal::HUP);
    assert!(eventually(PATIENCE, || client.get("/").content == b"second"), "the new link is not followed");
}

/// RFC 9110 §8.8.2.2, §13.1.5: within the second that it names, a date cannot tell two versions apart.
#[test]
fn a_date_that_is_too_young_makes_no_range_apply() {
    let tree = Tree::new(&[]);
    let server = Server::start(&[], tree.root());
    let _timed = timed();
    let mut client = server.connect();
    tree.write("a.bin", &pattern(1_000));
    let modified = client.get("/a.bin").require("Last-Modified").to_owned();
    let mut part = || client.get_with("/a.bin", &["Range: bytes=0-9", &format!("If-Range: {modified}")]);
    assert_eq!(part().status, 200);
    assert!(eventually(SECOND * 6, || part().status == 206), "it never grows old enough");
}

/// RFC 9110 §5.3: a field that is no list and yet comes twice means nothing. The first line used to count.
#[test]
fn two_range_lines_are_none() {
    let tree = Tree::new(&[("a.bin", &pattern(1_000))]);
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    for second in ["bytes=0-9", "bytes=20-29", "bytes=5000-", ""] {
        let response = client.get_with("/a.bin", &["Range: bytes=0-9", &format!("range: {second}")]);
        assert_eq!((response.status, response.content.len()), (200, 1_000), "{second}");
    }
    assert_eq!(client.get_with("/a.bin", &["Range: bytes=0-9"]).status, 206);
}

/// The method used to be looked at first, so that an expectation or a target that means nothing went unnoticed.
#[test]
fn what_is_wrong_with_a_request_does_not_depend_on_its_method() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let server = Server::start(&[], tree.root());
    let unmet = &["Expect: 200-ok"][..];
    let table = [
        ("GET", "/a.txt", unmet, 417),
        ("HEAD", "/a.txt", unmet, 417),
        ("OPTIONS", "/a.txt", unmet, 417),
        ("OPTIONS", "*", unmet, 417),
        ("POST", "/a.txt", unmet, 417),
        ("BREW", "/a.txt", unmet, 417),
        ("GET", "/../x", unmet, 417),
        ("GET", "/../x", &[], 400),
        ("HEAD", "/%zz", &[], 400),
        ("OPTIONS", "/../x", &[], 400),
        ("OPTIONS", "/%zz", &[], 400),
        ("POST", "/%zz", &[], 400),
        ("POST", "/a/../../x", &[], 400),
        ("DELETE", "/%00", &[], 400),
        ("BREW", "/..", &[], 400),
        ("OPTIONS", "*", &[], 204),
        ("OPTIONS", "/missing", &[], 204),
        ("POST", "/missing", &[], 405),
        ("BREW", "/missing", &[], 501),
    ];
    for (method, target, fields, status) in table {
        let response = server.connect().exchange(&request(method, target, fields));
        assert_eq!(response.status, status, "{method} {target} {fields:?}");
        assert_eq!(response.closes(), status == 400, "{method} {target} {fields:?}");
    }
}

/// Whoever sends USR1 wants an answer, at whatever level the log is.
#[test]
fn counters_are_shown_at_every_level() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    for level in ["error", "warn", "info", "debug"] {
        let server = Server::start(&["-t", "1", "--log-level", level], tree.root());
        server.connect().get("/a.txt");
        assert_eq!(server.counters(1)[0].get("requests"), 1, "{level}");
    }
    let path = tree.path("socket");
    let listen = format!("unix:{}", path.display());
    let server =
        Launch::bare().flags(&["-q", "-t", "1", "-l", &listen, tree.root().to_str().expect("UTF-8")]).spawn();
    assert!(eventually(PATIENCE, || Client::connect_unix(&path).is_ok()));
    assert_eq!(server.counters(1)[0].get("worker"), 0);
}

/// Nobody could tell how much of an access log was missing.
#[test]
fn what_the_access_log_lost_is_reported() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    if !Path::new("/dev/full").exists() {
        return super::schedule::skip(
            "regression::what_the_access_log_lost_is_reported",
            "no /dev/full here",
        );
    }
    let server = Server::start(&["-t", "1", "--access-log", "/dev/full"], tree.root());
    let mut client = server.connect();
    // More than the ring between worker and writer holds.
    let batch = request("GET", &format!("/a.txt?{}", "q".repeat(3_000)), &[]).repeat(50);
    for _ in 0..10 {
        client.send(&batch);
        for _ in 0..50 {
            assert_eq!(client.response().content, b"a");
        }
    }
    let figure = |name: &str| {
        std::thread::sleep(SECOND / 10);
        server.counters(1);
        let stderr = server.stderr();
        let line = stderr.lines().rfind(|line| line.contains("dropped_lines="))?;
        let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
        value.parse::<u64>().ok()
    };
    for name in ["dropped_lines", "write_errors"] {
        assert!(
            eventually(PATIENCE, || figure(name).is_some_and(|count| count > 0)),
            "{name}: {}",
            server.stderr()
        );
    }
    let without = Server::start(&["-t", "1"], tree.root());
    without.counters(1);
    std::thread::sleep(SECOND / 5);
    assert!(!without.stderr().contains("dropped_lines"), "{}", without.stderr());
}

/// A time of 0 was refused where it has a meaning.
#[test]
fn files_can_be_checked_at_every_request() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    for flags in [&["--cache-check", "0"][..], &["--cache-check", "0", "--helpers", "0"]] {
        let server = Server::start(flags, tree.root());
        let mut client = server.connect();
        for round in 0..50 {
            let content = format!("round {round}");
            tree.replace("a.txt", content.as_bytes());
            assert_eq!(client.get("/a.txt").content, content.as_bytes());
        }
    }
}

#[test]
fn an_end_can_be_without_grace() {
    let length = 8 << 20;
    let tree = Tree::new(&[("big.bin", &pattern(length))]);
    let mut server = Server::start(&["--grace", "0"], tree.root());
    let _timed = timed();
    let mut client = Client::connect_with_window(server.address(), 64 << 10);
    client.send(&request("GET", "/big.bin", &[]));
    assert_eq!(client.response_head().content_length(), Some(length as u64));
    let start = Instant::now();
    server.terminate();
    assert_eq!(server.wait_exit(PATIENCE).code(), Some(0));
    assert!(start.elapsed() < SECOND * 2, "{:?}", start.elapsed());
    assert!(client.content_or_cut(length as u64, |_| ()).is_err(), "nobody was left to send it");
    assert!(server.stderr().contains("connections cut off: 1"), "{}", server.stderr());

    let mut idle = Server::start(&["--grace", "0"], tree.root());
    idle.terminate();
    assert_eq!(idle.wait_exit(PATIENCE).code(), Some(0));
    assert!(!idle.stderr().contains("cut off"), "{}", idle.stderr());
}

/// How long a refused client may go on talking was the one deadline without a flag.
#[test]
fn a_lingering_close_has_a_deadline_of_its_own() {
    let tree = Tree::new(&[]);
    let server = Server::start(&["-t", "1", "--linger-timeout", "1s"], tree.root());
    let _timed = timed();
    let mut client = server.connect();
    let start = Instant::now();
    client.send(b"BAD\r\n\r\n");
    assert_eq!(client.response().status, 400);
    client.expect_closed();
    let is_counted = eventually(SECOND * 4, || {
        client.send_to_deaf(b"x");
        server.counters(1)[0].get("linger_timeouts") == 1
    });
    assert!(is_counted && start.elapsed() > SECOND / 2, "{:?}", start.elapsed());
}
