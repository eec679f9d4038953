//! What is on its way to a peer: bytes the socket would not take at once, and the file that follows them, or parts of
//! it with what stands between them.
//!
//! While a connection is being served, its responses gather in the worker's output buffer; only what is left
//! when the socket is full moves into a transfer, which the connection then holds until it is through. An
//! idle connection holds nothing.

mod transfer;
mod transfers;

use protocol::http1::encode::decimal;

use crate::access_log::Entry;
use crate::close::CloseReason;
use crate::cold::{Outcome, Task};
use crate::context::Context;
use crate::respond::FileContent;
use crate::transport::Transport;
use transfer::{Transfer, allowed, send, taken};
pub use transfers::Transfers;

/// What a connection may still do in this turn, and what it has done.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Requests it may answer.
    pub exchanges: u32,
    /// Bytes of files it may send, all of them in one sendfile(2) if the socket takes them.
    pub file_bytes: u64,
    /// Bytes it may read.
    pub input_bytes: usize,
    /// Bytes it may hand to the kernel, of heads and contents alike; not bounded but by `--limit-rate`.
    pub output_bytes: u64,
    /// Bytes it has handed to the kernel.
    pub sent_bytes: u64,
}

impl Budget {
    /// What every connection gets in a turn: enough to make the turn worth it, little enough to be fair.
    pub const TURN: Self = Self {
        exchanges: 16,
        file_bytes: 2 << 20,
        input_bytes: 256 << 10,
        output_bytes: u64::MAX,
        sent_bytes: 0,
    };

    const fn add_sent(&mut self, bytes: u64) {
        self.sent_bytes += bytes;
        self.output_bytes = self.output_bytes.saturating_sub(bytes);
    }

    /// Why not all was sent.
    const fn unfinished(&self) -> Flushed {
        if self.output_bytes == 0 { Flushed::Paced } else { Flushed::Blocked }
    }
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is with the kernel.
    Done,
    /// The socket is full; it will become writable.
    Blocked,
    /// The budget is used up; the socket may have room.
    Budget,
    /// The rate that is allowed is used up; more accrues with time.
    Paced,
    /// The file is not in memory: a helper has to do [`Output::task`] first.
    Cold,
}

/// The sending side of a connection.
#[derive(Debug, Default)]
pub struct Output(Option<Box<Transfer>>);

impl Output {
    /// Whether nothing waits to be sent.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Lets a file follow what is in the output buffer, and a line of the access log follow the file.
    /// `content_bytes` is the length of the whole content.
    pub fn append_file(
        &mut self,
        file: FileContent,
        content_bytes: u64,
        line: Option<&Entry<'_>>,
        cx: &mut Context,
    ) {
        let transfer = self.0.get_or_insert_with(|| cx.transfers.take());
        if let Some(line) = line {
            line.write_prefix(&mut transfer.line);
            transfer.line_prefix_bytes = transfer.line.len();
            line.write_suffix(&mut transfer.line);
        }
        // What goes at once takes nothing for long.
        if file.in_memory().is_none() && !cx.transfers.charge(transfer, transfer.line.len()) {
            cx.counters.memory_refusals.increment();
            transfer.line = Vec::new();
        }
        transfer.promised_bytes = content_bytes;
        transfer.file_bytes = file.left_bytes_in_all();
        transfer.file = Some(file);
    }

    /// Sends as much as the socket takes and the budget allows: first what has gathered in the output buffer,
    /// which is empty afterwards, or what was left of it, then the file.
    ///
    /// # Errors
    /// The reason to close the connection.
    pub fn flush<T: Transport>(
        &mut self,
        transport: &mut T,
        budget: &mut Budget,
        cx: &mut Context,
    ) -> Result<Flushed, CloseReason> {
        if !cx.output.is_empty() {
            let is_sent = match self.take_content() {
                None => self.flush_fresh(transport, budget, cx)?,
                Some(file) => self.flush_with_content(&file, transport, budget, cx)?,
            };
            if !is_sent {
                return Ok(budget.unfinished());
            }
        }
        let Some(transfer) = &mut self.0 else { return Ok(Flushed::Done) };
        let flushed = transfer.flush(transport, budget, cx.may_wait())?;
        if flushed == Flushed::Done {
            self.end(cx);
        }
        Ok(flushed)
    }

