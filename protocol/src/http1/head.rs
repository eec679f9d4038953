//! Decoding of a request head (RFC 9112 §2 to §5): from bytes to a [`RequestHead`] that borrows them.
//!
//! A head that arrives whole, as nearly all do, is decoded in one pass by httparse plus the checks that httparse
//! leaves out. A head that arrives in pieces, or that is refused, is walked by a [`Scanner`], byte by byte and
//! each byte once. The scanner alone decides *when* something is refused, so the verdict never depends on how
//! the bytes were split, and it speaks at the first offending line rather than at the end of the head.

use std::mem::MaybeUninit;

use httparse::Header;

use super::framing::{self, Framing};
use super::state::Persistence;
use crate::error::RequestError;
use crate::field::{Fields, Name, is_token_byte, tokens};
use crate::limits::{FIELDS_CEILING, Limits};
use crate::method::Method;
use crate::target::{self, RequestTarget};
use crate::version::Version;

/// Where the decoder puts the field lines of one head. Uninitialised until then, so it costs nothing to make.
#[derive(Debug)]
pub struct FieldLines<'b>([MaybeUninit<Header<'b>>; FIELDS_CEILING]);

impl FieldLines<'_> {
    /// Room for the field lines of one head.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "eight kilobytes that nobody should make by accident")]
    pub const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; FIELDS_CEILING])
    }
}

/// What a client expects of us before it sends content (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing.
    None,
    /// `100-continue`: to be told whether to send the content.
    Continue,
    /// Something that we cannot meet: 417.
    Unknown,
}

/// A decoded and validated request head.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'b> {
    /// What to do.
    pub method: Method,
    /// With what, taken apart.
    pub target: RequestTarget<'b>,
    /// The host asked for: of an absolute target if it is one, else of the `Host` field (RFC 9112 §3.2.2).
    pub authority: Option<&'b [u8]>,
    /// The version spoken.
    pub version: Version,
    /// The field section.
    pub fields: Fields<'b>,
    /// How the content is framed.
    pub framing: Framing,
    /// Whether the client lets the connection persist.
    pub persistence: Persistence,
    /// What the client expects before it goes on.
    pub expectation: Expectation,
    /// The request line without its line end, as it came.
    pub request_line: &'b [u8],
}

/// Decodes the head at the start of `input`, if it is all there, and tells how many bytes it takes.
///
/// # Errors
/// Any [`RequestError`] but those about content. An error about a head that is not all there may be early: what
/// follows could make the scanner refuse it for another reason.
pub fn decode<'b>(
    input: &'b [u8],
    lines: &'b mut FieldLines<'b>,
    limits: &Limits,
) -> Result<Option<(RequestHead<'b>, usize)>, RequestError> {
    let room = lines.0.get_mut(..limits.fields_max.min(FIELDS_CEILING)).unwrap_or_default();
    let mut request = httparse::Request::new(&mut []);
    let head_bytes = match request.parse_with_uninit_headers(input, room) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(refusal(error, input)),
    };
    let (Some(method), Some(path), Some(version)) = (request.method, request.path, request.version) else {
        return Err(RequestError::RequestLine);
    };
    let head = input.get(..head_bytes).unwrap_or_default();
    if head_bytes > limits.head_bytes_max {
        return Err(RequestError::HeadTooLarge);
    }
    if path.len() > limits.target_bytes_max {
        return Err(RequestError::TargetTooLong);
    }
    let lines: &'b [Header<'b>] = request.headers;
    if !lines_end_in_crlf(head, lines) {
        return Err(RequestError::LineEnd);
    }
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    let request_line_bytes = method.len() + 1 + path.len() + 1 + version.as_str().len();
    let request_line = head.get(..request_line_bytes).unwrap_or_default();
    let method = Method::from_token(method.as_bytes());
    let (target, authority) = target::parse(path.as_bytes(), method)?;
    let fields = Fields::new(lines);
    Ok(Some((
        RequestHead {
            method,
            target,
            authority: host(&fields, version, authority)?,
            version,
            fields,
            framing: framing::of(&fields, version, limits)?,
            persistence: persistence(&fields, version),
            expectation: expectation(&fields, version),
            request_line,
        },
        head_bytes,
    )))
}

