//! The life of the server: everything is opened, threads are started, signals are obeyed, and it is all ended.
//!
//! The main thread becomes the acceptor, though workers may leave it nothing to accept from. It keeps its name, since
//! that is the name of the process to `ps` and `pgrep`.

mod error;
mod listeners;
mod named;
mod opening;
pub(crate) mod reopening;
mod report;
mod users;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use acceptor::{Acceptor, LocalAddress};
use worker::address_table::AddressTable;
use worker::cold::Helpers;
use worker::handoff::Sender;
use worker::log_writer::{self, Producer, Writer};
use worker::users::Roll;
use worker::{Control, Entrance, Handle, Keeper, Phase, Releases, Room, StartError};

use crate::os::{Request, Signals};
use crate::sandbox::{Kind, Sandbox};
use crate::settings::Settings;
use crate::show::{counted, plain};
pub(crate) use error::ServerError;
use listeners::Listeners;
pub(crate) use named::{check_application, is_file};
pub(crate) use opening::Opened;
use users::Clerk;

/// The target of messages that somebody asked for.
pub(crate) const REPORT: &str = "report";
/// How often the end of the workers is looked for while they drain.
const DRAIN_CHECK: Duration = Duration::from_millis(20);
/// How long the workers have to drop everything, and the access log to write what it holds.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// A server that is up.
struct Server {
    signals: Signals,
    control: Arc<Control>,
    workers: Vec<Handle>,
    keeper: Keeper,
    clerk: Option<Clerk>,
    access_log: Option<Writer>,
}

/// Serves until a signal ends it.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub(crate) fn run(opened: Opened) -> Result<(), ServerError> {
    let Opened { mut settings, signals, listeners, access_log, releases, sandbox } = opened;
    let Listeners { acceptor: listeners, shards, locals } = listeners;
    let (access_log, producers) = start_access_log(&settings, access_log)?;
    let control = Arc::new(Control::default());
    let room = Arc::new(room(&settings));
    let entrances = shards.into_iter().map(|queues| Entrance { room: Arc::clone(&room), queues });
    let (workers, senders) = start_workers(&settings, &releases, entrances, &control, producers)?;
    let successors: Vec<_> = workers.iter().map(|worker| Arc::clone(worker.successor())).collect();
    let keeper = Keeper::start(&settings.worker.site, &releases, &successors, &settings.worker.first)
        .map_err(|error| ServerError::Worker(StartError::Loop(error)))?;
    let clerk = start_clerk(&mut settings, &sandbox)?;
    // Whoever serves them has them: held here, the first ones would never be closed.
    drop(releases);
    let mut acceptor = Acceptor::new(settings.acceptor, listeners, senders, room, &signals)
        .map_err(ServerError::Acceptor)?;
    // The last thread to be taken in, as it has started the others.
    sandbox.take_in(Kind::Main);
    if !settings.is_quiet {
        // A closed standard error is no reason not to serve.
        let _ = io::stderr().write_all(banner(&settings, &locals, &sandbox).as_bytes());
    }
    let mut server = Server { signals, control, workers, keeper, clerk, access_log };
    let result = server.accept_until_stopped(&mut acceptor);
    let totals = acceptor.totals();
    acceptor.close();
    server.drain(settings.grace, totals);
    if settings.is_verbose {
        server.report(totals);
    }
    if server.access_log.is_some_and(|access_log| !access_log.finish(LAST_WAIT)) {
        tracing::warn!("the end of the access log could not be written in time");
    }
    result
}

fn room(settings: &Settings) -> Room {
    let connections_max = settings.connections_max;
    let of_clients = settings.of_client_max.map(|most| AddressTable::leak(connections_max, most));
    Room::new(connections_max).shared_by(settings.processors.len(), of_clients)
}

fn start_access_log(
    settings: &Settings,
    opened: Option<log_writer::Opened>,
) -> Result<(Option<Writer>, Vec<Producer>), ServerError> {
    let Some(opened) = opened else { return Ok((None, Vec::new())) };
    let (writer, producers) = log_writer::start(opened, settings.processors.len(), &settings.worker.first)
        .map_err(|error| ServerError::Worker(StartError::Loop(error)))?;
    Ok((Some(writer), producers))
}

/// Whoever reads the users anew. From then on only workers hold those of the start.
fn start_clerk(settings: &mut Settings, sandbox: &Sandbox) -> Result<Option<Clerk>, ServerError> {
    let roll = settings.worker.gate.take().and_then(|gate| gate.users);
    let work = settings.user_file.take().zip(roll);
    let kib_max =
        |roll: &Roll| if settings.shares.is_bounded() { roll.users().password_kib() } else { u32::MAX };
    work.map(|(file, roll)| {
        let kib_max = kib_max(&roll);
        Clerk::start(file, roll, kib_max, sandbox.clone())
    })
    .transpose()
    .map_err(|error| ServerError::Worker(StartError::Loop(error)))
}

