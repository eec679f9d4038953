//! How fast a connection may go, and how slowly: bytes a second, each way.
//!
//! Owns the arithmetic of one connection: an [allowance](Allowance) that accrues while time passes, and a
//! [meter](Meter) of what the peer gives and takes. Both are told the time and what happened; neither reads a clock,
//! asks the kernel or waits. Connections have them only where a rate is set.

use std::num::NonZeroU64;

use crate::output::Budget;

/// Rates for every connection, in bytes a second; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Most that is sent.
    pub most: Option<NonZeroU64>,
    /// Least that a peer has to take of a response, or to send of a request.
    pub least: Option<NonZeroU64>,
}

/// What may always be sent at once, head and content of a small file.
const BURST_BYTES_MIN: u64 = 32 << 10;
/// What may be sent at once is as much as accrues in this time: one and a half ticks of the wheel, so that nothing is
/// lost when one comes late.
const BURST_MS: u64 = 375;
/// Who has used up the allowance waits for at least as much as accrues in this time, less than a tick, so that it goes
/// on with the next one;
const STEP_MS: u64 = 125;
/// and for a segment of the usual length.
const STEP_BYTES_MIN: u64 = 1_460;
/// A higher rate is as good as none: a tebibyte a second.
const RATE_MAX: u64 = 1 << 40;

/// A token bucket: bytes that may be sent now. More accrue with time, up to a burst.
#[derive(Debug)]
pub struct Allowance {
    /// Bytes a second, which is the same as thousandths of a byte a millisecond.
    rate: u64,
    /// What is left, in thousandths of a byte, so that nothing is lost to rounding.
    left_millibytes: u64,
    accrued_ms: u64,
}

impl Allowance {
    /// A whole burst, at that many bytes a second.
    #[must_use]
    pub fn new(rate: NonZeroU64, now_ms: u64) -> Self {
        let rate = rate.get().min(RATE_MAX);
        Self { rate, left_millibytes: burst_millibytes(rate), accrued_ms: now_ms }
    }

    /// Bytes that may be sent now.
    pub fn bytes(&mut self, now_ms: u64) -> u64 {
        let accrued = self.rate.saturating_mul(now_ms.saturating_sub(self.accrued_ms));
        self.accrued_ms = now_ms;
        self.left_millibytes = self.left_millibytes.saturating_add(accrued).min(burst_millibytes(self.rate));
        self.left_millibytes / 1_000
    }

    /// So many bytes were sent.
    pub fn spend(&mut self, bytes: u64) {
        self.left_millibytes = self.left_millibytes.saturating_sub(bytes.saturating_mul(1_000));
    }

    /// In how many milliseconds it is worth while to go on.
    #[must_use]
    pub fn wait_ms(&self) -> u64 {
        let step_millibytes = (self.rate * STEP_MS).max(STEP_BYTES_MIN * 1_000);
        step_millibytes.saturating_sub(self.left_millibytes).div_ceil(self.rate)
    }
}

fn burst_millibytes(rate: u64) -> u64 {
    (rate * BURST_MS).max(BURST_BYTES_MIN * 1_000)
}

/// What went by since some moment.
#[derive(Clone, Copy, Debug)]
struct Window {
    start_ms: u64,
    bytes: u64,
}

/// How fast a peer takes and gives, averaged over windows. It is never too slow before the first of them is over.
///
/// A peer that has all it was given is not slow, however little that was: the window begins anew. What it was given
/// only just now may be on its way still, so after a wait that was ours, it is compared with what it had been given
/// an eighth of a window before.
#[derive(Debug)]
pub struct Meter {
    rate: u64,
    window_ms: u64,
    sent_bytes: u64,
    /// From when acknowledged bytes count, and how many there were.
    taken: Option<Window>,
    /// What had been sent some time ago, to be compared with.
    mark: Window,
    /// Whether there was a wait since then in which the peer was given nothing.
    was_waited_for: bool,
    /// When the kernel was last asked.
    looked_ms: u64,
    /// What came of a head, or of content, since some moment.
    given: Option<Window>,
}

