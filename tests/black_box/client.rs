//! A client that does what it is told and believes nothing: bytes out, strictly parsed responses in.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::date;
use super::response::Response;

/// How long a read or write may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(12);

/// Bytes of a request shown in a message.
const SHOWN_BYTES: usize = 200;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In order: everything that was sent has arrived.
    Closed,
    /// By a reset.
    Reset,
}

/// Content that ended before its promised length.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Bytes of content that did arrive.
    pub(crate) received: u64,
    /// How the connection ended.
    pub(crate) end: End,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// Received but not yet taken.
    pending: Vec<u8>,
    /// Start of what was sent last, for messages.
    last_sent: String,
    /// When the first request was sent that may be unanswered. Its answer may have been waiting to be read for long.
    asked_s: u64,
    is_answered: bool,
}

impl Client {
    /// Connects over TCP.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(
            TcpStream::connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}")),
        )
    }

    /// Connects with a receive buffer of about `bytes`, so that the server's output soon meets a full one.
    #[track_caller]
    pub(crate) fn connect_with_window(address: SocketAddr, bytes: usize) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("SO_RCVBUF");
        socket.connect(&address.into()).expect("connect");
        Self::over(socket.into())
    }

    /// Connects from an address of this machine.
    #[track_caller]
    pub(crate) fn connect_from(source: [u8; 4], address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("bind");
        socket.connect(&address.into()).expect("connect");
        Self::over(socket.into())
    }

    /// Whether the server has closed or reset the connection by now.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("O_NONBLOCK");
        let filled = self.fill();
        self.stream.set_nonblocking(false).expect("O_NONBLOCK");
        match filled {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Connects to a Unix socket, which for reading and writing is like any other stream.
    pub(crate) fn connect_unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        Ok(Self::from_stream(OwnedFd::from(stream).into()))
    }

    /// Takes over a connected socket.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self::from_stream(stream)
    }

    fn from_stream(stream: TcpStream) -> Self {
        let (pending, last_sent, asked_s) = (Vec::new(), String::new(), date::now_s());
        let client = Self { stream, pending, last_sent, asked_s, is_answered: true };
        client.patience(PATIENCE);
        client
    }

    /// Notes what is about to be sent.
    fn note(&mut self, bytes: &[u8]) {
        self.last_sent = shown(bytes);
        if std::mem::take(&mut self.is_answered) {
            self.asked_s = date::now_s();
        }
    }

    /// Sets how long a single read or write may take.
    pub(crate) fn patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("SO_RCVTIMEO");
        self.stream.set_write_timeout(Some(patience)).expect("SO_SNDTIMEO");
    }

    /// The same connection for another thread to write to.
    pub(crate) fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("dup")
    }

    /// Gives the socket back; nothing may have been received that was not taken.
    #[track_caller]
    pub(crate) fn into_stream(self) -> TcpStream {
        assert!(self.pending.is_empty(), "unexpected: {}", shown(&self.pending));
        self.stream
    }

    /// Sends all the bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.note(bytes);
        self.stream.write_all(bytes).unwrap_or_else(|error| panic!("sending {}: {error}", self.last_sent));
    }

    /// Sends bytes to a server that may have closed or reset the connection already.
    pub(crate) fn send_to_deaf(&mut self, bytes: &[u8]) {
        self.note(bytes);
        let _ = self.stream.write_all(bytes);
    }

    /// Says that nothing more will be sent, and goes on listening.
    pub(crate) fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
    }

    /// Sends a request and reads its response.
    #[track_caller]
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Response {
        self.send(request);
        if request.starts_with(b"HEAD ") { self.response_head() } else { self.response() }
    }

    /// Gets a target.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.exchange(&request("GET", target, &[]))
    }

    /// Gets a target with more field lines, each `Name: value`.
    #[track_caller]
    pub(crate) fn get_with(&mut self, target: &str, fields: &[&str]) -> Response {
        self.exchange(&request("GET", target, fields))
    }

    /// Reads one response with its content.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        let mut response = self.response_head();
        let mut content = Vec::new();
        self.content(response.content_follows(false), |bytes| content.extend_from_slice(bytes));
        response.content = content;
        response
    }

    /// Reads the head of a response: all there is to a HEAD request. Otherwise [`Self::content`] reads the rest.
    #[track_caller]
    pub(crate) fn response_head(&mut self) -> Response {
        let mut searched: usize = 0;
        loop {
            let from = searched.saturating_sub(3);
            if let Some(at) = self.pending[from..].windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.pending.drain(..from + at + 4).collect();
                self.is_answered = true;
                return Response::parse(&head, self.asked_s);
            }
            searched = self.pending.len();
            match self.fill() {
                Ok(0) => {
                    panic!("closed instead of a response to {}; got {}", self.last_sent, shown(&self.pending))
                }
                Ok(_) => (),
                Err(error) => {
                    panic!(
                        "{error} instead of a response to {}; got {}",
                        self.last_sent,
                        shown(&self.pending)
                    )
                }
            }
        }
    }

    /// Reads `length` bytes of content, piece by piece.
    #[track_caller]
    pub(crate) fn content(&mut self, length: u64, each: impl FnMut(&[u8])) {
        if let Err(cut) = self.content_or_cut(length, each) {
            panic!("content of {length} bytes was cut: {cut:?}; response to {}", self.last_sent);
        }
    }

    /// Reads up to `length` bytes of content, piece by piece.
    ///
    /// # Errors
    /// When the connection ends before.
    #[track_caller]
    pub(crate) fn content_or_cut(&mut self, length: u64, mut each: impl FnMut(&[u8])) -> Result<(), Cut> {
        let ready = self.pending.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        each(&self.pending[..ready]);
        self.pending.drain(..ready);
        let mut received = ready as u64;
        let mut scratch = vec![0; if length > received { 256 << 10 } else { 0 }];
        while received < length {
            let wanted = scratch.len().min(usize::try_from(length - received).unwrap_or(usize::MAX));
            match self.stream.read(&mut scratch[..wanted]) {
                Ok(0) => return Err(Cut { received, end: End::Closed }),
                Ok(count) => {
                    each(&scratch[..count]);
                    received += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(Cut { received, end: End::Reset });
                }
                Err(error) => panic!("{error} after {received} of {length} bytes"),
            }
        }
        Ok(())
    }

    /// Gets a target and compares its content with `expected` as it comes.
    #[track_caller]
    pub(crate) fn download(&mut self, target: &str, expected: &[u8]) {
        self.send(&request("GET", target, &[]));
        let response = self.response_head();
        assert_eq!(
            (response.status, response.content_length()),
            (200, Some(expected.len() as u64)),
            "{target}"
        );
        let mut rest = expected;
        self.content(expected.len() as u64, |bytes| {
            let (here, after) = rest.split_at(bytes.len());
            assert!(here == bytes, "{target} differs within {} bytes from its end", rest.len());
            rest = after;
        });
    }

    /// Reads one response, or none if the connection ends instead.
    #[track_caller]
    pub(crate) fn response_or_end(&mut self) -> Option<Response> {
        if self.pending.is_empty() && self.fill().unwrap_or(0) == 0 {
            return None;
        }
        Some(self.response())
    }

    /// Waits for the end of the connection, before which not one more byte may come.
    #[track_caller]
    pub(crate) fn end(&mut self) -> End {
        let end = match self.fill() {
            Ok(0) => End::Closed,
            Ok(_) => panic!("more bytes after {}: {}", self.last_sent, shown(&self.pending)),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
            Err(error) => panic!("still open after {}: {error}", self.last_sent),
        };
        assert!(self.pending.is_empty(), "more bytes after {}: {}", self.last_sent, shown(&self.pending));
        end
    }

    /// Waits for the server to close in order, before which not one more byte may come.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        assert_eq!(self.end(), End::Closed, "after {}", self.last_sent);
    }

    /// Reads whatever comes until the connection is reset. Returns how many bytes came before.
    #[track_caller]
    pub(crate) fn expect_reset(&mut self) -> u64 {
        match self.content_or_cut(u64::MAX, |_| ()) {
            Err(Cut { received, end: End::Reset }) => received,
            other => panic!("not reset: {other:?}"),
        }
    }

    /// Watches for `span` that nothing comes and the connection stays open.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, span: Duration) {
        self.stream.set_read_timeout(Some(span)).expect("SO_RCVTIMEO");
        match self.fill() {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => (),
            other => panic!("{other:?} after {}: {}", self.last_sent, shown(&self.pending)),
        }
        self.patience(PATIENCE);
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut scratch = [0; 16 << 10];
        let count = self.stream.read(&mut scratch)?;
        self.pending.extend_from_slice(&scratch[..count]);
        Ok(count)
    }
}

/// A request of HTTP/1.1 with a `Host` and more field lines, each `Name: value`.
pub(crate) fn request(method: &str, target: &str, fields: &[&str]) -> Vec<u8> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: oneloop.test\r\n");
    for field in fields {
        request.push_str(field);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request.into_bytes()
}

/// Asks again and again until `is_done` or `patience` is over. Returns whether it was.
pub(crate) fn eventually(patience: Duration, mut is_done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !is_done() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

fn shown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let ellipsis = if bytes.len() > SHOWN_BYTES { "…" } else { "" };
    format!("\"{}{ellipsis}\"", start.escape_ascii())
}
