//! Who may ask: addresses, and passwords that no loop verifies.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::client::{Client, eventually, request};
use super::response::Response;
use super::server::{Launch, PATIENCE, Server};
use super::startup::expect_failure;
use super::tree::Tree;

/// The password is `open sesame`, at the lowest cost of each kind.
pub(super) const ALICE: &str = "alice:$2y$04$ttb.i4A/0YBUKjHuGzwQ7.U.Tsc5hIlUDtGvgPD/zpWmFw.YleadS";
pub(super) const BOB: &str =
    "bob:$argon2id$v=19$m=64,t=1,p=1$c1uGoLJEy/NNlgW0EdKZTw$xQ6Bx3ymrPSPiDfbR3b9XhaE2aN/cNm6/fgi/Lc6WPE";
pub(super) const AS_ALICE: &str = "Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWU=";
pub(super) const AS_BOB: &str = "Authorization: Basic Ym9iOm9wZW4gc2VzYW1l";
/// `alice:open sesamf`, `carol:open sesame`.
const WRONG: [&str; 2] =
    ["Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWY=", "Authorization: Basic Y2Fyb2w6b3BlbiBzZXNhbWU="];

fn site() -> Tree {
    Tree::new(&[
        ("a.txt", b"a"),
        ("index.html", b"index"),
        ("app.3f2a9c1b.js", b"js"),
        ("403.html", b"not you"),
    ])
}

fn status(server: &Server, target: &str, fields: &[&str]) -> u16 {
    server.connect().get_with(target, fields).status
}

#[test]
fn only_those_who_are_allowed_and_not_denied_are_served() {
    let tree = site();
    let table: [(&[&str], u16); 7] = [
        (&["--allow", "127.0.0.0/8"], 200),
        (&["--allow", "10.0.0.0/8,127.0.0.1"], 200),
        (&["--allow", "10.0.0.0/8"], 403),
        (&["--deny", "127.0.0.1"], 403),
        (&["--deny", "10.0.0.0/8"], 200),
        (&["--deny", "127.0.0.0/8", "--allow", "127.0.0.1"], 403),
        (&["--allow", "127.0.0.1", "--deny", "127.0.0.2"], 200),
    ];
    for (flags, expected) in table {
        let server = Server::start(flags, tree.root());
        assert_eq!(status(&server, "/a.txt", &[]), expected, "{flags:?}");
    }
}

#[test]
fn who_is_denied_learns_nothing_of_what_is_served() {
    let tree = site();
    let server = Server::start(&["--deny", "127.0.0.1"], tree.root());
    let mut client = server.connect();
    let there = client.get("/a.txt");
    assert_eq!((there.status, there.field("Content-Type")), (403, Some("text/html; charset=utf-8")));
    for target in ["/missing", "/", "/a.txt/x", "/%2e%2e/%2e%2e/etc", "/.hidden"] {
        let response = client.get(target);
        assert_eq!((response.status, &response.content), (403, &there.content), "{target}");
    }
    assert_eq!(client.exchange(&request("HEAD", "/a.txt", &[])).status, 403);
    assert_eq!(client.exchange(&request("OPTIONS", "*", &[])).status, 403);
    assert_eq!(client.exchange(&request("PURGE", "/a.txt", &[])).status, 403);
    let server = Server::start(&["--deny", "127.0.0.1", "--error-page", "403=403.html"], tree.root());
    let response = server.connect().get("/a.txt");
    assert_eq!((response.status, &*response.content), (403, &b"not you"[..]));
}

