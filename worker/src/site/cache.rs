//! The bounded cache of resources, one per worker, so that nobody else ever touches it.
//!
//! The key is the path as it was asked for, so that a hit costs one look-up and no decoding. Entries are given
//! up by the CLOCK rule (second chance), which needs no list to be relinked on a hit. The cache knows nothing
//! about files; whether an entry is still true is for the site to find out.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::allowance::Allowance;
use super::making::Making;
use super::representation::Representation;
use super::resource::Resource;

/// Where assertions are checked, so many entries are counted anew after each change.
const RECOUNTED_MAX: usize = 32;

#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    resource: Rc<Resource>,
    /// When it was last seen to be true.
    checked_ms: u64,
    is_referenced: bool,
}

/// Resources by path.
#[derive(Debug)]
pub struct Cache {
    /// Seeded at random, so that nobody outside can choose keys that collide.
    index: HashMap<Box<[u8]>, usize, RandomState>,
    entries: Vec<Entry>,
    hand: usize,
    memory_bytes: usize,
    /// Descriptors that all entries hold together.
    files: usize,
    files_max: usize,
    memory_bytes_max: usize,
    check_interval_ms: u64,
}

/// A resource from the cache.
#[derive(Debug)]
pub enum Hit {
    /// Seen to be true within the check interval.
    Fresh(Rc<Resource>),
    /// Not looked at for longer than that.
    Stale(Rc<Resource>),
}

impl Cache {
    /// An empty cache for resources that hold at most `files_max` open files and `memory_bytes_max` bytes.
    #[must_use]
    pub fn new(files_max: usize, memory_bytes_max: usize, check_interval_ms: u64) -> Self {
        Self {
            index: HashMap::default(),
            entries: Vec::new(),
            hand: 0,
            memory_bytes: 0,
            files: 0,
            files_max,
            memory_bytes_max,
            check_interval_ms,
        }
    }

    /// Looks a path up.
    pub fn get(&mut self, key: &[u8], now_ms: u64) -> Option<Hit> {
        let entry = self.index.get(key).and_then(|&at| self.entries.get_mut(at))?;
        entry.is_referenced = true;
        let resource = Rc::clone(&entry.resource);
        let is_fresh = now_ms.saturating_sub(entry.checked_ms) < self.check_interval_ms;
        Some(if is_fresh { Hit::Fresh(resource) } else { Hit::Stale(resource) })
    }

    /// Notes that the entry has been found true.
    pub fn confirm(&mut self, key: &[u8], now_ms: u64) {
        if let Some(entry) = self.index.get(key).and_then(|&at| self.entries.get_mut(at)) {
            entry.checked_ms = now_ms;
            entry.resource.cool();
        }
    }

    /// Takes in a resource, replacing the one of the same key, and gives up others until the bounds hold.
    pub fn insert(&mut self, key: &[u8], resource: Rc<Resource>, now_ms: u64) {
        self.remove(key);
        let (bytes, files) = (resource.memory_bytes(), resource.files());
        if files > self.files_max || bytes > self.memory_bytes_max {
            return;
        }
        while self.files + files > self.files_max || self.memory_bytes + bytes > self.memory_bytes_max {
            self.evict_one();
        }
        self.files += files;
        self.memory_bytes += bytes;
        self.index.insert(key.into(), self.entries.len());
        self.entries.push(Entry { key: key.into(), resource, checked_ms: now_ms, is_referenced: false });
        debug_assert!(self.is_within_bounds());
    }

    /// Adds what was made of a resource, if that is still what the path names, and gives up others for it.
    pub fn add_made(&mut self, making: &Making, made: &Rc<Representation>) {
        let Some(entry) = self.index.get(&making.key).and_then(|&at| self.entries.get(at)) else { return };
        let resource = Rc::clone(&entry.resource);
        if !resource.is_source_of(making) || made.memory_bytes() > self.memory_bytes_max {
            return;
        }
        let (before_bytes, before_files) = (resource.memory_bytes(), resource.files());
        resource.add(made);
        self.memory_bytes += resource.memory_bytes() - before_bytes;
        self.files += resource.files() - before_files;
        while self.memory_bytes > self.memory_bytes_max || self.files > self.files_max {
            self.evict_one();
        }
        debug_assert!(self.is_within_bounds());
    }

    /// Notes that something cannot be made.
    pub fn renounce(&self, making: &Making) {
        let entry = self.index.get(&making.key).and_then(|&at| self.entries.get(at));
        if let Some(entry) = entry.filter(|entry| entry.resource.is_source_of(making)) {
            entry.resource.renounce(making.to);
        }
    }

    /// Forgets the resource that something was to be made of, if that is still what the path names.
    pub fn remove_source_of(&mut self, making: &Making) {
        let entry = self.index.get(&making.key).and_then(|&at| self.entries.get(at));
        if entry.is_some_and(|entry| entry.resource.is_source_of(making)) {
            self.remove(&making.key);
        }
    }

