//! What a response has to be, given one state of the tree: status, validators, coding, length and every byte are those
//! of one version of one file. How preconditions, ranges and codings are read is the protocol's affair, and asked there.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::rc::Rc;

use oneloop_worker::site::digest;
use protocol::coding::{self, Choice, Coding, CodingSet};
use protocol::conditional::{self, Outcome};
use protocol::range::{self, Selection};
use protocol::validator::{EntityTag, Validators};
use protocol::{Method, Name, RequestHead, date};

use super::ledger::{Ledger, Version};
use super::response::Response;
use super::states::{State, Target};
use super::wire::Random;

/// How the files of a life are served.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub is_compressing: bool,
    pub has_tags_of_content: bool,
    pub has_page: bool,
    pub keeps_releases: bool,
    /// Whether there is no memory for what would have to be made.
    pub is_short: bool,
    /// For how long an entry is believed.
    pub interval_ms: u64,
}

impl Manner {
    pub fn new(random: &mut Random) -> Self {
        let is_compressing = random.chance(4);
        Self {
            is_compressing,
            has_tags_of_content: random.chance(3),
            has_page: random.chance(2),
            keeps_releases: random.chance(2),
            is_short: is_compressing && random.chance(4),
            interval_ms: [1_000, 1_000, 5_000, 0][random.below(4)],
        }
    }
}

/// One representation that may be chosen: its bytes and validators, and where the bytes come from.
struct Candidate {
    coding: Coding,
    validators: Validators,
    bytes: Rc<Vec<u8>>,
    /// The number of the file, if they are sent from one.
    file: Option<usize>,
}

/// What may be excused.
#[derive(Clone, Copy, Debug)]
pub struct Leniency {
    /// Nothing could be made: there was no memory, or the file changed.
    pub may_be_unmade: bool,
    /// And then there was nothing else, nor anybody to look again.
    pub may_be_unavailable: bool,
    /// Seconds since 1970 when the answer was given.
    pub unix_s: i64,
}

/// How the content of a response compares with what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Wrong(&'static str),
    /// Head and content are right; the content is sent from this file, if it is from one.
    Right(Option<usize>),
    /// The head is right, but the content differs: it is sent from this file, from this offset.
    WrongContent {
        file: usize,
        offset: usize,
    },
}

impl Verdict {
    /// Whether all is right but for what nobody can promise: a file that is written in place while it is sent.
    pub fn is_excusable(
        self,
        response: &Response,
        is_whole: bool,
        ledger: &Ledger,
        answered_step: usize,
    ) -> bool {
        let has_changed = |file: usize| ledger.has_changed_since(file, answered_step);
        match self {
            Self::Wrong(_) => false,
            Self::Right(file) => is_whole || file.is_some_and(has_changed),
            Self::WrongContent { file, offset } => {
                let may_be = |(at, &byte): (usize, &u8)| ledger.may_have_been(file, offset + at, byte);
                has_changed(file) && response.body.iter().enumerate().all(may_be)
            }
        }
    }
}

