//! Where a path leads: from the cache, from the file system, or to something that somebody who may wait has to do first
//! and whose outcome is taken in here.

use std::rc::Rc;
use std::sync::Arc;

use protocol::coding::Coding;
use protocol::target::{self, DecodedPath};
use protocol::{Status, accept};

use super::cache::Hit;
use super::making::{Making, Unmade};
use super::manifest::is_manifest;
use super::opening::{Opened, Opening, Wanted};
use super::release::Release;
use super::representation::Representation;
use super::resolve::{Obstacle, Patience};
use super::resource::{Offer, Resource};
use super::{Asked, Site};
use crate::clock::Clock;
use crate::cold::Task;
use crate::decision::{self, decided};
use crate::throttle;

/// What a helper found out, under the key that it was asked for by.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The key.
    pub key: Box<[u8]>,
    /// The release that was asked about, if it matters; by now another one may be served.
    pub release: Option<Arc<Release>>,
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
    /// One that cannot be made: there is still the file itself.
    Unmade,
    /// Nothing any more: what it was to be made of has become another version, which is to be looked at.
    Changed,
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
    /// To nothing here: a rule sends the client to another place, with this status.
    Elsewhere(Status),
}

pub(super) const NOT_FOUND: Obstacle = Obstacle::Refused(Status::NotFound);

impl Site {
    /// Where a path leads that no fresh entry answers for as it was asked.
    pub(super) fn locate(&mut self, path: &[u8], asked: &Asked<'_>) -> Result<Located, Obstacle> {
        let located = self.locate_decoded(path, asked);
        if matches!(located, Err(NOT_FOUND)) && self.is_of_this_release(asked) && self.is_news(asked) {
            self.missing.insert(self.trees.key_of(path, &mut self.key), asked.clock.now_ms());
        }
        located
    }

    /// Whether all that was found out for a request is about a release that is served now. If it is not, the request
    /// may end on what it began on, but nothing that comes later must hear of it.
    pub(super) fn is_of_this_release(&self, asked: &Asked<'_>) -> bool {
        let is_served =
            |finding: &Finding| finding.release.as_ref().is_none_or(|release| self.trees.serve(release));
        asked.findings.iter().all(is_served)
    }

    /// Whether what was found out about the path is not older than what other errands have found out since. That may
    /// have taken long.
    fn is_news(&self, asked: &Asked<'_>) -> bool {
        let is_about_it = |finding: &Finding| *finding.key == *self.key;
        asked.findings.last().is_none_or(is_about_it) || !asked.findings.iter().any(is_about_it)
    }

    fn locate_decoded(&mut self, raw: &[u8], asked: &Asked<'_>) -> Result<Located, Obstacle> {
        let decoded = target::decode_path(raw, &mut self.path).map_err(|error| {
            decided!("path", "{error}");
            Obstacle::Refused(error.status())
        })?;
        if !self.settings.plan.routes.is_empty()
            && let Some(located) = self.locate_routed(&decoded, asked)
        {
            return located;
        }
        if decoded.is_hidden && self.hides() {
            return Err(NOT_FOUND);
        }
        self.make_key(raw, &decoded);
        let wanted = if decoded.is_directory { Wanted::Directory } else { Wanted::File };
        self.locate_by_key(wanted, asked)
    }

    /// Whether `self.path`, in which a name starts with a dot, is not to be found. A manifest never is: it names files
    /// that may be nobody's business.
    pub(super) fn hides(&self) -> bool {
        let is_manifest = is_manifest(&self.path);
        if is_manifest {
            decided!("hidden", "the manifest is not served");
        } else if !self.settings.hidden {
            decided!("hidden", "{}: a name in it starts with a dot", self.path.escape_ascii());
        }
        is_manifest || !self.settings.hidden
    }

    /// Where a path that names no file leads all the same: a directory may be listed, and an application that draws
    /// its pages in the browser takes over where somebody navigates.
    pub(super) fn locate_instead(&mut self, asked: &Asked<'_>) -> Result<Located, Obstacle> {
        if let Some(settings) = self.settings.plan.listing {
            match self.locate_listing(&settings, asked) {
                Err(NOT_FOUND) => {}
                located => return located,
            }
        }
        let Some(file) = &self.settings.spa else { return Err(NOT_FOUND) };
        if !accept::is_navigation(asked.head.method, &asked.head.fields) {
            decided!("application", "not for this: nobody navigates");
            return Err(NOT_FOUND);
        }
        decided!("application", "somebody navigates to what is not there: {file}");
        self.path.clear();
        self.path.extend_from_slice(file.as_bytes());
        self.trees.begin_key(&mut self.key);
        self.key.extend_from_slice(b"\0~");
        self.key.extend_from_slice(file.as_bytes());
        self.locate_by_key(Wanted::Application, asked)
    }

