//! What is served, and the decision what to answer. [`Site::answer`] is the list of decisions, read top to bottom.
//!
//! The site owns the root, the cache of open files and the scratch memory that paths are decoded into. It never
//! touches a socket, knows nothing of connections, and does not wait for a disk: what would have to wait is
//! handed back as an [`Opening`], and what came of it is taken in by [`Site::admit`].

pub mod cache;
pub mod listing;
pub mod missing;
pub mod opening;
pub mod representation;
pub mod residency;
pub mod resolve;

use std::rc::Rc;
use std::sync::Arc;

use protocol::conditional::{self, Outcome};
use protocol::http1::head::Expectation;
use protocol::range::{self, ByteRange, Selection};
use protocol::target::{self, DecodedPath, RequestTarget};
use protocol::{Method, Name, RequestHead, Status};

use crate::clock::Clock;
use crate::fault::Fault;
use crate::settings::SiteSettings;
use cache::{Cache, Hit};
use missing::Missing;
use opening::{Opened, Opener, Opening};
use representation::Representation;
use resolve::{Obstacle, Patience, Root};

/// How long a file is kept open that nobody asks for.
const UNUSED_MS: u64 = 60_000;
/// How often that is looked after.
const TIDY_MS: u64 = 10_000;

/// What to say to a request.
#[derive(Debug)]
pub enum Answer<'s> {
    /// 200 with the whole representation.
    Whole(Rc<Representation>),
    /// 206 with a part of it.
    Part(Rc<Representation>, ByteRange),
    /// 304: the client has it.
    NotModified(Rc<Representation>),
    /// 416: it has no such part.
    RangeNotSatisfiable(Rc<Representation>),
    /// 301 to this location, percent-encoded.
    Redirect(&'s [u8]),
    /// 204 with what is allowed.
    Options,
    /// An error page.
    Refusal(Status),
}

/// The files below one root.
#[derive(Debug)]
pub struct Site {
    settings: SiteSettings,
    opener: Opener,
    patience: Patience,
    cache: Cache,
    missing: Missing,
    tidied_ms: u64,
    fault: Fault,
    /// The decoded path, then also the name of an index file in it. Scratch.
    path: Vec<u8>,
    /// The key in the cache where the path as it was asked for cannot be it. Scratch.
    key: Vec<u8>,
    /// The location of a redirect. Scratch.
    location: Vec<u8>,
}

/// Where a path led.
#[derive(Clone, Debug)]
pub enum Located {
    /// To a file.
    File(Rc<Representation>),
    /// To a directory, though it asked for a file.
    Directory,
}

impl Site {
    /// A site with nothing in its cache. With [`Patience::MayWait`] it opens everything itself.
    #[must_use]
    pub fn new(settings: SiteSettings, root: Arc<Root>, patience: Patience) -> Self {
        Self {
            opener: Opener::new(root, &settings.index),
            patience,
            cache: Cache::new(settings.open_files_max, settings.memory_bytes_max, settings.check_interval_ms),
            missing: Missing::new(settings.check_interval_ms),
            tidied_ms: 0,
            fault: Fault::from_environment(),
            path: Vec::new(),
            key: Vec::new(),
            location: Vec::new(),
            settings,
        }
    }

    /// Serves another tree from now on, and forgets what was cached of the old one.
    pub fn replace_root(&mut self, root: Arc<Root>) {
        self.opener.replace_root(root);
        self.cache.clear();
        self.missing.clear();
    }

    /// How long what is known of a file is believed.
    #[must_use]
    pub const fn check_interval_ms(&self) -> u64 {
        self.settings.check_interval_ms
    }

    /// How long the loop may sleep before [`Site::tidy`] has something to do; `None` is for ever.
    #[must_use]
    pub fn timeout_ms(&self, now_ms: u64) -> Option<u64> {
        (!self.cache.is_empty()).then(|| (self.tidied_ms + TIDY_MS).saturating_sub(now_ms))
    }

