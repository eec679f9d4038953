//! From a decoded path to a representation: the part of the way that may have to wait, and so may have to be
//! gone by a helper thread. Everything in here can be sent to one.

use std::ffi::CStr;
use std::sync::Arc;

use protocol::Status;

use super::representation::Representation;
use super::residency;
use super::resolve::{Found, Obstacle, Patience, Root};

/// What was opened.
#[derive(Debug)]
pub enum Opened {
    /// A file.
    File(Box<Representation>),
    /// The file that was known already.
    Unchanged,
    /// A directory, asked for as if it were a file.
    Directory,
}

/// Opens what is below a root. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Opener {
    root: Arc<Root>,
    index: Arc<[String]>,
}

impl Opener {
    /// An opener that tries the names of `index` where a directory is asked for.
    #[must_use]
    pub fn new(root: Arc<Root>, index: &[String]) -> Self {
        Self { root, index: index.into() }
    }

    /// Opens another root from now on.
    pub fn replace_root(&mut self, root: Arc<Root>) {
        self.root = root;
    }

    /// The root below which it opens.
    #[must_use]
    pub const fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// Opens what `path`, decoded, names, and leaves the name of the file that was found in `path`. `known` is
    /// what the path named before.
    ///
    /// # Errors
    /// The status to refuse the request with, or that it would have to wait.
    pub fn open(
        &self,
        path: &mut Vec<u8>,
        is_directory: bool,
        known: Option<&Representation>,
        unix_s: i64,
        patience: Patience,
    ) -> Result<Opened, Obstacle> {
        let found = match self.root.only() {
            Some(only) if path.is_empty() => {
                path.extend_from_slice(only);
                self.resolve(path, patience)?
            }
            Some(only) if is_directory || path != only => return Err(NOT_FOUND),
            None if is_directory => self.resolve_index(path, patience)?,
            _ => self.resolve(path, patience)?,
        };
        match found {
            Found::Directory if is_directory => Err(NOT_FOUND),
            Found::Directory => Ok(Opened::Directory),
            Found::File(_, stat) if known.is_some_and(|known| known.is_version(&stat)) => {
                Ok(Opened::Unchanged)
            }
            Found::File(file, stat) => {
                // Without waiting, nothing is opened but on the root's own file system.
                let is_local = patience == Patience::Never || residency::is_local(&file);
                Representation::new(file, &stat, path, unix_s, is_local, patience)
                    .map(|file| Opened::File(Box::new(file)))
            }
        }
    }

    /// Tries the index names in the directory that the path names. The path then names the file that was found.
    fn resolve_index(&self, path: &mut Vec<u8>, patience: Patience) -> Result<Found, Obstacle> {
        let directory_bytes = path.len();
        for name in &*self.index {
            path.truncate(directory_bytes);
            if directory_bytes > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            match self.resolve(path, patience) {
                Err(NOT_FOUND) | Ok(Found::Directory) => {}
                found => return found,
            }
        }
        Err(NOT_FOUND)
    }

    fn resolve(&self, path: &mut Vec<u8>, patience: Patience) -> Result<Found, Obstacle> {
        path.push(0);
        let found = match CStr::from_bytes_with_nul(path) {
            Ok(path) => self.root.resolve(path, patience),
            Err(_) => Err(Obstacle::Refused(Status::BadRequest)),
        };
        path.pop();
        found
    }
}

const NOT_FOUND: Obstacle = Obstacle::Refused(Status::NotFound);

/// An opening that has to wait, with all that a helper thread needs for it.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The key in the site's cache.
    pub key: Box<[u8]>,
    /// The decoded path.
    pub path: Vec<u8>,
    /// Whether the path asks for a directory.
    pub is_directory: bool,
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
        let opened =
            self.opener.open(&mut self.path, self.is_directory, None, self.unix_s, Patience::MayWait);
        opened.map_err(|obstacle| match obstacle {
            Obstacle::Refused(status) => status,
            Obstacle::Cold => Status::ServiceUnavailable,
        })
    }
}
