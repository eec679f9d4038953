//! The corpus of request heads: each has its verdict, however its bytes are split.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

pub mod cases;
pub mod invariants;

use cases::{Case, corpus};
use invariants::machine::{Event, events, head, split};
use oneloop_protocol::Limits;
use oneloop_protocol::http1::framing::Framing;

/// What became of the first head, in the notation of the file.
fn verdict(input: &[u8]) -> String {
    match events(input, std::iter::empty(), &Limits::default()).first() {
        None => "incomplete".to_owned(),
        Some(Event::Refused(error)) => error.status().code().to_string(),
        Some(Event::ContentEnd) => "content without a head".to_owned(),
        Some(Event::Head { line, framing, .. }) => {
            let line = String::from_utf8_lossy(line);
            let method = line.split(' ').next().unwrap_or_default();
            match framing {
                Framing::None => format!("ok {method} none"),
                Framing::Length(length) => format!("ok {method} length {length}"),
                Framing::Chunked => format!("ok {method} chunked"),
            }
        }
    }
}

#[test]
fn every_request_of_the_corpus_gets_its_verdict() {
    let corpus = corpus();
    assert!(corpus.len() >= 200, "only {} cases", corpus.len());
    let wrong: Vec<String> = corpus
        .iter()
        .filter(|case| verdict(&case.input) != case.verdict)
        .map(|case| format!("line {}: {} instead of {}", case.line, verdict(&case.input), case.verdict))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), corpus.len(), wrong.join("\n"));
}

#[test]
fn every_split_of_the_corpus_gives_the_events_of_the_whole() {
    let limits = Limits::default();
    for Case { input, .. } in corpus() {
        split(&input);
        head(&input);
        let whole = events(&input, std::iter::empty(), &limits);
        // Every place for one cut; where the input is very long, every place near its ends.
        let cuts = (1..input.len()).filter(|&cut| input.len() < 1000 || cut < 100 || input.len() - cut < 100);
        for cut in cuts {
            let cut_events = events(&input, [cut].into_iter(), &limits);
            assert_eq!(cut_events, whole, "cut at {cut}: {}", input.escape_ascii());
        }
    }
}

#[test]
fn requests_in_a_row_are_the_same_as_one_by_one() {
    let accepted: Vec<Vec<u8>> = corpus()
        .into_iter()
        .filter(|case| case.verdict.ends_with(" none") && !case.input.starts_with(b"\r\n"))
        .map(|case| case.input)
        .filter(|input| {
            let alone = events(input, std::iter::empty(), &Limits::default());
            matches!(&alone[..], [Event::Head { persistence, .. }]
                if *persistence == oneloop_protocol::http1::state::Persistence::Persistent)
        })
        .collect();
    assert!(accepted.len() > 50, "only {} such requests", accepted.len());
    let row = accepted.concat();
    let one_by_one: Vec<Event> =
        accepted.iter().flat_map(|input| events(input, std::iter::empty(), &Limits::default())).collect();
    assert_eq!(events(&row, std::iter::empty(), &Limits::default()), one_by_one);
    assert_eq!(events(&row, (1..row.len()).step_by(7), &Limits::default()), one_by_one);
}
