//! The commands beside serving: explain, check, healthcheck, completions and man.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::client::request;
use super::response::Response;
use super::schedule::skip;
use super::server::{Ended, Launch, Server};
use super::startup::expect_failure;
use super::tree::{Tree, pattern};

/// Modified long ago, so that nothing is too recent to be sure of.
fn site() -> Tree {
    let text = pattern(3_000).iter().map(|byte| b'a' + byte % 26).collect::<Vec<u8>>();
    let tree = Tree::new(&[
        ("index.html", b"<title>index</title>"),
        ("about.html", b"about"),
        ("404.html", b"not here"),
        ("docs/index.html", b"docs"),
        ("app.3f2a9c1b.js", &text),
        ("app.3f2a9c1b.js.gz", b"not really gzip"),
        ("app.3f2a9c1b.js.br", b"nor brotli"),
        ("text.txt", &text),
        ("old.css", b"css"),
        ("old.css.gz", b"older"),
        (".git/config", b"secret"),
        ("large.bin", &pattern(100_000)),
    ]);
    for name in
        ["index.html", "about.html", "404.html", "app.3f2a9c1b.js", "text.txt", "old.css", "large.bin"]
    {
        tree.modified_at(name, 1_700_000_000, 0);
    }
    for name in ["app.3f2a9c1b.js.gz", "app.3f2a9c1b.js.br"] {
        tree.modified_at(name, 1_700_000_001, 0);
    }
    tree.modified_at("old.css.gz", 1_600_000_000, 0);
    tree.link("outside", "/etc/passwd");
    tree.fifo("fifo");
    tree
}

/// Runs a command over a tree.
fn run(command: &[&str], flags: &[&str]) -> Ended {
    Launch::bare().flags(command).flags(flags).run()
}

/// The head at the end of an explanation.
#[track_caller]
fn explained_head(ended: &Ended, asked_s: u64) -> Response {
    let (_, head) = ended.stdout.split_once("\nresponse ").expect(&ended.stdout);
    let lines: Vec<&str> = head.lines().map(str::trim).collect();
    Response::parse(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes(), asked_s)
}

struct Case {
    method: &'static str,
    target: &'static str,
    fields: &'static [&'static str],
    status: u16,
    /// What the explanation has to mention.
    mentions: &'static [&'static str],
}

const fn case(
    method: &'static str,
    target: &'static str,
    fields: &'static [&'static str],
    status: u16,
    mentions: &'static [&'static str],
) -> Case {
    Case { method, target, fields, status, mentions }
}

const CASES: [Case; 24] = [
    case(
        "GET",
        "/",
        &[],
        200,
        &["path         /, which is to be a directory", "index.html: a file of 20 bytes"],
    ),
    case("HEAD", "/text.txt", &[], 200, &["identity is chosen", "ETag \""]),
    case("GET", "/about", &[], 200, &["about: No such file", "about.html: a file of 5 bytes"]),
    case("GET", "/docs?a=b", &[], 301, &["docs: a directory", "Location: /docs/?a=b"]),
    case("GET", "/d%6Fcs/", &[], 200, &["path         /docs, which is to be a directory"]),
    case("GET", "/nothing", &[], 404, &["nothing: No such file", "error page   for 404: 404.html"]),
    case("GET", "/outside", &[], 404, &["outside: leads out of the root"]),
    case("GET", "/fifo", &[], 404, &["fifo: neither a file nor a directory"]),
    case("GET", "/.git/config", &[], 404, &["hidden       .git/config: a name in it starts with a dot"]),
    case("GET", "/%zz", &[], 400, &["path         malformed"]),
    case(
        "GET",
        "/old.css",
        &["Accept-Encoding: gzip"],
        200,
        &["older than the file itself", "identity is chosen"],
    ),
    case(
        "GET",
        "/app.3f2a9c1b.js",
        &["Accept-Encoding: gzip;q=0.5, br;q=0.25"],
        200,
        &["gzip is there, q=0.500", "br is there, q=0.250", "gzip is chosen", "a digest of the content"],
    ),
    case(
        "GET",
        "/app.3f2a9c1b.js",
        &["Accept-Encoding: *;q=0"],
        200,
        &["br is there, refused by the client"],
    ),
    case("GET", "/text.txt", &["Accept-Encoding: br"], 200, &["br can be made", "br is made of identity"]),
    case("GET", "/text.txt", &["If-None-Match: *"], 304, &["the client has this very version"]),
    case("GET", "/text.txt", &["If-Match: \"other\""], 412, &["not the version that the client means"]),
    case("GET", "/text.txt", &["If-None-Match: \"other\""], 200, &["none of them stands in the way"]),
    case("GET", "/large.bin", &["Range: bytes=5-9"], 206, &["range        bytes 5 to 9"]),
    case("GET", "/large.bin", &["Range: bytes=0-", "X: 1"], 206, &["range        bytes 0 to 99999"]),
    case("GET", "/large.bin", &["Range: lines=1-2"], 200, &["passed over: no ranges of bytes"]),
    case("GET", "/large.bin", &["Range: bytes=100000-"], 416, &["there are no such bytes"]),
    case(
        "GET",
        "/large.bin",
        &["Range: bytes=5-9", "If-Range: \"a\""],
        200,
        &["If-Range does not name this"],
    ),
    case("GET", "/large.bin", &["Transfer-Encoding: gzip"], 501, &["request      refused: "]),
    case("POST", "/text.txt", &["Expect: the-impossible"], 417, &["expect       the client expects"]),
];

