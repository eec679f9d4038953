//! Starting: what the server says, where it listens, and how it refuses to start.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::client::{Client, eventually};
use super::schedule::skip;
use super::server::{Ended, Launch, PATIENCE, Server};
use super::tree::{Tree, pattern};

fn site() -> Tree {
    let large = pattern(1_000_000);
    Tree::new(&[("a.txt", b"a"), ("index.html", b"index"), ("home.html", b"home"), ("large.bin", &large)])
}

/// A failure to start says what, where and what to do, in one line, and exits with `code`.
#[track_caller]
pub(super) fn expect_failure(ended: &Ended, code: i32, mentions: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    assert!(ended.stdout.is_empty(), "{}", ended.stdout);
    for mention in mentions {
        assert!(ended.stderr.contains(mention), "no {mention:?} in {:?}", ended.stderr);
    }
    if code == 1 {
        assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{:?}", ended.stderr);
    }
}

#[test]
fn the_banner_says_root_address_and_limits_in_three_lines() {
    let tree = site();
    let server = Server::start(&["-t", "3"], tree.root());
    let banner = server.stderr();
    let lines: Vec<&str> = banner.lines().collect();
    assert_eq!(lines.len(), 3, "{banner}");
    assert!(lines[0].contains(tree.root().to_str().unwrap()), "{banner}");
    assert!(lines[1].contains(&format!("http://{}", server.address())), "{banner}");
    assert!(lines[2].contains('3') && lines[2].contains("worker"), "{banner}");
    assert_ne!(server.address().port(), 0);
    assert_eq!(server.connect().get("/a.txt").content, b"a");
}

#[test]
fn the_root_may_be_an_argument_and_flags_have_short_forms() {
    let tree = site();
    let root = tree.root().to_str().unwrap();
    let server =
        Launch::bare().flags(&["-p", "0", "-a", "127.0.0.1", "-i", "home.html", "-t", "1", root]).start();
    assert_eq!(server.connect().get("/").content, b"home");
}

#[test]
fn the_root_may_be_one_file() {
    let tree = site();
    let server = Server::start(&[], &tree.path("a.txt"));
    let mut client = server.connect();
    for (target, status) in
        [("/", 200), ("/a.txt", 200), ("/home.html", 404), ("/index.html", 404), ("/x", 404)]
    {
        let response = client.get(target);
        assert_eq!(response.status, status, "{target}");
        assert!(status == 404 || response.content == b"a", "{target}");
    }
}

#[test]
fn port_is_taken_from_the_environment_of_a_platform() {
    let tree = site();
    let root = tree.root().to_str().unwrap();
    let server = Launch::bare().flags(&["-a", "127.0.0.1", root]).env("PORT", "0").start();
    assert_eq!(server.connect().get("/a.txt").content, b"a");
}

#[test]
fn a_unix_socket_is_served_alone_and_quietly() {
    let tree = site();
    let scratch = Tree::new(&[]);
    let path = scratch.path("socket");
    let listen = format!("unix:{}", path.display());
    let mut server = Launch::bare().flags(&["-q", "-l", &listen, tree.root().to_str().unwrap()]).spawn();
    let mut client = None;
    let connected = eventually(PATIENCE, || {
        client = Client::connect_unix(&path).ok();
        client.is_some() || server.exited().is_some()
    });
    assert!(connected && client.is_some(), "{}", server.stderr());
    let mut client = client.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666, "a front proxy runs as another user");
    assert_eq!(client.get("/a.txt").content, b"a");
    assert_eq!(client.get("/missing").status, 404);
    client.download("/large.bin", &pattern(1_000_000));
    assert_eq!(server.stderr(), "", "-q");
    server.terminate();
    assert_eq!(server.wait_exit(PATIENCE).code(), Some(0));
}

#[test]
fn several_addresses_are_served_at_once() {
    let tree = site();
    let scratch = Tree::new(&[]);
    let path = scratch.path("socket");
    let listen = format!("unix:{}", path.display());
    let root = tree.root().to_str().unwrap();
    let server = Launch::bare().flags(&["-l", "127.0.0.1:0", "-l", &listen, root]).start();
    assert_eq!(server.connect().get("/a.txt").content, b"a");
    assert_eq!(Client::connect_unix(&path).unwrap().get("/a.txt").content, b"a");
}

