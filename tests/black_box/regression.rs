//! Bugs: one test each, named after what went wrong. A bug is fixed once its test was seen to fail here.

use std::fs;
use std::time::Duration;

use super::client::eventually;
use super::server::{PATIENCE, Server};
use super::tree::Tree;

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
