//! How a connection waits: for what, until when, and what happens when that was in vain. And how it ends when
//! there may be bytes under way in either direction.

use protocol::RequestError;
use protocol::http1::Next;

use super::{Connection, Fate, Pause};
use crate::close::CloseReason;
use crate::context::Context;
use crate::output::Budget;
use crate::transport::Transport;

/// What a connection waits for. A deadline belongs to a wait: it is set when the wait begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
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
    /// Time, until more may be sent.
    Pace,
    /// The peer to be done talking.
    Linger,
    /// A helper, or room in the queue for one.
    Helper,
}

/// What the peer has made of the bytes that the kernel holds for it.
enum Tail {
    /// It has acknowledged them all.
    Gone,
    /// It has acknowledged some of late.
    Moving,
    /// It has acknowledged none for as long as it may.
    Stalled,
    /// It has acknowledged fewer than it has to.
    Slow,
}

/// Bounds for the time between two looks at a tail.
const LOOK_MS_MIN: u64 = 250;
const LOOK_MS_MAX: u64 = 1_000;

impl<T: Transport> Connection<T> {
    /// The deadline has passed.
    pub fn expire(&mut self, cx: &mut Context) -> Fate {
        match self.waiting {
            Waiting::None => Fate::Again,
            Waiting::Header if self.input.is_empty() || self.is_unintroduced => {
                self.close(CloseReason::HeaderTimeout)
            }
            Waiting::Header => self.time_out_head(cx),
            Waiting::KeepAlive => self.expire_idle(cx),
            Waiting::Content if self.has_tail() => {
                cx.counters.content_timeouts.increment();
                self.close_behind_tail(cx)
            }
            Waiting::Content => self.close(CloseReason::ContentTimeout),
            Waiting::Send => match self.look_at_tail(cx) {
                Tail::Gone => Fate::Again,
                Tail::Moving => Fate::Wait,
                Tail::Stalled => self.close(CloseReason::SendTimeout),
                Tail::Slow => self.close(CloseReason::TooSlow),
            },
            Waiting::Pace => self.go_on(cx),
            Waiting::Linger => self.expire_linger(cx),
            // There was no room in the queue.
            Waiting::Helper if self.ticket.is_none() => {
                self.waiting = Waiting::None;
                Fate::Again
            }
            Waiting::Helper if self.http.next() == Next::Answer => self.refuse_kept(cx),
            Waiting::Helper => self.close(CloseReason::Failed),
        }
    }

