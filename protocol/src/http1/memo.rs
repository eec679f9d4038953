//! A head that was decoded lately, with what it was found to say.
//!
//! Whoever asks for the same again and again, a check of health, a poll, a proxy, a load test, repeats its head to the
//! byte. What a head says depends on its bytes and the limits alone, so that a comparison tells as much as another
//! decoding would, for a fraction of the instructions. A head that is not the same differs within its first few bytes,
//! nearly always; and to remember another takes so long that it is worth it only now and then.
//!
//! Owned by whoever decodes, one for the same limits. It never decides anything: it knows a head that was accepted. It never
//! keeps a head with passwords or cookies, of which the time that a comparison takes might tell others.

use super::framing::Framing;
use super::head::{Expectation, RequestHead};
use super::state::Persistence;
use crate::field::{Fields, Index, Place, Span, span_in as span};
use crate::method::Method;
use crate::target::RequestTarget;
use crate::version::Version;

/// A longer head is not remembered.
const HEAD_BYTES_MAX: usize = 2 << 10;
/// One with more lines is not, either.
const LINES_MAX: usize = 32;

/// What a head ends with.
const END: &[u8] = b"\r\n\r\n";

/// So many heads in a row have to be others before the next is remembered instead: one that comes again and again
/// is not forgotten for the sake of those between.
const MISSES_MAX: u8 = 32;

/// What heads with secrets have: passwords, and whatever else a client has to show.
const SECRETS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

/// Room for one head.
#[derive(Debug, Default)]
pub struct Memo {
    remembered: Option<Box<Remembered>>,
    /// So many others make it give way to the next.
    patience: u8,
}

/// A head, and what it says.
#[derive(Debug)]
struct Remembered {
    /// The whole head; empty if it was none to remember.
    head: Vec<u8>,
    places: Vec<Place>,
    said: Said,
}

/// What a head says, less what is in it.
#[derive(Clone, Copy, Debug)]
struct Said {
    method: Method,
    path: Span,
    query: Option<Span>,
    authority: Option<Span>,
    version: Version,
    index: Index,
    framing: Framing,
    persistence: Persistence,
    expectation: Expectation,
    request_line: Span,
}

impl Memo {
    /// Takes note of a head that is not remembered. It was decoded from the start of `input`, and took so many bytes.
    #[inline]
    pub fn note(&mut self, input: &[u8], bytes: usize, head: &RequestHead<'_>) {
        match self.patience.checked_sub(1) {
            Some(patience) => self.patience = patience,
            None => self.keep(input.get(..bytes).unwrap_or_default(), head),
        }
    }

    /// Remembers a head, unless it is one that is not to be.
    #[cold]
    fn keep(&mut self, whole: &[u8], head: &RequestHead<'_>) {
        self.patience = MISSES_MAX;
        if whole.len() > HEAD_BYTES_MAX || head.fields.len() > LINES_MAX || has_secrets(head) {
            return;
        }
        let Some(said) = Said::of(head, whole) else { return };
        let remembered = self.remembered.get_or_insert_with(|| {
            Box::new(Remembered {
                head: Vec::with_capacity(HEAD_BYTES_MAX),
                places: Vec::with_capacity(LINES_MAX),
                said,
            })
        });
        remembered.head.clear();
        if head.fields.put_places(whole, &mut remembered.places) {
            remembered.said = said;
            remembered.head.extend_from_slice(whole);
        }
    }

    /// Whether `input` begins with the head that is remembered.
    #[must_use]
    #[inline]
    pub fn knows(&self, input: &[u8]) -> bool {
        let Some(Remembered { head, .. }) = self.remembered.as_deref() else { return false };
        // Few others are as long.
        input.get(..head.len()).is_some_and(|beginning| beginning.ends_with(END) && beginning == head)
    }

    /// The head at the start of `input` and how many bytes it takes, if it is the one that is remembered.
    #[must_use]
    #[inline]
    pub fn recall<'b>(&'b mut self, input: &'b [u8]) -> Option<(RequestHead<'b>, usize)> {
        if !self.knows(input) {
            return None;
        }
        self.patience = MISSES_MAX;
        let remembered = self.remembered.as_deref()?;
        let bytes = remembered.head.len();
        Some((remembered.find_in(input.get(..bytes)?), bytes))
    }
}

