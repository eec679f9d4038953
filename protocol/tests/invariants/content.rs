//! What holds for any input where a representation is chosen.

use httparse::Header;
use oneloop_protocol::accept;
use oneloop_protocol::coding::{Choice, Coding, CodingSet, Preferences};
use oneloop_protocol::cors::{Grant, Origin, Origins};
use oneloop_protocol::field::{self, Fields};
use oneloop_protocol::media_type::{self, MediaType, MediaTypes};
use oneloop_protocol::method::Method;
use oneloop_protocol::multipart::{Boundary, Multipart};
use oneloop_protocol::range::{self, ByteRange, PARTS_MAX, Parts, Selection, SeveralSelection};

/// Lines of `Accept-Encoding`, an LF between them.
pub fn coding(input: &[u8]) {
    let values: Vec<_> = input.split(|&byte| byte == b'\n').collect();
    let preferences = preferences(&values);
    for bits in 0..16 {
        let at_hand = Coding::ALL.into_iter().filter(|&coding| bits & 1 << coding as u8 != 0);
        let available = at_hand.clone().fold(CodingSet::EMPTY, CodingSet::with);
        let weights = at_hand.map(|coding| preferences.weight(coding));
        match preferences.choose(available) {
            Choice::NotAcceptable => assert!(weights.clone().all(|weight| weight.is_none())),
            Choice::Acceptable(coding) => {
                assert!(available.contains(coding) && preferences.weight(coding) == weights.max().unwrap());
                let refusal = format!("{};q=0", coding.token());
                let refused = self::preferences(&[&values[..], &[refusal.as_bytes()]].concat());
                assert!(refused.weight(coding).is_none());
            }
        }
    }
    // Neither the order of members nor their distribution over lines means anything.
    let joined = values.join(&b',');
    let reversed: Vec<_> = field::tokens(&joined).collect::<Vec<_>>().into_iter().rev().collect();
    assert_eq!(self::preferences(&[&joined]), preferences);
    assert_eq!(self::preferences(&[&reversed.join(&b',')]), preferences);
}

fn preferences(values: &[&[u8]]) -> Preferences {
    let lines: Vec<_> = values.iter().map(|value| Header { name: "Accept-Encoding", value }).collect();
    Preferences::of(&Fields::new(&lines))
}

/// A length, then the value of a `Range` field that may be a set.
pub fn ranges(length: u64, value: &[u8]) {
    let selected = range::select_several(value, length);
    match (range::select(value, length), selected) {
        (Selection::Whole, SeveralSelection::Whole) => {}
        // A set is more than `select` hears.
        (Selection::Whole, _) => assert!(value.contains(&b',')),
        (Selection::Part(one), other) => assert_eq!(other, SeveralSelection::Part(one)),
        (Selection::Unsatisfiable, other) => assert_eq!(other, SeveralSelection::Unsatisfiable),
    }
    match selected {
        SeveralSelection::Whole | SeveralSelection::Unsatisfiable => {}
        SeveralSelection::Part(part) => assert!(part.first() <= part.last() && part.last() < length),
        SeveralSelection::Parts(parts) => self::parts(&parts, length),
    }
}

/// Disjoint, inside the length, and asked for again by themselves the same; and their message is as long as it
/// says.
fn parts(parts: &Parts, length: u64) {
    let ranges = parts.as_slice();
    assert!((2..=PARTS_MAX).contains(&ranges.len()) && parts.content_bytes() < length);
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.first());
    assert!(sorted.windows(2).all(|pair| pair[0].last() + 1 < pair[1].first()));
    assert!(ranges.iter().all(|range| range.first() <= range.last() && range.last() < length));
    let spec = |range: &ByteRange| format!("{}-{}", range.first(), range.last());
    let canonical = format!("bytes={}", ranges.iter().map(spec).collect::<Vec<_>>().join(", "));
    assert_eq!(range::select_several(canonical.as_bytes(), length), SeveralSelection::Parts(*parts));

    let multipart = Multipart::new(Boundary::new(7), "text/plain", length, parts);
    let mut framing = Vec::new();
    for &range in ranges {
        multipart.put_part_head(range, &mut framing);
    }
    multipart.put_end(&mut framing);
    let total_bytes = u128::from(parts.content_bytes()) + framing.len() as u128;
    assert_eq!(u128::from(multipart.content_length()), total_bytes.min(u64::MAX.into()));
}

/// Lines of `Accept`, an LF between them.
pub fn accept(input: &[u8]) {
    let values: Vec<_> = input.split(|&byte| byte == b'\n').collect();
    let verdict = |values: &[&[u8]]| {
        let lines: Vec<_> = values.iter().map(|value| Header { name: "Accept", value }).collect();
        let fields = Fields::new(&lines);
        (accept::preferred(&fields), accept::is_navigation(Method::Get, &fields))
    };
    let joined = values.join(&b',');
    let reversed: Vec<_> = field::tokens(&joined).collect::<Vec<_>>().into_iter().rev().collect();
    assert_eq!(verdict(&[&joined]), verdict(&values));
    assert_eq!(verdict(&[&reversed.join(&b',')]), verdict(&values));
    // Of equally close ranges the one of the greatest weight counts, and there is none greater than 1.
    assert_eq!(verdict(&[&joined, b"text/html"]), (accept::Format::Html, true));
    let (_, is_navigation) = verdict(&values);
    assert!(!is_navigation || input.to_ascii_lowercase().windows(9).any(|word| word == b"text/html"));
}

/// The text of an origin.
pub fn origin(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(origin) = text.parse::<Origin>() else { return };
    let origins = Origins::These(vec![origin]);
    let granted = |value: &str| {
        let line = [Header { name: "Origin", value: value.as_bytes() }];
        origins.grant(&Fields::new(&line)).map(|grant| grant == Grant::Origin(&text))
    };
    assert_eq!(granted(&text), Some(true));
    assert_eq!([granted(&format!("{text}/")), granted(&text[1..]), granted("null"), granted("*")], [None; 4]);
    // It goes out in a field.
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
}

/// An extension and its media type: the type of files with that extension, and of no others, and fit to go out in a field.
pub fn media_type(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(said) = text.parse::<MediaType>() else { return };
    let (extension, asked) = text.split_once('=').unwrap();
    let types = MediaTypes::new(vec![said.clone()]);
    let value = types.of(format!("a/b.c.{extension}").as_bytes()).into_owned();
    assert!(value.bytes().all(|byte| byte == b'\t' || byte == b' ' || byte.is_ascii_graphic()));
    assert!(value.starts_with(asked.trim_matches([' ', '\t'])) && value.contains('/'));
    assert!(!value.starts_with("text/") || value.to_ascii_lowercase().contains("charset"));
    assert_eq!(types.of(format!("b.{}", extension.to_ascii_uppercase()).as_bytes()), value);
    assert_eq!(format!("{extension}={value}").parse(), Ok(said));
    for other in [format!(".{extension}"), format!("a.{extension}/b"), format!("a.{extension}x")] {
        assert_eq!(types.of(other.as_bytes()), media_type::of(other.as_bytes()));
    }
}