    /// What is at `self.path`, which is kept under `self.key`.
    pub(super) fn locate_by_key(&mut self, wanted: Wanted, asked: &Asked<'_>) -> Result<Located, Obstacle> {
        (self.path_bytes, self.wanted) = (self.path.len(), wanted);
        // Of several, the last one is about what was made of the others.
        let finding = asked.findings.iter().rfind(|finding| *finding.key == *self.key);
        match finding.and_then(|finding| self.locate_found(finding, asked)) {
            // It has changed since it was opened.
            Some(Ok(Located::File(representation))) if !representation.is_intact() => {}
            Some(located) => return located,
            None => {}
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
        decided!("path", "/{}, which is to be {wanted}", self.path.escape_ascii());
        let opener = &self.trees.chosen().opener;
        let opened = opener.open(&mut self.path, wanted, known.as_deref(), clock.unix_s(), self.patience);
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
        if decision::is_told() {
            decision::tell_coding(&resource, &asked.head.fields);
        }
        self.choose(&resource, asked)
    }

    /// What somebody who may wait has found out for this very request, whatever the cache has made of it.
    pub(super) fn locate_found(
        &mut self,
        finding: &Finding,
        asked: &Asked<'_>,
    ) -> Option<Result<Located, Obstacle>> {
        Some(match &finding.found {
            Ok(Found::Resource(resource)) => self.choose(resource, asked),
            Ok(Found::Made(representation)) => Ok(Located::File(Rc::clone(representation))),
            // The file may have changed while it was read: it is looked at as if for the first time.
            Ok(Found::Unmade | Found::Changed) => return None,
            Ok(Found::Directory) => Ok(Located::Directory),
            Err(status) => Err(Obstacle::Refused(*status)),
        })
    }

    /// The representation that suits the client.
    pub(super) fn choose(&mut self, resource: &Rc<Resource>, asked: &Asked<'_>) -> Result<Located, Obstacle> {
        match resource.choose(&asked.head.fields) {
            Offer::Representation(representation) => Ok(Located::File(representation)),
            // The file itself is always on offer, unless it cannot be had of what lies there: that is broken, and no
            // fault of the client's, whom another answer than to the first who asked would tell nothing more.
            Offer::Nothing => Err(Obstacle::Refused(Status::InternalServerError)),
            Offer::Make(coding) => self.make(resource, coding, asked),
        }
    }

    fn make(&mut self, resource: &Resource, coding: Coding, asked: &Asked<'_>) -> Result<Located, Obstacle> {
        let making = resource.making(&self.key, coding, &self.allowance, asked.clock.unix_s());
        let making = making.ok_or(Obstacle::Refused(Status::InternalServerError))?;
        decided!("coding", "{} is made of {}", coding.token(), making.from.token());
        let is_unmade =
            |finding: &Finding| *finding.key == *self.key && matches!(finding.found, Ok(Found::Unmade));
        if asked.findings.iter().any(is_unmade) {
            return itself(resource, Status::InternalServerError);
        }
        if self.patience == Patience::Never {
            self.errand = Some(Box::new(Task::Make(Box::new(making))));
            return Err(Obstacle::Cold);
        }
        match making.run().map(Rc::new) {
            Ok(made) => {
                self.cache.add_made(&making, &made);
                Ok(Located::File(made))
            }
            Err(unmade) => itself(resource, self.go_without(&making, &unmade)),
        }
    }

    /// What can never be made is not offered again until the file changes. Yields the status to refuse those with who
    /// can get nothing else.
    fn go_without(&mut self, making: &Making, unmade: &Unmade) -> Status {
        match unmade {
            Unmade::Never(error) => {
                let (name, to) = (making.recipe.name.escape_ascii(), making.to.token());
                tracing::warn!(%name, to, %error, "cannot code or decode a file that is served");
                decided!("coding", "{to} cannot be made: {error}");
                self.cache.renounce(making);
                Status::InternalServerError
            }
            Unmade::NotNow(error) => {
                throttle::FILES.error(error, "cannot code or decode a file for now");
                Status::ServiceUnavailable
            }
            Unmade::Changed => {
                decided!("coding", "{unmade}");
                self.cache.remove_source_of(making);
                Status::ServiceUnavailable
            }
        }
    }

    /// The key is the path as asked for, if that is also how it is decoded. Any other spelling shares one key
    /// that begins with NUL, as no path does, so that no spelling can ever meet another path's entry. Before either
    /// stands what tells the trees apart.
    fn make_key(&mut self, raw: &[u8], decoded: &DecodedPath) {
        self.trees.begin_key(&mut self.key);
        let start = self.key.len();
        self.key.push(0);
        self.key.push(b'/');
        self.key.extend_from_slice(&self.path);
        if decoded.is_directory && !self.path.is_empty() {
            self.key.push(b'/');
        }
        if self.key.get(start + 1..) == Some(raw) {
            self.key.remove(start);
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
            opener: self.trees.chosen().opener.clone(),
        }
    }

    /// Takes in what was opened elsewhere, so that the next request finds it, and whoever waits for it.
    pub fn admit(&mut self, opening: Opening, opened: Result<Opened, Status>, clock: &Clock) -> Finding {
        let found = match opened {
            Ok(Opened::Files(files)) => Ok(Found::Resource(Rc::new(Resource::new(files)))),
            Ok(Opened::Directory | Opened::Unchanged) => Ok(Found::Directory),
            Err(status) => Err(status),
        };
        let Opening { key, opener, .. } = opening;
        let release = Arc::clone(opener.release());
        let found = if self.trees.serve(&release) { self.keep(&key, found, clock) } else { found };
        Finding { key, release: Some(release), found }
    }

    /// Keeps what is at a path; or, if that is what was there before, keeps that, with all that was made of it.
    fn keep(&mut self, key: &[u8], found: Result<Found, Status>, clock: &Clock) -> Result<Found, Status> {
        let now_ms = clock.now_ms();
        match found {
            Ok(Found::Resource(resource)) => {
                if let Some(Hit::Fresh(known) | Hit::Stale(known)) = self.cache.get(key, now_ms)
                    && known.is_same_as(&resource)
                {
                    self.cache.confirm(key, now_ms);
                    return Ok(Found::Resource(known));
                }
                self.cache.insert(key, Rc::clone(&resource), now_ms);
                Ok(Found::Resource(resource))
            }
            Err(status) => {
                self.cache.remove(key);
                Err(status)
            }
            other => other,
        }
    }

    /// Takes in what was made elsewhere.
    pub fn admit_made(&mut self, making: Making, made: Result<Box<Representation>, Unmade>) -> Finding {
        let found = match made {
            Ok(made) => {
                let made = Rc::from(made);
                self.cache.add_made(&making, &made);
                Ok(Found::Made(made))
            }
            Err(unmade) => {
                let status = self.go_without(&making, &unmade);
                match unmade {
                    // There is still the file itself, whatever it is by now.
                    _ if making.to != Coding::Identity => Ok(Found::Unmade),
                    Unmade::Changed => Ok(Found::Changed),
                    Unmade::Never(_) | Unmade::NotNow(_) => Err(status),
                }
            }
        };
        Finding { key: making.key, release: None, found }
    }
}

/// Without a coding there is still the file itself; without the file itself there is nothing.
fn itself(resource: &Resource, otherwise: Status) -> Result<Located, Obstacle> {
    let itself = resource.get(Coding::Identity).map(|itself| Located::File(Rc::clone(itself)));
    itself.ok_or(Obstacle::Refused(otherwise))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use protocol::coding::CodingSet;
    use protocol::http1::head::FieldLines;
    use protocol::{Http1, Limits};

    use super::*;
    use crate::settings::{SiteSettings, Symlinks, VirtualHosts};
    use crate::site::Answer;
    use crate::site::fields::{FieldPolicy, FieldRule};
    use crate::site::opening::Opener;
    use crate::site::plan::Plan;
    use crate::site::release::Releases;
    use crate::site::resolve::Root;
    use crate::site::trees::Trees;

    const HOUR_MS: u64 = 3_600_000;
    const LIMITS: Limits =
        Limits { head_bytes_max: 1_000, target_bytes_max: 1_000, fields_max: 10, content_bytes_max: 0 };

    fn directory(files: &[&str]) -> (tempfile::TempDir, Arc<Release>) {
        let directory = tempfile::tempdir().unwrap();
        for name in files {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let root = Root::open(directory.path(), Symlinks::Inside).unwrap();
        (directory, Release::first(root))
    }

    fn site(root: &Arc<Release>) -> Site {
        let rule = FieldRule {
            paths: Some("/private/**".parse().unwrap()),
            name: "X-Private".into(),
            value: "yes".into(),
        };
        let fields = FieldPolicy { rules: vec![rule], ..FieldPolicy::default() };
        let settings = SiteSettings {
            root: "/".into(),
            vhosts: VirtualHosts::default(),
            keep_release_ms: 0,
            plan: Plan { fields, ..Plan::default() }.into(),
            spa: None,
            error_pages: vec![(Status::NotFound, "404.html".to_owned())],
            hidden: false,
            symlinks: Symlinks::Inside,
            open_files_max: 16,
            memory_bytes_max: 1 << 20,
            lent_bytes_max: 128 << 20,
            check_interval_ms: HOUR_MS,
        };
        Site::new(settings, &Releases::new(Arc::clone(root), Vec::new()), Patience::MayWait)
    }

    fn ask(site: &mut Site, path: &str, clock: &Clock, findings: &[Finding]) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut lines = FieldLines::new();
        let received = Http1::new().receive_head(request.as_bytes(), &mut lines, &LIMITS);
        let (head, _) = received.unwrap().unwrap();
        site.answer(&Asked { head: &head, clock, findings }).unwrap()
    }

    fn opening(root: &Arc<Release>, key: &str) -> Opening {
        let opener = Opener::new(Arc::clone(root), Arc::default());
        let path = key.trim_start_matches('/').into();
        Opening { key: key.as_bytes().into(), path, wanted: Wanted::File, unix_s: i64::MAX, opener }
    }

    #[test]
    fn what_was_missing_below_another_root_is_not_believed_to_be_missing_below_this_one() {
        let (_empty, old) = directory(&[]);
        let (_full, new) = directory(&["a", "404.html"]);
        let mut site = site(&old);
        let clock = Clock::fixed(5_000, 1_000_000_000);
        let missing = |site: &mut Site, key| site.admit(opening(&old, key), Err(Status::NotFound), &clock);
        // One helper is done just before the root is replaced, the other one after it.
        let early = missing(&mut site, "/a");
        site.replace_release(0, new);
        let late = missing(&mut site, "\0!404.html");
        let ended = ask(&mut site, "/a", &clock, &[early, late]);
        assert!(matches!(ended, Answer::Refusal(Status::NotFound)), "{ended:?}");
        assert!(matches!(ask(&mut site, "/a", &clock, &[]), Answer::Whole(_)));
        assert!(matches!(ask(&mut site, "/b", &clock, &[]), Answer::Page(Status::NotFound, _)));
    }

    #[test]
    fn what_is_opened_again_and_has_not_changed_is_kept_with_all_that_was_made_of_it() {
        let (directory, root) = directory(&["a"]);
        let mut site = site(&root);
        let clock = Clock::fixed(5_000, i64::MAX);
        let mut admit = || {
            let mut opening = opening(&root, "/a");
            let opened = opening.run();
            match site.admit(opening, opened, &clock).found {
                Ok(Found::Resource(resource)) => resource,
                other => panic!("{other:?}"),
            }
        };
        let (first, again) = (admit(), admit());
        assert!(Rc::ptr_eq(&first, &again));
        fs::write(directory.path().join("a"), "longer").unwrap();
        assert!(!Rc::ptr_eq(&first, &admit()));
    }

    #[test]
    fn a_file_that_has_changed_since_a_helper_opened_it_is_looked_at_anew() {
        let (directory, root) = directory(&[]);
        let path = directory.path().join("a");
        fs::write(&path, [b'a'; 20_000]).unwrap();
        let mut site = site(&root);
        let clock = Clock::fixed(5_000, i64::MAX);
        let mut opening = opening(&root, "/a");
        let opened = opening.run();
        fs::write(&path, [b'b'; 20_000]).unwrap();
        fs::File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let finding = site.admit(opening, opened, &clock);
        let answer = ask(&mut site, "/a", &clock, &[finding]);
        let Answer::Whole(representation) = answer else { panic!("{answer:?}") };
        assert!(representation.is_intact(), "old validators would meet new content");
    }

    #[test]
    fn what_was_missing_before_another_errand_is_not_believed_to_be_missing_since() {
        let (directory, root) = directory(&["404.html"]);
        let mut site = site(&root);
        let (early, late) = (Clock::fixed(5_000, i64::MAX), Clock::fixed(5_000 + HOUR_MS, i64::MAX));
        let found = |site: &mut Site, key, clock| {
            let mut opening = opening(&root, key);
            opening.path = key.trim_start_matches(['\0', '!', '/']).into();
            let opened = opening.run();
            site.admit(opening, opened, clock)
        };
        let path = found(&mut site, "/a", &early);
        fs::write(directory.path().join("a"), "a").unwrap();
        let page = found(&mut site, "\0!404.html", &late);
        let answer = ask(&mut site, "/a", &late, &[path, page]);
        assert!(matches!(answer, Answer::Page(Status::NotFound, _)), "{answer:?}");
        let answer = ask(&mut site, "/a", &late, &[]);
        assert!(matches!(answer, Answer::Whole(_)), "an hour later than it came: {answer:?}");
    }

    #[test]
    fn what_was_to_be_decoded_and_has_changed_meanwhile_is_looked_at_anew() {
        let gzip = |text: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let (directory, root) = directory(&[]);
        let path = directory.path().join("a.gz");
        fs::write(&path, gzip("before")).unwrap();
        let mut site = site(&root);
        let plan = Plan { precompressed: CodingSet::COMPRESSING, ..Plan::default() };
        site.settings.plan = plan.into();
        site.trees = Trees::new(&site.settings, &Releases::new(root, Vec::new()));
        site.patience = Patience::Never;
        let clock = Clock::fixed(5_000, i64::MAX);
        let mut lines = FieldLines::new();
        let received = Http1::new().receive_head(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", &mut lines, &LIMITS);
        let (head, _) = received.unwrap().unwrap();
        let mut findings = Vec::new();
        let answer = loop {
            findings.push(match site.answer(&Asked { head: &head, clock: &clock, findings: &findings }) {
                Ok(answer) => break answer,
                Err(task) => match *task {
                    Task::Open(mut opening) => {
                        let opened = opening.run();
                        site.admit(*opening, opened, &clock)
                    }
                    Task::Make(making) => {
                        let has_changed = fs::read(&path).unwrap() == gzip("after it was found");
                        if !has_changed {
                            fs::write(&path, gzip("after it was found")).unwrap();
                        }
                        site.admit_made(*making.clone(), making.run().map(Box::new))
                    }
                    task => panic!("{task:?}"),
                },
            });
        };
        let Answer::Whole(representation) = answer else { panic!("{answer:?}") };
        assert_eq!(representation.in_memory(0, 18), Some(&b"after it was found"[..]));
    }

    #[test]
    fn a_page_of_an_error_has_no_validators_in_any_coding() {
        let (directory, root) = directory(&[]);
        fs::write(directory.path().join("404.html"), "nothing here, ".repeat(200)).unwrap();
        let mut site = site(&root);
        let plan = Plan { compress: true, ..Plan::default() };
        site.settings.plan = plan.into();
        site.trees = Trees::new(&site.settings, &Releases::new(root, Vec::new()));
        for coding in ["identity", "gzip", "br"] {
            let mut lines = FieldLines::new();
            let request = format!("GET /a HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {coding}\r\n\r\n");
            let received = Http1::new().receive_head(request.as_bytes(), &mut lines, &LIMITS);
            let (head, _) = received.unwrap().unwrap();
            let clock = Clock::fixed(5_000, i64::MAX);
            let answer = site.answer(&Asked { head: &head, clock: &clock, findings: &[] }).unwrap();
            let Answer::Page(Status::NotFound, page) = answer else { panic!("{answer:?}") };
            assert_eq!(page.coding().token(), coding);
            let fields = page.heads().fields.escape_ascii().to_string();
            for absent in ["ETag", "Last-Modified", "Accept-Ranges"] {
                assert!(!fields.contains(absent), "{coding}: {fields}");
            }
        }
    }

    #[test]
    fn a_refusal_has_the_fields_of_its_own_path() {
        let (_directory, root) = directory(&[]);
        let mut site = site(&root);
        for (path, line) in [(&b"/private/a"[..], &b"X-Private: yes\r\n"[..]), (b"/public", b"")] {
            let mut lines = FieldLines::new();
            let request = [b"GET ", path, b" HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
            let (head, _) = Http1::new().receive_head(&request, &mut lines, &LIMITS).unwrap().unwrap();
            site.refuse(Status::ServiceUnavailable, &head);
            assert_eq!(site.extras().fields, line);
        }
    }
}
