//! What somebody tries who has read the README and nothing else.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::client::{Client, eventually};
use super::server::{Ended, Launch, PATIENCE, Server};
use super::startup::expect_failure;
use super::tree::Tree;

const HASH: &str = "$2y$04$wp8J0XcPO5rpWQRGSQNp5OeH9u7kAmqMsZgtjhCj8aHoZPUAyoSAm";

fn site() -> Tree {
    Tree::new(&[("index.html", b"index"), ("404.html", b"not here"), ("docs/index.html", b"docs")])
}

#[track_caller]
fn explain(flags: &[&str], code: i32) -> String {
    let ended = Launch::bare().flags(&["explain"]).flags(flags).run();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{}", ended.stdout);
    ended.stdout
}

#[test]
fn the_tree_of_a_virtual_host_is_explained_however_the_host_is_said() {
    let tree = site();
    let (root, docs) = (tree.root().to_str().unwrap(), tree.path("docs"));
    let vhost = format!("docs.example.org={}", docs.display());
    let table: [&[&str]; 3] = [
        &["http://docs.example.org/"],
        &["HTTP://docs.example.org"],
        &["/", "-H", "Host: docs.example.org:80"],
    ];
    for asked in table {
        let text = explain(&[asked, &[root, "--vhost", &vhost]].concat(), 0);
        for mention in ["GET / HTTP/1.1", "Content-Length: 4", &format!("{} is asked", docs.display())] {
            assert!(text.contains(mention), "no {mention:?} in {text}");
        }
    }
}

#[test]
fn the_pages_of_flags_are_files_of_that_very_name() {
    let tree = site();
    tree.write("app.html", b"app");
    let root = tree.root().to_str().unwrap();
    fs::remove_file(tree.path("404.html")).unwrap();
    let text = explain(&["/nope", root], 4);
    assert!(text.contains("404.html: No such file") && !text.contains("404.html.html"), "{text}");
    let text = explain(&["/nope", root, "--error-page", "404=app"], 4);
    assert!(!text.contains("app.html"), "{text}");
}

#[test]
fn an_application_that_became_a_directory_is_missing_and_no_redirect() {
    let tree = Tree::new(&[("app.html", b"app")]);
    let server = Server::start(&["--spa=app.html", "--cache-check", "0"], tree.root());
    let navigate = || server.connect().get_with("/some/page", &["Sec-Fetch-Mode: navigate"]).status;
    assert_eq!(navigate(), 200);
    fs::remove_file(tree.path("app.html")).unwrap();
    tree.write("app.html/index.html", b"index");
    assert_eq!(navigate(), 404);
}

type Variables<'v> = &'v [(&'v str, &'v str)];

fn healthcheck(asked: &[&str], variables: Variables<'_>) -> Ended {
    let launch = Launch::bare().flags(&["healthcheck"]).flags(asked);
    variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).run()
}