#[test]
fn a_trusted_proxy_says_whose_request_it_is_and_nobody_else() {
    let (tree, logs) = (site(), Tree::new(&[]));
    let path = logs.path("access.log");
    let log = path.to_str().unwrap();
    let flags = ["-t", "1", "--access-log", log, "--deny", "192.0.2.7", "--trust", "10.0.0.0/8,127.0.0.1"];
    let server = Server::start(&flags, tree.root());
    let table = [
        ("X-Forwarded-For: 192.0.2.7", 403, "192.0.2.7"),
        ("X-Forwarded-For: 192.0.2.7, 192.0.2.8", 200, "192.0.2.8"),
        ("X-Forwarded-For: 192.0.2.7, 10.1.2.3", 403, "192.0.2.7"),
        ("X-Forwarded-For: 2001:db8::1", 200, "2001:db8::1"),
        ("X-Forwarded-For: nonsense", 200, "127.0.0.1"),
        ("Forwarded: for=192.0.2.7", 200, "127.0.0.1"),
    ];
    for (field, expected, _) in table {
        assert_eq!(status(&server, "/a.txt", &[field]), expected, "{field}");
    }
    let lines = lines(&path, table.len());
    for ((field, code, address), line) in table.iter().zip(&lines) {
        assert!(
            line.starts_with(&format!("{address} - - [")) && line.contains(&format!("\" {code} ")),
            "{field}: {line}"
        );
    }
    let server = Server::start(&["--deny", "192.0.2.7"], tree.root());
    assert_eq!(status(&server, "/a.txt", &["X-Forwarded-For: 192.0.2.7"]), 200);
    let flags = ["--deny", "192.0.2.7", "--trust", "127.0.0.1", "--trust-field", "forwarded"];
    let server = Server::start(&flags, tree.root());
    assert_eq!(status(&server, "/a.txt", &["Forwarded: for=\"192.0.2.7:80\""]), 403);
    assert_eq!(status(&server, "/a.txt", &["X-Forwarded-For: 192.0.2.7"]), 200);
}

#[test]
fn clients_of_a_unix_socket_are_local_unless_a_trusted_proxy_names_another() {
    let (tree, sockets) = (site(), Tree::new(&[]));
    let path = sockets.path("s");
    let listen = format!("unix:{}", path.display());
    let ask = |flags: &[&str], fields: &[&str]| {
        let server = Launch::bare().flags(&["-l", &listen]).flags(flags).flags(&[tree.root()]).spawn();
        let mut client = None;
        assert!(eventually(PATIENCE, || {
            client = Client::connect_unix(&path).ok();
            client.is_some()
        }));
        let status = client.unwrap().get_with("/a.txt", fields).status;
        drop(server);
        status
    };
    let forwarded = ["X-Forwarded-For: 192.0.2.7"];
    assert_eq!(ask(&["--allow", "10.0.0.0/8"], &forwarded), 200);
    assert_eq!(ask(&["--allow", "10.0.0.0/8", "--trust", "unix"], &forwarded), 403);
    assert_eq!(ask(&["--allow", "192.0.2.0/24", "--trust", "unix"], &forwarded), 200);
}

fn assert_challenge(response: &Response) {
    assert_eq!(response.status, 401);
    assert_eq!(response.field("WWW-Authenticate"), Some("Basic realm=\"restricted\", charset=\"UTF-8\""));
}

#[test]
fn only_who_has_the_password_is_served() {
    let tree = site();
    let server = Server::start(&["--auth", ALICE, "--auth", BOB], tree.root());
    let mut client = server.connect();
    let nobody = client.get("/a.txt");
    assert_challenge(&nobody);
    for target in ["/missing", "/", "/a.txt/x", "/.hidden"] {
        let response = client.get(target);
        assert_challenge(&response);
        assert_eq!(response.content, nobody.content, "{target}");
    }
    for fields in WRONG.iter().chain(&["Authorization: Bearer x", "Authorization: Basic !"]) {
        assert_challenge(&client.get_with("/a.txt", &[fields]));
    }
    for method in ["HEAD", "OPTIONS", "PURGE"] {
        assert_challenge(&client.exchange(&request(method, "/a.txt", &[])));
    }
    // The second time it is known.
    for fields in [AS_ALICE, AS_BOB, AS_ALICE, AS_BOB] {
        let response = client.get_with("/a.txt", &[fields]);
        assert_eq!((response.status, &*response.content), (200, &b"a"[..]), "{fields}");
        assert_eq!(response.field("Cache-Control"), Some("private"));
        assert_eq!(client.get_with("/missing", &[fields]).status, 404);
        assert_challenge(&client.get("/a.txt"));
    }
    let cached = |target| client_field(&server, target, "Cache-Control");
    assert_eq!(cached("/").as_deref(), Some("private, no-cache"));
    assert_eq!(cached("/app.3f2a9c1b.js").as_deref(), Some("private, max-age=31536000, immutable"));
}

fn client_field(server: &Server, target: &str, name: &str) -> Option<String> {
    server.connect().get_with(target, &[AS_ALICE]).field(name).map(str::to_owned)
}

