//! What holds for any input where paths meet the rules of the operator.

use std::net::Ipv6Addr;

use oneloop_protocol::glob::Glob;
use oneloop_protocol::host::{HostPattern, Hosts};
use oneloop_protocol::rule::{Action, Rule, find_loop};
use oneloop_protocol::target;

/// A glob, an LF, and a path.
pub fn glob(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (glob, path) = text.split_once('\n').unwrap_or((&text, ""));
    match glob.parse::<Glob>() {
        Ok(compiled) => {
            assert!(!glob.starts_with("/a") || !compiled.matches(b"b"));
            assert_eq!(compiled.matches(input), compiled.clone().matches(input));
            // With everything escaped, a glob matches itself and nothing else.
            let path = path.trim_matches('/');
            let escaped: String = path.chars().flat_map(|character| ['\\', character]).collect();
            if let Ok(literal) = format!("/{escaped}").parse::<Glob>() {
                assert!(literal.matches(path.as_bytes()) && !literal.matches(format!("{path}x").as_bytes()));
            }
        }
        Err(error) => assert!(error.at <= glob.len() && !error.to_string().is_empty()),
    }
}

/// Compares with a model that writes out braces and goes back and forth. The glob must be made of plain words:
/// no escapes, no brace with an empty alternative or one that a wildcard is part of.
pub fn glob_agrees_with_model(glob: &str, path: &str) {
    let Ok(compiled) = glob.parse::<Glob>() else { return };
    let anchored = if glob.contains('/') { glob.to_owned() } else { format!("**/{glob}") };
    let expected = written_out(anchored.strip_prefix('/').unwrap_or(&anchored))
        .iter()
        .any(|glob| backtrack(glob.as_bytes(), path.as_bytes(), true));
    assert_eq!(compiled.matches(path.as_bytes()), expected, "{glob} {path:?}");
}

