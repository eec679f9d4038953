//! Where connections live: a slab whose keys carry a generation, so that a stale event finds nobody.
//!
//! Owns its values and the free lists, which are threaded through the vacant slots. Slots come in chunks of 256
//! that never move: growing costs one chunk, never a copy of what is there. The first chunk with a vacant slot is used
//! first, so that the last ones become vacant when a crowd has gone, and can be given up; within a chunk it is the slot
//! that was vacated last, since it is still in the processor's cache. Neither a lookup nor, within the chunks there
//! are, an insertion allocates.

use std::{iter, mem};

/// Slots of one chunk: a power of two, so that an index is split by shift and mask.
const CHUNK_SLOTS: usize = 1 << CHUNK_SHIFT;
const CHUNK_SHIFT: u32 = 8;
/// End of the free list; no slot has this index.
const NONE: u32 = u32::MAX;

const _: () = assert!(usize::BITS == 64, "a token holds an index and a generation of 32 bits each");

/// Key of a connection: where it lives, and which of the connections that lived there it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    index: u32,
    generation: u32,
}

impl ConnectionId {
    /// The slot, below the limit of the slab: a key for arrays that run parallel to it.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// The token to register the connection's socket with. Its upper half is never `u32::MAX`, because no
    /// generation is: those tokens are left to the worker's waker and its listeners.
    #[must_use]
    pub const fn to_token(self) -> mio::Token {
        mio::Token((self.generation as usize) << 32 | self.index as usize)
    }

    /// The connection that an event is for. Any token may be asked for: one that never was a connection's
    /// finds none.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a 64-bit token are what is wanted")]
    pub const fn from_token(token: mio::Token) -> Self {
        Self { index: token.0 as u32, generation: (token.0 >> 32) as u32 }
    }
}

#[derive(Debug)]
enum Slot<T> {
    Vacant { next_free: u32 },
    Occupied { generation: u32, value: T },
}

#[derive(Debug)]
struct Chunk<T> {
    slots: Box<[Slot<T>; CHUNK_SLOTS]>,
    /// The index that is used next; `NONE` if all slots are in use.
    first_free: u32,
    /// How many slots are in use.
    len: u32,
}

/// Values at fixed places, each found by its [`ConnectionId`] and by no other.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    entries_max: u32,
    len: usize,
    /// No chunk before this one has a vacant slot.
    first_open: usize,
    /// Given to the next value, whichever slot it gets: an id comes back only after 2³² − 1 insertions.
    next_generation: u32,
}

impl<T> Slab<T> {
    /// An empty slab for at most `entries_max` values.
    #[must_use]
    pub fn with_limit(entries_max: usize) -> Self {
        let entries_max = u32::try_from(entries_max).unwrap_or(NONE);
        Self {
            chunks: Vec::with_capacity((entries_max as usize).div_ceil(CHUNK_SLOTS)),
            entries_max,
            len: 0,
            first_open: 0,
            next_generation: 0,
        }
    }

    /// Takes a value in.
    ///
    /// # Errors
    /// The value itself, when the slab is full.
    pub fn insert(&mut self, value: T) -> Result<ConnectionId, T> {
        let generation = self.next_generation;
        let Some(chunk) = self.open_chunk() else { return Err(value) };
        let index = chunk.first_free;
        let slot = &mut chunk.slots[index as usize % CHUNK_SLOTS];
        let Slot::Vacant { next_free } = *slot else { return Err(value) };
        *slot = Slot::Occupied { generation, value };
        chunk.first_free = next_free;
        chunk.len += 1;
        self.next_generation = (generation + 1) % u32::MAX;
        self.len += 1;
        Ok(ConnectionId { index, generation })
    }

