//! Deadlines of all connections of a worker: a hashed timing wheel (Varghese and Lauck 1987, scheme 6).
//!
//! 512 slots of 250 ms, each the head of a doubly linked list threaded by index through an array that runs
//! parallel to the slab. A bitmap of the occupied slots finds the next one in a few instructions, so an idle
//! worker sleeps and does not tick.
//!
//! **Re-arming is lazy.** Most deadlines only ever move later, once a request. A later deadline is stored and
//! nothing else; when its slot comes round, an entry whose deadline lies ahead is hung again. Only a deadline
//! that moves before the next visit of its slot is hung anew at once. The same rule lets a deadline lie more
//! than one revolution (128 s) ahead.
//!
//! Nothing fires early, and nothing more than one tick late. The wheel reads no clock: time is an argument, in
//! milliseconds of a monotonic clock, and must not go back.

/// Length of a tick, the time that one slot stands for.
pub const TICK_MS: u64 = 250;
/// A power of two, so that a tick's slot is found by a mask.
const SLOTS: u32 = 512;
const WORDS: u32 = SLOTS / u64::BITS;
/// No entry, no slot.
const NONE: u32 = u32::MAX;

/// The timer of one connection. Ticks are counted from the start of the wheel; 32 bits last 34 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    previous: u32,
    next: u32,
    /// The slot whose list it hangs in, or [`NONE`] when it is not armed.
    slot: u32,
    /// The first tick at which it may fire.
    deadline: u32,
}

const UNARMED: Entry = Entry { previous: NONE, next: NONE, slot: NONE, deadline: 0 };

/// Timers, at most one for each index.
#[derive(Debug)]
pub struct Wheel {
    start_ms: u64,
    /// The tick that is being expired; all before it are done.
    tick: u32,
    /// The next entry to look at in the slot of `tick`; [`NONE`] when that slot is done too. Entries hung while
    /// the walk lasts go in front of it and are not met by it.
    walk: u32,
    heads: [u32; SLOTS as usize],
    occupied: [u64; WORDS as usize],
    entries: Vec<Entry>,
}

impl Wheel {
    /// A wheel whose time starts at `start_ms`, with room for the indices below `entries_max`: address space is
    /// taken for all, memory only for those in use.
    #[must_use]
    pub fn new(start_ms: u64, entries_max: usize) -> Self {
        Self {
            start_ms,
            tick: 0,
            walk: NONE,
            heads: [NONE; SLOTS as usize],
            occupied: [0; WORDS as usize],
            entries: Vec::with_capacity(entries_max),
        }
    }

    /// Sets the deadline of an index, in place of the one it had.
    pub fn arm(&mut self, index: u32, deadline_ms: u64) {
        let deadline = clamp(deadline_ms.saturating_sub(self.start_ms).div_ceil(TICK_MS));
        if index as usize >= self.entries.len() {
            self.entries.resize(index as usize + 1, UNARMED);
        }
        let entry = &mut self.entries[index as usize];
        entry.deadline = deadline;
        if entry.slot == NONE {
            self.link(index);
        } else if deadline < next_visit(entry.slot, self.tick) {
            self.unlink(index);
            self.link(index);
        }
    }

    /// Takes the deadline of an index away. One without a deadline may be disarmed too.
    pub fn disarm(&mut self, index: u32) {
        if self.entries.get(index as usize).is_some_and(|entry| entry.slot != NONE) {
            self.unlink(index);
        }
    }

    /// Disarms and returns one index whose deadline has come; to be called until there is none. Between two
    /// calls anything may be armed and disarmed. However far time jumps, each slot is visited at most once.
    pub fn pop_expired(&mut self, now_ms: u64) -> Option<u32> {
        let now = clamp(now_ms.saturating_sub(self.start_ms) / TICK_MS);
        loop {
            while self.walk != NONE {
                let index = self.walk;
                let Entry { next, slot, deadline, .. } = self.entries[index as usize];
                self.walk = next;
                if deadline <= now {
                    self.unlink(index);
                    return Some(index);
                }
                if slot != deadline % SLOTS {
                    self.unlink(index);
                    self.link(index);
                }
            }
            if !self.enter_next_slot(now) {
                return None;
            }
        }
    }

    /// How long a worker may sleep before the next slot is due, or `None` when nothing is armed. The slot may
    /// turn out to hold none but deadlines that have moved on since.
    #[must_use]
    pub fn next_timeout(&self, now_ms: u64) -> Option<u64> {
        if self.walk != NONE {
            return Some(0);
        }
        let due = u64::from(self.tick) + u64::from(self.ticks_to_next_slot()?);
        Some((self.start_ms + due * TICK_MS).saturating_sub(now_ms))
    }

