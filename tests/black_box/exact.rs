//! Responses to the byte: `exact.txt` holds requests and all that is answered to them, head and content.
//!
//! What differs from run to run is written as `…` (times and waits, the digest of a style sheet, the tag of a
//! directory), or as BOUNDARY. Everything else stands there as it goes over the wire, the order of fields included.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use super::date;
use super::making::through;
use super::response::Response;
use super::schedule::skip;
use super::server::{Launch, PATIENCE, Server};
use super::tree::Tree;

const CASES: &str = include_str!("exact.txt");
/// `a { color: red }` and a line end, as gzip writes them.
const RED_GZ: &str = "1f8b08000000000002034b54a85648cecfc92fb252284a4d51a8e50200700d124811000000";
/// 2020-09-13T12:26:40Z
const MODIFIED_S: i64 = 1_600_000_000;

/// A server and what is said on one connection to it.
#[derive(Default)]
struct Case {
    name: &'static str,
    flags: Vec<&'static str>,
    exchanges: Vec<Exchange>,
}

/// Marked lines: what is sent, and the head and content that come back.
#[derive(Default)]
struct Exchange {
    sent: Vec<(char, &'static str)>,
    head: Vec<&'static str>,
    content: Vec<(char, &'static str)>,
}

/// What came back: lines of the head, without the empty one, and the content.
struct Answer {
    head: Vec<String>,
    content: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mark = line.chars().next().expect("a mark");
        let text = line[1..].strip_prefix(' ').unwrap_or_default();
        if mark == '=' {
            cases.push(Case { name: text, ..Case::default() });
            continue;
        }
        let case = cases.last_mut().expect("a case opens with its name");
        let is_answered = case.exchanges.last().is_none_or(|exchange| !exchange.head.is_empty());
        if matches!(mark, '>' | '!') && is_answered {
            case.exchanges.push(Exchange::default());
        }
        match (mark, case.exchanges.last_mut()) {
            ('$', None) => case.flags.push(text),
            ('>' | '!', Some(exchange)) => exchange.sent.push((mark, text)),
            ('<', Some(exchange)) => exchange.head.push(text),
            ('+' | '*' | '|' | '&' | '~' | '?', Some(exchange)) => exchange.content.push((mark, text)),
            _ => panic!("{}: {line}", case.name),
        }
    }
    cases
}

/// The bytes that marked lines stand for.
fn bytes(lines: &[(char, &str)]) -> Vec<u8> {
    let one = |&(mark, text): &(char, &str)| match mark {
        '>' | '*' => format!("{text}\r\n").into_bytes(),
        '+' => format!("{text}\n").into_bytes(),
        '!' | '&' => unhex(text),
        _ => text.as_bytes().to_vec(),
    };
    lines.iter().flat_map(one).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two digits")).collect()
}

fn site() -> Tree {
    let long = b"a line of the long text\n".repeat(100);
    let red = unhex(RED_GZ);
    let files: [(&str, &[u8]); 16] = [
        ("app.js", b"let plain = 1;\n"),
        ("app.js.br", b"BROTLI-\n"),
        ("app.js.zst", b"ZSTD--\n"),
        ("app.js.gz", b"GZIP-\n"),
        ("only.css.gz", &red),
        ("long.txt", &long),
        ("digits.bin", b"0123456789"),
        ("about.html", b"<p>about\n"),
        ("index.html", b"<p>index\n"),
        ("404.html", b"<p>lost\n"),
        ("dir/index.html", b"<p>dir\n"),
        ("app.3f2a9c1b.js", b"let digest;\n"),
        ("who.txt", b"root\n"),
        ("hosts/exact/who.txt", b"exact\n"),
        ("hosts/wild/who.txt", b"wild\n"),
        ("plain/a.txt", b"a\n"),
    ];
    let tree = Tree::new(&files);
    for (name, _) in files {
        tree.modified_at(name, MODIFIED_S, 0);
    }
    tree
}

/// Reads one answer. That nothing follows its content is seen by what is read next.
fn read(stream: &mut BufReader<TcpStream>, is_head: bool) -> Answer {
    let asked_s = date::now_s();
    let (mut raw, mut content) = (Vec::new(), Vec::new());
    while !raw.ends_with(b"\r\n\r\n") {
        let count = stream.read_until(b'\n', &mut raw).expect("a line");
        assert!(count > 0, "closed after {}", raw.escape_ascii());
    }
    let response = Response::parse(&raw, asked_s);
    let length = if is_head || response.status == 304 { 0 } else { response.content_length().unwrap_or(0) };
    stream.take(length).read_to_end(&mut content).expect("content");
    let head = String::from_utf8(raw).expect("ASCII");
    let mut head: Vec<String> = head.trim_end().split("\r\n").map(str::to_owned).collect();
    if let Some((_, boundary)) =
        response.field("Content-Type").and_then(|field| field.split_once("boundary="))
    {
        head = head.iter().map(|line| line.replace(boundary, "BOUNDARY")).collect();
        content = String::from_utf8(content).expect("text").replace(boundary, "BOUNDARY").into_bytes();
    }
    Answer { head, content }
}

/// Whether a line is as expected, where `…` is anything that is not empty.
fn is_like(line: &str, expected: &str) -> bool {
    expected.split_once('…').map_or(line == expected, |(before, after)| {
        line.len() > before.len() + after.len() && line.starts_with(before) && line.ends_with(after)
    })
}

impl Exchange {
    fn expects_head(&self, head: &[String]) -> bool {
        let (end, lines) = self.head.split_last().expect("an answer");
        let are_alike = head.iter().zip(lines).all(|(line, expected)| is_like(line, expected));
        end.is_empty() && lines.len() == head.len() && are_alike
    }

