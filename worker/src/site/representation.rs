//! A file as it is served: its descriptor, its length and validators, the beginnings of its response heads, and
//! the bytes themselves when there are few, or when parts of it are asked for again and again. All of it is taken
//! from one descriptor, so a length never meets the bytes of another version.

use std::cell::{Cell, OnceCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use protocol::Status;
use protocol::coding::Coding;
use protocol::validator::Validators;
use rustix::fs::Stat;
use rustix::io::Errno;

use super::allowance::{Allowance, Share};
use super::digest::{self, Digests, TagPolicy};
use super::heads::{Description, Heads, Origin, Role, SETTLED_AFTER_S};
use super::residency::{self, Residency};
use super::resolve::{Obstacle, Patience};
use super::stamp::Stamp;
use crate::cold::{Helpers, SharedFile};
use crate::throttle;

/// Content up to this size is sent from memory, head and body in one call; beyond it sendfile(2) costs less.
pub const MEMORY_CONTENT_BYTES_MAX: u64 = 16 << 10;
/// Files up to this size are held in memory when small parts of them are asked for often enough.
const HELD_FILE_BYTES_MAX: u64 = 256 << 10;
/// Files up to this size are asked for as a whole whether they are in memory, once a check interval.
const WARM_BYTES_MAX: u64 = 4 << 20;
/// How often a small file is read again that changes while it is being read.
const READ_ATTEMPTS: u32 = 3;

/// An open file, ready to be served.
#[derive(Debug)]
pub struct Representation {
    coding: Coding,
    /// Shared with the helper threads that read it.
    file: Arc<SharedFile>,
    residency: Residency,
    /// Whether all of it was seen to be in memory since it was last checked.
    is_warm: Cell<bool>,
    /// Whether a part of it was seen not to be. Then more may be on its way into memory, and until helpers have
    /// read it all nothing is sure.
    is_cold: Cell<bool>,
    stamp: Stamp,
    is_settled: bool,
    /// Whether its content lies in memory and nowhere else.
    is_made: bool,
    /// What its content takes of the memory that is shared by all such content, if it was made or is held.
    share: OnceCell<Share>,
    validators: Validators,
    /// All of the content: there from the beginning if it is small.
    memory: OnceCell<Bytes>,
    /// Bytes of small parts that were asked for while the content was not in `memory`.
    parts_bytes: Cell<u64>,
    heads: Heads,
}

impl Representation {
    /// Makes a representation of an open file. `is_local` says whether the file system is known to be.
    ///
    /// # Errors
    /// When the file cannot be read that has to be, or not without waiting.
    pub fn new(
        file: OwnedFd,
        stat: &Stat,
        description: &Description<'_>,
        is_local: bool,
        patience: Patience,
    ) -> Result<Self, Obstacle> {
        let residency = Residency::of(file.as_fd(), is_local);
        let (stamp, memory) = load(&file, Stamp::of(stat), residency, patience == Patience::MayWait)?;
        let digest = match description.tags {
            TagPolicy::Content(digests) if description.role == Role::Content => {
                digest_of(&file, stamp, memory.as_deref(), residency, description, digests, patience)?
            }
            _ => None,
        };
        let validators = description.validators(stamp, digest);
        Ok(Self {
            coding: description.coding,
            heads: Heads::new(description, &validators, stamp.size()),
            file: Arc::new(SharedFile::new(file)),
            residency,
            is_warm: Cell::new(false),
            is_cold: Cell::new(false),
            stamp,
            is_settled: stamp.touched_s().saturating_add(SETTLED_AFTER_S) <= description.unix_s,
            is_made: !matches!(description.origin, Origin::Found),
            share: OnceCell::new(),
            validators,
            memory: memory.map_or_else(OnceCell::new, OnceCell::from),
            parts_bytes: Cell::new(0),
        })
    }

    /// How the content is coded.
    #[must_use]
    pub const fn coding(&self) -> Coding {
        self.coding
    }

    /// Length of the content in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.stamp.size()
    }

    /// Entity tag and modification date.
    #[must_use]
    pub const fn validators(&self) -> &Validators {
        &self.validators
    }

    /// This part of the content, if it is to be sent from memory: it is there, and small.
    #[must_use]
    pub fn in_memory(&self, offset: u64, bytes: u64) -> Option<&[u8]> {
        if bytes > MEMORY_CONTENT_BYTES_MAX {
            return None;
        }
        let rest = self.memory.get()?.get(usize::try_from(offset).ok()?..)?;
        rest.get(..usize::try_from(bytes).ok()?)
    }

    /// Notes that a part was asked for which is not in memory. True once as much was asked for in small parts as
    /// the file is long: then it has cost as much as to hold the file would have, and goes on to.
    #[must_use]
    pub fn is_worth_holding(&self, part_bytes: u64) -> bool {
        let is_eligible = part_bytes <= MEMORY_CONTENT_BYTES_MAX && self.stamp.size() <= HELD_FILE_BYTES_MAX;
        if !is_eligible {
            return false;
        }
        let asked_bytes = self.parts_bytes.get() + part_bytes;
        let is_worth_it = asked_bytes >= self.stamp.size();
        // Should it not come to it, as much has to be asked for again.
        self.parts_bytes.set(if is_worth_it { 0 } else { asked_bytes });
        is_worth_it
    }

    /// Reads the content into memory, if it is all there without waiting, is what it was, and there is memory for it,
    /// which it takes for as long as anybody has it; whether it did. That a file is unchanged is seen only once it is
    /// settled.
    pub fn hold(&self, allowance: &Arc<Allowance>) -> bool {
        if !self.is_settled || !self.is_resident(0, self.stamp.size()) {
            return false;
        }
        let Some(share) = allowance.take(self.stamp.size()) else { return false };
        // What cannot be asked is trusted as much as it is for sendfile(2).
        let may_wait = self.residency == Residency::Mute;
        read_whole(&self.file, self.stamp.size(), may_wait).is_ok_and(|content| {
            content.len() as u64 == self.stamp.size()
                && self.is_intact()
                && self.memory.set(content).is_ok()
                && self.share.set(share).is_ok()
        })
    }

    /// The descriptor to send from.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The descriptor, for a helper thread to keep while it reads.
    #[must_use]
    pub fn shared_file(&self) -> Arc<SharedFile> {
        Arc::clone(&self.file)
    }

    /// Whether it is of that very file.
    #[must_use]
    pub fn is_of(&self, file: &Arc<SharedFile>) -> bool {
        Arc::ptr_eq(&self.file, file)
    }

    /// It was made, and takes that share of the memory for that.
    pub fn count_against(&self, share: Share) {
        let _ = self.share.set(share);
    }

    /// Lets helpers close the file, if that may have to wait, or takes its time because it frees the content.
    pub fn leave_closing_to(&mut self, helpers: &Arc<Helpers>) {
        let is_slow = self.residency == Residency::Distrusted || self.is_made;
        if let Some(file) = Arc::get_mut(&mut self.file).filter(|_| is_slow) {
            file.leave_closing_to(helpers);
        }
    }

    /// What tells this version of the file from another.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Whether this process may call sendfile(2) for the file itself, once the bytes are in memory.
    #[must_use]
    pub fn is_sent_by_kernel(&self) -> bool {
        self.residency != Residency::Distrusted
    }

    /// Whether this part of the file can be sent without waiting for a disk, as far as can be told.
    #[must_use]
    pub fn is_resident(&self, offset: u64, bytes: u64) -> bool {
        if self.residency == Residency::Distrusted {
            return false;
        }
        if self.is_cold.get() {
            if self.file.warm_bytes() < self.stamp.size() {
                return false;
            }
            self.is_cold.set(false);
            self.is_warm.set(self.stamp.size() <= WARM_BYTES_MAX);
        }
        if self.is_warm.get() {
            return true;
        }
        if self.stamp.size() <= WARM_BYTES_MAX && residency::is_resident(self.file(), 0, self.stamp.size()) {
            self.is_warm.set(true);
            return true;
        }
        let is_resident = residency::is_resident(self.file(), offset, bytes);
        if !is_resident {
            self.file.forget_warm();
            self.is_cold.set(true);
        }
        is_resident
    }

    /// Appends a small part of the file to `out`, if it is in memory and all there: reading it and sending it with
    /// its head costs less than having it sent. False, and nothing appended, if it is not.
    pub fn copy_now(&self, offset: u64, bytes: u64, out: &mut BytesMut) -> bool {
        if bytes > MEMORY_CONTENT_BYTES_MAX || self.residency != Residency::Probed {
            return false;
        }
        let start = out.len();
        let end = start + usize::try_from(bytes).unwrap_or(0);
        out.resize(end, 0);
        let Some(part) = out.get_mut(start..) else { return false };
        let is_whole = residency::read_now(self.file(), part, offset).is_ok_and(|read| read as u64 == bytes);
        if !is_whole {
            out.truncate(start);
        }
        is_whole
    }

    /// What was seen in memory may have left it by now.
    pub fn cool(&self) {
        self.is_warm.set(false);
    }

    /// What responses with it begin with.
    #[must_use]
    pub const fn heads(&self) -> &Heads {
        &self.heads
    }

    /// Bytes of memory that this representation holds. What was made lies nowhere else.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let made_bytes =
            if self.is_made { usize::try_from(self.stamp.size()).unwrap_or(usize::MAX) } else { 0 };
        made_bytes + self.memory.get().map_or(0, Bytes::len)
    }

    /// Whether `stat` shows the very version that this representation was made of. One that was made too soon
    /// after a modification is never sure of it.
    #[must_use]
    pub fn is_version(&self, stat: &Stat) -> bool {
        self.is_settled && self.stamp == Stamp::of(stat)
    }

    /// Whether `later` was made of the very version that this representation was made of.
    #[must_use]
    pub fn is_same_as(&self, later: &Self) -> bool {
        self.is_settled && self.stamp == later.stamp
    }

    /// Whether the whole content can be sent as what it was: from memory, or because the file behind the
    /// descriptor is unchanged. Where fstat(2) may wait, this is what the kernel remembers; whoever reads the file
    /// asks again.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        let stamp = match self.residency {
            _ if self.in_memory(0, self.stamp.size()).is_some() => return true,
            Residency::Distrusted => Stamp::remembered(self.file()),
            Residency::Probed | Residency::Mute => {
                rustix::fs::fstat(&*self.file).map(|stat| Stamp::of(&stat))
            }
        };
        stamp.is_ok_and(|stamp| stamp == self.stamp)
    }
}

