//! One response, read strictly, and the rules that every response keeps whatever it is about.

use super::date;

/// How far a `Date` may lie from our clock, in seconds: the server caches it, and a test may read late.
const DATE_SLACK_S: u64 = 30;

/// A response whose head has been checked.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// The three digits.
    pub(crate) status: u16,
    /// Field lines in the order they came, names as they were spelt.
    pub(crate) fields: Vec<(String, String)>,
    /// The content, as far as it was asked for.
    pub(crate) content: Vec<u8>,
}

impl Response {
    /// Reads a head, up to and including its final empty line, of a response made no earlier than at `asked_s`.
    ///
    /// # Panics
    /// When it breaks any rule.
    #[track_caller]
    pub(crate) fn parse(head: &[u8], asked_s: u64) -> Self {
        let shown = head.escape_ascii().to_string();
        let head = std::str::from_utf8(head).unwrap_or_else(|_| panic!("head is not ASCII: {shown}"));
        let lines = head.strip_suffix("\r\n\r\n").expect("an empty line at the end of the head");
        let mut lines = lines.split("\r\n");
        let status = parse_status_line(lines.next().unwrap_or_default()).unwrap_or_else(|| panic!("{shown}"));
        let fields =
            lines.map(|line| parse_field_line(line).unwrap_or_else(|| panic!("{line:?} in {shown}")));
        let response = Self { status, fields: fields.collect(), content: Vec::new() };
        response.check_fields(asked_s);
        response.check_status();
        response
    }

    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The value of a field that must be there.
    #[track_caller]
    pub(crate) fn require(&self, name: &str) -> &str {
        self.field(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.head()))
    }

    /// Whether `Vary` names a field, in any of its lines.
    pub(crate) fn varies_by(&self, name: &str) -> bool {
        let lines = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case("Vary"));
        lines.flat_map(|(_, value)| value.split(", ")).any(|varying| varying == name)
    }

    /// The entity tag, which must be there.
    #[track_caller]
    pub(crate) fn etag(&self) -> &str {
        self.require("ETag")
    }

    /// The value of `Content-Length`.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.field("Content-Length").map(|value| value.parse().expect("a length of 64 bits"))
    }

    /// Whether the server said that it closes the connection.
    pub(crate) fn closes(&self) -> bool {
        self.field("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Status and fields, for messages.
    pub(crate) fn head(&self) -> (u16, &[(String, String)]) {
        (self.status, &self.fields)
    }

    /// Fields without `Date`, which may differ by a second between two responses.
    pub(crate) fn dateless(&self) -> Vec<(String, String)> {
        self.fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("Date")).cloned().collect()
    }

    /// How many bytes of content follow the head (RFC 9112 §6.3).
    #[track_caller]
    pub(crate) fn content_follows(&self, to_head_request: bool) -> u64 {
        if to_head_request || matches!(self.status, 204 | 304) {
            return 0;
        }
        self.content_length().unwrap_or_else(|| panic!("no Content-Length in {:?}", self.head()))
    }

    #[track_caller]
    fn check_fields(&self, asked_s: u64) {
        let shown = self.head();
        for (index, (name, _)) in self.fields.iter().enumerate() {
            let repeated = self.fields[..index].iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(name));
            // Lists may be divided among lines (RFC 9110 §5.3); only these are.
            let may_repeat = ["Link", "Vary"].iter().any(|list| name.eq_ignore_ascii_case(list));
            assert!(may_repeat || !repeated, "{name} occurs twice in {shown:?}");
        }
        let date =
            date::parse_imf_fixdate(self.require("Date")).unwrap_or_else(|| panic!("Date in {shown:?}"));
        let now_s = date::now_s();
        let is_now = (asked_s.saturating_sub(DATE_SLACK_S)..=now_s + DATE_SLACK_S).contains(&date);
        assert!(is_now, "Date is not between {asked_s} and {now_s} in {shown:?}");
        if let Some(modified) = self.field("Last-Modified") {
            let modified = date::parse_imf_fixdate(modified).unwrap_or_else(|| panic!("{shown:?}"));
            assert!(modified <= date, "modified after it was sent: {shown:?}");
        }
        if let Some(length) = self.field("Content-Length") {
            assert!(!length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()), "{shown:?}");
        }
        if let Some(tag) = self.field("ETag") {
            let opaque = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            assert!(opaque.is_some_and(|opaque| !opaque.is_empty() && !opaque.contains('"')), "{shown:?}");
        }
        if let Some(connection) = self.field("Connection") {
            assert!(["close", "keep-alive"].contains(&connection), "{shown:?}");
        }
        assert!(self.field("Transfer-Encoding").is_none(), "nothing here is sent in chunks: {shown:?}");
    }

    #[track_caller]
    fn check_status(&self) {
        let shown = self.head();
        match self.status {
            204 => assert!(self.field("Content-Length").is_none(), "RFC 9110 §8.6: {shown:?}"),
            206 if self.require("Content-Type").starts_with("multipart/byteranges") => {
                assert!(self.field("Content-Range").is_none(), "RFC 9110 §15.3.7.2: {shown:?}");
            }
            206 => assert!(self.require("Content-Range").starts_with("bytes "), "{shown:?}"),
            301 | 302 | 303 | 307 | 308 => {
                let location = self.require("Location");
                let is_elsewhere = location.starts_with("http://") || location.starts_with("https://");
                assert!(location.starts_with('/') || is_elsewhere, "{shown:?}");
                assert!(!location.starts_with("//") && !location.starts_with("/\\"), "{shown:?}");
            }
            405 => assert_eq!(self.require("Allow"), "GET, HEAD, OPTIONS", "{shown:?}"),
            416 => assert!(self.require("Content-Range").starts_with("bytes */"), "{shown:?}"),
            429 | 503 => drop(self.require("Retry-After").parse::<u32>().expect("Retry-After in seconds")),
            status => assert!((200..600).contains(&status), "{shown:?}"),
        }
        if self.content_length().is_some_and(|length| length > 0) {
            self.require("Content-Type");
        }
    }
}

fn parse_status_line(line: &str) -> Option<u16> {
    let (code, reason) = line.strip_prefix("HTTP/1.1 ")?.split_once(' ')?;
    let is_code = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    let is_reason = !reason.is_empty() && reason.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (is_code && is_reason).then(|| code.parse().ok())?
}

fn parse_field_line(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let value = value.trim_matches([' ', '\t']);
    let is_value = !value.is_empty() && value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (is_name && is_value).then(|| (name.to_owned(), value.to_owned()))
}