    /// Closes files that nobody has asked for lately. Costs a comparison until it is time for it.
    pub fn tidy(&mut self, now_ms: u64) {
        if now_ms >= self.tidied_ms + TIDY_MS {
            self.tidied_ms = now_ms;
            // What is in use is checked at every interval, and was at the last one.
            let unused_ms = UNUSED_MS.max(self.settings.check_interval_ms.saturating_mul(2));
            self.cache.give_up_unused(now_ms.saturating_sub(unused_ms));
        }
    }

    /// Whether the directory that is served has been deleted, so that whatever stands at its path now should be.
    #[must_use]
    pub fn is_root_deleted(&self) -> bool {
        self.opener.is_root_deleted()
    }

    /// Decides what to say to a request.
    ///
    /// # Errors
    /// What has to be opened first by somebody who may wait.
    pub fn answer(&mut self, head: &RequestHead<'_>, clock: &Clock) -> Result<Answer<'_>, Box<Opening>> {
        if head.expectation == Expectation::Unknown {
            return Ok(Answer::Refusal(Status::ExpectationFailed));
        }
        if !head.method.is_retrieval() {
            return Ok(self.answer_without_file(head));
        }
        let RequestTarget::Origin { path, .. } = head.target else {
            return Ok(Answer::Refusal(Status::BadRequest));
        };
        self.fault.strike(path);
        match self.locate(path, clock) {
            Ok(located) => Ok(self.answer_located(head, Ok(located))),
            Err(Obstacle::Refused(status)) => Ok(Answer::Refusal(status)),
            Err(Obstacle::Cold) => Err(Box::new(self.opening(path, clock))),
        }
    }

    /// A target that can name nothing is refused whatever the method; otherwise the method decides.
    fn answer_without_file(&mut self, head: &RequestHead<'_>) -> Answer<'static> {
        if let RequestTarget::Origin { path, .. } = head.target
            && let Err(error) = target::decode_path(path, &mut self.path)
        {
            return Answer::Refusal(error.status());
        }
        match head.method {
            Method::Options => Answer::Options,
            Method::NotAllowed | Method::Connect => Answer::Refusal(Status::MethodNotAllowed),
            Method::Get | Method::Head | Method::Unknown => Answer::Refusal(Status::NotImplemented),
        }
    }

    /// Decides what to say to a request when it is known where its path led.
    pub fn answer_located(&mut self, head: &RequestHead<'_>, located: Result<Located, Status>) -> Answer<'_> {
        match located {
            Ok(Located::File(representation)) => select(head, representation),
            Ok(Located::Directory) => Answer::Redirect(self.directory_location(head.target)),
            Err(status) => Answer::Refusal(status),
        }
    }

    /// Takes in what was opened elsewhere, so that the next request finds it.
    ///
    /// # Errors
    /// The status to refuse the request with, as it was found elsewhere.
    pub fn admit(
        &mut self,
        opening: &Opening,
        opened: Result<Opened, Status>,
        clock: &Clock,
    ) -> Result<Located, Status> {
        let located = match opened {
            Ok(Opened::File(representation)) => Located::File(Rc::from(representation)),
            Ok(Opened::Directory | Opened::Unchanged) => Located::Directory,
            Err(status) => {
                self.cache.remove(&opening.key);
                return Err(status);
            }
        };
        if let Located::File(representation) = &located
            && Arc::ptr_eq(opening.opener.root(), self.opener.root())
        {
            self.cache.insert(&opening.key, Rc::clone(representation), clock.now_ms());
        }
        Ok(located)
    }

    fn opening(&mut self, path: &[u8], clock: &Clock) -> Opening {
        // The index names that were tried have to go.
        let decoded = target::decode_path(path, &mut self.path);
        Opening {
            key: self.key.as_slice().into(),
            path: self.path.clone(),
            is_directory: decoded.is_ok_and(|decoded| decoded.is_directory),
            unix_s: clock.unix_s(),
            opener: self.opener.clone(),
        }
    }

    /// The common request is byte for byte one that was answered before: it is looked up as it is, undecoded.
    fn locate(&mut self, path: &[u8], clock: &Clock) -> Result<Located, Obstacle> {
        match self.cache.get(path, clock.now_ms()) {
            Some(Hit::Fresh(representation)) if representation.is_intact() => {
                Ok(Located::File(representation))
            }
            None if self.missing.has(path, clock.now_ms()) => Err(Obstacle::Refused(Status::NotFound)),
            _ => {
                let located = self.locate_decoded(path, clock);
                if matches!(located, Err(Obstacle::Refused(Status::NotFound))) {
                    self.missing.insert(path, clock.now_ms());
                }
                located
            }
        }
    }

    fn locate_decoded(&mut self, raw: &[u8], clock: &Clock) -> Result<Located, Obstacle> {
        let decoded =
            target::decode_path(raw, &mut self.path).map_err(|error| Obstacle::Refused(error.status()))?;
        if decoded.is_hidden && !self.settings.hidden {
            return Err(Obstacle::Refused(Status::NotFound));
        }
        self.make_key(raw, &decoded);
        let known = match self.cache.get(&self.key, clock.now_ms()) {
            Some(Hit::Fresh(representation)) if representation.is_intact() => {
                return Ok(Located::File(representation));
            }
            Some(Hit::Stale(representation)) => Some(representation),
            _ => None,
        };
        let opened = self.opener.open(
            &mut self.path,
            decoded.is_directory,
            known.as_deref(),
            clock.unix_s(),
            self.patience,
        );
        match (opened, known) {
            (Ok(Opened::Unchanged), Some(representation)) => {
                self.cache.confirm(&self.key, clock.now_ms());
                Ok(Located::File(representation))
            }
            (Ok(Opened::File(representation)), _) => {
                let representation: Rc<Representation> = Rc::from(representation);
                self.cache.insert(&self.key, Rc::clone(&representation), clock.now_ms());
                Ok(Located::File(representation))
            }
            (Err(Obstacle::Cold), _) => Err(Obstacle::Cold),
            (opened, _) => {
                self.cache.remove(&self.key);
                opened.map(|_| Located::Directory)
            }
        }
    }

    /// The key is the path as asked for, if that is also how it is decoded. Any other spelling shares one key
    /// that begins with NUL, as no path does, so that no spelling can ever meet another path's entry.
    fn make_key(&mut self, raw: &[u8], decoded: &DecodedPath) {
        self.key.clear();
        self.key.push(0);
        self.key.push(b'/');
        self.key.extend_from_slice(&self.path);
        if decoded.is_directory && !self.path.is_empty() {
            self.key.push(b'/');
        }
        if self.key.get(1..) == Some(raw) {
            self.key.remove(0);
        }
    }

    /// The decoded path, encoded again, with a slash behind it. It begins with exactly one slash, so no client
    /// can take its first segment for a host.
    fn directory_location(&mut self, target: RequestTarget<'_>) -> &[u8] {
        self.location.clear();
        self.location.push(b'/');
        let RequestTarget::Origin { path, query } = target else { return &self.location };
        if target::decode_path(path, &mut self.path).is_err() {
            return &self.location;
        }
        target::encode_path(&self.path, &mut self.location);
        self.location.push(b'/');
        if let Some(query) = query {
            self.location.push(b'?');
            target::encode_query(query, &mut self.location);
        }
        &self.location
    }
}

/// Preconditions first, then ranges: RFC 9110 §13.2.2.
fn select(head: &RequestHead<'_>, representation: Rc<Representation>) -> Answer<'static> {
    match conditional::evaluate(&head.fields, representation.validators()) {
        Outcome::Proceed => {}
        Outcome::NotModified => return Answer::NotModified(representation),
        Outcome::PreconditionFailed => return Answer::Refusal(Status::PreconditionFailed),
    }
    let range = head.fields.only(Name::Range).filter(|_| head.method == Method::Get);
    let Some(range) = range.filter(|_| conditional::range_applies(&head.fields, representation.validators()))
    else {
        return Answer::Whole(representation);
    };
    match range::select(range, representation.length()) {
        Selection::Whole => Answer::Whole(representation),
        Selection::Part(part) => Answer::Part(representation, part),
        Selection::Unsatisfiable => Answer::RangeNotSatisfiable(representation),
    }
}
