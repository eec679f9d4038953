//! One connection: it reads, lets requests be answered, and writes, until it would block or has had its share.
//!
//! The connection owns its socket and whatever of its input and output is under way. What to do next is decided
//! by [`Http1`]; what to answer, by the site. It never waits: where it cannot go on it says what it waits for,
//! and until when.
//!
//! ```text
//!              adopt
//!                │
//!     ┌────▶ Reading ──head complete──▶ Answering ──▶ Writing ──all sent, Exchange──┐
//!     │        │  ▲                      │   ▲        │  ▲ │ ▲                      │
//!     │ EOF or │  └─ would block         ▼   │        │  │ ▼ │                      │
//!     │deadline│                          Cold        │  │ Cold                     │
//!     │        │          (a helper opens the file    │  │ (a helper brings the     │
//!     │        │           that is asked for)         │  │  file into memory)       │
//!     │        │                                      │  └─ would block             │
//!     │        ▼                                      ├─ Linger ─▶ Lingering        │
//!     │      Closed ◀─────────────────────────────────┴───────────────┘             │
//!     └─────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A request whose file has to be opened by a helper stays where it is, as bytes; when the file is there, its
//! head is decoded once more and answered.
//!
//! This file is the way of the bytes: in, through the machine, out. `answering` decides and writes responses,
//! `waiting` owns the deadlines and the ways to end, `pacing` the rates, `keeping` the input that has to wait,
//! `introduction` what a proxy says before the first request, `sparing` which connections make room for others, and which
//! get none.

mod answering;
mod introduction;
mod keeping;
mod pacing;
mod sparing;
mod waiting;

use bytes::{Buf, BytesMut};
use protocol::http1::Next;
use protocol::http1::head::FieldLines;
use protocol::{Http1, RequestHead};

use crate::address_table::Place;
use crate::close::CloseReason;
use crate::context::{Context, OUTPUT_BYTES};
use crate::errands::Ticket;
use crate::handoff::Peer;
use crate::output::{Budget, Flushed, Output};
use crate::pace::Pace;
use crate::transport::Transport;
pub use answering::Arrival;
use answering::Inquiry;
pub use sparing::Spare;
use waiting::Waiting;

/// What becomes of a connection after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits for its socket, or for [`Connection::deadline_ms`].
    Wait,
    /// It has had its share and could go on: call again, no event will come.
    Again,
    /// It cannot go on before a helper has done [`Connection::task`].
    Help,
    /// It is over.
    Close(CloseReason),
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    Input,
    Output,
    Budget,
    Pace,
    Helper,
}

/// A connection over some transport.
#[derive(Debug)]
pub struct Connection<T> {
    transport: T,
    http: Http1,
    /// Input that is not used up: part of a head, or requests that wait for their turn. A buffer of the pool, unless it
    /// is empty.
    input: BytesMut,
    output: Output,
    /// What is being found out before the request can be answered.
    inquiry: Option<Box<Inquiry>>,
    /// The claim on what a helper is doing.
    ticket: Option<Ticket>,
    /// How fast it may go, and how slowly, if that is bounded.
    pace: Option<Box<Pace>>,
    deadline_ms: u64,
    /// Its place among the connections of its client.
    place: Place,
    peer: Peer,
    waiting: Waiting,
    /// Whether the socket was read empty since it was last said to be readable.
    is_drained: bool,
    /// Whether the peer is known to send no more. Then reading goes on to the end of the stream.
    is_read_closed: bool,
    is_lingering: bool,
    /// Whether so much was sent that some of it may still be in the kernel when the connection is to be closed.
    has_long_tail: bool,
    /// Whether a header of the PROXY protocol is still to come.
    is_unintroduced: bool,
    /// A proxy could not tell whose connection it is, so what is said on it is nobody's word but the client's.
    is_anonymous: bool,
    /// Bytes in the kernel that the peer had not acknowledged when a lingering close last looked.
    tail_bytes: u64,
    /// When they were last seen to have become fewer.
    tail_moved_ms: u64,
    /// Whether it is in the run queue. Belongs to the reactor.
    pub(crate) is_queued: bool,
}

impl<T: Transport> Connection<T> {
    /// A connection that was just accepted.
    pub fn new(transport: T, peer: Peer, cx: &Context) -> Self {
        Self {
            transport,
            http: Http1::new(),
            input: BytesMut::new(),
            output: Output::default(),
            inquiry: None,
            ticket: None,
            pace: Pace::begin(&cx.rates, cx.deadlines.send_ms, cx.clock.now_ms()),
            deadline_ms: cx.clock.now_ms() + cx.deadlines.header_ms,
            place: Place::default(),
            peer,
            waiting: Waiting::Header,
            is_drained: false,
            is_read_closed: false,
            is_lingering: false,
            has_long_tail: false,
            is_anonymous: false,
            is_unintroduced: cx.gate.as_ref().is_some_and(|gate| gate.borrow().is_proxied()),
            tail_bytes: 0,
            tail_moved_ms: 0,
            is_queued: false,
        }
    }

