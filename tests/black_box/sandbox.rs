//! The sandbox: what an intruder gets, what a server in it still does, and who the process is.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::thread;

use rustix::process::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use super::access::{ALICE, AS_ALICE, AS_BOB, BOB};
use super::client::eventually;
use super::schedule::skip;
use super::server::{Ended, Launch, PATIENCE, Server};
use super::startup::expect_failure;
use super::tree::Tree;

pub(super) const NOBODY: u32 = 65_534;
/// As the machine that lacks something answers.
const NOSYS: u32 = 38;

pub(super) fn site() -> Tree {
    Tree::new(&[("a.txt", b"a"), ("index.html", b"index")])
}

/// What is found in every thread of a server when it tries what none needs: by the name of the thread, what came of it.
#[track_caller]
fn intrude(flags: &[&str], lacking: &[i64]) -> Option<BTreeMap<String, BTreeMap<String, String>>> {
    if !cfg!(debug_assertions) {
        skip("sandbox", "the release build has no probe");
        return None;
    }
    let (tree, other) = (site(), Tree::new(&[]));
    let users = other.path("users");
    fs::write(&users, ALICE).unwrap();
    other.directory("scratch");
    other.directory("logs");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (users, log) = (users.display().to_string(), other.path("logs/log").display().to_string());
    let launch = Launch::new(tree.root())
        .flags(&["-t", "2", "--auth-file", &users, "--access-log", &log])
        .flags(flags)
        .env("TMPDIR", other.path("scratch"))
        .env("ONELOOP_FAULT_SANDBOX", listener.local_addr().unwrap().to_string());
    let server = lacking_calls(lacking, || launch.start());
    let found = || -> BTreeMap<_, BTreeMap<_, _>> {
        let stderr = server.stderr();
        let told = stderr.lines().filter_map(|line| line.split_once("probe thread="));
        let pairs = told.map(|(_, told)| {
            let (thread, outcomes) = told.split_once(' ').unwrap_or((told, ""));
            let outcomes = outcomes.split(' ').filter_map(|pair| pair.split_once('='));
            (thread.to_owned(), outcomes.map(|(what, came)| (what.to_owned(), came.to_owned())).collect())
        });
        pairs.collect()
    };
    // The acceptor, two workers, four helpers, and one each for root, log, users and diagnostics.
    assert!(eventually(PATIENCE, || found().len() == 11), "{}", server.stderr());
    let status = server.connect().get_with("/a.txt", &[AS_ALICE]).status;
    assert_eq!(status, 200, "it serves all the same");
    Some(found())
}

/// Does something where the kernel has none of these calls, as for a thread of its own and what it starts.
fn lacking_calls<T: Send>(calls: &[i64], deed: impl FnOnce() -> T + Send) -> T {
    let rules = calls.iter().map(|&call| (call, Vec::new())).collect();
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let confine = || {
        let filter =
            SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(NOSYS), arch).unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        seccompiler::apply_filter(&program).unwrap();
    };
    thread::scope(|scope| {
        let deed = move || {
            if !calls.is_empty() {
                confine();
            }
            deed()
        };
        scope.spawn(deed).join().unwrap()
    })
}

const LANDLOCK: &[i64] = &[libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self];
const SECCOMP: &[i64] = &[libc::SYS_seccomp];

#[test]
fn an_intruder_in_any_thread_reads_writes_reaches_and_runs_nothing() {
    let Some(found) = intrude(&["--sandbox", "require"], &[]) else { return };
    for (thread, outcomes) in &found {
        let came: Vec<&str> = outcomes.values().map(String::as_str).collect();
        // EPERM or EACCES.
        assert!(
            came.len() == 5 && came.iter().all(|came| ["1", "13"].contains(came)),
            "{thread}: {outcomes:?}"
        );
    }
    let names = ["access-log", "diagnostics", "helper-0", "main", "root", "users", "worker-0", "worker-1"];
    assert!(names.iter().all(|&name| found.contains_key(name)), "{:?}", found.keys());
    // Without a sandbox the superuser can do all that.
    let Some(found) = intrude(&["--sandbox", "off"], &[]) else { return };
    let done = found.values().flat_map(BTreeMap::iter).filter(|(_, came)| *came == "done").count();
    let signals = if rustix::process::geteuid().is_root() { 11 } else { 0 };
    assert_eq!(done, 4 * 11 + signals, "{found:?}");
}

