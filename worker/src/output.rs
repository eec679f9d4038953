//! What is on its way to a peer: bytes the socket would not take at once, and the file that follows them.
//!
//! While a connection is being served, its responses gather in the worker's output buffer; only what is left
//! when the socket is full moves into a transfer, which the connection then holds until it is through. An
//! idle connection holds nothing.

use std::io;

use bytes::{Buf, BytesMut};
use protocol::http1::encode::decimal;

use crate::access_log::Entry;
use crate::close::CloseReason;
use crate::cold::{Outcome, READ_BYTES, Task, WARM_BYTES, Window};
use crate::context::Context;
use crate::respond::FileContent;
use crate::transport::Transport;

/// A transfer that has grown beyond this gives its memory back before it is kept for reuse.
const POOLED_BYTES_MAX: usize = 128 << 10;

/// What a connection may still do in this turn, and what it has done.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Requests it may answer.
    pub exchanges: u32,
    /// Bytes of files it may send, all of them in one sendfile(2) if the socket takes them.
    pub file_bytes: u64,
    /// Bytes it may read.
    pub input_bytes: usize,
    /// Bytes it has handed to the kernel.
    pub sent_bytes: u64,
}

impl Budget {
    /// What every connection gets in a turn: enough to make the turn worth it, little enough to be fair.
    pub const TURN: Self = Self { exchanges: 16, file_bytes: 2 << 20, input_bytes: 256 << 10, sent_bytes: 0 };
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
    /// The file is not in memory: a helper has to do [`Output::task`] first.
    Cold,
}

/// A response, or several, that the socket would not take at once.
#[derive(Debug, Default)]
struct Transfer {
    bytes: BytesMut,
    file: Option<FileContent>,
    /// Length of the file's content as it was promised.
    promised_bytes: u64,
    /// The file's line of the access log without the number of bytes, which comes after the prefix.
    line: Vec<u8>,
    line_prefix_bytes: usize,
    /// Offset up to which the file was brought into memory for this transfer.
    warm_until: u64,
}

impl Transfer {
    fn flush<T: Transport>(
        &mut self,
        transport: &mut T,
        budget: &mut Budget,
        may_wait: bool,
    ) -> Result<Flushed, CloseReason> {
        match self.flush_bytes(transport, budget)? {
            Flushed::Done => self.flush_file(transport, budget, may_wait),
            unfinished => Ok(unfinished),
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
        let sent = send(transport, &self.bytes, self.file.is_some(), budget)?;
        self.bytes.advance(sent);
        Ok(if self.bytes.is_empty() { Flushed::Done } else { Flushed::Blocked })
    }

    fn flush_file<T: Transport>(
        &mut self,
        transport: &mut T,
        budget: &mut Budget,
        may_wait: bool,
    ) -> Result<Flushed, CloseReason> {
        let Some(file) = &mut self.file else { return Ok(Flushed::Done) };
        while file.left_bytes > 0 {
            let step = file.left_bytes.min(budget.file_bytes);
            if step == 0 {
                return Ok(Flushed::Budget);
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
                    budget.sent_bytes += sent;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(error) => return Err(CloseReason::of_send_file(&error)),
            }
        }
        Ok(Flushed::Done)
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
            is_first: file.left_bytes == self.promised_bytes,
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

/// How many of `bytes` the socket took: none if it is full.
fn send<T: Transport>(
    transport: &mut T,
    bytes: &[u8],
    more_follows: bool,
    budget: &mut Budget,
) -> Result<usize, CloseReason> {
    match transport.send(bytes, more_follows) {
        Ok(sent) => {
            budget.sent_bytes += sent as u64;
            Ok(sent)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(_) => Err(CloseReason::Peer),
    }
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
    pub fn append_file(&mut self, file: FileContent, line: Option<&Entry<'_>>, cx: &mut Context) {
        let transfer = self.0.get_or_insert_with(|| cx.transfers.take());
        if let Some(line) = line {
            line.write_prefix(&mut transfer.line);
            transfer.line_prefix_bytes = transfer.line.len();
            line.write_suffix(&mut transfer.line);
        }
        transfer.promised_bytes = file.left_bytes;
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
        if !cx.output.is_empty() && !self.flush_fresh(transport, budget, cx)? {
            return Ok(Flushed::Blocked);
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
            transfer.bytes.extend_from_slice(rest);
        }
        cx.output.clear();
        Ok(is_sent)
    }

    /// What a helper has to do before the output can go on, after [`Flushed::Cold`].
    #[must_use]
    pub fn task(&self) -> Option<Task> {
        self.0.as_ref().and_then(|transfer| transfer.task())
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
            Outcome::Opened(..) | Outcome::Made(..) | Outcome::Failed | Outcome::Cancelled => {
                Err(CloseReason::Failed)
            }
        }
    }

    /// Lets go of what is under way, done or not, and logs how far it came.
    pub fn end(&mut self, cx: &mut Context) {
        let Some(transfer) = self.0.take() else { return };
        if !transfer.line.is_empty() {
            let left_bytes = transfer.file.as_ref().map_or(0, |file| file.left_bytes);
            let (prefix, suffix) =
                transfer.line.split_at(transfer.line_prefix_bytes.min(transfer.line.len()));
            cx.log(|log| {
                log.extend_from_slice(prefix);
                decimal(log, transfer.promised_bytes - left_bytes);
                log.extend_from_slice(suffix);
            });
        }
        cx.transfers.give(transfer);
    }
}

/// A bounded stack of transfers that are not in use.
#[derive(Debug)]
pub struct Transfers {
    #[expect(clippy::vec_box, reason = "a transfer moves between pool and connection as a pointer")]
    free: Vec<Box<Transfer>>,
    free_max: usize,
}

impl Transfers {
    /// A pool that keeps at most `free_max` transfers.
    #[must_use]
    pub const fn new(free_max: usize) -> Self {
        Self { free: Vec::new(), free_max }
    }

    fn take(&mut self) -> Box<Transfer> {
        self.free.pop().unwrap_or_default()
    }

    fn give(&mut self, mut transfer: Box<Transfer>) {
        if self.free.len() < self.free_max {
            transfer.clear();
            if transfer.bytes.capacity() > POOLED_BYTES_MAX {
                transfer.bytes = BytesMut::new();
            }
            self.free.push(transfer);
        }
    }
}
