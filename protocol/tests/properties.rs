//! Properties of the pure functions under generated input: any bytes, and bytes that look like the real thing.

pub mod invariants;
pub mod words;

use oneloop_protocol::http1::chunked::Progress;
use oneloop_protocol::range::{self, Selection};
use oneloop_protocol::validator::EntityTag;
use oneloop_protocol::{date, media_type, target};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use words::text_of;

const PATH_WORDS: &str = "/|/|/|/|.|..|a|bc|%2e|%2E|%2f|%2F|%00|%25|%41|%zz|%|//|.well-known|\\|?|*|ä";
const TARGET_WORDS: &str =
    "http://|HTTPS://|/|?|#|*|@|:|:80|:65536|[::1]|[|]|a|example.com|%41|%| |127.0.0.1|é";
const RANGE_WORDS: &str = "bytes|=|bytes=|Bytes=|-|-|0|1|9|18446744073709551615|99999999999999999999|,| |\t";
const DATE_WORDS: &str = "Sun|Sunday|, | |06|6|Nov|-|94|1994|2069|08:49:37|23:59:60|GMT|Feb|29|\
    Sun, 06 Nov 1994 08:49:37 GMT|Sunday, 06-Nov-94 08:49:37 GMT|Sun Nov  6 08:49:37 1994";
const CONDITIONAL_WORDS: &str = "\n0|\n1|\n2|\n3|\n4|\"0-a\"|W/|\"|,| |*|\"x\"|x|0-a|\
    Sun, 06 Nov 1994 08:49:37 GMT|Sun, 06 Nov 1994 08:49:38 GMT|Sun Nov  6 08:49:36 1994";
const CHUNKED_WORDS: &str = "0|1|2|a|F|\r\n|\r\n|\r\n|\r|\n|;|;e=f| |\t|x|1\r\nx\r\n|3\r\nxyz\r\n|0\r\n|\
    0\r\n\r\n|A: b\r\n|:|ffffffffffffffff";

/// A chunk as it is written: content, leading zeros of its size, extension.
fn chunk() -> impl Strategy<Value = (Vec<u8>, usize, &'static str)> {
    (vec(any::<u8>(), 1..40), 0..14_usize, select(&["", ";", ";a", " ; a=\"b\"", "\t;a;b=c"][..]))
}

/// Modification time in seconds and nanoseconds, size.
fn state() -> impl Strategy<Value = (i64, u32, u64)> {
    (any::<i64>(), 0..1_000_000_000_u32, any::<u64>())
}

