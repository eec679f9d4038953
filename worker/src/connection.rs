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

use bytes::{Buf, BytesMut};
use protocol::http1::Next;
use protocol::http1::head::FieldLines;
use protocol::{Fields, Http1, Name, RequestError, RequestHead, Status};

use crate::access_log::{self, Entry};
use crate::close::CloseReason;
use crate::cold::{Outcome, Task, Ticket};
use crate::context::{Context, OUTPUT_BYTES};
use crate::handoff::Peer;
use crate::output::{Budget, Flushed, Output};
use crate::respond::{self, Asker, Reply};
use crate::site::opening::Opening;
use crate::site::{Answer, Located};
use crate::transport::Transport;

/// What a request gets that no helper has time for.
const UNAVAILABLE: Status = Status::ServiceUnavailable;
/// When content that no helper had room for is tried again.
const HELPER_RETRY_MS: u64 = 250;

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
    Helper,
}

/// What a connection waits for. A deadline belongs to a wait: it is set when the wait begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Nothing: it has got on since the last wait.
    None,
    /// The rest of a request head, or the first one.
    Header,
    /// Another request.
    KeepAlive,
    /// The rest of a request's content.
    Content,
    /// Room in the socket.
    Send,
    /// The peer to be done talking.
    Linger,
    /// A helper, or room in the queue for one.
    Helper,
}