    /// Moves on to the next occupied slot that is due, or to `now` when there is none.
    fn enter_next_slot(&mut self, now: u32) -> bool {
        // A revolution visits every slot; older ticks would visit the same slots again.
        self.tick = self.tick.max(now.saturating_sub(SLOTS));
        match self.ticks_to_next_slot() {
            Some(ticks) if ticks <= now.saturating_sub(self.tick) => {
                self.tick += ticks;
                self.walk = self.heads[(self.tick % SLOTS) as usize];
                true
            }
            _ => {
                self.tick = self.tick.max(now);
                false
            }
        }
    }

    /// Distance, from 1 to a whole revolution, to the next occupied slot.
    fn ticks_to_next_slot(&self) -> Option<u32> {
        let first = (self.tick + 1) % SLOTS;
        let (word, bit) = (first / u64::BITS, first % u64::BITS);
        // The first word comes twice: what lies before `bit` is a revolution away.
        for step in 0..=WORDS {
            let mut bits = self.occupied[((word + step) % WORDS) as usize];
            if step == 0 {
                bits &= u64::MAX << bit;
            }
            if bits != 0 {
                return Some(1 + step * u64::BITS + bits.trailing_zeros() - bit);
            }
        }
        None
    }

    /// Hangs an unarmed entry where its deadline belongs; one that has passed belongs to the next tick.
    fn link(&mut self, index: u32) {
        let deadline = self.entries[index as usize].deadline;
        let slot = deadline.max(self.tick.saturating_add(1)) % SLOTS;
        let next = std::mem::replace(&mut self.heads[slot as usize], index);
        if next == NONE {
            self.occupied[(slot / u64::BITS) as usize] |= 1 << (slot % u64::BITS);
        } else {
            self.entries[next as usize].previous = index;
        }
        self.entries[index as usize] = Entry { previous: NONE, next, slot, deadline };
    }

    /// Takes an armed entry out of its list.
    fn unlink(&mut self, index: u32) {
        let Entry { previous, next, slot, deadline } = self.entries[index as usize];
        if self.walk == index {
            self.walk = next;
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
        } else {
            self.heads[slot as usize] = next;
            if next == NONE {
                self.occupied[(slot / u64::BITS) as usize] &= !(1 << (slot % u64::BITS));
            }
        }
        self.entries[index as usize] = Entry { deadline, ..UNARMED };
    }
}

/// The first tick after `tick` at which this slot is visited.
fn next_visit(slot: u32, tick: u32) -> u32 {
    let first = tick.saturating_add(1);
    first.saturating_add(slot.wrapping_sub(first) % SLOTS)
}

