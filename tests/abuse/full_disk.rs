//! The disk of the access log is full, for a while: requests are answered, and the log goes on without a torn line.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::client::{eventually, request};
use super::pace::Calm;
use super::scale::{report, scaled};
use super::schedule::{skip, timed};
use super::server::{Launch, PATIENCE};
use super::tree::Tree;

/// Mounts a small file system on its first argument, in a namespace of its own, and becomes the rest.
const MOUNT: &str = "mount -t tmpfs -o size=256k none \"$0\" && exec \"$@\"";

/// Whether a program can be started in that way here.
fn works(wrapper: &[&str]) -> bool {
    let mut probe = Command::new(wrapper[0]);
    let probe = probe.args(&wrapper[1..]).arg("true").stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_under_the_log_is_survived() {
    let test = "full_disk::a_full_disk_under_the_log_is_survived";
    let requests = scaled(2_000, 100_000);
    let _timed = timed();
    let tree = Tree::new(&[("a.txt", b"a")]);
    let logs = tempfile::tempdir().expect("a temporary directory");
    let at = logs.path().to_str().expect("a path in UTF-8");
    let wrapper = ["unshare", "--mount", "sh", "-c", MOUNT, at];
    if !works(&wrapper) {
        return skip(test, "no mount namespace");
    }
    let log = logs.path().join("access.log");
    let flags = ["-t", "2", "--access-log", log.to_str().expect("a path in UTF-8")];
    let server = Launch::new(tree.root()).flags(&flags).through(&wrapper).start();
    // What the server sees there.
    let inside = PathBuf::from(format!("/proc/{}/root{at}", server.process().id()));
    let calm = Calm::of(&server, &["/a.txt"]);

    let mut filler = fs::File::create(inside.join("filler")).expect("a file in the namespace");
    while filler.write(&[0; 4_096]).is_ok_and(|count| count > 0) {}
    let agent = format!("User-Agent: {}", "x".repeat(1_500));
    let mut client = server.connect();
    let start = Instant::now();
    for _ in 0..requests {
        assert_eq!(client.get_with("/a.txt", &[&agent]).content, b"a");
    }
    let took = start.elapsed();
    let is_told = eventually(PATIENCE, || server.stderr().contains("No space left on device"));
    assert!(is_told, "{}", server.stderr());
    let told = server.stderr().matches("No space left on device").count();
    assert!(told <= 2, "{told} lines about a full disk");

    fs::remove_file(inside.join("filler")).expect("remove");
    drop(filler);
    let read = || fs::read(inside.join("access.log")).expect("the log");
    // A ring of lines does not fit into so small a file system: it is emptied as a rotation would.
    let recovered = eventually(PATIENCE, || {
        let is_there = read().windows(10).any(|window| window == b"/recovered");
        fs::File::options()
            .write(true)
            .open(inside.join("access.log"))
            .expect("the log")
            .set_len(0)
            .expect("truncate");
        if !is_there {
            client.send(&request("GET", "/recovered", &[]));
            assert_eq!(client.response().status, 404);
            std::thread::sleep(Duration::from_millis(300));
        }
        is_there
    });
    assert!(recovered, "the log did not go on");
    for _ in 0..20 {
        client.get("/last");
    }
    let whole = eventually(PATIENCE, || read().windows(5).filter(|window| window == b"/last").count() == 20);
    let text = String::from_utf8(read()).expect("text");
    let torn: Vec<&str> = text.lines().filter(|line| !is_whole(line)).collect();
    assert!(whole && torn.is_empty(), "torn lines: {torn:?} in {text:?}");
    drop(client);
    calm.expect_back(&server, Duration::from_secs(5));
    report(
        "full disk",
        &format!(
            "{requests} requests in {took:.1?} without room for the log, none unanswered; {told} line about it; the log went \
             on with whole lines"
        ),
    );
}

/// Begins with the address of the client and ends with its quoted name.
fn is_whole(line: &str) -> bool {
    line.trim_start_matches('\0').starts_with("127.0.0.1 - ") && line.ends_with('"')
}
