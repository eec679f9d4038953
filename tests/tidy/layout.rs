//! Rules about one source file: how long, how it opens, what may not be in it.

use super::source::{code, item_end, line, words as words_of};

/// Longest function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Longest file, not counting what only the tests are built of.
const FILE_LINES_MAX: usize = 400;
const TESTS: &str = "#[cfg(test)]";

/// Functions that are too long.
pub(super) fn long_functions(text: &str) -> Vec<String> {
    let code = code(text);
    let functions = words_of(&code).filter(|&(at, word)| word == "fn" && !code[at + 2..].starts_with('('));
    functions
        .map(|(at, _)| (line(&code, at), line(&code, item_end(&code, at) - 1)))
        .filter(|(first, last)| last - first >= FUNCTION_LINES_MAX)
        .map(|(first, last)| format!("{first}: a function of {} lines", last - first + 1))
        .collect()
}

/// The file, if it is too long.
pub(super) fn long_file(text: &str) -> Vec<String> {
    let code = code(text);
    let mut lines = text.lines().count();
    let mut from = 0;
    while let Some(start) = code[from..].find(TESTS).map(|at| from + at) {
        from = item_end(&code, start);
        lines -= line(&code, from - 1) - line(&code, start) + 1;
    }
    let is_long = lines > FILE_LINES_MAX;
    is_long.then(|| format!("1: {lines} lines without tests")).into_iter().collect()
}

/// The file, if its first line does not say what it is.
pub(super) fn missing_opening(text: &str) -> Vec<String> {
    let says = text
        .strip_prefix("//! ")
        .is_some_and(|opening| opening.starts_with(|first: char| !first.is_whitespace()));
    if says { Vec::new() } else { vec!["1: does not open with `//!`".into()] }
}

/// Notes to oneself, and code that is still to be written. The words are put together here, so that this file
/// may be checked like any other.
pub(super) fn leftovers(text: &str) -> Vec<String> {
    let notes = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
    let macros = ["todo", "unimplemented", "dbg"];
    let code = code(text);
    let notes = words_of(text).filter(|(_, word)| notes.contains(word));
    let calls = words_of(&code)
        .filter(|(at, word)| macros.contains(word) && code[at + word.len()..].starts_with('!'));
    notes.chain(calls).map(|(at, word)| format!("{}: {word}", line(text, at))).collect()
}

/// Words in code, not in comments and literals, that may not be there.
pub(super) fn words(text: &str, forbidden: &[&str]) -> Vec<String> {
    let code = code(text);
    let found = words_of(&code).filter(|(_, word)| forbidden.contains(word));
    found.map(|(at, word)| format!("{}: {word}", line(&code, at))).collect()
}

/// The root of a crate, if it does not forbid unsafe code.
pub(super) fn missing_forbid(text: &str) -> Vec<String> {
    let forbids = code(text).contains("#![forbid(unsafe_code)]");
    if forbids { Vec::new() } else { vec!["1: does not forbid unsafe code".into()] }
}

#[test]
fn a_function_of_71_lines_is_too_long() {
    let function =
        |lines: usize| format!("//! A\nfn a() {{\n{}}}\nfn b() {{}}\n", "c(\"}\");\n".repeat(lines - 2));
    assert_eq!(long_functions(&function(70)), [""; 0]);
    assert_eq!(long_functions(&function(71)), ["2: a function of 71 lines"]);
    let in_trait = format!("trait A {{ fn a();\n{} }}", "type B: Fn(fn(u8));\n".repeat(80));
    assert_eq!(long_functions(&in_trait), [""; 0]);
}

#[test]
fn a_file_of_401_lines_is_too_long_unless_tests_make_it_so() {
    let code = "a!();\n";
    assert_eq!(long_file(&code.repeat(400)), [""; 0]);
    assert_eq!(long_file(&code.repeat(401)), ["1: 401 lines without tests"]);
    let tests = format!("{TESTS}\nmod tests {{\n{}}}\n", code.repeat(300));
    assert_eq!(long_file(&(code.repeat(400) + &tests)), [""; 0]);
    assert_eq!(long_file(&(tests + &code.repeat(401))), ["1: 401 lines without tests"]);
    let quoted = format!("// {TESTS}\n{}", code.repeat(400));
    assert_eq!(long_file(&quoted), ["1: 401 lines without tests"]);
}

#[test]
fn a_file_opens_with_a_sentence() {
    assert_eq!(missing_opening("//! What it is.\n"), [""; 0]);
    for bad in ["", "use a;\n", "// What it is.\n", "//!\n", "\n//! What it is.\n"] {
        assert_eq!(missing_opening(bad).len(), 1, "{bad}");
    }
}

#[test]
fn notes_and_holes_are_found() {
    for bad in [
        concat!("// TO", "DO: a"),
        concat!("\"FIX", "ME\""),
        concat!("/* XX", "X */"),
        "a(todo!())",
        "dbg!(a)",
    ] {
        assert_eq!(leftovers(bad).len(), 1, "{bad}");
    }
    for good in [concat!("// XX", "XX"), "// todo!()", "let todo = \"unimplemented!\";", "debug!(a)"] {
        assert_eq!(leftovers(good), [""; 0], "{good}");
    }
}

#[test]
fn forbidden_words_are_found_in_code_only() {
    assert_eq!(words("a\nb(unsafe { c })", &["unsafe"]), ["2: unsafe"]);
    assert_eq!(words("use std::sync::{Arc, Mutex};", &["Mutex", "RwLock"]), ["1: Mutex"]);
    assert_eq!(words("#![allow(unsafe_code)] // unsafe", &["unsafe"]), [""; 0]);
}

#[test]
fn a_root_must_forbid_unsafe_code() {
    assert_eq!(missing_forbid("//! A\n#![forbid(unsafe_code)]\n"), [""; 0]);
    for bad in ["//! A\n#![deny(unsafe_code)]\n", "//! A\n// #![forbid(unsafe_code)]\n"] {
        assert_eq!(missing_forbid(bad).len(), 1, "{bad}");
    }
}
