//! What the socket would not take at once, and how a socket takes it.

use std::io;

use bytes::{Buf, BytesMut};

use super::{Budget, Flushed};
use crate::close::CloseReason;
use crate::cold::{READ_BYTES, Task, WARM_BYTES, Window};
use crate::respond::FileContent;
use crate::transport::Transport;

/// A response, or several, that the socket would not take at once.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    pub(super) bytes: BytesMut,
    pub(super) file: Option<FileContent>,
    /// Length of the response's content as it was promised.
    pub(super) promised_bytes: u64,
    /// How much of it was left when the file's turn came.
    pub(super) file_bytes: u64,
    /// The file's line of the access log without the number of bytes, which comes after the prefix.
    pub(super) line: Vec<u8>,
    pub(super) line_prefix_bytes: usize,
    /// Offset up to which the file was brought into memory for this transfer.
    pub(super) warm_until: u64,
    /// What it takes, or is about to, of the memory for all of them: never less until it ends.
    pub(super) charged_bytes: usize,
}

impl Transfer {
    pub(super) fn flush<T: Transport>(
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
    pub(super) fn sent_content_bytes(&self) -> u64 {
        let left_bytes = self.file.as_ref().map_or(0, FileContent::left_bytes_in_all);
        self.promised_bytes.saturating_sub(left_bytes).saturating_sub(self.bytes.len() as u64)
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.file = None;
        self.line.clear();
        self.warm_until = 0;
    }

    /// What a helper has to do before the file can be sent on. A warm window is as long as is worth a task, but
    /// not so long that it could leave memory again before it is sent.
    pub(super) fn task(&self) -> Option<Task> {
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
    pub(super) fn take_in(&mut self, bytes: &[u8]) -> Result<(), CloseReason> {
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
pub(super) fn send<T: Transport>(
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
pub(super) fn taken(sent: io::Result<usize>, budget: &mut Budget) -> Result<usize, CloseReason> {
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
pub(super) fn allowed(bytes: &[u8], output_bytes: u64) -> &[u8] {
    let length = usize::try_from(output_bytes).unwrap_or(usize::MAX);
    bytes.get(..length).unwrap_or(bytes)
}
