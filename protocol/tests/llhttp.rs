//! The decoder of request heads against one that has nothing in common with it: llhttp, which is generated from a state
//! machine and which Node.js has. httparse would be no witness, since ours stands on it.
//!
//! Both read the corpus and 100,000 heads that are made of it. Where they do not agree, a table says why; a difference
//! that does not stand there fails. Without Node.js nothing is compared.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails, and numbers here are small"
)]

pub mod cases;

use std::collections::BTreeMap;
use std::process::Command;

use oneloop_protocol::http1::framing::Framing;
use oneloop_protocol::http1::head::FieldLines;
use oneloop_protocol::http1::state::Persistence;
use oneloop_protocol::{Http1, Limits, Name};

/// Heads made of those of the corpus.
const MUTATIONS: usize = 100_000;
/// Longest head that is changed: the very long ones are about limits, which every server has of its own.
const BYTES_MAX: usize = 1_500;

/// What one of them makes of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    More,
    Refused(String),
    Accepted(Box<Head>),
}

/// A head, as one of them read it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    version: String,
    method: Vec<u8>,
    target: Vec<u8>,
    persists: bool,
    framing: String,
    /// Whether it is whole with its last byte and not before.
    ends: bool,
    /// Of each [`Name`] the values.
    fields: Vec<Vec<Vec<u8>>>,
}

/// Ours, and how many bytes the head takes.
fn ours(input: &[u8]) -> (Verdict, usize) {
    let (mut http, mut lines) = (Http1::new(), FieldLines::new());
    match http.receive_head(input, &mut lines, &Limits::default()) {
        Ok(None) => (Verdict::More, 0),
        Err(error) => (Verdict::Refused(format!("{error:?}")), 0),
        Ok(Some((head, bytes))) => {
            let mut words = head.request_line.split(|&byte| byte == b' ').map(<[u8]>::to_vec);
            let (method, target) = (words.next().unwrap(), words.next().unwrap());
            let version = String::from_utf8(words.next().unwrap()).unwrap();
            let framing = match head.framing {
                Framing::None => "none".to_owned(),
                // The probe behind the head has eleven bytes.
                Framing::Length(length @ 1..=11) => format!("length-{length}"),
                Framing::Length(_) => "length".to_owned(),
                Framing::Chunked => "chunked".to_owned(),
            };
            let fields = Name::ALL.map(|name| head.fields.all(name).map(<[u8]>::to_vec).collect()).to_vec();
            let persists = head.persistence == Persistence::Persistent;
            let version = version.strip_prefix("HTTP/").unwrap().to_owned();
            (
                Verdict::Accepted(Box::new(Head {
                    version,
                    method,
                    target,
                    persists,
                    framing,
                    ends: true,
                    fields,
                })),
                bytes,
            )
        }
    }
}

/// A line of what llhttp says.
fn theirs(line: &str) -> Verdict {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["more"] => Verdict::More,
        ["refused", code] => Verdict::Refused(code.to_owned()),
        ["ok", version, method, target, persists, framing, ends, lines] => {
            let lines: Vec<(Vec<u8>, Vec<u8>)> = lines
                .split(',')
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (bytes(name), bytes(value)))
                .collect();
            let named = |name: Name| {
                let of_name = lines.iter().filter(|(known, _)| known == name.as_str().as_bytes());
                of_name.map(|(_, value)| value.clone()).collect()
            };
            Verdict::Accepted(Box::new(Head {
                version: version.to_owned(),
                method: bytes(method),
                target: bytes(target),
                persists: persists == "true",
                framing: framing.to_owned(),
                ends: ends == "true",
                fields: Name::ALL.map(named).to_vec(),
            }))
        }
        _ => panic!("not understood: {line}"),
    }
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let pairs = hexadecimal.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// What differs, in words that the table knows; none if nothing does.
fn difference(input: &[u8], ours: &Verdict, theirs: &Verdict) -> Option<String> {
    let kind = |verdict: &Verdict| match verdict {
        Verdict::More => "more".to_owned(),
        Verdict::Refused(why) => why.clone(),
        Verdict::Accepted(_) => "accepted".to_owned(),
    };
    match (ours, theirs) {
        (Verdict::More, Verdict::More) | (Verdict::Refused(_), Verdict::Refused(_)) => None,
        (Verdict::Accepted(ours), Verdict::Accepted(theirs)) => {
            let aspects = [
                (ours.version == theirs.version, "version"),
                (ours.method == theirs.method, "method"),
                (ours.target == theirs.target, "target"),
                (ours.persists == theirs.persists, "persistence"),
                (ours.framing == theirs.framing, "framing"),
                (ours.ends == theirs.ends, "length"),
                (ours.fields == theirs.fields, "fields"),
            ];
            let differing: Vec<_> =
                aspects.iter().filter(|(same, _)| !same).map(|&(_, aspect)| aspect).collect();
            let why = peculiarity(input);
            (!differing.is_empty()).then(|| format!("differ in {}{why}", differing.join(", ")))
        }
        (Verdict::More, Verdict::Refused(_)) => Some("more | refused".to_owned()),
        _ => Some(format!("{} | {}", kind(ours), kind(theirs))),
    }
}

