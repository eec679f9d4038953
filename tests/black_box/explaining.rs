//! `oneloop explain`, line by line: every decision, in the order in which it is made, and the exit code of its result.

use super::server::Launch;
use super::tree::Tree;

/// The password is `open sesame`, at the lowest cost.
const ALICE: &str = "alice:$2y$04$ttb.i4A/0YBUKjHuGzwQ7.U.Tsc5hIlUDtGvgPD/zpWmFw.YleadS";

/// Modified at the same time in 2023, so that entity tags and dates are known.
fn site() -> Tree {
    let text = "a".repeat(2_000);
    let tree = Tree::new(&[
        ("public/index.html", b"<p>index"),
        ("public/a.txt", text.as_bytes()),
        ("public/b.txt", b"b"),
        ("public/b.txt.gz", b"gzip"),
        ("public/sub/x", b"x"),
        ("docs/guide/index.html", b"<p>guide"),
    ]);
    for name in ["index.html", "a.txt", "b.txt", "b.txt.gz", "sub/x"] {
        tree.modified_at(&format!("public/{name}"), 1_700_000_000, 0);
    }
    tree.modified_at("docs/guide/index.html", 1_700_000_000, 0);
    tree
}

/// What is explained about `target`, from behind the line of the root up to the response, and the head of that without
/// its date. Blanks that align lines are one.
#[track_caller]
fn explained(tree: &Tree, target: &str, flags: &[&str]) -> (Option<i32>, Vec<String>) {
    let place = tree.root().to_str().unwrap();
    let flags: Vec<String> = flags.iter().map(|flag| flag.replace("PLACE", place)).collect();
    let root = format!("{place}/public");
    let ended = Launch::bare().flags(&["explain", target, "--root", &root]).flags(&flags).run();
    assert_eq!(ended.stderr, "", "{}", ended.stdout);
    let mut lines = ended.stdout.lines().map(|line| line.replace(place, "PLACE"));
    let is_root = |line: &String| line.starts_with("root ");
    assert!(lines.find(is_root).is_some_and(|line| line.contains("PLACE/public; ")), "{}", ended.stdout);
    let is_shown = |line: &String| !line.starts_with("             Date: ");
    let aligned = |line: String| {
        let (step, text) = line.split_at_checked(13).unwrap_or_else(|| panic!("{line:?} is not aligned"));
        format!("{} {text}", step.trim_end()).trim_start().to_owned()
    };
    (ended.code, lines.filter(is_shown).map(aligned).collect())
}

/// Compares an explanation with what it is to be, to the letter.
#[track_caller]
fn expect(target: &str, flags: &[&str], code: i32, expected: &str) {
    let (ended, lines) = explained(&site(), target, flags);
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, expected, "{target} {flags:?}");
    assert_eq!(ended, Some(code), "{target} {flags:?}");
}

/// That nothing has this name, nor one that it may stand for.
fn missing(name: &str) -> String {
    [missing_itself(name), missing_itself(&format!("{name}.html"))].concat()
}

/// That nothing has this very name.
fn missing_itself(name: &str) -> String {
    format!("file {name}: No such file or directory\n{}", uncoded(name))
}

/// That a page of 8 bytes is sent as it is, with some more fields.
fn sent(file: &str, fields: &str) -> String {
    format!(
        "file {file}: a file of 8 bytes
        {}field Cache-Control, as a page is to be asked for each time
        coding no Accept-Encoding: the file as it is, if it is there
        coding identity is there, q=1.000
        coding identity is chosen
        validators ETag \"17979cfe362a0000-8\"
        validators Last-Modified Tue, 14 Nov 2023 22:13:20 GMT
        response HTTP/1.1 200 OK
        Server: oneloop
        Content-Type: text/html; charset=utf-8
        Accept-Ranges: bytes
        Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT
        ETag: \"17979cfe362a0000-8\"
        {fields}Cache-Control: no-cache
        Content-Length: 8
        ",
        uncoded(file)
    )
}

/// That nothing has this name with the ending of a coding.
fn uncoded(name: &str) -> String {
    [".br", ".zst", ".gz"].map(|end| format!("file {name}{end}: No such file or directory\n")).concat()
}

/// That there is no page for 404.
fn no_page() -> String {
    let (begin, end) = ("error page for 404: 404.html", "error page not there: a plain one is sent");
    let path = "path /404.html, which is to be the page of an error";
    format!("{begin}\n{path}\n{}{end}\n", missing_itself("404.html"))
}

