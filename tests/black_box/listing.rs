//! Directories without an index file, listed: what is shown, to whom and as what, and that a listing is served like
//! any file.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use super::client::{Client, eventually, request};
use super::date;
use super::response::Response;
use super::server::{Launch, PATIENCE, Server};
use super::tree::Tree;

/// 2026-11-20T16:24:13Z
const MODIFIED_S: i64 = 1_795_191_853;

/// Two directories without an index file and one with.
pub(crate) fn site() -> Tree {
    let tree = Tree::new(&[
        ("a10.txt", b"ten"),
        ("a2.txt", b"second"),
        ("sub/x", b""),
        ("pages/index.html", b"<p>index"),
    ]);
    for name in ["a10.txt", "a2.txt", "sub/x"] {
        tree.modified_at(name, MODIFIED_S, 0);
    }
    tree
}

/// The content of a response.
pub(crate) fn text(response: &Response) -> &str {
    std::str::from_utf8(&response.content).expect("UTF-8")
}

/// The values of an attribute or a member, by what stands before and after each.
pub(crate) fn between<'t>(text: &'t str, before: &str, after: &str) -> Vec<&'t str> {
    text.split(before).skip(1).filter_map(|rest| Some(rest.split_once(after)?.0)).collect()
}

/// Names in a listing in JSON, in order.
#[track_caller]
pub(crate) fn names(client: &mut Client, target: &str) -> Vec<String> {
    let response = client.get(target);
    assert_eq!((response.status, response.require("Content-Type")), (200, "application/json"), "{target}");
    between(text(&response), "{\"name\":\"", "\",\"kind\"").into_iter().map(str::to_owned).collect()
}

#[test]
fn nothing_is_listed_unless_somebody_wants_it() {
    let tree = site();
    for flags in [&[][..], &["--listing=off"]] {
        let server = Server::start(flags, tree.root());
        let mut client = server.connect();
        for target in ["/", "/sub/"] {
            assert_eq!(client.get(target).status, 404, "{flags:?} {target}");
        }
    }
    let from_environment = Launch::new(tree.root()).env("ONELOOP_LISTING", "json").start();
    assert_eq!(names(&mut from_environment.connect(), "/sub/"), ["x"]);
}

