//! What is served, and the decision what to answer. [`Site::answer`] is the list of decisions, read top to bottom.
//!
//! The site owns the root, the cache of open files and the scratch memory that paths are decoded into. It never
//! touches a socket, knows nothing of connections, and does not wait for a disk: what would have to wait is
//! handed back as an [`Opening`], and what came of it is taken in by [`Site::admit`].

pub mod allowance;
pub mod cache;
pub mod fields;
pub mod heads;
pub mod listing;
mod locate;
pub mod making;
pub mod missing;
pub mod opening;
pub mod pages;
pub mod representation;
pub mod residency;
pub mod resolve;
pub mod resource;
pub mod stamp;

use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use protocol::conditional::{self, Outcome};
use protocol::http1::head::Expectation;
use protocol::range::{self, ByteRange, Parts, Selection, SeveralSelection};
use protocol::target::{self, RequestTarget};
use protocol::{Method, Name, RequestHead, Status};

use crate::clock::Clock;
use crate::cold::Task;
use crate::fault::Fault;
use crate::parts::Boundaries;
use crate::settings::SiteSettings;
use allowance::Allowance;
use cache::{Cache, Hit};
use fields::Paths;
pub use locate::{Finding, Found};
use locate::{Located, NOT_FOUND};
use making::{LENT_BYTES_MAX, Making};
use missing::Missing;
use opening::{Opener, Wanted};
use pages::Pages;
use representation::Representation;
use resolve::{Obstacle, Patience, Root};
use resource::{Offer, Resource};

/// How long a file is kept open that nobody asks for.
const UNUSED_MS: u64 = 60_000;
/// How often that is looked after.
const TIDY_MS: u64 = 10_000;

/// What to say to a request.
#[derive(Debug)]
pub enum Answer {
    /// 200 with the whole representation.
    Whole(Rc<Representation>),
    /// 206 with a part of it.
    Part(Rc<Representation>, ByteRange),
    /// 206 with several of them.
    Parts(Rc<Representation>, Box<Parts>),
    /// 304: the client has it.
    NotModified(Rc<Representation>),
    /// 416: it has no such part.
    RangeNotSatisfiable(Rc<Representation>),
    /// A redirect to [`Site::location`].
    Redirect(Status),
    /// 204 with what is allowed.
    Options,
    /// An error, with the page that the operator wrote for it.
    Page(Status, Rc<Representation>),
    /// An error, with a page of ours.
    Refusal(Status),
}

/// A request, as far as it decides about the answer.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    /// Its head.
    pub head: &'r RequestHead<'r>,
    /// When it came.
    pub clock: &'r Clock,
    /// What helpers have found out for it, in the order in which they were asked.
    pub findings: &'r [Finding],
}

/// The files below one root.
#[derive(Debug)]
pub struct Site {
    settings: SiteSettings,
    opener: Opener,
    patience: Patience,
    cache: Cache,
    missing: Missing,
    pages: Pages,
    tidied_ms: u64,
    fault: Fault,
    /// The decoded path, then also the name of the file that was found there. Scratch.
    path: Vec<u8>,
    /// Bytes of the path without that name.
    path_bytes: usize,
    /// What the path is to name.
    wanted: Wanted,
    /// The key in the cache. Scratch.
    key: Vec<u8>,
    /// What has to be made before the last request can be answered.
    making: Option<Box<Making>>,
    /// What that takes its memory from.
    allowance: Arc<Allowance>,
    /// Whether the operator wants any fields.
    has_fields: bool,
    extras: Extras,
}

/// What goes with an answer besides a representation.
#[derive(Debug, Default)]
pub struct Extras {
    /// Where a redirect leads, percent-encoded.
    pub location: Vec<u8>,
    /// Field lines of the operator's.
    pub fields: BytesMut,
    /// What stands between several parts of a file.
    pub boundaries: Boundaries,
}

impl Site {
    /// A site with nothing in its cache. With [`Patience::MayWait`] it opens everything itself.
    #[must_use]
    pub fn new(settings: SiteSettings, root: Arc<Root>, patience: Patience) -> Self {
        Self {
            opener: Opener::new(root, Arc::clone(&settings.plan)),
            patience,
            cache: Cache::new(settings.open_files_max, settings.memory_bytes_max, settings.check_interval_ms),
            missing: Missing::new(settings.check_interval_ms),
            pages: Pages::new(&settings.error_pages, settings.check_interval_ms),
            tidied_ms: 0,
            fault: Fault::from_environment(),
            path: Vec::new(),
            path_bytes: 0,
            wanted: Wanted::File,
            key: Vec::new(),
            making: None,
            allowance: Allowance::new(LENT_BYTES_MAX.saturating_add(settings.memory_bytes_max as u64)),
            has_fields: !settings.plan.fields.is_empty(),
            extras: Extras::default(),
            settings,
        }
    }

