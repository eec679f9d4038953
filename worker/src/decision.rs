//! What was decided about a request, told as it is decided to whoever wants to know: `oneloop explain`, or a log at
//! the level of traces.
//!
//! Each decision tells itself where it is made, as an event of [`tracing`], so what is told cannot differ from what
//! is done. Where nobody listens, that costs a load and a branch; the answer from a fresh entry of the cache tells
//! nothing, and so costs nothing. Nothing in here decides.

use std::borrow::Cow;
use std::fmt;

use protocol::coding::Preferences;
use protocol::{Fields, Method, Name, RareName, RequestHead, Status, conditional, date};

use crate::site::Answer;
use crate::site::representation::Representation;
use crate::site::resource::{Offer, Resource};

/// The target of the events. Each has a field `step`, a word for what is decided, and a message.
pub const TARGET: &str = "decision";

/// Tells a decision: a word for what is decided, and how, as for [`format!`]. The arguments are looked at only if
/// somebody listens.
macro_rules! decided {
    ($step:literal, $($message:tt)+) => {
        tracing::trace!(target: $crate::decision::TARGET, step = $step, $($message)+)
    };
}
pub(crate) use decided;

/// Whether somebody listens.
#[inline]
pub(crate) fn is_told() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::TRACE)
}

/// Tells between which codings the client can choose, and what it gets.
#[cold]
pub(crate) fn tell_coding(resource: &Resource, fields: &Fields<'_>) {
    let preferences = Preferences::of(fields);
    for value in fields.find_all(RareName::AcceptEncoding) {
        decided!("coding", "Accept-Encoding: {}", text(value));
    }
    if fields.find_all(RareName::AcceptEncoding).next().is_none() {
        decided!("coding", "no Accept-Encoding: the file as it is, if it is there");
    }
    for coding in resource.offered().iter() {
        let state = if resource.get(coding).is_some() { "is there" } else { "can be made" };
        decided!("coding", "{} {state}, {}", coding.token(), Weight(preferences.weight(coding)));
    }
    match resource.choose(fields) {
        Offer::Representation(chosen) => decided!("coding", "{} is chosen", chosen.coding().token()),
        Offer::Make(coding) => decided!("coding", "{} is chosen, and made first", coding.token()),
        Offer::Nothing => decided!("coding", "the client takes none of them, and nothing else can be made"),
    }
}

/// A value of a field, which holds no control characters.
fn text(value: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(value)
}

/// A weight in thousandths, as the client gave it.
struct Weight(Option<u16>);

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("refused by the client"),
            Some(0) => f.write_str("taken if nothing better is there"),
            Some(weight) => write!(f, "q={}.{:03}", weight / 1000, weight % 1000),
        }
    }
}

/// Tells what preconditions and ranges came to.
#[cold]
pub(crate) fn tell_selection(head: &RequestHead<'_>, representation: &Representation, answer: &Answer) {
    let validators = representation.validators();
    if let Some(tag) = &validators.entity_tag {
        decided!("validators", "ETag {}", text(tag.as_bytes()));
    }
    let strength = if validators.is_date_strong { "" } else { ", too recent to tell versions apart" };
    let modified = date::format(validators.last_modified_s);
    decided!("validators", "Last-Modified {}{strength}", text(&modified));
    tell_conditions(&head.fields, answer);
    tell_range(head, representation, answer);
}

fn tell_conditions(fields: &Fields<'_>, answer: &Answer) {
    let names = [Name::IfMatch, Name::IfUnmodifiedSince, Name::IfNoneMatch, Name::IfModifiedSince];
    for name in names.into_iter().filter(|&name| fields.has(name)) {
        for value in fields.all(name) {
            decided!("condition", "{}: {}", name.as_str(), text(value));
        }
    }
    if fields.has_any(names) {
        match answer {
            Answer::NotModified(_) => decided!("condition", "the client has this very version"),
            Answer::Refusal(Status::PreconditionFailed) => {
                decided!("condition", "this is not the version that the client means");
            }
            _ => decided!("condition", "none of them stands in the way"),
        }
    }
}

fn tell_range(head: &RequestHead<'_>, representation: &Representation, answer: &Answer) {
    let Some(range) = head.fields.get(Name::Range) else { return };
    decided!("range", "Range: {} of {} bytes", text(range), representation.length());
    match answer {
        Answer::Part(_, part) => decided!("range", "bytes {} to {}", part.first(), part.last()),
        Answer::Parts(_, parts) => {
            for part in parts.as_slice() {
                decided!("range", "bytes {} to {}", part.first(), part.last());
            }
        }
        Answer::RangeNotSatisfiable(_) => decided!("range", "there are no such bytes"),
        Answer::Whole(_) if head.method != Method::Get => {
            decided!("range", "passed over: only GET has ranges");
        }
        Answer::Whole(_) if !conditional::range_applies(&head.fields, representation.validators()) => {
            decided!("range", "passed over: If-Range does not name this very version");
        }
        Answer::Whole(_) => decided!("range", "passed over: no ranges of bytes, or too many"),
        _ => decided!("range", "passed over: no content is sent"),
    }
}