#[test]
fn a_challenge_is_to_the_byte() {
    let tree = site();
    let server = Server::start(&["--auth", ALICE, "--auth-realm", "my site"], tree.root());
    let mut client = server.connect();
    client.send(&request("GET", "/a.txt", &["Connection: close"]));
    let mut bytes = Vec::new();
    let _ = client.content_or_cut(u64::MAX, |part| bytes.extend_from_slice(part));
    let text = String::from_utf8(bytes).unwrap();
    let (before, after) = text.split_once("Date: ").unwrap();
    let page = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>401 Unauthorized</title>\n<h1>401 Unauthorized</h1>\n";
    assert_eq!(
        before,
        format!(
            "HTTP/1.1 401 Unauthorized\r\nServer: oneloop\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nWWW-Authenticate: Basic realm=\"my site\", charset=\"UTF-8\"\r\n",
            page.len()
        )
    );
    assert!(after.ends_with(page), "{after}");
}

#[test]
fn a_pipeline_is_answered_in_order_though_passwords_take_their_time() {
    let tree = site();
    let server = Server::start(&["--auth", ALICE], tree.root());
    let mut client = server.connect();
    let asked = [Some(AS_ALICE), None, Some(WRONG[0]), Some(AS_ALICE), Some(WRONG[1])];
    let pipeline: Vec<u8> =
        asked.iter().flat_map(|field| request("GET", "/a.txt", field.as_slice())).collect();
    client.send(&pipeline);
    let answers: Vec<u16> = asked.iter().map(|_| client.response().status).collect();
    assert_eq!(answers, [200, 401, 401, 200, 401]);
}

#[test]
fn a_preflight_needs_no_password() {
    let tree = site();
    let server = Server::start(&["--auth", ALICE], tree.root());
    let mut client = server.connect();
    let fields = ["Origin: http://example.org", "Access-Control-Request-Method: GET"];
    assert_eq!(client.exchange(&request("OPTIONS", "/missing", &fields)).status, 204);
    assert_challenge(&client.exchange(&request("OPTIONS", "/missing", &fields[..1])));
}

#[test]
fn users_come_from_a_file_which_is_read_again_on_hup() {
    let (tree, other) = (site(), Tree::new(&[]));
    let path = other.path("users");
    fs::write(&path, format!("# us\n\n{ALICE}\n")).unwrap();
    let server = Server::start(&["--auth-file", path.to_str().unwrap()], tree.root());
    let mut client = server.connect();
    let mut get = |field: &str| client.get_with("/a.txt", &[field]).status;
    assert_eq!((get(AS_ALICE), get(AS_BOB)), (200, 401));
    fs::write(&path, format!("{BOB}\n")).unwrap();
    server.signal(Signal::HUP);
    assert!(eventually(PATIENCE, || get(AS_BOB) == 200), "{}", server.stderr());
    assert_eq!(get(AS_ALICE), 401, "what is remembered of her is forgotten");
    fs::write(&path, format!("{BOB}\nalice:secret\n")).unwrap();
    server.signal(Signal::HUP);
    assert!(eventually(PATIENCE, || server.stderr().contains("line 2")), "{}", server.stderr());
    assert!(server.stderr().contains("the old users stay"), "{}", server.stderr());
    assert_eq!((get(AS_ALICE), get(AS_BOB)), (401, 200));
}

#[test]
fn users_that_are_wrong_are_refused_at_start() {
    let (tree, other) = (site(), Tree::new(&[]));
    let path = other.path("users");
    let file = path.to_str().unwrap();
    let table = [
        (format!("{ALICE}\nbob:$apr1$x$y\n"), "line 2"),
        (format!("{ALICE}\n# x\n{ALICE}\n"), "line 3"),
        ("alice\n".to_owned(), "line 1"),
        ("# nobody\n".to_owned(), "no user"),
    ];
    for (text, mention) in table {
        fs::write(&path, text).unwrap();
        expect_failure(&Launch::new(tree.root()).flags(&["--auth-file", file]).run(), 1, &[file, mention]);
    }
    let missing = other.path("missing");
    let missing = missing.to_str().unwrap();
    expect_failure(
        &Launch::new(tree.root()).flags(&["--auth-file", missing]).run(),
        1,
        &[missing, "--auth-file"],
    );
    let refused: [(&[&str], &str); 6] = [
        (&["--auth", "alice:secret"], "argon2id"),
        (&["--auth", "alice"], "NAME:HASH"),
        (&["--auth", ALICE, "--helpers", "0"], "--helpers"),
        (&["--auth-realm", "\""], "--auth-realm"),
        (&["--allow", "10.0.0.1/8"], "10.0.0.0/8"),
        (&["--trust", "proxy"], "--trust"),
    ];
    for (flags, mention) in refused {
        expect_failure(&Launch::new(tree.root()).flags(flags).run(), 2, &[mention]);
    }
    expect_failure(
        &Launch::new(tree.root()).flags(&["--auth", ALICE, "--auth", ALICE]).run(),
        1,
        &["before"],
    );
}

