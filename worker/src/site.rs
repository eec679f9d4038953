//! What is served, and the decision what to answer. [`Site::answer`] is the list of decisions, read top to bottom.
//!
//! The site owns the root, the cache of open files and the scratch memory that paths are decoded into. It never
//! touches a socket, knows nothing of connections, and does not wait for a disk: what would have to wait is
//! handed back as an [`Opening`](opening::Opening), and what came of it is taken in by [`Site::admit`].

pub mod allowance;
mod answer;
pub mod cache;
mod completing;
pub mod digest;
mod digested;
pub mod directory;
pub mod fields;
pub mod heads;
pub mod listing;
mod locate;
pub mod making;
pub mod manifest;
pub mod missing;
pub mod opening;
pub mod pages;
pub mod plan;
pub mod release;
pub mod representation;
pub mod residency;
pub mod resolve;
pub mod resource;
pub mod routes;
pub mod sharing;
pub mod stamp;
mod trees;
mod wanted;

use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use protocol::http1::head::Expectation;
use protocol::target::{self, RequestTarget};
use protocol::{Method, RequestHead, Status};

use crate::clock::Clock;
use crate::cold::Task;
use crate::decision::{self, decided};
use crate::fault::Fault;
use crate::parts::Boundaries;
use crate::settings::SiteSettings;
use allowance::Allowance;
pub use answer::Answer;
use answer::select;
use cache::{Cache, Hit};
pub use locate::{Finding, Found};
use locate::{Located, NOT_FOUND};
use missing::Missing;
use opening::Wanted;
use release::{Release, Releases};
use representation::Representation;
use resolve::{Obstacle, Patience};
use resource::{Offer, Resource};
use trees::Trees;

/// How long a file is kept open that nobody asks for.
const UNUSED_MS: u64 = 60_000;

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

/// The files below the root, and below those of virtual hosts.
#[derive(Debug)]
pub struct Site {
    settings: SiteSettings,
    trees: Trees,
    patience: Patience,
    cache: Cache,
    missing: Missing,
    fault: Fault,
    /// The decoded path, then also the name of the file that was found there. Scratch.
    path: Vec<u8>,
    /// Bytes of the path without that name.
    path_bytes: usize,
    /// What the path is to name.
    wanted: Wanted,
    /// The key in the cache. Scratch.
    key: Vec<u8>,
    /// The path that was asked for, where a rule has put another one in its place. Scratch.
    routed: Vec<u8>,
    /// What has to be done before the last request can be answered, unless it is to open what is wanted.
    errand: Option<Box<Task>>,
    /// What is made takes its memory from this.
    allowance: Arc<Allowance>,
    /// Whether the operator wants any fields, or there are some to be put away.
    has_fields: bool,
    /// What the last refusal hung on, as `Vary` has it, until it is put out.
    varies: &'static str,
    extras: Extras,
}

/// What goes with an answer besides a representation.
#[derive(Debug, Default)]
pub struct Extras {
    /// Where a redirect leads, percent-encoded.
    pub location: Vec<u8>,
    /// Field lines that no representation brings with it.
    pub fields: BytesMut,
    /// What stands between several parts of a file.
    pub boundaries: Boundaries,
}

impl Site {
    /// A site with nothing in its cache, of these releases. With [`Patience::MayWait`] it opens everything itself.
    #[must_use]
    pub fn new(settings: SiteSettings, releases: &Releases, patience: Patience) -> Self {
        Self {
            trees: Trees::new(&settings, releases),
            patience,
            cache: Cache::new(settings.open_files_max, settings.memory_bytes_max, settings.check_interval_ms),
            missing: Missing::new(settings.check_interval_ms),
            fault: Fault::from_environment(),
            path: Vec::new(),
            path_bytes: 0,
            wanted: Wanted::File,
            key: Vec::new(),
            routed: Vec::new(),
            errand: None,
            allowance: Allowance::new(
                settings.lent_bytes_max.saturating_add(settings.memory_bytes_max as u64),
            ),
            has_fields: !settings.plan.fields.is_empty(),
            varies: "",
            extras: Extras::default(),
            settings,
        }
    }

    /// Serves another release from now on, and forgets what was cached of the old one. The root is number 0, the
    /// virtual hosts have the others.
    pub fn replace_release(&mut self, number: usize, release: Arc<Release>) {
        self.cache.remove_all(self.trees.replace(number, release));
        self.missing.clear();
    }

    /// Whether nothing is open that [`Site::tidy`] may close.
    #[must_use]
    pub fn is_tidy(&self) -> bool {
        self.cache.is_empty()
    }

    /// Closes files that nobody has asked for lately, and tells how many.
    pub fn tidy(&mut self, now_ms: u64) -> usize {
        // What is in use is checked at every interval, and was at the last one.
        let unused_ms = UNUSED_MS.max(self.settings.check_interval_ms.saturating_mul(2));
        self.cache.give_up_unused(now_ms.saturating_sub(unused_ms))
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
        let answer = self.decide(asked)?;
        if self.has_fields || matches!(answer, Answer::Refusal(_)) {
            return self.complete(answer, asked);
        }
        Ok(answer)
    }

