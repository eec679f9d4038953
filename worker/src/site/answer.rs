//! What can be said to a request, and how a representation is chosen from by preconditions and ranges.

use std::rc::Rc;
use std::sync::Arc;

use protocol::conditional::{self, Outcome};
use protocol::range::{self, ByteRange, Parts, Selection, SeveralSelection};
use protocol::{Method, Name, RequestHead, Status};

use super::representation::Representation;
use crate::rate::TooMany;

/// What to say to a request.
#[derive(Debug)]
pub enum Answer {
    /// 200 with the whole representation.
    Whole(Rc<Representation>),
    /// 206 with a part of it.
    Part(Rc<Representation>, ByteRange),
    /// 206 with several of them.
    Parts(Rc<Representation>, Box<Parts>),
    /// 304: the client has it.
    NotModified(Rc<Representation>),
    /// 416: it has no such part.
    RangeNotSatisfiable(Rc<Representation>),
    /// A redirect to [`Extras::location`](super::Extras::location).
    Redirect(Status),
    /// 204 with what is allowed.
    Options,
    /// An error, with the page that the operator wrote for it.
    Page(Status, Rc<Representation>),
    /// An error, with a page of ours.
    Refusal(Status),
    /// 401 with this challenge.
    Challenge(Arc<str>),
    /// 429: the client has asked too often.
    TooMany(TooMany),
}

/// Preconditions first, then ranges: RFC 9110 §13.2.2.
pub(super) fn select(head: &RequestHead<'_>, representation: Rc<Representation>) -> Answer {
    match conditional::evaluate(&head.fields, representation.validators()) {
        Outcome::Proceed => {}
        Outcome::NotModified => return Answer::NotModified(representation),
        Outcome::PreconditionFailed => return Answer::Refusal(Status::PreconditionFailed),
    }
    let range = head.fields.only(Name::Range).filter(|_| head.method == Method::Get);
    let Some(range) = range.filter(|_| conditional::range_applies(&head.fields, representation.validators()))
    else {
        return Answer::Whole(representation);
    };
    match range::select(range, representation.length()) {
        Selection::Whole => select_several(range, representation),
        Selection::Part(part) => Answer::Part(representation, part),
        Selection::Unsatisfiable => Answer::RangeNotSatisfiable(representation),
    }
}

/// What to answer to a `Range` that is not one range.
#[cold]
#[inline(never)]
fn select_several(range: &[u8], representation: Rc<Representation>) -> Answer {
    match range::select_several(range, representation.length()) {
        SeveralSelection::Whole => Answer::Whole(representation),
        SeveralSelection::Part(part) => Answer::Part(representation, part),
        SeveralSelection::Parts(parts) => Answer::Parts(representation, Box::new(parts)),
        SeveralSelection::Unsatisfiable => Answer::RangeNotSatisfiable(representation),
    }
}
