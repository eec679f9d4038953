//! Transfers that are not in use, and the memory for those that are.

use bytes::BytesMut;

use super::transfer::Transfer;
use crate::buffers::Slack;

/// What a transfer may keep for the bytes of the next one. What has grown beyond is given up before it is kept for reuse.
const BYTES_KEPT_MAX: usize = 128 << 10;
/// The same for a line of the access log: few are longer, and otherwise the longest of each would stay.
const LINE_KEPT_MAX: usize = 2 << 10;

/// A bounded stack of transfers that are not in use, and the memory for those that are.
#[derive(Debug)]
pub struct Transfers {
    #[expect(clippy::vec_box, reason = "a transfer moves between pool and connection as a pointer")]
    free: Vec<Box<Transfer>>,
    slack: Slack,
    free_max: usize,
    /// Bytes that transfers in use may still take together.
    room_bytes: usize,
}

impl Transfers {
    /// A pool that keeps at most `free_max` transfers.
    #[must_use]
    pub fn new(free_max: usize) -> Self {
        Self { free: Vec::new(), slack: Slack::default(), free_max, room_bytes: usize::MAX }
    }

    /// The same, the transfers of which may keep so many bytes together.
    #[must_use]
    pub fn with_room(self, room_bytes: usize) -> Self {
        Self { room_bytes, ..self }
    }

    /// Takes the memory for a transfer that is to keep so many bytes; whether there is as much.
    pub(super) fn charge(&mut self, transfer: &mut Transfer, bytes: usize) -> bool {
        let more = bytes.saturating_sub(transfer.charged_bytes);
        let has_room = more <= self.room_bytes;
        if has_room {
            self.room_bytes -= more;
            transfer.charged_bytes += more;
        }
        has_room
    }

    pub(super) fn take(&mut self) -> Box<Transfer> {
        let transfer = self.free.pop();
        self.slack.note(self.free.len());
        transfer.unwrap_or_default()
    }

    pub(super) fn give(&mut self, mut transfer: Box<Transfer>) {
        self.room_bytes += std::mem::take(&mut transfer.charged_bytes);
        if self.free.len() < self.free_max {
            transfer.clear();
            // Sending moves the front of the bytes; only reclaiming tells how much memory is behind them.
            if transfer.bytes.try_reclaim(BYTES_KEPT_MAX + 1) {
                transfer.bytes = BytesMut::new();
            }
            if transfer.line.capacity() > LINE_KEPT_MAX {
                transfer.line = Vec::new();
            }
            self.free.push(transfer);
        }
    }

    /// Gives up the transfers that nobody needed since this was last called, and tells how many.
    pub fn trim(&mut self) -> usize {
        self.slack.trim(&mut self.free)
    }

    /// Whether there is nothing that [`Transfers::trim`] may give up.
    #[must_use]
    pub const fn is_trimmed(&self) -> bool {
        self.free.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    #[test]
    fn what_has_grown_gives_its_memory_back_before_it_is_kept() {
        let grown = |bytes: usize, sent: usize, line: usize| {
            let mut transfers = Transfers::new(1);
            let mut transfer = transfers.take();
            transfer.bytes.resize(bytes, b'x');
            transfer.bytes.advance(sent);
            transfer.line.resize(line, b'x');
            transfers.give(transfer);
            let mut kept = transfers.take();
            (kept.bytes.try_reclaim(1), kept.line.capacity() > 0)
        };
        assert_eq!(grown(BYTES_KEPT_MAX, 7, LINE_KEPT_MAX), (true, true));
        for sent in [0, 7, BYTES_KEPT_MAX + 1] {
            assert_eq!(grown(BYTES_KEPT_MAX + 1, sent, 1), (false, true), "{sent} bytes sent");
        }
        assert_eq!(grown(1, 1, LINE_KEPT_MAX + 1), (true, false));
    }

    #[test]
    fn transfers_take_no_more_memory_together_than_there_is() {
        let mut transfers = Transfers::new(1).with_room(100);
        let [mut one, mut other] = [transfers.take(), transfers.take()];
        assert!(transfers.charge(&mut one, 60) && transfers.charge(&mut one, 30));
        assert!(!transfers.charge(&mut other, 41) && transfers.charge(&mut other, 40));
        assert!(!transfers.charge(&mut one, 61));
        transfers.give(one);
        assert!(transfers.charge(&mut other, 100));
        transfers.give(other);
        assert_eq!(transfers.room_bytes, 100);
    }
}