#[test]
fn landlock_alone_keeps_from_files_programs_and_the_network() {
    let Some(found) = intrude(&[], SECCOMP) else { return };
    for (thread, outcomes) in found {
        for (what, errno) in
            [("read", "13"), ("write", "13"), ("connect", "13"), ("execute", "13"), ("signal", "1")]
        {
            assert_eq!(outcomes[what], errno, "{thread}: {outcomes:?}");
        }
    }
}

#[test]
fn seccomp_alone_keeps_from_programs_and_the_network() {
    let Some(found) = intrude(&[], LANDLOCK) else { return };
    for (thread, outcomes) in found {
        for what in ["connect", "execute", "signal"] {
            assert_eq!(outcomes[what], "1", "{thread}: {outcomes:?}");
        }
        let opens_paths = ["root", "users", "access-log"].contains(&thread.as_str());
        assert_eq!(outcomes["read"] == "1", !opens_paths, "{thread}: {outcomes:?}");
    }
}

#[test]
fn what_the_machine_lacks_is_said_once_and_refused_where_all_is_required() {
    let tree = site();
    let run = |flags: &[&str], lacking| -> Ended {
        let launch = Launch::new(tree.root()).flags(flags);
        lacking_calls(lacking, || launch.run())
    };
    for (lacking, what) in [(LANDLOCK, "this kernel has no Landlock"), (SECCOMP, "seccomp cannot be had")] {
        expect_failure(&run(&["--sandbox", "require"], lacking), 1, &[what, "--sandbox auto"]);
        let launch = Launch::new(tree.root()).flags(&["--cache-check", "0"]);
        let server = lacking_calls(lacking, || launch.start());
        assert!(eventually(PATIENCE, || server.stderr().contains("WARN")), "{}", server.stderr());
        let stderr = server.stderr();
        let warnings: Vec<&str> = stderr.lines().filter(|line| line.contains("WARN")).collect();
        assert_eq!(warnings.len(), 1, "{stderr}");
        assert!(warnings[0].contains(what) && warnings[0].contains("incomplete"), "{stderr}");
        assert!(stderr.contains("alone"), "the banner says what is left: {stderr}");
        assert_eq!(server.connect().get("/a.txt").content, b"a");
    }
    let both = [LANDLOCK, SECCOMP].concat();
    let launch = Launch::new(tree.root()).flags(&["--sandbox", "off"]);
    let server = lacking_calls(&both, || launch.start());
    assert_eq!(server.connect().get("/a.txt").content, b"a");
    assert!(
        !server.stderr().contains("WARN") && server.stderr().contains("no sandbox"),
        "{}",
        server.stderr()
    );
}

/// A link is switched to a release that was not there at the start, the log is rotated, the users are replaced: by
/// renaming, as tools do.
#[test]
fn a_server_in_a_sandbox_is_reloaded_as_ever() {
    let tree = Tree::new(&[("app/releases/1/a.txt", b"first"), ("logs/x", b""), ("etc/x", b"")]);
    tree.link("app/current", "releases/1");
    let (users, log) = (tree.path("etc/users"), tree.path("logs/access.log"));
    fs::write(&users, ALICE).unwrap();
    let flags = ["--sandbox", "require", "--auth-file", users.to_str().unwrap(), "--access-log"];
    let flags = [&flags[..], &[log.to_str().unwrap(), "-t", "2"]].concat();
    let server = Server::start(&flags, &tree.path("app/current"));
    let get = |field: &str| server.connect().get_with("/a.txt", &[field]);
    assert_eq!(get(AS_ALICE).content, b"first");
    tree.write("app/releases/2/a.txt", b"second");
    symlink("releases/2", tree.path("app/next")).unwrap();
    fs::rename(tree.path("app/next"), tree.path("app/current")).unwrap();
    assert!(eventually(PATIENCE, || get(AS_ALICE).content == b"second"), "{}", server.stderr());
    fs::write(tree.path("etc/new"), BOB).unwrap();
    fs::rename(tree.path("etc/new"), &users).unwrap();
    fs::rename(&log, tree.path("logs/access.log.1")).unwrap();
    server.signal(Signal::HUP);
    assert!(eventually(PATIENCE, || get(AS_BOB).content == b"second"), "{}", server.stderr());
    let is_logged = || fs::read_to_string(&log).is_ok_and(|text| text.contains("bob"));
    assert!(eventually(PATIENCE, is_logged), "{}", server.stderr());
    assert!(!server.stderr().contains("ERROR") && !server.stderr().contains("WARN"), "{}", server.stderr());
}

