//! Connections where there are too many: which are refused because their client has as many as allowed, and which make
//! room for others.
//!
//! A connection says here since when it could be spared; which one is spared, and when, is decided elsewhere.

use protocol::Status;

use super::Connection;
use super::waiting::Waiting;
use crate::address_table::AddressTable;
use crate::close::CloseReason;
use crate::context::Context;
use crate::respond::{self, Asker};
use crate::transport::Transport;

/// How long whoever is about to say something is left alone. Most requests come whole, and at once.
const GRACE_MS: u64 = 1_000;

/// In which way a connection can be spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spare {
    /// No request has begun, and none is under way.
    Idle,
    /// The peer has begun to say something and not finished, and is owed no response.
    Unfinished,
}

impl Spare {
    /// Why it is closed then.
    #[must_use]
    pub const fn reason(self) -> CloseReason {
        match self {
            Self::Idle => CloseReason::DisplacedIdle,
            Self::Unfinished => CloseReason::DisplacedUnfinished,
        }
    }
}

impl<T: Transport> Connection<T> {
    /// Takes a place among the connections of its client, if those are limited. The client of a Unix socket has no
    /// limit, nor has a proxy that is trusted, since it speaks for many. One that has to introduce its client first
    /// takes the place then.
    ///
    /// # Errors
    /// When there is none: the peer was told, and the connection is to be closed.
    #[inline]
    pub fn enter(&mut self, cx: &mut Context) -> Result<(), CloseReason> {
        let Some(table) = cx.of_clients.filter(|_| !self.is_unintroduced) else { return Ok(()) };
        let mut buffer = std::mem::take(&mut cx.input);
        let entered = self.enter_table(table, &mut buffer, cx);
        cx.input = buffer;
        entered
    }

    #[cold]
    fn enter_table(
        &mut self,
        table: &'static AddressTable,
        buffer: &mut [u8],
        cx: &mut Context,
    ) -> Result<(), CloseReason> {
        let Some(address) = self.peer.ip() else { return Ok(()) };
        if cx.gate.as_ref().is_some_and(|gate| gate.borrow().trusts(self.peer)) {
            return Ok(());
        }
        match table.take(address.into()) {
            Ok(place) => {
                self.place = place;
                Ok(())
            }
            Err(_) => {
                table.note_refusal(address);
                self.refuse_crowded(buffer, cx);
                Err(CloseReason::Crowded)
            }
        }
    }

    /// The same for one whose client was introduced just now; `buffer` is what was read to.
    pub(super) fn enter_introduced(
        &mut self,
        buffer: &mut [u8],
        cx: &mut Context,
    ) -> Result<(), CloseReason> {
        cx.of_clients.map_or(Ok(()), |table| self.enter_table(table, buffer, cx))
    }

    /// Tells the peer as well as that can be done at once. To wait until it has heard would hold what the limit is to
    /// spare. What it has said so far is read, since closing over it would overtake the response with a reset.
    fn refuse_crowded(&mut self, buffer: &mut [u8], cx: &mut Context) {
        respond::refuse(&mut cx.output, Status::TooManyRequests, Asker::UNKNOWN, &cx.clock);
        // It gets the response, or it does not.
        let _ = self.transport.send(&cx.output, false);
        let _ = self.transport.finish();
        let _ = self.transport.receive(buffer);
        cx.output.clear();
    }

    /// Since when it could be spared, on the clock of the context; that may lie ahead. None if it cannot be.
    #[must_use]
    pub fn spare_since_ms(&self, kind: Spare, cx: &Context) -> Option<u64> {
        // A deadline belongs to a wait, and tells when that began.
        let after = |ms: u64, grace_ms| Some(self.deadline_ms.saturating_sub(ms).saturating_add(grace_ms));
        let has_begun = !self.input.is_empty();
        match (kind, self.waiting) {
            (Spare::Idle, Waiting::KeepAlive) if self.tail_bytes == 0 => after(cx.deadlines.keep_alive_ms, 0),
            (Spare::Idle, Waiting::Header) if !has_begun => after(cx.deadlines.header_ms, GRACE_MS),
            (Spare::Unfinished, Waiting::Header) if has_begun => after(cx.deadlines.header_ms, GRACE_MS),
            // The answer was given before the content is read, and each piece of that begins the wait anew.
            (Spare::Unfinished, Waiting::Content) => after(cx.deadlines.content_ms, 0),
            (Spare::Unfinished, Waiting::Linger) if self.tail_bytes == 0 => {
                after(cx.deadlines.linger_ms, GRACE_MS)
            }
            _ => None,
        }
    }

    /// Whether the kernel still holds a part of a response that the peer has not acknowledged.
    #[must_use]
    pub fn owes_bytes(&self) -> bool {
        self.transport.unacknowledged_bytes().is_ok_and(|bytes| bytes > 0)
    }
}