#[test]
fn what_is_explained_is_what_is_served() {
    let tree = site();
    let root = tree.root().to_str().unwrap();
    let flags = ["-x", "--security-headers", "--header", "/docs/** X-Docs: yes"];
    let server = Server::start(&flags, tree.root());
    for Case { method, target, fields, status, mentions } in CASES {
        let mut command = vec!["explain", "-X", method, target, root];
        command.extend(fields.iter().flat_map(|field| ["-H", field]));
        command.extend(["-H", "Host: oneloop.test"]);
        let asked_s = super::date::now_s();
        let ended = run(&command, &flags);
        let explained = explained_head(&ended, asked_s);
        let served = server.connect().exchange(&request(method, target, fields));
        let shown = format!("{method} {target} {fields:?}\n{}{}", ended.stdout, ended.stderr);
        assert_eq!((explained.status, served.status), (status, status), "{shown}");
        assert_eq!(explained.dateless(), served.dateless(), "{shown}");
        let class = if status < 400 { 0 } else { i32::from(status / 100) };
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(class), ""), "{shown}");
        for mention in mentions {
            assert!(ended.stdout.contains(mention), "no {mention:?} in {shown}");
        }
        assert!(!ended.stdout.contains('\x1b'), "no colour where there is no terminal: {shown}");
    }
}

#[test]
fn rules_and_applications_are_explained() {
    let tree = site();
    let root = tree.root().to_str().unwrap();
    let table: [(&[&str], &[&str]); 5] = [
        (
            &["/large.bin", "-H", "Range: bytes=5-9,900-999"],
            &["range        bytes 5 to 9", "range        bytes 900 to 999", "multipart/byteranges"],
        ),
        (
            &["/docs/", "--header", "/docs/** X-Docs: yes"],
            &["X-Docs: yes, by a rule for paths like this", "             X-Docs: yes"],
        ),
        (
            &["/a/b", "--spa", "-H", "Sec-Fetch-Mode: navigate"],
            &["application  somebody navigates", "HTTP/1.1 200"],
        ),
        (&["http://h.test:81/text.txt#x"], &["request      GET /text.txt HTTP/1.1", "Host: h.test:81"]),
        (
            &["/docs/", "--symlinks", "never"],
            &["symbolic links: never; names with a dot in front: not served"],
        ),
    ];
    for (flags, mentions) in table {
        let ended = run(&["explain", "--root", root], flags);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
        for mention in mentions {
            assert!(ended.stdout.contains(mention), "no {mention:?} in {}", ended.stdout);
        }
    }
    expect_failure(&run(&["explain", "/", "/nowhere"], &[]), 1, &["'/nowhere'", "--root"]);
    expect_failure(&run(&["explain"], &[]), 2, &["URL"]);
    expect_failure(&run(&["explain", "/", "-H", "nothing"], &[]), 2, &["NAME: VALUE"]);
}

