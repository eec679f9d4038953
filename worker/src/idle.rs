//! Which connections have been idle longest: found when room is needed. No book is kept until then.
//!
//! A ranking is a heap of slab indices, each with a time before which its connection cannot have become idle. That
//! time is looked up only when the index comes to the top: connections only ever become idle later, so an index whose
//! time still holds is the one that became idle first, and any other goes back in with the time that it has now. So
//! a connection that serves request after request never touches this, nor does one that is opened or closed; where
//! nobody ever needs room, nothing is allocated. It owns no connection and closes none.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// Whoever has been idle for less may be passed over where there are more to look at than can be.
const RECENT_MS: u64 = 1_000;

/// Indices, by when their connections became idle at the earliest.
#[derive(Debug, Default)]
pub struct Ranking {
    /// One entry for each index there ever was, in use or not: whoever gets a slot later becomes idle later.
    heap: BinaryHeap<Reverse<(u64, u32)>>,
}

/// What a look into the ranking has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The index that has been idle longest. It is taken to be idle no more.
    Index(u32),
    /// None has been idle before now; or none for long, of more than could be looked at.
    Nobody,
    /// There are more to look at than `steps` allowed; the next look goes on.
    Later,
}

impl Ranking {
    /// The index below `index_end` that became idle first, before `now_ms`. `since_ms` tells when one did: it may lie
    /// ahead, and is none for one that is not idle. Each look at an index uses up one of `steps`.
    pub fn pop(
        &mut self,
        index_end: u32,
        now_ms: u64,
        steps: &mut usize,
        since_ms: impl Fn(u32) -> Option<u64>,
    ) -> Next {
        let known = u32::try_from(self.heap.len()).unwrap_or(u32::MAX);
        for index in known..index_end {
            if !take(steps) {
                return Next::Later;
            }
            self.heap.push(Reverse((since_ms(index).unwrap_or(now_ms).min(now_ms), index)));
        }
        while let Some(mut top) = self.heap.peek_mut() {
            let Reverse((earliest_ms, index)) = *top;
            if earliest_ms >= now_ms {
                return Next::Nobody;
            }
            if !take(steps) {
                // Of many who are busy, those looked at first can be looked at again before the last one is.
                let is_recent = earliest_ms.saturating_add(RECENT_MS) > now_ms;
                return if is_recent { Next::Nobody } else { Next::Later };
            }
            let since = since_ms(index);
            let is_next = since.is_some_and(|since_ms| since_ms <= earliest_ms);
            // What lies ahead may not come to be: whoever speaks before can be idle again earlier.
            let earliest_ms = since.filter(|_| !is_next).unwrap_or(now_ms).min(now_ms);
            *top = Reverse((earliest_ms, index));
            // Only now does it find its new place.
            drop::<PeekMut<'_, _>>(top);
            if is_next {
                return Next::Index(index);
            }
        }
        Next::Nobody
    }
}

const fn take(steps: &mut usize) -> bool {
    let is_left = *steps > 0;
    *steps = steps.saturating_sub(1);
    is_left
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    fn pop_all(ranking: &mut Ranking, since: &[Option<u64>], now_ms: u64) -> Vec<u32> {
        let since_ms = |index: u32| since[index as usize];
        let mut popped = Vec::new();
        let index_end = u32::try_from(since.len()).unwrap();
        while let Next::Index(index) = ranking.pop(index_end, now_ms, &mut 1_000_000, since_ms) {
            popped.push(index);
        }
        popped
    }

    #[test]
    fn those_idle_longest_come_first_and_those_not_idle_never() {
        let since = [Some(30), None, Some(10), Some(20), Some(100), Some(999), Some(15)];
        let mut ranking = Ranking::default();
        assert_eq!(pop_all(&mut ranking, &since, 100), [2, 6, 3, 0]);
        assert_eq!(pop_all(&mut ranking, &since, 100), [0; 0], "each is taken once");
    }

    #[test]
    fn who_was_busy_meanwhile_goes_to_the_back() {
        let mut ranking = Ranking::default();
        let mut since = vec![Some(10), Some(20), Some(30), Some(40)];
        assert_eq!(ranking.pop(4, 100, &mut 100, |index| since[index as usize]), Next::Index(0));
        since[0] = None;
        since[1] = Some(150);
        since[2] = None;
        since.push(Some(120));
        assert_eq!(pop_all(&mut ranking, &since, 200), [3, 4, 1]);
    }

    #[test]
    fn no_look_is_longer_than_it_may_be_and_the_next_goes_on() {
        let mut ranking = Ranking::default();
        let looks = Cell::new(0);
        let since_ms = |index: u32| {
            looks.set(looks.get() + 1);
            (index == 999).then_some(5)
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let before = looks.get();
            match ranking.pop(1_000, 10, &mut 64, since_ms) {
                Next::Index(index) => break assert_eq!(index, 999),
                next => assert_eq!(next, Next::Later),
            }
            assert!(looks.get() - before <= 64);
        }
        assert_eq!(tries, 1_000_usize.div_ceil(64));
        assert_eq!(ranking.pop(1_000, 10, &mut 64, since_ms), Next::Nobody);
    }

    #[test]
    fn that_nobody_is_idle_is_known_even_of_more_than_one_look_can_see() {
        let mut ranking = Ranking::default();
        let looks = (0..100).map(|turn| ranking.pop(1_000, 5_000 + 10 * turn, &mut 64, |_| None));
        let known = looks.take_while(|next| *next == Next::Later).count();
        assert_eq!(known, 1_000 / 64);
        assert_eq!(ranking.pop(1_000, 5_200, &mut 64, |_| None), Next::Nobody);
        assert_eq!(ranking.pop(1_000, 9_000, &mut 64, |_| None), Next::Later, "some may have become idle");
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A connection goes on, and becomes idle again after a while.
        Serve {
            index: usize,
            for_ms: u64,
        },
        /// It begins something long.
        Begin {
            index: usize,
        },
        Pass {
            ms: u64,
        },
        Pop,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_usize, 0..30_u64).prop_map(|(index, for_ms)| Step::Serve { index, for_ms }),
            (0..20_usize).prop_map(|index| Step::Begin { index }),
            (0..50_u64).prop_map(|ms| Step::Pass { ms }),
            Just(Step::Pop),
        ]
    }

    proptest! {
        #[test]
        fn it_finds_the_minimum(steps in prop::collection::vec(step(), 1..300)) {
            let mut ranking = Ranking::default();
            let mut since = [Some(0_u64); 20];
            let mut now_ms = 1;
            for step in steps {
                match step {
                    Step::Serve { index, for_ms } => since[index] = Some(now_ms + for_ms),
                    Step::Begin { index } => since[index] = None,
                    Step::Pass { ms } => now_ms += ms,
                    Step::Pop => {
                        let oldest = since.iter().flatten().min().copied().filter(|&since_ms| since_ms < now_ms);
                        match ranking.pop(20, now_ms, &mut 1_000, |index| since[index as usize]) {
                            Next::Index(index) => {
                                prop_assert_eq!(since[index as usize], oldest);
                                // It is closed, and another one comes.
                                since[index as usize] = Some(now_ms);
                            }
                            next => prop_assert_eq!((next, oldest), (Next::Nobody, None)),
                        }
                    }
                }
            }
        }
    }
}