    fn expects_content(&self, content: &[u8], tree: &Tree) -> bool {
        match self.content.first() {
            Some(('?', file)) => {
                let whole = std::fs::read(tree.path(file)).expect("the file that was coded");
                through("gzip", &["-dc"], content).map_or_else(
                    || {
                        skip("exact: content that the server coded", "no gzip");
                        true
                    },
                    |decoded| decoded == whole,
                )
            }
            Some(('~', _)) => {
                let text = String::from_utf8_lossy(content);
                self.content.iter().all(|(_, row)| text.lines().any(|line| line == *row))
            }
            _ => content == bytes(&self.content),
        }
    }
}

impl Case {
    fn start(&self, tree: &Tree) -> Server {
        let root = tree.root().to_str().expect("a path in UTF-8");
        let flags: Vec<String> = self.flags.iter().map(|flag| flag.replace("{root}", root)).collect();
        Launch::new(tree.root()).flags(&["-t", "1"]).flags(&flags).start()
    }

    /// What is not as it is written.
    fn problems(&self, tree: &Tree) -> Vec<String> {
        let mut problems = Vec::new();
        let server = self.start(tree);
        let stream = TcpStream::connect(server.address()).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
        let mut stream = BufReader::new(stream);
        for exchange in &self.exchanges {
            stream.get_mut().write_all(&bytes(&exchange.sent)).expect("send");
            let answer = read(&mut stream, exchange.sent.iter().any(|(_, line)| line.starts_with("HEAD ")));
            if !exchange.expects_head(&answer.head) || !exchange.expects_content(&answer.content, tree) {
                let content = String::from_utf8_lossy(&answer.content);
                let head = answer.head.join("\n");
                problems.push(format!("{}: {:?}\n{head}\n\n{content}", self.name, exchange.sent));
            }
        }
        stream.get_ref().shutdown(Shutdown::Write).expect("shutdown");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("an end in order");
        if !rest.is_empty() {
            problems.push(format!("{}: then {}", self.name, rest.escape_ascii()));
        }
        problems
    }
}

#[test]
fn every_response_is_what_is_written() {
    let (tree, cases) = (site(), cases());
    assert!(cases.iter().all(|case| !case.exchanges.is_empty()) && cases.len() > 25, "{} cases", cases.len());
    let problems: Vec<String> = cases.iter().flat_map(|case| case.problems(&tree)).collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n\n"));
}