    /// Sends what has gathered in the output buffer; whether all of it went.
    fn flush_fresh<T: Transport>(
        &mut self,
        transport: &mut T,
        budget: &mut Budget,
        cx: &mut Context,
    ) -> Result<bool, CloseReason> {
        debug_assert!(self.0.as_ref().is_none_or(|transfer| transfer.bytes.is_empty()));
        let file_follows = self.0.as_ref().is_some_and(|transfer| transfer.file.is_some());
        let sent = send(transport, &cx.output, file_follows, budget)?;
        let rest = cx.output.get(sent..).unwrap_or_default();
        let is_sent = rest.is_empty();
        if !is_sent {
            let transfer = self.0.get_or_insert_with(|| cx.transfers.take());
            if !cx.transfers.charge(transfer, transfer.line.len() + rest.len()) {
                return Err(CloseReason::NoMemory);
            }
            transfer.bytes.extend_from_slice(rest);
        }
        cx.output.clear();
        Ok(is_sent)
    }

    /// What follows the output buffer, if it is to be sent from memory.
    #[inline]
    fn take_content(&mut self) -> Option<FileContent> {
        let transfer = self.0.as_mut()?;
        transfer.file.take_if(|file| file.in_memory().is_some())
    }

    /// Sends what has gathered in the output buffer and, in the same call, the content that follows it, from where it
    /// is in memory; whether all of it went. Only what did not is copied.
    #[inline(never)]
    fn flush_with_content<T: Transport>(
        &mut self,
        file: &FileContent,
        transport: &mut T,
        budget: &mut Budget,
        cx: &mut Context,
    ) -> Result<bool, CloseReason> {
        let content = file.in_memory().unwrap_or_default();
        let allowed_head = allowed(&cx.output, budget.output_bytes);
        let allowed_content = allowed(content, budget.output_bytes.saturating_sub(allowed_head.len() as u64));
        let sent = match budget.output_bytes {
            0 => 0,
            _ => taken(transport.send_both(allowed_head, allowed_content), budget)
                .inspect_err(|_| self.forget_content())?,
        };
        let head_rest = cx.output.get(sent..).unwrap_or_default();
        let content_rest = content.get(sent.saturating_sub(cx.output.len())..).unwrap_or_default();
        let is_sent = content_rest.is_empty();
        if let Some(transfer) = self.0.as_mut().filter(|_| !is_sent) {
            let kept_bytes = transfer.line.len() + head_rest.len() + content_rest.len();
            if !cx.transfers.charge(transfer, kept_bytes) {
                transfer.promised_bytes = transfer.promised_bytes.saturating_sub(content_rest.len() as u64);
                return Err(CloseReason::NoMemory);
            }
            transfer.bytes.extend_from_slice(head_rest);
            transfer.bytes.extend_from_slice(content_rest);
        }
        cx.output.clear();
        Ok(is_sent)
    }

    /// Nothing of the content went, and none of it is here any more.
    #[cold]
    fn forget_content(&mut self) {
        if let Some(transfer) = &mut self.0 {
            transfer.promised_bytes = 0;
        }
    }

    /// What a helper has to do before the output can go on, after [`Flushed::Cold`].
    #[must_use]
    pub fn task(&self) -> Option<Task> {
        self.0.as_ref().and_then(|transfer| transfer.task())
    }

    /// Whether there is memory for what comes of a task.
    pub fn makes_room(&mut self, task: &Task, transfers: &mut Transfers) -> bool {
        match (task, &mut self.0) {
            // What was read comes once by itself, and once among what is to be sent.
            (Task::Read(window), Some(transfer)) => {
                let bytes = usize::try_from(window.bytes).unwrap_or(usize::MAX);
                transfers.charge(transfer, transfer.line.len().saturating_add(bytes.saturating_mul(2)))
            }
            _ => true,
        }
    }

