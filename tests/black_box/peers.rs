//! What other servers get wrong, and the test that shows that this one does not.
//!
//! The peers are nginx 1.22, Caddy 2.6, static-web-server 2.44 (SWS), lighttpd 1.4.69, Apache 2.4 and the small ones,
//! each as it was when it was probed. A test below sees that all the tests named here exist.
//!
//! | about | what peers get wrong | the test that shows that it is right here |
//! |---|---|---|
//! | framing | SWS and Caddy accept a length beside chunks, and keep the connection | `framing::only_chunked_is_understood_and_never_beside_a_length` |
//! | framing | the same, with a request hidden in the content | `peers::a_request_behind_two_lengths_is_never_answered` |
//! | paths | 11 of 13 serve a file outside the root through a link | `paths::links_are_followed_inside_the_root_only` |
//! | paths | the same, where the link stands for another file | `peers::a_link_that_leads_outside_shows_nothing_whatever_it_stands_for` |
//! | paths | Apache, Caddy and SWS hang on a FIFO | `paths::what_is_no_regular_file_is_not_found_at_once` |
//! | paths | the same, where the FIFO stands for another file | `peers::a_pipe_holds_up_nobody_whatever_it_stands_for` |
//! | directories | SWS has an open redirect at `//sub` | `directories::a_directory_without_its_slash_is_redirected` |
//! | directories | the same, where a directory is listed or an operator redirects | `peers::two_slashes_lead_to_no_other_site`, `rules::no_client_leads_another_one_astray` |
//! | conditional requests | SWS aborts the process on a time before 1970 | `conditional::times_before_1970_and_in_the_future_do_no_harm` |
//! | conditional requests | the same, in listings, digests, codings and parts | `peers::a_time_before_1970_harms_nothing_that_is_made_of_it` |
//! | deadlines | nginx cuts off a steady slow reader | `deadlines::a_reader_that_is_slow_but_steady_is_not_cut`, `reviewed::a_steady_slow_reader_of_many_small_parts_is_not_reset` |
//! | deadlines | SWS has none: for a connection, for a head, | `deadlines::a_client_that_says_nothing_is_closed_without_a_word`, `deadlines::a_head_that_does_not_come_whole_is_408` |
//! | deadlines | for the next request, for content, for a reader | `deadlines::an_idle_connection_is_closed_without_a_word`, `deadlines::content_that_stalls_ends_the_connection`, `deadlines::a_reader_that_stops_is_reset` |
//! | deadlines | lighttpd, Apache and Caddy never cut a dripping head | `deadlines::dripping_a_head_gains_no_time` |
//! | changing files | Apache and lighttpd send old lengths with new bytes | `changing_files::a_response_is_one_state_of_the_file`, `changing_files::parts_and_the_whole_of_a_file_agree` |

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::client::request;
use super::schedule::timed;
use super::server::Server;
use super::tree::Tree;

/// A day and a second before 1970.
const BEFORE_1970_S: i64 = -86_401;

/// The tests that the table above names, each as module and function.
fn named(table: &str) -> Vec<(&str, &str)> {
    let rows = table.lines().filter(|line| line.starts_with("//! | "));
    let words = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    words.filter_map(|word| word.split_once("::")).collect()
}

/// Whether a module has a test of that name.
fn has_test(module: &str, name: &str) -> bool {
    module.contains(&format!("#[test]\nfn {name}() {{"))
}

#[test]
fn every_test_that_is_named_exists() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let read = |path: &str| fs::read_to_string(folder.join(path)).unwrap_or_default();
    let (modules, named_tests) = (read("black_box.rs"), read("black_box/peers.rs"));
    let rows = named_tests.lines().filter(|line| line.starts_with("//! | ")).count();
    let tests = named(&named_tests);
    assert!(rows > 10 && tests.len() >= rows - 1, "{rows} rows, {} tests", tests.len());
    for (module, test) in tests {
        assert!(modules.contains(&format!("    mod {module};\n")), "no module {module}");
        assert!(has_test(&read(&format!("black_box/{module}.rs")), test), "no test {module}::{test}");
    }
}

#[test]
fn a_test_that_is_gone_is_missed() {
    assert_eq!(named("//! | a | `//x` | `m::t`, `n::u` |\n// | `o::v` |\n"), [("m", "t"), ("n", "u")]);
    assert!(has_test("#[test]\nfn t() {\n}\n", "t"));
    assert!(!has_test("fn t() {\n}\n#[test]\nfn t2() {\n}\n", "t"));
}

#[test]
fn a_request_behind_two_lengths_is_never_answered() {
    let tree = Tree::new(&[("a.txt", b"a"), ("hidden.txt", b"hidden")]);
    let server = Server::start(&["-t", "1"], tree.root());
    let hidden = request("GET", "/hidden.txt", &[]);
    for method in ["GET", "POST"] {
        let length = format!("Content-Length: {}", 5 + hidden.len());
        for fields in [["Transfer-Encoding: chunked", &*length], [&*length, "Transfer-Encoding: chunked"]] {
            let mut client = server.connect();
            client.send(&[&*request(method, "/a.txt", &fields), b"0\r\n\r\n", &hidden].concat());
            assert_eq!(client.response().status, 400, "{method} {fields:?}");
            client.expect_closed();
        }
    }
}

