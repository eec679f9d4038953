//! Request heads: what is wrong with one, and what one that is right permits.

use super::{
    After, Answer, CONTENT_BYTES_MAX, FIELDS_MAX, Files, Place, TARGET_BYTES_MAX, Verdict, chunks, path,
};

/// RFC 9110 §5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// Lines of a head without its last line end. What is no CR LF stays within a line.
fn lines(head: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines
}

/// Status codes that say what is wrong with a head as such; a head with several faults may be refused for any.
pub(super) fn faults(head: &[u8]) -> Vec<u16> {
    let lines = lines(head);
    let mut faults = Vec::new();
    // Bare CR, bare LF, NUL and other controls: RFC 9112 §2.2, RFC 9110 §5.5.
    if lines.iter().any(|line| line.iter().any(|&byte| byte == 0x7f || (byte < b' ' && byte != b'\t'))) {
        faults.push(400);
    }
    faults.extend(request_line_faults(lines[0]));
    for line in &lines[1..] {
        // No colon, white space before it or at the start of the line: RFC 9112 §5.1, §5.2.
        let is_field =
            line.iter().position(|&byte| byte == b':').is_some_and(|colon| is_token(&line[..colon]));
        if !is_field {
            faults.push(400);
        }
    }
    if lines.len() - 1 > FIELDS_MAX {
        faults.push(431);
    }
    faults
}

fn request_line_faults(line: &[u8]) -> Vec<u16> {
    let mut faults = Vec::new();
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    // The end of a target that is too long need not have been seen.
    if words.len() > 1 && words[1].len() > TARGET_BYTES_MAX {
        faults.push(414);
    }
    let [method, target, version] = words[..] else {
        // The last word may still look like a version.
        faults.extend([400, 505]);
        return faults;
    };
    if !is_token(method) || target.is_empty() || target.iter().any(|&byte| byte <= b' ' || byte == b'#') {
        faults.push(400);
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => {}
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            // The preface of HTTP/2 is no request: RFC 9113 §3.4.
            faults.push(if method == b"PRI" { 400 } else { 505 });
        }
        _ => faults.push(400),
    }
    faults
}

/// A head without faults.
pub(super) struct Head<'a> {
    method: &'a [u8],
    target: &'a [u8],
    is_1_0: bool,
    fields: Vec<(Vec<u8>, &'a [u8])>,
}

/// A head that [`faults`] found nothing wrong with.
pub(super) fn parse(head: &[u8]) -> Option<Head<'_>> {
    let lines = lines(head);
    let words: Vec<&[u8]> = lines[0].split(|&byte| byte == b' ').collect();
    let [method, target, version] = words[..] else { return None };
    let mut fields = Vec::new();
    for line in &lines[1..] {
        let colon = line.iter().position(|&byte| byte == b':')?;
        fields.push((line[..colon].to_ascii_lowercase(), trim(&line[colon + 1..])));
    }
    Some(Head { method, target, is_1_0: version == b"HTTP/1.0", fields })
}