/// Whether the response is the one to that request in this state. Its content may be cut off.
pub fn judge(
    target: Target,
    state: &State,
    head: &RequestHead<'_>,
    response: &Response,
    manner: Manner,
    leniency: Leniency,
) -> Verdict {
    let files = match state {
        // The page is for another to judge.
        State::Missing => return status(response, 404),
        State::Forbidden => return status(response, 403),
        State::Redirect => return status(response, 301),
        State::Files(files) => files,
    };
    let found = files.iter().fold(CodingSet::EMPTY, |set, (coding, _)| set.with(*coding));
    let possible = possible(files, manner.is_compressing && target.is_text);
    let offered = possible.iter().fold(found, CodingSet::with);
    let chosen = match coding::choose(&head.fields, offered) {
        Choice::Acceptable(coding) => coding,
        Choice::NotAcceptable => Coding::Identity,
    };
    let varies = offered != CodingSet::IDENTITY;
    let mut verdict = Verdict::Wrong("neither the coding nor the file itself");
    // Once it is known that what lies there cannot be decoded, only that is on offer.
    let broken = Some(found).filter(|_| Candidate::of(files, Coding::Identity, manner).is_none());
    let instead = broken.map(|found| coding::choose(&head.fields, found)).and_then(|choice| match choice {
        Choice::Acceptable(coding) => Some(coding),
        Choice::NotAcceptable => None,
    });
    let tried = [Some(chosen), instead, Some(Coding::Identity).filter(|_| leniency.may_be_unmade)];
    for coding in tried.into_iter().flatten() {
        if leniency.may_be_unavailable && !found.contains(coding) && response.status == 503 {
            return Verdict::Right(None);
        }
        let Some(candidate) = Candidate::of(files, coding, manner) else {
            // What lies there cannot be decoded.
            verdict = better(verdict, status(response, 500));
            continue;
        };
        for is_date_strong in [false, true] {
            let modified_s = candidate.validators.last_modified_s;
            if is_date_strong && modified_s + 2 > leniency.unix_s {
                continue;
            }
            let validators = Validators { is_date_strong, ..candidate.validators };
            verdict = better(verdict, candidate.compare(head, response, &validators, varies));
        }
    }
    verdict
}

fn better(one: Verdict, other: Verdict) -> Verdict {
    match (one, other) {
        (Verdict::Right(_), _) | (Verdict::WrongContent { .. }, Verdict::Wrong(_)) => one,
        _ => other,
    }
}

const fn status(response: &Response, status: u16) -> Verdict {
    if response.status == status { Verdict::Right(None) } else { Verdict::Wrong("the status") }
}

/// The codings that can be made.
fn possible(files: &[(Coding, Rc<Version>)], is_text: bool) -> CodingSet {
    let Some((_, itself)) = files.iter().find(|(coding, _)| *coding == Coding::Identity) else {
        return CodingSet::IDENTITY;
    };
    let is_worth_it = is_text && itself.content.len() >= 1 << 10;
    [Coding::Brotli, Coding::Gzip]
        .into_iter()
        .filter(|coding| is_worth_it && files.iter().all(|(found, _)| found != coding))
        .fold(CodingSet::EMPTY, CodingSet::with)
}

impl Candidate {
    /// The representation in a coding, found or made; `None` if it cannot be made.
    fn of(files: &[(Coding, Rc<Version>)], coding: Coding, manner: Manner) -> Option<Self> {
        let found = files.iter().find(|(found, _)| *found == coding);
        let (source, bytes, file) = match found {
            Some((_, version)) => (version, Rc::clone(&version.content), Some(version.file)),
            None => {
                let itself = files.iter().find(|(found, _)| *found == Coding::Identity);
                let (from, source) = itself.or_else(|| files.first())?;
                (source, converted(source, *from, coding)?, None)
            }
        };
        let (s, ns) = source.modified;
        let tag = if manner.has_tags_of_content {
            EntityTag::from_digest(digest::of(&bytes))
        } else {
            EntityTag::from_modification(s, ns, source.content.len() as u64)
        };
        let validators =
            Validators { entity_tag: Some(tag.in_coding(coding)), last_modified_s: s, is_date_strong: false };
        Some(Self { coding, validators, bytes, file })
    }

