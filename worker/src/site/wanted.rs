//! What a path may be meant to name.

use std::fmt;

/// What a path is to name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A file.
    File,
    /// A directory with an index file.
    Directory,
    /// A file with the page of an error.
    ErrorPage,
    /// A file that draws its pages in the browser, which takes over where somebody navigates to what is not there.
    Application,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::ErrorPage => "the page of an error",
            Self::Application => "the page of an application",
        })
    }
}