fn start_workers(
    settings: &Settings,
    releases: &Releases,
    entrances: impl Iterator<Item = Entrance>,
    control: &Arc<Control>,
    producers: Vec<Producer>,
) -> Result<(Vec<Handle>, Vec<Sender>), ServerError> {
    let helpers = (settings.helpers > 0)
        .then(|| Helpers::start(settings.helpers, &settings.worker.first))
        .transpose()
        .map_err(|error| ServerError::Worker(StartError::Loop(error)))?;
    let mut producers = producers.into_iter();
    let mut workers = Vec::with_capacity(settings.processors.len());
    let mut senders = Vec::with_capacity(settings.processors.len());
    for (index, (&processor, entrance)) in settings.processors.iter().zip(entrances).enumerate() {
        let settings = worker::Settings { processor, ..settings.worker.clone() };
        let (handle, sender) = worker::spawn(
            index,
            settings,
            releases.clone(),
            entrance,
            Arc::clone(control),
            producers.next(),
            helpers.clone(),
        )
        .map_err(ServerError::Worker)?;
        senders.push(sender);
        workers.push(handle);
    }
    Ok((workers, senders))
}

/// What is served, to whom, where, and with how much: one line each.
fn banner(settings: &Settings, locals: &[LocalAddress], sandbox: &Sandbox) -> String {
    let urls: Vec<_> = locals.iter().map(url).collect();
    let is_told = settings.is_verbose && settings.shares.is_bounded();
    let memory = if is_told { format!("memory: {}\n", settings.shares) } else { String::new() };
    let vhost = |(host, root): &(String, PathBuf)| format!("{host} is served {}\n", plain(root.display()));
    let vhosts: String = settings.vhosts.iter().map(vhost).collect();
    format!(
        "oneloop {} serves {}\n{vhosts}listening on {}\n{}, at most {}, {sandbox}\n{memory}",
        env!("CARGO_PKG_VERSION"),
        plain(settings.root.display()),
        urls.join(", "),
        counted(settings.processors.len() as u64, "worker"),
        counted(settings.connections_max, "connection"),
    )
}

/// What to type into a browser. A wildcard address cannot be, so it is shown behind one that can.
fn url(local: &LocalAddress) -> String {
    match local {
        LocalAddress::Tcp(address) if address.ip().is_unspecified() => {
            format!("http://localhost:{} ({address})", address.port())
        }
        LocalAddress::Tcp(address) => format!("http://{address}"),
        LocalAddress::Unix(_) => plain(local),
    }
}

impl Server {
    fn accept_until_stopped(&mut self, acceptor: &mut Acceptor) -> Result<(), ServerError> {
        loop {
            acceptor.run().map_err(ServerError::Accept)?;
            for request in self.signals.take() {
                match request {
                    Request::Stop => return Ok(()),
                    Request::Reload => self.reload(),
                    Request::Report => self.report(acceptor.totals()),
                }
            }
        }
    }

    fn reload(&self) {
        tracing::info!("opening the root and the access log anew");
        self.keeper.reload();
        if let Some(clerk) = &self.clerk {
            clerk.reload();
        }
        if let Some(access_log) = &self.access_log {
            access_log.reopen();
        }
    }

    /// Lets the workers finish what is in flight, within `grace` or until another signal to stop, and then drops
    /// the rest.
    fn drain(&mut self, grace: Duration, totals: acceptor::Totals) {
        tracing::info!("stopping; open connections: {}", self.open_connections());
        self.control.enter(Phase::Draining);
        self.wake();
        if self.wait_for_workers(grace, totals) {
            return;
        }
        let cut = self.open_connections();
        if cut > 0 {
            tracing::warn!("connections cut off: {cut}; --grace gives them more time");
        }
        self.control.enter(Phase::Stopping);
        self.wake();
        self.wait_for_workers(LAST_WAIT, totals);
    }

    fn open_connections(&self) -> u64 {
        self.workers.iter().map(|worker| worker.counters().open_connections()).sum()
    }

    /// Whether all workers ended in time, and without another signal to stop.
    fn wait_for_workers(&mut self, patience: Duration, totals: acceptor::Totals) -> bool {
        let deadline = Instant::now() + patience;
        while !self.workers.iter().all(Handle::is_finished) {
            for request in self.signals.take() {
                match request {
                    Request::Stop => return false,
                    Request::Reload => tracing::debug!("a reload while stopping is ignored"),
                    Request::Report => self.report(totals),
                }
            }
            if Instant::now() >= deadline {
                return false;
            }
            self.signals.wait(DRAIN_CHECK);
        }
        true
    }

    fn wake(&self) {
        for worker in &self.workers {
            if let Err(error) = worker.wake() {
                tracing::error!("worker {} cannot be woken: {error}", worker.index());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_can_be_typed_into_a_browser() {
        let table = [
            (LocalAddress::Tcp(([127, 0, 0, 1], 80).into()), "http://127.0.0.1:80"),
            (LocalAddress::Tcp(([0, 0, 0, 0], 80).into()), "http://localhost:80 (0.0.0.0:80)"),
            (LocalAddress::Tcp("[::]:8080".parse().unwrap()), "http://localhost:8080 ([::]:8080)"),
            (LocalAddress::Tcp("[::1]:8080".parse().unwrap()), "http://[::1]:8080"),
            (LocalAddress::Unix(Some("/run/s".into())), "unix:/run/s"),
            (LocalAddress::Unix(Some("/run/s\n".into())), r"unix:/run/s\n"),
        ];
        for (local, shown) in table {
            assert_eq!(url(&local), shown);
        }
    }
}
