//! Parts of files, as helpers bring them into memory or read them: they wait for as long as the disk takes.

use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::Advice;
use rustix::io::Errno;

use super::SharedFile;
use crate::site::stamp::Stamp;

/// How far ahead the kernel is asked to read on by itself, while what was read is being sent.
const AHEAD_BYTES: u64 = 2 << 20;
/// How much the kernel is asked for at once: of a longer request it would leave out the rest (readahead(2); 128 KiB
/// is what it takes by default). Each is a read of its own, and they are under way side by side.
const AHEAD_STEP_BYTES: u64 = 128 << 10;

/// A part of a file.
#[derive(Clone, Debug)]
pub struct Window {
    /// The file.
    pub file: Arc<SharedFile>,
    /// What it was when its length was promised.
    pub stamp: Stamp,
    /// Whether this is where the response begins: then the file must be the very version that was promised.
    /// Afterwards it may grow, as logs do, but neither shrink nor be written anew.
    pub is_first: bool,
    /// Where the part begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

impl Window {
    /// Touches every page. A file that ends before the window does is for the sender to notice.
    pub(super) fn warm(&self, scratch: &mut [u8]) -> Result<(), Errno> {
        self.read_ahead();
        let mut done = 0;
        while done < self.bytes {
            let wanted = usize::try_from(self.bytes - done).unwrap_or(usize::MAX).min(scratch.len());
            match pread(&self.file, scratch.get_mut(..wanted).unwrap_or_default(), self.offset + done)? {
                0 => break,
                bytes => done += bytes as u64,
            }
        }
        self.file.add_warm(self.offset, self.offset.saturating_add(done));
        Ok(())
    }

    /// The bytes, or `None` if the file has become another one meanwhile.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, Errno> {
        self.read_ahead();
        let mut content = vec![0; usize::try_from(self.bytes).unwrap_or(0)];
        let mut filled = 0;
        while let Some(rest) = content.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match pread(&self.file, rest, self.offset + filled as u64)? {
                0 => break,
                bytes => filled += bytes,
            }
        }
        content.truncate(filled);
        // Asked for after the bytes were read: whatever they were, they were it before this.
        let now = Stamp::asked_for(self.file.as_fd())?;
        let is_intact = now == self.stamp || (!self.is_first && now.is_continuation_of(&self.stamp));
        Ok(is_intact.then_some(content))
    }

    /// Asks the kernel to go on reading behind the window while the window is being sent. Only a hint.
    fn read_ahead(&self) {
        let end = self.offset.saturating_add(self.bytes).saturating_add(AHEAD_BYTES).min(self.stamp.size());
        let mut at = self.offset;
        while at < end {
            let length = NonZeroU64::new(AHEAD_STEP_BYTES.min(end - at));
            let _ = rustix::fs::fadvise(&*self.file, at, length, Advice::WillNeed);
            at += AHEAD_STEP_BYTES;
        }
    }
}

fn pread(file: &SharedFile, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    loop {
        match rustix::io::pread(file, &mut *buffer, offset) {
            Err(Errno::INTR) => {}
            read => return read,
        }
    }
}
