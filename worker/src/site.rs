//! What is served, and the decision what to answer. [`Site::answer`] is the list of decisions, read top to bottom.
//!
//! The site owns the root, the cache of open files and the scratch memory that paths are decoded into. It never
//! touches a socket and knows nothing of connections.

pub mod cache;
pub mod representation;
pub mod resolve;

use std::ffi::CStr;
use std::io;
use std::rc::Rc;

use protocol::conditional::{self, Outcome};
use protocol::http1::head::Expectation;
use protocol::range::{self, ByteRange, Selection};
use protocol::target::{self, DecodedPath, RequestTarget};
use protocol::{Method, Name, RequestHead, Status};

use crate::clock::Clock;
use crate::fault::Fault;
use crate::settings::SiteSettings;
use cache::{Cache, Hit};
use representation::Representation;
use resolve::{Found, Root};

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
    root: Root,
    cache: Cache,
    fault: Fault,
    /// The decoded path, then also the name of an index file in it. Scratch.
    path: Vec<u8>,
    /// The key in the cache where the path as it was asked for cannot be it. Scratch.
    key: Vec<u8>,
    /// The location of a redirect. Scratch.
    location: Vec<u8>,
}

/// Where a path led.
enum Located {
    File(Rc<Representation>),
    Directory,
}

impl Site {
    /// A site with nothing in its cache.
    #[must_use]
    pub fn new(settings: SiteSettings, root: Root) -> Self {
        Self {
            root,
            cache: Cache::new(settings.open_files_max, settings.memory_bytes_max, settings.check_interval_ms),
            fault: Fault::from_environment(),
            path: Vec::new(),
            key: Vec::new(),
            location: Vec::new(),
            settings,
        }
    }

    /// Opens the root anew and forgets what was cached. When that fails, all stays as it was.
    ///
    /// # Errors
    /// What [`Root::open`] fails with.
    pub fn reload(&mut self) -> io::Result<()> {
        self.root = Root::open(&self.settings.root, self.settings.symlinks)?;
        self.cache.clear();
        Ok(())
    }

    /// Decides what to say to a request.
    pub fn answer(&mut self, head: &RequestHead<'_>, clock: &Clock) -> Answer<'_> {
        match head.method {
            Method::Get | Method::Head => {}
            Method::Options => return Answer::Options,
            Method::NotAllowed | Method::Connect => return Answer::Refusal(Status::MethodNotAllowed),
            Method::Unknown => return Answer::Refusal(Status::NotImplemented),
        }
        if head.expectation == Expectation::Unknown {
            return Answer::Refusal(Status::ExpectationFailed);
        }
        let RequestTarget::Origin { path, query } = head.target else {
            return Answer::Refusal(Status::BadRequest);
        };
        self.fault.strike(path);
        match self.locate(path, clock) {
            Ok(Located::File(representation)) => select(head, representation),
            Ok(Located::Directory) => Answer::Redirect(self.directory_location(query)),
            Err(status) => Answer::Refusal(status),
        }
    }

    /// The common request is byte for byte one that was answered before: it is looked up as it is, undecoded.
    fn locate(&mut self, path: &[u8], clock: &Clock) -> Result<Located, Status> {
        match self.cache.get(path, clock.now_ms()) {
            Some(Hit::Fresh(representation)) if representation.is_intact() => {
                Ok(Located::File(representation))
            }
            _ => self.locate_decoded(path, clock),
        }
    }

    fn locate_decoded(&mut self, raw: &[u8], clock: &Clock) -> Result<Located, Status> {
        let decoded = target::decode_path(raw, &mut self.path).map_err(protocol::RequestError::status)?;
        if decoded.is_hidden && !self.settings.hidden {
            return Err(Status::NotFound);
        }
        self.make_key(raw, &decoded);
        let stale = match self.cache.get(&self.key, clock.now_ms()) {
            Some(Hit::Fresh(representation)) if representation.is_intact() => {
                return Ok(Located::File(representation));
            }
            Some(Hit::Stale(representation)) => Some(representation),
            _ => None,
        };
        let opened = self.open_file(&decoded, stale, clock);
        if !matches!(opened, Ok(Located::File(_))) {
            self.cache.remove(&self.key);
        }
        opened
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

    fn open_file(
        &mut self,
        decoded: &DecodedPath,
        stale: Option<Rc<Representation>>,
        clock: &Clock,
    ) -> Result<Located, Status> {
        let found = match self.root.only() {
            Some(only) if self.path.is_empty() => {
                self.path.extend_from_slice(only);
                self.resolve()?
            }
            Some(only) if decoded.is_directory || self.path != only => return Err(Status::NotFound),
            None if decoded.is_directory => self.resolve_index()?,
            _ => self.resolve()?,
        };
        match found {
            Found::Directory if decoded.is_directory => Err(Status::NotFound),
            Found::Directory => Ok(Located::Directory),
            Found::File(file, stat) => {
                if let Some(representation) = stale.filter(|stale| stale.is_version(&stat)) {
                    self.cache.confirm(&self.key, clock.now_ms());
                    return Ok(Located::File(representation));
                }
                let representation = Representation::new(file, &stat, &self.path, clock.unix_s())
                    .map_err(|error| read_failure(&error))?;
                let representation = Rc::new(representation);
                self.cache.insert(&self.key, Rc::clone(&representation), clock.now_ms());
                Ok(Located::File(representation))
            }
        }
    }

    /// Tries the index names in the directory that the path names. The path then names the file that was found.
    fn resolve_index(&mut self) -> Result<Found, Status> {
        let directory_bytes = self.path.len();
        for at in 0..self.settings.index.len() {
            self.path.truncate(directory_bytes);
            if directory_bytes > 0 {
                self.path.push(b'/');
            }
            let name = self.settings.index.get(at).map(String::as_bytes).unwrap_or_default();
            self.path.extend_from_slice(name);
            match self.resolve() {
                Err(Status::NotFound) | Ok(Found::Directory) => {}
                found => return found,
            }
        }
        Err(Status::NotFound)
    }

    fn resolve(&mut self) -> Result<Found, Status> {
        self.path.push(0);
        let found = match CStr::from_bytes_with_nul(&self.path) {
            Ok(path) => self.root.resolve(path),
            Err(_) => Err(Status::BadRequest),
        };
        self.path.pop();
        found
    }

    /// The decoded path, encoded again, with a slash behind it. It begins with exactly one slash, so no client
    /// can take its first segment for a host.
    fn directory_location(&mut self, query: Option<&[u8]>) -> &[u8] {
        self.location.clear();
        self.location.push(b'/');
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
    let range = head.fields.get(Name::Range).filter(|_| head.method == Method::Get);
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

fn read_failure(error: &io::Error) -> Status {
    tracing::error!(%error, "cannot read a file that is served");
    Status::InternalServerError
}
