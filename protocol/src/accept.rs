//! What kind of answer a client would rather have, and whether it is a person on the way to a page.
//!
//! Owns `Accept` (RFC 9110 §12.5.1) and `Sec-Fetch-Mode` (W3C Fetch Metadata §2.2), as far as a directory
//! listing and a single-page application need them.

use crate::field::{self, Fields, RareName};
use crate::method::Method;

/// A form in which something can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/html`
    Html,
    /// `application/json`
    Json,
}

impl Format {
    const fn range(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Html => (b"text", b"html"),
            Self::Json => (b"application", b"json"),
        }
    }
}

/// How closely a media range fits a type; the closest one decides (RFC 9110 §12.5.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Anything,
    Type,
    Exact,
}

/// The format that a client prefers. HTML, unless `Accept` gives JSON the greater weight.
#[must_use]
pub fn preferred(fields: &Fields<'_>) -> Format {
    let weight = |format| closest(fields, format).map_or(0, |(_, weight)| weight);
    if weight(Format::Json) > weight(Format::Html) { Format::Json } else { Format::Html }
}

/// The fields by which [`is_navigation`] decides, as `Vary` names them (RFC 9110 §12.5.5).
pub const NAVIGATION_FIELDS: &str = "Accept, Sec-Fetch-Mode";

/// Whether a request is for a page to be looked at, and not for something that a page needs: it retrieves, and
/// the browser says so, or, if it does not say anything about it, `Accept` names `text/html`.
#[must_use]
pub fn is_navigation(method: Method, fields: &Fields<'_>) -> bool {
    let is_page_wanted = match fields.find_all(RareName::SecFetchMode).next() {
        Some(_) => fields.find_only(RareName::SecFetchMode) == Some(b"navigate"),
        None => matches!(closest(fields, Format::Html), Some((Fit::Exact, 1..))),
    };
    method.is_retrieval() && is_page_wanted
}

/// How closely the closest range fits, and its weight in thousandths. Malformed members are passed over;
/// parameters do not narrow a range, as none of them tells two kinds of listing apart. Of equally close ranges
/// the one of the greatest weight counts.
fn closest(fields: &Fields<'_>, format: Format) -> Option<(Fit, u16)> {
    let members = fields.find_all(RareName::Accept).flat_map(field::tokens).filter_map(field::weighted);
    members.filter_map(|(range, weight)| Some((fit(range, format)?, weight))).max()
}

fn fit(range: &[u8], format: Format) -> Option<Fit> {
    let range = range.split(|&byte| byte == b';').next().map(field::trim)?;
    let (kind, subtype) = range.split_at_checked(memchr::memchr(b'/', range)?)?;
    let (wanted_kind, wanted_subtype) = format.range();
    match (kind, subtype.get(1..)?) {
        (b"*", b"*") => Some(Fit::Anything),
        (kind, b"*") if kind.eq_ignore_ascii_case(wanted_kind) => Some(Fit::Type),
        (kind, subtype) => (kind.eq_ignore_ascii_case(wanted_kind)
            && subtype.eq_ignore_ascii_case(wanted_subtype))
        .then_some(Fit::Exact),
    }
}

#[cfg(test)]
mod tests {
    use httparse::Header;

    use super::*;

    fn lines<'b>(pairs: &[(&'b str, &'b str)]) -> Vec<Header<'b>> {
        pairs.iter().map(|&(name, value)| Header { name, value: value.as_bytes() }).collect()
    }

    const CHROMIUM: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
        */*;q=0.8,application/signed-exchange;v=b3;q=0.7";

    #[test]
    fn html_is_preferred_unless_json_weighs_more() {
        use Format::{Html, Json};
        let table: [(&[&str], Format); 28] = [
            (&[], Html),
            (&[""], Html),
            (&["*/*"], Html),
            (&[CHROMIUM], Html),
            (&["application/json"], Json),
            (&["Application/JSON"], Json),
            (&["application/*"], Json),
            (&["application/json, */*"], Html),
            (&["application/json, text/plain, */*;q=0.9"], Json),
            (&["application/json, text/html"], Html),
            (&["text/html, application/json"], Html),
            (&["text/html;q=0.9, application/json"], Json),
            (&["text/html;q=0.9", "application/json"], Json),
            (&["text/html;q=0.5, application/json;q=0.501"], Json),
            (&["text/*;q=0.1, */*;q=0.9"], Json),
            (&["text/*;q=0.1, text/html, */*;q=0.9"], Html),
            (&["text/html;q=0, */*"], Json),
            (&["application/json;q=0, */*"], Html),
            (&["application/json;q=0"], Html),
            (&["text/html;q=0"], Html),
            (&["application/json; charset=utf-8"], Json),
            (&["text/html;level=1;q=0.3, application/json;q=0.2"], Html),
            (&["application/json;q=2"], Html),
            (&["application/json;q=0.1234, application/*;q=0.1"], Json),
            (&["application/vnd.api+json"], Html),
            (&["json"], Html),
            (&["application/jsonp, xapplication/json, application /json"], Html),
            (&["*/json"], Html),
        ];
        for (values, format) in table {
            let pairs: Vec<_> = values.iter().map(|&value| ("accept", value)).collect();
            assert_eq!(preferred(&Fields::new(&lines(&pairs))), format, "{values:?}");
        }
    }

    #[test]
    fn a_navigation_is_told_from_what_a_page_needs() {
        const MODE: &str = "Sec-Fetch-Mode";
        type Pairs<'b> = &'b [(&'b str, &'b str)];
        let table: [(Method, Pairs<'_>, bool); 18] = [
            (Method::Get, &[(MODE, "navigate")], true),
            (Method::Head, &[(MODE, "navigate")], true),
            (Method::Get, &[(MODE, "navigate"), ("Accept", "*/*")], true),
            (Method::Get, &[(MODE, "cors"), ("Accept", "text/html")], false),
            (Method::Get, &[(MODE, "no-cors")], false),
            (Method::Get, &[(MODE, "Navigate")], false),
            (Method::Get, &[(MODE, ""), ("Accept", "text/html")], false),
            (Method::Get, &[(MODE, "navigate"), (MODE, "navigate")], false),
            (Method::Get, &[("Accept", CHROMIUM)], true),
            (Method::Get, &[("Accept", "TEXT/HTML")], true),
            (Method::Get, &[("Accept", "*/*, text/html;q=0.1")], true),
            (Method::Get, &[("Accept", "text/html;q=0, */*")], false),
            (Method::Get, &[("Accept", "*/*")], false),
            (Method::Get, &[("Accept", "text/*")], false),
            (Method::Get, &[("Accept", "application/json")], false),
            (Method::Get, &[], false),
            (Method::Options, &[(MODE, "navigate"), ("Accept", "text/html")], false),
            (Method::NotAllowed, &[("Accept", "text/html")], false),
        ];
        for (method, pairs, expected) in table {
            assert_eq!(is_navigation(method, &Fields::new(&lines(pairs))), expected, "{method:?} {pairs:?}");
        }
    }
}
