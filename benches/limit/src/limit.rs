//! `limit PORT ANSWER…`: the least work that serves the workloads of `benches/wrk`, to measure a real server against.
//!
//! One thread and one epoll loop. It looks for the blank line that ends a request head and sends an answer that was
//! made at the start: no parsing, no files looked up, no deadlines, no logs. It trusts its client, and is good for
//! nothing but being the bound: what it costs is what the kernel costs.
//!
//! ```text
//! limit PORT file PATH               200 with the file
//! limit PORT close PATH              the same, and the connection ends after it
//! limit PORT files DIRECTORY         200 with DIRECTORY/N for the target /DIRECTORY/N, N from 0 on without gaps
//! limit PORT not-modified PATH       304
//! limit PORT not-found               404
//! limit PORT range PATH FIRST LAST   206 with these bytes of the file
//! ```

mod sys;

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use memchr::memmem;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// From here on head + sendfile is cheaper than one send from memory.
const SENDFILE_FROM_BYTES: usize = 12 * 1024;
const INPUT_BYTES: usize = 64 * 1024;
const EVENTS: usize = 1024;
const BACKLOG: i32 = 4096;
const SENDFILE_BYTES_MAX: u64 = 0x7fff_f000;
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// An answer ready to be sent: a head with a small body behind it, or a head and the file that follows.
struct Answer {
    bytes: Vec<u8>,
    file: Option<Content>,
}

#[derive(Clone)]
struct Content {
    file: Rc<File>,
    length: u64,
}

enum Answers {
    One(Answer),
    /// By the number that the request target ends in.
    Numbered(Vec<Answer>),
}

struct Connection {
    stream: OwnedFd,
    /// Few ever have anything left over, so it is not part of what each of them costs.
    rest: Option<Box<Rest>>,
}

/// What a connection has left over.
#[derive(Default)]
struct Rest {
    /// The beginning of a request head.
    input: Vec<u8>,
    output: Vec<u8>,
    /// The file whose turn is after `output`, from this offset on.
    file: Option<(Content, u64)>,
}

impl Rest {
    fn owes_output(&self) -> bool {
        !self.output.is_empty() || self.file.is_some()
    }
}

/// What all connections are served with.
struct Desk {
    answers: Answers,
    closes: bool,
    input: Box<[u8; INPUT_BYTES]>,
    gathered: Vec<u8>,
}

struct Server {
    epoll: OwnedFd,
    listener: OwnedFd,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    desk: Desk,
}

#[derive(PartialEq, Eq)]
enum Fate {
    Lives,
    Ends,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [port, ref answer @ ..] = arguments[..] else { usage() };
    let answers = match *answer {
        ["file", path] => Answers::One(ok(Path::new(path), "")?),
        ["close", path] => Answers::One(ok(Path::new(path), "Connection: close\r\n")?),
        ["files", directory] => Answers::Numbered(numbered(Path::new(directory))?),
        ["not-modified", path] => Answers::One(not_modified(Path::new(path))?),
        ["not-found"] => Answers::One(not_found()),
        ["range", path, first, last] => Answers::One(range(Path::new(path), number(first), number(last))?),
        _ => usage(),
    };
    Server::new(number(port) as u16, answers, answer[0] == "close")?.run()
}

fn usage() -> ! {
    eprintln!("usage: limit PORT file|close|files|not-modified|not-found|range [PATH [FIRST LAST]]");
    std::process::exit(2)
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| usage())
}

/// The fields that any server sends, so that as many bytes go over the wire as from a real one.
fn head(status: &str, length: u64, more: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nServer: limit00\r\nContent-Type: application/octet-stream\r\nAccept-Ranges: bytes\r\n\
         Last-Modified: {DATE}\r\nETag: \"0123456789abcdef-400\"\r\n{more}Content-Length: {length}\r\nDate: {DATE}\r\n\r\n"
    )
    .into_bytes()
}

fn ok(path: &Path, more: &str) -> io::Result<Answer> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = head("200 OK", length, more);
    if length >= SENDFILE_FROM_BYTES as u64 {
        return Ok(Answer { bytes, file: Some(Content { file: Rc::new(file), length }) });
    }
    bytes.extend(std::fs::read(path)?);
    Ok(Answer { bytes, file: None })
}