    /// The value, unless it has been removed.
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        match self.slot_mut(id.index)? {
            Slot::Occupied { generation, value } if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// Takes a value out, unless that has been done before. Its slot is the next to be used of its chunk.
    pub fn remove(&mut self, id: ConnectionId) -> Option<T> {
        self.get_mut(id)?;
        let number = (id.index >> CHUNK_SHIFT) as usize;
        let chunk = self.chunks.get_mut(number)?;
        let vacant = Slot::Vacant { next_free: chunk.first_free };
        let slot = mem::replace(&mut chunk.slots[id.index as usize % CHUNK_SLOTS], vacant);
        let Slot::Occupied { value, .. } = slot else { return None };
        chunk.first_free = id.index;
        chunk.len -= 1;
        self.first_open = self.first_open.min(number);
        self.len -= 1;
        Some(value)
    }

    /// Gives up the chunks at the end that nobody is in, but for the first, and tells how many.
    pub fn trim(&mut self) -> usize {
        let before = self.chunks.len();
        while !self.is_trimmed() {
            self.chunks.pop();
        }
        before - self.chunks.len()
    }

    /// Whether there is nothing that [`Self::trim`] may give up.
    #[must_use]
    pub fn is_trimmed(&self) -> bool {
        !matches!(self.chunks.as_slice(), [_, .., last] if last.len == 0)
    }

    /// The value at this index, if there is one.
    #[must_use]
    pub fn get_at(&self, index: u32) -> Option<&T> {
        match &self.chunks.get((index >> CHUNK_SHIFT) as usize)?.slots[index as usize % CHUNK_SLOTS] {
            Slot::Occupied { value, .. } => Some(value),
            Slot::Vacant { .. } => None,
        }
    }

    /// The id of the value at this index, if there is one: the way back from an array that runs parallel.
    #[must_use]
    pub fn id_at(&self, index: u32) -> Option<ConnectionId> {
        match self.chunks.get((index >> CHUNK_SHIFT) as usize)?.slots[index as usize % CHUNK_SLOTS] {
            Slot::Occupied { generation, .. } => Some(ConnectionId { index, generation }),
            Slot::Vacant { .. } => None,
        }
    }

    /// More than any index in use. With [`Self::id_at`] it lets a caller visit all values
    /// and change the slab on the way.
    #[must_use]
    pub fn index_end(&self) -> u32 {
        let slots = u32::try_from(self.chunks.len() * CHUNK_SLOTS).unwrap_or(NONE);
        slots.min(self.entries_max)
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        let chunk = self.chunks.get_mut((index >> CHUNK_SHIFT) as usize)?;
        Some(&mut chunk.slots[index as usize % CHUNK_SLOTS])
    }

    /// The first chunk with a vacant slot: if need be a new one, as far as the limit allows.
    fn open_chunk(&mut self) -> Option<&mut Chunk<T>> {
        let is_open = |chunk: &Chunk<T>| chunk.first_free != NONE;
        let later = self.chunks.get(self.first_open..).unwrap_or_default();
        match later.iter().position(is_open) {
            Some(distance) => self.first_open += distance,
            None => {
                self.first_open = self.chunks.len();
                self.grow();
            }
        }
        self.chunks.get_mut(self.first_open)
    }

    /// Adds a chunk and threads its slots, as far as the limit allows, into a free list.
    fn grow(&mut self) {
        let (start, end) = (self.index_end(), self.entries_max);
        if start == end {
            return;
        }
        let last = end.min(start.saturating_add(1 << CHUNK_SHIFT)) - 1;
        let mut index = start;
        let slots: Vec<_> = iter::repeat_with(|| {
            index = index.saturating_add(1);
            Slot::Vacant { next_free: if index <= last { index } else { NONE } }
        })
        .take(CHUNK_SLOTS)
        .collect();
        if let Ok(slots) = slots.into_boxed_slice().try_into() {
            self.chunks.push(Chunk { slots, first_free: start, len: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn ids<T>(slab: &Slab<T>) -> Vec<ConnectionId> {
        (0..slab.index_end()).filter_map(|index| slab.id_at(index)).collect()
    }

    #[test]
    fn a_slot_costs_eight_bytes_more_than_its_value() {
        assert_eq!(size_of::<Slot<[u64; 30]>>(), 248);
        assert!(size_of::<Slot<(Box<u8>, [u64; 30])>>() <= 256);
        assert_eq!(size_of::<Slot<u32>>(), 12);
    }

    #[test]
    fn a_full_slab_hands_the_value_back() {
        for entries_max in [0, 1, 255, 256, 257, 1000] {
            let mut slab = Slab::with_limit(entries_max);
            let inserted: Vec<_> = (0..entries_max).map(|n| slab.insert(n).unwrap()).collect();
            assert_eq!(slab.insert(7_777), Err(7_777));
            assert_eq!(slab.len(), entries_max);
            assert_eq!(ids(&slab), inserted);
            assert!(inserted.iter().all(|id| (id.index() as usize) < entries_max));
            let Some(&last) = inserted.last() else { continue };
            assert_eq!(slab.remove(last), Some(entries_max - 1));
            assert_eq!(slab.insert(1).map(ConnectionId::index), Ok(last.index()));
            assert_eq!(slab.insert(2), Err(2));
        }
    }

    #[test]
    fn a_stale_id_finds_nothing_and_harms_nobody() {
        let mut slab = Slab::with_limit(8);
        let old = slab.insert('a').unwrap();
        assert_eq!(slab.remove(old), Some('a'));
        assert_eq!(slab.get_mut(old), None);
        assert_eq!((slab.remove(old), slab.id_at(0)), (None, None));
        let new = slab.insert('b').unwrap();
        assert_eq!(new.index(), old.index());
        assert_eq!(slab.get_mut(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get_mut(new), Some(&mut 'b'));
        assert_eq!(
            (slab.get_at(new.index()), slab.get_at(1), slab.get_at(1 << 20)),
            (Some(&'b'), None, None)
        );
        assert_eq!(slab.id_at(new.index()), Some(new));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn tokens_come_back_as_ids_and_the_wakers_is_none() {
        for id in [
            ConnectionId { index: 0, generation: 0 },
            ConnectionId { index: 5, generation: 9 },
            ConnectionId { index: u32::MAX - 1, generation: u32::MAX - 1 },
        ] {
            assert_eq!(ConnectionId::from_token(id.to_token()), id);
        }
        let mut slab = Slab::with_limit(usize::MAX);
        slab.insert(()).unwrap();
        for token in [usize::MAX, usize::MAX - 1, 1, 1 << 32] {
            assert_eq!(slab.get_mut(ConnectionId::from_token(mio::Token(token))), None);
        }
    }

    #[test]
    fn generations_wrap_before_the_wakers() {
        for first in [u32::MAX - 2, u32::MAX - 1] {
            let mut slab = Slab::with_limit(2);
            slab.next_generation = first;
            for _ in 0..3 {
                let id = slab.insert(()).unwrap();
                assert_ne!(id.generation, u32::MAX);
                assert_ne!(slab.next_generation, u32::MAX);
                slab.remove(id);
            }
        }
    }

    #[test]
    fn values_never_move_while_the_slab_grows() {
        let mut slab = Slab::with_limit(10_000);
        let id = slab.insert([0_u64; 8]).unwrap();
        let place = std::ptr::from_ref(slab.get_mut(id).unwrap());
        while slab.insert([1; 8]).is_ok() {}
        assert_eq!(std::ptr::from_ref(slab.get_mut(id).unwrap()), place);
        assert_eq!(slab.len(), 10_000);
    }

    #[test]
    fn when_a_crowd_has_gone_its_memory_is_given_up() {
        let mut slab = Slab::with_limit(5 * CHUNK_SLOTS);
        let crowd: Vec<_> = (0..slab.entries_max).map(|n| slab.insert(n).unwrap()).collect();
        // One stays in the second chunk, which keeps that and the first.
        let stays = crowd[CHUNK_SLOTS + 7];
        crowd.iter().filter(|&&id| id != stays).for_each(|&id| assert!(slab.remove(id).is_some()));
        assert!(!slab.is_trimmed());
        assert_eq!((slab.trim(), slab.is_trimmed()), (3, true));
        assert_eq!((slab.index_end() as usize, slab.len()), (2 * CHUNK_SLOTS, 1));
        assert!(crowd.iter().all(|&id| slab.get_mut(id).is_some() == (id == stays)));
        assert_eq!(
            slab.insert(0).map(|id| (id.index() as usize) < CHUNK_SLOTS),
            Ok(true),
            "the first chunk first"
        );
        while slab.insert(0).is_ok() {}
        assert_eq!(slab.len(), 5 * CHUNK_SLOTS, "there is room for as many as before");
        ids(&slab).into_iter().for_each(|id| assert!(slab.remove(id).is_some()));
        slab.trim();
        assert_eq!(slab.index_end() as usize, CHUNK_SLOTS, "for those who come next");
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map(steps in prop::collection::vec((0..9_u8, any::<prop::sample::Index>()), 1..900)) {
            let mut slab = Slab::with_limit(300);
            slab.next_generation = u32::MAX - 50;
            let mut model = HashMap::new();
            // Nearly as many as there may be, so that the second chunk comes and goes.
            let mut issued: Vec<_> = (1_000..1_250).filter_map(|value| slab.insert(value).ok()).collect();
            model.extend((1_000..1_250).zip(&issued).map(|(value, &id)| (id, value)));
            for (value, (act, pick)) in steps.into_iter().enumerate() {
                if act == 0 {
                    slab.trim();
                } else if act < 5 || issued.is_empty() {
                    match slab.insert(value) {
                        Ok(id) => {
                            prop_assert_eq!(model.insert(id, value), None);
                            issued.push(id);
                        }
                        Err(back) => prop_assert_eq!((back, model.len()), (value, 300)),
                    }
                } else {
                    let id = *pick.get(&issued);
                    prop_assert_eq!(slab.get_mut(id).copied(), model.get(&id).copied());
                    prop_assert_eq!(slab.remove(id), model.remove(&id));
                }
                prop_assert_eq!((slab.len(), slab.is_empty()), (model.len(), model.is_empty()));
            }
            let ids = ids(&slab);
            prop_assert_eq!(ids.len(), model.len());
            prop_assert!(ids.iter().all(|id| model.contains_key(id)));
        }
    }
}
