//! Ways out of the root, in every spelling: none leads anywhere, and each gets the status that it deserves.

use super::client::Client;
use super::mutation::{FLAGS, TARGETS, site};
use super::oracle::{Place, resolve};
use super::pace::Calm;
use super::scale::report;
use super::schedule::timed;
use super::server::Server;
use super::tree::Tree;

/// Spellings of two dots, some of them wrong.
const DOTS: [&str; 20] = [
    "..",
    ".%2e",
    "%2e.",
    "%2e%2e",
    "%2E%2E",
    "%252e%252e",
    "%25%32%65%25%32%65",
    "%c0%ae%c0%ae",
    "%e0%80%ae%e0%80%ae",
    "%f0%80%80%ae%f0%80%80%ae",
    "%c0%2e%c0%2e",
    "%uff0e%uff0e",
    "%u002e%u002e",
    "..%00",
    "..;",
    "..%20",
    ". .",
    "...",
    "..%01",
    "%2e%2e%2e",
];

/// Spellings of a slash, some of them wrong.
const SLASHES: [&str; 16] = [
    "/",
    "//",
    "/./",
    "%2f",
    "%2F",
    "%252f",
    "%5c",
    "\\",
    "%255c",
    "%c0%af",
    "%e0%80%af",
    "%c1%9c",
    "%u2215",
    "/%2f",
    "\\/",
    "%2f%5c",
];

/// What stands before and behind.
const PREFIXES: [&str; 8] =
    ["/", "//", "/sub/", "/sub/./", "/a.txt/", "/.well-known/", "http://a/", "http://a/sub/"];

const SECRET: &[u8] = b"what nobody may see";

#[test]
fn no_spelling_leads_out_of_the_root() {
    let _timed = timed();
    let (tree, files) = site();
    let outside = Tree::new(&[("secret.txt", SECRET), ("root/a.txt", b"inside")]);
    let name =
        |path: &std::path::Path| path.strip_prefix("/").expect("an absolute path").display().to_string();
    let root = tree.root().canonicalize().expect("the root");
    let sibling = root.file_name().expect("a name").to_string_lossy().into_owned();
    let secret = name(&outside.path("secret.txt").canonicalize().expect("the secret"));
    let server = Server::start(&FLAGS, tree.root());
    let calm = Calm::of(&server, &TARGETS);
    let mut client = server.connect();
    let (mut tried, mut by_status) = (0, std::collections::BTreeMap::<u16, usize>::new());
    let tails = ["etc/passwd", &secret, &format!("{sibling}/a.txt"), "a.txt", ""];
    for prefix in PREFIXES {
        for dots in DOTS {
            for slash in SLASHES {
                for depth in [1, 2, 3, 8] {
                    for tail in tails {
                        let target = format!("{prefix}{}{tail}", format!("{dots}{slash}").repeat(depth));
                        tried += 1;
                        let status = attempt(&server, &mut client, &target, &files);
                        *by_status.entry(status).or_default() += 1;
                    }
                }
            }
        }
    }
    drop(client);
    calm.expect_back(&server, std::time::Duration::from_secs(5));
    assert!(by_status[&200] > 100 && by_status[&400] > 1_000 && by_status[&404] > 1_000, "{by_status:?}");
    report(
        "dot-dot corpus",
        &format!("{tried} targets: by status {by_status:?}; nothing from outside the root"),
    );
}

/// Asks for a target, and compares with what it names: nothing, something inside, or that it is malformed.
#[track_caller]
fn attempt(server: &Server, client: &mut Client, target: &str, files: &super::oracle::Files) -> u16 {
    let path = target.strip_prefix("http://a").unwrap_or(target);
    let expected = resolve(path.as_bytes(), files);
    let response = client.exchange(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    let shown = format!("{} to {target}", response.status);
    assert!(!response.content.windows(SECRET.len()).any(|window| window == SECRET), "a leak: {shown}");
    assert!(!response.content.windows(5).any(|window| window == b"root:"), "a leak: {shown}");
    match (response.status, expected) {
        (200, Ok(Some(Place::File(content)))) => assert!(response.content == content, "{shown}"),
        (301, Ok(Some(Place::Directory))) | (404, Ok(None)) | (400, Err(())) => {}
        // White space and controls are for the parser to refuse.
        (400, _) if target.contains(' ') => {}
        (_, expected) => panic!("{shown}, which is {expected:?}"),
    }
    if response.closes() {
        client.expect_closed();
        *client = server.connect();
    }
    response.status
}
