//! The trees of a site: the root, and one for each virtual host. Which of them a request is for is chosen once, before
//! anything else is decided about it.
//!
//! They share one cache, so each has a key space of its own: the keys of the root are as they are, those of any other
//! tree begin with what no key of the root begins with. So a site without virtual hosts pays nothing for them.

use std::path::PathBuf;
use std::sync::Arc;

use protocol::host::Hosts;

use super::opening::Opener;
use super::pages::Pages;
use super::release::{Release, Releases};
use crate::decision::decided;
use crate::settings::SiteSettings;

/// Begins the keys of all trees but the root. No path begins with NUL, and no other key goes on like this.
const MARK: [u8; 2] = [0, b'@'];

/// One tree.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) opener: Opener,
    pub(super) pages: Pages,
    /// What its keys begin with.
    prefix: Box<[u8]>,
    /// Where the operator says that it is.
    path: PathBuf,
}

impl Tree {
    fn new(number: usize, release: &Arc<Release>, settings: &SiteSettings) -> Self {
        let mut prefix = Vec::new();
        if number > 0 {
            prefix.extend_from_slice(&MARK);
            prefix.extend_from_slice(&number.to_be_bytes());
        }
        Self {
            opener: Opener::new(Arc::clone(release), Arc::clone(&settings.plan)),
            pages: Pages::new(&settings.error_pages, settings.check_interval_ms),
            prefix: prefix.into(),
            path: settings.roots().nth(number).cloned().unwrap_or_default(),
        }
    }

    /// Whether a key is one of its own.
    fn owns(&self, key: &[u8]) -> bool {
        if self.prefix.is_empty() { !key.starts_with(&MARK) } else { key.starts_with(&self.prefix) }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Trees {
    root: Tree,
    /// The others, by their numbers from 1.
    others: Vec<Tree>,
    hosts: Arc<Hosts>,
    /// The number of the tree that was chosen last.
    chosen: usize,
}

impl Trees {
    /// The trees of these releases.
    pub(super) fn new(settings: &SiteSettings, releases: &Releases) -> Self {
        let tree = |(at, release): (usize, &Arc<Release>)| Tree::new(at + 1, release, settings);
        Self {
            root: Tree::new(0, releases.root(), settings),
            others: releases.others().iter().enumerate().map(tree).collect(),
            hosts: Arc::clone(&settings.vhosts.hosts),
            chosen: 0,
        }
    }

    /// Chooses the tree that a request is for. A host that nobody has named gets the root.
    #[inline]
    pub(super) fn choose(&mut self, authority: Option<&[u8]>) {
        if !self.others.is_empty() {
            self.choose_by(authority);
        }
    }

    /// Apart, so that it takes no registers from sites without virtual hosts; so is [`Self::prefixed`].
    #[inline(never)]
    fn choose_by(&mut self, authority: Option<&[u8]>) {
        self.chosen = authority.and_then(|authority| self.hosts.find(authority)).unwrap_or(0);
        let host = authority.unwrap_or_default().escape_ascii();
        match self.chosen {
            0 => decided!("host", "{host}: of no virtual host, so the root is asked"),
            _ => decided!("host", "{host}: {} is asked", self.chosen().path.display()),
        }
    }

    /// The tree that was chosen.
    #[inline]
    pub(super) fn chosen(&self) -> &Tree {
        self.chosen.checked_sub(1).and_then(|at| self.others.get(at)).unwrap_or(&self.root)
    }

    /// The same, to note something about it.
    pub(super) fn chosen_mut(&mut self) -> &mut Tree {
        let other = self.chosen.checked_sub(1).and_then(|at| self.others.get_mut(at));
        other.unwrap_or(&mut self.root)
    }

    /// Begins a key of the chosen tree.
    pub(super) fn begin_key(&self, key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(&self.chosen().prefix);
    }

    /// The key of a path of the chosen tree, as it was asked for: for the root, the path itself.
    #[inline]
    pub(super) fn key_of<'k>(&self, path: &'k [u8], scratch: &'k mut Vec<u8>) -> &'k [u8] {
        if self.chosen == 0 { path } else { self.prefixed(path, scratch) }
    }

    #[inline(never)]
    fn prefixed<'k>(&self, path: &[u8], scratch: &'k mut Vec<u8>) -> &'k [u8] {
        self.begin_key(scratch);
        scratch.extend_from_slice(path);
        scratch
    }

    /// Puts another release in the place of a tree's. Gives what tells the keys of that tree from others, which then
    /// stand for nothing.
    pub(super) fn replace(&mut self, number: usize, release: Arc<Release>) -> impl Fn(&[u8]) -> bool {
        let other = number.checked_sub(1).and_then(|at| self.others.get_mut(at));
        let tree = other.unwrap_or(&mut self.root);
        tree.opener.replace_release(release);
        tree.pages.clear();
        let tree: &Tree = tree;
        |key| tree.owns(key)
    }

    /// Whether something opened below that release may be kept: nobody has put another in its place since.
    pub(super) fn serve(&self, release: &Arc<Release>) -> bool {
        let is_served = |tree: &Tree| Arc::ptr_eq(tree.opener.release(), release);
        is_served(&self.root) || self.others.iter().any(is_served)
    }
}