    /// Serves another tree from now on, and forgets what was cached of the old one.
    pub fn replace_root(&mut self, root: Arc<Root>) {
        self.opener.replace_root(root);
        self.cache.clear();
        self.missing.clear();
        self.pages.clear();
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

    /// What goes with the last answer.
    #[must_use]
    pub const fn extras(&self) -> &Extras {
        &self.extras
    }

    /// Decides what to say to a request.
    ///
    /// # Errors
    /// What has to be done first by somebody who may wait. When it has been, the request is to be asked about again,
    /// with what was found.
    pub fn answer(&mut self, asked: &Asked<'_>) -> Result<Answer, Box<Task>> {
        let answer = match self.decide(asked)? {
            Answer::Refusal(status) => self.page(status, asked)?,
            answer => answer,
        };
        self.put_fields(&answer, asked.head.target);
        Ok(answer)
    }

    /// The answer to a request that nobody has the time to decide about.
    pub fn refuse(&mut self, status: Status, target: RequestTarget<'_>) -> Answer {
        let answer = Answer::Refusal(status);
        self.put_fields(&answer, target);
        answer
    }

    /// A representation brings its fields with it; anything else gets them here.
    fn put_fields(&mut self, answer: &Answer, target: RequestTarget<'_>) {
        if !self.has_fields {
            return;
        }
        let fields = &mut self.extras.fields;
        fields.clear();
        let (Answer::Redirect(_) | Answer::Refusal(_) | Answer::Options | Answer::RangeNotSatisfiable(_)) =
            answer
        else {
            return;
        };
        self.path.clear();
        if let RequestTarget::Origin { path, .. } = target {
            // Of a path that means nothing, as much as was understood.
            let _ = target::decode_path(path, &mut self.path);
        }
        self.settings.plan.fields.append_for_page(&Paths { asked: &self.path, found: &self.path }, fields);
    }

    fn decide(&mut self, asked: &Asked<'_>) -> Result<Answer, Box<Task>> {
        let head = asked.head;
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
        // The common request is byte for byte one that was answered before: it is looked up as it is, undecoded.
        let is_missing = match self.cache.get(path, asked.clock.now_ms()) {
            Some(Hit::Fresh(resource)) => match self.answer_fresh(&resource, path, head) {
                Some(answer) => return Ok(answer),
                None => false,
            },
            Some(Hit::Stale(_)) => false,
            None => self.missing.has(path, asked.clock.now_ms()),
        };
        let located = match if is_missing { Err(NOT_FOUND) } else { self.locate(path, asked) } {
            Err(NOT_FOUND) => self.locate_instead(asked),
            located => located,
        };
        match located {
            Ok(Located::File(representation)) => Ok(select(head, representation)),
            Ok(Located::Directory) => {
                self.locate_directory(head.target);
                Ok(Answer::Redirect(Status::MovedPermanently))
            }
            Err(Obstacle::Refused(status)) => Ok(Answer::Refusal(status)),
            Err(Obstacle::Cold) => Err(self.task(asked.clock)),
        }
    }

    /// The answer from a fresh entry, if that has what the client gets and can be believed.
    fn answer_fresh(&mut self, resource: &Resource, key: &[u8], head: &RequestHead<'_>) -> Option<Answer> {
        let Offer::Representation(representation) = resource.choose(&head.fields) else { return None };
        let answer = select(head, representation);
        self.is_current(&answer, key).then_some(answer)
    }

    /// Whether an answer from a fresh entry may be given: it is all in memory, or its content will be what its head
    /// says.
    fn is_current(&mut self, answer: &Answer, key: &[u8]) -> bool {
        match answer {
            Answer::Whole(representation) | Answer::Parts(representation, _) => representation.is_intact(),
            Answer::Part(representation, part) => {
                if representation.in_memory(part.first(), part.len()).is_some() {
                    return true;
                }
                let is_intact = representation.is_intact();
                if is_intact && representation.is_worth_holding(part.len()) {
                    self.cache.hold(key, representation);
                }
                is_intact
            }
            _ => true,
        }
    }

    /// A target that can name nothing is refused whatever the method; otherwise the method decides.
    fn answer_without_file(&mut self, head: &RequestHead<'_>) -> Answer {
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

    /// An error with the operator's page, if that is there.
    fn page(&mut self, status: Status, asked: &Asked<'_>) -> Result<Answer, Box<Task>> {
        let plain = Ok(Answer::Refusal(status));
        let now_ms = asked.clock.now_ms();
        if !self.pages.name_into(status, now_ms, &mut self.path, &mut self.key) {
            return plain;
        }
        match self.locate_by_key(Wanted::ErrorPage, asked) {
            Ok(Located::File(representation)) => Ok(Answer::Page(status, representation)),
            Err(Obstacle::Cold) => Err(self.task(asked.clock)),
            Err(NOT_FOUND) | Ok(Located::Directory) if self.is_of_this_root(asked) => {
                self.pages.is_missing(status, now_ms);
                plain
            }
            Err(Obstacle::Refused(_)) | Ok(Located::Directory) => plain,
        }
    }

    /// The decoded path, encoded again, with a slash behind it. It begins with exactly one slash, so no client
    /// can take its first segment for a host.
    fn locate_directory(&mut self, target: RequestTarget<'_>) {
        let location = &mut self.extras.location;
        location.clear();
        location.push(b'/');
        let RequestTarget::Origin { path, query } = target else { return };
        if target::decode_path(path, &mut self.path).is_err() {
            return;
        }
        target::encode_path(&self.path, location);
        location.push(b'/');
        if let Some(query) = query {
            location.push(b'?');
            target::encode_query(query, location);
        }
    }
}

/// Preconditions first, then ranges: RFC 9110 §13.2.2.
fn select(head: &RequestHead<'_>, representation: Rc<Representation>) -> Answer {
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
        Selection::Whole => select_several(range, representation),
        Selection::Part(part) => Answer::Part(representation, part),
        Selection::Unsatisfiable => Answer::RangeNotSatisfiable(representation),
    }
}

/// What to answer to a `Range` that is not one range.
#[cold]
#[inline(never)]
fn select_several(range: &[u8], representation: Rc<Representation>) -> Answer {
    match range::select_several(range, representation.length()) {
        SeveralSelection::Whole => Answer::Whole(representation),
        SeveralSelection::Part(part) => Answer::Part(representation, part),
        SeveralSelection::Parts(parts) => Answer::Parts(representation, Box::new(parts)),
        SeveralSelection::Unsatisfiable => Answer::RangeNotSatisfiable(representation),
    }
}