/// The content of a small file, with the stamp that the file had both before and after it was read. A file that
/// will not hold still is sent from its descriptor like a large one.
fn load(
    file: &OwnedFd,
    mut stamp: Stamp,
    residency: Residency,
    may_wait: bool,
) -> Result<(Stamp, Option<Bytes>), Obstacle> {
    for _ in 0..READ_ATTEMPTS {
        if stamp.size() > MEMORY_CONTENT_BYTES_MAX {
            break;
        }
        let content = read_whole(file, stamp.size(), may_wait)?;
        let after = ask(file, residency)?;
        if after == stamp && content.len() as u64 == stamp.size() {
            return Ok((stamp, Some(content)));
        }
        stamp = after;
    }
    if residency == Residency::Distrusted {
        // Its length is promised before any of it is read.
        stamp = ask(file, residency)?;
    }
    Ok((stamp, None))
}

/// What the file is now.
fn ask(file: &OwnedFd, residency: Residency) -> Result<Stamp, Obstacle> {
    let stamp = match residency {
        Residency::Distrusted => Stamp::asked_for(file.as_fd()),
        Residency::Probed | Residency::Mute => rustix::fs::fstat(file).map(|stat| Stamp::of(&stat)),
    };
    stamp.map_err(read_failure)
}

/// The digest of this version of the file: what is known of it, or what comes of reading all of it. None if it has
/// become another version meanwhile.
fn digest_of(
    file: &OwnedFd,
    stamp: Stamp,
    memory: Option<&[u8]>,
    residency: Residency,
    description: &Description<'_>,
    digests: &Digests,
    patience: Patience,
) -> Result<Option<u128>, Obstacle> {
    let is_settled = |since_s: i64| since_s.saturating_add(SETTLED_AFTER_S) <= description.unix_s;
    // Sooner, its time may be that of another version, too.
    let listed = description.listed.filter(|line| line.is_about(stamp) && is_settled(stamp.modified().0));
    if let Some(known) = listed.map(|line| line.digest).or_else(|| digests.get(stamp)) {
        return Ok(Some(known));
    }
    if patience == Patience::Never {
        return Err(Obstacle::Cold);
    }
    let digest = match memory {
        Some(content) => digest::of(content),
        None => digest::of_file(file, stamp.size(), |_| ()).map_err(read_failure)?,
    };
    if memory.is_none() && ask(file, residency)? != stamp {
        return Ok(None);
    }
    if is_settled(stamp.touched_s()) {
        digests.put(stamp, digest);
    }
    Ok(Some(digest))
}

