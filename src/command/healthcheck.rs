//! `oneloop healthcheck`: asks a server for a page, as a container's health check does, with no other program at hand.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::Ended;
use crate::cli::Healthcheck;
use crate::os;
use crate::show::quoted;

/// Who is asked when nobody is named.
const DEFAULT_AUTHORITY: &str = "127.0.0.1:8080";
/// Bytes of a response up to the end of its status code.
const STATUS_END: usize = "HTTP/1.1 200".len();

/// Asks, and succeeds if the answer is 2xx or 3xx.
///
/// # Errors
/// [`Unwell`], in any other case.
pub(crate) fn run(asked: &Healthcheck) -> Ended {
    let authority = asked.url.authority.as_deref().unwrap_or(DEFAULT_AUTHORITY);
    let answer = if asked.url.is_secure {
        Err(io::Error::other("it speaks no TLS; give it an http:// URL"))
    } else {
        ask(authority, &asked.url.target, asked.timeout)
    };
    match answer {
        Ok(200..400) => Ok(ExitCode::SUCCESS),
        answer => Err(Unwell { url: format!("http://{authority}{}", asked.url.target), answer }.into()),
    }
}

/// The status of the answer.
fn ask(authority: &str, target: &str, timeout: Duration) -> io::Result<u16> {
    let deadline = Instant::now() + timeout;
    let mut stream = connect(authority, deadline)?;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: oneloop-healthcheck\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(request.as_bytes())?;
    let mut start = [0; STATUS_END];
    let mut filled = 0;
    while let Some(rest) = start.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        stream.set_read_timeout(Some(left(deadline)?))?;
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
fn connect(authority: &str, deadline: Instant) -> io::Result<TcpStream> {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let endpoint = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let mut last = io::Error::other("the name has no address");
    for address in endpoint.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
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
        let authority = listener.local_addr().unwrap().to_string();
        let silence = ask(&authority, "/", Duration::from_millis(50)).unwrap_err();
        assert_eq!(silence.kind(), io::ErrorKind::TimedOut);
        let server = thread::spawn(move || {
            // The first one has given up.
            let _ = listener.accept().unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            for piece in ["HTTP/1", ".1 20", "4 No Content\r\n\r\n"] {
                stream.write_all(piece.as_bytes()).unwrap();
                thread::sleep(Duration::from_millis(5));
            }
        });
        assert_eq!(ask(&authority, "/", Duration::from_secs(10)).unwrap(), 204);
        server.join().unwrap();
    }
}