fn numbered(directory: &Path) -> io::Result<Vec<Answer>> {
    let files = std::fs::read_dir(directory)?.count();
    (0..files).map(|number| ok(&directory.join(number.to_string()), "")).collect()
}

fn not_modified(path: &Path) -> io::Result<Answer> {
    std::fs::metadata(path)?;
    let bytes = format!(
        "HTTP/1.1 304 Not Modified\r\nServer: limit00\r\nLast-Modified: {DATE}\r\nETag: \"0123456789abcdef-400\"\r\n\
         Date: {DATE}\r\n\r\n"
    )
    .into_bytes();
    Ok(Answer { bytes, file: None })
}

fn not_found() -> Answer {
    let body = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>404 Not Found</title>\n<h1>404 Not Found</h1>\n";
    let length = body.len();
    let bytes = format!(
        "HTTP/1.1 404 Not Found\r\nServer: limit00\r\nContent-Type: text/html; charset=utf-8\r\n\
         Content-Length: {length}\r\nDate: {DATE}\r\n\r\n{body}"
    )
    .into_bytes();
    Answer { bytes, file: None }
}

fn range(path: &Path, first: usize, last: usize) -> io::Result<Answer> {
    let content = std::fs::read(path)?;
    let more = format!("Content-Range: bytes {first}-{last}/{}\r\n", content.len());
    let part = content.get(first..=last).ok_or(io::ErrorKind::InvalidInput)?;
    let mut bytes = head("206 Partial Content", part.len() as u64, &more);
    bytes.extend(part);
    Ok(Answer { bytes, file: None })
}

impl Answers {
    fn to(&self, request: &[u8]) -> &Answer {
        match self {
            Self::One(answer) => answer,
            Self::Numbered(answers) => {
                let number = number_in_target(request);
                answers.get(number).unwrap_or_else(|| panic!("no file {number}"))
            }
        }
    }
}

/// `GET /files/17 HTTP/1.1` is 17.
fn number_in_target(request: &[u8]) -> usize {
    let digits = request.iter().skip_while(|byte| !byte.is_ascii_digit());
    digits.take_while(|byte| byte.is_ascii_digit()).fold(0, |n, digit| n * 10 + usize::from(digit - b'0'))
}

impl Server {
    fn new(port: u16, answers: Answers, closes: bool) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        net::sockopt::set_socket_reuseaddr(&listener, true)?;
        net::sockopt::set_tcp_nodelay(&listener, true)?;
        sys::defer_accept(listener.as_fd())?;
        net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        net::listen(&listener, BACKLOG)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, event_data(&listener), EventFlags::IN)?;
        let desk = Desk { answers, closes, input: Box::new([0; INPUT_BYTES]), gathered: Vec::new() };
        Ok(Self { epoll, listener, connections: Vec::new(), desk })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                let descriptor = event.data.u64();
                if descriptor == self.listener.as_raw_fd() as u64 {
                    self.accept()?;
                    continue;
                }
                let slot = &mut self.connections[descriptor as usize];
                let Some(connection) = slot else { continue };
                if self.desk.serve(connection) == Fate::Ends {
                    *slot = None;
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(stream) = net::accept_with(&self.listener, flags) {
            let mut connection = Connection { stream, rest: None };
            // The request has arrived already, as the accept was deferred until then: a connection that ends after
            // one answer need never be registered.
            if self.desk.closes && self.desk.serve(&mut connection) == Fate::Ends {
                continue;
            }
            let stream = &connection.stream;
            let readiness = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            epoll::add(&self.epoll, stream, event_data(stream), readiness)?;
            let descriptor = stream.as_raw_fd() as usize;
            if self.connections.len() <= descriptor {
                self.connections.resize_with(descriptor + 1, || None);
            }
            self.connections[descriptor] = Some(connection);
        }
        Ok(())
    }
}

