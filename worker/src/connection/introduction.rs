//! What a proxy says before the first request: whose connection it passes on (`protocol::proxy_protocol`).
//!
//! Nothing is answered to a peer that says something else, or that may not say it: it is no client, and could not
//! be told.

use bytes::Buf;
use protocol::proxy_protocol::{self, Source};

use super::{Connection, Pause};
use crate::close::CloseReason;
use crate::context::Context;
use crate::handoff::Peer;
use crate::output::Budget;
use crate::transport::Transport;

impl<T: Transport> Connection<T> {
    /// Reads on until the header is whole. `None` if there may be something to do now.
    #[cold]
    pub(super) fn receive_introduction(
        &mut self,
        buffer: &mut [u8],
        budget: &mut Budget,
        cx: &mut Context,
    ) -> Result<Option<Pause>, CloseReason> {
        if cx.gate.as_ref().is_some_and(|gate| !gate.borrow().may_introduce(self.peer)) {
            return Err(self.refuse_introduction("the peer is not one of --trust"));
        }
        if self.is_drained {
            return Ok(Some(Pause::Input));
        }
        match self.transport.receive(buffer) {
            // A proxy that only looks whether somebody listens has done nothing wrong.
            Ok(0) if self.input.is_empty() => Err(CloseReason::Peer),
            Ok(0) => Err(self.refuse_introduction("the connection ended within the header")),
            Ok(bytes) => {
                budget.input_bytes = budget.input_bytes.saturating_sub(bytes);
                self.is_drained = bytes < buffer.len() && !self.is_read_closed;
                self.introduce(buffer.get(..bytes).unwrap_or_default(), cx)?;
                if !self.is_unintroduced {
                    self.enter_introduced(buffer, cx)?;
                }
                Ok(None)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                self.is_drained = true;
                Ok(Some(Pause::Input))
            }
            Err(_) => Err(CloseReason::Peer),
        }
    }

    /// Takes in some more of the header, and keeps what follows it. It is judged after each piece, so no more is kept
    /// than the longest header and a piece.
    fn introduce(&mut self, fresh: &[u8], cx: &mut Context) -> Result<(), CloseReason> {
        let mut input = std::mem::take(&mut self.input);
        if input.is_empty() {
            if !cx.buffers.has_room(true) {
                return Err(CloseReason::NoMemory);
            }
            input = cx.buffers.take();
        }
        input.extend_from_slice(fresh);
        let header = proxy_protocol::parse(&input);
        if let Ok(Some(header)) = header {
            self.is_unintroduced = false;
            match header.source {
                Source::Client(address) => self.peer = Peer::from(address),
                Source::Local => {}
                Source::Unknown => self.is_anonymous = true,
            }
            input.advance(header.consumed);
        }
        self.keep(input, cx);
        header.map(drop).map_err(|error| self.refuse_introduction(error))
    }

    fn refuse_introduction(&self, why: impl std::fmt::Display) -> CloseReason {
        tracing::debug!(peer = %self.peer, %why, "connection refused");
        CloseReason::ProxyHeader
    }
}