fn trailer() -> impl Strategy<Value = &'static str> {
    select(&["", "A: b\r\n", "A:\r\nB:\t\r\n"][..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_bytes_keep_every_invariant(input in vec(any::<u8>(), 0..80)) {
        invariants::target(&input);
        invariants::range(&input);
        invariants::date(&input);
        invariants::conditional(&input);
        invariants::chunked(&input);
        prop_assert!(!media_type::of(&input).is_empty());
    }

    #[test]
    fn paths_are_confined_whatever_they_say(path in text_of(PATH_WORDS)) {
        invariants::path(&path);
        invariants::path(&[b"/", &path[..]].concat());
    }

    #[test]
    fn targets_are_taken_apart_without_a_loss(raw in text_of(TARGET_WORDS)) {
        invariants::target(&raw);
        invariants::target(&[b"http://a", &raw[..]].concat());
    }

    #[test]
    fn every_name_can_be_asked_for_by_its_encoded_form(name in vec(1..=u8::MAX, 1..60)) {
        prop_assume!(!name.contains(&b'/') && name != b"." && name != b"..");
        let mut location = b"/".to_vec();
        target::encode_path(&name, &mut location);
        let mut decoded = Vec::new();
        prop_assert!(target::decode_path(&location, &mut decoded).is_ok_and(|facts| !facts.is_directory));
        prop_assert_eq!(decoded, name);
    }

    #[test]
    fn a_range_lies_inside_the_length(length in any::<[u8; 8]>(), value in text_of(RANGE_WORDS)) {
        invariants::range(&[&length[..], &value].concat());
        invariants::range(&[&[0; 7], &length[..1], &value].concat());
    }

    #[test]
    fn ranges_follow_the_arithmetic_of_the_rfc(numbers in any::<[u64; 3]>(), shift in 0..64) {
        let [first, last, length] = numbers.map(|number| number >> shift);
        let selected = |value: String| match range::select(value.as_bytes(), length) {
            Selection::Part(part) => Ok((part.first(), part.last())),
            other => Err(other),
        };
        let expected = match (first <= last, first < length) {
            (true, true) => Ok((first, last.min(length - 1))),
            (true, false) => Err(Selection::Unsatisfiable),
            (false, _) => Err(Selection::Whole),
        };
        prop_assert_eq!(selected(format!("bytes={first}-{last}")), expected);
        let expected = if first < length { Ok((first, length - 1)) } else { Err(Selection::Unsatisfiable) };
        prop_assert_eq!(selected(format!("bytes={first}-")), expected);
        let expected = match (last, length) {
            (0, _) => Err(Selection::Unsatisfiable),
            (_, 0) => Err(Selection::Whole),
            _ => Ok((length.saturating_sub(last), length - 1)),
        };
        prop_assert_eq!(selected(format!("bytes=-{last}")), expected);
    }

    #[test]
    fn dates_survive_being_written_and_read(unix_s in prop_oneof![any::<i64>(), -10..300_000_000_000_i64]) {
        prop_assert_eq!(date::parse(&date::format(unix_s)), Some(date::clamp(unix_s)));
        invariants::date(&unix_s.to_be_bytes());
    }

    #[test]
    fn what_looks_like_a_date_is_one_or_is_not(value in text_of(DATE_WORDS)) {
        invariants::date(&value);
    }

    #[test]
    fn preconditions_keep_their_order(lines in text_of(CONDITIONAL_WORDS)) {
        invariants::conditional(&lines);
    }

    #[test]
    fn different_states_have_different_tags(one in state(), other in state()) {
        let tag = |(mtime_s, mtime_ns, size)| EntityTag::from_modification(mtime_s, mtime_ns, size);
        prop_assert_eq!(tag(one) == tag(other), one == other);
        prop_assert_ne!(tag(one), tag((one.0, one.1, one.2 ^ 1)));
        prop_assert_ne!(tag(one), tag((one.0 ^ 1, one.1, one.2)));
    }

    #[test]
    fn splitting_chunked_content_changes_nothing(input in text_of(CHUNKED_WORDS)) {
        invariants::chunked(&input);
    }

    #[test]
    fn chunked_content_is_skipped_to_its_very_end(
        chunks in vec(chunk(), 0..8),
        trailer in trailer(),
        behind in vec(any::<u8>(), 0..20),
        cut in any::<Index>(),
    ) {
        let mut coded = Vec::new();
        for (content, zeros, extension) in &chunks {
            coded.extend(format!("{}{:x}{extension}\r\n", "0".repeat(*zeros), content.len()).bytes());
            coded.extend_from_slice(content);
            coded.extend(b"\r\n");
        }
        coded.extend(format!("0\r\n{trailer}\r\n").bytes());
        let content_bytes = chunks.iter().map(|(content, ..)| content.len() as u64).sum();
        let whole = Progress { consumed: coded.len(), content_bytes, is_complete: true };
        prop_assert_eq!(invariants::skip_in_pieces(&[&coded[..], &behind].concat(), usize::MAX), Some(whole));
        invariants::chunked(&[&coded[..], &behind].concat());
        let cut_short = invariants::skip_in_pieces(&coded[..cut.index(coded.len())], usize::MAX);
        prop_assert!(cut_short.is_some_and(|progress| !progress.is_complete));
    }
}
