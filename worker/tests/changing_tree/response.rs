//! A response as a client reads it, as far as it has come.

use std::io::Read;

use protocol::Method;

/// A response, as far as it has come.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    head: String,
    /// What is there of the content.
    pub body: Vec<u8>,
}

impl Response {
    /// `None`: its head is not whole.
    pub fn parse(received: &[u8]) -> Option<Self> {
        let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&received[..end]).unwrap().to_owned();
        let status = head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        Some(Self { status, head, body: received[end + 4..].to_vec() })
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = values.next();
        assert!(values.next().is_none(), "{name} twice: {}", self.head);
        value
    }

    /// How long the content is going to be.
    pub fn length(&self) -> usize {
        self.field("Content-Length").map_or(0, |length| length.parse().unwrap())
    }

    /// For whoever wants to know what is wrong with it.
    pub fn told(&self) -> String {
        let shown = &self.body[..self.body.len().min(40)];
        format!("{}\n{} bytes: {}", self.head, self.body.len(), shown.escape_ascii())
    }

    /// The content without its coding.
    pub fn decoded(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self.field("Content-Encoding") {
            None => out.extend_from_slice(&self.body),
            Some("gzip") => drop(flate2::read::GzDecoder::new(&self.body[..]).read_to_end(&mut out).ok()?),
            Some(_) => drop(brotli::Decompressor::new(&self.body[..], 4_096).read_to_end(&mut out).ok()?),
        }
        Some(out)
    }

    pub fn has_content(&self, method: Method) -> bool {
        method == Method::Get && !matches!(self.status, 204 | 304)
    }
}
