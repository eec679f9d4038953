//! Who the server becomes with `--user`: what that user may open, and what is said of it.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use super::access::{ALICE, AS_ALICE};
use super::client::eventually;
use super::sandbox::{NOBODY, site};
use super::schedule::skip;
use super::server::{Launch, PATIENCE, Server};
use super::startup::expect_failure;
use super::tree::Tree;

/// What the superuser may open and the user may not open again is said at the start, and what would be a trick of the
/// user's is not done.
#[test]
fn what_cannot_be_opened_anew_by_the_user_is_said_at_the_start() {
    let test = "identity::what_cannot_be_opened_anew_by_the_user_is_said_at_the_start";
    if !rustix::process::geteuid().is_root() {
        return skip(test, "only root becomes somebody else");
    }
    let (tree, other) = (site(), Tree::new(&[("users", ALICE.as_bytes()), ("root's", b"precious\n")]));
    tree.publish();
    other.mode(".", 0o755);
    other.mode("users", 0o600);
    other.mode("root's", 0o600);
    let (users, log) = (other.path("users"), other.path("log"));
    let flags = ["--user", "65534:65534", "--auth-file", users.to_str().unwrap(), "--access-log"];
    let server = Server::start(&[&flags[..], &[log.to_str().unwrap()]].concat(), tree.root());
    server.connect().get_with("/a.txt", &[AS_ALICE]);
    assert!(eventually(PATIENCE, || fs::read_to_string(&log).is_ok_and(|text| text.contains("alice"))));
    let warnings = server.stderr().matches("cannot be opened anew by the user '65534'").count();
    assert_eq!(warnings, 2, "{}", server.stderr());
    other.directory("nobody's");
    chown(other.path("nobody's"), Some(NOBODY), Some(NOBODY)).unwrap();
    symlink(other.path("root's"), other.path("nobody's/log")).unwrap();
    let log = other.path("nobody's/log");
    // Nor may it write there now, having said so itself.
    for mode in [0o755, 0o555] {
        other.mode("nobody's", mode);
        let flags = ["--user", "nobody", "--access-log", log.to_str().unwrap()];
        let ended = Launch::new(tree.root()).flags(&flags).run();
        expect_failure(&ended, 1, &["cannot write the access log", "Permission denied"]);
    }
    assert_eq!(fs::read_to_string(other.path("root's")).unwrap(), "precious\n");
    // Nor in a folder of root's to which a link leads that the user may have put there.
    other.directory("closed");
    symlink(other.path("closed"), other.path("nobody's/elsewhere")).unwrap();
    let log = other.path("nobody's/elsewhere/log");
    let flags = ["--user", "nobody", "--access-log", log.to_str().unwrap()];
    let ended = Launch::new(tree.root()).flags(&flags).run();
    expect_failure(&ended, 1, &["cannot write the access log", "Permission denied"]);
    assert!(!other.path("closed/log").exists());
    // A root that the user may not enter is none.
    let closed = Tree::new(&[("site/a.txt", b"a")]);
    closed.mode(".", 0o700);
    let ended = Launch::new(&closed.path("site")).flags(&["--user", "nobody"]).run();
    expect_failure(&ended, 1, &["cannot open", "Permission denied"]);
}

#[test]
fn a_check_looks_with_the_rights_of_the_user() {
    let test = "identity::a_check_looks_with_the_rights_of_the_user";
    if !rustix::process::geteuid().is_root() {
        return skip(test, "only root becomes somebody else");
    }
    let files: [(&str, &[u8]); 3] = [("site/a.txt", b"a"), ("users", ALICE.as_bytes()), ("root's", b"x")];
    let tree = Tree::new(&files);
    for (path, mode) in [(".", 0o755), ("site", 0o755), ("users", 0o600), ("root's", 0o600)] {
        tree.mode(path, mode);
    }
    tree.directory("nobody's");
    chown(tree.path("nobody's"), Some(NOBODY), Some(NOBODY)).unwrap();
    symlink(tree.path("root's"), tree.path("nobody's/link")).unwrap();
    let check = |flags: &[&str]| {
        let listen = ["check", "-l", "127.0.0.1:0"];
        Launch::bare().flags(&listen).flags(flags).flags(&[&tree.path("site")]).run()
    };
    let path = |path: &str| tree.path(path).to_str().unwrap().to_owned();
    // What root opens in place of the user is not opened again.
    for (log, users, subjects) in
        [("nobody's/log", "site/a.txt", &[][..]), ("log", "users", &["access log", "users"])]
    {
        let (log, users) = (path(log), path(users));
        let flags = ["--user", "nobody", "--access-log", &log, "--auth-file", &users];
        let ended = check(&flags[..if subjects.is_empty() { 4 } else { 6 }]);
        assert_eq!(ended.code, Some(0), "{}", ended.stdout);
        let told = |line: &&str| line.contains("cannot be opened anew by the user 'nobody'");
        let told: Vec<_> = ended.stdout.lines().filter(told).map(|line| line[6..19].trim_end()).collect();
        assert_eq!(told, subjects, "{}", ended.stdout);
    }
    assert!(!tree.path("log").exists() && !tree.path("nobody's/log").exists(), "a check leaves nothing");
    let ended = check(&["--user", "nobody", "--access-log", &path("nobody's/link")]);
    assert!(ended.stdout.contains("fail  access log"), "{}", ended.stdout);
    assert_eq!(check(&["--access-log", &path("nobody's/link")]).code, Some(0));
    tree.mode("site", 0o700);
    let ended = check(&["--user", "nobody"]);
    assert!(ended.stdout.contains("fail  root"), "{}", ended.stdout);
    assert_eq!((ended.code, check(&[]).code), (Some(1), Some(0)));
}
