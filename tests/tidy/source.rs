//! Just enough of Rust's syntax to tell code from comments and literals, and to find where an item ends.

/// The text with comments and literals blanked out. Every byte that stays keeps its place.
pub(super) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_in_word = code.chars().next_back().is_some_and(is_word);
        let skipped = if is_in_word && first != '\'' && first != '"' { 0 } else { no_code(rest) };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let (blank, tail) = rest.split_at(skipped);
            code.extend(blank.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
            rest = tail;
        }
    }
    code
}

/// Bytes of the comment or literal that `rest` begins with; 0 if it begins with code.
fn no_code(rest: &str) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    let literal = rest.trim_start_matches(['b', 'c']);
    let prefix = rest.len() - literal.len();
    if prefix > 1 {
        return 0;
    }
    let raw = literal.strip_prefix('r').map(|raw| (raw, raw.len() - raw.trim_start_matches('#').len()));
    let length = match (literal.as_bytes(), raw) {
        (_, Some((raw, hashes))) if raw[hashes..].starts_with('"') => {
            let end = format!("\"{}", "#".repeat(hashes));
            let inside = &raw[hashes + 1..];
            1 + hashes + 1 + inside.find(&end).map_or(inside.len(), |at| at + end.len())
        }
        ([b'"', ..], _) => quoted(literal, '"'),
        ([b'\'', b'\\', ..], _) => quoted(literal, '\''),
        // One character and a quote; anything else is a lifetime.
        ([b'\'', ..], _) if literal.chars().nth(2) == Some('\'') => quoted(literal, '\''),
        _ => return 0,
    };
    prefix + length
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Bytes up to and with the closing quote, escapes passed over.
fn quoted(literal: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, character) in literal.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    literal.len()
}

pub(super) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The words of a text, each with the byte it begins at.
pub(super) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split(|character| !is_word(character))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr().addr() - text.as_ptr().addr(), word))
}

/// The number of the line that a byte is in.
pub(super) fn line(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

/// Where the item that begins at `start` of blanked code ends: behind its block, or behind its semicolon.
pub(super) fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(byte, b'}' | b';') {
            return at + 1;
        }
    }
    code.len()
}

#[test]
fn only_code_is_left_and_stays_in_its_place() {
    let table = [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ \n */ d", "a              \n    d"),
        (r#"a("b\"{c", d)"#, "a(       , d)"),
        (r##"a(r#"b"{"#, br"c\", d)"##, "a(        ,       , d)"),
        (r"a('{', '\'', b'}', '\u{41}')", "a(   ,     ,     ,         )"),
        ("fn a<'b>(c: &'b d) {}", "fn a<'b>(c: &'b d) {}"),
        ("r#type bar abc", "r#type bar abc"),
        ("\"ä\" b", "     b"),
    ];
    for (text, expected) in table {
        assert_eq!(code(text), expected, "{text}");
    }
}

#[test]
fn an_item_ends_behind_its_block_or_its_semicolon() {
    let table = [
        ("fn a(b: [u8; 4]) -> C { { d; } } e", "fn a(b: [u8; 4]) -> C { { d; } }"),
        ("fn a(b: [u8; 4]); e", "fn a(b: [u8; 4]);"),
        ("#[cfg(test)] mod a { b } c", "#[cfg(test)] mod a { b }"),
        ("fn a( {", "fn a( {"),
    ];
    for (code, expected) in table {
        assert_eq!(&code[..item_end(code, 0)], expected);
    }
}
