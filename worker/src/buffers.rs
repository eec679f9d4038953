//! Buffers that pass from connection to connection: taken for a partial head or a partial send, given back
//! when it is done, so that an idle connection holds none.
//!
//! Owns the free buffers, and counts those that are out. Taking and giving allocate only while more buffers are out
//! than came back lately: what nobody needed for a while is given up, so that a crowd leaves nothing behind.

use bytes::BytesMut;

/// A buffer that came back this many times larger than it went out is not kept.
const GROWTH_MAX: usize = 4;

/// How many of a stack of free things are more than were needed lately: as many as were left when fewest were.
#[derive(Debug, Default)]
pub struct Slack {
    least_free: usize,
}

impl Slack {
    /// So many are left, now that one was taken.
    #[inline]
    pub fn note(&mut self, free: usize) {
        self.least_free = self.least_free.min(free);
    }

    /// Drops those that nobody needed since this was last called, and tells how many. Things are taken from the end of the
    /// stack, so these are the first.
    pub fn trim<T>(&mut self, free: &mut Vec<T>) -> usize {
        let surplus = self.least_free.min(free.len());
        free.drain(..surplus);
        self.least_free = free.len();
        surplus
    }
}

/// Free buffers of one worker.
#[derive(Debug)]
pub struct Pool {
    free: Vec<BytesMut>,
    slack: Slack,
    /// Buffers that are out.
    lent: usize,
    lent_max: usize,
    buffers_max: usize,
    capacity_bytes: usize,
}

impl Pool {
    /// An empty pool, which will keep at most `buffers_max` free buffers of at least `capacity_bytes` each.
    #[must_use]
    pub fn new(buffers_max: usize, capacity_bytes: usize) -> Self {
        Self {
            free: Vec::with_capacity(buffers_max),
            slack: Slack::default(),
            lent: 0,
            lent_max: usize::MAX,
            buffers_max,
            capacity_bytes,
        }
    }

    /// The same, of which no more than `lent_max` should be out.
    #[must_use]
    pub fn with_room(self, lent_max: usize) -> Self {
        Self { lent_max, ..self }
    }

    /// Whether one more may be taken. For what may have to wait long there is room only as long as a quarter is left
    /// to others.
    #[must_use]
    pub const fn has_room(&self, waits_long: bool) -> bool {
        let reserve = if waits_long { self.lent_max / 4 } else { 0 };
        self.lent < self.lent_max - reserve
    }

    /// An empty buffer with room for at least `capacity_bytes`: the one given back last, whose memory is most
    /// likely still cached, or a new one.
    #[must_use]
    pub fn take(&mut self) -> BytesMut {
        self.lent += 1;
        let buffer = self.free.pop();
        self.slack.note(self.free.len());
        buffer.unwrap_or_else(|| BytesMut::with_capacity(self.capacity_bytes))
    }

    /// Takes back a buffer that was taken, whatever is in it. It is dropped instead when the pool is full, when it has grown
    /// beyond four times its capacity, or when parts of it are still in use elsewhere.
    pub fn give(&mut self, mut buffer: BytesMut) {
        self.lent = self.lent.saturating_sub(1);
        buffer.clear();
        // Consuming bytes moves the front of a buffer, and clearing does not move it back; reclaiming does, and
        // so `capacity` alone would not tell how large the memory behind it is.
        let has_grown = buffer.try_reclaim(self.capacity_bytes.saturating_mul(GROWTH_MAX).saturating_add(1));
        if self.free.len() < self.buffers_max && !has_grown && buffer.try_reclaim(self.capacity_bytes) {
            self.free.push(buffer);
        }
    }

    /// Gives up the free buffers that nobody needed since this was last called, and tells how many.
    pub fn trim(&mut self) -> usize {
        self.slack.trim(&mut self.free)
    }

    /// Whether there is nothing that [`Pool::trim`] may give up.
    #[must_use]
    pub fn is_trimmed(&self) -> bool {
        self.free.is_empty()
    }