#[test]
fn a_healthcheck_asks_wherever_a_server_listens() {
    let (tree, scratch) = (site(), Tree::new(&[]));
    let socket = format!("unix:{}", scratch.path("socket").display());
    let listen = ["-l", "0", "-l", &socket, tree.root().to_str().unwrap()];
    let server = Launch::bare().flags(&listen).spawn();
    let port = || {
        let banner = server.stderr();
        let digits = banner.split_once("localhost:")?.1.split(' ').next()?.to_owned();
        banner.contains("worker").then_some(digits)
    };
    assert!(eventually(PATIENCE, || port().is_some()), "{}", server.stderr());
    let port = port().unwrap();
    let (local, colon, any) = (format!("127.0.0.1:{port}"), format!(":{port}"), format!("0.0.0.0:{port}"));
    let table: [(&[&str], Variables<'_>); 10] = [
        (&[&local], &[]),
        (&[&colon], &[]),
        (&[&port], &[]),
        (&[&socket], &[]),
        (&[&format!("http://{local}/docs/")], &[("ONELOOP_PORT", "nonsense")]),
        (&[], &[("PORT", &port)]),
        (&[], &[("ONELOOP_PORT", &port), ("PORT", "1")]),
        (&[], &[("ONELOOP_LISTEN", &any), ("ONELOOP_MAX_BODY", "nonsense")]),
        (&["/docs/"], &[("ONELOOP_LISTEN", &format!("fd:3,{socket}"))]),
        (&[], &[("ONELOOP_PORT", &port), ("ONELOOP_HOST", "127.0.0.1")]),
    ];
    for (asked, variables) in table {
        let ended = healthcheck(asked, variables);
        let said = (ended.code, ended.stdout.as_str(), ended.stderr.as_str());
        assert_eq!(said, (Some(0), "", ""), "{asked:?} {variables:?}");
    }
    let lost = healthcheck(&["/nothing"], &[("ONELOOP_LISTEN", &socket)]);
    expect_failure(&lost, 1, &["http://localhost/nothing", &socket, "404"]);
    let gone = format!("unix:{}", scratch.path("gone").display());
    expect_failure(&healthcheck(&[&gone], &[]), 1, &[&gone, "does not answer: No such file"]);
}

#[test]
fn a_healthcheck_refuses_what_is_no_server_and_never_waits_too_long() {
    for wrong in ["localhost", "::1", "fd:3", "systemd", "ftp://localhost/", "127.0.0.1:80/x", ""] {
        expect_failure(&healthcheck(&[wrong], &[]), 2, &["http://HOST:PORT/PATH", "unix:PATH"]);
    }
    expect_failure(&healthcheck(&[], &[("PORT", "http")]), 2, &["PORT", "'http'"]);
    expect_failure(&healthcheck(&[], &[("ONELOOP_LISTEN", "8x")]), 2, &["ONELOOP_LISTEN", "'8x'"]);
    expect_failure(&healthcheck(&[], &[("ONELOOP_LISTEN", "systemd")]), 2, &["ONELOOP_LISTEN", "which"]);
    let scratch = Tree::new(&[]);
    let path = scratch.path("silent");
    let _silent = UnixListener::bind(&path).unwrap();
    let asked = format!("unix:{}", path.display());
    expect_failure(&healthcheck(&[&asked, "--timeout", "50ms"], &[]), 1, &["did not answer in time"]);
}

#[test]
fn empty_lines_in_a_variable_say_nothing() {
    let tree = site();
    let users = format!("\na:{HASH}\n\nb:{HASH}\n");
    let server = Launch::new(tree.root())
        .env("ONELOOP_HEADER", "A: b\n\nC: d\n")
        .env("ONELOOP_REDIRECT", "\n/old=/new\n \n")
        .env("ONELOOP_REWRITE", "/doc=/docs/\n")
        .env("ONELOOP_MIME", "\nx=a/b")
        .env("ONELOOP_VHOST", "\n")
        .env("ONELOOP_SANDBOX_ALLOW", "\n/usr/share\n \n")
        .start();
    let response = server.connect().get("/");
    assert_eq!((response.status, response.field("A"), response.field("C")), (200, Some("b"), Some("d")));
    assert_eq!(server.connect().get("/old").status, 301);
    let guarded = Launch::new(tree.root()).env("ONELOOP_AUTH", &users).start();
    assert_eq!(guarded.connect().get("/").status, 401);
    let open = Launch::new(tree.root()).env("ONELOOP_AUTH", "\n\n").run();
    expect_failure(&open, 2, &["ONELOOP_AUTH", "hold no user"]);
    let wrong = Launch::new(tree.root()).env("ONELOOP_HEADER", "A: b\nnothing\n").run();
    expect_failure(&wrong, 2, &["ONELOOP_HEADER", "'nothing'"]);
}

#[test]
fn a_wrong_value_is_told_what_was_probably_meant() {
    let tree = site();
    let table: [(&[&str], &[&str]); 18] = [
        (&["-p", "-1"], &["'-1'", "--port", "from 0 to 65535"]),
        (&["-c", "-1"], &["'-1'", "--cache", "8760h"]),
        (&["--header-timeout", "-5"], &["'-5'", "--header-timeout"]),
        (&["--idle-timeout", "-5s"], &["'-5s'", "--idle-timeout"]),
        (&["--max-body", "-1"], &["'-1'", "--max-body"]),
        (&["-l", "::1"], &["did you mean '[::1]:8080'?"]),
        (&["-l", "localhost"], &["did you mean 'localhost:8080'?"]),
        (&["--allow", "localhost"], &["10.0.0.0/8", "0.0.0.0/0 and ::/0"]),
        (&["--allow", "10/8"], &["10.0.0.0/8", "0.0.0.0/0 and ::/0"]),
        (&["--deny", "all"], &["10.0.0.0/8", "0.0.0.0/0 and ::/0"]),
        (&[""], &["[ROOT]", "it is empty: give a directory, or nothing for '.'"]),
        (&["-d", ""], &["--root", "it is empty"]),
        (&["-c", "99999999999999"], &["from 0 to 8760h"]),
        (&["-c", "1500ms"], &["whole number of seconds"]),
        (&["-c", "often"], &["auto, off, or a time"]),
        (&["--redirect", "/a/:x=/b/:y"], &["FROM has no ':y'"]),
        (&["--mime", "tar.gz=application/gzip"], &["write 'gz=TYPE', which then holds for all .gz"]),
        (&["--mime", "a.=b/c"], &["what follows the last dot"]),
    ];
    for (flags, mentions) in table {
        expect_failure(&Launch::bare().flags(flags).run(), 2, mentions);
    }
    let shell = Launch::bare().flags(&["completions", "tcsh"]).run();
    expect_failure(&shell, 2, &["'tcsh'", "bash", "zsh"]);
    assert!(!shell.stderr.contains("tip:"), "{}", shell.stderr);
    let server = Server::start(&["-c", "10m"], tree.root());
    assert_eq!(server.connect().get("/").field("Cache-Control"), Some("public, max-age=600"));
}

#[test]
fn an_address_that_another_covers_is_told_so() {
    let tree = site();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (any, one, v4) = (port.to_string(), format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"));
    for (early, late) in [(&any, &one), (&one, &any), (&v4, &one), (&one, &one), (&any, &v4)] {
        let flags = ["-l", early, "-l", late, tree.root().to_str().unwrap()];
        let mentions = ["as well", "which is given before", "remove one", &format!(":{port}'")];
        expect_failure(&Launch::bare().flags(&flags).run(), 1, &mentions);
        let checked = Launch::bare().flags(&["check"]).flags(&flags).run();
        assert!(checked.code == Some(1) && checked.stdout.contains("as well"), "{}", checked.stdout);
    }
    let flags = ["-l", "127.0.0.1:0", "-l", "127.0.0.1:0"];
    let server = Launch::bare().flags(&flags).flags(&[tree.root()]).start();
    assert_eq!(server.connect().get("/").content, b"index", "free ports are others");
    let ended = Command::new("/bin/sh")
        .args(["-c", "exec 6</dev/null; exec \"$0\" -l fd:6", env!("CARGO_BIN_EXE_oneloop")])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(stderr.contains("descriptor 6 is no socket"), "{stderr}");
}

#[test]
fn what_should_not_be_served_or_believed_is_warned_of() {
    let tree = site();
    tree.write("users", format!("a:{HASH}\n").as_bytes());
    let (root, users, log) = (tree.root(), tree.path("users"), tree.path("access.log"));
    let files: [&Path; 5] = ["--auth-file".as_ref(), &users, "--access-log".as_ref(), &log, root];
    let checked =
        Launch::bare().flags(&["check", "-l", "127.0.0.1:0", "--proxy-protocol=on"]).flags(&files).run();
    assert_eq!(checked.code, Some(0), "{}", checked.stdout);
    for subject in ["users", "access log", "proxies"] {
        assert!(checked.stdout.contains(&format!("warn  {subject:<13}--")), "{subject}: {}", checked.stdout);
    }
    let server = Launch::bare().flags(&["-l", "127.0.0.1:0", "--proxy-protocol=on"]).flags(&files).start();
    let is_told = || server.stderr().matches("WARN").count() == 3;
    assert!(eventually(PATIENCE, is_told), "{}", server.stderr());
}

#[test]
fn a_proxy_that_is_refused_leaves_a_line() {
    let tree = site();
    let flags = ["-v", "-t", "1", "--proxy-protocol=on", "--trust"];
    let untrusting = Server::start(&[&flags[..], &["192.0.2.1"]].concat(), tree.root());
    let trusting = Server::start(&[&flags[..], &["127.0.0.1"]].concat(), tree.root());
    for (server, why) in [(&untrusting, "not one of --trust"), (&trusting, "no PROXY protocol header")] {
        let mut client: Client = server.connect();
        client.send(b"GET / HTTP/1.1\r\n\r\n");
        client.end();
        assert!(eventually(PATIENCE, || server.stderr().contains(why)), "{}", server.stderr());
        assert!(server.stderr().contains("1 worker,"), "{}", server.stderr());
    }
}

#[test]
fn a_manifest_is_never_served() {
    let tree =
        Tree::new(&[("a.txt", b"a"), (".oneloop-manifest", b"secret"), ("b/.oneloop-manifest", b"file")]);
    let flags = ["--hidden", "--listing=json", "--rewrite", "/m=/.oneloop-manifest"];
    let server = Server::start(&flags, tree.root());
    for (target, status) in [
        ("/.oneloop-manifest", 404),
        ("/%2eoneloop-manifest", 404),
        ("/m", 404),
        ("/b/.oneloop-manifest", 200),
    ] {
        assert_eq!(server.connect().get(target).status, status, "{target}");
    }
    let listed = String::from_utf8(server.connect().get("/").content).unwrap();
    assert!(listed.contains("a.txt") && !listed.contains("manifest"), "{listed}");
}

#[test]
fn a_pseudo_file_system_is_listed_at_once_or_refused_at_once() {
    let begun = Instant::now();
    let ended = Launch::bare().flags(&["manifest", "/proc/self"]).run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot list the files of '/proc/self'"), "{}", ended.stderr);
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_manifest_that_is_being_made_ends_at_once() {
    // Too fresh to be sure of, so there is a wait.
    let tree = Tree::new(&[("a.txt", b"a")]);
    let mut listing = Launch::bare().flags(&["manifest"]).flags(&[tree.root()]).spawn();
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    // Not INT, which a shell lets the programs ignore that it starts in the background.
    listing.signal(Signal::TERM);
    assert_eq!(listing.wait_exit(PATIENCE).code(), None);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(fs::read_dir(tree.root()).unwrap().count(), 1);
}

#[test]
fn the_manual_says_that_a_command_comes_first() {
    let page = Launch::bare().flags(&["man"]).run().stdout;
    assert!(page.contains("\n.br\n\\fBoneloop\\fR \\fICOMMAND\\fR ...\n"), "{page}");
}