fn clamp(ticks: u64) -> u32 {
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A start that is no multiple of a tick.
    const START_MS: u64 = 1_000_123;
    const REVOLUTION_MS: u64 = SLOTS as u64 * TICK_MS;

    fn expire(wheel: &mut Wheel, now_ms: u64) -> Vec<u32> {
        let mut expired: Vec<_> = std::iter::from_fn(|| wheel.pop_expired(now_ms)).collect();
        expired.sort_unstable();
        expired
    }

    fn links(wheel: &Wheel) -> Vec<(u32, u32, u32)> {
        wheel.entries.iter().map(|entry| (entry.previous, entry.next, entry.slot)).collect()
    }

    #[test]
    fn an_entry_is_sixteen_bytes() {
        assert_eq!(size_of::<Entry>(), 16);
    }

    #[test]
    fn a_deadline_fires_at_the_first_tick_after_it() {
        let table = [
            // (deadline, last time without, first time with), all after the start
            (0, 249, 250),
            (1, 249, 250),
            (250, 249, 250),
            (251, 499, 500),
            (10_000, 9_999, 10_000),
            (REVOLUTION_MS, REVOLUTION_MS - 1, REVOLUTION_MS),
            (REVOLUTION_MS + 1, REVOLUTION_MS + 249, REVOLUTION_MS + 250),
            (REVOLUTION_MS * 5 + 7, REVOLUTION_MS * 5 + 249, REVOLUTION_MS * 5 + 250),
        ];
        for (deadline, without, with) in table {
            let mut wheel = Wheel::new(START_MS, 4);
            wheel.arm(3, START_MS + deadline);
            assert_eq!(wheel.pop_expired(START_MS + without), None, "{deadline}");
            assert_eq!(wheel.pop_expired(START_MS + with), Some(3), "{deadline}");
            assert_eq!(wheel.pop_expired(START_MS + with), None, "{deadline}");
            assert_eq!(wheel.next_timeout(START_MS + with), None, "{deadline}");
        }
    }

    #[test]
    fn sleeping_by_the_timeout_meets_every_deadline() {
        let mut wheel = Wheel::new(START_MS, 0);
        let mut now_ms = START_MS;
        assert_eq!(wheel.next_timeout(now_ms), None);
        let deadlines = [1, 250, 9_000, 15_001, 127_999, 128_000, 128_001, 700_000].map(|ms| START_MS + ms);
        for (index, deadline_ms) in (0..).zip(deadlines) {
            wheel.arm(index, deadline_ms);
        }
        let mut fired = 0;
        let mut turns = 0;
        while let Some(timeout_ms) = wheel.next_timeout(now_ms) {
            assert!(timeout_ms > 0);
            now_ms += timeout_ms;
            for index in expire(&mut wheel, now_ms) {
                assert!((deadlines[index as usize]..deadlines[index as usize] + TICK_MS).contains(&now_ms));
                fired += 1;
            }
            turns += 1;
        }
        assert_eq!(fired, deadlines.len());
        assert!(turns < 20, "a sleeping worker must not tick, but woke {turns} times");
    }

    #[test]
    fn arming_later_a_million_times_relinks_nothing() {
        let mut wheel = Wheel::new(START_MS, 3);
        for index in 0..3 {
            wheel.arm(index, START_MS + 15_000);
        }
        let hung = (links(&wheel), wheel.heads);
        for step_ms in 0..1_000_000 {
            wheel.arm(1, START_MS + 15_000 + step_ms);
        }
        assert_eq!((links(&wheel), wheel.heads), hung);
        assert_eq!(expire(&mut wheel, START_MS + 20_000), [0, 2]);
        assert_eq!(expire(&mut wheel, START_MS + 1_014_998), [0; 0]);
        assert_eq!(expire(&mut wheel, START_MS + 1_015_000), [1]);
    }

    #[test]
    fn a_deadline_that_moves_earlier_is_kept() {
        let mut wheel = Wheel::new(START_MS, 2);
        wheel.arm(0, START_MS + 60_000);
        wheel.arm(0, START_MS + 90_000);
        wheel.arm(0, START_MS + 70_000);
        assert_eq!(expire(&mut wheel, START_MS + 69_999), [0; 0]);
        wheel.arm(0, START_MS + 90_000);
        wheel.arm(0, START_MS + 69_999);
        assert_eq!(expire(&mut wheel, START_MS + 70_000), [0]);
    }

    #[test]
    fn a_long_stop_visits_no_slot_twice() {
        let mut wheel = Wheel::new(START_MS, 0);
        let late_ms = START_MS + REVOLUTION_MS * 1_000;
        for index in 0..2 * SLOTS {
            let far = if index < SLOTS { 0 } else { late_ms - START_MS + TICK_MS };
            wheel.arm(index, START_MS + far + u64::from(index % SLOTS) * TICK_MS);
        }
        let mut entered = 0;
        while wheel.enter_next_slot(clamp((late_ms - START_MS) / TICK_MS)) {
            entered += 1;
        }
        assert_eq!(entered, SLOTS);
        wheel.walk = NONE;
        wheel.tick = 0;
        assert_eq!(expire(&mut wheel, late_ms), Vec::from_iter(0..SLOTS));
        assert_eq!(expire(&mut wheel, late_ms + TICK_MS), [SLOTS]);
    }

    #[test]
    fn what_expires_may_arm_and_disarm_the_others() {
        let mut wheel = Wheel::new(START_MS, 8);
        for index in 0..8 {
            wheel.arm(index, START_MS + 1_000);
        }
        let now_ms = START_MS + 1_000;
        let first = wheel.pop_expired(now_ms).unwrap();
        assert_eq!(wheel.next_timeout(now_ms), Some(0));
        let others: Vec<_> = (0..8).filter(|&index| index != first).collect();
        wheel.disarm(first);
        wheel.disarm(others[0]);
        wheel.arm(others[1], now_ms + 5_000);
        wheel.arm(others[2], START_MS);
        wheel.disarm(99);
        wheel.arm(first, now_ms);
        assert_eq!(expire(&mut wheel, now_ms), others[3..]);
        let mut due = vec![first, others[2]];
        due.sort_unstable();
        assert_eq!(expire(&mut wheel, now_ms + TICK_MS), due);
        assert_eq!(expire(&mut wheel, now_ms + 5_000), [others[1]]);
        assert_eq!(wheel.next_timeout(now_ms + 5_000), None);
    }

    fn check_lists(wheel: &Wheel) -> Result<(), TestCaseError> {
        let mut hung = 0;
        for (slot, &head) in (0..).zip(&wheel.heads) {
            let bit = wheel.occupied[(slot / 64) as usize] >> (slot % 64) & 1 == 1;
            prop_assert_eq!(bit, head != NONE);
            let (mut previous, mut index) = (NONE, head);
            while index != NONE {
                let entry = wheel.entries[index as usize];
                prop_assert_eq!((entry.previous, entry.slot), (previous, slot));
                (previous, index, hung) = (index, entry.next, hung + 1);
            }
        }
        prop_assert_eq!(wheel.entries.iter().filter(|entry| entry.slot != NONE).count(), hung);
        Ok(())
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arm { index: u32, ahead_ms: u64 },
        ArmInThePast { index: u32, behind_ms: u64 },
        Disarm { index: u32 },
        Advance { by_ms: u64 },
        Sleep,
        PopOne,
        Expire,
    }

    fn step() -> impl Strategy<Value = Step> {
        let index = 0_u32..24;
        prop_oneof![
            4 => (index.clone(), 0..40_000_u64).prop_map(|(index, ahead_ms)| Step::Arm { index, ahead_ms }),
            1 => (index.clone(), 0..4 * REVOLUTION_MS).prop_map(|(index, ahead_ms)| Step::Arm { index, ahead_ms }),
            1 => (index.clone(), 0..5_000_u64)
                .prop_map(|(index, behind_ms)| Step::ArmInThePast { index, behind_ms }),
            1 => index.prop_map(|index| Step::Disarm { index }),
            2 => (0..2_000_u64).prop_map(|by_ms| Step::Advance { by_ms }),
            1 => (0..3 * REVOLUTION_MS).prop_map(|by_ms| Step::Advance { by_ms }),
            1 => Just(Step::Sleep),
            2 => Just(Step::PopOne),
            3 => Just(Step::Expire),
        ]
    }

    /// Deadlines by index, each with the time by which it must have fired if expired then.
    type Model = BTreeMap<u32, (u64, u64)>;

    fn pop(wheel: &mut Wheel, model: &mut Model, now_ms: u64) -> Result<bool, TestCaseError> {
        let Some(index) = wheel.pop_expired(now_ms) else { return Ok(false) };
        let fired = model.remove(&index);
        prop_assert!(
            fired.is_some_and(|(deadline_ms, _)| deadline_ms <= now_ms),
            "{index}: {fired:?} at {now_ms}"
        );
        Ok(true)
    }

    fn expire_all(wheel: &mut Wheel, model: &mut Model, now_ms: u64) -> Result<(), TestCaseError> {
        while pop(wheel, model, now_ms)? {}
        prop_assert!(model.values().all(|&(_, due_ms)| now_ms < due_ms), "{model:?} at {now_ms}");
        prop_assert_ne!(wheel.next_timeout(now_ms), Some(0));
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

        #[test]
        fn it_behaves_like_a_sorted_map(steps in prop::collection::vec(step(), 1..200)) {
            let mut now_ms = START_MS;
            let mut wheel = Wheel::new(now_ms, 8);
            let mut model = Model::new();
            let arm = |wheel: &mut Wheel, model: &mut Model, now_ms: u64, index, deadline_ms: u64| {
                wheel.arm(index, deadline_ms);
                model.insert(index, (deadline_ms, deadline_ms.max(now_ms) + TICK_MS));
            };
            for step in steps {
                match step {
                    Step::Arm { index, ahead_ms } => arm(&mut wheel, &mut model, now_ms, index, now_ms + ahead_ms),
                    Step::ArmInThePast { index, behind_ms } => {
                        arm(&mut wheel, &mut model, now_ms, index, now_ms - behind_ms);
                    }
                    Step::Disarm { index } => {
                        wheel.disarm(index);
                        model.remove(&index);
                    }
                    Step::Advance { by_ms } => now_ms += by_ms,
                    Step::Sleep => {
                        expire_all(&mut wheel, &mut model, now_ms)?;
                        now_ms += wheel.next_timeout(now_ms).unwrap_or(0);
                    }
                    Step::PopOne => {
                        pop(&mut wheel, &mut model, now_ms)?;
                    }
                    Step::Expire => expire_all(&mut wheel, &mut model, now_ms)?,
                }
                check_lists(&wheel)?;
                let timeout_ms = wheel.next_timeout(now_ms);
                prop_assert_eq!(timeout_ms.is_none(), model.is_empty());
                if let (Some(timeout_ms), Some(due_ms)) = (timeout_ms, model.values().map(|timer| timer.1).min()) {
                    prop_assert!(now_ms + timeout_ms <= due_ms.max(now_ms), "{model:?} at {now_ms}");
                }
            }
        }
    }
}