    /// A helper has done its task.
    ///
    /// # Errors
    /// The reason to close the connection.
    pub fn resume(&mut self, outcome: &Outcome) -> Result<(), CloseReason> {
        let Some(transfer) = &mut self.0 else { return Ok(()) };
        match outcome {
            Outcome::Warmed(until) => {
                transfer.warm_until = *until;
                Ok(())
            }
            Outcome::Read(bytes) => transfer.take_in(bytes),
            Outcome::Opened(..)
            | Outcome::Made(..)
            | Outcome::Listed(..)
            | Outcome::Verified(..)
            | Outcome::Failed
            | Outcome::Cancelled => Err(CloseReason::Failed),
        }
    }

    /// Lets go of what is under way, done or not, and logs how far it came.
    pub fn end(&mut self, cx: &mut Context) {
        let Some(transfer) = self.0.take() else { return };
        if !transfer.line.is_empty() {
            let sent_bytes = transfer.sent_content_bytes();
            let (prefix, suffix) =
                transfer.line.split_at(transfer.line_prefix_bytes.min(transfer.line.len()));
            cx.log(|log| {
                log.extend_from_slice(prefix);
                decimal(log, sent_bytes);
                log.extend_from_slice(suffix);
            });
        }
        cx.transfers.give(transfer);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::rc::Rc;

    use bytes::Buf;
    use protocol::coding::Coding;

    use super::*;
    use crate::site::digest::TagPolicy;
    use crate::site::heads::{Description, Origin, Role};
    use crate::site::representation::Representation;
    use crate::site::resolve::Patience;

    /// Takes everything, and notes whether more was said to follow.
    #[derive(Default)]
    struct Taker(Vec<bool>);

    impl Transport for Taker {
        fn receive(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }

        fn send(&mut self, bytes: &[u8], more_follows: bool) -> io::Result<usize> {
            self.0.push(more_follows);
            Ok(bytes.len())
        }

        fn send_file(&mut self, _: BorrowedFd<'_>, _: u64, bytes: usize) -> io::Result<usize> {
            self.0.push(false);
            Ok(bytes)
        }

        fn unacknowledged_bytes(&self) -> io::Result<u64> {
            Ok(0)
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn reset_on_close(&mut self) {}
    }

    fn content(length: u64) -> FileContent {
        let file = tempfile::tempfile().unwrap();
        file.set_len(length).unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let description = Description {
            media_type: "text/plain",
            coding: Coding::Identity,
            role: Role::Content,
            varies: false,
            fields: b"",
            origin: Origin::Found,
            tags: &TagPolicy::Modification,
            listed: None,
            unix_s: i64::MAX,
        };
        let file = OwnedFd::from(file);
        let representation = Representation::new(file, &stat, &description, true, Patience::MayWait).unwrap();
        FileContent { representation: Rc::new(representation), offset: 0, left_bytes: length, series: None }
    }

    /// The kernel would hold the end of a response back for a while, if it were told that more comes.
    #[test]
    fn nothing_is_said_to_follow_the_last_bytes_of_a_file() {
        let mut transfer =
            Transfer { file: Some(content(100_000)), file_bytes: 100_000, ..Transfer::default() };
        let mut taker = Taker::default();
        transfer.take_in(&[7; 60_000]).unwrap();
        let flush = |transfer: &mut Transfer, taker: &mut Taker| {
            let mut budget = Budget { file_bytes: 0, ..Budget::TURN };
            transfer.flush(taker, &mut budget, true).unwrap()
        };
        assert_eq!(flush(&mut transfer, &mut taker), Flushed::Budget);
        transfer.take_in(&[7; 40_000]).unwrap();
        assert_eq!(flush(&mut transfer, &mut taker), Flushed::Done);
        assert_eq!(taker.0, [true, false]);
    }

    #[test]
    fn bytes_that_were_not_sent_are_not_counted() {
        let mut transfer = Transfer {
            file: Some(content(100_000)),
            promised_bytes: 100_000,
            file_bytes: 100_000,
            ..Transfer::default()
        };
        transfer.bytes.extend_from_slice(b"HTTP/1.1 200 OK");
        assert_eq!(transfer.sent_content_bytes(), 0);
        transfer.bytes.clear();
        transfer.take_in(&[7; 60_000]).unwrap();
        assert_eq!(transfer.sent_content_bytes(), 0);
        transfer.bytes.advance(50_000);
        assert_eq!(transfer.sent_content_bytes(), 50_000);
    }
}