/// Without the white space around it: RFC 9112 §5.1.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// What is known of the length of content.
enum Content {
    Refused(&'static [u16]),
    Length(u64),
    Chunked,
}

impl Head<'_> {
    fn all(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(known, _)| known == name.as_bytes()).map(|(_, value)| *value).collect()
    }

    fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// Whether a list has that token.
    fn lists(&self, name: &str, token: &str) -> bool {
        let values = self.all(name);
        let mut words = values.iter().flat_map(|value| value.split(|&byte| byte == b','));
        words.any(|word| trim(word).eq_ignore_ascii_case(token.as_bytes()))
    }

    /// RFC 9112 §6.3, where the server is strict: see A3 of what it promises.
    fn content(&self) -> Content {
        let (codings, lengths) = (self.all("transfer-encoding"), self.all("content-length"));
        if !codings.is_empty() {
            let is_chunked = codings.len() == 1 && codings[0].eq_ignore_ascii_case(b"chunked");
            return match (lengths.is_empty() && !self.is_1_0, is_chunked) {
                (false, true) => Content::Refused(&[400]),
                (false, false) => Content::Refused(&[400, 501]),
                (true, true) => Content::Chunked,
                (true, false) => Content::Refused(&[501, 400]),
            };
        }
        // A list of the same length again and again may be taken for one: RFC 9110 §8.6.
        let lengths: Vec<&[u8]> =
            lengths.iter().flat_map(|value| value.split(|&byte| byte == b',')).map(trim).collect();
        let Some(&length) = lengths.first() else { return Content::Length(0) };
        let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
        if !is_number || lengths.iter().any(|other| *other != length) {
            return Content::Refused(&[400]);
        }
        let number = std::str::from_utf8(length).ok().and_then(|digits| digits.parse::<u64>().ok());
        match number {
            Some(number) if number <= CONTENT_BYTES_MAX => Content::Length(number),
            Some(_) => Content::Refused(&[413]),
            None => Content::Refused(&[400, 413]),
        }
    }

    /// Statuses that the `Host` fields or an authority deserve, if any; empty and unusual ones may be accepted.
    fn host_faults(&self) -> (bool, bool) {
        let hosts = self.all("host");
        match hosts[..] {
            [] => (!self.is_1_0, !self.is_1_0),
            [host] => path::authority_faults(host),
            _ => (true, true),
        }
    }

    /// What may be said, if the request is not refused for what stands in its head.
    pub(super) fn verdict(&self, stream: &[u8], content_start: usize, files: &Files) -> Verdict {
        let mut verdict = Verdict::default();
        let (host_may, host_must) = self.host_faults();
        let target = path::form(self.method, self.target);
        if host_may || target.may_be_refused {
            verdict.refusals.push(400);
        }
        let content = self.content();
        if let Content::Refused(statuses) = content {
            verdict.refusals.extend(statuses);
        }
        if self.all("content-length").len() > 1 || self.all("content-length").concat().contains(&b',') {
            // The same length twice may as well be a fault.
            verdict.refusals.push(400);
        }
        if host_must || target.must_be_refused || matches!(content, Content::Refused(_)) {
            return verdict;
        }
        let (statuses, content_expected) = self.statuses(target.path, files);
        let to_head = self.method == b"HEAD";
        let mut after = self.after(&content, stream, content_start);
        // What names no path need not be trusted with another request.
        after.may_end |= statuses.contains(&400);
        if matches!(content, Content::Chunked) {
            // Whoever reads all of the content first may refuse what it finds there.
            verdict.refusals.extend([400, 413, 431].iter().filter(|_| after.may_end));
        }
        verdict.answer = Some(Answer { statuses, content: content_expected, to_head, after });
        verdict
    }

    fn statuses(&self, target: Option<&[u8]>, files: &Files) -> (Vec<u16>, Option<Vec<u8>>) {
        let mut statuses = Vec::new();
        if self.has("expect") && !self.is_1_0 {
            let is_known = self.all("expect").iter().all(|value| value.eq_ignore_ascii_case(b"100-continue"));
            if !is_known {
                statuses.push(417);
            }
        }
        let mut content = None;
        match self.method {
            b"GET" | b"HEAD" => match target.map(|target| path::resolve(target, files)) {
                Some(Ok(Some(Place::File(bytes)))) => {
                    statuses.push(200);
                    content = Some(bytes);
                    self.add_conditional(&mut statuses);
                }
                Some(Ok(Some(Place::Directory))) => statuses.push(301),
                Some(Ok(None)) => statuses.push(404),
                Some(Err(())) | None => statuses.push(400),
            },
            b"OPTIONS" => statuses.push(204),
            b"POST" | b"PUT" | b"DELETE" | b"PATCH" | b"TRACE" => statuses.push(405),
            // Methods of extensions may be known or not.
            _ => statuses.extend([405, 501]),
        }
        // Whether method or path is refused first is the server's choice.
        if target.is_some_and(|target| path::resolve(target, files).is_err()) {
            statuses.push(400);
        }
        (statuses, content)
    }

    fn add_conditional(&self, statuses: &mut Vec<u16>) {
        if self.has("range") && self.method == b"GET" {
            statuses.extend([206, 416]);
        }
        if self.has("if-none-match") || self.has("if-modified-since") {
            statuses.push(304);
        }
        if self.has("if-match") || self.has("if-unmodified-since") || self.has("if-none-match") {
            statuses.push(412);
        }
        if self.has("accept-encoding") {
            statuses.push(406);
        }
    }

    fn after(&self, content: &Content, stream: &[u8], start: usize) -> After {
        // RFC 9112 §9.3.
        let persists = if self.is_1_0 {
            self.lists("connection", "keep-alive") && !self.lists("connection", "close")
        } else {
            !self.lists("connection", "close")
        };
        if !persists || self.method == b"CONNECT" {
            return After::END;
        }
        // Whether content follows a final answer to an expectation is unknown: RFC 9110 §10.1.1.
        let may_not_follow = self.has("expect");
        match content {
            Content::Length(length) => {
                let end = usize::try_from(*length).ok().map(|length| start + length);
                match end.filter(|&end| end <= stream.len()) {
                    None => After::END,
                    Some(end) => After { may_end: may_not_follow && *length > 0, next: Some(end) },
                }
            }
            Content::Chunked => {
                let after = chunks::skip(&stream[start..]);
                let next = after.next.map(|length| start + length);
                After { may_end: after.may_end || may_not_follow, next }
            }
            Content::Refused(_) => After::END,
        }
    }
}