/// All globs that a glob with braces stands for.
fn written_out(glob: &str) -> Vec<String> {
    let Some(open) = glob.find('{') else { return vec![glob.to_owned()] };
    let mut depth = 0;
    let mut starts = vec![open + 1];
    for (at, character) in glob.char_indices().skip(open) {
        match character {
            '{' => depth += 1,
            ',' if depth == 1 => starts.push(at + 1),
            '}' if depth == 1 => {
                starts.push(at + 1);
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    let behind = &glob[*starts.last().unwrap()..];
    let alternatives = starts.windows(2).map(|ends| &glob[ends[0]..ends[1] - 1]);
    alternatives
        .flat_map(|alternative| written_out(&format!("{}{alternative}{behind}", &glob[..open])))
        .collect()
}

fn backtrack(glob: &[u8], path: &[u8], is_segment_start: bool) -> bool {
    let tails = |stops: fn(u8) -> bool| {
        let end = path.iter().position(|&byte| stops(byte)).unwrap_or(path.len());
        (0..=end).map(|at| &path[at..])
    };
    match glob {
        [] => path.is_empty(),
        b"/**" => path.is_empty() || path[0] == b'/',
        [b'*', b'*', b'*', rest @ ..] => backtrack(&[b"**", rest].concat(), path, is_segment_start),
        [b'*', b'*', b'/', rest @ ..] if is_segment_start => {
            backtrack(rest, path, true)
                || (0..path.len()).any(|at| path[at] == b'/' && backtrack(rest, &path[at + 1..], true))
        }
        [b'*', b'*', rest @ ..] => tails(|_| false).any(|tail| backtrack(rest, tail, false)),
        [b'*', rest @ ..] => tails(|byte| byte == b'/').any(|tail| backtrack(rest, tail, false)),
        [b'?', rest @ ..] => {
            path.first().is_some_and(|&byte| byte != b'/') && backtrack(rest, &path[1..], false)
        }
        [b'[', b'a', b'b', b']', rest @ ..] => {
            path.first().is_some_and(|byte| b"ab".contains(byte)) && backtrack(rest, &path[1..], false)
        }
        [b'[', b'!', b'a', b']', rest @ ..] => {
            path.first().is_some_and(|byte| !b"a/".contains(byte)) && backtrack(rest, &path[1..], false)
        }
        [literal, rest @ ..] => {
            path.first() == Some(literal) && backtrack(rest, &path[1..], *literal == b'/')
        }
    }
}

/// A path, then rules, an LF between them: the pattern and the target of each, a space between them.
pub fn rules(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (path, texts) = text.split_once('\n').unwrap_or((&text, ""));
    let mut decoded = Vec::new();
    let Ok(facts) = target::decode_path(format!("/{path}").as_bytes(), &mut decoded) else { return };
    let mut redirects = Vec::new();
    for text in texts.split('\n') {
        let Some((from, to)) = text.split_once(' ') else { continue };
        if let Ok(rule) = Rule::new(Action::Rewrite, from, to) {
            rewrite(&rule, &decoded, facts.is_directory);
        }
        match Rule::new(Action::Redirect, from, to) {
            Ok(rule) => {
                redirect(&rule, &decoded, facts.is_directory, to);
                redirects.push(rule);
            }
            Err(error) => assert!(error.at <= from.len().max(to.len()) && !error.to_string().is_empty()),
        }
    }
    redirects.truncate(4);
    endless(&redirects);
}

/// What a rewrite yields is what decoding it would yield.
fn rewrite(rule: &Rule, path: &[u8], is_directory: bool) {
    let mut out = b"left over".to_vec();
    let Some(facts) = rule.rewrite(path, is_directory, &mut out) else { return };
    assert!(rule.matches(path));
    let mut location = b"/".to_vec();
    target::encode_path(&out, &mut location);
    if facts.is_directory && !out.is_empty() {
        location.push(b'/');
    }
    let mut again = Vec::new();
    assert_eq!(target::decode_path(&location, &mut again), Ok(facts));
    assert_eq!(again, out);
}

/// A location is plain text that leads where the operator said: to a path here, or to the authority that is
/// written.
fn redirect(rule: &Rule, path: &[u8], is_directory: bool, to: &str) {
    let mut out = b"left over".to_vec();
    let Some(location) = rule.location(path, is_directory, Some(b"q=\r\n"), &mut out) else { return };
    assert!(location.iter().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte)));
    let here = if to.starts_with('/') {
        location
    } else {
        let origin = to.split(['/', '?', '#']).take(3).collect::<Vec<_>>().join("/");
        location.strip_prefix(origin.as_bytes()).unwrap()
    };
    assert!(here.starts_with(b"/") && !here.starts_with(b"//") && !here.starts_with(b"/\\"));
    let end = here.iter().position(|byte| b"?#".contains(byte)).unwrap_or(here.len());
    // Decoded as a path, it is normal already.
    let (mut decoded, mut again) = (Vec::new(), b"/".to_vec());
    let facts = target::decode_path(&here[..end], &mut decoded).unwrap();
    target::encode_path(&decoded, &mut again);
    if facts.is_directory && !decoded.is_empty() {
        again.push(b'/');
    }
    assert_eq!(&here[..end], again);
}

/// A loop that is found is one: a client that starts there is sent on for as long as it likes, or for as long as
/// anybody takes its path.
fn endless(rules: &[Rule]) {
    let Some(found) = find_loop(rules) else { return };
    assert!(!found.rules.is_empty());
    let mut at = found.path.into_bytes();
    for _ in 0..20 {
        let (mut path, mut next) = (Vec::new(), Vec::new());
        let facts = target::decode_path(&at, &mut path).unwrap();
        let answer = rules
            .iter()
            .find_map(|rule| Some(rule.location(&path, facts.is_directory, None, &mut next)?.to_vec()));
        at = answer.unwrap();
        assert!(at.starts_with(b"/"));
        let end = at.iter().position(|byte| b"?#".contains(byte)).unwrap_or(at.len());
        at.truncate(end);
        if at.len() > 8192 {
            break;
        }
    }
}

/// The authority of a request, then patterns of hosts, an LF between them.
pub fn hosts(input: &[u8]) {
    let (authority, texts) =
        input.split_at(input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len()));
    let texts = String::from_utf8_lossy(texts);
    let patterns: Vec<HostPattern> = texts.lines().filter_map(|text| text.parse().ok()).collect();
    for pattern in &patterns {
        assert_eq!(pattern.to_string().parse(), Ok(pattern.clone()));
    }
    let hosts: Hosts = patterns.iter().cloned().zip(0..).collect();
    let found = hosts.find(authority).map(|number| &patterns[number]);
    // What is no authority is refused before anybody looks.
    if target::is_authority(authority) {
        let authority = String::from_utf8_lossy(authority).to_lowercase();
        assert_eq!(found, nearest(&authority, &patterns), "{}", input.escape_ascii());
    }
}

/// [`Hosts::find`], written for the eye instead of the clock.
fn nearest<'p>(authority: &str, patterns: &'p [HostPattern]) -> Option<&'p HostPattern> {
    let host = match authority.split_once(']') {
        Some((literal, _)) => {
            let address = literal.strip_prefix('[')?;
            address.parse().map_or(format!("[{address}]"), |address: Ipv6Addr| format!("[{address}]"))
        }
        None => authority.split(':').next()?.to_owned(),
    };
    let host = host.strip_suffix('.').unwrap_or(&host);
    let is_it = |pattern: &&HostPattern| matches!(pattern, HostPattern::One(name) if **name == *host);
    let stars = patterns.iter().filter(|pattern| match pattern {
        HostPattern::One(_) => false,
        HostPattern::Below(name) => {
            host.strip_suffix(&**name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        }
    });
    let nearest = stars.max_by_key(|pattern| pattern.to_string().len());
    patterns.iter().find(is_it).or(nearest).filter(|_| host.len() <= 255)
}
