//! What holds for any input: the functions that property tests and fuzz targets share. Each takes the bytes that
//! a client could send and panics where the library breaks a promise.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a broken promise is reported"
)]

pub mod client;
pub mod content;
pub mod machine;
pub mod routing;

use httparse::Header;
use oneloop_protocol::conditional::{self, Outcome};
use oneloop_protocol::date;
use oneloop_protocol::field::{self, Fields, Name};
use oneloop_protocol::http1::chunked::{Chunked, Progress};
use oneloop_protocol::method::Method;
use oneloop_protocol::range::{self, Selection};
use oneloop_protocol::target::{self, DecodedPath, RequestTarget};
use oneloop_protocol::validator::{EntityTag, Validators};

const METHODS: [Method; 6] =
    [Method::Get, Method::Head, Method::Options, Method::NotAllowed, Method::Connect, Method::Unknown];

/// A target by every method, then as a path and as an authority.
pub fn target(raw: &[u8]) {
    for method in METHODS {
        let Ok((parsed, authority)) = target::parse(raw, method) else { continue };
        assert!(!raw.iter().any(|&byte| byte <= b' ' || byte == 0x7f || byte == b'#'));
        assert_eq!(parsed == RequestTarget::Authority, method == Method::Connect);
        assert!(authority.is_none_or(target::is_authority));
        match parsed {
            RequestTarget::Authority => assert!(target::is_authority(raw)),
            RequestTarget::Asterisk => assert!(method == Method::Options && raw == b"*"),
            RequestTarget::Origin { path, query } => origin(raw, authority, path, query),
        }
    }
    path(raw);
    authority(raw);
}

/// Put together again, the parts of a target give the whole.
fn origin(raw: &[u8], authority: Option<&[u8]>, path: &[u8], query: Option<&[u8]>) {
    assert!(path.starts_with(b"/") && !path.contains(&b'?'));
    let query = query.map_or(Vec::new(), |query| [b"?", query].concat());
    let Some(authority) = authority else { return assert_eq!(raw, [path, &query].concat()) };
    let after_scheme = raw.splitn(3, |&byte| byte == b'/').nth(2).unwrap();
    let spellings = [[authority, path, &query].concat(), [authority, &query].concat()];
    assert!(after_scheme == spellings[0] || (path == b"/" && after_scheme == spellings[1]));
    self::path(path);
}

/// Decoding agrees with a model of it, and the result is confined, normal, and survives being encoded.
pub fn path(raw: &[u8]) {
    let mut decoded = b"left over".to_vec();
    let Ok(facts) = target::decode_path(raw, &mut decoded) else {
        return assert_eq!(model_of_decode(raw), None);
    };
    assert_eq!(model_of_decode(raw), Some((decoded.clone(), facts)), "{}", raw.escape_ascii());
    assert!(!decoded.contains(&0) && decoded.len() < raw.len());
    for segment in decoded.split(|&byte| byte == b'/') {
        assert!(!matches!(segment, b"." | b".."));
        assert!(!segment.is_empty() || decoded.is_empty());
    }

    let mut location = b"/".to_vec();
    target::encode_path(&decoded, &mut location);
    assert!(location.iter().all(|byte| byte.is_ascii_graphic() && !b"\"#<>?[\\]^`{|}".contains(byte)));
    let mut again = Vec::new();
    let facts_again = DecodedPath { is_directory: decoded.is_empty(), ..facts };
    assert_eq!(target::decode_path(&location, &mut again), Ok(facts_again));
    assert_eq!(again, decoded);
}

/// [`target::decode_path`], written for the eye instead of the clock.
fn model_of_decode(path: &[u8]) -> Option<(Vec<u8>, DecodedPath)> {
    let mut decoded = Vec::new();
    let mut bytes = path.strip_prefix(b"/")?.iter().copied();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut is_directory = false;
    for segment in decoded.split(|&byte| byte == b'/') {
        is_directory = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(kept.pop()?),
            segment => kept.push(segment),
        }
    }
    let is_hidden = match kept.as_slice() {
        [b".well-known", rest @ ..] => rest.iter().any(|segment| segment.starts_with(b".")),
        all => all.iter().any(|segment| segment.starts_with(b".")),
    };
    let facts = DecodedPath { is_directory, is_hidden };
    (!decoded.contains(&0)).then(|| (kept.join(&b'/'), facts))
}