#[test]
fn addresses_are_judged_first() {
    let rules = ["--deny", "192.0.2.7", "--allow", "192.0.2.0/24", "--trust", "192.0.2.1,unix"];
    let forbidden = "
        response HTTP/1.1 403 Forbidden
        Server: oneloop
        Content-Type: text/html; charset=utf-8
        Content-Length: 108
    ";
    let table = [
        ("192.0.2.7", None, "client 192.0.2.7", "access refused, as 192.0.2.7/32 is"),
        (
            "198.51.100.1",
            None,
            "client 198.51.100.1",
            "access refused, as it is of no network that is let in",
        ),
        (
            "192.0.2.1",
            Some("X-Forwarded-For: 192.0.2.7"),
            "client 192.0.2.7, as 192.0.2.1 says, which is trusted",
            "access refused, as 192.0.2.7/32 is",
        ),
        (
            "unix",
            Some("X-Forwarded-For: ::1"),
            "client ::1, as somebody says through a Unix socket, which is trusted",
            "access refused, as it is of no network that is let in",
        ),
    ];
    for (client, field, client_line, access_line) in table {
        let flags = [&rules[..], &["--client", client]].concat();
        let flags = field.iter().fold(flags, |flags, field| [&flags[..], &["-H", field]].concat());
        expect("/a.txt", &flags, 4, &format!("{client_line}\n{access_line}\n{forbidden}"));
    }
    let redirect = ["--redirect", "/a.txt=/b"];
    let moved = "
        redirect /a.txt=/b sends the client to /b with 301
        response HTTP/1.1 301 Moved Permanently
        Server: oneloop
        Content-Type: text/html; charset=utf-8
        Content-Length: 124
        Location: /b
    ";
    let table: [(&[&str], &str); 5] = [
        (&["--client", "192.0.2.8"], "client 192.0.2.8\naccess let in, as 192.0.2.0/24 is"),
        (
            &["--client", "192.0.2.8", "-H", "X-Forwarded-For: 192.0.2.7"],
            "client 192.0.2.8\naccess let in, as 192.0.2.0/24 is",
        ),
        (
            &["--client", "192.0.2.8", "--proxy-protocol"],
            "client 192.0.2.8\naccess let in, as 192.0.2.0/24 is",
        ),
        (&["--client", "unix"], "client local, through a Unix socket"),
        (&["--client", "::ffff:192.0.2.8"], "client 192.0.2.8\naccess let in, as 192.0.2.0/24 is"),
    ];
    for (flags, lines) in table {
        expect("/a.txt", &[&rules[..], &redirect, flags].concat(), 0, &format!("{lines}\n{moved}"));
    }
    let lines = "client 127.0.0.1\naccess let in, as it is of no network that is refused";
    expect("/a.txt", &[&rules[..2], &redirect].concat(), 0, &format!("{lines}\n{moved}"));
}

#[test]
fn passwords_are_judged_next() {
    let challenge = "
        response HTTP/1.1 401 Unauthorized
        Server: oneloop
        Content-Type: text/html; charset=utf-8
        Content-Length: 114
        WWW-Authenticate: Basic realm=\"restricted\", charset=\"UTF-8\"
    ";
    let auth = ["--auth", ALICE];
    let table: [(&[&str], &str); 3] = [
        (&[], "none was sent: asked for"),
        // a:b
        (&["-H", "Authorization: Basic YTpi"], "wrong: asked for again"),
        (&["-H", "Authorization: Bearer x"], "malformed: asked for again"),
    ];
    for (flags, line) in table {
        let lines = format!("client 127.0.0.1\npassword {line}\n{challenge}");
        expect("/a.txt", &[&auth[..], flags].concat(), 4, &lines);
    }
    let right = ["-H", "Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWU=", "--redirect", "/a.txt=/b"];
    expect(
        "/a.txt",
        &[&auth[..], &right].concat(),
        0,
        "
        client 127.0.0.1
        password right
        redirect /a.txt=/b sends the client to /b with 301
        response HTTP/1.1 301 Moved Permanently
        Server: oneloop
        Content-Type: text/html; charset=utf-8
        Content-Length: 124
        Location: /b
        ",
    );
    let preflight =
        ["-X", "OPTIONS", "-H", "Origin: https://a.test", "-H", "Access-Control-Request-Method: GET"];
    expect(
        "/a.txt",
        &[&auth[..], &preflight, &["--cors", "https://a.test"]].concat(),
        0,
        "
        client 127.0.0.1
        password a preflight needs none
        method no file is looked for
        origin the scripts of https://a.test may read the answer
        origin a preflight, which is told what may be sent
        response HTTP/1.1 204 No Content
        Server: oneloop
        Allow: GET, HEAD, OPTIONS
        Access-Control-Allow-Origin: https://a.test
        Access-Control-Expose-Headers: Accept-Ranges, Content-Encoding, Content-Length, Content-Range, ETag
        Access-Control-Allow-Methods: GET, HEAD, OPTIONS
        Access-Control-Allow-Headers: Authorization, *
        Access-Control-Max-Age: 7200
        Vary: Origin
        ",
    );
}

