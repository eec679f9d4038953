//! Properties of what only some sites use, under generated input.

pub mod invariants;
pub mod words;

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use invariants::{client, content, routing};
use oneloop_protocol::address::Cidr;
use oneloop_protocol::authorization::{self, Credentials};
use oneloop_protocol::range::{self, ByteRange, SeveralSelection};
use oneloop_protocol::rule::{Action, Rule, find_loop};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use words::text_of;

const CODING_WORDS: &str = "br|zstd|gzip|x-gzip|identity|*|deflate|GZIP|;q=|;q=0|;q=1|;q=0.5|;q=0.001|;Q=0.999|\
    ;q=1.1|; | |,|,|,|\n|\t|;level=9|0|.";
const RANGES_WORDS: &str = "0-0|2-2|4-6|8-9|5-12|-1|-3|20-|99-|7-300|,|,|,|,|, |1|0|-";
const GLOB_WORDS: &str = "a|b|/|/|*|**|?|{|,|}|[|]|!|-|\\|{a,b}|[a-b]|**/|/**|\u{e4}|\n|\n|.js";
/// Of these, braces can be written out before a glob is compiled without a change of meaning.
const PLAIN_GLOB_WORDS: [&str; 12] =
    ["a", "b", "/", "/", "*", "**", "?", "{a,b}", "{ab,{b,a/b}}", "[ab]", "[!a]", "ba"];
const FORWARDED_WORDS: &str = "for=|For=|10.0.0.2|198.51.100.1|[2001:db8::1]|fd00::1|\"|,|,|, |;|:80|unknown|\
    _x|\n|for=198.51.100.1|for=10.0.0.3|proto=https|=|\\| ";
const CIDR_WORDS: &str = "10.0.0.0|10.|0|.0.0|192.0.2.1|::|2001:db8::|::ffff:|:|/|/|/8|/24|/32|/104|/128|1|2";
const PROXY_WORDS: &str =
    "PROXY |PROXY |PROXY TCP4|TCP6| | |UNKNOWN|192.0.2.1|::1|4711|65536|\r\n|\r\n|\r|\n|x";

/// A header of version 2: command, family, variable part, and how much longer or shorter it is said to be.
fn proxy_v2() -> impl Strategy<Value = Vec<u8>> {
    let vector = prop_oneof![Just(vec![3, 0, 4, 1, 2, 3, 4]), Just(vec![4, 0, 1, 9]), vec(any::<u8>(), 1..4)];
    let variable = (select(&[0_usize, 11, 12, 36, 216, 4000][..]), vec(vector, 0..4));
    (0x20..0x23_u8, select(&[0_u8, 0x11, 0x12, 0x21, 0x31, 0x41][..]), variable, 0..4_usize).prop_map(
        |(command, family, (addresses_bytes, vectors), off)| {
            let variable = [vec![7; addresses_bytes], vectors.concat()].concat();
            let length = u16::try_from((variable.len() + off).saturating_sub(1)).unwrap_or(0);
            let fixed = [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length.to_be_bytes()].concat();
            [fixed, variable].concat()
        },
    )
}
const AUTHORIZATION_WORDS: &str = "Basic |basic| |YTpi|OmJj|Og==|Y|Z|9|+|/|=|==|A";
const ACCEPT_WORDS: &str = "text/html|application/json|text/*|application/*|*/*|;q=0|;q=1|;q=0.5|;q=0.25|;q=|;a=b|\
    ,|,|,|\n| |/|TEXT/HTML|application/xhtml+xml";
const ORIGIN_WORDS: &str = "http://|https://|app|://|:|80|443|8080|a|b.example|[::1]|/|null|*|.|A";
const HOST_WORDS: &str = "a|a|b|xn--|.|.|.|*.|*.|\n|\n|\na.b|\n*.a|A.B|:80|:|[|]|[::1]|[0:0::1]|10.0.0.1|*";
const MEDIA_TYPE_WORDS: &str =
    "a=|b=|glb|=|text/|text/html|model/x|;|; |charset=|q=|\"a;b\"|\"|utf-8|/|.| |\t";