/// At most `size` bytes from the beginning of the file; fewer if it ends before.
fn read_whole(file: impl AsFd, size: u64, may_wait: bool) -> Result<Bytes, Obstacle> {
    let mut content = vec![0; usize::try_from(size).unwrap_or(0)];
    let mut filled = 0;
    while let Some(rest) = content.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let offset = filled as u64;
        let read = if may_wait {
            rustix::io::pread(&file, rest, offset)
        } else {
            residency::read_now(file.as_fd(), rest, offset)
        };
        match read {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN | Errno::OPNOTSUPP) if !may_wait => return Err(Obstacle::Cold),
            Err(errno) => return Err(read_failure(errno)),
        }
    }
    content.truncate(filled);
    Ok(content.into())
}

fn read_failure(error: Errno) -> Obstacle {
    throttle::FILES.error(&error, "cannot read a file that is served");
    Obstacle::Refused(Status::InternalServerError)
}

#[cfg(test)]
mod tests {
    use super::super::heads::Role;
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn open(path: &std::path::Path, unix_s: i64) -> Representation {
        let file: OwnedFd = fs::File::open(path).unwrap().into();
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
            unix_s,
        };
        Representation::new(file, &stat, &description, true, Patience::MayWait).unwrap()
    }

    fn now_s() -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        i64::try_from(since.as_secs()).unwrap()
    }

    #[test]
    fn small_files_are_held_in_memory_and_large_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for (size, is_small) in [(0, true), (16 << 10, true), ((16 << 10) + 1, false)] {
            fs::write(&path, vec![7; size]).unwrap();
            let representation = open(&path, now_s());
            assert_eq!(representation.memory.get().is_some(), is_small, "{size}");
            assert_eq!(representation.length(), size as u64);
        }
    }

    #[test]
    fn the_last_modification_is_never_in_the_future() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "x").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(86_400)).unwrap();
        let now_s = now_s();
        assert_eq!(open(&path, now_s).validators().last_modified_s, now_s);
        file.set_modified(SystemTime::UNIX_EPOCH - Duration::from_secs(86_400)).unwrap();
        let head = String::from_utf8(open(&path, now_s).heads().whole.to_vec()).unwrap();
        assert!(head.contains("Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), "{head}");
    }

    #[test]
    fn a_version_just_made_is_not_sure_of_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "x").unwrap();
        let stat = rustix::fs::stat(&path).unwrap();
        assert!(!open(&path, now_s()).is_version(&stat));
        assert!(open(&path, now_s() + 10).is_version(&stat));
    }

    #[test]
    fn a_date_is_a_strong_validator_once_its_second_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "x").unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        for (unix_s, is_strong) in
            [(999, false), (1_000, false), (1_001, false), (1_002, true), (5_000, true)]
        {
            assert_eq!(open(&path, unix_s).validators().is_date_strong, is_strong, "{unix_s}");
        }
    }

    #[test]
    fn a_change_behind_the_descriptor_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, vec![7; 20 << 10]).unwrap();
        let representation = open(&path, now_s());
        assert!(representation.is_intact());
        fs::File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
        assert!(!representation.is_intact());
    }

    #[test]
    fn a_file_is_worth_holding_once_as_much_was_asked_of_it_as_it_is_long() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, vec![7; 100_000]).unwrap();
        let representation = open(&path, now_s());
        let asked = [40_000, 16_000, 16_000, 16_000, 16_000, 16_000, 16_000, 10_000, 10_000, 16_000];
        let is_worth_it = asked.map(|bytes| representation.is_worth_holding(bytes));
        assert_eq!(is_worth_it.iter().position(|&is| is), Some(7), "40,000 bytes are no small part");
        assert!(!is_worth_it.ends_with(&[true]), "then it begins anew");
        fs::write(&path, vec![7; (256 << 10) + 1]).unwrap();
        let larger = open(&path, now_s());
        assert!((0..100).all(|_| !larger.is_worth_holding(16_000)));
    }

    #[test]
    fn only_a_file_that_is_surely_the_same_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, vec![7; 100_000]).unwrap();
        let allowance = Allowance::new(1 << 20);
        assert!(!open(&path, now_s()).hold(&allowance), "just written");
        let settled = open(&path, now_s() + 10);
        assert_eq!((settled.in_memory(0, 100), settled.memory_bytes()), (None, 0));
        assert!(!settled.hold(&Allowance::new(settled.length() - 1)), "no memory for it");
        assert!(settled.hold(&allowance));
        assert_eq!(allowance.free_bytes(), (1 << 20) - settled.length());
        assert_eq!(settled.memory_bytes(), 100_000);
        assert_eq!(settled.in_memory(99_990, 10), Some(&[7; 10][..]));
        assert_eq!(settled.in_memory(99_990, 11), None, "beyond the end");
        assert_eq!(settled.in_memory(0, 100_000), None, "large content is for sendfile(2)");
        let changed = open(&path, now_s() + 10);
        fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(!changed.hold(&allowance));
        assert_eq!(changed.in_memory(0, 100), None);
        assert!(!settled.is_intact(), "the whole would come from the file");
    }
}