    /// How many free buffers are kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.free.len()
    }

    /// Whether the next buffer will be a new one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    type Use = fn(&mut BytesMut);

    #[test]
    fn a_recycled_buffer_is_whole_again_however_it_was_used() {
        let uses: [(&str, Use); 6] = [
            ("untouched", |_| ()),
            ("filled", |buffer| buffer.resize(1_024, b'x')),
            ("partly consumed", |buffer| {
                buffer.resize(1_024, b'x');
                buffer.advance(1_000);
            }),
            ("consumed a byte", |buffer| {
                buffer.resize(1_024, b'x');
                buffer.advance(1);
            }),
            ("wholly consumed", |buffer| {
                buffer.resize(1_024, b'x');
                buffer.advance(1_024);
            }),
            ("split", |buffer| {
                buffer.resize(1_024, b'x');
                drop(buffer.split_to(600).freeze());
            }),
        ];
        let mut pool = Pool::new(1, 1_024);
        let mut buffer = pool.take();
        let place = buffer.as_ptr();
        for (cycle, (name, use_it)) in uses.iter().cycle().take(10_000).enumerate() {
            use_it(&mut buffer);
            pool.give(buffer);
            assert_eq!(pool.len(), 1, "{name}, cycle {cycle}");
            buffer = pool.take();
            assert_eq!((buffer.as_ptr(), buffer.len()), (place, 0), "{name}, cycle {cycle}");
            assert_eq!(buffer.capacity(), 1_024, "{name}, cycle {cycle}");
        }
    }

    #[test]
    fn the_last_given_is_the_first_taken() {
        let mut pool = Pool::new(8, 64);
        let buffers = [pool.take(), pool.take(), pool.take()];
        let places = buffers.each_ref().map(|buffer| buffer.as_ptr());
        buffers.into_iter().for_each(|buffer| pool.give(buffer));
        assert_eq!(
            [pool.take(), pool.take(), pool.take()].map(|buffer| buffer.as_ptr()),
            [2, 1, 0].map(|n| places[n])
        );
        assert!(pool.is_empty());
    }

    #[test]
    fn no_more_are_kept_than_asked_for() {
        for buffers_max in [0, 1, 3] {
            let mut pool = Pool::new(buffers_max, 64);
            let buffers: Vec<_> = (0..5).map(|_| pool.take()).collect();
            buffers.into_iter().for_each(|buffer| pool.give(buffer));
            assert_eq!(pool.len(), buffers_max);
        }
    }

    #[test]
    fn those_that_nobody_needed_for_a_while_are_given_up() {
        let mut pool = Pool::new(100, 64);
        let crowd = |pool: &mut Pool, size: usize| {
            let buffers: Vec<_> = (0..size).map(|_| pool.take()).collect();
            buffers.into_iter().for_each(|buffer| pool.give(buffer));
        };
        crowd(&mut pool, 50);
        // What came back in this period may have been needed in it.
        assert_eq!((pool.trim(), pool.len(), pool.is_trimmed()), (0, 50, false));
        crowd(&mut pool, 20);
        assert_eq!((pool.trim(), pool.len()), (30, 20));
        crowd(&mut pool, 1);
        assert_eq!((pool.trim(), pool.len(), pool.is_trimmed()), (19, 1, false));
        assert_eq!((pool.trim(), pool.len(), pool.is_trimmed()), (1, 0, true));
        assert_eq!(pool.trim(), 0);
    }

    #[test]
    fn there_is_room_for_so_many_and_less_for_those_who_wait() {
        let mut pool = Pool::new(1, 64).with_room(4);
        let mut buffers = Vec::new();
        for (lent, waiting, others) in [(0, true, true), (1, true, true), (2, true, true), (3, false, true)] {
            assert_eq!((pool.has_room(true), pool.has_room(false)), (waiting, others), "{lent}");
            buffers.push(pool.take());
        }
        assert!(!pool.has_room(false));
        pool.give(buffers.pop().unwrap());
        assert_eq!((pool.has_room(true), pool.has_room(false)), (false, true));
        buffers.drain(1..).for_each(|buffer| pool.give(buffer));
        assert!(pool.has_room(true));
    }

    #[test]
    fn a_buffer_that_grew_too_large_is_not_kept() {
        let table = [(100, true), (256, true), (257, false), (5_000, false)];
        for (length, kept) in table {
            for consumed in [0, length - 70, length - 1, length] {
                let mut pool = Pool::new(8, 64);
                let mut buffer = BytesMut::with_capacity(length);
                buffer.resize(length, b'x');
                buffer.advance(consumed);
                pool.give(buffer);
                assert_eq!(!pool.is_empty(), kept, "{length} bytes, {consumed} consumed");
            }
        }
    }

    #[test]
    fn a_buffer_in_use_elsewhere_or_too_small_is_not_kept() {
        let mut pool = Pool::new(8, 64);
        let mut buffer = pool.take();
        buffer.resize(64, b'x');
        let part = buffer.split_to(32);
        pool.give(buffer);
        assert!(pool.is_empty());
        assert_eq!(part.as_ref(), [b'x'; 32]);
        pool.give(BytesMut::with_capacity(32));
        assert!(pool.is_empty());
    }
}