/// httparse takes a bare LF for a line end; we do not. Every line ends where the next name begins, and the last
/// one before the final CR LF CR LF.
fn lines_end_in_crlf(head: &[u8], lines: &[Header<'_>]) -> bool {
    let base = head.as_ptr().addr();
    head.ends_with(b"\r\n\r\n")
        && lines.iter().all(|line| {
            let start = line.name.as_ptr().addr().wrapping_sub(base);
            head.get(start.wrapping_sub(2)..start) == Some(b"\r\n")
        })
}

fn refusal(error: httparse::Error, input: &[u8]) -> RequestError {
    match error {
        httparse::Error::HeaderName => RequestError::FieldLine,
        httparse::Error::HeaderValue => RequestError::ControlCharacter,
        httparse::Error::NewLine => RequestError::LineEnd,
        httparse::Error::TooManyHeaders => RequestError::HeadTooLarge,
        httparse::Error::Version => {
            version_refusal(input.split(|&byte| byte == b'\n').next().unwrap_or_default())
        }
        httparse::Error::Status | httparse::Error::Token => RequestError::RequestLine,
    }
}

/// 505 for an HTTP version that is not ours, 400 for something that is no version, and 400 for the HTTP/2
/// preface, which is no request at all (RFC 9113 §3.4).
fn version_refusal(line: &[u8]) -> RequestError {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    match version {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() && !line.starts_with(b"PRI ") =>
        {
            RequestError::Version
        }
        _ => RequestError::RequestLine,
    }
}

/// The host that is meant (RFC 9112 §3.2): one valid `Host` in HTTP/1.1, none needed in 1.0.
fn host<'b>(
    fields: &Fields<'b>,
    version: Version,
    authority: Option<&'b [u8]>,
) -> Result<Option<&'b [u8]>, RequestError> {
    match fields.only(Name::Host) {
        Some(host) if target::is_authority(host) => Ok(authority.or(Some(host))),
        None if version == Version::Http10 && !fields.has(Name::Host) => Ok(authority),
        _ => Err(RequestError::Host),
    }
}

/// RFC 9112 §9.3. `close` wins over `keep-alive`.
fn persistence(fields: &Fields<'_>, version: Version) -> Persistence {
    let says = |option: &[u8]| {
        fields.all(Name::Connection).flat_map(tokens).any(|token| token.eq_ignore_ascii_case(option))
    };
    let persists = match version {
        Version::Http11 => !fields.has(Name::Connection) || !says(b"close"),
        Version::Http10 => fields.has(Name::Connection) && says(b"keep-alive") && !says(b"close"),
    };
    if persists { Persistence::Persistent } else { Persistence::Close }
}

/// RFC 9110 §10.1.1: an expectation in HTTP/1.0 is ignored.
fn expectation(fields: &Fields<'_>, version: Version) -> Expectation {
    if version == Version::Http10 || !fields.has(Name::Expect) {
        return Expectation::None;
    }
    if fields.all(Name::Expect).all(|value| value.eq_ignore_ascii_case(b"100-continue")) {
        Expectation::Continue
    } else {
        Expectation::Unknown
    }
}

/// The search for the end of a head that did not come whole: a byte automaton, so that a client that sends one
/// byte at a time costs O(n), and any split of the bytes meets the same verdict at the same byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanner {
    /// Bytes looked at.
    scanned: u32,
    /// Where the head begins: after an empty line before it, of which one is tolerated (RFC 9112 §2.2).
    head_start: u32,
    /// Where the current line begins.
    line_start: u32,
    /// Where the target begins, once the method is over.
    target_start: u32,
    is_request_line_over: bool,
}

impl Scanner {
    /// A scanner that has seen nothing.
    pub const FRESH: Self =
        Self { scanned: 0, head_start: 0, line_start: 0, target_start: 0, is_request_line_over: false };

    /// Whether nothing has been looked at.
    #[must_use]
    pub const fn is_fresh(&self) -> bool {
        self.scanned == 0
    }

