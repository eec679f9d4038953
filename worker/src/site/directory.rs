//! Directories without an index file: the listing that stands for one, from the cache or as an errand.
//!
//! What [`super::listing`] has written lies in a sealed file in memory and is kept in the cache like any other
//! resource, so that it is sent, divided and compared like one. It is believed for the check interval and then
//! written anew.

use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use protocol::coding::Coding;
use protocol::http1::encode;
use protocol::target::{self, RequestTarget};
use protocol::{RequestHead, Status};

use super::allowance::Allowance;
use super::cache::Hit;
use super::digest::TagPolicy;
use super::fields::Paths;
use super::heads::{Description, Origin, Role};
use super::listing::{self, ENTRIES_MAX, Format, Formats, Listing, PAGE_ENTRIES, View};
use super::locate::{Finding, Found, Located, NOT_FOUND};
use super::making::{self, Recipe};
use super::opening::{OpenedFiles, Opener};
use super::representation::Representation;
use super::resolve::{Obstacle, Patience};
use super::resource::Resource;
use super::{Asked, Site};
use crate::clock::Clock;
use crate::cold::Task;
use crate::decision::{self, decided};

/// What the keys of listings begin with, and no other key.
const KEY_PREFIX: &[u8] = b"\0?";
/// No directory has more pages of HTML.
const PAGES_MAX: usize = ENTRIES_MAX.div_ceil(PAGE_ENTRIES);

/// A directory that is to be listed, with all that a helper thread needs for it.
#[derive(Clone, Debug)]
pub struct Enumeration {
    /// The key of the listing in the site's cache.
    pub key: Box<[u8]>,
    /// The decoded path of the directory.
    pub path: Vec<u8>,
    /// The decoded path that was asked for, which differs where a rule leads from it to the directory.
    pub asked: Vec<u8>,
    /// Which part of it, in which order.
    pub view: View,
    /// For whom.
    pub format: Format,
    /// The time of the request.
    pub unix_s: i64,
    /// The root, and how what is below it is served.
    pub opener: Opener,
    /// What it takes its memory from.
    pub allowance: Arc<Allowance>,
}

impl Enumeration {
    /// Lists it, however long that takes.
    ///
    /// # Errors
    /// The status to refuse the request with.
    pub fn run(&self) -> Result<OpenedFiles, Status> {
        let settings = self.opener.plan().listing.ok_or(Status::NotFound)?;
        let root = self.opener.root();
        let listing = listing::produce(root, self.paths(), &settings, self.view, self.format, self.unix_s)?;
        // Out of descriptors, or out of memory.
        self.represent(&listing, settings.formats).map_err(|_| Status::ServiceUnavailable)
    }

    fn paths(&self) -> Paths<'_> {
        Paths { asked: &self.asked, found: &self.path }
    }

    fn represent(&self, listing: &Listing, formats: Formats) -> io::Result<OpenedFiles> {
        let bytes = listing.content.len() as u64;
        let share = self.allowance.take(bytes).ok_or(io::ErrorKind::OutOfMemory)?;
        let possible = making::worthwhile(self.opener.plan(), bytes, listing.media_type);
        let fields = self.fields(formats);
        let mut file = making::file_in_memory()?;
        file.write_all(&listing.content)?;
        let file = making::sealed(file)?;
        let stat = rustix::fs::fstat(&file)?;
        let description = Description {
            media_type: listing.media_type,
            coding: Coding::Identity,
            role: Role::Content,
            varies: !possible.is_empty(),
            fields: &fields,
            origin: Origin::Written(&listing.validators),
            tags: &TagPolicy::Modification,
            listed: None,
            unix_s: self.unix_s,
        };
        let written = Representation::new(file, &stat, &description, true, Patience::MayWait)
            .map_err(|_| io::Error::other("what was written cannot be read"))?;
        written.count_against(share);
        let recipe = Recipe {
            name: self.path.as_slice().into(),
            media_type: listing.media_type.into(),
            role: Role::Content,
            fields: fields.freeze(),
            tags: TagPolicy::Modification,
            written: Some(listing.validators),
        };
        Ok(OpenedFiles { representations: vec![written], possible, recipe: Some(recipe) })
    }

    fn fields(&self, formats: Formats) -> BytesMut {
        let mut lines = BytesMut::new();
        if formats == Formats::Preferred {
            encode::field(&mut lines, "Vary", b"Accept");
        }
        let policy = (self.format == Format::Html).then(listing::content_security_policy);
        let paths = Paths { asked: &self.path, found: &self.path };
        self.opener.plan().fields.append_for_listing(&paths, policy.as_deref(), &mut lines);
        lines
    }
}

/// A listing that is asked for.
struct Named {
    view: View,
    format: Format,
    /// Whether a rule leads to the directory.
    is_rewritten: bool,
    /// Whether the address ends in a slash, as it has to since links in a listing are relative.
    has_slash: bool,
}