/// What counts as an authority is what an absolute target may have for one.
fn authority(raw: &[u8]) {
    if raw.iter().any(|byte| b"/?".contains(byte)) {
        return assert!(!target::is_authority(raw));
    }
    let absolute = [b"http://", raw, b"/"].concat();
    let parsed = target::parse(&absolute, Method::Get);
    assert_eq!(parsed.is_ok(), target::is_authority(raw), "{}", raw.escape_ascii());
    assert!(parsed.is_err() || !raw.contains(&b'@'));
}

/// Eight bytes of length, then the value of a `Range` field.
pub fn range(input: &[u8]) {
    let Some((length, value)) = input.split_first_chunk() else { return };
    let length = u64::from_be_bytes(*length);
    match range::select(value, length) {
        Selection::Whole => {}
        Selection::Unsatisfiable => assert!(value.to_ascii_lowercase().starts_with(b"bytes=")),
        Selection::Part(part) => {
            assert!(part.first() <= part.last() && part.last() < length);
            assert_eq!(u128::from(part.len()), u128::from(part.last()) - u128::from(part.first()) + 1);
            let canonical = format!("bytes={}-{}", part.first(), part.last());
            assert_eq!(range::select(canonical.as_bytes(), length), Selection::Part(part));
        }
    }
    content::ranges(length, value);
    // Nothing exists beyond the end, and a second range makes a set that is ignored.
    assert_eq!(range::select(format!("bytes={length}-").as_bytes(), length), Selection::Unsatisfiable);
    assert_eq!(range::select(&[value, b",0-0,0-0"].concat(), length), Selection::Whole);
}

/// The value of a date field; its first eight bytes are also taken for a time.
pub fn date(input: &[u8]) {
    if let Some(time) = input.first_chunk() {
        let unix_s = i64::from_be_bytes(*time);
        for unix_s in [unix_s, unix_s >> 28] {
            let written = date::format(unix_s);
            assert!(written.is_ascii() && written.ends_with(b" GMT"));
            assert_eq!(date::parse(&written), Some(date::clamp(unix_s)));
        }
    }
    if let Some(unix_s) = date::parse(input) {
        assert_eq!(date::clamp(unix_s), unix_s);
        assert_eq!(date::parse(&date::format(unix_s)), Some(unix_s));
    }
}

const CONDITIONAL: [(&str, Name); 5] = [
    ("If-Match", Name::IfMatch),
    ("If-Unmodified-Since", Name::IfUnmodifiedSince),
    ("If-None-Match", Name::IfNoneMatch),
    ("If-Modified-Since", Name::IfModifiedSince),
    ("If-Range", Name::IfRange),
];

/// Field lines, an LF between them; the first byte of each chooses its name.
pub fn conditional(input: &[u8]) {
    let lines: Vec<Header<'_>> = input
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split_first())
        .filter_map(|(choice, value)| {
            CONDITIONAL.get(usize::from(choice % 8)).map(|&(name, _)| (name, value))
        })
        .map(|(name, value)| Header { name, value })
        .collect();
    let entity_tag = EntityTag::from_modification(0, 0, 10);
    let tagged =
        Validators { entity_tag: Some(entity_tag), last_modified_s: 784_111_777, is_date_strong: true };
    preconditions(&lines, &tagged);
    preconditions(&lines, &Validators { is_date_strong: false, ..tagged });
    preconditions(&lines, &Validators { entity_tag: None, ..tagged });

    let with_our_tag = |name| {
        let ours = Header { name, value: entity_tag.as_bytes() };
        evaluate(&[&lines[..], &[ours]].concat(), &tagged)
    };
    let is_unmatched = |name| !lines.iter().any(|line| line.name == name);
    assert!(with_our_tag("If-Match") != Outcome::PreconditionFailed);
    if is_unmatched("If-Match") && is_unmatched("If-Unmodified-Since") {
        assert_eq!(with_our_tag("If-None-Match"), Outcome::NotModified);
    }
}

