//! A connection to the server that believes nothing: it reads heads and counts bytes, and says what is not as it has
//! to be.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::content::CHUNK_BYTES;

const PATIENCE: Duration = Duration::from_secs(20);
const LINE_BYTES_MAX: usize = 1000;

/// How an answer differs from what it has to be.
#[derive(Debug)]
pub(crate) struct Wrong(String);

impl Wrong {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The head of an answer.
pub(crate) struct Head {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    /// The value of a field, by its name in small letters.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&str>, Wrong> {
        let mut values =
            self.fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(Wrong::new(format!("{name} twice"))),
        }
    }

    /// The value of a field that has to be there.
    pub(crate) fn need(&self, name: &str) -> Result<&str, Wrong> {
        self.get(name)?.ok_or_else(|| Wrong::new(format!("{} without {name}", self.status)))
    }

    /// What `Content-Length` says.
    pub(crate) fn length(&self) -> Result<u64, Wrong> {
        self.need("content-length")?.parse().map_err(|_| Wrong::new("a Content-Length that is none"))
    }
}

/// A connection.
pub(crate) struct Client {
    input: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Result<Self, Wrong> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .map_err(|error| Wrong::new(format!("cannot connect: {error}")))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { input: BufReader::with_capacity(CHUNK_BYTES, stream) })
    }

    pub(crate) fn send(&mut self, requests: &[u8]) -> Result<(), Wrong> {
        Ok(self.input.get_mut().write_all(requests)?)
    }

    pub(crate) fn receive_head(&mut self) -> Result<Head, Wrong> {
        let status_line = self.receive_line()?;
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| Wrong::new(format!("no status line but {status_line:?}")))?;
        let mut fields = Vec::new();
        loop {
            let line = self.receive_line()?;
            if line.is_empty() {
                return Ok(Head { status, fields });
            }
            let (name, value) =
                line.split_once(": ").ok_or_else(|| Wrong::new(format!("no field line but {line:?}")))?;
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    fn receive_line(&mut self) -> Result<String, Wrong> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let (taken, bytes) = {
                let bytes = self.arrived()?;
                let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
                (bytes[..end].to_vec(), end)
            };
            self.input.consume(bytes);
            line.extend(taken);
            if line.len() > LINE_BYTES_MAX {
                return Err(Wrong::new("a line without end, perhaps of a content"));
            }
        }
        let line = line.strip_suffix(b"\r\n").ok_or_else(|| Wrong::new("a line that ends without CR"))?;
        String::from_utf8(line.to_vec()).map_err(|_| Wrong::new("a head that is not text"))
    }

    /// Hands on exactly that many bytes, piece by piece, each with how many came before it.
    pub(crate) fn receive_content(
        &mut self,
        length: u64,
        mut judge: impl FnMut(u64, &[u8]) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let mut received = 0;
        while received < length {
            let bytes = self
                .arrived()
                .map_err(|wrong| Wrong::new(format!("{wrong}, after {received} of {length} bytes")))?;
            let piece = &bytes[..bytes.len().min(usize::try_from(length - received).unwrap_or(usize::MAX))];
            judge(received, piece)?;
            let bytes = piece.len();
            self.input.consume(bytes);
            received += bytes as u64;
        }
        Ok(())
    }

    /// The server said that this was all.
    pub(crate) fn expect_end(&mut self) -> Result<(), Wrong> {
        match self.input.fill_buf()?.len() {
            0 => Ok(()),
            more => Err(Wrong::new(format!("{more} bytes behind the last answer"))),
        }
    }

    fn arrived(&mut self) -> Result<&[u8], Wrong> {
        match self.input.fill_buf()? {
            [] => Err(Wrong::new("the connection ended")),
            bytes => Ok(bytes),
        }
    }
}
