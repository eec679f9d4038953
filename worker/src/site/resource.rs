//! What a path names: one representation, or several that differ in how their content is coded.
//!
//! They are opened together and believed together, so that no coding lags behind the others. Some may have to be made
//! first, when somebody asks for them; they join the others then. Nothing in here opens or makes anything.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use protocol::Fields;
use protocol::coding::{self, Choice, Coding, CodingSet};

use super::allowance::Allowance;
use super::making::{Making, Recipe};
use super::opening::OpenedFiles;
use super::representation::Representation;

/// One for each [`Coding`].
const CODINGS: usize = 4;

/// The representations of a resource. There is at least one.
#[derive(Debug)]
pub struct Resource {
    representations: [OnceCell<Rc<Representation>>; CODINGS],
    /// Those that were found.
    found: CodingSet,
    /// Those that can be had: found, made or to be made.
    offered: Cell<CodingSet>,
    /// For those that are to be made.
    recipe: Option<Recipe>,
}

/// What a client is to get.
#[derive(Debug)]
pub enum Offer {
    /// This.
    Representation(Rc<Representation>),
    /// This coding, which is to be made first.
    Make(Coding),
    /// Nothing: it takes none of what is there, and what it takes cannot be made of that.
    Nothing,
}

impl Resource {
    /// The resource that these files are the representations of.
    #[must_use]
    pub fn new(files: OpenedFiles) -> Self {
        let representations: [OnceCell<Rc<Representation>>; CODINGS] = Default::default();
        let mut found = CodingSet::EMPTY;
        for representation in files.representations {
            found = found.with(representation.coding());
            if let Some(place) = representations.get(representation.coding() as usize) {
                // The first of a coding counts; there is no second.
                let _ = place.set(Rc::new(representation));
            }
        }
        let offered = Cell::new(files.possible.iter().fold(found, CodingSet::with));
        Self { representations, found, offered, recipe: files.recipe }
    }

    /// The codings that were found.
    #[must_use]
    pub const fn found(&self) -> CodingSet {
        self.found
    }

    /// The codings that can be had.
    #[must_use]
    pub const fn offered(&self) -> CodingSet {
        self.offered.get()
    }

    /// The representation of a coding.
    #[must_use]
    pub fn get(&self, coding: Coding) -> Option<&Rc<Representation>> {
        self.representations.get(coding as usize)?.get()
    }

    /// The representation that suits a client best (RFC 9110 §12.5.3).
    #[must_use]
    #[inline]
    pub fn choose(&self, fields: &Fields<'_>) -> Offer {
        let offered = self.offered.get();
        if offered == CodingSet::IDENTITY
            && let Some(only) = self.get(Coding::Identity)
        {
            return Offer::Representation(Rc::clone(only));
        }
        let choice = coding::choose(fields, offered);
        let coding = match choice {
            Choice::Acceptable(coding) => coding,
            // Who refuses all that there is gets it as it is: it is better served so, and RFC 9110 §12.5.3 allows it.
            Choice::NotAcceptable if offered.contains(Coding::Identity) => Coding::Identity,
            Choice::NotAcceptable => return Offer::Nothing,
        };
        self.get(coding).map_or(Offer::Make(coding), |found| Offer::Representation(Rc::clone(found)))
    }

    /// Whether that representation is one of them.
    #[must_use]
    pub fn has(&self, representation: &Rc<Representation>) -> bool {
        self.get(representation.coding()).is_some_and(|own| Rc::ptr_eq(own, representation))
    }

    /// What has to be done to have this coding.
    #[must_use]
    pub fn making(&self, key: &[u8], to: Coding, allowance: &Arc<Allowance>, unix_s: i64) -> Option<Making> {
        let from = self
            .found
            .iter()
            .find(|&coding| coding == Coding::Identity)
            .or_else(|| self.found.iter().next())?;
        let source = self.get(from)?;
        Some(Making {
            key: key.into(),
            source: source.shared_file(),
            stamp: source.stamp(),
            from,
            to,
            recipe: self.recipe.clone()?,
            allowance: Arc::clone(allowance),
            unix_s,
        })
    }

    /// Adds what was made.
    pub fn add(&self, made: &Rc<Representation>) {
        if let Some(place) = self.representations.get(made.coding() as usize) {
            // Whoever made it first has it.
            let _ = place.set(Rc::clone(made));
        }
    }

    /// A coding cannot be made after all.
    pub fn renounce(&self, coding: Coding) {
        let others = self.offered.get().iter().filter(|&other| other != coding);
        self.offered.set(others.fold(CodingSet::EMPTY, CodingSet::with));
    }

    /// Whether it is made of the same file that `making` is about.
    #[must_use]
    pub fn is_source_of(&self, making: &Making) -> bool {
        self.get(making.from).is_some_and(|source| source.is_of(&making.source))
    }

    /// Whether it was found as the same versions of the same files, as far as can be told.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.found == other.found
            && self.found.iter().all(|coding| {
                self.get(coding).zip(other.get(coding)).is_some_and(|(own, other)| own.is_same_as(other))
            })
    }

    /// Open files that it holds.
    #[must_use]
    pub fn files(&self) -> usize {
        self.all().count()
    }

    /// Bytes of memory that it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.all().map(|representation| representation.memory_bytes()).sum()
    }

    /// What was seen in the page cache may have left it by now.
    pub fn cool(&self) {
        self.all().for_each(|representation| representation.cool());
    }

    fn all(&self) -> impl Iterator<Item = &Rc<Representation>> {
        self.representations.iter().filter_map(OnceCell::get)
    }
}