    /// Lets a representation hold its content in memory from now on, and gives up others for it, if its content
    /// fits at all and the representation can.
    pub fn hold(&mut self, key: &[u8], representation: &Rc<Representation>, allowance: &Arc<Allowance>) {
        if representation.memory_bytes() > 0 {
            return;
        }
        let bytes = usize::try_from(representation.length()).unwrap_or(usize::MAX);
        if bytes > self.memory_bytes_max {
            return;
        }
        while self.memory_bytes + bytes > self.memory_bytes_max {
            self.evict_one();
        }
        // It may have been among those.
        let Some(entry) = self.index.get(key).and_then(|&at| self.entries.get(at)) else { return };
        if entry.resource.has(representation) && representation.hold(allowance) {
            self.memory_bytes += representation.memory_bytes();
        }
        debug_assert!(self.is_within_bounds());
    }

    /// Forgets a path.
    pub fn remove(&mut self, key: &[u8]) {
        if let Some(at) = self.index.remove(key) {
            self.take_out(at);
        }
    }

    /// Gives up what nobody has asked for since `before_ms`: it holds a descriptor, and with it perhaps the space
    /// of a file that was deleted long ago. Tells how many.
    pub fn give_up_unused(&mut self, before_ms: u64) -> usize {
        let before = self.entries.len();
        self.give_up(|entry| entry.checked_ms < before_ms);
        before - self.entries.len()
    }

    /// Forgets the paths of which the key is among those that are meant.
    pub fn remove_all(&mut self, is_meant: impl Fn(&[u8]) -> bool) {
        self.give_up(|entry| is_meant(&entry.key));
    }

    fn give_up(&mut self, is_meant: impl Fn(&Entry) -> bool) {
        let mut at = 0;
        while let Some(entry) = self.entries.get(at) {
            if is_meant(entry) {
                self.index.remove(&entry.key);
                self.take_out(at);
            } else {
                at += 1;
            }
        }
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.index.clear();
        self.entries.clear();
        self.memory_bytes = 0;
        self.files = 0;
        self.hand = 0;
    }

    /// Gives up the first entry from the hand on that was not asked for since the hand last passed.
    fn evict_one(&mut self) {
        loop {
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let Some(entry) = self.entries.get_mut(self.hand) else { return };
            if std::mem::take(&mut entry.is_referenced) {
                self.hand += 1;
                continue;
            }
            let (index, entries) = (&mut self.index, &self.entries);
            if let Some(entry) = entries.get(self.hand) {
                index.remove(&entry.key);
            }
            self.take_out(self.hand);
            return;
        }
    }

    /// Takes an entry that is no longer in the index out of the list; the last one moves into its place.
    fn take_out(&mut self, at: usize) {
        let entry = self.entries.swap_remove(at);
        self.memory_bytes -= entry.resource.memory_bytes();
        self.files -= entry.resource.files();
        if let Some(moved) = self.entries.get(at)
            && let Some(place) = self.index.get_mut(&moved.key)
        {
            *place = at;
        }
        debug_assert!(self.is_counted());
    }

    fn is_within_bounds(&self) -> bool {
        self.files <= self.files_max && self.memory_bytes <= self.memory_bytes_max && self.is_counted()
    }