/// What is known to be read differently.
fn peculiarity(input: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(input).to_ascii_lowercase();
    let is_tab = |behind: &str| behind.trim_start_matches(' ').starts_with('\t');
    match () {
        () if text.trim_start().starts_with("connect ") => ": CONNECT",
        () if ["chunked", "close", "keep-alive"].iter().any(|word| text.split(word).skip(1).any(is_tab)) => {
            ": a tab behind the value"
        }
        () => "",
    }
}

/// Numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

const PIECES: [&[u8]; 40] = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\0",
    b"\x7f",
    b"\xe4",
    b"/",
    b"?",
    b"#",
    b"%2e",
    b"*",
    b"@",
    b"0",
    b"1",
    b"9",
    b"GET ",
    b"POST ",
    b"PURGE ",
    b"CONNECT ",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b" HTTP/1.2",
    b" HTTP/2.0",
    b"http://a",
    b"\r\nHost: b",
    b"\r\nContent-Length: 3",
    b"\r\nContent-Length: 4",
    b"\r\nContent-Length:",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nTransfer-Encoding: gzip",
    b"\r\nConnection: close",
    b"\r\nConnection: keep-alive",
    b"\r\nConnection: Upgrade\r\nUpgrade: a",
    b"\r\nExpect: 100-continue",
    b"\r\n folded",
];

/// A head of the corpus, most often one that is accepted, with a change or two.
fn mutated(cases: &[Vec<u8>], accepted: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pool = if random.below(8) == 0 { cases } else { accepted };
    let mut head = pool[random.below(pool.len())].clone();
    for _ in 0..1 + random.below(2) {
        let at = random.below(head.len() + 1);
        let piece = PIECES[random.below(PIECES.len())];
        match random.below(6) {
            0 => drop(head.splice(at..at, piece.iter().copied())),
            1 => {
                let end = (at + piece.len()).min(head.len());
                head.splice(at..end, piece.iter().copied());
            }
            2 => drop(head.drain(at..(at + 1 + random.below(4)).min(head.len()))),
            3 => head.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (at % 8)),
            4 => {
                let other = &cases[random.below(cases.len())];
                head.truncate(at);
                head.extend_from_slice(&other[random.below(other.len())..]);
            }
            _ => {
                // A line behind the first, once more.
                let line: Vec<u8> =
                    head[at..].split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default().to_vec();
                head.splice(at..at, line);
            }
        }
    }
    head
}

/// What llhttp makes of the inputs; none where there is no Node.js that lets us ask it.
fn ask(inputs: &[Vec<u8>], lengths: &[usize]) -> Option<Vec<Verdict>> {
    let mut records = Vec::new();
    for (input, length) in inputs.iter().zip(lengths) {
        records.extend((input.len() as u32).to_be_bytes());
        records.extend((*length as u32).to_be_bytes());
        records.extend(input);
    }
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/heads");
    std::fs::write(path, records).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/llhttp/read.js");
    let output = Command::new("node").args(["--no-deprecation", script, path]).output().ok()?;
    if output.status.code() == Some(77) {
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().lines().map(theirs).collect())
}

