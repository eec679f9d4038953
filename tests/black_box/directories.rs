//! Directories: the index file, and the redirect to the slash form.

use super::client::request;
use super::server::Server;
use super::tree::Tree;

#[track_caller]
fn expect_redirect(server: &Server, target: &str, location: &str) {
    let response = server.connect().get(target);
    assert_eq!((response.status, response.require("Location")), (301, location), "{target}");
    assert_eq!(server.connect().get(location).status, 200, "{location} from {target}");
}

#[test]
fn a_directory_is_its_index_file() {
    let tree =
        Tree::new(&[("index.html", b"<p>top"), ("sub/index.html", b"<p>sub"), ("no/other.html", b"other")]);
    tree.directory("strange/index.html");
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    for (target, content) in [("/", "<p>top"), ("/sub/", "<p>sub"), ("/sub/index.html", "<p>sub")] {
        let response = client.get(target);
        assert_eq!((response.status, response.content.as_slice()), (200, content.as_bytes()), "{target}");
        assert_eq!(response.require("Content-Type"), "text/html; charset=utf-8", "{target}");
    }
    for target in ["/no/", "/strange/", "/missing/"] {
        assert_eq!(client.get(target).status, 404, "{target}");
    }
}

#[test]
fn the_name_of_the_index_file_can_be_chosen() {
    let tree = Tree::new(&[("home.htm", b"home"), ("index.html", b"index")]);
    let server = Server::start(&["--index", "home.htm"], tree.root());
    assert_eq!(server.connect().get("/").content, b"home");
}

#[test]
fn a_directory_without_its_slash_is_redirected() {
    let tree = Tree::new(&[
        ("sub/index.html", b"sub"),
        ("sub/deep/index.html", b"deep"),
        ("d \u{fc}%/index.html", b"encoded"),
        ("a+b;c=d/index.html", b"plain"),
        ("evil.example/index.html", b"evil"),
        ("\\evil/index.html", b"backslash"),
    ]);
    let server = Server::start(&[], tree.root());
    let table = [
        ("/sub", "/sub/"),
        ("/sub/deep", "/sub/deep/"),
        ("/sub?a=b", "/sub/?a=b"),
        ("/sub?a=b&c=%2F?d", "/sub/?a=b&c=%2F?d"),
        ("//sub", "/sub/"),
        ("//sub?q", "/sub/?q"),
        ("/%2Fsub", "/sub/"),
        ("/sub/../sub", "/sub/"),
        ("//evil.example", "/evil.example/"),
        ("///evil.example", "/evil.example/"),
        ("/%2Fevil.example", "/evil.example/"),
        ("/sub/..//evil.example", "/evil.example/"),
        ("/d%20%C3%BC%25", "/d%20%C3%BC%25/"),
        ("/%5Cevil", "/%5Cevil/"),
    ];
    for (target, location) in table {
        expect_redirect(&server, target, location);
    }
    // Whether these are encoded is free, but the location must lead there.
    let response = server.connect().get("/a+b;c=d");
    assert_eq!(response.status, 301);
    assert_eq!(server.connect().get(response.require("Location")).content, b"plain");
}

#[test]
fn a_redirect_does_not_repeat_the_host() {
    let tree = Tree::new(&[("sub/index.html", b"sub")]);
    let server = Server::start(&[], tree.root());
    for host in ["evil.example", "evil.example:8080"] {
        let request = format!("GET /sub HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: {host}\r\n\r\n");
        let response = server.connect().exchange(request.as_bytes());
        assert_eq!((response.status, response.require("Location")), (301, "/sub/"));
        assert!(!String::from_utf8_lossy(&response.content).contains("evil"));
    }
    let absolute = server.connect().exchange(&request("GET", "http://evil.example/sub", &[]));
    assert_eq!((absolute.status, absolute.require("Location")), (301, "/sub/"));
}

#[test]
fn a_name_with_line_ends_adds_no_field() {
    let tree = Tree::new(&[("a\r\nSet-Cookie: b/index.html", b"injected")]);
    let server = Server::start(&[], tree.root());
    let response = server.connect().get("/a%0D%0ASet-Cookie:%20b");
    assert_eq!(response.field("Set-Cookie"), None);
    if response.status == 301 {
        assert!(response.require("Location").starts_with("/a%0D%0ASet-Cookie"), "{:?}", response.head());
    } else {
        assert!([400, 404].contains(&response.status), "{:?}", response.head());
    }
}

#[test]
fn a_directory_that_appears_or_goes_is_noticed() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    assert_eq!(client.get("/sub/").status, 404);
    tree.write("sub/index.html", b"sub");
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(client.get("/sub/").content, b"sub");
    assert_eq!(client.get("/sub").status, 301);
    std::fs::remove_dir_all(tree.path("sub")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(client.get("/sub/").status, 404);
    assert_eq!(client.get("/sub").status, 404);
}