    fn compare(
        &self,
        head: &RequestHead<'_>,
        response: &Response,
        validators: &Validators,
        varies: bool,
    ) -> Verdict {
        let (expected_status, first, last) = match self.select(head, validators) {
            Selected::Status(expected) if expected != 304 => return status(response, expected),
            Selected::Status(expected) => (expected, 0, 0),
            Selected::Part(expected, first, last) => (expected, first, last),
        };
        if response.status != expected_status {
            return Verdict::Wrong("the status");
        }
        let tag =
            validators.entity_tag.map(|tag| tag.as_bytes().escape_ascii().to_string().replace("\\\"", "\""));
        if response.field("ETag") != tag.as_deref() {
            return Verdict::Wrong("the tag");
        }
        let modified = date::format(validators.last_modified_s);
        if response.field("Last-Modified").map(str::as_bytes) != Some(&modified[..]) {
            return Verdict::Wrong("the time of modification");
        }
        if response.field("Vary") != varies.then_some("Accept-Encoding") {
            return Verdict::Wrong("on what it depends");
        }
        if expected_status == 304 {
            return if response.body.is_empty() {
                Verdict::Right(None)
            } else {
                Verdict::Wrong("it has content")
            };
        }
        let token = (self.coding != Coding::Identity).then(|| self.coding.token());
        if response.field("Content-Encoding") != token {
            return Verdict::Wrong("the coding");
        }
        if response.length() != last - first {
            return Verdict::Wrong("the length");
        }
        let range = format!("bytes {first}-{}/{}", last.max(1) - 1, self.bytes.len());
        if response.field("Content-Range") != (expected_status == 206).then_some(&*range) {
            return Verdict::Wrong("the range");
        }
        self.compare_content(head, response, first, last)
    }

    fn compare_content(
        &self,
        head: &RequestHead<'_>,
        response: &Response,
        first: usize,
        last: usize,
    ) -> Verdict {
        let content = &self.bytes[first..last];
        let content = if head.method == Method::Head { &[] } else { content };
        match (content.starts_with(&response.body), self.file) {
            (true, file) => Verdict::Right(file),
            (false, Some(file)) if response.body.len() <= content.len() => {
                Verdict::WrongContent { file, offset: first }
            }
            (false, _) => Verdict::Wrong("the content"),
        }
    }

    fn select(&self, head: &RequestHead<'_>, validators: &Validators) -> Selected {
        match conditional::evaluate(&head.fields, validators) {
            Outcome::NotModified => return Selected::Status(304),
            Outcome::PreconditionFailed => return Selected::Status(412),
            Outcome::Proceed => {}
        }
        let whole = Selected::Part(200, 0, self.bytes.len());
        let range = head.fields.only(Name::Range).filter(|_| head.method == Method::Get);
        let Some(range) = range.filter(|_| conditional::range_applies(&head.fields, validators)) else {
            return whole;
        };
        match range::select(range, self.bytes.len() as u64) {
            Selection::Whole => whole,
            Selection::Unsatisfiable => Selected::Status(416),
            Selection::Part(part) => Selected::Part(206, part.first() as usize, part.last() as usize + 1),
        }
    }
}

enum Selected {
    Status(u16),
    Part(u16, usize, usize),
}

type Converted = HashMap<(usize, Coding, Coding), Option<Rc<Vec<u8>>>>;

thread_local! {
    /// What was made of versions before, as far as it could be.
    static CONVERTED: RefCell<Converted> = RefCell::default();
}

/// Forgets what was made of the versions of a life.
pub fn forget() {
    CONVERTED.with(|converted| converted.borrow_mut().clear());
}

/// The content in another coding, by the same means as the server's, which yield the same bytes each time.
fn converted(source: &Version, from: Coding, to: Coding) -> Option<Rc<Vec<u8>>> {
    let key = (source.number, from, to);
    if let Some(known) = CONVERTED.with(|converted| converted.borrow().get(&key).cloned()) {
        return known;
    }
    let made = convert(&source.content, from, to).map(Rc::new);
    CONVERTED.with(|converted| converted.borrow_mut().insert(key, made.clone()));
    made
}

fn convert(content: &[u8], from: Coding, to: Coding) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match (from, to) {
        (Coding::Gzip, Coding::Identity) => {
            flate2::read::MultiGzDecoder::new(content).read_to_end(&mut out).ok()?;
        }
        // No version is that by chance.
        (_, Coding::Identity) => return None,
        (_, Coding::Gzip) => {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::default());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap();
        }
        _ => {
            let mut encoder = brotli::CompressorWriter::new(&mut out, 64 << 10, 5, 22);
            encoder.write_all(content).unwrap();
            encoder.flush().unwrap();
            drop(encoder);
        }
    }
    Some(out)
}