    /// Whether the counters and the index are what the entries say.
    fn is_counted(&self) -> bool {
        if self.entries.len() > RECOUNTED_MAX {
            return true;
        }
        let resources = || self.entries.iter().map(|entry| &entry.resource);
        let is_indexed = |(at, entry): (usize, &Entry)| self.index.get(&entry.key) == Some(&at);
        self.files == resources().map(|resource| resource.files()).sum()
            && self.memory_bytes == resources().map(|resource| resource.memory_bytes()).sum()
            && self.index.len() == self.entries.len()
            && self.entries.iter().enumerate().all(is_indexed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use protocol::coding::{Coding, CodingSet};

    use super::*;
    use crate::site::digest::TagPolicy;
    use crate::site::heads::{Description, Origin, Role};
    use crate::site::opening::OpenedFiles;
    use crate::site::resolve::Patience;

    fn resource(bytes: usize) -> Rc<Resource> {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &vec![0; bytes]).unwrap();
        let file: OwnedFd = file.into();
        let stat = rustix::fs::fstat(&file).unwrap();
        let description = Description {
            media_type: "text/html; charset=utf-8",
            coding: Coding::Identity,
            role: Role::Content,
            varies: false,
            fields: b"",
            origin: Origin::Found,
            tags: &TagPolicy::Modification,
            listed: None,
            unix_s: i64::MAX,
        };
        let only = Representation::new(file, &stat, &description, true, Patience::MayWait).unwrap();
        let files = OpenedFiles { representations: vec![only], possible: CodingSet::EMPTY, recipe: None };
        Rc::new(Resource::new(files))
    }

    fn holds(cache: &mut Cache, key: &[u8]) -> bool {
        cache.get(key, 0).is_some()
    }

    #[test]
    fn entries_are_fresh_for_the_check_interval_and_stale_after_it() {
        let mut cache = Cache::new(4, 1000, 1000);
        cache.insert(b"/a", resource(1), 500);
        assert!(matches!(cache.get(b"/a", 1499), Some(Hit::Fresh(_))));
        assert!(matches!(cache.get(b"/a", 1500), Some(Hit::Stale(_))));
        cache.confirm(b"/a", 1500);
        assert!(matches!(cache.get(b"/a", 2000), Some(Hit::Fresh(_))));
        assert!(cache.get(b"/b", 0).is_none());
    }

    #[test]
    fn the_entry_nobody_asked_for_is_given_up_first() {
        let mut cache = Cache::new(3, 1000, 1000);
        for key in [b"/a", b"/b", b"/c"] {
            cache.insert(key, resource(1), 0);
        }
        assert!(holds(&mut cache, b"/a") && holds(&mut cache, b"/c"));
        cache.insert(b"/d", resource(1), 0);
        assert!(!holds(&mut cache, b"/b"));
        assert!(holds(&mut cache, b"/a") && holds(&mut cache, b"/c") && holds(&mut cache, b"/d"));
    }

    #[test]
    fn memory_stays_within_its_bound() {
        let mut cache = Cache::new(100, 1000, 1000);
        for number in 0..50u8 {
            cache.insert(&[b'/', number], resource(300), 0);
            assert!(cache.memory_bytes <= 1000);
            assert_eq!(cache.entries.len(), cache.index.len());
        }
        assert_eq!(cache.entries.len(), 3);
        cache.insert(b"/large", resource(1001), 0);
        assert!(!holds(&mut cache, b"/large"));
        cache.clear();
        assert_eq!((cache.memory_bytes, cache.entries.len()), (0, 0));
    }

    #[test]
    fn what_is_held_counts_and_others_make_room_for_it() {
        let allowance = Allowance::new(1 << 20);
        let mut cache = Cache::new(8, 50_000, 1000);
        cache.insert(b"/small", resource(15_000), 0);
        cache.insert(b"/large", resource(40_000), 0);
        cache.insert(b"/too-large", resource(50_001), 0);
        assert!(holds(&mut cache, b"/large") && holds(&mut cache, b"/too-large"));
        let hold = |cache: &mut Cache, key: &[u8]| {
            if let Some(Hit::Fresh(resource)) = cache.get(key, 0) {
                let representation = Rc::clone(resource.get(Coding::Identity).unwrap());
                cache.hold(key, &representation, &allowance);
                cache.hold(b"/nothing", &representation, &allowance);
            }
        };
        hold(&mut cache, b"/too-large");
        assert_eq!(cache.memory_bytes, 15_000);
        hold(&mut cache, b"/large");
        hold(&mut cache, b"/large");
        assert_eq!(cache.memory_bytes, 40_000);
        assert!(!holds(&mut cache, b"/small") && holds(&mut cache, b"/large"));
        cache.remove(b"/large");
        assert_eq!(cache.memory_bytes, 0);
    }

    #[test]
    fn what_nobody_asks_for_is_given_up() {
        let mut cache = Cache::new(8, 1000, 1000);
        for (number, checked_ms) in [100, 900, 200, 800, 300].into_iter().enumerate() {
            cache.insert(format!("/{number}").as_bytes(), resource(1), checked_ms);
        }
        cache.give_up_unused(800);
        let kept: Vec<bool> =
            (0..5).map(|number| holds(&mut cache, format!("/{number}").as_bytes())).collect();
        assert_eq!(kept, [false, true, false, true, false]);
        assert_eq!((cache.entries.len(), cache.memory_bytes, cache.is_empty()), (2, 2, false));
        cache.give_up_unused(u64::MAX);
        assert!(cache.is_empty());
    }

    #[test]
    fn replacing_and_removing_keep_index_and_list_together() {
        let mut cache = Cache::new(8, 1000, 1000);
        for round in 0..200usize {
            let key = [b'/', u8::try_from(round * 7 % 11).unwrap()];
            if round % 3 == 0 {
                cache.remove(&key);
                assert!(!holds(&mut cache, &key));
            } else {
                cache.insert(&key, resource(round % 5), 0);
                assert!(holds(&mut cache, &key));
            }
            for (at, entry) in cache.entries.iter().enumerate() {
                assert_eq!(cache.index.get(&entry.key), Some(&at));
            }
        }
    }
}