#[test]
fn the_variable_holds_a_user_a_line() {
    let tree = site();
    let server = Launch::new(tree.root()).env("ONELOOP_AUTH", format!("{ALICE}\n{BOB}")).start();
    assert_eq!([status(&server, "/a.txt", &[AS_BOB]), status(&server, "/a.txt", &[])], [200, 401]);
}

/// The log, once it has `count` lines.
#[track_caller]
fn lines(path: &Path, count: usize) -> Vec<String> {
    let mut log = String::new();
    let is_whole = eventually(PATIENCE, || {
        log = fs::read_to_string(path).unwrap_or_default();
        log.lines().count() >= count && log.ends_with('\n')
    });
    assert!(is_whole, "{log}");
    log.lines().map(str::to_owned).collect()
}

#[test]
fn the_log_names_who_had_the_right_password() {
    let (tree, logs) = (site(), Tree::new(&[]));
    let path = logs.path("access.log");
    let odd = ALICE.replace("alice:", "Al \"i\" ce:");
    let flags = ["--access-log", path.to_str().unwrap(), "--auth", &odd, "--auth", BOB];
    let server = Server::start(&flags, tree.root());
    let mut client = server.connect();
    // Al "i" ce:open sesame
    let as_odd = "Authorization: Basic QWwgImkiIGNlOm9wZW4gc2VzYW1l";
    for field in [as_odd, AS_BOB, AS_BOB, WRONG[1], "X: y"] {
        client.get_with("/a.txt", &[field]);
    }
    let users = [r"Al\x20\x22i\x22\x20ce", "bob", "bob", "-", "-"];
    for (user, line) in users.iter().zip(lines(&path, users.len())) {
        assert!(line.starts_with(&format!("127.0.0.1 - {user} [")), "{line}");
    }
}

#[test]
fn guessing_keeps_nobody_waiting_who_is_known() {
    let tree = site();
    // A tenth of a second each.
    let slow = "dora:$2y$10$MiZaBnbCg4s7lnLN3j59Y.GQ8G0o1hXFgah/DUzsy6oAgvBwm78G6";
    let server = Server::start(&["-t", "1", "--auth", slow, "--auth", ALICE], tree.root());
    let mut known = server.connect();
    assert_eq!(known.get_with("/a.txt", &[AS_ALICE]).status, 200);
    let mut guessers: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for (number, guesser) in guessers.iter_mut().enumerate() {
        let guess = format!("Authorization: Basic ZG9yYT{}", ["ph", "pi", "pj", "pk"][number % 4]);
        guesser.send(&request("GET", "/a.txt", &[&guess]));
    }
    known.patience(Duration::from_secs(5));
    for _ in 0..50 {
        assert_eq!(known.get_with("/a.txt", &[AS_ALICE]).status, 200);
    }
    for guesser in &mut guessers {
        assert!(matches!(guesser.response().status, 401 | 503));
    }
}

#[test]
fn guessing_holds_up_no_other_work_of_the_helpers() {
    let tree = site();
    tree.write("sub/x", b"");
    // Nobody's password, at four times the cost above.
    let slow = "dora:$2y$12$MiZaBnbCg4s7lnLN3j59Y.GQ8G0o1hXFgah/DUzsy6oAgvBwm78G6";
    let server = Server::start(&["-t", "1", "-z", "--auth", slow, "--auth", ALICE], tree.root());
    let mut known = server.connect();
    assert_eq!(known.get_with("/a.txt", &[AS_ALICE]).status, 200);
    let mut guessers: Vec<Client> = (0..16).map(|_| server.connect()).collect();
    let begun = Instant::now();
    for (letter, guesser) in ('a'..).zip(&mut guessers) {
        // dora:a…
        guesser.send(&request("GET", "/a.txt", &[&format!("Authorization: Basic ZG9yYTph{letter}GE=")]));
    }
    assert_eq!(known.get_with("/sub/", &[AS_ALICE]).status, 200);
    let listed = begun.elapsed();
    for guesser in &mut guessers {
        guesser.patience(Duration::from_secs(60));
        assert_eq!(guesser.response().status, 401);
    }
    let guessed = begun.elapsed();
    assert!(listed * 4 < guessed, "a listing took {listed:?}, all guesses {guessed:?}");
}
