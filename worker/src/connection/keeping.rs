//! Input that cannot be used up at once, and what happens when there is no memory to keep it in.

use bytes::BytesMut;
use protocol::Status;
use protocol::http1::Next;
use protocol::http1::head::FieldLines;

use super::Connection;
use crate::context::Context;
use crate::transport::Transport;

impl<T: Transport> Connection<T> {
    /// Keeps what is left of kept input, if anything is.
    pub(super) fn keep(&mut self, input: BytesMut, cx: &mut Context) {
        if input.is_empty() {
            cx.buffers.give(input);
        } else {
            self.input = input;
        }
    }

    /// Keeps what is left of a read.
    pub(super) fn keep_rest(&mut self, rest: &[u8], cx: &mut Context) {
        // A head that is not whole may take its time, and so may what takes a helper long; whatever else is kept waits for
        // little.
        let waits_long = self.http.next() == Next::Receive || self.waits_for_long();
        if !cx.buffers.has_room(waits_long) {
            return self.do_without(rest, cx);
        }
        self.input = cx.buffers.take();
        self.input.extend_from_slice(rest);
    }

    /// What cannot be kept is the last that was read: a head is refused, and requests behind an answer are as if they
    /// had not been sent, of which the close behind it tells.
    #[cold]
    fn do_without(&mut self, rest: &[u8], cx: &mut Context) {
        cx.counters.memory_refusals.increment();
        tracing::debug!(peer = %self.peer, "no memory to keep a request in");
        match self.http.next() {
            Next::Receive => {
                self.http.give_up_head();
                self.put_refusal(Status::ServiceUnavailable, rest, cx);
            }
            Next::Answer => {
                self.http.close_after();
                let mut lines = FieldLines::new();
                if let Some((head, _)) = self.http.head_again(rest, &mut lines, &cx.limits) {
                    self.put_unavailable(&head, cx);
                }
            }
            _ => self.http.close_after(),
        }
    }

    /// Gives back the buffer of the input, if there is any.
    pub(super) fn give_input(&mut self, cx: &mut Context) {
        if !self.input.is_empty() {
            cx.buffers.give(std::mem::take(&mut self.input));
        }
    }
}