#[test]
fn people_get_a_page() {
    let tree = site();
    let name = "<script>alert('&amp; \"quoted\"')";
    tree.write(name, b"");
    fs::write(tree.root().join(std::ffi::OsStr::from_bytes(b"\xff:")), "").unwrap();
    let server = Server::start(&["-z=html"], tree.root());
    let mut client = server.connect();
    let response = client.get_with("/", &["Accept: application/json"]);
    assert_eq!((response.status, response.require("Content-Type")), (200, "text/html; charset=utf-8"));
    assert_eq!((response.field("Vary"), response.require("Cache-Control")), (None, "no-cache"));
    let policy = response.require("Content-Security-Policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let page = text(&response);
    assert!(page.starts_with("<!DOCTYPE html>\n") && page.ends_with("</html>\n"), "{page}");
    assert!(!page.contains("<script"), "{page}");
    let shown = "&lt;script&gt;alert(&#39;&amp;amp; &quot;quoted&quot;&#39;)</bdi>";
    assert!(page.contains(shown), "{page}");
    // Wherever a link leads, there is something.
    let links = between(page, "scope=\"row\"><a href=\"", "\"");
    assert_eq!(links.len(), 6, "{links:?}");
    for link in links {
        let target =
            format!("/{}", link.trim_start_matches("./").replace("&#39;", "'").replace("&amp;", "&"));
        assert_eq!(client.get(&target).status, 200, "{target}");
    }
    // An index file stands for its directory, and a directory without its slash is redirected as ever.
    assert_eq!(client.get("/pages/").content, b"<p>index");
    let redirect = client.get("/sub?sort=size");
    assert_eq!((redirect.status, redirect.require("Location")), (301, "/sub/?sort=size"));
    assert!(text(&client.get("/sub/")).contains("<title>Index of /sub/</title>"));
}

#[test]
fn programs_get_an_array() {
    let tree = site();
    fs::remove_dir_all(tree.path("pages")).unwrap();
    let server = Server::start(&["-z=json"], tree.root());
    let mut client = server.connect();
    let response = client.get_with("/sub/", &["Accept: text/html"]);
    assert_eq!((response.status, response.require("Content-Type")), (200, "application/json"));
    assert_eq!((response.field("Vary"), response.field("Content-Security-Policy")), (None, None));
    let expected = concat!(
        "[\n",
        r#"{"name":"x","kind":"file","size":0,"modified":"2026-11-20T16:24:13Z","href":"x"}"#,
        "\n]\n"
    );
    assert_eq!(text(&response), expected);
    let root = client.get("/");
    let root = text(&root);
    assert!(root.starts_with("[\n{\"name\":\"sub\",\"kind\":\"directory\",\"size\":null,"), "{root}");
    let files = concat!(
        ",\"href\":\"sub/\"},\n",
        r#"{"name":"a2.txt","kind":"file","size":6,"modified":"2026-11-20T16:24:13Z","href":"a2.txt"},"#,
        "\n",
        r#"{"name":"a10.txt","kind":"file","size":3,"modified":"2026-11-20T16:24:13Z","href":"a10.txt"}"#,
        "\n]\n",
    );
    assert!(root.ends_with(files), "{root}");
}

#[test]
fn each_client_gets_what_it_prefers() {
    let tree = site();
    let server = Server::start(&["-z"], tree.root());
    let mut client = server.connect();
    let table = [
        ("*/*", "text/html; charset=utf-8"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/json", "application/json"),
        ("application/json;q=0.5, text/html;q=0.4", "application/json"),
        ("application/json;q=0.4, text/html;q=0.5", "text/html; charset=utf-8"),
    ];
    let mut tags = Vec::new();
    for (accepted, media_type) in table {
        let field = format!("Accept: {accepted}");
        let response = client.get_with("/", &[&field]);
        assert_eq!(response.require("Content-Type"), media_type, "{accepted}");
        assert_eq!(response.require("Vary"), "Accept", "{accepted}");
        let tag = response.etag().to_owned();
        let unchanged = client.get_with("/", &[&field, &format!("If-None-Match: {tag}")]);
        assert_eq!((unchanged.status, unchanged.require("Vary")), (304, "Accept"), "{accepted}");
        tags.push(tag);
    }
    assert_eq!(client.get("/").etag(), tags[0], "who says nothing gets a page");
    assert_ne!(tags[0], tags[2]);
}

#[test]
fn a_listing_is_served_like_a_file() {
    let logs = Tree::new(&[]);
    let log = logs.path("access.log");
    // The second does not fit into a worker's memory for small contents.
    for files in [3, 300] {
        let tree = Tree::new(&[]);
        (0..files).for_each(|number| tree.write(&format!("file-{number}.txt"), b""));
        let server = Server::start(&["-z", "-t", "1", "--access-log", log.to_str().unwrap()], tree.root());
        let mut client = server.connect();
        let whole = client.get("/");
        let head = client.exchange(&request("HEAD", "/", &[]));
        assert_eq!((head.status, head.dateless()), (200, whole.dateless()), "{files}");
        let (tag, bytes) = (whole.etag().to_owned(), whole.content.len());
        let part = client.get_with("/", &["Range: bytes=15-", &format!("If-Range: {tag}")]);
        assert_eq!(part.status, 206, "{files}");
        assert_eq!(part.require("Content-Range"), format!("bytes 15-{}/{bytes}", bytes - 1), "{files}");
        assert!(part.content == whole.content[15..], "{files}");
        let conditions = [
            (format!("If-None-Match: {tag}"), 304),
            ("If-None-Match: \"other\"".to_owned(), 200),
            (format!("If-Match: {tag}"), 200),
            ("If-Match: \"other\"".to_owned(), 412),
            (format!("If-Modified-Since: {}", whole.require("Last-Modified")), 304),
            (format!("If-Modified-Since: {}", date::imf_fixdate(1_000_000_000)), 200),
            (format!("Range: bytes={bytes}-"), 416),
        ];
        for (field, status) in &conditions {
            assert_eq!(client.get_with("/", &[field]).status, *status, "{files}: {field}");
        }
        let unchanged = client.get_with("/", &[&conditions[0].0]);
        for name in ["Content-Security-Policy", "Cache-Control", "Vary", "Last-Modified", "ETag"] {
            assert_eq!(unchanged.field(name), whole.field(name), "{files}: {name}");
        }
        let logged = format!("\"GET / HTTP/1.1\" 200 {bytes} ");
        let is_logged = || fs::read_to_string(&log).is_ok_and(|lines| lines.contains(&logged));
        assert!(eventually(PATIENCE, is_logged), "{logged}");
    }
}

#[test]
fn only_what_would_be_served_is_shown() {
    let outside = Tree::new(&[("secret", b"secret")]);
    let tree = Tree::new(&[("file", b"file"), (".hidden", b""), (".well-known/x", b""), ("dir/x", b"")]);
    tree.link("inside", "file");
    tree.link("dangling", "nothing");
    tree.link("outside", outside.path("secret"));
    tree.link("up", "../..");
    tree.fifo("fifo");
    let table: [(&[&str], &[&str]); 4] = [
        (&[], &["dir", "file", "inside"]),
        (&["--symlinks", "never"], &["dir", "file"]),
        (&["--symlinks", "any"], &["dir", "up", "file", "inside", "outside"]),
        (&["--hidden"], &[".well-known", "dir", ".hidden", "file", "inside"]),
    ];
    for (flags, expected) in table {
        let server = Server::start(&[&["-z=json"], flags].concat(), tree.root());
        assert_eq!(names(&mut server.connect(), "/"), expected, "{flags:?}");
    }
    tree.directory(".git/objects");
    let server = Server::start(&["-z=json"], tree.root());
    let mut client = server.connect();
    for target in
        ["/.git/", "/.git/objects/", "/dir/%2e./.git/", "/outside/", "/file/", "/fifo/", "/nothing/"]
    {
        assert_eq!(client.get(target).status, 404, "{target}");
    }
    // RFC 8615 §3: whoever asks by that name may know.
    assert_eq!(names(&mut client, "/.well-known/"), ["x"]);
}

#[test]
fn what_cannot_be_listed_is_refused_as_what_it_is() {
    let tree = Tree::new(&[("closed/x", b""), ("passage/x", b"x"), ("404.html", b"<p>no")]);
    tree.publish();
    tree.mode("closed", 0o000);
    tree.mode("passage", 0o711);
    if !rustix::process::geteuid().is_root() {
        tree.mode("passage", 0o311);
    }
    let server = Launch::new(tree.root()).flags(&["-z=auto"]).unprivileged().start();
    let mut client = server.connect();
    assert_eq!(client.get("/closed/").status, 403);
    assert_eq!(client.get("/passage/").status, 403);
    assert_eq!(client.get("/passage/x").content, b"x");
    let missing = client.get("/nothing/");
    assert_eq!((missing.status, missing.content.as_slice()), (404, b"<p>no".as_slice()));
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(client.exchange(&request(method, "/", &[])).status, 405, "{method}");
    }
    tree.mode("closed", 0o755);
    let one = Server::start(&["-z"], &tree.path("404.html"));
    let mut client = one.connect();
    assert_eq!(client.get("/").content, b"<p>no");
    assert_eq!(client.get("/passage/").status, 404, "the root is one file");
}

#[test]
fn an_application_takes_over_only_where_there_is_no_directory() {
    let tree = Tree::new(&[("app.html", b"app"), ("files/x", b"")]);
    let server = Server::start(&["-z", "--spa=app.html"], tree.root());
    let mut client = server.connect();
    for (target, is_application) in
        [("/users/42", true), ("/users/42/", true), ("/files/", false), ("/", false)]
    {
        let response = client.get_with(target, &["Accept: text/html"]);
        assert_eq!((response.status, response.content == b"app"), (200, is_application), "{target}");
    }
    assert_eq!(client.get("/users/42/").status, 404);
}

#[test]
fn the_query_says_in_which_order() {
    let tree = Tree::new(&[("a", b"333"), ("b", b"1"), ("c", b"22")]);
    for (name, seconds) in [("a", 2_000), ("b", 3_000), ("c", 1_000)] {
        tree.modified_at(name, seconds, 0);
    }
    let server = Server::start(&["-z=json", "--listing-sort", "time:desc"], tree.root());
    let mut client = server.connect();
    let table = [
        ("/", ["b", "a", "c"]),
        ("/?sort=time", ["c", "a", "b"]),
        ("/?sort=size", ["b", "c", "a"]),
        ("/?sort=size&order=desc&page=7", ["a", "c", "b"]),
        ("/?sort=name&order=asc", ["a", "b", "c"]),
        ("/?order=asc", ["c", "a", "b"]),
        ("/?sort=colour&page=-1&utm_source=x", ["b", "a", "c"]),
        ("/?C=N;O=D", ["b", "a", "c"]),
        ("/%2e/?sort=name", ["a", "b", "c"]),
    ];
    for _ in 0..2 {
        for (target, expected) in table {
            assert_eq!(names(&mut client, target), expected, "{target}");
        }
    }
    assert_eq!(client.get("/").etag(), client.get("/?unknown").etag());
    assert_ne!(client.get("/").etag(), client.get("/?sort=name").etag());
}

#[test]
fn fields_of_the_operator_s_stand_on_listings_too() {
    let tree = site();
    let flags = ["-z", "-c", "off", "-H", "/sub/** X-Sub: 1", "-H", "/sub Content-Security-Policy: sandbox"];
    let server = Server::start(&[&flags[..], &["--security-headers"]].concat(), tree.root());
    let mut client = server.connect();
    let root = client.get("/");
    assert_eq!((root.field("Cache-Control"), root.field("X-Sub")), (None, None));
    assert_eq!(root.require("X-Content-Type-Options"), "nosniff");
    assert!(root.require("Content-Security-Policy").starts_with("default-src 'none'"));
    assert_eq!(client.get("/sub/").require("Content-Security-Policy"), "sandbox", "a rule outranks ours");
    let server = Server::start(&["-z", "-c", "60"], tree.root());
    assert_eq!(server.connect().get("/").require("Cache-Control"), "public, max-age=60");
}

#[test]
fn what_a_rewrite_leads_to_is_listed_and_nothing_else() {
    let tree = Tree::new(&[
        ("pub/a.txt", b"a"),
        ("pub/deep/b.txt", b"b"),
        ("secret/key.pem", b"key"),
        ("files/other", b""),
        (".hidden/x", b""),
    ]);
    let rules = ["/files/*=/pub/$1", "/secret/*=/nothing/$1", "/drop=/pub/deep", "/env/*=/.hidden/$1"];
    let rules = rules.into_iter().flat_map(|rule| ["--rewrite", rule]);
    let flags: Vec<&str> = ["-z", "-t", "1"].into_iter().chain(rules).collect();
    let server = Server::start(&flags, tree.root());
    let mut client = server.connect();
    let json = "Accept: application/json";
    // The second time from what is kept.
    for _ in 0..2 {
        for target in ["/secret/", "/secret", "/env/", "/files/a.txt/"] {
            assert_eq!(client.get_with(target, &[json]).status, 404, "{target}");
        }
        for (target, expected) in [
            ("/files/", &["deep", "a.txt"][..]),
            ("/files/deep/", &["b.txt"]),
            ("/drop/", &["b.txt"]),
            ("/pub/", &["deep", "a.txt"]),
        ] {
            let response = client.get_with(target, &[json]);
            assert_eq!(between(text(&response), "{\"name\":\"", "\""), expected, "{target}");
        }
        assert_eq!(client.get("/files").require("Location"), "/files/");
        assert_eq!(client.get_with("/drop", &[json]).require("Location"), "/drop/");
        // Of the address that was asked for.
        for (target, title, crumbs) in [
            ("/files/deep/", "Index of /files/deep/", &["../../", "../"][..]),
            ("/pub/deep/", "Index of /pub/deep/", &["../../", "../"]),
            ("/drop/", "Index of /drop/", &["../"]),
        ] {
            let response = client.get(target);
            let page = text(&response);
            assert_eq!(between(page, "<title>", "</title>"), [title]);
            assert_eq!(between(page, "<li><a href=\"", "\""), crumbs, "{target}");
            assert!(page.contains("href=\"./b.txt\"") || page.contains("href=\"b.txt\""), "{page}");
        }
    }
    assert_eq!(client.get("/files/deep/b.txt").content, b"b");
}

#[test]
fn there_is_no_page_beyond_the_last() {
    let tree = site();
    let server = Server::start(&["-z", "-t", "1"], tree.root());
    let mut client = server.connect();
    for _ in 0..2 {
        assert_eq!(client.get("/?page=1").status, 200);
        for target in ["/?page=2", "/?page=100", "/sub/?page=2&sort=size"] {
            assert_eq!(client.get(target).status, 404, "{target}");
        }
        assert_eq!(client.get_with("/?page=2", &["Accept: application/json"]).status, 200);
    }
}

#[test]
fn what_the_server_may_not_read_is_not_shown() {
    let tree = Tree::new(&[("a", b""), ("b", b""), ("open/x", b""), ("shut/x", b""), ("passed/x", b"x")]);
    for (name, mode) in [("b", 0o200), ("shut", 0o600), ("passed", 0o711)] {
        fs::set_permissions(tree.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    tree.link("link", "b");
    let server = Launch::new(tree.root()).flags(&["-z=json"]).unprivileged().start();
    let mut client = server.connect();
    assert_eq!(names(&mut client, "/"), ["open", "passed", "a"]);
    assert_eq!((client.get("/b").status, client.get("/shut/x").status), (403, 403));
    assert_eq!((client.get("/passed/x").status, client.get("/passed/").status), (200, 403));
}
