//! The oneloop server: flags, assembly, signals. What happens on a connection is in the crates below:
//! `acceptor` → `worker` → `protocol`.

mod cli;
mod command;
mod os;
mod server;
mod settings;
mod show;

use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use cli::{Cli, Command, Level};
use os::Signals;
use server::REPORT;
use settings::{Machine, Settings};

/// Lines of diagnostics that may wait to be written: with a budget of memory, and without.
const FEW_LINES: usize = 4_096;
const MANY_LINES: usize = 128_000;

fn main() -> ExitCode {
    // First of all: until then they end the process.
    let signals = Signals::keep();
    let command = match Command::read(std::env::args_os(), std::env::var_os("PORT")) {
        Ok(command) => command,
        Err(error) => error.exit(),
    };
    let result = match &command {
        Command::Serve(cli) => run(cli, signals).map(|()| ExitCode::SUCCESS),
        Command::Explain(cli, request) => command::explain::run(cli, request),
        Command::Check(cli) => command::check::run(cli),
        Command::Healthcheck(asked) => command::healthcheck::run(asked),
        Command::Manifest(asked) => command::manifest::run(asked),
        Command::Completions(shell) => command::manual::completions(*shell),
        Command::Man(asked) => command::manual::page(asked),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // Nobody may be listening, which changes nothing.
            let _ = writeln!(io::stderr(), "oneloop: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Diagnostics end with this function, so that the last of them come before the last word of `main`.
fn run(cli: &Cli, signals: io::Result<Signals>) -> Result<(), Box<dyn std::error::Error>> {
    os::ignore_file_size_signal();
    let machine = Machine::look();
    let is_bounded = cli.bounds.memory_budget > 0;
    if is_bounded {
        os::give_memory_back();
    }
    let _flushed_at_the_end =
        start_diagnostics(cli.log_level, if is_bounded { FEW_LINES } else { MANY_LINES });
    for warning in cli::strange_variables() {
        tracing::warn!("{warning}");
    }
    let settings = Settings::new(cli, &machine, io::stdout().is_terminal())?;
    Ok(server::run(settings, signals)?)
}

/// Sends diagnostics to standard error from a thread of their own: when nobody reads them, lines are dropped and no
/// loop ever waits.
fn start_diagnostics(level: Level, lines_max: usize) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(lines_max)
        .thread_name("diagnostics")
        .finish(io::stderr());
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    // What was asked for is shown, however little else is.
    let filter = Targets::new().with_default(level).with_target(REPORT, LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(writer);
    tracing_subscriber::registry().with(filter).with(lines).init();
    std::panic::set_hook(Box::new(log_panic));
    guard
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let payload = info.payload();
    let literal = payload.downcast_ref::<&str>().copied();
    let message = literal.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    match info.location() {
        Some(location) => tracing::error!("thread {name} panicked at {location}: {message}"),
        None => tracing::error!("thread {name} panicked: {message}"),
    }
}
