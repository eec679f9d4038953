//! What the banner promises with few descriptors is kept, and what could not be kept is not promised.

use std::time::Duration;

use rustix::process::Signal;

use super::client::{Client, eventually};
use super::server::{Launch, PATIENCE, Server};
use super::startup::expect_failure;
use super::tree::{Tree, pattern};

/// What the banner allows.
fn promised_connections(banner: &str) -> usize {
    let number = banner.split_once("at most ").and_then(|(_, rest)| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no limit in {banner}"))
}

/// As many clients as the banner allows are served at once, each another file.
#[track_caller]
fn expect_as_promised(server: &Server) -> Vec<Client> {
    let mut clients: Vec<Client> =
        (0..promised_connections(&server.stderr())).map(|_| server.connect()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.get(&format!("/{}.txt", index % 40)).status, 200, "client {index}");
    }
    let stderr = server.stderr();
    assert!(!stderr.contains("ERROR") && !stderr.contains("cannot"), "{stderr}");
    clients
}

fn many_files() -> Tree {
    let tree = Tree::new(&[]);
    for index in 0..40 {
        tree.write(&format!("{index}.txt"), &pattern(200_000));
    }
    tree
}

#[test]
fn few_descriptors_serve_what_the_banner_says_or_say_how_many_it_takes() {
    let tree = many_files();
    let log = tree.path("log");
    let launch = |count| {
        let launch = Launch::new(tree.root()).flags(&["-t", "2", "--access-log"]).flags(&[&log]);
        launch.descriptors_max(count)
    };
    let advice = "raise `ulimit -n` to at least ";
    let refused = launch(8).run();
    expect_failure(&refused, 1, &[advice, "--workers"]);
    let (_, rest) = refused.stderr.split_once(advice).expect("advice");
    let least: u32 = rest.split(',').next().and_then(|number| number.parse().ok()).expect("a number");
    for count in 13..least {
        expect_failure(&launch(count).run(), 1, &[&format!("{advice}{least}, or use fewer --workers")]);
    }
    for count in least..least + 8 {
        let server = launch(count).start();
        expect_as_promised(&server);
        // Whatever is opened anew for a moment fits too.
        server.signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(50));
        expect_as_promised(&server);
        assert_eq!(server.counters(2).iter().map(|counters| counters.get("panics")).sum::<u64>(), 0);
    }
}

#[test]
fn the_banner_shows_the_connections_that_the_descriptors_allow() {
    let tree = many_files();
    let launch = |flags: &[&str]| Launch::new(tree.root()).descriptors_max(100).flags(flags).start();
    let allowed = promised_connections(&launch(&[]).stderr());
    assert!((20..100).contains(&allowed), "{allowed}");
    let server = launch(&["--max-conns", "1000"]);
    assert_eq!(promised_connections(&server.stderr()), allowed);
    let warned = eventually(PATIENCE, || server.stderr().contains("WARN"));
    let stderr = server.stderr();
    assert!(warned && stderr.contains(&format!("--max-conns lowered to {allowed}")), "{stderr}");
    let _all = expect_as_promised(&server);
    assert_eq!(promised_connections(&launch(&["--max-conns", "7"]).stderr()), 7);
}
