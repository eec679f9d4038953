//! `oneloop healthcheck`: asks a server for a page, as a container's health check does, with no other program at hand.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::Ended;
use crate::cli::{Healthcheck, Listen};
use crate::os;
use crate::show::quoted;

/// Bytes of a response up to the end of its status code.
const STATUS_END: usize = "HTTP/1.1 200".len();

/// Asks, and succeeds if the answer is 2xx or 3xx.
///
/// # Errors
/// [`Unwell`], in any other case.
pub(crate) fn run(asked: &Healthcheck) -> Ended {
    let server = reachable(&asked.server);
    let target = &asked.target;
    match ask(&server, target, asked.timeout) {
        Ok(200..400) => Ok(ExitCode::SUCCESS),
        answer => {
            let url = match &server {
                Listen::Unix(_) => format!("http://localhost{target} through {server}"),
                _ => format!("http://{server}{target}"),
            };
            Err(Unwell { url, answer }.into())
        }
    }
}

/// Who listens on every address can be asked on one.
fn reachable(server: &Listen) -> Listen {
    match server {
        Listen::Tcp { host, port } if matches!(host.as_str(), "" | "*" | "::" | "0.0.0.0") => {
            Listen::Tcp { host: "127.0.0.1".into(), port: *port }
        }
        server => server.clone(),
    }
}

/// A connection, however it came about.
trait Stream: Read + Write {
    /// For each call.
    fn set_timeout(&self, timeout: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout)).and_then(|()| self.set_write_timeout(Some(timeout)))
    }
}

impl Stream for UnixStream {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout)).and_then(|()| self.set_write_timeout(Some(timeout)))
    }
}

/// The status of the answer.
fn ask(server: &Listen, target: &str, timeout: Duration) -> io::Result<u16> {
    let deadline = Instant::now() + timeout;
    let (mut stream, host): (Box<dyn Stream>, _) = match server {
        Listen::Tcp { host, port } => (Box::new(connect(host, *port, deadline)?), server.to_string()),
        Listen::Unix(path) => (Box::new(connect_unix(path, deadline)?), "localhost".to_owned()),
        Listen::Inherited(_) | Listen::Systemd => return Err(io::ErrorKind::Unsupported.into()),
    };
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: oneloop-healthcheck\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.set_timeout(left(deadline)?)?;
    stream.write_all(request.as_bytes())?;
    let mut start = [0; STATUS_END];
    let mut filled = 0;
    while let Some(rest) = start.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        stream.set_timeout(left(deadline)?)?;
        match stream.read(rest) {
            Ok(0) => return Err(io::Error::other("it closed the connection without an answer")),
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The kernel's word for a timeout on a socket.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(timed_out()),
            Err(error) => return Err(error),
        }
    }
    status(&start).ok_or_else(|| io::Error::other("what it answers is not HTTP/1.1"))
}

/// Tries every address of the host in turn.
fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The same for a path. Where the backlog is full, connect(2) waits as long as a send may.
fn connect_unix(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let (family, kind, flags) = (AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(left(deadline)?))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?).map_err(|errno| match errno {
        Errno::AGAIN => timed_out(),
        _ => errno.into(),
    })?;
    Ok(socket.into())
}

/// What is left of the time.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(timed_out()) } else { Ok(left) }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time")
}

/// The code in a status line.
fn status(start: &[u8]) -> Option<u16> {
    let (version, code) = std::str::from_utf8(start).ok()?.split_once(' ')?;
    version.strip_prefix("HTTP/1.").and_then(|_| code.parse().ok())
}

/// A server that is not well, or no server at all.
#[derive(Debug)]
struct Unwell {
    url: String,
    answer: io::Result<u16>,
}

impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = quoted(&self.url);
        match &self.answer {
            Ok(status) => write!(f, "{url} answers with {status}"),
            Err(error) => write!(f, "{url} does not answer: {}", os::reason(error)),
        }
    }
}

impl std::error::Error for Unwell {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.answer.as_ref().err().map(|error| error as _)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn only_http_has_a_status() {
        let table = [
            ("HTTP/1.1 200", Some(200)),
            ("HTTP/1.0 404", Some(404)),
            ("HTTP/1.1 2x0", None),
            ("SSH-2.0-Open", None),
            ("\x15\x03\x01\0\x02\x02\x16", None),
        ];
        for (start, code) in table {
            assert_eq!(status(start.as_bytes()), code, "{start:?}");
        }
    }

    #[test]
    fn an_answer_is_waited_for_no_longer_than_allowed_and_may_come_in_pieces() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Listen::Tcp { host: "127.0.0.1".into(), port };
        let silence = ask(&server, "/", Duration::from_millis(50)).unwrap_err();
        assert_eq!(silence.kind(), io::ErrorKind::TimedOut);
        let answering = thread::spawn(move || {
            // The first one has given up.
            let _ = listener.accept().unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            for piece in ["HTTP/1", ".1 20", "4 No Content\r\n\r\n"] {
                stream.write_all(piece.as_bytes()).unwrap();
                thread::sleep(Duration::from_millis(5));
            }
        });
        assert_eq!(ask(&server, "/", Duration::from_secs(10)).unwrap(), 204);
        answering.join().unwrap();
    }
}