/// A connection over some transport.
#[derive(Debug)]
pub struct Connection<T> {
    transport: T,
    http: Http1,
    /// Input that is not used up: part of a head, or requests that wait for their turn.
    input: BytesMut,
    output: Output,
    /// What has to be opened before the request can be answered, until a helper takes it.
    opening: Option<Box<Opening>>,
    /// The claim on what a helper is doing.
    ticket: Option<Ticket>,
    deadline_ms: u64,
    peer: Peer,
    waiting: Waiting,
    /// Whether the socket was read empty since it was last said to be readable.
    is_drained: bool,
    /// Whether the peer is known to send no more. Then reading goes on to the end of the stream.
    is_read_closed: bool,
    is_lingering: bool,
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
            opening: None,
            ticket: None,
            deadline_ms: cx.clock.now_ms() + cx.deadlines.header_ms,
            peer,
            waiting: Waiting::Header,
            is_drained: false,
            is_read_closed: false,
            is_lingering: false,
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
        let mut buffer = std::mem::take(&mut cx.input);
        let result = self.run(&mut buffer, &mut budget, cx);
        cx.input = buffer;
        cx.output.clear();
        cx.counters.sent_bytes.add(budget.sent_bytes);
        match result {
            Ok(pause) => self.pause(pause, &budget, cx),
            Err(reason) => self.close(reason),
        }
    }

    /// The deadline has passed.
    pub fn expire(&mut self, cx: &mut Context) -> Fate {
        match self.waiting {
            Waiting::None => Fate::Again,
            Waiting::Header if self.input.is_empty() => self.close(CloseReason::HeaderTimeout),
            Waiting::Header => self.time_out_head(cx),
            Waiting::KeepAlive => self.close(CloseReason::KeepAliveTimeout),
            Waiting::Content => self.close(CloseReason::ContentTimeout),
            Waiting::Send if self.output.has_been_acknowledged(&self.transport) => {
                self.deadline_ms = cx.clock.now_ms() + cx.deadlines.send_ms;
                Fate::Wait
            }
            Waiting::Send => self.close(CloseReason::SendTimeout),
            Waiting::Linger => self.close(CloseReason::LingerTimeout),
            // There was no room in the queue.
            Waiting::Helper if self.ticket.is_none() => Fate::Again,
            Waiting::Helper if self.http.next() == Next::Answer => self.answer_kept(Err(UNAVAILABLE), cx),
            Waiting::Helper => self.close(CloseReason::Failed),
        }
    }

    /// What a helper has to do before the connection can go on, after [`Fate::Help`].
    pub fn task(&mut self) -> Option<Task> {
        self.opening.take().map(Task::Open).or_else(|| self.output.task())
    }

    /// A helper has taken the task.
    pub fn wait_for(&mut self, ticket: Ticket) {
        self.ticket = Some(ticket);
    }

    /// There is no room for the task. A request is refused; content that is under way is tried again later.
    pub fn go_without(&mut self, task: &Task, cx: &mut Context) -> Fate {
        if matches!(task, Task::Open(_)) {
            return self.answer_kept(Err(UNAVAILABLE), cx);
        }
        self.deadline_ms = cx.clock.now_ms() + HELPER_RETRY_MS;
        Fate::Wait
    }

    /// A helper has done its task.
    pub fn resume(&mut self, outcome: Outcome, cx: &mut Context) -> Fate {
        if self.ticket.take().is_none() {
            return Fate::Wait;
        }
        self.waiting = Waiting::None;
        match outcome {
            Outcome::Opened(opening, opened) => {
                let located = cx.site.admit(&opening, opened, &cx.clock);
                self.answer_kept(located, cx)
            }
            other => match self.output.resume(&other) {
                Ok(()) => self.advance(cx),
                Err(reason) => self.close(reason),
            },
        }
    }

    /// Answers the request whose head was kept, and goes on.
    fn answer_kept(&mut self, located: Result<Located, Status>, cx: &mut Context) -> Fate {
        self.ticket = None;
        self.waiting = Waiting::None;
        let mut input = std::mem::take(&mut self.input);
        let mut lines = FieldLines::new();
        let Some((head, bytes)) = self.http.head_again(&input, &mut lines, &cx.limits) else {
            return self.close(CloseReason::Failed);
        };
        self.answer(&head, Some(located), cx);
        input.advance(bytes);
        self.keep(input, cx);
        self.advance_with(cx)
    }

    fn close(&mut self, reason: CloseReason) -> Fate {
        if reason.needs_reset() {
            self.transport.reset_on_close();
        }
        Fate::Close(reason)
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
                Flushed::Cold => return Ok(Pause::Helper),
            }
            match self.http.next() {
                Next::Exchange => self.begin_exchange(),
                Next::Linger => self.begin_linger(cx)?,
                Next::Close if self.has_unread_input() => self.begin_linger(cx)?,
                Next::Close => return Err(CloseReason::Finished),
                Next::Answer => return Ok(Pause::Helper),
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
        if !self.input.is_empty() && self.consume_kept(budget, cx) {
            return Ok(None);
        }
        if self.is_drained {
            return Ok(Some(Pause::Input));
        }
        match self.transport.receive(buffer) {
            Ok(0) => {
                self.is_drained = true;
                self.http.end_of_stream();
                self.input.clear();
            }
            Ok(bytes) => {
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
            self.input = cx.buffers.take();
            self.input.extend_from_slice(rest);
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

    fn keep(&mut self, input: BytesMut, cx: &mut Context) {
        if input.is_empty() {
            cx.buffers.give(input);
        } else {
            self.input = input;
        }
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
        let mut lines = FieldLines::new();
        match self.http.receive_head(input, &mut lines, &cx.limits) {
            Ok(Some((head, bytes))) => {
                budget.exchanges = budget.exchanges.saturating_sub(1);
                let is_answered = self.answer(&head, None, cx);
                Some(if is_answered { bytes } else { 0 })
            }
            Ok(None) => None,
            Err(error) => {
                self.refuse(error, input, cx);
                Some(input.len())
            }
        }
    }

    /// Answers a request, whose path was `located` by a helper if not by the site itself. False if it has to be:
    /// then the head is to be kept.
    fn answer(
        &mut self,
        head: &RequestHead<'_>,
        located: Option<Result<Located, Status>>,
        cx: &mut Context,
    ) -> bool {
        let answer = match located {
            Some(located) => cx.site.answer_located(head, located),
            None => match cx.site.answer(head, &cx.clock) {
                Ok(answer) => answer,
                Err(opening) => {
                    self.opening = Some(opening);
                    return false;
                }
            },
        };
        if cx.is_draining || ends_connection(head, &answer) {
            self.http.close_after();
        }
        let asker = Asker::of(head, self.http.persistence());
        let reply = respond::put(&mut cx.output, &answer, asker, &cx.clock);
        cx.counters.requests.increment();
        self.http.respond(reply.file.is_some());
        self.log(head.request_line, Some(&head.fields), reply, cx);
        true
    }

    /// Logs an exchange, or lets the file that is still to be sent take the line along.
    fn log(&mut self, request_line: &[u8], fields: Option<&Fields<'_>>, reply: Reply, cx: &mut Context) {
        let time = *cx.clock.log_time();
        let entry = cx.log.is_some().then(|| Entry {
            peer: self.peer.ip(),
            time: &time,
            request_line,
            status: reply.status.code(),
            referer: fields.and_then(|fields| fields.get(Name::Referer)),
            user_agent: fields.and_then(|fields| fields.get(Name::UserAgent)),
        });
        match reply.file {
            Some(file) => self.output.append_file(file, entry.as_ref(), cx),
            None => {
                if let Some(entry) = entry {
                    cx.log(|log| entry.write(reply.content_bytes, log));
                }
            }
        }
    }

    /// The connection is about to be dropped: what it still holds goes back, and what it still has to log is
    /// logged.
    pub fn end(&mut self, cx: &mut Context) {
        self.output.end(cx);
        cx.buffers.give(std::mem::take(&mut self.input));
    }

    fn refuse(&mut self, error: RequestError, input: &[u8], cx: &mut Context) {
        tracing::debug!(peer = %self.peer, %error, "request refused");
        let reply = respond::refuse(&mut cx.output, error.status(), Asker::UNKNOWN, &cx.clock);
        cx.counters.requests.increment();
        cx.counters.refused_requests.increment();
        self.http.respond(false);
        self.log(access_log::request_line(input), None, reply, cx);
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

    fn time_out_head(&mut self, cx: &mut Context) -> Fate {
        cx.counters.header_timeouts.increment();
        self.http.head_timeout();
        let input = std::mem::take(&mut self.input);
        self.refuse(RequestError::HeadTimeout, &input, cx);
        cx.buffers.give(input);
        self.advance_with(cx)
    }

    /// From now on input is only read to be thrown away, until the peer is done.
    fn begin_linger(&mut self, cx: &mut Context) -> Result<(), CloseReason> {
        self.is_lingering = true;
        cx.buffers.give(std::mem::take(&mut self.input));
        self.transport.finish().map_err(|_| CloseReason::Peer)
    }

    fn linger(&mut self, buffer: &mut [u8], budget: &mut Budget) -> Result<Pause, CloseReason> {
        while !self.is_drained {
            if budget.exchanges == 0 {
                return Ok(Pause::Budget);
            }
            budget.exchanges -= 1;
            match self.transport.receive(buffer) {
                Ok(0) => return Err(CloseReason::Finished),
                Ok(bytes) => self.is_drained = bytes < buffer.len() && !self.is_read_closed,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => self.is_drained = true,
                Err(_) => return Err(CloseReason::Peer),
            }
        }
        Ok(Pause::Input)
    }

    /// Sets the deadline of the wait that begins, or leaves that of the wait that goes on.
    fn pause(&mut self, pause: Pause, budget: &Budget, cx: &Context) -> Fate {
        let is_idle = self.input.is_empty() && self.http.next() == Next::Receive;
        let (waiting, ms) = match pause {
            Pause::Helper => {
                self.wait(Waiting::Helper, cx.deadlines.send_ms, cx);
                return if self.ticket.is_none() { Fate::Help } else { Fate::Wait };
            }
            Pause::Budget => {
                let waiting = if self.is_lingering { Waiting::Linger } else { Waiting::None };
                self.wait(waiting, cx.deadlines.linger_ms, cx);
                return Fate::Again;
            }
            Pause::Output => {
                if budget.sent_bytes > 0 {
                    self.waiting = Waiting::None;
                }
                (Waiting::Send, cx.deadlines.send_ms)
            }
            Pause::Input if self.is_lingering => (Waiting::Linger, cx.deadlines.linger_ms),
            Pause::Input if cx.is_draining && is_idle => return self.close(CloseReason::Draining),
            Pause::Input if self.http.next() == Next::Drain => (Waiting::Content, cx.deadlines.content_ms),
            Pause::Input if is_idle && self.waiting != Waiting::Header => {
                (Waiting::KeepAlive, cx.deadlines.keep_alive_ms)
            }
            Pause::Input => (Waiting::Header, cx.deadlines.header_ms),
        };
        self.wait(waiting, ms, cx);
        Fate::Wait
    }

    fn wait(&mut self, waiting: Waiting, ms: u64, cx: &Context) {
        if self.waiting != waiting || waiting == Waiting::None {
            self.waiting = waiting;
            self.deadline_ms = cx.clock.now_ms() + ms;
        }
    }
}

/// After a malformed target, or a CONNECT whose client may already talk another protocol, nothing that follows
/// can be trusted to be a request.
const fn ends_connection(head: &RequestHead<'_>, answer: &Answer<'_>) -> bool {
    matches!(answer, Answer::Refusal(Status::BadRequest)) || matches!(head.method, protocol::Method::Connect)
}
