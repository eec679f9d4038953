//! `oneloop explain`: what is decided about a request, and the head that answers it.
//!
//! The request is served: a connection of the worker's reads its bytes, over a transport in memory, from a site that
//! may wait. What the site decides it tells by itself ([`worker::decision`]); here it is only written down.

use std::cell::RefCell;
use std::fmt::{Debug, Write as _};
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use clap::ValueEnum;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt};
use worker::clock::Clock;
use worker::cold::Task;
use worker::connection::{Arrival, Connection, Fate};
use worker::context::Context;
use worker::decision;
use worker::gate::{Gate, GateSettings};
use worker::site::Site;
use worker::site::resolve::Patience;
use worker::transport::Transport;
use worker::{Counters, Peer, Settings};

use super::Ended;
use crate::cli::{Cli, ClientAddress, Request};
use crate::server::ServerError;
use crate::settings;
use crate::show::plain;

/// The port of a client whose address is all that counts.
const CLIENT_PORT: u16 = 0;
/// What a request is for that names no host.
const DEFAULT_AUTHORITY: &str = "localhost";
/// Columns for the word that says what a line is about.
const STEP_WIDTH: usize = 13;

/// Explains a request. The exit code is that of the class of the answer: 0 for 2xx and 3xx, 4, or 5.
///
/// # Errors
/// When the root cannot be opened, or the users cannot be read.
pub(crate) fn run(cli: &Cli, asked: &Request) -> Ended {
    let settings = settings::worker(cli, 1, settings::saturate(cli.open_cache));
    let gate = settings::gate(cli)?;
    let path = settings::check_root(&cli.root)?;
    let request = request(asked);
    let lines = Lines { is_bold: io::stdout().is_terminal() };
    lines.put_text("request", &request);
    let hidden = if cli.hidden { "served" } else { "not served" };
    let symlinks = cli.symlinks.to_possible_value();
    let symlinks = symlinks.as_ref().map_or("", |value| value.get_name());
    let root = format!("{}; symbolic links: {symlinks}; names with a dot in front: {hidden}", path.display());
    lines.put("root", &root);
    let subscriber = tracing_subscriber::registry()
        .with(Targets::new().with_target(decision::TARGET, LevelFilter::TRACE))
        .with(lines);
    let head = tracing::subscriber::with_default(subscriber, || {
        answer(&settings, gate, peer(asked.client), request.as_bytes())
    })?;
    lines.put_text("response", &head);
    Ok(match head.split(' ').nth(1).and_then(|code| code.bytes().next()) {
        Some(b'4') => ExitCode::from(4),
        Some(b'5') => ExitCode::from(5),
        _ => ExitCode::SUCCESS,
    })
}

/// The bytes of the request: what was asked for, and a host.
fn request(asked: &Request) -> String {
    let mut request = format!("{} {} HTTP/1.1\r\n", asked.method, asked.url.target);
    let is_host = |line: &String| line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("host:"));
    if !asked.fields.iter().any(is_host) {
        let authority = asked.url.authority.as_deref().unwrap_or(DEFAULT_AUTHORITY);
        let _ = write!(request, "Host: {authority}\r\n");
    }
    for line in &asked.fields {
        let _ = write!(request, "{line}\r\n");
    }
    request + "\r\n"
}

/// Who asks. Nobody with an address asks through a Unix socket.
fn peer(client: ClientAddress) -> Peer {
    match client {
        ClientAddress::Unix => Peer::Unix,
        ClientAddress::Ip(ip) => Peer::from(SocketAddr::new(ip, CLIENT_PORT)),
    }
}

/// The head of the response.
fn answer(
    settings: &Settings,
    gate: Option<GateSettings>,
    peer: Peer,
    request: &[u8],
) -> Result<String, ServerError> {
    let releases = worker::open_roots(&settings.site).map_err(ServerError::Worker)?;
    let site = Site::new(settings.site.clone(), &releases, Patience::MayWait);
    let mut cx = Context::new(settings, site, Arc::new(Counters::default()), None, Clock::kernel());
    let wire = Wire { unread: request, sent: Vec::new() };
    // The client is the one that a header of the PROXY protocol would have named.
    let gate = gate.map(|gate| Gate::new(GateSettings { is_proxied: false, ..gate }));
    cx.gate = gate.map(|gate| Rc::new(RefCell::new(gate)));
    let mut connection = Connection::new(wire, peer, &cx);
    // The head goes out at once, whatever follows it. The site opens everything by itself; only a password is left
    // to somebody else.
    let mut fate = connection.advance(&mut cx);
    while fate == Fate::Help {
        let Some(Task::Verify(verification)) = connection.task() else { break };
        fate = connection.resume(&Arrival::Verified(verification.run()), &mut cx);
    }
    let sent = &connection.transport().sent;
    let end = sent.windows(4).position(|window| window == b"\r\n\r\n").map_or(sent.len(), |at| at + 4);
    let head = sent.get(..end).unwrap_or_default();
    Ok(String::from_utf8_lossy(head).into_owned())
}

/// A client that sends one request, and takes whatever it is sent at once.
struct Wire<'r> {
    unread: &'r [u8],
    sent: Vec<u8>,
}

impl Transport for Wire<'_> {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        io::Read::read(&mut self.unread, buffer)
    }

    fn send(&mut self, bytes: &[u8], _more_follows: bool) -> io::Result<usize> {
        self.sent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn send_file(&mut self, _file: BorrowedFd<'_>, _offset: u64, bytes: usize) -> io::Result<usize> {
        Ok(bytes)
    }

    fn unacknowledged_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_close(&mut self) {}
}

/// Writes lines to standard output, each behind a word that says what it is about.
#[derive(Clone, Copy, Debug)]
struct Lines {
    is_bold: bool,
}

impl Lines {
    fn put(self, step: &str, text: &str) {
        let (bold, end) = if self.is_bold { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        // Whoever has heard enough may close the pipe.
        let _ = writeln!(io::stdout(), "{bold}{step:<STEP_WIDTH$}{end}{}", plain(text));
    }

    /// The lines of a head.
    fn put_text(self, step: &str, head: &str) {
        let mut step = step;
        for line in head.trim_end().split("\r\n") {
            self.put(step, line);
            step = "";
        }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: LayerContext<'_, S>) {
        let mut told = Told::default();
        event.record(&mut told);
        self.put(&told.step, &told.message);
    }
}

/// What an event tells.
#[derive(Default)]
struct Told {
    step: String,
    message: String,
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "step" {
            value.clone_into(&mut self.step);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}
