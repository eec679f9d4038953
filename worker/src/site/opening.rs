//! From a decoded path to the representations of a resource: the part of the way that may have to wait, and so
//! may have to be gone by a helper thread. Everything in here can be sent to one.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use protocol::coding::{Coding, CodingSet};
use protocol::http1::encode;
use protocol::{Status, accept};
use rustix::fs::Stat;

use super::digest::TagPolicy;
use super::digested::is_digested;
use super::fields::Paths;
use super::heads::{Description, Origin, Role};
use super::making::{self, Recipe};
use super::manifest::Listed;
use super::plan::Plan;
use super::release::Release;
use super::representation::Representation;
use super::residency;
use super::resolve::{Found, Obstacle, Patience, Root};
use super::resource::Resource;
pub use super::wanted::Wanted;
use crate::cold::Helpers;
use crate::decision::decided;

/// What was opened.
#[derive(Debug)]
pub enum Opened {
    /// A file, in as many codings as it was found in.
    Files(OpenedFiles),
    /// The files that were known already.
    Unchanged,
    /// A directory, asked for as if it were a file.
    Directory,
}

/// The representations of a resource, as far as they were found.
#[derive(Debug)]
pub struct OpenedFiles {
    /// At least one.
    pub representations: Vec<Representation>,
    /// Codings that can be made of them.
    pub possible: CodingSet,
    /// How, if there are any.
    pub recipe: Option<Recipe>,
}

impl OpenedFiles {
    /// Lets helpers close what takes its time to be closed.
    pub fn leave_closing_to(&mut self, helpers: &Arc<Helpers>) {
        self.representations.iter_mut().for_each(|representation| representation.leave_closing_to(helpers));
    }
}

/// Opens what is in a release. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Opener {
    release: Arc<Release>,
    plan: Arc<Plan>,
}

/// The files that a name stands for.
#[derive(Debug)]
struct Files(Vec<(Coding, OwnedFd, Stat)>);

#[derive(Debug)]
enum Named {
    Files(Files),
    Directory,
}

impl Files {
    fn are_those_of(&self, resource: &Resource) -> bool {
        resource.found() == self.0.iter().fold(CodingSet::EMPTY, |set, (coding, ..)| set.with(*coding))
            && self.0.iter().all(|(coding, _, stat)| {
                resource.get(*coding).is_some_and(|representation| representation.is_version(stat))
            })
    }
}

impl Opener {
    /// An opener for what is in `release`.
    #[must_use]
    pub const fn new(release: Arc<Release>, plan: Arc<Plan>) -> Self {
        Self { release, plan }
    }

    /// Opens another release from now on.
    pub fn replace_release(&mut self, release: Arc<Release>) {
        self.release = release;
    }

    /// What it opens.
    #[must_use]
    pub const fn release(&self) -> &Arc<Release> {
        &self.release
    }

    /// The root below which it opens.
    #[must_use]
    pub fn root(&self) -> &Arc<Root> {
        self.release.root()
    }

    /// How it opens.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Opens what `path`, decoded, names, and leaves the name of the file that was found in `path`. `known` is
    /// what the path named before.
    ///
    /// A page that was sent before the release changed may go on asking for its files, so what is missing is looked
    /// for in the releases before, too, if its name holds a digest: then it can only be what was meant.
    ///
    /// # Errors
    /// The status to refuse the request with, or that it would have to wait.
    pub fn open(
        &self,
        path: &mut Vec<u8>,
        wanted: Wanted,
        known: Option<&Resource>,
        unix_s: i64,
        patience: Patience,
    ) -> Result<Opened, Obstacle> {
        let asked_bytes = path.len();
        let opened = self.open_here(path, wanted, known, unix_s, patience);
        let Some(previous) = self.release.previous().filter(|_| matches!(opened, Err(NOT_FOUND))) else {
            return opened;
        };
        path.truncate(asked_bytes);
        if wanted != Wanted::File || !is_digested(path) {
            return opened;
        }
        decided!("release", "not in this one: looked for in the one before");
        let previous = Self::new(Arc::clone(previous), Arc::clone(&self.plan));
        previous.open(path, wanted, known, unix_s, patience)
    }

    /// The same in this release alone.
    fn open_here(
        &self,
        path: &mut Vec<u8>,
        wanted: Wanted,
        known: Option<&Resource>,
        unix_s: i64,
        patience: Patience,
    ) -> Result<Opened, Obstacle> {
        let asked_bytes = path.len();
        match self.find(path, wanted, patience)? {
            // Only who asks for a file can be sent to the directory of its name.
            Named::Directory if wanted != Wanted::File => Err(NOT_FOUND),
            Named::Directory => Ok(Opened::Directory),
            Named::Files(files) if known.is_some_and(|known| files.are_those_of(known)) => {
                Ok(Opened::Unchanged)
            }
            Named::Files(files) => {
                let fields = self.fields(path, asked_bytes, wanted);
                self.represent(files, path, wanted, &fields, unix_s, patience).map(Opened::Files)
            }
        }
    }

