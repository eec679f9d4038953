//! Transfers that are not in use, and the memory for those that are.

use bytes::BytesMut;

use super::transfer::Transfer;

/// A transfer that has grown beyond this gives its memory back before it is kept for reuse.
const POOLED_BYTES_MAX: usize = 128 << 10;

/// A bounded stack of transfers that are not in use, and the memory for those that are.
#[derive(Debug)]
pub struct Transfers {
    #[expect(clippy::vec_box, reason = "a transfer moves between pool and connection as a pointer")]
    free: Vec<Box<Transfer>>,
    free_max: usize,
    /// Bytes that transfers in use may still take together.
    room_bytes: usize,
}

impl Transfers {
    /// A pool that keeps at most `free_max` transfers.
    #[must_use]
    pub const fn new(free_max: usize) -> Self {
        Self { free: Vec::new(), free_max, room_bytes: usize::MAX }
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
        self.free.pop().unwrap_or_default()
    }

    pub(super) fn give(&mut self, mut transfer: Box<Transfer>) {
        self.room_bytes += std::mem::take(&mut transfer.charged_bytes);
        if self.free.len() < self.free_max {
            transfer.clear();
            if transfer.bytes.capacity() + transfer.line.capacity() > POOLED_BYTES_MAX {
                transfer.line = Vec::new();
                transfer.bytes = BytesMut::new();
            }
            self.free.push(transfer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
