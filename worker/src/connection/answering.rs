//! From a request head to a response in the output buffer, with or without the help of a thread that may wait.

use std::net::IpAddr;

use bytes::Buf;
use protocol::http1::head::FieldLines;
use protocol::{Fields, Method, Name, RequestError, RequestHead, Status};

use super::waiting::Waiting;
use super::{Connection, Fate};
use crate::access_log::{self, Entry};
use crate::close::CloseReason;
use crate::cold::{Outcome, Task};
use crate::context::Context;
use crate::decision::decided;
use crate::errands::{ErrandId, Ticket};
use crate::gate::{Gate, SharedGate, Verdict};
use crate::metrics::Counters;
use crate::output::Transfers;
use crate::respond::{self, Asker, Reply};
use crate::site::{Answer, Asked, Finding, Site};
use crate::transport::Transport;
use crate::users::CREDENTIALS_BYTES_MAX;

/// What a request gets that no helper has time for.
pub(super) const UNAVAILABLE: Status = Status::ServiceUnavailable;
/// Errands that one request may need: a path, an application's page, the page of an error, each to be opened and then
/// coded, and a listing. Whoever needs more meets files that change faster than they can be opened.
const ERRANDS_MAX: usize = 8;

/// What is being found out for a request whose head is kept.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    /// What nobody has been asked for yet.
    task: Option<Box<Task>>,
    /// Whose request it is, if that has an address.
    client: Option<IpAddr>,
    /// What has been found out, so that nothing has to be found out again even if no cache keeps it.
    findings: Vec<Finding>,
    /// Whether its password is right.
    is_verified: Option<bool>,
}

/// What came of an errand, for each of those who waited for it.
#[derive(Debug)]
pub enum Arrival {
    /// What there is at a path.
    Found(Finding),
    /// Whether a password is right.
    Verified(bool),
    /// What became of a part of a file.
    Content(Outcome),
}

impl Arrival {
    /// Takes in what was opened, so that those who come later find it, even if nobody has waited for it.
    pub fn of(outcome: Outcome, cx: &mut Context) -> Self {
        match outcome {
            Outcome::Opened(opening, opened) => Self::Found(cx.site.admit(*opening, opened, &cx.clock)),
            Outcome::Made(making, made) => Self::Found(cx.site.admit_made(*making, made)),
            Outcome::Listed(enumeration, listed) => {
                Self::Found(cx.site.admit_listed(*enumeration, listed, &cx.clock))
            }
            Outcome::Verified(verification, is_right) => {
                if let Some(gate) = cx.gate.as_ref().filter(|_| is_right) {
                    gate.borrow_mut().admit(&verification, cx.clock.now_ms());
                }
                Self::Verified(is_right)
            }
            outcome => Self::Content(outcome),
        }
    }
}

/// When content that no helper had room for is tried again.
const HELPER_RETRY_MS: u64 = 250;

impl<T: Transport> Connection<T> {
    /// Answers a request, perhaps by what helpers have found out for it. False if there is something to be found out
    /// first: then the head is to be kept.
    pub(super) fn answer(&mut self, head: &RequestHead<'_>, cx: &mut Context) -> bool {
        let findings = self.inquiry.as_ref().map_or(&[][..], |inquiry| &inquiry.findings);
        let asked = Asked { head, clock: &cx.clock, findings };
        let answer = match &cx.gate {
            None => cx.site.answer(&asked),
            Some(gate) => self.answer_at_gate(gate, &asked, &mut cx.site, &cx.counters),
        };
        match answer {
            Ok(answer) => self.put(head, &answer, cx),
            Err(_) if self.has_asked_enough() => self.put_unavailable(head, cx),
            Err(task) => {
                self.inquire(task, head, cx);
                return false;
            }
        }
        true
    }

    fn has_asked_enough(&self) -> bool {
        self.inquiry.as_ref().is_some_and(|inquiry| inquiry.findings.len() >= ERRANDS_MAX)
    }