    /// What was decided elsewhere to say to a request, as that tree would say it that the request is for.
    ///
    /// # Errors
    /// As [`Site::answer`].
    #[cold]
    pub fn answer_as_decided(&mut self, answer: Answer, asked: &Asked<'_>) -> Result<Answer, Box<Task>> {
        self.trees.choose(asked.head.authority);
        self.complete(answer, asked)
    }

    /// Adds to an answer what the operator wants of it: the page of an error, and fields.
    #[inline(never)]
    fn complete(&mut self, answer: Answer, asked: &Asked<'_>) -> Result<Answer, Box<Task>> {
        let answer = match answer {
            Answer::Refusal(status) => self.page(status, asked)?,
            answer => answer,
        };
        if self.has_fields {
            self.put_fields(&answer, asked.head);
        }
        Ok(answer)
    }

    /// The answer to a request that nobody has the time for.
    #[cold]
    pub fn refuse(&mut self, status: Status, head: &RequestHead<'_>) -> Answer {
        let answer = Answer::Refusal(status);
        if self.has_fields {
            self.put_fields(&answer, head);
        }
        answer
    }

    fn decide(&mut self, asked: &Asked<'_>) -> Result<Answer, Box<Task>> {
        let head = asked.head;
        self.trees.choose(head.authority);
        if head.expectation == Expectation::Unknown {
            decided!("expect", "the client expects what nobody here can do");
            return Ok(Answer::Refusal(Status::ExpectationFailed));
        }
        if !head.method.is_retrieval() {
            return Ok(self.answer_without_file(head));
        }
        let RequestTarget::Origin { path, .. } = head.target else {
            decided!("target", "there is no path in it");
            return Ok(Answer::Refusal(Status::BadRequest));
        };
        self.fault.strike(path);
        // The common request is byte for byte one that was answered before: it is looked up as it is, undecoded.
        let key = self.trees.key_of(path, &mut self.key);
        let is_missing = match self.cache.get(key, asked.clock.now_ms()) {
            Some(Hit::Fresh(resource)) => match self.answer_fresh(&resource, path, head) {
                Some(answer) => return Ok(answer),
                None => false,
            },
            Some(Hit::Stale(_)) => false,
            None => self.missing.has(key, asked.clock.now_ms()),
        };
        let located = match if is_missing { Err(NOT_FOUND) } else { self.locate(path, asked) } {
            Err(NOT_FOUND) => self.locate_instead(asked),
            located => located,
        };
        match located {
            Ok(Located::File(representation)) => Ok(select_and_tell(head, representation)),
            Ok(Located::Directory) => {
                decided!("directory", "redirected to the path with a slash behind it");
                self.locate_directory(head.target);
                Ok(Answer::Redirect(Status::MovedPermanently))
            }
            Ok(Located::Elsewhere(status)) => Ok(Answer::Redirect(status)),
            Err(Obstacle::Refused(status)) => Ok(Answer::Refusal(status)),
            Err(Obstacle::Cold) => Err(self.task(asked.clock)),
        }
    }

    /// The answer from a fresh entry, if that has what the client gets and can be believed.
    fn answer_fresh(&mut self, resource: &Resource, path: &[u8], head: &RequestHead<'_>) -> Option<Answer> {
        let Offer::Representation(representation) = resource.choose(&head.fields) else { return None };
        let answer = select(head, representation);
        self.is_current(&answer, path).then_some(answer)
    }

    /// Whether an answer from a fresh entry may be given: it is all in memory, or its content will be what its head
    /// says.
    fn is_current(&mut self, answer: &Answer, path: &[u8]) -> bool {
        match answer {
            Answer::Whole(representation) | Answer::Parts(representation, _) => representation.is_intact(),
            Answer::Part(representation, part) => {
                if representation.in_memory(part.first(), part.len()).is_some() {
                    return true;
                }
                let is_intact = representation.is_intact();
                if is_intact && representation.is_worth_holding(part.len()) {
                    let key = self.trees.key_of(path, &mut self.key);
                    self.cache.hold(key, representation, &self.allowance);
                }
                is_intact
            }
            _ => true,
        }
    }

    /// A target that can name nothing is refused whatever the method; otherwise the method decides, but for rules.
    fn answer_without_file(&mut self, head: &RequestHead<'_>) -> Answer {
        if let RequestTarget::Origin { path, .. } = head.target {
            match target::decode_path(path, &mut self.path) {
                // What is not offered here may be where the client is sent.
                Ok(decoded) if head.method == Method::NotAllowed => {
                    if let Some(status) = self.redirect(&decoded, head.target) {
                        return Answer::Redirect(status);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    decided!("path", "{error}");
                    return Answer::Refusal(error.status());
                }
            }
        }
        decided!("method", "no file is looked for");
        match head.method {
            Method::Options => Answer::Options,
            Method::NotAllowed | Method::Connect => Answer::Refusal(Status::MethodNotAllowed),
            Method::Get | Method::Head | Method::Unknown => Answer::Refusal(Status::NotImplemented),
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

/// The answer that [`select`] gives, told to who listens.
fn select_and_tell(head: &RequestHead<'_>, representation: Rc<Representation>) -> Answer {
    let told = decision::is_told().then(|| Rc::clone(&representation));
    let answer = select(head, representation);
    if let Some(representation) = told {
        decision::tell_selection(head, &representation, &answer);
    }
    answer
}
