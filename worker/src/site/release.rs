//! A release: the tree that is served, and those before it that it has just taken the place of. It only holds them;
//! which ones, and for how long, is decided where roots are watched.

use std::sync::Arc;

use super::resolve::Root;

/// A tree, perhaps with the one before it. Never changes: another release is another object.
#[derive(Debug)]
pub struct Release {
    root: Arc<Root>,
    previous: Option<Arc<Self>>,
}

impl Release {
    /// A release with nothing before it.
    #[must_use]
    pub fn first(root: Root) -> Arc<Self> {
        Arc::new(Self { root: Arc::new(root), previous: None })
    }

    /// A release of `root`, and behind it those of `previous`, the latest first.
    #[must_use]
    pub fn after<'r>(
        root: &'r Arc<Root>,
        previous: impl DoubleEndedIterator<Item = &'r Arc<Root>>,
    ) -> Arc<Self> {
        let behind = previous.rev().fold(None, |previous, root| Some(Self::before(root, previous)));
        Self::before(root, behind)
    }

    fn before(root: &Arc<Root>, previous: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self { root: Arc::clone(root), previous })
    }

    /// Its tree.
    #[must_use]
    pub const fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// The release before it, as long as that is kept.
    #[must_use]
    pub const fn previous(&self) -> Option<&Arc<Self>> {
        self.previous.as_ref()
    }
}

/// The releases of all trees: that of the root, which has the number 0, and those of the virtual hosts.
#[derive(Clone, Debug)]
pub struct Releases {
    root: Arc<Release>,
    others: Vec<Arc<Release>>,
}

impl Releases {
    /// Those of a root and of virtual hosts.
    #[must_use]
    pub const fn new(root: Arc<Release>, others: Vec<Arc<Release>>) -> Self {
        Self { root, others }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// That of the root.
    #[must_use]
    pub const fn root(&self) -> &Arc<Release> {
        &self.root
    }

    /// Those of the virtual hosts.
    #[must_use]
    pub fn others(&self) -> &[Arc<Release>] {
        &self.others
    }

    /// All of them, by their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Release>> {
        std::iter::once(&self.root).chain(&self.others)
    }

    /// Puts another release in the place of that of a tree.
    pub fn replace(&mut self, number: usize, release: Arc<Release>) {
        let other = number.checked_sub(1).and_then(|at| self.others.get_mut(at));
        *other.unwrap_or(&mut self.root) = release;
    }
}

impl From<Root> for Releases {
    fn from(root: Root) -> Self {
        Self::new(Release::first(root), Vec::new())
    }
}
