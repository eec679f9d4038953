//! Redirects, rewrites and media types that the operator writes.

use super::client::request;
use super::server::{Launch, Server};
use super::startup::expect_failure;
use super::tree::{Tree, pattern};

#[test]
fn a_redirect_is_sent_to_the_letter() {
    let tree = Tree::new(&[("old/a.txt", b"there all the same")]);
    let server = Server::start(&["--redirect", "/old/*=/new/$1"], tree.root());
    let response = server.connect().get("/old/a.txt?q=1");
    assert_eq!(
        response.dateless(),
        [
            ("Server", "oneloop"),
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", "124"),
            ("Location", "/new/a.txt?q=1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert!(response.content.starts_with(b"<!doctype html>\n"));
    assert!(
        response.content.ends_with(b"<title>301 Moved Permanently</title>\n<h1>301 Moved Permanently</h1>\n")
    );
}

#[test]
fn the_first_redirect_that_matches_leads_where_it_says() {
    let tree = Tree::new(&[("old/a.txt", b"a"), ("other.txt", b"other"), (".git/config", b"secret")]);
    let flags = [
        "--redirect",
        "/old/kept/*=/kept/$1?own=1",
        "--redirect",
        "302:/old/*=/new/$1",
        "--redirect",
        "303:/see=/old.html#part",
        "--redirect",
        "307:/:user/posts/:id=https://example.org/:id/$1",
        "--redirect",
        "308:/blog/*.php=/posts/$1.html",
    ];
    let server = Server::start(&flags, tree.root());
    let table = [
        ("/old/kept/x?q=1", 301, "/kept/x?own=1"),
        ("/old/a.txt", 302, "/new/a.txt"),
        ("/old/a/b/?q=%20\"", 302, "/new/a/b/?q=%20%22"),
        ("/old", 302, "/new"),
        ("/old/", 302, "/new/"),
        ("/%6fld/b%20c", 302, "/new/b%20c"),
        ("//old/.//x/../a.txt", 302, "/new/a.txt"),
        ("/see?q", 303, "/old.html?q#part"),
        ("/ann/posts/7?q", 307, "https://example.org/7/ann?q"),
        ("/blog/hello.php", 308, "/posts/hello.html"),
        ("http://evil.example/old/x", 302, "/new/x"),
    ];
    for (target, status, location) in table {
        // Twice on one connection: nothing is remembered of the first.
        let mut client = server.connect();
        for _ in 0..2 {
            let response = client.get(target);
            assert_eq!((response.status, response.require("Location")), (status, location), "{target}");
        }
        let head = client.exchange(&request("HEAD", target, &[]));
        assert_eq!((head.status, head.require("Location")), (status, location), "HEAD {target}");
    }
    let mut client = server.connect();
    for (target, status) in
        [("/other.txt", 200), ("/older/x", 404), ("/blog/a/b.php", 404), ("/.git/config", 404)]
    {
        assert_eq!(client.get(target).status, status, "{target}");
    }
    for target in ["/old/../../x", "/old/%00", "/old/%zz"] {
        assert_eq!(server.connect().get(target).status, 400, "{target}");
    }
}

#[test]
fn no_client_leads_another_one_astray() {
    let tree = Tree::new(&[]);
    let flags = ["--redirect", "/go/*=/$1", "--redirect", "/x*=/$1/evil.example", "--redirect", "302:/q=/r"];
    let server = Server::start(&flags, tree.root());
    let table = [
        ("/go//evil.example/", "/evil.example/"),
        ("/go/%2Fevil.example", "/evil.example"),
        ("/go/%2F%2Fevil.example", "/evil.example"),
        ("/go/%5Cevil.example", "/%5Cevil.example"),
        ("/go/\\evil.example", "/%5Cevil.example"),
        ("/go/%0D%0ASet-Cookie:%20a=b", "/%0D%0ASet-Cookie:%20a=b"),
        ("/go/https://evil.example", "/https:/evil.example"),
        ("/x", "/evil.example"),
        ("/go", "/"),
        ("/q?%0d%0aSet-Cookie:a", "/r?%0d%0aSet-Cookie:a"),
    ];
    for (target, location) in table {
        let response = server.connect().get_with(target, &["X-Forwarded-Host: evil.example"]);
        assert_eq!(response.require("Location"), location, "{target}");
        assert_eq!(response.field("Set-Cookie"), None, "{target}");
    }
}

#[test]
fn a_redirect_is_for_every_method_but_options() {
    let tree = Tree::new(&[]);
    let server = Server::start(&["--redirect", "308:/api/*=https://api.example.org/$1"], tree.root());
    let mut client = server.connect();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let response = client.exchange(&request(method, "/api/a?b", &[]));
        assert_eq!(
            (response.status, response.require("Location")),
            (308, "https://api.example.org/a?b"),
            "{method}"
        );
        assert_eq!(client.exchange(&request(method, "/else", &[])).status, 405, "{method}");
    }
    assert_eq!(client.exchange(&request("OPTIONS", "/api/a", &[])).status, 204);
    assert_eq!(client.exchange(&request("BREW", "/api/a", &[])).status, 501);
    let with_content = [request("POST", "/api/a", &["Content-Length: 3"]), b"abc".to_vec()].concat();
    assert_eq!(client.exchange(&with_content).status, 308);
    assert_eq!(client.exchange(&request("BREW", "/api/a", &[])).status, 501, "the content was no request");
}

#[test]
fn a_rewritten_request_is_answered_as_if_the_target_had_been_asked_for() {
    let big = pattern(300_000);
    let tree = Tree::new(&[
        ("new/a.txt", b"0123456789"),
        ("new/app.js", b"plain"),
        ("new/app.js.gz", b"coded"),
        ("new/big.bin", &big),
        ("old/a.txt", b"never seen"),
        ("shell.html", b"shell"),
    ]);
    let server =
        Server::start(&["--rewrite", "/old/*=/new/$1", "--rewrite", "/users/*=/shell.html"], tree.root());
    let mut client = server.connect();
    for _ in 0..2 {
        let (as_is, rewritten) = (client.get("/new/a.txt"), client.get("/old/a.txt?q"));
        assert_eq!((rewritten.status, rewritten.dateless()), (200, as_is.dateless()));
        assert_eq!(rewritten.content, b"0123456789");
        let tag = format!("If-None-Match: {}", as_is.etag());
        assert_eq!(client.get_with("/old/a.txt", &[&tag]).status, 304);
        assert_eq!(client.get_with("/old/a.txt", &["If-Match: \"no\""]).status, 412);
        let part = client.get_with("/old/a.txt", &["Range: bytes=2-4"]);
        assert_eq!((part.status, part.content.as_slice()), (206, b"234".as_slice()));
        let coded = client.get_with("/old/app.js", &["Accept-Encoding: gzip"]);
        assert_eq!(
            (coded.require("Content-Encoding"), coded.content.as_slice()),
            ("gzip", b"coded".as_slice())
        );
        assert_eq!(coded.require("Content-Type"), "text/javascript; charset=utf-8");
        assert_eq!(client.get("/old/big.bin").content, big);
        assert_eq!(client.get("/users/42/edit").content, b"shell");
        assert_eq!(client.get("/old/nothing").status, 404);
        let head = client.exchange(&request("HEAD", "/old/a.txt", &[]));
        assert_eq!(head.dateless(), as_is.dateless());
    }
    assert_eq!(client.exchange(&request("POST", "/old/a.txt", &[])).status, 405);
    assert_eq!(client.exchange(&request("OPTIONS", "/old/a.txt", &[])).status, 204);
}

#[test]
fn paths_that_rules_swap_are_never_taken_for_each_other() {
    let tree = Tree::new(&[("a", b"is a"), ("b", b"is b"), ("c", b"is c")]);
    let server = Server::start(&["--rewrite", "/a=/b", "--rewrite", "/b=/c"], tree.root());
    let mut client = server.connect();
    for _ in 0..3 {
        for (target, content) in [
            ("/a", b"is b"),
            ("/b", b"is c"),
            ("/c", b"is c"),
            ("/%61", b"is b"),
            ("//b", b"is c"),
            ("/./c", b"is c"),
        ] {
            assert_eq!(client.get(target).content, content, "{target}");
        }
    }
}

#[test]
fn a_rewrite_leads_to_nothing_that_is_not_served() {
    let tree = Tree::new(&[(".env", b"secret"), ("pub/.env", b"secret"), ("pub/a", b"a")]);
    tree.link("out", "/etc");
    let flags = ["--rewrite", "/env=/.env", "--rewrite", "/x/*=/pub/$1", "--rewrite", "/etc/*=/out/$1"];
    let server = Server::start(&flags, tree.root());
    let mut client = server.connect();
    for target in ["/env", "/x/.env", "/x/%2eenv", "/etc/passwd", "/x/a/b"] {
        assert_eq!(client.get(target).status, 404, "{target}");
    }
    assert_eq!(client.get("/x/a").content, b"a");
    assert_eq!(server.connect().get("/x/../../a").status, 400);
    let server = Server::start(&[&flags[..], &["--hidden"]].concat(), tree.root());
    assert_eq!(server.connect().get("/env").content, b"secret");
}

/// As Caddy does; nginx sends to where the rule leads.
#[test]
fn a_rewrite_to_a_listed_directory_leads_to_where_its_links_work() {
    let tree =
        Tree::new(&[("docs/a.txt", b"a"), ("docs/sub/b.txt", b"b"), (".git/x", b"x"), ("f.txt", b"f")]);
    let rules = ["/start=/docs", "/slash=/docs/", "/in/*=/docs/$1", "/git=/.git", "/file=/f.txt", "/no=/no"];
    let flags: Vec<_> = rules.iter().flat_map(|rule| ["--rewrite", rule]).chain(["--listing"]).collect();
    for more in [&[][..], &["--helpers", "0"], &["--compress"]] {
        let server = Server::start(&[&flags[..], more].concat(), tree.root());
        for _ in 0..2 {
            let mut client = server.connect();
            for (target, location) in
                [("/start?size", "/start/?size"), ("/slash", "/slash/"), ("/in/sub", "/in/sub/")]
            {
                let response = client.get(target);
                assert_eq!((response.status, response.require("Location")), (301, location), "{target}");
                let response = client.get(location);
                assert_eq!(response.status, 200, "{location}");
            }
            assert_eq!(client.get("/file").content, b"f");
            for target in ["/git", "/git/", "/no", "/no/", "/missing"] {
                assert_eq!(client.get(target).status, 404, "{target}");
            }
        }
    }
}

#[test]
fn a_rewrite_to_a_directory_ends() {
    let tree = Tree::new(&[
        ("new/sub/index.html", b"sub"),
        ("new/index.html", b"new"),
        ("app/index.html", b"app"),
        ("index.html", b"root"),
    ]);
    let flags = ["--rewrite", "/old/*=/new/$1", "--rewrite", "/start=/", "--rewrite", "/:any=/app"];
    let server = Server::start(&flags, tree.root());
    let mut client = server.connect();
    for _ in 0..2 {
        for (target, location) in [("/old/sub?q", "/old/sub/?q"), ("/old", "/old/")] {
            let response = client.get(target);
            assert_eq!((response.status, response.require("Location")), (301, location), "{target}");
        }
        for (target, content) in [
            ("/old/sub/", b"sub".as_slice()),
            ("/old/", b"new"),
            ("/start", b"root"),
            // A redirect to /app/ would be rewritten to /app.
            ("/anything", b"app"),
            ("/app", b"app"),
            ("/app/", b"app"),
        ] {
            let response = client.get(target);
            assert_eq!((response.status, response.content.as_slice()), (200, content), "{target}");
        }
    }
}

#[test]
fn a_file_that_is_rewritten_to_is_seen_to_change() {
    let tree = Tree::new(&[("new.txt", b"before")]);
    let server = Server::start(&["--rewrite", "/old.txt=/new.txt", "--cache-check", "0"], tree.root());
    let mut client = server.connect();
    assert_eq!(client.get("/old.txt").content, b"before");
    tree.replace("new.txt", b"and after");
    assert_eq!(client.get("/old.txt").content, b"and after");
}

#[test]
fn rules_come_from_the_environment_line_by_line() {
    let tree = Tree::new(&[("a.txt", b"a"), ("b.glb", b"b")]);
    let server = Launch::new(tree.root())
        .env("ONELOOP_REDIRECT", "/x=/a,b\n302:/y=/a.txt")
        .env("ONELOOP_REWRITE", "/z=/a.txt\n/w=/b.glb")
        .env("ONELOOP_MIME", "txt=text/x-note\nglb=model/gltf-binary")
        .env("ONELOOP_CORS", "https://a.example")
        .start();
    let mut client = server.connect();
    assert_eq!(client.get("/x").require("Location"), "/a,b");
    assert_eq!(client.get("/y").status, 302);
    assert_eq!(client.get("/z").require("Content-Type"), "text/x-note; charset=utf-8");
    assert_eq!(client.get("/w").require("Content-Type"), "model/gltf-binary");
    assert_eq!(client.get("/w").require("Vary"), "Origin");
    let table = [
        ("ONELOOP_REDIRECT", "/a", "'/a' for 'ONELOOP_REDIRECT'"),
        ("ONELOOP_REDIRECT", "/a=/b\n/b=/a", "never end: ONELOOP_REDIRECT '/a=/b', ONELOOP_REDIRECT '/b=/a'"),
        ("ONELOOP_CORS", "a", "'a' for 'ONELOOP_CORS'"),
    ];
    for (name, value, mention) in table {
        expect_failure(&Launch::new(tree.root()).env(name, value).run(), 2, &[mention]);
    }
}

#[test]
fn rules_that_cannot_be_meant_are_refused_at_the_start() {
    let tree = Tree::new(&[]);
    let table: [(&[&str], &[&str]); 5] = [
        (
            &["--redirect", "/a=/b", "--redirect", "/b=/a"],
            &["'/a'", "--redirect '/a=/b', --redirect '/b=/a'"],
        ),
        (&["--redirect", "/*=/down.html"], &["'/down.html' never end", "--redirect '/*=/down.html'"]),
        (
            &["--rewrite", "/*=/b", "--rewrite", "/a=/c"],
            &["--rewrite '/a=/c' never matches", "--rewrite '/*=/b'"],
        ),
        (
            &["--redirect", "/a=//evil.example"],
            &["--redirect", "'/a=//evil.example'", "at byte 2 of the target"],
        ),
        (&["--mime", "js"], &["--mime", "'js'", "EXT=TYPE"]),
    ];
    for (flags, mentions) in table {
        expect_failure(&Launch::new(tree.root()).flags(flags).run(), 2, mentions);
    }
}

#[test]
fn the_operator_knows_the_types_of_files() {
    let text = pattern(4_000);
    let tree = Tree::new(&[("a.md", &text), ("b.GLB", b"b"), ("c.css", b"c"), ("d.md.gz", b"coded")]);
    let flags =
        ["--mime", "md=text/plain", "--mime", "glb=text/x; charset=latin1", "--mime", "css=image/png", "-x"];
    let server = Server::start(&flags, tree.root());
    let mut client = server.connect();
    for (target, media_type) in [
        ("/a.md", "text/plain; charset=utf-8"),
        ("/b.GLB", "text/x; charset=latin1"),
        ("/c.css", "image/png"),
    ] {
        assert_eq!(client.get(target).require("Content-Type"), media_type, "{target}");
    }
    for target in ["/a.md", "/d.md"] {
        let coded = client.get_with(target, &["Accept-Encoding: gzip"]);
        assert_eq!(coded.require("Content-Encoding"), "gzip", "{target}");
        assert_eq!(coded.require("Content-Type"), "text/plain; charset=utf-8", "{target}");
    }
}