    /// The transport, to be registered with a poll.
    pub const fn transport(&self) -> &T {
        &self.transport
    }

    /// Who is at the other end.
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// When [`Connection::expire`] is due, on the clock of the context.
    pub const fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    /// The socket became readable, or the peer closed its side, or both. Hints: a wrong one costs a read.
    pub fn readable(&mut self, is_read_closed: bool) {
        self.is_drained = false;
        self.is_read_closed |= is_read_closed;
    }

    /// Whether there is anything to do for an event that only says "writable".
    pub const fn wants_write(&self) -> bool {
        !self.output.is_idle()
    }

    /// Goes as far as the socket and the turn's budget allow.
    pub fn advance(&mut self, cx: &mut Context) -> Fate {
        debug_assert!(cx.output.is_empty(), "responses of another connection");
        self.advance_with(cx)
    }

    /// As [`Connection::advance`], with a response in the output buffer already.
    fn advance_with(&mut self, cx: &mut Context) -> Fate {
        let mut budget = Budget::TURN;
        if self.pace.is_some() {
            self.limit(&mut budget, cx);
        }
        let mut buffer = std::mem::take(&mut cx.input);
        let result = self.run(&mut buffer, &mut budget, cx);
        cx.input = buffer;
        cx.output.clear();
        cx.counters.sent_bytes.add(budget.sent_bytes);
        match result {
            Ok(pause) if self.pace.is_some() => self.pause_in_step(pause, &budget, cx),
            Ok(pause) => self.pause(pause, &budget, cx),
            Err(reason) => self.close(reason),
        }
    }

    fn run(
        &mut self,
        buffer: &mut [u8],
        budget: &mut Budget,
        cx: &mut Context,
    ) -> Result<Pause, CloseReason> {
        loop {
            if self.is_lingering {
                return self.linger(buffer, budget);
            }
            if self.ticket.is_some() && self.http.next() == Next::Send {
                return Ok(Pause::Helper);
            }
            match self.flush(budget, cx)? {
                Flushed::Done => {}
                Flushed::Blocked => return Ok(Pause::Output),
                Flushed::Budget => return Ok(Pause::Budget),
                Flushed::Paced => return Ok(Pause::Pace),
                Flushed::Cold => return Ok(Pause::Helper),
            }
            match self.http.next() {
                Next::Exchange => self.begin_exchange(),
                Next::Linger => self.begin_linger(cx)?,
                Next::Close if self.has_unread_input() || self.has_tail() => self.begin_linger(cx)?,
                Next::Close => return Err(CloseReason::Finished),
                Next::Answer => return Ok(Pause::Helper),
                Next::Receive if self.is_unintroduced => {
                    if let Some(pause) = self.receive_introduction(buffer, budget, cx)? {
                        return Ok(pause);
                    }
                }
                Next::Receive | Next::Drain | Next::Send => {
                    if let Some(pause) = self.receive(buffer, budget, cx)? {
                        return Ok(pause);
                    }
                }
            }
        }
    }

    fn flush(&mut self, budget: &mut Budget, cx: &mut Context) -> Result<Flushed, CloseReason> {
        let flushed = self.output.flush(&mut self.transport, budget, cx)?;
        if flushed == Flushed::Done && self.http.next() == Next::Send {
            self.http.end_response();
        }
        Ok(flushed)
    }

    fn begin_exchange(&mut self) {
        self.http.begin_exchange();
        self.waiting = Waiting::None;
        self.tail_bytes = 0;
    }

    /// Closing over unread input makes the kernel send a reset, which can overtake the response.
    fn has_unread_input(&self) -> bool {
        !self.input.is_empty() || !self.is_drained
    }

