//! The cases of the corpus of request heads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a panic is how a test fails"
)]

/// A request and what becomes of it.
#[derive(Debug)]
pub struct Case {
    /// Where it stands.
    pub line: usize,
    /// The verdict, in the notation of the file.
    pub verdict: &'static str,
    /// The bytes.
    pub input: Vec<u8>,
}

/// The cases of the file, in its own notation.
pub fn corpus() -> Vec<Case> {
    let lines = include_str!("../corpus/requests.txt").lines().enumerate();
    let cases = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let case = |(at, line): (usize, &'static str)| {
        let (verdict, input) = line.split_once(" | ").expect("a verdict and an input");
        Case { line: at + 1, verdict, input: unescape(input.as_bytes()) }
    };
    cases.map(case).collect()
}

fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut input = Vec::new();
    while let Some((&byte, rest)) = text.split_first() {
        text = rest;
        if byte != b'\\' {
            input.push(byte);
            continue;
        }
        let (&kind, rest) = text.split_first().expect("an escape");
        text = rest;
        match kind {
            b'r' => input.push(b'\r'),
            b'n' => input.push(b'\n'),
            b't' => input.push(b'\t'),
            b'\\' => input.push(b'\\'),
            b'x' => {
                let digits = std::str::from_utf8(&text[..2]).unwrap();
                input.push(u8::from_str_radix(digits, 16).unwrap());
                text = &text[2..];
            }
            b'*' => {
                let open = text.iter().position(|&byte| byte == b'{').unwrap();
                let close = text.iter().position(|&byte| byte == b'}').unwrap();
                let times: usize = std::str::from_utf8(&text[..open]).unwrap().parse().unwrap();
                input.extend(unescape(&text[open + 1..close]).repeat(times));
                text = &text[close + 1..];
            }
            other => panic!("unknown escape {}", other.escape_ascii()),
        }
    }
    input
}