    /// What responses with the file at `path` say besides. It was asked for by that many bytes of the path.
    fn fields(&self, path: &[u8], asked_bytes: usize, wanted: Wanted) -> BytesMut {
        let mut lines = BytesMut::new();
        if wanted == Wanted::Application {
            encode::field(&mut lines, "Vary", accept::NAVIGATION_FIELDS.as_bytes());
        }
        // Those of an error are about the path that was asked for, which is another one each time.
        if !self.plan.fields.is_empty() && wanted != Wanted::ErrorPage {
            let paths = Paths { asked: path.get(..asked_bytes).unwrap_or_default(), found: path };
            self.plan.fields.append_for_file(&paths, &mut lines);
        }
        lines
    }

    fn find(&self, path: &mut Vec<u8>, wanted: Wanted, patience: Patience) -> Result<Named, Obstacle> {
        let is_directory = wanted == Wanted::Directory;
        match self.root().only() {
            Some(only) if path.is_empty() => {
                path.extend_from_slice(only);
                self.look_up(path, CodingSet::EMPTY, patience)
            }
            Some(only) if is_directory || path != only => Err(NOT_FOUND),
            Some(_) => self.look_up(path, CodingSet::EMPTY, patience),
            None if is_directory => self.find_index(path, patience),
            None if wanted == Wanted::File => self.find_file(path, patience),
            None => self.look_up(path, self.plan.precompressed, patience),
        }
    }

    /// Tries the name as it is, and where that is no file, the page that it may be short for. A directory comes before
    /// a page of its name if it has an index; without one, as exporters of sites leave it, only the page can be meant.
    fn find_file(&self, path: &mut Vec<u8>, patience: Patience) -> Result<Named, Obstacle> {
        let found = self.look_up(path, self.plan.precompressed, patience);
        let is_short = self.plan.clean_urls && !path.is_empty();
        if !is_short || !matches!(found, Err(NOT_FOUND) | Ok(Named::Directory)) {
            return found;
        }
        let name_bytes = path.len();
        path.extend_from_slice(b".html");
        let page = match self.look_up(path, self.plan.precompressed, patience) {
            Ok(Named::Directory) | Err(NOT_FOUND) => return found,
            page => page,
        };
        if found.is_err() {
            return page;
        }
        let page_path = path.clone();
        path.truncate(name_bytes);
        match self.find_index(path, patience) {
            Err(NOT_FOUND) => {
                *path = page_path;
                page
            }
            Err(Obstacle::Cold) => Err(Obstacle::Cold),
            _ => found,
        }
    }

    /// Tries the index names in the directory that the path names. The path then names the file that was found.
    fn find_index(&self, path: &mut Vec<u8>, patience: Patience) -> Result<Named, Obstacle> {
        let directory_bytes = path.len();
        for name in &self.plan.index {
            path.truncate(directory_bytes);
            if directory_bytes > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            match self.look_up(path, self.plan.precompressed, patience) {
                Err(NOT_FOUND) | Ok(Named::Directory) => {}
                found => return found,
            }
        }
        Err(NOT_FOUND)
    }

    /// What one name stands for: a file, and the same file coded beforehand.
    fn look_up(&self, path: &mut Vec<u8>, codings: CodingSet, patience: Patience) -> Result<Named, Obstacle> {
        let mut files = Vec::new();
        match self.resolve(path, patience) {
            Ok(Found::Directory) => return Ok(Named::Directory),
            Ok(Found::File(file, stat)) => files.push((Coding::Identity, file, stat)),
            Err(NOT_FOUND) if !codings.is_empty() => {}
            Err(obstacle) => return Err(obstacle),
        }
        if !is_coded(path) {
            self.look_up_coded(path, codings, &mut files, patience)?;
        }
        if files.is_empty() { Err(NOT_FOUND) } else { Ok(Named::Files(Files(files))) }
    }