#[test]
fn the_environment_is_heard_by_commands_too() {
    let tree = site();
    let launch = || Launch::bare().env("ONELOOP_ROOT", tree.root());
    let ended = launch().env("ONELOOP_INDEX", "about.html").flags(&["explain", "/"]).run();
    assert!(ended.stdout.contains("about.html: a file of 5 bytes"), "{}{}", ended.stdout, ended.stderr);
    let ended = launch().env("ONELOOP_INDEX", "a/b").flags(&["explain", "/"]).run();
    expect_failure(&ended, 2, &["ONELOOP_INDEX"]);
}

#[test]
fn a_good_setup_passes_the_check() {
    let tree = site();
    let log = tree.path("access.log");
    let flags = ["-p", "0", "-a", "127.0.0.1", "--spa", "--error-page", "403=about.html", "--access-log"];
    let ended = Launch::bare().flags(&["check"]).flags(&flags).flags(&[&log]).flags(&[tree.root()]).run();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    let is_finding = |line: &str| line.starts_with("ok    ") || line.starts_with("warn  ");
    assert!(ended.stdout.lines().all(is_finding), "{}", ended.stdout);
    for subject in [
        "root",
        "file",
        "listen",
        "access log",
        "descriptors",
        "processors",
        "kernel",
        "user",
        "sandbox",
        "reach",
    ] {
        assert!(
            ended.stdout.lines().any(|line| line[6..].starts_with(subject)),
            "{subject}: {}",
            ended.stdout
        );
    }
    assert!(!log.exists(), "a check leaves nothing behind");
}

#[test]
fn each_thing_that_is_wrong_fails_the_check_and_says_what_to_do() {
    let tree = site();
    let root = tree.root().to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let free = ["-l", "127.0.0.1:0"];
    let (empty, wrong) = (tree.path("empty"), tree.path("wrong"));
    std::fs::write(&empty, "\n").unwrap();
    std::fs::write(&wrong, "alice:secret\n").unwrap();
    tree.fifo("pipe");
    let pipe = tree.path("pipe");
    let (empty, wrong, pipe) = (empty.to_str().unwrap(), wrong.to_str().unwrap(), pipe.to_str().unwrap());
    let table: [(&[&str], &[&str]); 11] = [
        (&["-d", root, "--access-log", pipe], &["access log", pipe, "--access-log"]),
        (&["-d", root, "--auth-file", "/nowhere/users"], &["users", "'/nowhere/users'", "--auth-file"]),
        (&["-d", root, "--auth-file", empty], &["users", "no user", "htpasswd"]),
        (&["-d", root, "--auth-file", wrong, "--memory-budget", "128m"], &["users", "line 1"]),
        (&["-d", "/nowhere"], &["root", "'/nowhere'", "--root"]),
        (&["-d", root, "--spa=app.html"], &["file", "'app.html'", "--spa"]),
        (&["-d", root, "--error-page", "403=docs"], &["file", "'docs'", "--error-page"]),
        (&["-d", root, "--access-log", "/nowhere/log"], &["access log", "'/nowhere/log'", "--access-log"]),
        (&["-d", root, "--pin", "1023"], &["processors", "1023", "--pin"]),
        (&["-d", root, "-l", &address], &["listen", &address, "--port"]),
        (&["-d", root, "-l", "unix:/dev/null/socket"], &["listen", "unix:/dev/null/socket", "--listen"]),
    ];
    for (flags, mentions) in table {
        let ended = run(&["check"], &[&free[..], flags].concat());
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""), "{flags:?}: {}", ended.stdout);
        let failed: Vec<&str> = ended.stdout.lines().filter(|line| line.starts_with("fail  ")).collect();
        assert_eq!(failed.len(), 1, "{flags:?}: {}", ended.stdout);
        for mention in mentions {
            assert!(failed[0].contains(mention), "no {mention:?} in {}", failed[0]);
        }
    }
    expect_failure(&run(&["check", "--prot", "1"], &[]), 2, &["--port"]);
    let few = Launch::bare().descriptors_max(10).flags(&["check", "-d", root]).flags(&free).run();
    assert_eq!(few.code, Some(1), "{}", few.stdout);
    assert!(
        few.stdout.contains("fail  descriptors  cannot serve with at most 10 open files"),
        "{}",
        few.stdout
    );
}