/// Where the sandbox lets nothing be read, a release is refused, and it is said what to do.
#[test]
fn a_release_out_of_reach_is_refused_with_what_to_do() {
    let (tree, far) = (Tree::new(&[("app/1/a.txt", b"near")]), Tree::new(&[("2/a.txt", b"far")]));
    let switch = || {
        symlink(far.path("2"), tree.path("app/next")).unwrap();
        fs::rename(tree.path("app/next"), tree.path("app/current")).unwrap();
    };
    for is_allowed in [false, true] {
        let _ = fs::remove_file(tree.path("app/current"));
        tree.link("app/current", "1");
        let far = far.root().to_str().unwrap();
        let flags = ["--cache-check", "0", "-t", "1", "--sandbox-allow", far];
        let server = Server::start(&flags[..if is_allowed { 6 } else { 4 }], &tree.path("app/current"));
        assert_eq!(server.connect().get("/a.txt").content, b"near");
        switch();
        if is_allowed {
            assert!(eventually(PATIENCE, || server.connect().get("/a.txt").content == b"far"));
        } else {
            let is_said = || server.stderr().contains("--sandbox-allow DIR");
            assert!(eventually(PATIENCE, is_said), "{}", server.stderr());
            assert_eq!(server.connect().get("/a.txt").content, b"near", "the old one is served on");
        }
    }
    // With links that may lead anywhere, anything may be read, and the banner says so.
    tree.link("app/1/passwd", "/etc/passwd");
    let server = Server::start(&["--symlinks", "any"], &tree.path("app/1"));
    assert_eq!(server.connect().get("/passwd").status, 200);
    assert!(server.stderr().contains("reads all files for --symlinks any"), "{}", server.stderr());
}

#[test]
fn as_nobody_no_thread_has_any_right_left() {
    let test = "sandbox::as_nobody_no_thread_has_any_right_left";
    if !rustix::process::geteuid().is_root() {
        return skip(test, "only root becomes somebody else");
    }
    let (tree, other) = (site(), Tree::new(&[("users", ALICE.as_bytes())]));
    tree.publish();
    // Nobody's own folder for the log.
    other.mode(".", 0o755);
    other.directory("logs");
    chown(other.path("logs"), Some(NOBODY), Some(NOBODY)).unwrap();
    let (users, log) = (other.path("users"), other.path("logs/log"));
    let flags = ["--user", "nobody", "--auth-file", users.to_str().unwrap(), "--access-log"];
    let server = Server::start(&[&flags[..], &[log.to_str().unwrap()]].concat(), tree.root());
    assert_eq!(server.connect().get_with("/a.txt", &[AS_ALICE]).content, b"a");
    let threads = server.process().thread_statuses();
    assert!(threads.len() >= 9, "{threads:?}");
    let ids = [NOBODY; 4].map(|id| id.to_string()).join("\t");
    let group = fs::metadata(&log).unwrap().gid();
    let group_ids = [group; 4].map(|id| id.to_string()).join("\t");
    let none = "0000000000000000";
    for status in threads {
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            line.trim().to_owned()
        };
        assert_eq!(
            (value("Uid:"), value("Gid:"), value("Groups:")),
            (ids.clone(), group_ids.clone(), "".into()),
            "{status}"
        );
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(value(set), none, "{set} {status}");
        }
        assert_eq!((value("NoNewPrivs:"), value("Seccomp:")), ("1".into(), "2".into()), "{status}");
    }
    assert_eq!(fs::metadata(&log).unwrap().uid(), NOBODY, "the log is nobody's own from the start");
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.process().id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    fs::rename(&log, other.path("logs/log.1")).unwrap();
    server.signal(Signal::HUP);
    let is_logged = || {
        server.connect().get_with("/a.txt", &[AS_ALICE]);
        fs::read_to_string(&log).is_ok_and(|text| text.contains("alice"))
    };
    assert!(eventually(PATIENCE, is_logged), "{}", server.stderr());
    assert!(!server.stderr().contains("WARN"), "{}", server.stderr());
}