    /// The answer to a request that the gate lets pass, or its refusal, or that a password has to be verified first.
    #[cold]
    fn answer_at_gate(
        &self,
        gate: &SharedGate,
        asked: &Asked<'_>,
        site: &mut Site,
        counters: &Counters,
    ) -> Result<Answer, Box<Task>> {
        let is_known = self.inquiry.is_some();
        let is_verified = self.inquiry.as_ref().and_then(|inquiry| inquiry.is_verified);
        let client = self.client_by(&gate.borrow(), Some(&asked.head.fields));
        let verdict = gate.borrow_mut().judge(
            asked.head,
            self.peer,
            client,
            is_known,
            is_verified,
            asked.clock.now_ms(),
        );
        match verdict {
            Verdict::Pass => site.answer(asked),
            Verdict::Refuse(status) => site.answer_as_decided(Answer::Refusal(status), asked),
            Verdict::TooMany(too_many) => {
                counters.rate_refusals.increment();
                site.answer_as_decided(Answer::TooMany(too_many), asked)
            }
            Verdict::Challenge(challenge) => site.answer_as_decided(Answer::Challenge(challenge), asked),
            Verdict::Verify(verification) => Err(Box::new(Task::Verify(verification))),
        }
    }

    /// Whose request it is, if that has an address. On a connection of which a trusted proxy could not tell whose it is,
    /// fields come from whoever that is.
    fn client_by(&self, gate: &Gate, fields: Option<&Fields<'_>>) -> Option<IpAddr> {
        gate.client(self.peer, fields.filter(|_| !self.is_anonymous))
    }

    #[cold]
    fn inquire(&mut self, task: Box<Task>, head: &RequestHead<'_>, cx: &Context) {
        let client = match &cx.gate {
            None => self.peer.ip(),
            Some(gate) => self.client_by(&gate.borrow(), Some(&head.fields)),
        };
        let inquiry = self.inquiry.get_or_insert_default();
        (inquiry.task, inquiry.client) = (Some(task), client);
    }

    #[cold]
    fn end_inquiry(&mut self) {
        self.inquiry = None;
    }

    #[cold]
    pub(super) fn put_unavailable(&mut self, head: &RequestHead<'_>, cx: &mut Context) {
        let answer = cx.site.refuse(UNAVAILABLE, head);
        self.put(head, &answer, cx);
    }

    /// Puts out the response to a request.
    #[inline]
    fn put(&mut self, head: &RequestHead<'_>, answer: &Answer, cx: &mut Context) {
        if self.inquiry.is_some() {
            self.end_inquiry();
        }
        if cx.is_draining || ends_connection(head, answer) {
            self.http.close_after();
        }
        let asker = Asker::of(head, self.http.persistence());
        let reply = respond::put(&mut cx.output, answer, cx.site.extras(), asker, &cx.clock);
        cx.counters.requests.increment();
        self.http.respond(reply.file.is_some());
        if reply.file.is_some() || cx.log.is_some() {
            self.log(head.request_line, Some(&head.fields), reply, cx);
        }
    }

    /// Logs an exchange, or lets the file that is still to be sent take the line along.
    fn log(&mut self, request_line: &[u8], fields: Option<&Fields<'_>>, reply: Reply, cx: &mut Context) {
        let (mut buffer, time);
        let entry = if cx.log.is_some() {
            time = *cx.clock.log_time();
            let (peer, user) = match &cx.gate {
                None => (self.peer.ip(), None),
                Some(gate) => {
                    buffer = [0; CREDENTIALS_BYTES_MAX];
                    let (gate, now_ms) = (gate.borrow(), cx.clock.now_ms());
                    (self.client_by(&gate, fields), gate.user(fields, now_ms, &mut buffer))
                }
            };
            Some(Entry {
                peer,
                user,
                time: &time,
                request_line,
                status: reply.status.code(),
                referer: fields.and_then(|fields| fields.get(Name::Referer)),
                user_agent: fields.and_then(|fields| fields.get(Name::UserAgent)),
            })
        } else {
            None
        };
        match reply.file {
            Some(file) => {
                self.has_long_tail |= file.in_memory().is_none();
                self.output.append_file(file, reply.content_bytes, entry.as_ref(), cx);
            }
            None => {
                if let Some(entry) = entry {
                    cx.log(|log| entry.write(reply.content_bytes, log));
                }
            }
        }
    }

    pub(super) fn refuse(&mut self, error: RequestError, input: &[u8], cx: &mut Context) {
        tracing::debug!(peer = %self.peer, %error, "request refused");
        decided!("request", "refused: {error}");
        self.put_refusal(error.status(), input, cx);
    }

