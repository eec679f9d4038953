//! A root on a slow file system is opened anew without anybody waiting for it.

use std::time::Duration;

use rustix::process::Signal;

use super::client::{Client, eventually};
use super::server::{PATIENCE, Server};
use super::slow_fs::{Asked, Delays, SlowFs, expect_loops_never_asked, mount};
use super::tree::Tree;

/// Waits until the thread that keeps the root has asked for it, as nobody else may. Helpers may still be closing files.
#[track_caller]
fn wait_for_keeper(fs: &SlowFs) {
    let mut asked = Asked::new();
    let is_asked = eventually(PATIENCE, || {
        asked.append(&mut fs.take_asked());
        asked.keys().any(|(_, thread)| thread == "root")
    });
    assert!(is_asked, "nobody asked for the root: {asked:?}");
    let is_alone = asked.keys().all(|(kind, thread)| thread == "root" || *kind == "flush");
    assert!(is_alone, "one thread is enough: {asked:?}");
}

/// What is remembered for an hour is forgotten with the root that it was below.
#[track_caller]
fn expect_changed_over(fs: &SlowFs, client: &mut Client) {
    let new = fs.content("small-1.bin");
    let is_seen = eventually(PATIENCE, || client.get("/small-1.bin").content == new);
    assert!(is_seen, "the root is not opened anew");
}

#[test]
fn a_reload_asks_a_slow_root_elsewhere() {
    let tree = Tree::new(&[]);
    let test = "slow_root::a_reload_asks_a_slow_root_elsewhere";
    let Some(fs) = mount(test, &tree, "root", Delays::everywhere(Duration::from_millis(10))) else { return };
    let server = Server::start(&["-t", "1", "--cache-check", "1h"], &tree.path("root"));
    let mut client = server.connect();
    client.download("/small-1.bin", &fs.content("small-1.bin"));
    fs.take_asked();
    fs.change("small-1.bin");
    server.signal(Signal::HUP);
    wait_for_keeper(&fs);
    expect_changed_over(&fs, &mut client);
    expect_loops_never_asked(&fs);
}

#[test]
fn a_root_that_cannot_be_opened_yet_stops_nobody() {
    let tree = Tree::new(&[]);
    let test = "slow_root::a_root_that_cannot_be_opened_yet_stops_nobody";
    let Some(fs) = mount(test, &tree, "root", Delays::default()) else { return };
    let server = Server::start(&["-t", "2", "--cache-check", "1h"], &tree.path("root"));
    let old = fs.content("small-1.bin");
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        client.download("/small-1.bin", &old);
    }
    fs.take_asked();
    fs.delay(Delays::everywhere(Duration::from_secs(600)));
    fs.change("small-1.bin");
    server.signal(Signal::HUP);
    wait_for_keeper(&fs);
    for client in &mut clients {
        client.download("/small-1.bin", &old);
        server.connect().download("/small-1.bin", &old);
    }
    fs.hurry();
    for client in &mut clients {
        expect_changed_over(&fs, client);
    }
}
