//! Where a path leads: from the cache, from the file system, or to something that somebody who may wait has to do first
//! and whose outcome is taken in here.

use std::rc::Rc;
use std::sync::Arc;

use protocol::coding::Coding;
use protocol::target::{self, DecodedPath};
use protocol::{Status, accept};

use super::cache::Hit;
use super::making::Making;
use super::opening::{Opened, Opening, Wanted};
use super::representation::Representation;
use super::resolve::{Obstacle, Patience};
use super::resource::{Offer, Resource};
use super::{Asked, Site};
use crate::clock::Clock;
use crate::cold::Task;

/// What a helper found out, under the key that it was asked for by.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The key.
    pub key: Box<[u8]>,
    /// What is there, or the status to refuse the request with.
    pub found: Result<Found, Status>,
}

/// What there is at a path.
#[derive(Clone, Debug)]
pub enum Found {
    /// A file.
    Resource(Rc<Resource>),
    /// A representation, which had to be made.
    Made(Rc<Representation>),
    /// A directory, though the path asked for a file.
    Directory,
}

/// Where a path led.
#[derive(Debug)]
pub(super) enum Located {
    /// To a file, in the coding that suits the client best.
    File(Rc<Representation>),
    /// To a directory, though it asked for a file.
    Directory,
}

pub(super) const NOT_FOUND: Obstacle = Obstacle::Refused(Status::NotFound);

impl Site {
    /// Where a path leads that no fresh entry answers for as it was asked.
    pub(super) fn locate(&mut self, path: &[u8], asked: &Asked<'_>) -> Result<Located, Obstacle> {
        let located = self.locate_decoded(path, asked);
        if matches!(located, Err(NOT_FOUND)) {
            self.missing.insert(path, asked.clock.now_ms());
        }
        located
    }

    fn locate_decoded(&mut self, raw: &[u8], asked: &Asked<'_>) -> Result<Located, Obstacle> {
        let decoded =
            target::decode_path(raw, &mut self.path).map_err(|error| Obstacle::Refused(error.status()))?;
        if decoded.is_hidden && !self.settings.hidden {
            return Err(NOT_FOUND);
        }
        self.make_key(raw, &decoded);
        let wanted = if decoded.is_directory { Wanted::Directory } else { Wanted::File };
        self.locate_by_key(wanted, asked)
    }

    /// Where a path that names no file leads all the same: a directory may be listed, and an application that draws
    /// its pages in the browser takes over where somebody navigates.
    pub(super) fn locate_instead(&mut self, asked: &Asked<'_>) -> Result<Located, Obstacle> {
        if let Some(settings) = self.opener.plan().listing {
            match self.locate_listing(&settings, asked) {
                Err(NOT_FOUND) => {}
                located => return located,
            }
        }
        let Some(file) = self
            .settings
            .spa
            .as_ref()
            .filter(|_| accept::is_navigation(asked.head.method, &asked.head.fields))
        else {
            return Err(NOT_FOUND);
        };
        self.path.clear();
        self.path.extend_from_slice(file.as_bytes());
        self.key.clear();
        self.key.extend_from_slice(b"\0/");
        self.key.extend_from_slice(file.as_bytes());
        self.locate_by_key(Wanted::File, asked)
    }

    /// What is at `self.path`, which is kept under `self.key`.
    pub(super) fn locate_by_key(&mut self, wanted: Wanted, asked: &Asked<'_>) -> Result<Located, Obstacle> {
        (self.path_bytes, self.wanted) = (self.path.len(), wanted);
        // Of two with the same key, the later one is about what was made of the earlier one.
        if let Some(finding) = asked.findings.iter().rfind(|finding| *finding.key == *self.key) {
            return self.locate_found(finding, asked);
        }
        let clock = asked.clock;
        let known = match self.cache.get(&self.key, clock.now_ms()) {
            Some(Hit::Fresh(resource)) => match self.choose(&resource, asked) {
                // Not what it was, though it should be.
                Ok(Located::File(representation)) if !representation.is_intact() => None,
                located => return located,
            },
            Some(Hit::Stale(resource)) => Some(resource),
            None => None,
        };
        let opened =
            self.opener.open(&mut self.path, wanted, known.as_deref(), clock.unix_s(), self.patience);
        let resource = match (opened, known) {
            (Ok(Opened::Unchanged), Some(resource)) => {
                self.cache.confirm(&self.key, clock.now_ms());
                resource
            }
            (Ok(Opened::Files(files)), _) => {
                let resource = Rc::new(Resource::new(files));
                self.cache.insert(&self.key, Rc::clone(&resource), clock.now_ms());
                resource
            }
            (Err(Obstacle::Cold), _) => return Err(Obstacle::Cold),
            (opened, _) => {
                self.cache.remove(&self.key);
                return opened.map(|_| Located::Directory);
            }
        };
        self.choose(&resource, asked)
    }