    /// Refuses what is no request, or not a whole one.
    pub(super) fn put_refusal(&mut self, status: Status, input: &[u8], cx: &mut Context) {
        let request_line = access_log::request_line(input);
        let asker = if request_line.starts_with(b"HEAD ") { Asker::UNKNOWN_HEAD } else { Asker::UNKNOWN };
        let reply = respond::refuse(&mut cx.output, status, asker, &cx.clock);
        cx.counters.requests.increment();
        cx.counters.refused_requests.increment();
        self.http.respond(false);
        self.log(request_line, None, reply, cx);
    }

    /// What a helper has to do before the connection can go on, after [`Fate::Help`].
    pub fn task(&mut self) -> Option<Task> {
        let task = self.inquiry.as_mut().and_then(|inquiry| inquiry.task.take());
        task.map(|task| *task).or_else(|| self.output.task())
    }

    /// Whether what is to be found out takes a helper long.
    pub(super) fn waits_for_long(&self) -> bool {
        let task = self.inquiry.as_ref().and_then(|inquiry| inquiry.task.as_deref());
        task.is_some_and(Task::takes_long)
    }

    /// Whether there is memory for what comes of its task.
    pub fn makes_room(&mut self, task: &Task, transfers: &mut Transfers) -> bool {
        self.output.makes_room(task, transfers)
    }

    /// Whose request the task is for, if it is for one and that has an address.
    pub fn client(&self) -> Option<IpAddr> {
        self.inquiry.as_ref().and_then(|inquiry| inquiry.client)
    }

    /// A helper has taken the task.
    pub fn wait_for(&mut self, ticket: Ticket) {
        self.ticket = Some(ticket);
    }

    /// Whether it waits for that errand, and has not given up since.
    pub fn waits_for(&self, errand: ErrandId) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| ticket.is_for(errand))
    }

    /// There is no room for the task. A request is refused; content that is under way is tried again later.
    pub fn go_without(&mut self, task: &Task, cx: &mut Context) -> Fate {
        if matches!(task, Task::Open(_) | Task::Make(_) | Task::List(_) | Task::Verify(_)) {
            return self.refuse_kept(cx);
        }
        self.deadline_ms = cx.clock.now_ms() + HELPER_RETRY_MS;
        Fate::Wait
    }

    /// A helper has done the errand for which the connection [waits](Self::waits_for).
    pub fn resume(&mut self, arrival: &Arrival, cx: &mut Context) -> Fate {
        self.ticket = None;
        match arrival {
            Arrival::Found(finding) => {
                self.inquiry.get_or_insert_default().findings.push(finding.clone());
                self.with_kept_head(cx, Self::answer)
            }
            Arrival::Verified(is_right) => {
                self.inquiry.get_or_insert_default().is_verified = Some(*is_right);
                self.with_kept_head(cx, Self::answer)
            }
            Arrival::Content(outcome) => {
                self.waiting = Waiting::None;
                match self.output.resume(outcome) {
                    Ok(()) => self.advance(cx),
                    Err(reason) => self.close(reason),
                }
            }
        }
    }

    /// Refuses the request whose head was kept, as nobody has the time for it, and goes on.
    pub(super) fn refuse_kept(&mut self, cx: &mut Context) -> Fate {
        self.with_kept_head(cx, |connection, head, cx| {
            connection.put_unavailable(head, cx);
            true
        })
    }

    /// Answers the request whose head was kept, and goes on; or asks for something else to be found out, within what
    /// is left of the time for it.
    fn with_kept_head(
        &mut self,
        cx: &mut Context,
        answer: impl FnOnce(&mut Self, &RequestHead<'_>, &mut Context) -> bool,
    ) -> Fate {
        self.ticket = None;
        let mut input = std::mem::take(&mut self.input);
        let mut lines = FieldLines::new();
        let Some((head, bytes)) = self.http.head_again(&input, &mut lines, &cx.limits) else {
            self.input = input;
            return self.close(CloseReason::Failed);
        };
        if !answer(self, &head, cx) {
            self.input = input;
            return Fate::Help;
        }
        self.waiting = Waiting::None;
        input.advance(bytes);
        self.keep(input, cx);
        self.advance_with(cx)
    }
}

/// After a malformed target, or a CONNECT whose client may already talk another protocol, nothing that follows
/// can be trusted to be a request.
const fn ends_connection(head: &RequestHead<'_>, answer: &Answer) -> bool {
    matches!(answer, Answer::Refusal(Status::BadRequest)) || matches!(head.method, Method::Connect)
}