const RULE_WORDS: &str = "a/b|a/|x.|\n/a|\n/*|\n/:x|\n/b| /a| /b| /$1| /:x| https://h/$1|/|/|*|$1|$2|:x|a|b|.|..|\
    %2e|%0d|%5c|\\|?q|#f|%";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_bytes_keep_every_invariant(input in vec(any::<u8>(), 0..80)) {
        content::coding(&input);
        routing::glob(&input);
        routing::rules(&input);
        client::forwarded(&input);
        client::cidr(&input);
        client::proxy_protocol(&input);
        client::authorization(&input);
        content::accept(&input);
        content::origin(&input);
        content::media_type(&input);
        routing::hosts(&input);
    }

    #[test]
    fn the_choice_of_a_coding_does_not_depend_on_order(input in text_of(CODING_WORDS)) {
        content::coding(&input);
    }

    #[test]
    fn parts_are_disjoint_and_as_long_as_is_said(length in 0..400_u64, set in text_of(RANGES_WORDS)) {
        content::ranges(length, &[b"bytes=", &set[..]].concat());
    }

    #[test]
    fn parts_hold_the_very_bytes_that_were_asked_for(asked in vec((0..99_u64, 0..9_u64), 1..24)) {
        let specs: Vec<_> = asked.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
        let selected = range::select_several(format!("bytes={}", specs.join(",")).as_bytes(), 100);
        let sent = |ranges: &[ByteRange]| {
            ranges.iter().flat_map(|range| range.first()..=range.last()).collect::<BTreeSet<_>>()
        };
        let exists = |(first, more): &(u64, u64)| *first..=(first + more).min(99);
        let wanted: BTreeSet<_> = asked.iter().flat_map(exists).collect();
        let runs = wanted.iter().filter(|&&at| at == 0 || !wanted.contains(&(at - 1))).count();
        match selected {
            SeveralSelection::Part(part) => prop_assert_eq!((sent(&[part]), 1), (wanted, runs)),
            SeveralSelection::Parts(parts) => {
                prop_assert_eq!((sent(parts.as_slice()), parts.as_slice().len()), (wanted, runs));
            }
            SeveralSelection::Whole => prop_assert!(runs > range::PARTS_MAX),
            SeveralSelection::Unsatisfiable => prop_assert!(false, "{:?}", asked),
        }
    }

    #[test]
    fn a_glob_is_compiled_or_refused_and_never_panics(input in text_of(GLOB_WORDS)) {
        routing::glob(&input);
    }

    #[test]
    fn a_glob_matches_what_a_backtracking_model_matches(
        glob in vec(select(&PLAIN_GLOB_WORDS[..]), 1..7),
        paths in vec(vec(select(&["a", "b", "/", "ab"][..]), 0..8), 8),
    ) {
        let glob = glob.concat();
        for path in paths {
            routing::glob_agrees_with_model(&glob, &path.concat());
        }
    }

    #[test]
    fn nobody_forges_the_address_that_a_proxy_tells(input in text_of(FORWARDED_WORDS)) {
        client::forwarded(&input);
    }

    #[test]
    fn a_network_reads_as_it_is_written(
        input in text_of(CIDR_WORDS),
        address in any::<u128>(),
        prefix in 0..=128_u32,
    ) {
        client::cidr(&input);
        let network = address & u128::MAX.checked_shl(128 - prefix).unwrap_or_default();
        let text = format!("{}/{prefix}", Ipv6Addr::from_bits(network));
        client::cidr(text.as_bytes());
        let cidr: Cidr = text.parse().unwrap();
        let contains = |bits| cidr.contains(Ipv6Addr::from_bits(bits).into());
        prop_assert!(contains(address) || text.starts_with("::ffff:"), "{}", text);
        if prefix > 0 {
            prop_assert!(!contains(address ^ 1 << (128 - prefix)), "{}", text);
        }
    }

    #[test]
    fn a_proxy_header_is_judged_the_same_in_every_split(line in text_of(PROXY_WORDS), header in proxy_v2()) {
        client::proxy_protocol(&line);
        client::proxy_protocol(&header);
        client::proxy_protocol(&[header, line].concat());
    }

    #[test]
    fn credentials_are_read_from_what_they_are_written_as(
        user in "[^:\\p{Cc}]{0,20}", password in "[^\\p{Cc}]{0,20}", value in text_of(AUTHORIZATION_WORDS)
    ) {
        client::authorization(&value);
        client::authorization(&[b"Basic ", &value[..]].concat());
        let plain = format!("{user}:{password}");
        let value = format!("Basic {}", client::base64(plain.as_bytes()));
        let mut buffer = [0; 256];
        let read = authorization::basic(value.as_bytes(), &mut buffer);
        let expected = Credentials { user: user.as_bytes(), password: password.as_bytes() };
        prop_assert_eq!(read, Ok(expected));
    }

    #[test]
    fn the_preferred_format_does_not_depend_on_order(input in text_of(ACCEPT_WORDS)) {
        content::accept(&input);
    }

    #[test]
    fn an_origin_is_granted_to_itself_only(input in text_of(ORIGIN_WORDS)) {
        content::origin(&input);
    }

    #[test]
    fn the_nearest_pattern_of_a_host_is_found(input in text_of(HOST_WORDS)) {
        routing::hosts(&input);
    }

    #[test]
    fn a_media_type_is_said_of_its_extension_only(input in text_of(MEDIA_TYPE_WORDS)) {
        content::media_type(&input);
    }

    #[test]
    fn rules_lead_to_valid_places_and_their_loops_are_real(input in text_of(RULE_WORDS)) {
        routing::rules(&input);
    }

    #[test]
    fn every_circle_of_plain_redirects_is_found(targets in vec(0..8_usize, 8), rotation in 0..8_usize) {
        let redirect = |from: String, to: String| Rule::new(Action::Redirect, &from, &to).ok();
        let rules: Vec<_> = (0..8)
            .map(|at| (at + rotation) % 8)
            .filter_map(|at| redirect(format!("/p{at}"), format!("/p{}", targets[at])))
            .collect();
        prop_assert_eq!(rules.len(), 8);
        // Eight places, each of which leads to another one: there is always a circle.
        prop_assert!(find_loop(&rules).is_some());
        // Without the way back to where one was, there is none.
        let forward: Vec<_> = (0..8)
            .filter(|&at| targets[at] > at)
            .filter_map(|at| redirect(format!("/p{at}/*"), format!("/p{}/$1", targets[at])))
            .collect();
        prop_assert_eq!(find_loop(&forward), None);
    }
}
