//! The whole machine: what becomes of the bytes of a connection, and that it does not depend on how they arrive.

use oneloop_protocol::http1::Next;
use oneloop_protocol::http1::framing::Framing;
use oneloop_protocol::http1::head::FieldLines;
use oneloop_protocol::http1::memo::Memo;
use oneloop_protocol::http1::state::Persistence;
use oneloop_protocol::{Http1, Limits, Name, RareName, RequestError, RequestHead};

/// Something that a server would notice of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request head: its first line and all that was concluded from it.
    Head {
        /// The request line.
        line: Vec<u8>,
        /// How the content is framed.
        framing: Framing,
        /// Whether the connection goes on after the exchange.
        persistence: Persistence,
        /// Everything else, printed.
        rest: String,
    },
    /// Content was read to its end.
    ContentEnd,
    /// The request was refused.
    Refused(RequestError),
}

/// The events of a connection whose bytes arrive in pieces that end at `cuts`. Every request is answered at once.
pub fn events(input: &[u8], cuts: impl Iterator<Item = usize>, limits: &Limits) -> Vec<Event> {
    let mut http = Http1::new();
    let mut events = Vec::new();
    let mut used = 0;
    for end in cuts.chain([input.len()]) {
        while let Some(bytes) = step(&mut http, &input[used..end], limits, &mut events) {
            used += bytes;
            assert!(used <= end, "more was consumed than was given");
        }
    }
    events
}

/// One step of a connection: how many bytes it used up, or `None` if it needs more, or is over.
fn step(http: &mut Http1, input: &[u8], limits: &Limits, events: &mut Vec<Event>) -> Option<usize> {
    match http.next() {
        Next::Exchange => {
            http.begin_exchange();
            Some(0)
        }
        Next::Receive if !input.is_empty() => receive(http, input, limits, events),
        Next::Drain if !input.is_empty() => {
            let received = http.receive_content(input, limits);
            match received {
                Err(error) => events.push(Event::Refused(error)),
                Ok(_) if http.next() != Next::Drain => events.push(Event::ContentEnd),
                Ok(_) => {}
            }
            Some(received.unwrap_or(0))
        }
        _ => None,
    }
}

fn receive(http: &mut Http1, input: &[u8], limits: &Limits, events: &mut Vec<Event>) -> Option<usize> {
    let mut lines = FieldLines::new();
    match http.receive_head(input, &mut lines, limits) {
        Ok(None) => None,
        Ok(Some((head, bytes))) => {
            assert!(bytes > 0 && bytes <= limits.head_bytes_max + 2);
            assert!(input[..bytes].ends_with(b"\r\n\r\n"));
            events.push(Event::Head {
                line: head.request_line.to_vec(),
                framing: head.framing,
                persistence: head.persistence,
                rest: format!(
                    "{:?} {:?} {:?} {:?}",
                    head.method, head.target, head.authority, head.expectation
                ),
            });
            http.respond(false);
            Some(bytes)
        }
        Err(error) => {
            events.push(Event::Refused(error));
            http.respond(false);
            assert_eq!(http.next(), Next::Linger, "a refused request ends the connection");
            None
        }
    }
}

/// Byte by byte, and cut in two at any of a few places, a connection is what it is as a whole.
pub fn split(input: &[u8]) {
    let limits = Limits::default();
    let whole = events(input, std::iter::empty(), &limits);
    assert_eq!(events(input, 1..input.len(), &limits), whole, "byte by byte: {}", input.escape_ascii());
    let stride = input.len() / 16 + 1;
    for cut in (0..input.len()).step_by(stride) {
        assert_eq!(
            events(input, [cut].into_iter(), &limits),
            whole,
            "cut at {cut}: {}",
            input.escape_ascii()
        );
    }
}

