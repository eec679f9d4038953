//! Paths that do not name a file as it lies there: clean URLs, applications of one page, pages for errors; and the
//! fields that policies and rules add.

use super::client::request;
use super::server::{Launch, Server};
use super::startup::expect_failure;
use super::tree::Tree;

#[test]
fn a_page_is_found_without_its_extension() {
    let tree = Tree::new(&[
        ("about.html", b"about"),
        ("both", b"exact"),
        ("both.html", b"page"),
        ("dir/index.html", b"index"),
        ("dir.html", b"beside"),
        ("v1.2.html", b"dots"),
        ("docs.html", b"docs"),
        ("docs/part.html", b"part"),
        ("bare/part.html", b"part"),
    ]);
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    for (target, content) in [
        ("/about", "about"),
        ("/about.html", "about"),
        ("/both", "exact"),
        ("/v1.2", "dots"),
        ("/dir/", "index"),
        ("/docs", "docs"),
        ("/docs/part", "part"),
    ] {
        let response = client.get(target);
        assert_eq!((response.status, response.content.as_slice()), (200, content.as_bytes()), "{target}");
    }
    assert_eq!(client.get("/about").require("Content-Type"), "text/html; charset=utf-8");
    for (target, location) in [("/dir", "/dir/"), ("/bare", "/bare/")] {
        let directory = client.get(target);
        assert_eq!((directory.status, directory.require("Location")), (301, location));
    }
    for target in ["/about/", "/abou", "/about.htm", "/.html", "/dir/about"] {
        assert_eq!(client.get(target).status, 404, "{target}");
    }
    let server = Server::start(&["--clean-urls=off"], tree.root());
    assert_eq!(server.connect().get("/about").status, 404);
}

#[test]
fn an_application_takes_over_where_a_browser_navigates() {
    let tree = Tree::new(&[("index.html", b"app"), ("app.js", b"script"), ("shell.html", b"shell")]);
    let server = Server::start(&["--spa"], tree.root());
    let mut client = server.connect();
    let navigation = ["Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"];
    for target in ["/", "/users/42", "/deep/er?x=1", "/users.list"] {
        let response = client.get_with(target, &navigation);
        assert_eq!((response.status, response.content.as_slice()), (200, b"app".as_slice()), "{target}");
        assert_eq!(response.require("Content-Type"), "text/html; charset=utf-8", "{target}");
    }
    assert_eq!(client.get_with("/app.js", &navigation).content, b"script");
    let tag = client.get_with("/users/42", &navigation).etag().to_owned();
    let again = client.get_with("/users/43", &[navigation[0], &format!("If-None-Match: {tag}")]);
    assert_eq!(again.status, 304);
    // A script, an image or a call of the application gets what is true.
    for fields in
        [&["Accept: */*"][..], &[], &["Accept: application/json"], &[navigation[0], "Sec-Fetch-Mode: cors"]]
    {
        assert_eq!(client.get_with("/missing.js", fields).status, 404, "{fields:?}");
    }
    assert_eq!(
        client.get_with("/.git/config", &navigation).content,
        b"app",
        "hidden as if it were not there"
    );
    assert_eq!(client.exchange(&request("POST", "/users/42", &navigation)).status, 405);
    let server = Server::start(&["--spa=shell.html"], tree.root());
    assert_eq!(server.connect().get_with("/users", &navigation).content, b"shell");
}

#[test]
fn what_depends_on_whether_somebody_navigates_says_so() {
    let tree = Tree::new(&[("index.html", b"app"), ("a.txt", b"a")]);
    for page in [false, true] {
        if page {
            tree.write("404.html", b"lost");
        }
        let server = Server::start(&["--spa", "-t", "1"], tree.root());
        let mut client = server.connect();
        for _ in 0..2 {
            let shown = client.get_with("/users/42", &["Accept: text/html"]);
            let condition = format!("If-None-Match: {}", shown.etag());
            let unchanged = client.get_with("/users/42", &["Accept: text/html", &condition]);
            let missing = client.get_with("/users/42", &["Accept: */*"]);
            assert_eq!((shown.status, unchanged.status, missing.status), (200, 304, 404));
            for response in [&shown, &unchanged, &missing] {
                assert!(response.varies_by("Accept") && response.varies_by("Sec-Fetch-Mode"), "{response:?}");
            }
            // What is there is there for all.
            for target in ["/", "/index.html", "/a.txt"] {
                let found = client.get_with(target, &["Accept: text/html"]);
                assert_eq!((found.status, found.field("Vary")), (200, None), "{target}");
            }
            let refused = client.exchange(&request("POST", "/users/42", &[]));
            assert_eq!((refused.status, refused.field("Vary")), (405, None));
        }
    }
    let server = Server::start(&[], tree.root());
    assert_eq!(server.connect().get("/nothing").field("Vary"), None);
}

#[test]
fn an_error_has_the_page_that_was_written_for_it() {
    let tree = Tree::new(&[("404.html", b"<p>lost"), ("405.html", b"<p>no"), ("a.txt", b"a")]);
    let server = Server::start(&["--error-page", "405=405.html"], tree.root());
    let mut client = server.connect();
    let missing = client.get("/nothing");
    assert_eq!((missing.status, missing.content.as_slice()), (404, b"<p>lost".as_slice()));
    assert_eq!(missing.require("Content-Type"), "text/html; charset=utf-8");
    for name in ["ETag", "Last-Modified", "Accept-Ranges", "Cache-Control"] {
        assert_eq!(missing.field(name), None, "{name}");
    }
    let ranged = client.get_with("/nothing", &["Range: bytes=0-1", "If-None-Match: *"]);
    assert_eq!((ranged.status, ranged.content.len()), (404, 7));
    let head = client.exchange(&request("HEAD", "/nothing", &[]));
    assert_eq!((head.status, head.dateless()), (404, missing.dateless()));
    let refused = client.exchange(&request("DELETE", "/a.txt", &[]));
    assert_eq!((refused.status, refused.content.as_slice()), (405, b"<p>no".as_slice()));
    assert_eq!(refused.require("Allow"), "GET, HEAD, OPTIONS");
    assert_eq!(client.get("/404.html").status, 200, "by its own name it is a file");
    assert_eq!(client.get("/a.txt").content, b"a", "the connection is usable");
}