impl Site {
    /// The listing of a directory in which no index file was found, or the address where it is.
    #[cold]
    pub(super) fn locate_listing(
        &mut self,
        settings: &listing::Settings,
        asked: &Asked<'_>,
    ) -> Result<Located, Obstacle> {
        let named = self.name_listing(asked.head, settings)?;
        let located = self.locate_named(&named, asked)?;
        if named.has_slash {
            return Ok(located);
        }
        decided!(
            "listing",
            "its links are relative, so the client is sent to where the address ends in a slash"
        );
        Ok(Located::Directory)
    }

    fn locate_named(&mut self, named: &Named, asked: &Asked<'_>) -> Result<Located, Obstacle> {
        let finding = asked.findings.iter().rfind(|finding| *finding.key == *self.key);
        if let Some(located) = finding.and_then(|finding| self.locate_found(finding, asked)) {
            return located;
        }
        let now_ms = asked.clock.now_ms();
        if let Some(Hit::Fresh(resource)) = self.cache.get(&self.key, now_ms) {
            return self.choose(&resource, asked);
        }
        if self.missing.has(&self.key, now_ms) {
            return Err(NOT_FOUND);
        }
        let enumeration = Enumeration {
            key: self.key.as_slice().into(),
            path: self.path.clone(),
            asked: if named.is_rewritten { self.routed.clone() } else { self.path.clone() },
            view: named.view,
            format: named.format,
            unix_s: asked.clock.unix_s(),
            opener: self.trees.chosen().opener.clone(),
            allowance: Arc::clone(&self.allowance),
        };
        if self.patience == Patience::Never {
            self.errand = Some(Box::new(Task::List(Box::new(enumeration))));
            return Err(Obstacle::Cold);
        }
        let listed = enumeration.run().map(Box::new);
        let finding = self.admit_listed(enumeration, listed, asked.clock);
        if let Ok(Found::Resource(resource)) = &finding.found
            && decision::is_told()
        {
            decision::tell_coding(resource, &asked.head.fields);
        }
        self.locate_found(&finding, asked).unwrap_or(Err(NOT_FOUND))
    }

    /// Puts the path of the directory that is asked for into `self.path` and the key of what the client gets of it
    /// into `self.key`, and tells what that is. If a rule leads there, `self.routed` was asked for.
    fn name_listing(
        &mut self,
        head: &RequestHead<'_>,
        settings: &listing::Settings,
    ) -> Result<Named, Obstacle> {
        let RequestTarget::Origin { path, query } = head.target else { return Err(NOT_FOUND) };
        let decoded = target::decode_path(path, &mut self.path).map_err(|_| NOT_FOUND)?;
        let rewritten = self.rewrite(&decoded);
        // A directory would have been found as such, but where a rule leads to it that keeps no slash.
        let has_slash = decoded.is_directory;
        if !has_slash && rewritten.is_none() {
            return Err(NOT_FOUND);
        }
        if rewritten.as_ref().unwrap_or(&decoded).is_hidden && !self.settings.hidden {
            return Err(NOT_FOUND);
        }
        let format = settings.formats.choose(&head.fields);
        decided!("listing", "/{} as {format}", self.path.escape_ascii());
        let View { order, page } = View::from_query(query, settings.order);
        // An array has one page, and it is the same whichever was asked for.
        let page = if format == Format::Json { 1 } else { page };
        if page > PAGES_MAX {
            return Err(NOT_FOUND);
        }
        self.trees.begin_key(&mut self.key);
        self.key.extend_from_slice(KEY_PREFIX);
        self.key.extend_from_slice(&[format as u8, order.column as u8, order.direction as u8]);
        self.key.extend_from_slice(&page.to_ne_bytes());
        self.key.extend_from_slice(&self.path);
        if rewritten.is_some() {
            // No path holds NUL.
            self.key.push(0);
            self.key.extend_from_slice(&self.routed);
        }
        Ok(Named { view: View { order, page }, format, is_rewritten: rewritten.is_some(), has_slash })
    }

    /// Takes in what was listed elsewhere.
    pub fn admit_listed(
        &mut self,
        enumeration: Enumeration,
        listed: Result<Box<OpenedFiles>, Status>,
        clock: &Clock,
    ) -> Finding {
        let Enumeration { key, opener, .. } = enumeration;
        let is_current = self.trees.serve(opener.release());
        let found = match listed.map(|listed| Rc::new(Resource::new(*listed))) {
            Ok(listed) if is_current => Ok(Found::Resource(self.keep_listing(&key, listed, clock.now_ms()))),
            Ok(listed) => Ok(Found::Resource(listed)),
            Err(status) => {
                decided!("listing", "refused with {}", status.code());
                if is_current {
                    self.drop_listing(&key, status, clock.now_ms());
                }
                Err(status)
            }
        };
        Finding { key, release: Some(Arc::clone(opener.release())), found }
    }

    /// Keeps a listing, or the one that is kept already if they are the same, so that clients that take their time
    /// over it share one.
    fn keep_listing(&mut self, key: &[u8], listed: Rc<Resource>, now_ms: u64) -> Rc<Resource> {
        let validators = |resource: &Resource| resource.get(Coding::Identity).map(|only| *only.validators());
        if let Some(Hit::Fresh(kept) | Hit::Stale(kept)) = self.cache.get(key, now_ms)
            && validators(&kept) == validators(&listed)
        {
            self.cache.confirm(key, now_ms);
            return kept;
        }
        self.cache.insert(key, Rc::clone(&listed), now_ms);
        listed
    }