#[test]
fn in_a_new_root_all_paths_are_inside() {
    let test = "sandbox::in_a_new_root_all_paths_are_inside";
    if !rustix::process::geteuid().is_root() {
        return skip(test, "only root changes the root");
    }
    let jail = Tree::new(&[("srv/site/1/a.txt", b"inside"), ("etc/users", ALICE.as_bytes()), ("log/x", b"")]);
    jail.link("srv/site/current", "1");
    jail.mode(".", 0o755);
    chown(jail.path("log"), Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(jail.path("etc/users"), fs::Permissions::from_mode(0o644)).unwrap();
    let flags = ["--chroot", jail.root().to_str().unwrap(), "--user", "nobody", "--auth-file", "/etc/users"];
    let flags = [&flags[..], &["--access-log", "log/access.log", "--sandbox", "require"]].concat();
    let server = Server::start(&flags, Path::new("/srv/site/current"));
    let get = || server.connect().get_with("/a.txt", &[AS_ALICE]).content;
    assert_eq!(get(), b"inside");
    let root = fs::read_link(format!("/proc/{}/root", server.process().id())).unwrap();
    assert_eq!(root, jail.root().canonicalize().unwrap());
    jail.write("srv/site/2/a.txt", b"other");
    symlink("2", jail.path("srv/site/next")).unwrap();
    fs::rename(jail.path("srv/site/next"), jail.path("srv/site/current")).unwrap();
    fs::rename(jail.path("log/access.log"), jail.path("log/access.log.1")).unwrap();
    server.signal(Signal::HUP);
    assert!(eventually(PATIENCE, || get() == b"other"), "{}", server.stderr());
    assert!(eventually(PATIENCE, || fs::read_to_string(jail.path("log/access.log"))
        .is_ok_and(|log| !log.is_empty())));
    assert!(server.stderr().contains("serves /srv/site/1\n"), "{}", server.stderr());
    // Which leads out of it.
    let ended = Launch::new(Path::new("/no/such/place")).flags(&flags[..2]).run();
    expect_failure(&ended, 1, &["cannot serve '/no/such/place'", "--root"]);
}

#[test]
fn wrong_values_are_refused_with_what_to_do() {
    let tree = site();
    let refused = |flags: &[&str], code, mentions: &[&str]| {
        expect_failure(&Launch::new(tree.root()).flags(flags).run(), code, mentions);
    };
    refused(&["--sandbox", "maybe"], 2, &["--sandbox", "auto"]);
    refused(&["--user", ""], 2, &["--user", "USER:GROUP"]);
    refused(&["--user", "a:b:c"], 2, &["--user", "USER:GROUP"]);
    refused(&["--group", "nogroup"], 2, &["--group", "--user"]);
    refused(&["--user", "nobody:nogroup", "--group", "nogroup"], 2, &["twice"]);
    refused(&["--user", "nobody at all"], 1, &["no such user", "'nobody at all'"]);
    refused(&["--user", "nobody", "--group", "no group"], 1, &["no such group"]);
    refused(&["--user", "4000000000"], 1, &["group is not known", "UID:GROUP"]);
    refused(&["--user", "root"], 1, &["superuser", "--user"]);
    refused(&["--chroot", "/no/such/place"], 1, &["'/no/such/place'", "--chroot"]);
    let unprivileged = |flags: &[&str]| Launch::new(tree.root()).flags(flags).unprivileged().run();
    expect_failure(&unprivileged(&["--user", "1"]), 1, &["only root can", "--user"]);
    expect_failure(&unprivileged(&["--chroot", "/"]), 1, &["start as root", "--chroot"]);
}