impl Meter {
    /// Nothing has gone either way. `rate` is the least, in bytes a second.
    #[must_use]
    pub fn new(rate: NonZeroU64, window_ms: u64, now_ms: u64) -> Self {
        Self {
            rate: rate.get().min(RATE_MAX),
            window_ms,
            sent_bytes: 0,
            taken: None,
            mark: Window { start_ms: now_ms, bytes: 0 },
            was_waited_for: false,
            looked_ms: now_ms,
            given: None,
        }
    }

    /// So many bytes were handed to the kernel.
    pub fn add_sent(&mut self, bytes: u64) {
        self.sent_bytes += bytes;
    }

    /// The peer gets nothing at the moment, and that is not its doing.
    pub fn note_own_wait(&mut self) {
        self.was_waited_for = true;
    }

    /// When the kernel should be asked again, if it is asked every `every_ms`.
    #[must_use]
    pub fn is_due(&self, every_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.looked_ms) >= every_ms
    }

    /// The peer has not acknowledged so many bytes yet. Whether it is too slow.
    pub fn takes_too_slowly(&mut self, unacknowledged_bytes: u64, now_ms: u64) -> bool {
        self.looked_ms = now_ms;
        let acknowledged = self.sent_bytes.saturating_sub(unacknowledged_bytes);
        let fresh = Window { start_ms: now_ms, bytes: acknowledged };
        let mut has_all = unacknowledged_bytes == 0;
        if now_ms.saturating_sub(self.mark.start_ms) >= self.window_ms / 8 {
            has_all |= std::mem::take(&mut self.was_waited_for) && acknowledged >= self.mark.bytes;
            self.mark = Window { start_ms: now_ms, bytes: self.sent_bytes };
        }
        let window = *self.taken.get_or_insert(fresh);
        let ms = now_ms.saturating_sub(window.start_ms);
        if has_all {
            self.taken = Some(fresh);
        } else if ms >= self.window_ms {
            self.taken = Some(fresh);
            return self.is_less(acknowledged.saturating_sub(window.bytes), ms);
        }
        false
    }

    /// So many bytes have come of a head or of content that is not complete. Whether that is too slow.
    pub fn gives_too_slowly(&mut self, bytes: u64, now_ms: u64) -> bool {
        let window = self.given.get_or_insert(Window { start_ms: now_ms, bytes: 0 });
        window.bytes += bytes;
        let Window { start_ms, bytes } = *window;
        let ms = now_ms.saturating_sub(start_ms);
        if ms < self.window_ms {
            return false;
        }
        self.given = None;
        self.is_less(bytes, ms)
    }

    /// Nothing is owed by the peer.
    pub fn expect_nothing(&mut self) {
        self.given = None;
    }

    fn is_less(&self, bytes: u64, ms: u64) -> bool {
        u128::from(bytes) * 1_000 < u128::from(self.rate) * u128::from(ms)
    }
}

/// What a connection has where rates are set.
#[derive(Debug)]
pub struct Pace {
    /// There if the most is set.
    pub allowance: Option<Allowance>,
    /// There if the least is set.
    pub meter: Option<Meter>,
}

impl Pace {
    /// For a connection that was just accepted; nothing where no rate is set. `window_ms` is for the meter.
    #[must_use]
    #[inline]
    pub fn begin(rates: &Rates, window_ms: u64, now_ms: u64) -> Option<Box<Self>> {
        if rates.most.is_none() && rates.least.is_none() {
            return None;
        }
        Some(Box::new(Self {
            allowance: rates.most.map(|rate| Allowance::new(rate, now_ms)),
            meter: rates.least.map(|rate| Meter::new(rate, window_ms, now_ms)),
        }))
    }