    /// Sets the deadline of the wait that begins, or leaves that of the wait that goes on.
    pub(super) fn pause(&mut self, pause: Pause, budget: &Budget, cx: &mut Context) -> Fate {
        let is_idle = self.input.is_empty() && self.http.next() == Next::Receive;
        let (waiting, ms) = match pause {
            Pause::Helper => {
                self.wait(Waiting::Helper, cx.deadlines.send_ms, cx);
                return if self.ticket.is_none() { Fate::Help } else { Fate::Wait };
            }
            Pause::Budget => {
                let waiting = if self.is_lingering { Waiting::Linger } else { Waiting::None };
                self.wait(waiting, linger_ms(cx), cx);
                return Fate::Again;
            }
            Pause::Output => {
                if budget.sent_bytes > 0 || self.waiting != Waiting::Send {
                    self.waiting = Waiting::None;
                    // Without asking the kernel: most waits for room are over before the first look.
                    self.tail_bytes = 0;
                    self.tail_moved_ms = cx.clock.now_ms();
                }
                (Waiting::Send, look_ms(cx))
            }
            Pause::Pace => (Waiting::Pace, self.pace_ms()),
            Pause::Input if self.is_lingering => (Waiting::Linger, linger_ms(cx)),
            Pause::Input if cx.is_draining && is_idle && self.has_tail() => {
                return self.close_behind_tail(cx);
            }
            Pause::Input if cx.is_draining && is_idle => return self.close(CloseReason::Draining),
            Pause::Input if self.http.next() == Next::Drain => (Waiting::Content, cx.deadlines.content_ms),
            Pause::Input if is_idle && self.waiting != Waiting::Header => {
                (Waiting::KeepAlive, cx.deadlines.keep_alive_ms)
            }
            Pause::Input => (Waiting::Header, cx.hurried(cx.deadlines.header_ms)),
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

    /// The server is ending: whoever only has to say something has little time left for it.
    pub fn hurry(&mut self, cx: &Context) {
        let is_talking = matches!(self.waiting, Waiting::Header | Waiting::Linger);
        if is_talking {
            self.deadline_ms = self.deadline_ms.min(cx.clock.now_ms() + cx.hurried(u64::MAX));
        }
    }

    fn time_out_head(&mut self, cx: &mut Context) -> Fate {
        cx.counters.header_timeouts.increment();
        self.http.give_up_head();
        let input = std::mem::take(&mut self.input);
        self.refuse(RequestError::HeadTimeout, &input, cx);
        cx.buffers.give(input);
        self.advance_with(cx)
    }

    /// Closing over unsent output is as bad: the next byte that the peer sends draws a reset, and the kernel drops
    /// what it has not sent. What fits into the peer's window at once is not worth the question.
    pub(super) fn has_tail(&self) -> bool {
        self.has_long_tail && self.transport.unacknowledged_bytes().is_ok_and(|bytes| bytes > 0)
    }

    /// From now on the peer is judged by how it takes what the kernel holds for it.
    fn begin_tail(&mut self, cx: &Context) {
        self.tail_bytes = self.transport.unacknowledged_bytes().unwrap_or(0);
        self.tail_moved_ms = cx.clock.now_ms();
    }

    /// How the peer takes it. If it does, or still may, there is another look before long, so that a stall is
    /// noticed soon after its time.
    fn look_at_tail(&mut self, cx: &Context) -> Tail {
        let now_ms = cx.clock.now_ms();
        let bytes = self.transport.unacknowledged_bytes().unwrap_or(0);
        let before = std::mem::replace(&mut self.tail_bytes, bytes);
        if bytes == 0 {
            return Tail::Gone;
        }
        if before == 0 || bytes < before {
            self.tail_moved_ms = now_ms;
        }
        if self.takes_too_slowly(bytes, cx) {
            return Tail::Slow;
        }
        let stalls_at_ms = self.tail_moved_ms + cx.deadlines.send_ms;
        if now_ms >= stalls_at_ms {
            return Tail::Stalled;
        }
        self.deadline_ms = stalls_at_ms.min(now_ms + look_ms(cx));
        Tail::Moving
    }

    /// Being idle begins when the peer has the whole response, not when the kernel has.
    fn expire_idle(&mut self, cx: &Context) -> Fate {
        // What a blocked send saw in the kernel is no tail: nothing would ever look at it again.
        if !self.has_long_tail {
            return self.close(CloseReason::KeepAliveTimeout);
        }
        let had_tail = self.tail_bytes > 0;
        match self.look_at_tail(cx) {
            Tail::Gone if had_tail => {
                self.deadline_ms = cx.clock.now_ms() + cx.deadlines.keep_alive_ms;
                Fate::Wait
            }
            Tail::Gone => self.close(CloseReason::KeepAliveTimeout),
            Tail::Moving => Fate::Wait,
            Tail::Stalled => self.close(CloseReason::SendTimeout),
            Tail::Slow => self.close(CloseReason::TooSlow),
        }
    }

    /// From now on input is only read to be thrown away, until the peer is done.
    pub(super) fn begin_linger(&mut self, cx: &mut Context) -> Result<(), CloseReason> {
        self.is_lingering = true;
        if self.has_long_tail {
            self.begin_tail(cx);
        }
        self.give_input(cx);
        self.transport.finish().map_err(|_| CloseReason::Peer)
    }

    /// There is no more to say, but the peer has not heard all of it yet.
    pub(super) fn close_behind_tail(&mut self, cx: &mut Context) -> Fate {
        match self.begin_linger(cx) {
            Ok(()) => self.advance(cx),
            Err(reason) => self.close(reason),
        }
    }

    /// The peer may take its time over the tail, as long as it takes something. When it has all of it, there is
    /// nothing left to wait for.
    fn expire_linger(&mut self, cx: &Context) -> Fate {
        if !self.has_long_tail || self.tail_bytes == 0 {
            return self.close(CloseReason::LingerTimeout);
        }
        match self.look_at_tail(cx) {
            Tail::Gone => self.close(CloseReason::Finished),
            Tail::Moving => Fate::Wait,
            Tail::Stalled => self.close(CloseReason::SendTimeout),
            Tail::Slow => self.close(CloseReason::TooSlow),
        }
    }

    pub(super) fn linger(&mut self, buffer: &mut [u8], budget: &mut Budget) -> Result<Pause, CloseReason> {
        while !self.is_drained {
            if budget.input_bytes == 0 {
                return Ok(Pause::Budget);
            }
            match self.transport.receive(buffer) {
                Ok(0) => return Err(CloseReason::Finished),
                Ok(bytes) => {
                    budget.input_bytes = budget.input_bytes.saturating_sub(bytes);
                    self.is_drained = bytes < buffer.len() && !self.is_read_closed;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => self.is_drained = true,
                Err(_) => return Err(CloseReason::Peer),
            }
        }
        Ok(Pause::Input)
    }

    pub(super) fn close(&mut self, reason: CloseReason) -> Fate {
        if reason.needs_reset() {
            self.transport.reset_on_close();
        }
        Fate::Close(reason)
    }
}

/// How often a peer is looked at that has to take what the kernel holds for it.
pub(super) fn look_ms(cx: &Context) -> u64 {
    (cx.deadlines.send_ms / 8).clamp(LOOK_MS_MIN, LOOK_MS_MAX).min(cx.deadlines.send_ms)
}

fn linger_ms(cx: &Context) -> u64 {
    cx.hurried(cx.deadlines.linger_ms)
}