#[test]
fn the_host_chooses_the_tree_and_rules_come_before_files() {
    let flags = [
        "--vhost",
        "docs.test=PLACE/docs",
        "--vhost",
        "*.wild.test=PLACE/docs",
        "--redirect",
        "302:/gone/*=https://old.test/$1",
        "--rewrite",
        "/r/*=/$1/",
    ];
    expect(
        "http://docs.test/r/guide",
        &flags,
        0,
        &format!(
            "host docs.test: PLACE/docs is asked
            rewrite /r/*=/$1/ leads to /guide
            path /guide, which is to be a directory
            {}",
            sent("guide/index.html", "")
        ),
    );
    expect(
        "http://A.Wild.test:81/gone/x?q",
        &flags,
        0,
        "
        host A.Wild.test:81: PLACE/docs is asked
        redirect /gone/*=https://old.test/$1 sends the client to https://old.test/x?q with 302
        response HTTP/1.1 302 Found
        Server: oneloop
        Content-Type: text/html; charset=utf-8
        Content-Length: 100
        Location: https://old.test/x?q
        ",
    );
    let rewritten = "
        host other.test: of no virtual host, so the root is asked
        rewrite /r/*=/$1/ leads to /.git
        hidden .git: a name in it starts with a dot
    ";
    let page = "
        response HTTP/1.1 404 Not Found
        Server: oneloop
        Content-Type: text/html; charset=utf-8
        Content-Length: 108
    ";
    expect("http://other.test/r/.git", &flags, 4, &format!("{rewritten}\n{}{page}", no_page()));
}

#[test]
fn codings_ranges_and_conditions_come_last() {
    expect(
        "/b.txt",
        &[
            "-H",
            "Accept-Encoding: gzip;q=0.5, br, identity;q=0.2",
            "-H",
            "If-None-Match: \"17979cfe362a0000-4-gz\"",
        ],
        0,
        "
        path /b.txt, which is to be a file
        file b.txt: a file of 1 bytes
        file b.txt.br: No such file or directory
        file b.txt.zst: No such file or directory
        file b.txt.gz: a file of 4 bytes
        coding Accept-Encoding: gzip;q=0.5, br, identity;q=0.2
        coding gzip is there, q=0.500
        coding identity is there, q=0.200
        coding gzip is chosen
        validators ETag \"17979cfe362a0000-4-gz\"
        validators Last-Modified Tue, 14 Nov 2023 22:13:20 GMT
        condition if-none-match: \"17979cfe362a0000-4-gz\"
        condition the client has this very version
        response HTTP/1.1 304 Not Modified
        Server: oneloop
        Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT
        ETag: \"17979cfe362a0000-4-gz\"
        Vary: Accept-Encoding
        ",
    );
    expect(
        "/a.txt",
        &["-H", "Range: bytes=5-9"],
        0,
        "
        path /a.txt, which is to be a file
        file a.txt: a file of 2000 bytes
        file a.txt.br: No such file or directory
        file a.txt.zst: No such file or directory
        file a.txt.gz: No such file or directory
        coding no Accept-Encoding: the file as it is, if it is there
        coding identity is there, q=1.000
        coding identity is chosen
        validators ETag \"17979cfe362a0000-7d0\"
        validators Last-Modified Tue, 14 Nov 2023 22:13:20 GMT
        range Range: bytes=5-9 of 2000 bytes
        range bytes 5 to 9
        response HTTP/1.1 206 Partial Content
        Server: oneloop
        Content-Type: text/plain; charset=utf-8
        Accept-Ranges: bytes
        Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT
        ETag: \"17979cfe362a0000-7d0\"
        Content-Range: bytes 5-9/2000
        Content-Length: 5
        ",
    );
}

#[test]
fn why_a_range_is_passed_over_is_told() {
    let table: [(&[&str], &str); 4] = [
        (&["-X", "HEAD", "-H", "Range: bytes=5-9"], "range passed over: only GET has ranges"),
        (
            &["-H", "Range: bytes=5-9", "-H", "If-Range: \"x\""],
            "range passed over: If-Range does not name this very version",
        ),
        (&["-H", "Range: bytes=5-9", "-H", "If-None-Match: *"], "range passed over: no content is sent"),
        (&["-H", "Range: lines=1-2"], "range passed over: no ranges of bytes, or too many"),
    ];
    for (flags, line) in table {
        let (_, lines) = explained(&site(), "/a.txt", flags);
        assert!(lines.iter().any(|told| told == line), "{flags:?}: {lines:#?}");
    }
}

#[test]
fn what_stands_in_for_a_missing_file_is_told() {
    let page = "
        response HTTP/1.1 404 Not Found
        Server: oneloop
        Content-Type: text/html; charset=utf-8
        Content-Length: 108
        Vary: Accept, Sec-Fetch-Mode
    ";
    let before = format!("path /x, which is to be a file\n{}", missing("x"));
    let no_page = no_page();
    let why = "application not for this: nobody navigates\n";
    expect("/x", &["--spa"], 4, &format!("{before}{why}{no_page}{page}"));
    let application = format!(
        "application somebody navigates to what is not there: index.html
        path /index.html, which is to be the page of an application
        {}",
        sent("index.html", "Vary: Accept, Sec-Fetch-Mode\n")
    );
    expect("/x", &["--spa", "-H", "Accept: text/html"], 0, &format!("{before}{application}"));
    let tree = site();
    let (code, lines) = explained(&tree, "/sub/", &["-z=json"]);
    assert_eq!(
        (code, lines.get(5).map(String::as_str)),
        (Some(0), Some("listing /sub as JSON")),
        "{lines:?}"
    );
}
