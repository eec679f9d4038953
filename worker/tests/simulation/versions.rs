//! What has lain in each file of a life, so that every byte of a response can be told to be of one of its versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::client::{self, CUT_BYTES, FILES};

/// A content that a file has had.
pub type Version = Rc<Vec<u8>>;

/// The files of a life.
#[derive(Debug)]
pub struct Versions {
    directory: PathBuf,
    /// For each of [`FILES`], from the first to the latest.
    known: [Vec<Version>; FILES.len()],
    was_removed: [bool; FILES.len()],
}

thread_local! {
    /// Those that every life begins with. They are made once.
    static FIRST: [Version; FILES.len()] = FILES.map(|(name, _)| Rc::new(client::content_of(name)));
}

impl Versions {
    /// Those that lie in a directory after [`super::places::restore`].
    pub fn new(directory: &Path) -> Self {
        let known = FIRST.with(|first| first.clone().map(|version| vec![version]));
        Self { directory: directory.to_owned(), known, was_removed: [false; FILES.len()] }
    }

    fn path(&self, number: usize) -> PathBuf {
        self.directory.join(FILES[number].0)
    }

    /// Every content that the file has had.
    pub fn of(&self, number: usize) -> &[Version] {
        &self.known[number]
    }

    pub const fn was_removed(&self, number: usize) -> bool {
        self.was_removed[number]
    }

    /// The victim gets shorter, in place.
    pub fn cut(&mut self) {
        let victim = FILES.len() - 1;
        let cut = fs::File::options().write(true).open(self.path(victim));
        let (Ok(file), Some(last)) = (cut, self.known[victim].last()) else { return };
        if last.len() > CUT_BYTES {
            file.set_len(CUT_BYTES as u64).unwrap();
            self.known[victim].push(Rc::new(last[..CUT_BYTES].to_vec()));
        }
    }

    /// Another file takes the place of one, with a length that no version before it had.
    pub fn replace(&mut self, number: usize, length: usize) {
        let length = (length..).find(|&length| self.known[number].iter().all(|old| old.len() != length));
        let name = format!("{}+{}", FILES[number].0, self.known[number].len());
        let content: Vec<u8> = (0..length.unwrap()).map(|at| client::byte_of(&name, at)).collect();
        let new = self.directory.join("new");
        fs::write(&new, &content).unwrap();
        fs::rename(&new, self.path(number)).unwrap();
        self.known[number].push(Rc::new(content));
    }

    pub fn remove(&mut self, number: usize) {
        let _ = fs::remove_file(self.path(number));
        self.was_removed[number] = true;
    }
}
