//! What is on its way to a peer: bytes the socket would not take at once, and the file that follows them, or parts of
//! it with what stands between them.
//!
//! While a connection is being served, its responses gather in the worker's output buffer; only what is left
//! when the socket is full moves into a transfer, which the connection then holds until it is through. An
//! idle connection holds nothing.

mod transfers;

use std::io;

use bytes::{Buf, BytesMut};
use protocol::http1::encode::decimal;

use crate::access_log::Entry;
use crate::close::CloseReason;
use crate::cold::{Outcome, READ_BYTES, Task, WARM_BYTES, Window};
use crate::context::Context;
use crate::respond::FileContent;
use crate::transport::Transport;
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

/// A response, or several, that the socket would not take at once.
#[derive(Debug, Default)]
struct Transfer {
    bytes: BytesMut,
    file: Option<FileContent>,
    /// Length of the response's content as it was promised.
    promised_bytes: u64,
    /// How much of it was left when the file's turn came.
    file_bytes: u64,
    /// The file's line of the access log without the number of bytes, which comes after the prefix.
    line: Vec<u8>,
    line_prefix_bytes: usize,
    /// Offset up to which the file was brought into memory for this transfer.
    warm_until: u64,
    /// What it takes, or is about to, of the memory for all of them: never less until it ends.
    charged_bytes: usize,
}

impl Transfer {
    fn flush<T: Transport>(
        &mut self,
        transport: &mut T,
        budget: &mut Budget,
        may_wait: bool,
    ) -> Result<Flushed, CloseReason> {
        loop {
            match self.flush_bytes(transport, budget)? {
                Flushed::Done => {}
                unfinished => return Ok(unfinished),
            }
            match self.flush_file(transport, budget, may_wait)? {
                Flushed::Done if self.begin_next() => {}
                flushed => return Ok(flushed),
            }
        }
    }

    fn flush_bytes<T: Transport>(
        &mut self,
        transport: &mut T,
        budget: &mut Budget,
    ) -> Result<Flushed, CloseReason> {
        if self.bytes.is_empty() {
            return Ok(Flushed::Done);
        }
        let sent = send(transport, &self.bytes, self.file_follows(), budget)?;
        self.bytes.advance(sent);
        Ok(if self.bytes.is_empty() { Flushed::Done } else { budget.unfinished() })
    }