    fn drop_listing(&mut self, key: &[u8], status: Status, now_ms: u64) {
        self.cache.remove(key);
        if status == Status::NotFound {
            self.missing.insert(key, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::listing::{Column, Direction, Order, Settings};
    use super::super::plan::Plan;
    use super::super::release::Release;
    use super::super::resolve::Root;
    use super::*;
    use crate::settings::{SiteSettings, Symlinks, VirtualHosts};

    const KEY: &[u8] = b"\0?x";
    const NOW_S: i64 = 5_000_000_000;

    /// A tree with one file, and a site that lists it.
    fn site() -> (tempfile::TempDir, Site) {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("a"), "a").unwrap();
        let order = Order { column: Column::Name, direction: Direction::Ascending };
        let listing = Settings { formats: Formats::Preferred, hidden: false, order, entries_max: 10 };
        let settings = SiteSettings {
            root: tree.path().to_owned(),
            vhosts: VirtualHosts::default(),
            keep_release_ms: 0,
            plan: Plan { listing: Some(listing), ..Plan::default() }.into(),
            spa: None,
            error_pages: Vec::new(),
            hidden: false,
            symlinks: Symlinks::Inside,
            open_files_max: 8,
            memory_bytes_max: 1 << 20,
            lent_bytes_max: 128 << 20,
            check_interval_ms: 1_000,
        };
        let releases = Root::open(tree.path(), Symlinks::Inside).unwrap().into();
        (tree, Site::new(settings, &releases, Patience::MayWait))
    }

    fn enumeration(site: &Site, path: &[u8]) -> Enumeration {
        let order = Order { column: Column::Name, direction: Direction::Ascending };
        Enumeration {
            key: KEY.into(),
            path: path.to_vec(),
            asked: path.to_vec(),
            view: View { order, page: 1 },
            format: Format::Html,
            unix_s: NOW_S,
            opener: site.trees.chosen().opener.clone(),
            allowance: Arc::clone(&site.allowance),
        }
    }

    fn admit(site: &mut Site, enumeration: Enumeration, now_ms: u64) -> Result<Rc<Resource>, Status> {
        let listed = enumeration.run().map(Box::new);
        let clock = Clock::fixed(now_ms, NOW_S);
        match site.admit_listed(enumeration, listed, &clock).found {
            Ok(Found::Resource(resource)) => Ok(resource),
            Ok(other) => panic!("{other:?}"),
            Err(status) => Err(status),
        }
    }

    #[test]
    fn a_listing_that_says_the_same_is_the_one_that_is_kept() {
        let (tree, mut site) = site();
        let mut admit = |now_ms| {
            let enumeration = enumeration(&site, b"");
            let admitted = admit(&mut site, enumeration, now_ms).unwrap();
            assert!(matches!(site.cache.get(KEY, now_ms + 999), Some(Hit::Fresh(_))), "{now_ms}");
            assert!(matches!(site.cache.get(KEY, now_ms + 1_000), Some(Hit::Stale(_))), "{now_ms}");
            admitted
        };
        let (first, second) = (admit(0), admit(5_000));
        assert!(Rc::ptr_eq(&first, &second));
        fs::write(tree.path().join("b"), "b").unwrap();
        assert!(!Rc::ptr_eq(&first, &admit(10_000)));
    }

    #[test]
    fn the_content_counts_as_memory() {
        let (_tree, mut site) = site();
        let enumeration = enumeration(&site, b"");
        let listed = admit(&mut site, enumeration, 0).unwrap();
        let only = listed.get(Coding::Identity).unwrap();
        // Behind the descriptor, and once more to be sent with its head.
        assert_eq!(listed.memory_bytes() as u64, 2 * only.length());
    }

    #[test]
    fn what_is_not_there_is_believed_to_be_missing_and_what_is_refused_is_asked_for_again() {
        let (_tree, mut site) = site();
        for (path, status) in [(&b"nothing"[..], Status::NotFound), (b"dir\0", Status::BadRequest)] {
            let kept = enumeration(&site, b"");
            admit(&mut site, kept, 0).unwrap();
            site.missing.clear();
            let enumeration = enumeration(&site, path);
            assert_eq!(admit(&mut site, enumeration, 0).err(), Some(status));
            assert!(site.cache.get(KEY, 0).is_none(), "{status:?}");
            assert_eq!(site.missing.has(KEY, 0), status == Status::NotFound, "{status:?}");
        }
    }

    #[test]
    fn what_was_listed_below_another_root_is_not_kept() {
        let (tree, mut site) = site();
        let early = enumeration(&site, b"");
        site.replace_release(0, Release::first(Root::open(tree.path(), Symlinks::Inside).unwrap()));
        assert!(admit(&mut site, early, 0).is_ok(), "who waited for it gets it");
        assert!(site.cache.get(KEY, 0).is_none());
    }
}