/// What is accepted as a head, an independent and naive reading agrees with.
pub fn head(input: &[u8]) {
    let limits = Limits::default();
    let mut lines = FieldLines::new();
    let Ok(Some((head, bytes))) = Http1::new().receive_head(input, &mut lines, &limits) else { return };
    let text = &input[..bytes];
    let text = text.strip_prefix(b"\r\n").unwrap_or(text);
    let body = &text[..text.len() - 4];
    assert!(!body.windows(4).any(|window| window == b"\r\n\r\n"), "the first empty line ends a head");
    let split: Vec<&[u8]> = body.split(|&byte| byte == b'\n').collect();
    let (last, others) = split.split_last().unwrap();
    assert!(others.iter().all(|line| line.ends_with(b"\r")) && !last.contains(&b'\r'));
    assert_eq!(split[0].strip_suffix(b"\r").unwrap_or(split[0]), head.request_line);
    assert_eq!(head.request_line.split(|&byte| byte == b' ').count(), 3);
    let is_control = |byte: &u8| *byte < b' ' && !matches!(byte, b'\t' | b'\r') || *byte == 0x7f;
    assert!(!split.iter().any(|line| line.iter().any(is_control)));
    let named = |name: &str| {
        let prefix = |line: &&&[u8]| {
            line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
        };
        split[1..].iter().filter(prefix).count()
    };
    assert!(split.len() - 1 <= limits.fields_max);
    assert!(named("host:") == 1 || (head.request_line.ends_with(b"HTTP/1.0") && named("host:") == 0));
    match head.framing {
        Framing::None => assert_eq!(named("transfer-encoding:"), 0),
        Framing::Length(length) => {
            assert!(length > 0 && named("content-length:") > 0 && named("transfer-encoding:") == 0);
        }
        Framing::Chunked => assert!(named("content-length:") == 0 && named("transfer-encoding:") == 1),
    }
    remembered(input, &head, bytes);
}

/// What is remembered of a head is what was decoded, whatever comes behind it, and no other head is taken for it.
fn remembered(input: &[u8], head: &RequestHead<'_>, bytes: usize) {
    let mut memo = Memo::default();
    assert!(!memo.knows(input));
    memo.note(input, bytes, head);
    if !memo.knows(input) {
        let text = String::from_utf8_lossy(&input[..bytes]).to_ascii_lowercase();
        let has_secrets = ["authorization:", "cookie:"].iter().any(|name| text.contains(name));
        let is_long = bytes > 1_000 || text.lines().count() > 30;
        assert!(is_long || has_secrets || is_odd(head), "{}", input.escape_ascii());
        return;
    }
    let (mut decoding, mut lines) = (Http1::new(), FieldLines::new());
    decoding.receive_head(input, &mut lines, &Limits::default()).unwrap().unwrap();
    let followed = [&input[..bytes], b"GET / HTTP/1.1\r\n"].concat();
    for input in [input, &followed] {
        // All at once, and when a beginning of it has come before.
        for beginning in [0, 1, bytes / 2, bytes - 1] {
            let (mut recalling, mut lines) = (Http1::new(), FieldLines::new());
            if beginning > 0 {
                let received = recalling.receive_head(&input[..beginning], &mut lines, &Limits::default());
                assert!(matches!(received, Ok(None)));
            }
            let (recalled, recalled_bytes) = recalling.recall_head(input, &mut memo).unwrap();
            assert_eq!((said(&recalled), recalled_bytes), (said(head), bytes), "{}", input.escape_ascii());
            assert_eq!(format!("{recalling:?}"), format!("{decoding:?}"));
        }
    }
    assert!(!memo.knows(&input[..bytes - 1]));
    for at in [0, bytes / 2, bytes - 5] {
        let mut other = input.to_vec();
        other[at] ^= 1;
        assert!(!memo.knows(&other));
    }
}

/// Whether a head may say something that is not in it.
fn is_odd(head: &RequestHead<'_>) -> bool {
    let target = head.request_line.split(|&byte| byte == b' ').nth(1);
    !target.is_some_and(|target| target.starts_with(b"/"))
}

/// All that anybody asks a head for.
fn said(head: &RequestHead<'_>) -> String {
    let RequestHead { method, target, authority, version, fields, .. } = head;
    let RequestHead { framing, persistence, expectation, request_line, .. } = head;
    let known = Name::ALL.map(|name| {
        let all: Vec<&[u8]> = fields.all(name).collect();
        (fields.has(name), fields.get(name), fields.only(name), all)
    });
    let rare = RareName::ALL.map(|name| fields.find_all(name).collect::<Vec<_>>());
    format!(
        "{method:?} {target:?} {authority:?} {version:?} {framing:?} {persistence:?} {expectation:?} \
         {request_line:?} {known:?} {rare:?}"
    )
}