impl Desk {
    /// Sends what is owed, then reads and answers until the socket has no more.
    fn serve(&mut self, connection: &mut Connection) -> Fate {
        if let Some(rest) = connection.rest.as_mut().filter(|rest| rest.owes_output()) {
            match flush(connection.stream.as_fd(), rest) {
                Ok(()) if self.closes => return Fate::Ends,
                Ok(()) => {}
                Err(Errno::AGAIN) => return Fate::Lives,
                Err(_) => return Fate::Ends,
            }
        }
        loop {
            let bytes = match net::recv(&connection.stream, &mut self.input[..], RecvFlags::empty()) {
                Ok((_, bytes)) if bytes > 0 => bytes,
                Err(Errno::AGAIN) => return Fate::Lives,
                _ => return Fate::Ends,
            };
            match self.answer_all(connection, bytes) {
                Ok(true) if self.closes => return Fate::Ends,
                // A short read has emptied the socket: epoll(7) will tell of more.
                Ok(_) if bytes < INPUT_BYTES => return Fate::Lives,
                Ok(_) => {}
                Err(Errno::AGAIN) => return Fate::Lives,
                Err(_) => return Fate::Ends,
            }
        }
    }

    /// Answers the requests in the first `bytes` of the input: one by itself, several with one send. Whether there
    /// was any.
    fn answer_all(&mut self, connection: &mut Connection, bytes: usize) -> Result<bool, Errno> {
        let stream = connection.stream.as_fd();
        let rest = &mut connection.rest;
        let joined = rest.as_mut().filter(|rest| !rest.input.is_empty()).map(|rest| {
            rest.input.extend_from_slice(&self.input[..bytes]);
            std::mem::take(&mut rest.input)
        });
        let input = joined.as_deref().unwrap_or(&self.input[..bytes]);

        let mut ends = memmem::find_iter(input, b"\r\n\r\n").map(|at| at + 4);
        let Some(mut end) = ends.next() else {
            rest.get_or_insert_default().input = input.to_vec();
            return Ok(false);
        };
        let first = self.answers.to(&input[..end]);
        if end == input.len() {
            send(stream, &first.bytes, first.file.as_ref(), rest)?;
            return Ok(true);
        }

        self.gathered.clear();
        self.gathered.extend_from_slice(&first.bytes);
        for next_end in ends {
            let answer = self.answers.to(&input[end..next_end]);
            assert!(answer.file.is_none(), "only answers from memory can be pipelined");
            self.gathered.extend_from_slice(&answer.bytes);
            end = next_end;
        }
        if end < input.len() {
            rest.get_or_insert_default().input = input[end..].to_vec();
        }
        send(stream, &self.gathered, None, rest)?;
        Ok(true)
    }
}

/// Sends as much as fits now; what does not goes into `rest`, and then `AGAIN` is returned.
fn send(
    stream: BorrowedFd<'_>,
    bytes: &[u8],
    file: Option<&Content>,
    rest: &mut Option<Box<Rest>>,
) -> Result<(), Errno> {
    // Without MSG_MORE the head goes out as a segment of its own, and the file waits for its acknowledgement.
    let more = if file.is_some() { SendFlags::MORE } else { SendFlags::empty() };
    let sent = match net::send(stream, bytes, more | SendFlags::NOSIGNAL) {
        Err(Errno::AGAIN) => 0,
        result => result?,
    };
    if sent == bytes.len() && file.is_none() {
        return Ok(());
    }
    let rest = rest.get_or_insert_default();
    rest.output.extend_from_slice(&bytes[sent..]);
    rest.file = file.map(|content| (content.clone(), 0));
    flush(stream, rest)
}

fn flush(stream: BorrowedFd<'_>, rest: &mut Rest) -> Result<(), Errno> {
    while !rest.output.is_empty() {
        let more = if rest.file.is_some() { SendFlags::MORE } else { SendFlags::empty() };
        let sent = net::send(stream, &rest.output, more | SendFlags::NOSIGNAL)?;
        rest.output.drain(..sent);
    }
    while let Some((content, offset)) = &mut rest.file {
        let bytes = (content.length - *offset).min(SENDFILE_BYTES_MAX) as usize;
        rustix::fs::sendfile(stream, &content.file, Some(offset), bytes)?;
        if *offset == content.length {
            rest.file = None;
        }
    }
    Ok(())
}

fn event_data(descriptor: &OwnedFd) -> EventData {
    EventData::new_u64(descriptor.as_raw_fd() as u64)
}