#[test]
fn what_only_makes_the_server_worse_is_a_warning() {
    let tree = Tree::new(&[("a.txt", b"a")]);
    let root = tree.root().to_str().unwrap();
    let flags = ["-l", "127.0.0.1:0", "-d", root, "--max-conns", "1000000", "-t", "1000"];
    let ended =
        Launch::bare().descriptors_max(20_000).env("ONELOOP_PROT", "1").flags(&["check"]).flags(&flags).run();
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    for warning in ["environment  the variable 'ONELOOP_PROT'", "index", "descriptors", "processors"] {
        assert!(ended.stdout.contains(&format!("warn  {warning}")), "{warning}: {}", ended.stdout);
    }
}

#[test]
fn a_healthcheck_succeeds_where_a_page_is_answered() {
    let tree = site();
    let server = Server::start(&[], tree.root());
    let url = |path: &str| format!("http://{}{path}", server.address());
    for path in ["", "/text.txt", "/docs"] {
        let ended = run(&["healthcheck", &url(path)], &[]);
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""), "{path}");
    }
    expect_failure(&run(&["healthcheck", &url("/nothing")], &[]), 1, &["/nothing", "answers with 404"]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    expect_failure(
        &run(&["healthcheck", &format!("http://{port}/")], &[]),
        1,
        &["does not answer: Connection"],
    );
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    expect_failure(&run(&["healthcheck", &url, "--timeout", "50ms"], &[]), 1, &["did not answer in time"]);
    expect_failure(&run(&["healthcheck", "https://localhost/"], &[]), 2, &["no TLS"]);
}

#[test]
fn completions_are_scripts_that_know_flags_and_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(&["completions", shell], &[]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{shell}");
        for word in ["header-timeout", "explain", "healthcheck"] {
            assert!(ended.stdout.contains(word), "{shell}: no {word}");
        }
    }
    if Command::new("bash").arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip("commands::completions_are_scripts", "no bash here");
    }
    let tree = Tree::new(&[("script", run(&["completions", "bash"], &[]).stdout.as_bytes())]);
    assert!(Command::new("bash").arg("-n").arg(tree.path("script")).status().unwrap().success());
}

#[test]
fn there_is_a_page_of_the_manual_for_the_server_and_each_command() {
    for (command, mentions) in [
        (&[][..], ["--cache-check", "oneloop-explain(1)"]),
        (&["explain"], ["--request-header", "oneloop-explain"]),
    ] {
        let ended = run(&["man"], command);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{command:?}");
        let page = ended.stdout.replace("\\-", "-");
        assert!(page.contains(".TH "), "{page}");
        for mention in mentions {
            assert!(page.contains(mention), "no {mention} in {page}");
        }
    }
    let tree = Tree::new(&[("oneloop.1", run(&["man"], &[]).stdout.as_bytes())]);
    let Ok(rendered) =
        Command::new("man").arg("-l").arg(tree.path("oneloop.1")).stderr(Stdio::null()).output()
    else {
        return skip("commands::there_is_a_page_of_the_manual", "no man here");
    };
    let text = String::from_utf8_lossy(&rendered.stdout);
    assert!(rendered.status.success() && text.contains("oneloop"), "{text}");
}

#[test]
fn the_help_names_the_commands_and_each_has_a_help_of_its_own() {
    let help = run(&["--help"], &[]).stdout;
    for command in ["explain", "check", "healthcheck", "completions", "man"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        let own = run(&[command, "--help"], &[]);
        assert_eq!(own.code, Some(0), "{}", own.stderr);
        assert!(own.stdout.contains(&format!("Usage: oneloop {command}")), "{}", own.stdout);
    }
}

#[test]
fn a_folder_that_is_called_like_a_command_can_be_served() {
    let tree = Tree::new(&[("check/a.txt", b"a")]);
    let root = format!("{}/./check", tree.root().display());
    let server = Launch::bare().flags(&["-l", "127.0.0.1:0", &root]).start();
    assert_eq!(server.connect().get("/a.txt").content, b"a");
}
