//! One HTTP/1.1 connection as a machine without I/O: it is given bytes, says what they are, and says what to do
//! next. It owns no buffer; what it remembers between calls fits in a cache line.
//!
//! [`state`] holds every state and transition; [`head`], [`framing`] and [`chunked`] turn bytes into events,
//! [`memo`] those that it has seen before; [`encode`] turns answers into bytes; [`Http1`] ties them together.

pub mod chunked;
pub mod encode;
pub mod framing;
pub mod head;
pub mod memo;
pub mod state;

use crate::error::RequestError;
use crate::limits::Limits;
use chunked::Chunked;
use framing::Framing;
use head::{Expectation, FieldLines, RequestHead, Scanner};
use memo::Memo;
use state::{Event, Persistence, State};

pub use state::Next;

/// The content of the current request that is still to come.
#[derive(Clone, Copy, Debug)]
enum Content {
    None,
    Length { left_bytes: u64 },
    Chunked { decoder: Chunked, seen_bytes: u64 },
}

/// The server's side of one HTTP/1.1 connection.
#[derive(Clone, Copy, Debug)]
pub struct Http1 {
    state: State,
    scanner: Scanner,
    content: Content,
}

impl Default for Http1 {
    fn default() -> Self {
        Self::new()
    }
}

impl Http1 {
    /// A fresh connection.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::NEW, scanner: Scanner::FRESH, content: Content::None }
    }

    /// What to do next.
    #[must_use]
    pub const fn next(&self) -> Next {
        self.state.next()
    }

    /// Whether the connection outlives the current exchange.
    #[must_use]
    pub const fn persistence(&self) -> Persistence {
        self.state.persistence()
    }

    /// Makes the current exchange the last.
    pub const fn close_after(&mut self) {
        self.state.close_after();
    }

    /// Decodes a request head at the start of `input` and tells how many bytes it takes; `None` while it is not
    /// all there. `input` must begin with the bytes of the calls before that gave `None`.
    ///
    /// # Errors
    /// A request that is refused; a response is then owed, with the error's status.
    pub fn receive_head<'b>(
        &mut self,
        input: &'b [u8],
        lines: &'b mut FieldLines<'b>,
        limits: &Limits,
    ) -> Result<Option<(RequestHead<'b>, usize)>, RequestError> {
        let received = find_head(&mut self.scanner, input, lines, limits);
        match &received {
            Ok(Some((head, _))) => self.begin_answer(head),
            Ok(None) => {}
            Err(_) => self.on(Event::RequestError),
        }
        received
    }

    /// The same for a head that `memo` knows, decoded with the same limits; `None` if it does not know it.
    #[inline]
    pub fn recall_head<'b>(
        &mut self,
        input: &'b [u8],
        memo: &'b mut Memo,
    ) -> Option<(RequestHead<'b>, usize)> {
        let recalled = memo.recall(input);
        if let Some((head, _)) = &recalled {
            self.begin_answer(head);
        }
        recalled
    }

    /// Decodes the head that was received last once more: `input` must still begin with it. For whoever could not
    /// answer at once.
    #[must_use]
    pub fn head_again<'b>(
        &self,
        input: &'b [u8],
        lines: &'b mut FieldLines<'b>,
        limits: &Limits,
    ) -> Option<(RequestHead<'b>, usize)> {
        let start = if input.starts_with(b"\r\n") { 2 } else { 0 };
        let (head, bytes) = head::decode(input.get(start..)?, lines, limits).ok()??;
        Some((head, start + bytes))
    }

    fn begin_answer(&mut self, head: &RequestHead<'_>) {
        self.scanner = Scanner::FRESH;
        self.content = match head.framing {
            Framing::None => Content::None,
            Framing::Length(left_bytes) => Content::Length { left_bytes },
            Framing::Chunked => Content::Chunked { decoder: Chunked::default(), seen_bytes: 0 },
        };
        let has_content = head.framing != Framing::None;
        self.on(if has_content { Event::HeadWithContent } else { Event::Head });
        // Told the final status at once, a client may keep its content or send it all the same: what comes next
        // could be either, so nothing may come next (RFC 9110 §10.1.1).
        if head.persistence == Persistence::Close || (has_content && head.expectation != Expectation::None) {
            self.close_after();
        }
    }

    /// Passes over request content at the start of `input` and tells how many bytes of it are used up.
    ///
    /// # Errors
    /// [`RequestError::Chunk`] or [`RequestError::ContentTooLarge`]; the response has been sent, so all that is
    /// left is to end the connection.
    pub fn receive_content(&mut self, input: &[u8], limits: &Limits) -> Result<usize, RequestError> {
        let received = pass_over(&mut self.content, input, limits);
        match received {
            Ok((_, true)) => self.on(Event::ContentEnd),
            Ok((_, false)) => {}
            Err(_) => self.on(Event::RequestError),
        }
        received.map(|(consumed, _)| consumed)
    }

    /// The peer closed its sending side.
    pub fn end_of_stream(&mut self) {
        self.on(Event::EndOfStream);
    }

    /// The request's head was not complete at its deadline, or cannot be kept until it is: a response is owed, and it
    /// will be the last.
    pub fn give_up_head(&mut self) {
        self.on(Event::RequestError);
    }

    /// A response head was put out, with content still to follow or with all of it.
    pub fn respond(&mut self, content_follows: bool) {
        self.on(if content_follows { Event::Response } else { Event::ResponseNoContent });
    }

    /// The last byte of response content was put out.
    pub fn end_response(&mut self) {
        self.on(Event::ResponseEnd);
    }

    /// Begins another exchange, when [`Next::Exchange`] asks for it.
    pub fn begin_exchange(&mut self) {
        debug_assert_eq!(self.next(), Next::Exchange);
        *self = Self::new();
    }

    fn on(&mut self, event: Event) {
        debug_assert!(self.state.after(event).is_some(), "{event:?} in {:?}", self.state);
        self.state = self.state.after(event).unwrap_or(self.state);
    }
}