    /// Looks at what is new in `input`, which must begin with the bytes seen before, and tells where the head
    /// begins and ends once it is all there.
    ///
    /// # Errors
    /// The first violation that can be seen without the rest of the head.
    pub fn scan(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<std::ops::Range<usize>>, RequestError> {
        for &byte in input.get(self.scanned as usize..).unwrap_or_default() {
            let at = self.scanned as usize;
            if at >= limits.head_bytes_max {
                return Err(RequestError::HeadTooLarge);
            }
            let after_cr = at.checked_sub(1).and_then(|before| input.get(before)) == Some(&b'\r');
            self.scanned += 1;
            match byte {
                b'\n' if after_cr => {
                    let line = input.get(self.line_start as usize..at - 1).unwrap_or_default();
                    if self.line(line)? {
                        return Ok(Some(self.head_start as usize..at + 1));
                    }
                }
                b'\n' => return Err(RequestError::LineEnd),
                _ if after_cr => return Err(RequestError::LineEnd),
                b'\r' => {}
                _ => self.byte_in_line(at, byte, limits)?,
            }
        }
        Ok(None)
    }

    fn byte_in_line(&mut self, at: usize, byte: u8, limits: &Limits) -> Result<(), RequestError> {
        if byte == 0x7f || (byte < b' ' && byte != b'\t') {
            return Err(RequestError::ControlCharacter);
        }
        if self.is_request_line_over {
            return Ok(());
        }
        let target_start = self.target_start as usize;
        if byte == b' ' {
            // A second space ends the target; a line with a third is refused when it is complete.
            self.target_start = if target_start == 0 { self.scanned } else { u32::MAX };
        } else if target_start != 0 && at.saturating_sub(target_start) >= limits.target_bytes_max {
            return Err(RequestError::TargetTooLong);
        }
        Ok(())
    }

    /// Judges a complete line, without its line end. True if it is the empty one that ends the head.
    fn line(&mut self, line: &[u8]) -> Result<bool, RequestError> {
        let next = self.scanned;
        if self.is_request_line_over {
            if line.is_empty() {
                return Ok(true);
            }
            field_line(line)?;
        } else if line.is_empty() && self.head_start == 0 {
            self.head_start = next;
        } else {
            request_line(line)?;
            self.is_request_line_over = true;
        }
        self.line_start = next;
        Ok(false)
    }
}

/// `method SP target SP version`, and nothing else (RFC 9112 §3).
fn request_line(line: &[u8]) -> Result<(), RequestError> {
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(RequestError::RequestLine);
    };
    if method.is_empty()
        || !method.iter().copied().all(is_token_byte)
        || target.is_empty()
        || target.contains(&b'\t')
    {
        return Err(RequestError::RequestLine);
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        _ => Err(version_refusal(line)),
    }
}