    /// Uses up what was read before, or reads more. `None` if there may be something to do now.
    fn receive(
        &mut self,
        buffer: &mut [u8],
        budget: &mut Budget,
        cx: &mut Context,
    ) -> Result<Option<Pause>, CloseReason> {
        if self.is_drained && self.input.is_empty() {
            return Ok(Some(Pause::Input));
        }
        if budget.exchanges == 0 {
            return Ok(Some(Pause::Budget));
        }
        if !self.input.is_empty() {
            let has_progressed = self.consume_kept(budget, cx);
            // A request that waits for a helper uses nothing up, but it is one: what follows it stays unread.
            if has_progressed || self.http.next() == Next::Answer {
                return Ok(None);
            }
        }
        if self.is_drained {
            return Ok(Some(Pause::Input));
        }
        if budget.input_bytes == 0 {
            return Ok(Some(Pause::Budget));
        }
        match self.transport.receive(buffer) {
            Ok(0) => {
                self.is_drained = true;
                self.http.end_of_stream();
                self.give_input(cx);
            }
            Ok(bytes) => {
                budget.input_bytes = budget.input_bytes.saturating_sub(bytes);
                self.is_drained = bytes < buffer.len() && !self.is_read_closed;
                self.take_in(buffer.get(..bytes).unwrap_or_default(), budget, cx);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => self.is_drained = true,
            Err(_) => return Err(CloseReason::Peer),
        }
        Ok(None)
    }

    /// New input is used up where it was read to; only what is left of it is copied and kept.
    fn take_in(&mut self, fresh: &[u8], budget: &mut Budget, cx: &mut Context) {
        if !self.input.is_empty() {
            self.input.extend_from_slice(fresh);
            self.consume_kept(budget, cx);
            return;
        }
        let used = self.consume(fresh, budget, cx);
        let rest = fresh.get(used..).unwrap_or_default();
        if !rest.is_empty() {
            self.keep_rest(rest, cx);
        }
    }

    /// Uses up kept input; whether anything came of it.
    fn consume_kept(&mut self, budget: &mut Budget, cx: &mut Context) -> bool {
        let mut input = std::mem::take(&mut self.input);
        let used = self.consume(&input, budget, cx);
        input.advance(used);
        self.keep(input, cx);
        used > 0
    }

    /// Works through input until something has to be sent first or more is needed, and tells how many bytes are
    /// used up. Responses gather in the output buffer on the way.
    fn consume(&mut self, input: &[u8], budget: &mut Budget, cx: &mut Context) -> usize {
        let mut used = 0;
        while cx.output.len() < OUTPUT_BYTES {
            let rest = input.get(used..).unwrap_or_default();
            match self.http.next() {
                Next::Exchange if budget.exchanges > 0 => self.begin_exchange(),
                Next::Receive if !rest.is_empty() => match self.receive_head(rest, budget, cx) {
                    Some(bytes) => used += bytes,
                    None => break,
                },
                Next::Drain if !rest.is_empty() => used += self.drain_content(rest, cx),
                Next::Linger => return input.len(),
                _ => break,
            }
        }
        used
    }

    /// Decodes a head and answers it. `None` if it is not all there.
    fn receive_head(&mut self, input: &[u8], budget: &mut Budget, cx: &mut Context) -> Option<usize> {
        if !cx.memo.knows(input) {
            return self.decode_head(input, budget, cx);
        }
        let mut memo = std::mem::take(&mut cx.memo);
        let known = self.http.recall_head(input, &mut memo);
        let used = known.map(|(head, bytes)| self.begin_answer(&head, bytes, budget, cx));
        cx.memo = memo;
        used
    }

    fn decode_head(&mut self, input: &[u8], budget: &mut Budget, cx: &mut Context) -> Option<usize> {
        let mut lines = FieldLines::new();
        match self.http.receive_head(input, &mut lines, &cx.limits) {
            Ok(Some((head, bytes))) => {
                cx.memo.note(input, bytes, &head);
                Some(self.begin_answer(&head, bytes, budget, cx))
            }
            Ok(None) => None,
            Err(error) => {
                self.refuse(error, input, cx);
                Some(input.len())
            }
        }
    }

    /// Answers a head of so many bytes, and tells how many of them are used up: none if the head is to be kept.
    fn begin_answer(
        &mut self,
        head: &RequestHead<'_>,
        bytes: usize,
        budget: &mut Budget,
        cx: &mut Context,
    ) -> usize {
        budget.exchanges = budget.exchanges.saturating_sub(1);
        if self.answer(head, cx) { bytes } else { 0 }
    }

    /// The connection is about to be dropped: what it still holds goes back, and what it still has to log is
    /// logged.
    pub fn end(&mut self, cx: &mut Context) {
        self.output.end(cx);
        self.give_input(cx);
    }

    fn drain_content(&mut self, input: &[u8], cx: &Context) -> usize {
        self.waiting = Waiting::None;
        match self.http.receive_content(input, &cx.limits) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::debug!(peer = %self.peer, %error, "request content refused");
                cx.counters.refused_requests.increment();
                input.len()
            }
        }
    }
}