/// Decodes at once where the head is fresh, else only once the scanner has seen its end. Where the decoder
/// refuses, the scanner has the last word on whether and why.
fn find_head<'b>(
    scanner: &mut Scanner,
    input: &'b [u8],
    lines: &'b mut FieldLines<'b>,
    limits: &Limits,
) -> Result<Option<(RequestHead<'b>, usize)>, RequestError> {
    if scanner.is_fresh() && !matches!(input.first(), Some(b'\r' | b'\n')) {
        return match head::decode(input, lines, limits) {
            Ok(Some(received)) => Ok(Some(received)),
            Ok(None) => scanner.scan(input, limits).map(|_| None),
            Err(error) => match scanner.scan(input, limits)? {
                Some(_) => Err(error),
                None => Ok(None),
            },
        };
    }
    let Some(range) = scanner.scan(input, limits)? else { return Ok(None) };
    let start = range.start;
    let head = input.get(range).unwrap_or_default();
    let decoded = head::decode(head, lines, limits)?;
    // Both end a head at the first empty line. Should they ever not agree, waiting for more would be for ever.
    debug_assert!(decoded.is_some(), "no end in {}", head.escape_ascii());
    decoded.map(|(head, bytes)| Some((head, start + bytes))).ok_or(RequestError::FieldLine)
}

/// How many bytes of `input` are content, and whether that was the last of it.
fn pass_over(content: &mut Content, input: &[u8], limits: &Limits) -> Result<(usize, bool), RequestError> {
    match content {
        Content::None => Ok((0, true)),
        Content::Length { left_bytes } => {
            let consumed = usize::try_from(*left_bytes).unwrap_or(usize::MAX).min(input.len());
            *left_bytes -= consumed as u64;
            Ok((consumed, *left_bytes == 0))
        }
        Content::Chunked { decoder, seen_bytes } => {
            let progress = decoder.decode(input)?;
            *seen_bytes = seen_bytes.saturating_add(progress.content_bytes);
            if *seen_bytes > limits.content_bytes_max {
                return Err(RequestError::ContentTooLarge);
            }
            Ok((progress.consumed, progress.is_complete))
        }
    }
}