/// `name ":" value` with a token for a name, so neither folded nor indented (RFC 9112 §5).
fn field_line(line: &[u8]) -> Result<(), RequestError> {
    match line.iter().position(|&byte| !is_token_byte(byte)) {
        Some(end) if end > 0 && line.get(end) == Some(&b':') => Ok(()),
        _ => Err(RequestError::FieldLine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Verdict = Result<Option<std::ops::Range<usize>>, RequestError>;

    fn scan_split(input: &[u8], step: usize) -> Verdict {
        let mut scanner = Scanner::FRESH;
        let mut end = 0;
        loop {
            end = (end + step).min(input.len());
            match scanner.scan(&input[..end], &Limits::default()) {
                Ok(None) if end < input.len() => {}
                verdict => return verdict,
            }
        }
    }

    #[test]
    fn the_scanner_refuses_at_the_first_offending_line() {
        use RequestError::{ControlCharacter, FieldLine, LineEnd, RequestLine, Version};
        let table: [(&[u8], Verdict); 17] = [
            (b"GET / HTTP/1.1\r\n\r\n", Ok(Some(0..18))),
            (b"\r\nGET / HTTP/1.1\r\n\r\nrest", Ok(Some(2..20))),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Err(RequestLine)),
            (b"GET / HTTP/1.1\r\nA: b\r\n", Ok(None)),
            (b"GET / HTTP/1.1\n", Err(LineEnd)),
            (b"GET / HTTP/1.1\rA", Err(LineEnd)),
            (b"GET /\r\n", Err(RequestLine)),
            (b"GET  / HTTP/1.1\r\n", Err(RequestLine)),
            (b"GET / HTTP/1.1 \r\n", Err(RequestLine)),
            (b"GET / HTTP/2.0\r\n", Err(Version)),
            (b"PRI * HTTP/2.0\r\n", Err(RequestLine)),
            (b"GET / http/1.1\r\n", Err(RequestLine)),
            (b"\x16\x03\x01", Err(ControlCharacter)),
            (b"GET / HTTP/1.1\r\nA : b\r\n", Err(FieldLine)),
            (b"GET / HTTP/1.1\r\n A: b\r\n", Err(FieldLine)),
            (b"GET / HTTP/1.1\r\n: b\r\n", Err(FieldLine)),
            (b"GET / HTTP/1.1\r\nA: b\0", Err(ControlCharacter)),
        ];
        for (input, expected) in table {
            for step in [1, 2, 3, 7, input.len()] {
                assert_eq!(scan_split(input, step), expected, "{} by {step}", input.escape_ascii());
            }
        }
    }

    #[test]
    fn a_target_is_cut_off_at_its_limit_and_not_before() {
        let request =
            |length: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(length - 1)).into_bytes();
        assert!(scan_split(&request(8 << 10), 1000).is_ok_and(|range| range.is_some()));
        assert_eq!(scan_split(&request((8 << 10) + 1), 1000), Err(RequestError::TargetTooLong));
    }

    #[test]
    fn a_head_is_cut_off_at_its_limit_and_not_before() {
        let request = |length: usize| {
            let filler = "a".repeat(length - "GET / HTTP/1.1\r\nA: \r\n\r\n".len());
            format!("GET / HTTP/1.1\r\nA: {filler}\r\n\r\n").into_bytes()
        };
        assert!(scan_split(&request(16 << 10), 1000).is_ok_and(|range| range.is_some()));
        assert_eq!(scan_split(&request((16 << 10) + 1), 1000), Err(RequestError::HeadTooLarge));
    }

    fn decoded(input: &[u8]) -> Result<(Persistence, Expectation), RequestError> {
        let mut lines = FieldLines::new();
        let head = decode(input, &mut lines, &Limits::default())?;
        let (head, _) = head.expect("a whole head");
        Ok((head.persistence, head.expectation))
    }

    #[test]
    fn connection_options_are_whole_tokens_in_any_case() {
        let table = [
            ("HTTP/1.1", "", Persistence::Persistent),
            ("HTTP/1.1", "Connection: Close\r\n", Persistence::Close),
            ("HTTP/1.1", "Connection: closed\r\n", Persistence::Persistent),
            ("HTTP/1.1", "Connection: keep-alive\r\nConnection: x, close\r\n", Persistence::Close),
            ("HTTP/1.0", "", Persistence::Close),
            ("HTTP/1.0", "Connection: Keep-Alive\r\n", Persistence::Persistent),
            ("HTTP/1.0", "Connection: keep-alive, close\r\n", Persistence::Close),
        ];
        for (version, lines, expected) in table {
            let input = format!("GET / {version}\r\nHost: a\r\n{lines}\r\n");
            assert_eq!(
                decoded(input.as_bytes()).map(|(persistence, _)| persistence),
                Ok(expected),
                "{input}"
            );
        }
    }

    #[test]
    fn expectations_mean_something_in_http_1_1_only() {
        let table = [
            ("HTTP/1.1", "100-Continue", Expectation::Continue),
            ("HTTP/1.1", "200-ok", Expectation::Unknown),
            ("HTTP/1.0", "100-continue", Expectation::None),
        ];
        for (version, value, expected) in table {
            let input = format!("GET / {version}\r\nHost: a\r\nExpect: {value}\r\n\r\n");
            assert_eq!(
                decoded(input.as_bytes()).map(|(_, expectation)| expectation),
                Ok(expected),
                "{input}"
            );
        }
    }
}