#[test]
fn a_link_that_leads_outside_shows_nothing_whatever_it_stands_for() {
    let outside = Tree::new(&[("secret.html", b"secret")]);
    let tree = Tree::new(&[("app.js", b"plain")]);
    for name in ["app.js.gz", "only.css.gz", "dir/index.html", "page.html", "404.html"] {
        tree.link(name, outside.path("secret.html"));
    }
    tree.link("folder", outside.root());
    let server = Server::start(&["--listing=json"], tree.root());
    let mut client = server.connect();
    let table = [
        ("/app.js", 200),
        ("/only.css", 404),
        ("/page", 404),
        ("/folder/", 404),
        ("/folder/secret", 404),
        ("/missing", 404),
    ];
    for (target, status) in table {
        for fields in [&["Accept-Encoding: gzip"][..], &[]] {
            let response = client.get_with(target, fields);
            assert_eq!(response.status, status, "{target} {fields:?}");
            assert_eq!(response.field("Content-Encoding"), None, "{target} {fields:?}");
            assert!(!response.content.windows(6).any(|word| word == b"secret"), "{target} {fields:?}");
        }
    }
    let index = client.get("/dir/");
    assert!(!index.content.windows(6).any(|word| word == b"secret"), "{}", index.status);
}

#[test]
fn a_pipe_holds_up_nobody_whatever_it_stands_for() {
    let tree = Tree::new(&[("app.js", b"plain"), ("dir/sub/a.txt", b"a")]);
    for name in
        ["app.js.gz", "only.css.gz", "dir/index.html", "page.html", "404.html", "x.txt", ".oneloop-manifest"]
    {
        tree.fifo(name);
    }
    let _timed = timed();
    let start = Instant::now();
    for flags in [&["-t", "1", "-x"][..], &["-t", "1", "--etag=content", "--helpers=0"]] {
        let server = Server::start(flags, tree.root());
        let mut client = server.connect();
        for target in ["/only.css", "/dir/", "/page", "/x.txt", "/x", "/missing"] {
            let response = client.get_with(target, &["Accept-Encoding: gzip"]);
            assert_eq!(response.status, 404, "{target} {flags:?}");
        }
        assert_eq!(client.get_with("/app.js", &["Accept-Encoding: gzip"]).content, b"plain", "{flags:?}");
        assert_eq!(server.counters(1)[0].get("panics"), 0, "{flags:?}");
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(8), "opening a pipe waits for a writer: {took:?}");
}

#[test]
fn two_slashes_lead_to_no_other_site() {
    let tree = Tree::new(&[("evil.example/a.txt", b"a"), ("app.html", b"app")]);
    let server = Server::start(&["--listing", "--spa=app.html"], tree.root());
    let mut client = server.connect();
    for target in ["//evil.example", "///evil.example", "/%2Fevil.example", "/.//evil.example"] {
        let response = client.get_with(target, &["Accept: text/html"]);
        let found = (response.status, response.require("Location"));
        assert_eq!(found, (301, "/evil.example/"), "{target}");
    }
}

#[test]
fn a_time_before_1970_harms_nothing_that_is_made_of_it() {
    let text = b"a line of an old text\n".repeat(100);
    let tree = Tree::new(&[("old.txt", &text), ("b.js", b"plain"), ("b.js.gz", b"GZIP")]);
    for name in ["old.txt", "b.js", "b.js.gz"] {
        tree.modified_at(name, BEFORE_1970_S, 500_000_000);
    }
    for etag in ["mtime", "content"] {
        let server = Server::start(&["-t", "1", "-x", "-z=json", "--etag", etag], tree.root());
        let mut client = server.connect();
        let listing = String::from_utf8(client.get("/?sort=time").content).unwrap();
        assert!(listing.contains("\"name\":\"old.txt\""), "{listing}");
        for (target, length) in [("/old.txt", None), ("/b.js", Some(4))] {
            let coded = client.get_with(target, &["Accept-Encoding: gzip"]);
            assert_eq!(coded.require("Content-Encoding"), "gzip", "{target}");
            assert!(length.is_none_or(|length| coded.content_length() == Some(length)), "{target}");
        }
        let whole = client.get("/old.txt");
        assert!(whole.content == text, "{etag}");
        let tag = format!("If-Range: {}", whole.etag());
        assert_eq!(client.get_with("/old.txt", &["Range: bytes=0-3", &tag]).content, text[..4], "{etag}");
        assert_eq!(server.counters(1)[0].get("panics"), 0, "{etag}");
    }
}