#[test]
fn a_page_for_errors_that_is_not_there_does_no_harm() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let server = Server::start(&["--error-page", "404=lost/page.html"], tree.root());
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/nothing").status, 404);
    }
    tree.write("lost/page.html", b"found");
    std::thread::sleep(std::time::Duration::from_millis(1_300));
    assert_eq!(client.get("/nothing").content, b"found");
}

#[test]
fn how_long_to_keep_depends_on_the_name() {
    let tree = Tree::new(&[
        ("index.html", b"page"),
        ("app.3f2a9c1b.js", b"digest"),
        ("app.js", b"plain"),
        ("index.html.gz", b"coded"),
    ]);
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    let immutable = "public, max-age=31536000, immutable";
    for (target, expected) in [
        ("/", Some("no-cache")),
        ("/index.html", Some("no-cache")),
        ("/app.3f2a9c1b.js", Some(immutable)),
        ("/app.js", None),
    ] {
        for accepted in ["identity", "gzip"] {
            let accept = format!("Accept-Encoding: {accepted}");
            let whole = client.get_with(target, &[&accept]);
            assert_eq!(whole.field("Cache-Control"), expected, "{target}");
            let tag = format!("If-None-Match: {}", whole.etag());
            let not_modified = client.get_with(target, &[&accept, &tag]);
            assert_eq!(
                (not_modified.status, not_modified.field("Cache-Control")),
                (304, expected),
                "{target}"
            );
        }
    }
    for (flag, expected) in [("off", None), ("60", Some("public, max-age=60"))] {
        let server = Server::start(&["-c", flag], tree.root());
        assert_eq!(server.connect().get("/").field("Cache-Control"), expected, "{flag}");
    }
}

#[test]
fn rules_add_fields_to_the_paths_that_they_match() {
    let tree = Tree::new(&[("index.html", b"page"), ("assets/a.css", b"css"), ("assets/b/c.css", b"css")]);
    let flags = ["-H", "X-All: yes", "-H", "/assets/** Cache-Control: max-age=5", "-H", "*.html X-Page: 1"];
    let server = Server::start(&flags, tree.root());
    let mut client = server.connect();
    for (target, cache, page) in [
        ("/assets/a.css", Some("max-age=5"), None),
        ("/assets/b/c.css", Some("max-age=5"), None),
        ("/index.html", Some("no-cache"), Some("1")),
        ("/", Some("no-cache"), Some("1")),
    ] {
        let response = client.get(target);
        assert_eq!(response.require("X-All"), "yes", "{target}");
        assert_eq!((response.field("Cache-Control"), response.field("X-Page")), (cache, page), "{target}");
    }
    assert_eq!(client.get("/nothing").require("X-All"), "yes");
    assert_eq!(client.get("/assets").require("X-All"), "yes");
}

#[test]
fn browsers_are_told_to_be_careful_when_that_is_asked_for() {
    let tree = Tree::new(&[("index.html", b"page")]);
    let server = Server::start(&["--security-headers", "-H", "X-Frame-Options: DENY"], tree.root());
    let mut client = server.connect();
    for target in ["/", "/nothing"] {
        let response = client.get(target);
        assert_eq!(response.require("X-Content-Type-Options"), "nosniff", "{target}");
        assert_eq!(response.require("X-Frame-Options"), "DENY", "{target}");
        assert!(response.field("Referrer-Policy").is_some(), "{target}");
    }
}

#[test]
fn a_flag_with_an_optional_value_takes_no_root_for_it() {
    let tree = Tree::new(&[("public/index.html", b"index"), ("public/app.html", b"app")]);
    let root = tree.path("public");
    let root = root.to_str().unwrap();
    for (flags, content) in [
        (&["-s"][..], "index"),
        (&["-s=app.html"], "app"),
        (&["--spa=app.html"], "app"),
        (&["-z", "-s"], "index"),
        (&["-zs"], "index"),
        (&["--clean-urls", "-s"], "index"),
    ] {
        let server =
            Launch::bare().flags(&["-p", "0", "-a", "127.0.0.1"]).flags(flags).flags(&[root]).start();
        let response = server.connect().get_with("/somewhere", &["Accept: text/html"]);
        assert_eq!((response.status, &*response.content), (200, content.as_bytes()), "{flags:?}");
    }
    let server = Launch::new(root.as_ref()).env("ONELOOP_SPA", "app.html").start();
    let response = server.connect().get_with("/somewhere", &["Accept: text/html"]);
    assert_eq!(response.content, b"app");
}

#[test]
fn an_application_that_is_not_there_is_refused_at_the_start() {
    let tree = Tree::new(&[("root/a.txt", b"a"), ("app/index.html", b"app")]);
    let root = tree.path("root");
    let mentions = ["'index.html'", "--spa", root.to_str().unwrap(), "--spa=FILE"];
    expect_failure(&Launch::new(&root).flags(&["-s"]).run(), 1, &mentions);
    // It may be that of another host.
    let vhost = format!("--vhost=app.example={}", tree.path("app").display());
    let server = Server::start(&["-s", &vhost], &root);
    assert_eq!(server.connect().get("/a.txt").content, b"a");
}