    /// Adds the coded files beside the file. One that is older than the file was made of another version of it;
    /// one that cannot be read is as good as none.
    fn look_up_coded(
        &self,
        path: &mut Vec<u8>,
        codings: CodingSet,
        files: &mut Vec<(Coding, OwnedFd, Stat)>,
        patience: Patience,
    ) -> Result<(), Obstacle> {
        let modified_s = files.first().map(|(_, _, stat)| stat.st_mtime);
        let path_bytes = path.len();
        for coding in codings.iter() {
            path.extend_from_slice(coding.suffix().as_bytes());
            let found = self.resolve(path, patience);
            path.truncate(path_bytes);
            match found {
                Ok(Found::File(file, stat)) if modified_s.is_none_or(|least| stat.st_mtime >= least) => {
                    files.push((coding, file, stat));
                }
                Err(Obstacle::Cold) => return Err(Obstacle::Cold),
                Ok(Found::File(..)) => decided!("file", "older than the file itself, so passed over"),
                Ok(Found::Directory) | Err(Obstacle::Refused(_)) => {}
            }
        }
        Ok(())
    }

    fn represent(
        &self,
        files: Files,
        name: &[u8],
        wanted: Wanted,
        fields: &[u8],
        unix_s: i64,
        patience: Patience,
    ) -> Result<OpenedFiles, Obstacle> {
        let media_type = &*self.plan.media_types.of(name);
        let possible = self.possible(&files, media_type);
        let is_alone = matches!(files.0.as_slice(), [(Coding::Identity, ..)]);
        let varies = !is_alone || !possible.is_empty();
        let role = if wanted == Wanted::ErrorPage { Role::ErrorPage } else { Role::Content };
        let represent = |(coding, file, stat): (Coding, OwnedFd, Stat)| {
            // Without waiting, nothing is opened but on the root's own file system.
            let is_local = patience == Patience::Never || residency::is_local(&file);
            let listed = self.listed(name, coding, patience)?;
            let (origin, tags) = (Origin::Found, &self.plan.tags);
            let description =
                Description { media_type, coding, role, varies, fields, origin, tags, listed, unix_s };
            Representation::new(file, &stat, &description, is_local, patience)
        };
        let recipe = Recipe {
            name: name.into(),
            media_type: media_type.into(),
            role,
            fields: Bytes::copy_from_slice(fields),
            tags: self.plan.tags.clone(),
            written: None,
        };
        Ok(OpenedFiles {
            representations: files.0.into_iter().map(represent).collect::<Result<_, _>>()?,
            recipe: (!possible.is_empty()).then_some(recipe),
            possible,
        })
    }

    /// What the manifest says of the file in that coding, where entity tags are made of content.
    fn listed(&self, name: &[u8], coding: Coding, patience: Patience) -> Result<Option<Listed>, Obstacle> {
        let TagPolicy::Content(_) = self.plan.tags else { return Ok(None) };
        let manifest = self.root().manifest(patience)?;
        Ok(manifest.get(&[name, coding.suffix().as_bytes()].concat()).copied())
    }

    /// Codings that are not there and can be made: of a file that is there as itself, smaller ones; of one that is
    /// not, the file itself.
    fn possible(&self, files: &Files, media_type: &str) -> CodingSet {
        let itself = files.0.iter().find(|(coding, ..)| *coding == Coding::Identity);
        let Some((_, _, stat)) = itself else { return CodingSet::IDENTITY };
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        making::worthwhile(&self.plan, bytes, media_type)
            .iter()
            .filter(|&coding| files.0.iter().all(|(found, ..)| *found != coding))
            .fold(CodingSet::EMPTY, CodingSet::with)
    }

    fn resolve(&self, path: &mut Vec<u8>, patience: Patience) -> Result<Found, Obstacle> {
        path.push(0);
        let found = match CStr::from_bytes_with_nul(path) {
            Ok(path) => self.root().resolve(path, patience),
            Err(_) => Err(Obstacle::Refused(Status::BadRequest)),
        };
        path.pop();
        found
    }
}

/// Whether the name is that of a coded file: it is served as it is, when it is asked for by that name.
fn is_coded(path: &[u8]) -> bool {
    CodingSet::COMPRESSING.iter().any(|coding| path.ends_with(coding.suffix().as_bytes()))
}

const NOT_FOUND: Obstacle = Obstacle::Refused(Status::NotFound);

/// An opening that has to wait, with all that a helper thread needs for it.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The key in the site's cache.
    pub key: Box<[u8]>,
    /// The decoded path.
    pub path: Vec<u8>,
    /// What it is to name.
    pub wanted: Wanted,
    /// The time of the request.
    pub unix_s: i64,
    /// What opens it.
    pub opener: Opener,
}

impl Opening {
    /// Opens it, however long that takes.
    ///
    /// # Errors
    /// The status to refuse the request with.
    pub fn run(&mut self) -> Result<Opened, Status> {
        let opened = self.opener.open(&mut self.path, self.wanted, None, self.unix_s, Patience::MayWait);
        opened.map_err(|obstacle| match obstacle {
            Obstacle::Refused(status) => status,
            Obstacle::Cold => Status::ServiceUnavailable,
        })
    }
}
