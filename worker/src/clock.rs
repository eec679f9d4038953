//! What time it is, as one worker sees it: read once a turn, so that everything in a turn happens at one time.
//!
//! Owns the two texts of the current second, `Date` and the time in the access log, which are written anew only
//! when the second changes.
//!
//! **Which clocks.** Deadlines need `CLOCK_MONOTONIC` (24 ns through the vDSO): the coarse one lags by up to a
//! jiffy, 7 ms as measured, by which deadlines would come early. For wall time, of which only seconds are
//! wanted, `CLOCK_REALTIME_COARSE` (3 ns instead of 23) is enough: a second that begins some milliseconds late
//! is nothing that a client could notice.

use rustix::time::{ClockId, clock_gettime};

/// Bytes of a time in the access log.
pub const LOG_TIME_LENGTH: usize = 26;

/// The time of the current turn.
#[derive(Clone, Debug)]
pub struct Clock {
    follows_kernel: bool,
    now_ms: u64,
    unix_s: i64,
    date: [u8; protocol::date::LENGTH],
    log_time: [u8; LOG_TIME_LENGTH],
}

impl Clock {
    /// A clock that [`Self::advance`] sets by the kernel's clocks; set once already.
    #[must_use]
    pub fn kernel() -> Self {
        let mut clock = Self { follows_kernel: true, ..Self::fixed(0, 0) };
        clock.advance();
        clock
    }

    /// A clock that only [`Self::set`] moves, for simulations.
    #[must_use]
    pub fn fixed(now_ms: u64, unix_s: i64) -> Self {
        let date = protocol::date::format(unix_s);
        Self { follows_kernel: false, now_ms, unix_s, date, log_time: log_time(&date) }
    }

    /// Begins a turn: reads the time, unless the clock is fixed.
    pub fn advance(&mut self) {
        if !self.follows_kernel {
            return;
        }
        let monotonic = clock_gettime(ClockId::Monotonic);
        let now_ms = monotonic.tv_sec.unsigned_abs() * 1_000 + monotonic.tv_nsec.unsigned_abs() / 1_000_000;
        self.set(now_ms, clock_gettime(ClockId::RealtimeCoarse).tv_sec);
    }

    /// Sets both times.
    pub fn set(&mut self, now_ms: u64, unix_s: i64) {
        self.now_ms = now_ms;
        if self.unix_s != unix_s {
            self.unix_s = unix_s;
            self.date = protocol::date::format(unix_s);
            self.log_time = log_time(&self.date);
        }
    }

    /// Milliseconds of a monotonic clock with an arbitrary start.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Seconds since 1970. Unlike [`Self::now_ms`] it may jump, in either direction, when the clock is set.
    #[must_use]
    pub fn unix_s(&self) -> i64 {
        self.unix_s
    }

    /// Wall time as the value of `Date` (RFC 9110 §5.6.7).
    #[must_use]
    pub fn date(&self) -> &[u8; protocol::date::LENGTH] {
        &self.date
    }

    /// Wall time as in the common log format, in UTC: `20/Nov/2026:16:24:13 +0000`.
    #[must_use]
    pub fn log_time(&self) -> &[u8; LOG_TIME_LENGTH] {
        &self.log_time
    }
}

/// Rearranges `Fri, 20 Nov 2026 16:24:13 GMT`, the fields of which have fixed places.
fn log_time(date: &[u8; protocol::date::LENGTH]) -> [u8; LOG_TIME_LENGTH] {
    let mut log_time = *b"dd/mon/yyyy:hh:mm:ss +0000";
    log_time[0..2].copy_from_slice(&date[5..7]);
    log_time[3..6].copy_from_slice(&date[8..11]);
    log_time[7..11].copy_from_slice(&date[12..16]);
    log_time[12..20].copy_from_slice(&date[17..25]);
    log_time
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn both_texts_follow_the_second() {
        let mut clock = Clock::fixed(0, 0);
        let table = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT", "01/Jan/1970:00:00:00 +0000"),
            (1_795_191_853, "Fri, 20 Nov 2026 16:24:13 GMT", "20/Nov/2026:16:24:13 +0000"),
            (1_795_191_854, "Fri, 20 Nov 2026 16:24:14 GMT", "20/Nov/2026:16:24:14 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT", "29/Feb/2000:00:00:00 +0000"),
        ];
        for (unix_s, date, log_time) in table {
            clock.set(7, unix_s);
            assert_eq!((clock.now_ms(), clock.unix_s()), (7, unix_s));
            assert_eq!(clock.date().escape_ascii().to_string(), date);
            assert_eq!(clock.log_time().escape_ascii().to_string(), log_time);
            assert_eq!(Clock::fixed(7, unix_s).log_time(), clock.log_time());
        }
    }

    #[test]
    fn a_fixed_clock_stands_still() {
        let mut clock = Clock::fixed(5, 6);
        clock.advance();
        assert_eq!((clock.now_ms(), clock.unix_s()), (5, 6));
    }

    #[test]
    fn the_kernels_time_moves_on() {
        let mut clock = Clock::kernel();
        let (start_ms, wall) = (clock.now_ms(), SystemTime::now());
        std::thread::sleep(Duration::from_millis(20));
        clock.advance();
        assert!((20..5_000).contains(&(clock.now_ms() - start_ms)));
        let unix_s = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!(clock.unix_s().unsigned_abs().abs_diff(unix_s) < 5);
    }
}
