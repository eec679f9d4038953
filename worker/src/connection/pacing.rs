//! How the rates of [`crate::pace`] meet a connection: what a turn may send, the wait for more, and the end of a peer
//! that is too slow.
//!
//! Nothing in here is reached where no rate is set.

use protocol::http1::Next;

use super::waiting::{Waiting, look_ms};
use super::{Connection, Fate, Pause};
use crate::close::CloseReason;
use crate::context::Context;
use crate::output::Budget;
use crate::transport::Transport;

impl<T: Transport> Connection<T> {
    /// Lets the turn that begins send what is allowed. An event that comes while the allowance accrues changes nothing:
    /// else each acknowledgement would make a little more be sent.
    #[cold]
    pub(super) fn limit(&mut self, budget: &mut Budget, cx: &Context) {
        let now_ms = cx.clock.now_ms();
        let is_waiting = self.waiting == Waiting::Pace && now_ms < self.deadline_ms;
        if self.waiting == Waiting::Pace && !is_waiting {
            // The next wait is another one, whoever has ended this one.
            self.waiting = Waiting::None;
        }
        if let Some(pace) = &mut self.pace {
            pace.limit(budget, is_waiting, now_ms);
        }
    }

    /// As [`Connection::pause`], unless the peer turns out to be too slow.
    #[cold]
    pub(super) fn pause_in_step(&mut self, pause: Pause, budget: &Budget, cx: &mut Context) -> Fate {
        if let Some(pace) = &mut self.pace {
            pace.add_sent(budget.sent_bytes);
        }
        if self.is_too_slow(pause, budget, cx) {
            return self.close(CloseReason::TooSlow);
        }
        self.pause(pause, budget, cx)
    }

    fn is_too_slow(&mut self, pause: Pause, budget: &Budget, cx: &Context) -> bool {
        let is_owed_input = !self.is_lingering
            && (self.http.next() == Next::Drain
                || (self.http.next() == Next::Receive && !self.input.is_empty()));
        let Some(meter) = self.pace.as_mut().and_then(|pace| pace.meter.as_mut()) else { return false };
        let now_ms = cx.clock.now_ms();
        if budget.exchanges < Budget::TURN.exchanges {
            // Another request has begun.
            meter.expect_nothing();
        }
        if is_owed_input && matches!(pause, Pause::Input | Pause::Budget) {
            let received_bytes = Budget::TURN.input_bytes.saturating_sub(budget.input_bytes);
            // Who has given more than a turn reads is not judged before the end of it.
            return meter.gives_too_slowly(received_bytes as u64, now_ms) && pause == Pause::Input;
        }
        if pause != Pause::Budget {
            meter.expect_nothing();
        }
        if !matches!(pause, Pause::Output | Pause::Budget) {
            meter.note_own_wait();
        }
        // In a wait for the peer the wheel makes it be looked at, unless the peer ends it before, again and again.
        let is_sending = matches!(pause, Pause::Output | Pause::Pace);
        is_sending && meter.is_due(look_ms(cx), now_ms) && {
            let bytes = self.transport.unacknowledged_bytes().unwrap_or(0);
            meter.takes_too_slowly(bytes, now_ms)
        }
    }

    /// Whether a peer that has so many bytes still to take is too slow.
    pub(super) fn takes_too_slowly(&mut self, unacknowledged_bytes: u64, cx: &Context) -> bool {
        let meter = self.pace.as_mut().and_then(|pace| pace.meter.as_mut());
        meter.is_some_and(|meter| meter.takes_too_slowly(unacknowledged_bytes, cx.clock.now_ms()))
    }

    /// How long it takes until it is worth while to send more.
    pub(super) fn pace_ms(&self) -> u64 {
        let allowance = self.pace.as_ref().and_then(|pace| pace.allowance.as_ref());
        allowance.map_or(0, crate::pace::Allowance::wait_ms)
    }

    /// More may be sent.
    pub(super) fn go_on(&mut self, cx: &mut Context) -> Fate {
        self.waiting = Waiting::None;
        self.advance(cx)
    }
}