#[test]
fn ipv6_is_served() {
    if TcpListener::bind("[::1]:0").is_err() {
        return skip("startup::ipv6_is_served", "no IPv6 here");
    }
    let tree = site();
    let mut server = Launch::bare().flags(&["-l", "[::1]:0", tree.root().to_str().unwrap()]).spawn();
    let mut port = None;
    eventually(PATIENCE, || {
        let stderr = server.stderr();
        port = stderr.split_once("http://[::1]:").and_then(|(_, rest)| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            rest.contains('\n').then(|| digits.parse::<u16>().ok())?
        });
        port.is_some() || server.exited().is_some()
    });
    let port = port.unwrap_or_else(|| panic!("no address in the banner: {}", server.stderr()));
    let mut client = Client::connect(([0, 0, 0, 0, 0, 0, 0, 1], port).into());
    assert_eq!(client.get("/a.txt").content, b"a");
}

#[test]
fn workers_are_bound_to_their_processors() {
    let tree = site();
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let processor = (0..1024).find(|&processor| allowed.is_set(processor)).unwrap().to_string();
    let server = Server::start(&["-t", "2", "--pin", &processor], tree.root());
    assert_eq!(server.connect().get("/a.txt").content, b"a");
    for worker in ["worker-0", "worker-1"] {
        let is_bound = || server.process().thread_processors(worker) == processor;
        assert!(eventually(PATIENCE, is_bound), "{worker}: {}", server.stderr());
    }
}

#[test]
fn a_port_in_use_is_a_clear_failure() {
    let tree = site();
    let first = Server::start(&[], tree.root());
    let port = first.address().port().to_string();
    let second = Launch::bare().flags(&["-a", "127.0.0.1", "-p", &port]).flags(&[tree.root()]).run();
    expect_failure(&second, 1, &[&port, "in use"]);
    assert_eq!(first.connect().get("/a.txt").content, b"a", "the first goes on");
}

#[test]
fn a_root_that_is_missing_is_a_clear_failure() {
    let tree = site();
    let missing = tree.path("not-there");
    expect_failure(&Launch::new(&missing).run(), 1, &[missing.to_str().unwrap()]);
}

#[test]
fn a_root_that_cannot_be_read_is_a_clear_failure() {
    let tree = Tree::new(&[("closed/a.txt", b"a")]);
    tree.publish();
    tree.mode("closed", 0o000);
    let closed = tree.path("closed");
    let ended = Launch::new(&closed).unprivileged().run();
    tree.mode("closed", 0o755);
    expect_failure(&ended, 1, &[closed.to_str().unwrap()]);
}

#[test]
fn a_root_that_is_neither_directory_nor_file_is_a_clear_failure() {
    let tree = Tree::new(&[]);
    tree.fifo("fifo");
    let fifo = tree.path("fifo");
    expect_failure(&Launch::new(&fifo).run(), 1, &[fifo.to_str().unwrap()]);
}

#[test]
fn an_address_that_cannot_be_had_is_a_clear_failure() {
    let tree = site();
    for address in ["192.0.2.1:0", "unix:/dev/null/socket", "fd:999", "fd:1", "systemd"] {
        let ended = Launch::bare().flags(&["--listen", address]).flags(&[tree.root()]).run();
        expect_failure(&ended, 1, &[&format!("cannot listen on '{address}': "), "--listen"]);
    }
}

#[test]
fn control_characters_in_a_path_do_not_reach_the_terminal() {
    let tree = Tree::new(&[("a\n\x1b[31mb/a.txt", b"a")]);
    let root = tree.path("a\n\x1b[31mb");
    let server = Server::start(&[], &root);
    let banner = server.stderr();
    assert!(banner.lines().count() == 3 && banner.contains(r"/a\n\u{1b}[31mb"), "{banner:?}");
    let log = root.join("missing/log");
    let socket = format!("unix:{}", root.join("missing/socket").display());
    let table: [(&[&OsStr], &Path); 3] = [
        (&[], &root.join("missing")),
        (&["--access-log".as_ref(), log.as_ref()], &root),
        (&["--listen".as_ref(), socket.as_ref()], &root),
    ];
    for (flags, root) in table {
        let ended = Launch::bare().flags(flags).flags(&[root]).run();
        expect_failure(&ended, 1, &[r"a\n\u{1b}[31mb/missing"]);
    }
}