    /// Lets a turn send no more than is allowed, and nothing as long as `is_waiting`.
    pub fn limit(&mut self, budget: &mut Budget, is_waiting: bool, now_ms: u64) {
        if let Some(allowance) = &mut self.allowance {
            budget.output_bytes = if is_waiting { 0 } else { allowance.bytes(now_ms) };
        }
    }

    /// Notes what a turn has sent.
    pub fn add_sent(&mut self, bytes: u64) {
        if let Some(allowance) = &mut self.allowance {
            allowance.spend(bytes);
        }
        if let Some(meter) = &mut self.meter {
            meter.add_sent(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(bytes: u64) -> NonZeroU64 {
        NonZeroU64::new(bytes).unwrap()
    }

    /// Sends as much as it may at ticks of 250 ms that come up to `late_ms` late; how long `bytes` take.
    fn time_to_send(bytes: u64, bytes_a_second: u64, late_ms: u64) -> u64 {
        let mut allowance = Allowance::new(rate(bytes_a_second), 0);
        let (mut left, mut now_ms, mut turns) = (bytes, 0, 0);
        loop {
            let sent = allowance.bytes(now_ms).min(left);
            assert!(sent > 0 || left == 0, "a wait that was over too early");
            allowance.spend(sent);
            left -= sent;
            if left == 0 {
                return now_ms;
            }
            let ready_ms = now_ms + allowance.wait_ms();
            now_ms = ready_ms.div_ceil(250) * 250 + turns % 2 * late_ms;
            turns += 1;
        }
    }

    #[test]
    fn the_rate_is_kept_to_and_made_use_of() {
        const MIB: u64 = 1 << 20;
        for bytes_a_second in [1 << 10, 10_000, 512 << 10, MIB, 100 * MIB] {
            for late_ms in [0, 7, 100] {
                let seconds = 60;
                let took_ms = time_to_send(bytes_a_second * seconds, bytes_a_second, late_ms);
                let burst_ms = burst_millibytes(bytes_a_second) / bytes_a_second;
                assert!(took_ms + burst_ms >= seconds * 1_000, "{bytes_a_second}: {took_ms}");
                assert!(took_ms < seconds * 1_000 + 1_000, "{bytes_a_second}: {took_ms}");
            }
        }
        assert!((3_500..4_500).contains(&time_to_send(2 * MIB, MIB / 2, 7)));
        // Small responses go at once, and whoever waited goes on with the next tick.
        assert_eq!(time_to_send(BURST_BYTES_MIN, 1 << 10, 0), 0);
        let mut allowance = Allowance::new(rate(MIB), 0);
        allowance.spend(MIB);
        assert_eq!((allowance.wait_ms(), allowance.bytes(250)), (125, MIB / 4));
    }

    proptest! {
        #[test]
        fn no_span_gets_more_than_its_rate_and_a_burst(
            bytes_a_second in 1_u64..1 << 50,
            steps in prop::collection::vec((0_u64..100_000, 0_u64..1 << 30), 1..60),
        ) {
            let mut allowance = Allowance::new(rate(bytes_a_second), 0);
            let bytes_a_second = bytes_a_second.min(RATE_MAX);
            let (mut now_ms, mut sent) = (0, 0);
            for (ms, wanted) in steps {
                now_ms += ms;
                let bytes = allowance.bytes(now_ms).min(wanted);
                allowance.spend(bytes);
                sent += bytes;
                prop_assert!(sent * 1_000 <= burst_millibytes(bytes_a_second) + bytes_a_second * now_ms);
                prop_assert!(allowance.bytes(now_ms + allowance.wait_ms()) > 0);
                allowance.spend(0);
            }
        }
    }

    /// Looks once a second at a peer that takes `took` a second of what it is given, `given` a second or, if that is
    /// none, as much as fits into a socket; after how many seconds it is found to be too slow, up to 200.
    fn cut_after(least: u64, took: u64, given: Option<u64>) -> Option<u64> {
        const SOCKET_BYTES: u64 = 80_000;
        let mut meter = Meter::new(rate(least), 30_000, 0);
        let mut unacknowledged = 0;
        (1..200).find(|second| {
            unacknowledged -= took.min(unacknowledged);
            let slow = meter.takes_too_slowly(unacknowledged, second * 1_000);
            let room = SOCKET_BYTES.saturating_sub(unacknowledged);
            let sent = given.map_or(room, |given| given.min(room));
            if sent < room {
                meter.note_own_wait();
            }
            meter.add_sent(sent);
            unacknowledged += sent;
            slow
        })
    }

    #[test]
    fn who_takes_too_little_is_slow_after_a_whole_window() {
        let table = [
            // (least, taken, given, when it is found out)
            (1_000, 0, None, Some(31)),
            (1_000, 990, None, Some(31)),
            (1_000, 1_010, None, None),
            // More than the socket holds: nobody may hide behind what is in it.
            (1_000_000, 79_000, None, Some(31)),
            // Given little, and all of it taken.
            (1_000, 5_000, Some(500), None),
            (1_000, 500, Some(500), None),
            (1_000, 0, Some(0), None),
            // Given enough, and not all of it taken.
            (1_000, 900, Some(1_100), Some(61)),
        ];
        for (least, took, given, expected) in table {
            let second = cut_after(least, took, given);
            match (second, expected) {
                (Some(second), Some(expected)) => assert!(
                    (31..=expected.max(31) + 31).contains(&second),
                    "{least} {took} {given:?}: {second} instead of {expected}"
                ),
                _ => assert_eq!(second, expected, "{least} {took} {given:?}"),
            }
        }
    }

    #[test]
    fn a_wait_of_ours_between_two_responses_counts_for_nobody() {
        let mut meter = Meter::new(rate(1_000), 30_000, 0);
        meter.add_sent(80_000);
        assert!(!meter.takes_too_slowly(80_000, 1_000));
        // It has taken all of it; nobody looked while it was idle, or a helper was at work.
        meter.note_own_wait();
        meter.add_sent(80_000);
        assert!(!meter.takes_too_slowly(80_000, 100_000));
        assert!(!meter.takes_too_slowly(79_999, 129_999));
        assert!(meter.takes_too_slowly(79_999, 130_000));
    }

    #[test]
    fn a_peer_far_away_that_is_paced_is_not_slow() {
        // Each byte is acknowledged three seconds after it was sent; the limit is hardly above the least.
        let mut meter = Meter::new(rate(1_000), 30_000, 0);
        for second in 1..500_u64 {
            meter.add_sent(1_001);
            meter.note_own_wait();
            assert!(!meter.takes_too_slowly(1_001 * second.min(3), second * 1_000), "{second}");
        }
    }

    #[test]
    fn who_gives_too_little_is_slow_after_a_whole_window() {
        let cut_after = |bytes: u64| {
            let mut meter = Meter::new(rate(1_000), 10_000, 0);
            (0..100_u64).find(|second| meter.gives_too_slowly(bytes, second * 1_000))
        };
        assert_eq!(cut_after(0), Some(10));
        assert_eq!(cut_after(900), Some(10));
        assert_eq!(cut_after(1_000), None);
        // Another request begins with a window of its own.
        let mut meter = Meter::new(rate(1_000), 10_000, 0);
        assert!(!meter.gives_too_slowly(1, 0));
        meter.expect_nothing();
        assert!(!meter.gives_too_slowly(1, 50_000));
    }

    #[test]
    fn without_rates_a_connection_has_nothing_of_this() {
        assert!(Pace::begin(&Rates::default(), 30_000, 0).is_none());
        let pace = Pace::begin(&Rates { most: NonZeroU64::new(1), least: None }, 30_000, 0).unwrap();
        assert!(pace.allowance.is_some() && pace.meter.is_none());
    }
}