/// Where the two differ, and why that is right. First what we refuse and llhttp does not.
const DIFFERENCES: [(&str, &str); 23] = [
    ("Host | accepted", "RFC 9112 §3.2: 400 without exactly one valid Host; llhttp leaves that to its user"),
    (
        "Target | accepted",
        "RFC 9112 §3.2: `*` with OPTIONS alone, an authority with CONNECT alone, no userinfo",
    ),
    (
        "RequestLine | accepted",
        "RFC 9112 §3: a version is required, and one space on each side of the target",
    ),
    ("Version | accepted", "RFC 9110 §15.6.6: 505 for another major version; llhttp takes 0.9 and 2.0"),
    ("LineEnd | accepted", "RFC 9112 §2.2: at most one empty line before a request, and it ends in CR LF"),
    ("LineEnd | more", "the same, before the request line has come"),
    (
        "Host | more",
        "RFC 9113 §3.4: PRI begins HTTP/2 for llhttp, which waits for the rest; here it is a method without Host",
    ),
    ("Version | more", "RFC 9110 §15.6.6: llhttp takes it, as above"),
    (
        "RequestLine | more",
        "RFC 9112 §3: a request line without a version is HTTP/0.9 for llhttp, which reads on",
    ),
    ("ConflictingFraming | accepted", "RFC 9112 §6.1: Transfer-Encoding in HTTP/1.0 is faulty framing"),
    (
        "TransferCoding | accepted",
        "RFC 9112 §6.1: 501 for codings that are not understood; `chunked` is all there is here",
    ),
    ("ContentTooLarge | accepted", "RFC 9110 §15.5.14: our limit"),
    ("TargetTooLong | accepted", "RFC 9110 §15.5.15: our limit"),
    ("HeadTooLarge | accepted", "RFC 6585 §5: our limit"),
    // What we accept and llhttp does not.
    (
        "accepted | HPE_INVALID_METHOD",
        "RFC 9110 §9.1: an unknown method is answered with 501; llhttp has a list of its own",
    ),
    (
        "accepted | HPE_INVALID_VERSION",
        "RFC 9110 §2.5: a higher minor version is read as the highest that is known",
    ),
    (
        "accepted | HPE_INVALID_URL",
        "octets from 0x80 on in a path stand for themselves: they are names of files",
    ),
    (
        "accepted | HPE_INVALID_CONTENT_LENGTH",
        "RFC 9112 §6.3: a list of the same number may be taken for one",
    ),
    ("accepted | HPE_UNEXPECTED_CONTENT_LENGTH", "RFC 9112 §6.3: so may several lines of it"),
    // What both accept and do not read alike.
    (
        "differ in framing: a tab behind the value",
        "RFC 9110 §5.6.3: a tab is optional white space, too; llhttp does not know `chunked` then",
    ),
    ("differ in persistence: a tab behind the value", "the same, with `close` and `keep-alive`"),
    (
        "differ in framing: CONNECT",
        "RFC 9110 §9.3.6: what follows is a tunnel for llhttp; we refuse it and end the connection",
    ),
    // In heads that are not whole, llhttp speaks within a line and we at its end. What is whole is compared above.
    ("more | refused", "the line has not ended, or framing is judged once all of it is there"),
];

#[test]
fn llhttp_reads_the_same_or_the_table_says_why() {
    let mut inputs: Vec<Vec<u8>> = cases::corpus().into_iter().map(|case| case.input).collect();
    let short: Vec<Vec<u8>> = inputs.iter().filter(|input| input.len() <= BYTES_MAX).cloned().collect();
    let is_fine = |input: &&Vec<u8>| matches!(ours(input).0, Verdict::Accepted(_));
    let fine: Vec<Vec<u8>> = short.iter().filter(is_fine).cloned().collect();
    let mut random = Random(1);
    inputs.extend((0..MUTATIONS).map(|_| mutated(&short, &fine, &mut random)));
    let (verdicts, lengths): (Vec<_>, Vec<_>) = inputs.iter().map(|input| ours(input)).unzip();
    let Some(theirs) = ask(&inputs, &lengths) else {
        return println!("skipped: no Node.js with its parser");
    };
    assert_eq!(theirs.len(), inputs.len());
    let accepted = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Accepted(_))).count();
    assert!(accepted > MUTATIONS / 10, "only {accepted} heads are accepted: the comparison says little");
    let mut found: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for ((input, ours), theirs) in inputs.iter().zip(&verdicts).zip(&theirs) {
        if let Some(difference) = difference(input, ours, theirs) {
            let example = || (0, input.escape_ascii().to_string());
            found.entry(difference).or_insert_with(example).0 += 1;
        }
    }
    let is_known = |difference: &str| DIFFERENCES.iter().any(|(known, _)| *known == difference);
    let unknown: Vec<_> = found.iter().filter(|(difference, _)| !is_known(difference)).collect();
    assert!(unknown.is_empty(), "differences without a reason: {unknown:#?}");
}
