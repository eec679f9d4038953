//! The oneloop server: flags, assembly, signals. What happens on a connection is in the crates below:
//! `acceptor` → `worker` → `protocol`.

mod cli;
mod command;
mod diagnostics;
mod os;
mod sandbox;
mod server;
mod settings;
mod show;

use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use cli::{Cli, Command, Level};
use diagnostics::Lines;
use os::Signals;
use server::{Opened, REPORT};
use settings::{Machine, Settings};

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
    let lines = start_diagnostics(cli.log_level);
    for warning in cli::strange_variables() {
        tracing::warn!("{warning}");
    }
    let settings = Settings::new(cli, &machine, io::stdout().is_terminal())?;
    for (_, warning) in settings::warnings(cli) {
        tracing::warn!("{warning}");
    }
    let opened = Opened::new(settings, signals)?;
    // From here on there are threads: they inherit what was given up.
    let _flushed_at_the_end = lines.leave_to_thread(opened.sandbox.stderr(), is_bounded);
    Ok(server::run(opened)?)
}

/// Sends diagnostics to standard error.
fn start_diagnostics(level: Level) -> Lines {
    let written = Lines::default();
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
        .with_writer(written.clone());
    tracing_subscriber::registry().with(filter).with(lines).init();
    std::panic::set_hook(Box::new(log_panic));
    written
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
