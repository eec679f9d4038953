//! Conditional requests (RFC 9110 §13): whether a GET or HEAD is carried out, and whether its `Range` counts.
//!
//! Owns the five precondition fields and their order. Everything here is about a representation that exists;
//! for what does not, preconditions mean nothing, as the answer is an error anyway (RFC 9110 §13.2.1).

use crate::date;
use crate::field::{Fields, Name};
use crate::validator::{self, Candidate, Validators};

/// What the preconditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answer as if there were none.
    Proceed,
    /// The client has the representation already: 304.
    NotModified,
    /// The representation is not the one the client means: 412.
    PreconditionFailed,
}

/// Evaluates the preconditions of a GET or HEAD, in the order of RFC 9110 §13.2.2. A request without any costs
/// one bit test.
#[must_use]
pub fn evaluate(fields: &Fields<'_>, validators: &Validators) -> Outcome {
    let names = [Name::IfMatch, Name::IfUnmodifiedSince, Name::IfNoneMatch, Name::IfModifiedSince];
    if fields.has_any(names) { decide(fields, validators) } else { Outcome::Proceed }
}

fn decide(fields: &Fields<'_>, validators: &Validators) -> Outcome {
    let modified_s = date::clamp(validators.last_modified_s);
    if fields.has(Name::IfMatch) {
        if !any_tag(fields, Name::IfMatch, validators, Comparison::Strong) {
            return Outcome::PreconditionFailed;
        }
    } else if only_date(fields, Name::IfUnmodifiedSince).is_some_and(|since_s| modified_s > since_s) {
        return Outcome::PreconditionFailed;
    }
    if fields.has(Name::IfNoneMatch) {
        if any_tag(fields, Name::IfNoneMatch, validators, Comparison::Weak) {
            return Outcome::NotModified;
        }
    } else if only_date(fields, Name::IfModifiedSince).is_some_and(|since_s| modified_s <= since_s) {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// Whether a `Range` field is to be heeded: there is no `If-Range`, or it names this very representation by a
/// strong entity tag or by its exact `Last-Modified`, if that is a strong validator (RFC 9110 §13.1.5).
#[must_use]
pub fn range_applies(fields: &Fields<'_>, validators: &Validators) -> bool {
    if !fields.has(Name::IfRange) {
        return true;
    }
    let Some(value) = fields.only(Name::IfRange) else { return false };
    match (Candidate::parse(value), validators.entity_tag) {
        (Some(candidate), Some(ours)) => ours.matches_strongly(candidate),
        (Some(_), None) => false,
        (None, _) => {
            validators.is_date_strong && date::parse(value) == Some(date::clamp(validators.last_modified_s))
        }
    }
}

#[derive(Clone, Copy)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags, spread over any number of lines, names our tag; `*` alone names every one.
fn any_tag(fields: &Fields<'_>, name: Name, validators: &Validators, comparison: Comparison) -> bool {
    let only = fields.only(name);
    if only == Some(b"*") {
        return true;
    }
    let Some(ours) = &validators.entity_tag else { return false };
    // What nearly every client sends: the tag as it got it, which is a list of one and need not be taken apart.
    if only == Some(ours.as_bytes()) {
        return true;
    }
    fields.all(name).flat_map(validator::candidates).any(|candidate| match comparison {
        Comparison::Strong => ours.matches_strongly(candidate),
        Comparison::Weak => ours.matches_weakly(candidate),
    })
}

/// The date of a field that comes once and holds one; in any other case it is to be ignored (RFC 9110 §13.1.3).
fn only_date(fields: &Fields<'_>, name: Name) -> Option<i64> {
    fields.only(name).and_then(date::parse)
}

#[cfg(test)]
mod tests {
    use httparse::Header;

    use super::*;
    use crate::validator::EntityTag;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const EXACT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const EXACT_S: i64 = 784_111_777;
    /// What [`EntityTag::from_modification`] makes of time 0 and size 10.
    const TAG: &str = "\"0-a\"";

    fn validators() -> Validators {
        let entity_tag = Some(EntityTag::from_modification(0, 0, 10));
        Validators { entity_tag, last_modified_s: EXACT_S, is_date_strong: true }
    }

    fn lines<'b>(pairs: &[(&'b str, &'b str)]) -> Vec<Header<'b>> {
        pairs.iter().map(|&(name, value)| Header { name, value: value.as_bytes() }).collect()
    }

    fn outcome(pairs: &[(&str, &str)], validators: &Validators) -> Outcome {
        evaluate(&Fields::new(&lines(pairs)), validators)
    }

    #[test]
    fn each_field_decides_alone() {
        use Outcome::{NotModified, PreconditionFailed, Proceed};
        let table: [(&str, &str, Outcome); 30] = [
            ("X", "y", Proceed),
            ("If-Match", "*", Proceed),
            ("If-Match", TAG, Proceed),
            ("If-Match", "\"x\", \"0-a\"", Proceed),
            ("If-Match", "W/\"0-a\"", PreconditionFailed),
            ("If-Match", "\"x\"", PreconditionFailed),
            ("If-Match", "", PreconditionFailed),
            ("If-Match", "0-a", PreconditionFailed),
            ("If-Match", "bad, \"0-a\"", PreconditionFailed),
            ("If-Match", "\"x\", *", PreconditionFailed),
            ("If-Unmodified-Since", BEFORE, PreconditionFailed),
            ("If-Unmodified-Since", EXACT, Proceed),
            ("If-Unmodified-Since", AFTER, Proceed),
            ("If-Unmodified-Since", "yesterday", Proceed),
            ("If-None-Match", "*", NotModified),
            ("If-None-Match", TAG, NotModified),
            ("If-None-Match", "W/\"0-a\"", NotModified),
            ("If-None-Match", "\"a,b\",W/\"0-a\"", NotModified),
            ("If-None-Match", "\"0-a\", bad", NotModified),
            ("If-None-Match", "\"x\"", Proceed),
            ("If-None-Match", "", Proceed),
            ("If-None-Match", "0-a", Proceed),
            ("If-None-Match", "bad, \"0-a\"", Proceed),
            ("If-Modified-Since", BEFORE, Proceed),
            ("If-Modified-Since", EXACT, NotModified),
            ("If-Modified-Since", AFTER, NotModified),
            ("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT", NotModified),
            ("If-Modified-Since", "Sun Nov  6 08:49:37 1994", NotModified),
            ("If-Modified-Since", "", Proceed),
            ("If-Modified-Since", "Mon, 06 Nov 1994 08:49:38 GMT", Proceed),
        ];
        for (name, value, expected) in table {
            assert_eq!(outcome(&[(name, value)], &validators()), expected, "{name}: {value}");
        }
    }

    #[test]
    fn fields_are_heeded_in_the_order_of_the_rfc() {
        use Outcome::{NotModified, PreconditionFailed, Proceed};
        type Pairs<'b> = &'b [(&'b str, &'b str)];
        let table: [(Pairs<'_>, Outcome); 12] = [
            (&[("If-Match", "\"x\""), ("If-None-Match", TAG)], PreconditionFailed),
            (&[("If-None-Match", TAG), ("If-Match", TAG)], NotModified),
            (&[("If-Match", TAG), ("If-Unmodified-Since", BEFORE)], Proceed),
            (&[("If-Match", "\"x\""), ("If-Unmodified-Since", AFTER)], PreconditionFailed),
            (&[("If-Unmodified-Since", BEFORE), ("If-None-Match", TAG)], PreconditionFailed),
            (&[("If-Unmodified-Since", AFTER), ("If-None-Match", TAG)], NotModified),
            (&[("If-None-Match", "\"x\""), ("If-Modified-Since", AFTER)], Proceed),
            (&[("If-None-Match", TAG), ("If-Modified-Since", BEFORE)], NotModified),
            (&[("If-Match", TAG), ("If-Modified-Since", AFTER)], NotModified),
            (&[("If-Match", "\"x\""), ("X", "y"), ("If-Match", TAG)], Proceed),
            (&[("If-None-Match", "\"x\""), ("if-none-match", TAG)], NotModified),
            (&[("If-Modified-Since", AFTER), ("If-Modified-Since", AFTER)], Proceed),
        ];
        for (pairs, expected) in table {
            assert_eq!(outcome(pairs, &validators()), expected, "{pairs:?}");
        }
    }

    #[test]
    fn without_a_tag_of_ours_only_the_asterisk_matches() {
        let untagged = Validators { entity_tag: None, ..validators() };
        assert_eq!(outcome(&[("If-Match", "*")], &untagged), Outcome::Proceed);
        assert_eq!(outcome(&[("If-Match", TAG)], &untagged), Outcome::PreconditionFailed);
        assert_eq!(outcome(&[("If-None-Match", "*")], &untagged), Outcome::NotModified);
        assert_eq!(outcome(&[("If-None-Match", TAG)], &untagged), Outcome::Proceed);
    }

    #[test]
    fn a_range_applies_to_exactly_the_representation_it_was_meant_for() {
        let table: [(&[&str], bool); 12] = [
            (&[], true),
            (&[TAG], true),
            (&["W/\"0-a\""], false),
            (&["\"x\""], false),
            (&["*"], false),
            (&["\"0-a\", \"0-a\""], false),
            (&[TAG, TAG], false),
            (&[EXACT], true),
            (&["Sun Nov  6 08:49:37 1994"], true),
            (&[BEFORE], false),
            (&[AFTER], false),
            (&[""], false),
        ];
        for (values, applies) in table {
            let pairs: Vec<_> = values.iter().map(|&value| ("If-Range", value)).collect();
            assert_eq!(range_applies(&Fields::new(&lines(&pairs)), &validators()), applies, "{values:?}");
        }
    }

    #[test]
    fn a_range_does_not_apply_by_a_date_that_may_belong_to_two_versions() {
        let young = Validators { is_date_strong: false, ..validators() };
        assert!(!range_applies(&Fields::new(&lines(&[("If-Range", EXACT)])), &young));
        assert!(range_applies(&Fields::new(&lines(&[("If-Range", TAG)])), &young));
        assert_eq!(outcome(&[("If-Modified-Since", EXACT)], &young), Outcome::NotModified);
    }

    #[test]
    fn a_time_before_1970_compares_as_the_one_that_is_sent() {
        let ancient = Validators { last_modified_s: -5, ..validators() };
        let epoch = "Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(outcome(&[("If-Modified-Since", epoch)], &ancient), Outcome::NotModified);
        assert_eq!(outcome(&[("If-Unmodified-Since", epoch)], &ancient), Outcome::Proceed);
        assert!(range_applies(&Fields::new(&lines(&[("If-Range", epoch)])), &ancient));
    }
}
