//! Flags and the environment: which one counts, and how a wrong one is refused.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::client::eventually;
use super::server::{Launch, PATIENCE, Server};
use super::startup::expect_failure;
use super::tree::Tree;

fn site() -> Tree {
    Tree::new(&[("a.txt", b"a"), ("index.html", b"index"), ("home.html", b"home")])
}

#[test]
fn a_flag_outranks_the_environment_which_outranks_the_default() {
    let tree = site();
    let from_environment = Launch::new(tree.root()).env("ONELOOP_INDEX", "home.html").start();
    assert_eq!(from_environment.connect().get("/").content, b"home");
    let from_flag =
        Launch::new(tree.root()).env("ONELOOP_INDEX", "home.html").flags(&["-i", "a.txt"]).start();
    assert_eq!(from_flag.connect().get("/").content, b"a");
}

#[test]
fn an_unknown_flag_is_answered_with_the_nearest() {
    let tree = site();
    let table =
        [("--idle-timeou", "--idle-timeout"), ("--worker", "--workers"), ("--max-headers", "--max-header")];
    for (flag, nearest) in table {
        expect_failure(&Launch::new(tree.root()).flags(&[flag, "1"]).run(), 2, &[flag, nearest]);
    }
}

#[test]
fn a_value_that_makes_no_sense_is_named() {
    let tree = site();
    let table = [
        ("--idle-timeout", "soon"),
        ("--idle-timeout", "-1s"),
        ("--header-timeout", "1y"),
        ("--max-body", "many"),
        ("--max-header", "1q"),
        ("--workers", "none"),
        ("--workers", "0"),
        ("--port", "65536"),
        ("--symlinks", "maybe"),
    ];
    for (flag, value) in table {
        let ended = Launch::bare().flags(&[&format!("{flag}={value}")]).flags(&[tree.root()]).run();
        expect_failure(&ended, 2, &[flag]);
    }
}

#[test]
fn an_address_that_is_none_is_a_wrong_value() {
    let tree = site();
    for address in
        ["nowhere:at:all", "127.0.0.1", "unix:", "1.2.3.4:65536", "8080x", ":99999", "fd:x", "fd:", ""]
    {
        let ended = Launch::bare().flags(&["--listen", address]).flags(&[tree.root()]).run();
        expect_failure(&ended, 2, &[&format!("'{address}'"), "--listen", "HOST:PORT"]);
        assert!(!ended.stderr.contains("invalid digit"), "{}", ended.stderr);
    }
    let ended = Launch::bare().flags(&["-a", "127.0.0.1:80"]).flags(&[tree.root()]).run();
    expect_failure(&ended, 2, &["--host", "--listen 127.0.0.1:80", "--port"]);
}

#[test]
fn a_wrong_value_from_the_environment_names_its_variable() {
    let tree = site();
    let table: [(&str, &[u8], &str); 7] = [
        ("ONELOOP_MAX_HEADER", b"x", "'x'"),
        ("ONELOOP_LISTEN", b"8080x", "'8080x'"),
        ("ONELOOP_HIDDEN", b"perhaps", "true or false"),
        ("ONELOOP_LOG_LEVEL", b"loud", "'loud'"),
        ("ONELOOP_INDEX", b"\xff", "not UTF-8"),
        ("PORT", b"http", "'http'"),
        ("PORT", b"\xff", "from 0 to 65535"),
    ];
    for (name, value, mention) in table {
        let value = OsStr::from_bytes(value);
        let ended = Launch::bare().env(name, value).flags(&[tree.root()]).run();
        expect_failure(&ended, 2, &[name, mention]);
    }
    let beaten = Launch::new(tree.root()).env("ONELOOP_MAX_HEADER", "x").flags(&["--max-header", "16k"]);
    assert_eq!(beaten.start().connect().get("/a.txt").content, b"a");
    let also_wrong =
        Launch::new(tree.root()).env("ONELOOP_MAX_HEADER", "x").flags(&["--max-body", "y"]).run();
    expect_failure(&also_wrong, 2, &["'y'", "--max-body"]);
}

#[test]
fn an_empty_variable_is_not_set() {
    let tree = site();
    let help = Launch::bare().flags(&["--help"]).run().stdout;
    let flags = help.split_whitespace().filter_map(|word| word.strip_prefix("--"));
    let name =
        |flag: &str| flag.split(|c: char| c != '-' && !c.is_ascii_alphanumeric()).next().map(str::to_owned);
    let names = flags.filter_map(name).map(|name| name.replace('-', "_"));
    let launch = names.fold(Launch::new(tree.root()), |launch, name| {
        launch.env(&format!("ONELOOP_{}", name.to_uppercase()), "")
    });
    let server = launch.env("PORT", "").env("ONELOOP_NOTHING", "").start();
    assert_eq!(server.connect().get("/").content, b"index");
    assert_eq!(server.stderr().lines().count(), 3, "{}", server.stderr());
}

#[test]
fn a_variable_that_means_nothing_is_told_once_with_the_nearest_that_does() {
    let tree = site();
    let server = Launch::new(tree.root()).env("ONELOOP_INDEXES", "home.html").start();
    assert_eq!(server.connect().get("/").content, b"index");
    let said = eventually(PATIENCE, || server.stderr().contains("ONELOOP_INDEXES"));
    let stderr = server.stderr();
    assert!(said && stderr.contains("did you mean ONELOOP_INDEX?"), "{stderr}");
    assert_eq!(stderr.matches("WARN").count(), 1, "{stderr}");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let tree = site();
    let table: [(&[&str], &str, &str); 3] = [
        (&["--max-uri", "64k"], "--max-uri", "--max-header"),
        (&["--max-uri", "2k", "--max-header", "1k"], "--max-uri", "--max-header"),
        (&["-q", "-v"], "--quiet", "--verbose"),
    ];
    for (flags, one, other) in table {
        expect_failure(&Launch::new(tree.root()).flags(flags).run(), 2, &[one, other]);
    }
    let environment = Launch::new(tree.root()).env("ONELOOP_QUIET", "1").flags(&["-v"]).start();
    assert!(environment.stderr().contains("listening on"), "a flag beats the environment");
}

#[test]
fn times_are_whole_numbers_and_no_grace_at_all_is_one() {
    let tree = site();
    for value in ["0.5", "1.5s"] {
        let ended = Launch::new(tree.root()).flags(&["--grace", value]).run();
        expect_failure(&ended, 2, &[value, "--grace", "whole number"]);
    }
    assert_eq!(Server::start(&["--grace", "0"], tree.root()).connect().get("/a.txt").content, b"a");
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (flag, mentions) in [("--help", "--idle-timeout"), ("-h", "--root"), ("--version", "oneloop ")] {
        let ended = Launch::bare().flags(&[flag]).run();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{flag}");
        assert!(ended.stdout.contains(mentions), "{flag}: {}", ended.stdout);
    }
}