impl Remembered {
    /// What is said in a head that is the same.
    fn find_in<'b>(&'b self, head: &'b [u8]) -> RequestHead<'b> {
        let Self { places, said, .. } = self;
        RequestHead {
            method: said.method,
            target: RequestTarget::Origin {
                path: part(head, said.path),
                query: said.query.map(|query| part(head, query)),
            },
            authority: said.authority.map(|authority| part(head, authority)),
            version: said.version,
            fields: Fields::recalled(head, places, said.index),
            framing: said.framing,
            persistence: said.persistence,
            expectation: said.expectation,
            request_line: part(head, said.request_line),
        }
    }
}

fn has_secrets(head: &RequestHead<'_>) -> bool {
    SECRETS.iter().any(|name| head.fields.has_line(name))
}

impl Said {
    /// None if something that it says is not in it: the path of a target that has none.
    fn of(head: &RequestHead<'_>, whole: &[u8]) -> Option<Self> {
        let RequestTarget::Origin { path, query } = head.target else { return None };
        let optional = |part: Option<&[u8]>| part.map_or(Some(None), |part| span(part, whole).map(Some));
        Some(Self {
            method: head.method,
            path: span(path, whole)?,
            query: optional(query)?,
            authority: optional(head.authority)?,
            version: head.version,
            index: head.fields.index(),
            framing: head.framing,
            persistence: head.persistence,
            expectation: head.expectation,
            request_line: span(head.request_line, whole)?,
        })
    }
}

/// The part of a head that is there.
#[inline]
fn part(head: &[u8], (start, end): Span) -> &[u8] {
    head.get(usize::from(start)..usize::from(end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Http1;
    use crate::http1::head::FieldLines;
    use crate::limits::Limits;

    /// What a connection does with a head; whether it was known.
    fn meet(memo: &mut Memo, input: &[u8]) -> bool {
        let is_known = memo.knows(input);
        if is_known {
            assert!(memo.recall(input).is_some());
        } else {
            let mut lines = FieldLines::new();
            let received = Http1::new().receive_head(input, &mut lines, &Limits::default());
            let (head, bytes) = received.unwrap().unwrap();
            memo.note(input, bytes, &head);
        }
        is_known
    }

    fn head(target: &str) -> Vec<u8> {
        format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
    }

    #[test]
    fn a_head_is_remembered_until_many_others_came_in_a_row() {
        let mut memo = Memo::default();
        let others = || (0..MISSES_MAX).map(|number| head(&format!("/{number}")));
        assert!(!meet(&mut memo, &head("/a")));
        for _ in 0..3 {
            assert!(meet(&mut memo, &head("/a")));
            assert!(others().all(|other| !meet(&mut memo, &other)));
        }
        assert!(!meet(&mut memo, &head("/b")), "one too many");
        assert_eq!([meet(&mut memo, &head("/a")), meet(&mut memo, &head("/b"))], [false, true]);
    }

    #[test]
    fn a_head_that_takes_too_much_or_is_nobodys_business_is_not_remembered() {
        let long = head(&format!("/{}", "a".repeat(HEAD_BYTES_MAX)));
        let lines = |count: usize| format!("GET / HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(count)).into_bytes();
        let secret = |name| format!("GET / HTTP/1.0\r\nA: b\r\n{name}: c\r\n\r\n").into_bytes();
        let table = [
            (long, false),
            (lines(LINES_MAX), true),
            (lines(LINES_MAX + 1), false),
            (secret("Authorization"), false),
            (secret("proxy-authorization"), false),
            (secret("COOKIE"), false),
            (secret("Cookies"), true),
            (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), true),
            (b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), false),
            (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), false),
        ];
        for (head, is_remembered) in &table {
            let mut memo = Memo::default();
            meet(&mut memo, head);
            assert_eq!(meet(&mut memo, head), *is_remembered, "{}", head.escape_ascii());
        }
        // The one that is remembered is not forgotten for it.
        for (other, _) in table.into_iter().filter(|(_, is_remembered)| !is_remembered) {
            let mut memo = Memo::default();
            meet(&mut memo, &head("/a"));
            (0..=2 * MISSES_MAX).for_each(|_| assert!(!meet(&mut memo, &other)));
            assert!(memo.knows(&head("/a")));
        }
    }
}