    fn flush_file<T: Transport>(
        &mut self,
        transport: &mut T,
        budget: &mut Budget,
        may_wait: bool,
    ) -> Result<Flushed, CloseReason> {
        let Some(file) = &mut self.file else { return Ok(Flushed::Done) };
        while file.left_bytes > 0 {
            let step = file.left_bytes.min(budget.file_bytes).min(budget.output_bytes);
            if step == 0 {
                return Ok(if budget.output_bytes == 0 { Flushed::Paced } else { Flushed::Budget });
            }
            let step = match self.warm_until.saturating_sub(file.offset) {
                0 if !may_wait && !file.representation.is_resident(file.offset, step) => {
                    return Ok(Flushed::Cold);
                }
                0 => step,
                warm_bytes => step.min(warm_bytes),
            };
            let step = usize::try_from(step).unwrap_or(usize::MAX);
            match transport.send_file(file.representation.file(), file.offset, step) {
                Ok(0) => return Err(CloseReason::TruncatedFile),
                Ok(sent) => {
                    let sent = sent as u64;
                    file.offset += sent;
                    file.left_bytes = file.left_bytes.saturating_sub(sent);
                    budget.file_bytes = budget.file_bytes.saturating_sub(sent);
                    budget.add_sent(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(error) => return Err(CloseReason::of_send_file(&error)),
            }
        }
        Ok(Flushed::Done)
    }

    /// Goes on behind a part of the file; whether anything comes there.
    fn begin_next(&mut self) -> bool {
        // A part that comes later may lie anywhere, also before this one.
        self.warm_until = 0;
        self.file.as_mut().is_some_and(|file| file.begin_next(&mut self.bytes))
    }

    /// Whether more of the file has to be sent behind the bytes.
    fn file_follows(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.left_bytes_in_all() > 0)
    }

    /// How much of the promised content is with the kernel: what is not stands at the end of the bytes, or in the file.
    fn sent_content_bytes(&self) -> u64 {
        let left_bytes = self.file.as_ref().map_or(0, FileContent::left_bytes_in_all);
        self.promised_bytes.saturating_sub(left_bytes).saturating_sub(self.bytes.len() as u64)
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.file = None;
        self.line.clear();
        self.warm_until = 0;
    }

    /// What a helper has to do before the file can be sent on. A warm window is as long as is worth a task, but
    /// not so long that it could leave memory again before it is sent.
    fn task(&self) -> Option<Task> {
        let file = self.file.as_ref().filter(|file| file.left_bytes > 0)?;
        let window = |bytes_max| Window {
            file: file.representation.shared_file(),
            stamp: file.representation.stamp(),
            is_first: file.left_bytes_in_all() == self.file_bytes,
            offset: file.offset,
            bytes: file.left_bytes.min(bytes_max),
        };
        Some(match file.representation.is_sent_by_kernel() {
            true => Task::Warm(window(WARM_BYTES)),
            false => Task::Read(window(READ_BYTES)),
        })
    }

    /// Takes in bytes of the file that were read for it.
    fn take_in(&mut self, bytes: &[u8]) -> Result<(), CloseReason> {
        let file = self.file.as_mut().ok_or(CloseReason::Failed)?;
        let length = bytes.len() as u64;
        if bytes.is_empty() || length > file.left_bytes {
            return Err(CloseReason::TruncatedFile);
        }
        file.offset += length;
        file.left_bytes -= length;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// How many of `bytes` the socket took: none if it is full, or nothing may be sent.
fn send<T: Transport>(
    transport: &mut T,
    bytes: &[u8],
    more_follows: bool,
    budget: &mut Budget,
) -> Result<usize, CloseReason> {
    let mut bytes = bytes;
    let mut more_follows = more_follows;
    if bytes.len() as u64 > budget.output_bytes {
        bytes = allowed(bytes, budget.output_bytes);
        // It does, but not soon.
        more_follows = false;
        if bytes.is_empty() {
            return Ok(0);
        }
    }
    taken(transport.send(bytes, more_follows), budget)
}

/// How many bytes the socket took: none if it is full.
fn taken(sent: io::Result<usize>, budget: &mut Budget) -> Result<usize, CloseReason> {
    match sent {
        Ok(sent) => {
            budget.add_sent(sent as u64);
            Ok(sent)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(_) => Err(CloseReason::Peer),
    }
}

/// The beginning of `bytes`, as far as it may be sent.
fn allowed(bytes: &[u8], output_bytes: u64) -> &[u8] {
    let length = usize::try_from(output_bytes).unwrap_or(usize::MAX);
    bytes.get(..length).unwrap_or(bytes)
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
        if !cx.transfers.charge(transfer, transfer.line.len()) {
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
            _ => taken(transport.send_both(allowed_head, allowed_content), budget)?,
        };
        let head_rest = cx.output.get(sent..).unwrap_or_default();
        let content_rest = content.get(sent.saturating_sub(cx.output.len())..).unwrap_or_default();
        let is_sent = content_rest.is_empty();
        if let Some(transfer) = self.0.as_mut().filter(|_| !is_sent) {
            let kept_bytes = transfer.line.len() + head_rest.len() + content_rest.len();
            if !cx.transfers.charge(transfer, kept_bytes) {
                return Err(CloseReason::NoMemory);
            }
            transfer.bytes.extend_from_slice(head_rest);
            transfer.bytes.extend_from_slice(content_rest);
        }
        cx.output.clear();
        Ok(is_sent)
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
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::rc::Rc;

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