    /// What somebody who may wait has found out for this very request, whatever the cache has made of it.
    fn locate_found(&mut self, finding: &Finding, asked: &Asked<'_>) -> Result<Located, Obstacle> {
        match &finding.found {
            Ok(Found::Resource(resource)) => self.choose(resource, asked),
            Ok(Found::Made(representation)) => Ok(Located::File(Rc::clone(representation))),
            Ok(Found::Directory) => Ok(Located::Directory),
            Err(status) => Err(Obstacle::Refused(*status)),
        }
    }

    /// The representation that suits the client.
    fn choose(&mut self, resource: &Rc<Resource>, asked: &Asked<'_>) -> Result<Located, Obstacle> {
        match resource.choose(&asked.head.fields) {
            Offer::Representation(representation) => Ok(Located::File(representation)),
            Offer::Nothing => Err(Obstacle::Refused(Status::NotAcceptable)),
            Offer::Make(coding) => self.make(resource, coding, asked),
        }
    }

    fn make(&mut self, resource: &Resource, coding: Coding, asked: &Asked<'_>) -> Result<Located, Obstacle> {
        let making = resource.making(&self.key, coding, asked.clock.unix_s());
        let making = making.ok_or(Obstacle::Refused(Status::InternalServerError))?;
        if self.patience == Patience::Never {
            self.errand = Some(Box::new(Task::Make(Box::new(making))));
            return Err(Obstacle::Cold);
        }
        let made = making.run().map_err(|_| Obstacle::Refused(Status::InternalServerError))?;
        let made = Rc::new(made);
        self.cache.add_made(&making, &made);
        Ok(Located::File(made))
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

    /// What somebody who may wait has to do next.
    pub(super) fn task(&mut self, clock: &Clock) -> Box<Task> {
        self.errand.take().unwrap_or_else(|| Box::new(Task::Open(Box::new(self.opening(clock)))))
    }

    fn opening(&self, clock: &Clock) -> Opening {
        Opening {
            key: self.key.as_slice().into(),
            // The names that were tried have to go.
            path: self.path.get(..self.path_bytes).unwrap_or_default().to_vec(),
            wanted: self.wanted,
            unix_s: clock.unix_s(),
            opener: self.opener.clone(),
        }
    }

    /// Takes in what was opened elsewhere, so that the next request finds it, and whoever waits for it.
    pub fn admit(&mut self, opening: Opening, opened: Result<Opened, Status>, clock: &Clock) -> Finding {
        let found = match opened {
            Ok(Opened::Files(files)) => Ok(Found::Resource(Rc::new(Resource::new(files)))),
            Ok(Opened::Directory | Opened::Unchanged) => Ok(Found::Directory),
            Err(status) => Err(status),
        };
        if !Arc::ptr_eq(opening.opener.root(), self.opener.root()) {
            return Finding { key: opening.key, found };
        }
        match &found {
            Ok(Found::Resource(resource)) => {
                self.cache.insert(&opening.key, Rc::clone(resource), clock.now_ms());
            }
            Err(_) => self.cache.remove(&opening.key),
            Ok(_) => {}
        }
        Finding { key: opening.key, found }
    }

    /// Takes in what was made elsewhere. What cannot be made is not offered again until the file changes.
    pub fn admit_made(&mut self, making: Making, made: Option<Box<Representation>>) -> Finding {
        let found = match made {
            Some(made) => {
                let made = Rc::from(made);
                self.cache.add_made(&making, &made);
                Ok(Found::Made(made))
            }
            None => {
                self.cache.renounce(&making);
                // Without a coding there is still the file itself; without the file itself there is nothing.
                let is_vital = making.to == Coding::Identity;
                Err(if is_vital { Status::InternalServerError } else { Status::ServiceUnavailable })
            }
        };
        Finding { key: making.key, found }
    }
}