fn evaluate(lines: &[Header<'_>], validators: &Validators) -> Outcome {
    conditional::evaluate(&Fields::new(lines), validators)
}

fn preconditions(lines: &[Header<'_>], validators: &Validators) {
    let fields = Fields::new(lines);
    let outcome = conditional::evaluate(&fields, validators);
    let without = |name: &str| {
        let rest: Vec<_> = lines.iter().copied().filter(|line| line.name != name).collect();
        evaluate(&rest, validators)
    };
    match outcome {
        Outcome::Proceed => {}
        Outcome::NotModified => assert!(fields.has(Name::IfNoneMatch) || fields.has(Name::IfModifiedSince)),
        Outcome::PreconditionFailed => {
            assert!(fields.has(Name::IfMatch) || fields.has(Name::IfUnmodifiedSince));
        }
    }
    // A tag beside a date makes the date meaningless, and If-Range is no precondition at all.
    if fields.has(Name::IfMatch) {
        assert_eq!(without("If-Unmodified-Since"), outcome);
    }
    if fields.has(Name::IfNoneMatch) {
        assert_eq!(without("If-Modified-Since"), outcome);
    }
    assert_eq!(without("If-Range"), outcome);
    if conditional::range_applies(&fields, validators) {
        assert!(fields.all(Name::IfRange).count() <= 1);
    }
}

/// Chunked content, perhaps cut short, perhaps with something behind it.
pub fn chunked(input: &[u8]) {
    let whole = skip_in_pieces(input, usize::MAX);
    for piece_bytes in [1, 2, 3, 7, 64] {
        assert_eq!(skip_in_pieces(input, piece_bytes), whole, "{}", input.escape_ascii());
    }
    let Some(progress) = whole else { return };
    assert!(progress.content_bytes <= progress.consumed as u64 && progress.consumed <= input.len());
    if !progress.is_complete {
        return assert_eq!(progress.consumed, input.len());
    }
    let coded = &input[..progress.consumed];
    assert_eq!(skip_in_pieces(coded, usize::MAX), Some(progress));
    assert_eq!(reread_chunked(coded), progress.content_bytes);
    let cut_short = skip_in_pieces(&coded[..coded.len() - 1], usize::MAX);
    assert!(cut_short.is_some_and(|progress| !progress.is_complete));
}

/// The sums over all pieces, or None for an error. What lies behind the end is offered, and must be left alone.
pub fn skip_in_pieces(input: &[u8], piece_bytes: usize) -> Option<Progress> {
    let mut decoder = Chunked::default();
    let mut sums = Progress { consumed: 0, content_bytes: 0, is_complete: false };
    for piece in input.chunks(piece_bytes) {
        let progress = decoder.decode(piece).ok()?;
        assert!(progress.is_complete || progress.consumed == piece.len());
        sums.consumed += progress.consumed;
        sums.content_bytes += progress.content_bytes;
        sums.is_complete = progress.is_complete;
    }
    Some(sums)
}

/// The bytes of content in a coding that is whole and was accepted, read line by line instead of byte by byte.
fn reread_chunked(coded: &[u8]) -> u64 {
    let mut content_bytes = 0;
    let mut rest = coded;
    loop {
        let (line, after) = split_line(rest);
        let digits = line.split(|byte| b" \t;".contains(byte)).next().unwrap();
        assert!((1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit));
        let size = usize::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        if size == 0 {
            reread_trailers(after);
            return content_bytes;
        }
        content_bytes += size as u64;
        let (end, after) = split_line(&after[size..]);
        assert!(end.is_empty());
        rest = after;
    }
}

fn reread_trailers(section: &[u8]) {
    let (line, after) = split_line(section);
    if line.is_empty() {
        return assert!(after.is_empty());
    }
    let name = line.split(|&byte| byte == b':').next().unwrap();
    assert!(!name.is_empty() && name.len() < line.len() && name.iter().copied().all(field::is_token_byte));
    reread_trailers(after);
}

fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.windows(2).position(|pair| pair == b"\r\n").unwrap();
    let line = &text[..end];
    assert!(!line.contains(&b'\r') && !line.contains(&b'\n'));
    (line, &text[end + 2..])
}
