//! What the process gives up once everything is open: an intruder gets no more than the server needs.
//!
//! Three layers, each of which holds without the others: `privileges` says who the process is, `landlock` which files
//! it may still open, `seccomp` which system calls each thread makes. The first two are entered by the main thread
//! before it starts another, and inherited; the third by each thread as its first step. Nothing in here knows what is
//! served, but for the paths in [`Reach`].

mod landlock;
pub(crate) mod privileges;
#[cfg(debug_assertions)]
mod probe;
mod reach;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod seccomp;

use std::fmt;
use std::io::{self, Write};

use worker::{FirstStep, ThreadKind};

use crate::cli::Mode;
pub(crate) use reach::Reach;

/// What a thread is for, by which it is told what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Accepts, and obeys signals.
    Main,
    /// A worker's loop.
    Loop,
    /// Waits for disks.
    Helper,
    /// Watches where a root leads.
    Root,
    /// Writes the access log.
    AccessLog,
    /// Reads the users anew.
    Users,
    /// Writes diagnostics.
    Diagnostics,
}

impl Kind {
    /// Each of them.
    const ALL: [Self; 7] =
        [Self::Main, Self::Loop, Self::Helper, Self::Root, Self::AccessLog, Self::Users, Self::Diagnostics];
}

impl From<ThreadKind> for Kind {
    fn from(kind: ThreadKind) -> Self {
        match kind {
            ThreadKind::Loop => Self::Loop,
            ThreadKind::Helper => Self::Helper,
            ThreadKind::Root => Self::Root,
            ThreadKind::AccessLog => Self::AccessLog,
        }
    }
}

/// What kind of sandbox is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// How much of it there has to be.
    pub(crate) mode: Mode,
    /// Whether helpers do what loops would have to wait for.
    pub(crate) has_helpers: bool,
    /// Whether every file may be read, since links may lead to any.
    pub(crate) reads_everything: bool,
}

/// The sandbox that the process is in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sandbox {
    is_off: bool,
    has_landlock: bool,
    reads_everything: bool,
    filters: Option<Filters>,
    /// What is not as it should be on this machine.
    shortcomings: Vec<String>,
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use seccomp::Filters;

/// Which calls an architecture has is known for two of them.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[derive(Clone, Debug)]
enum Filters {}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
impl Filters {
    const fn apply(&self, _: Kind) -> Result<(), std::convert::Infallible> {
        match *self {}
    }
}

impl Sandbox {
    /// Enters it with this thread and all that are started later; each of them has a first step to take.
    ///
    /// # Errors
    /// What this machine lacks, if all is required.
    pub(crate) fn enter(wish: &Wish, reach: &Reach) -> Result<Self, Incomplete> {
        if wish.mode == Mode::Off {
            return Ok(Self { is_off: true, ..Self::default() });
        }
        // What the kernel tells every program is asked for when it is needed first, and then kept.
        let _ = rustix::param::page_size();
        let (filters, shortcomings) = look(wish);
        let mut entered = Self {
            is_off: false,
            has_landlock: landlock::is_there(),
            reads_everything: wish.reads_everything,
            filters,
            shortcomings,
        };
        if entered.has_landlock
            && let Err(error) = landlock::restrict(reach)
        {
            entered.has_landlock = false;
            entered.shortcomings.push(format!("Landlock cannot be entered: {error}"));
        }
        if wish.mode == Mode::Require && !entered.shortcomings.is_empty() {
            return Err(Incomplete(entered.shortcomings));
        }
        Ok(entered)
    }

    /// What is missing, if anything, though it was not required.
    pub(crate) fn warning(&self) -> Option<String> {
        let missing = self.shortcomings.join("; ");
        (!missing.is_empty()).then(|| {
            format!("the sandbox is incomplete: {missing}; --sandbox off says that this is all right")
        })
    }

    /// The first step of a thread of this kind: from then on it makes the calls that it needs.
    pub(crate) fn take_in(&self, kind: Kind) {
        if let Some(filters) = &self.filters
            && let Err(error) = filters.apply(kind)
        {
            // It could be done a moment ago, so memory is short.
            tracing::error!("a thread stays outside of seccomp: {error}");
        }
        #[cfg(debug_assertions)]
        probe::report();
    }

    /// The same for the threads of workers.
    pub(crate) fn first_step(&self) -> FirstStep {
        let sandbox = self.clone();
        FirstStep::new(move |kind| sandbox.take_in(kind.into()))
    }

    /// Standard error, for the thread that writes diagnostics: it takes its first step when it writes or flushes.
    pub(crate) fn stderr(&self) -> impl Write + Send + 'static {
        Stderr { out: io::stderr(), sandbox: Some(self.clone()) }
    }
}

/// What there is of seccomp, and what the machine lacks.
fn look(wish: &Wish) -> (Option<Filters>, Vec<String>) {
    let mut shortcomings: Vec<String> = landlock::shortcoming().into_iter().collect();
    match filters(wish.has_helpers) {
        Ok(filters) => (Some(filters), shortcomings),
        Err(shortcoming) => {
            shortcomings.push(shortcoming);
            (None, shortcomings)
        }
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn filters(has_helpers: bool) -> Result<Filters, String> {
    let filters = Filters::new(has_helpers).map_err(|error| format!("seccomp cannot be had: {error}"))?;
    filters.shortcoming().map_or(Ok(filters), Err)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn filters(_: bool) -> Result<Filters, String> {
    Err(format!("there is no list of system calls for {}: seccomp is left out", std::env::consts::ARCH))
}

/// What the machine offers for one, without entering it: the version of Landlock's interface, if there is one, and what
/// is missing.
pub(crate) fn offer() -> (Option<i64>, Vec<String>) {
    let wish = Wish { mode: Mode::Auto, has_helpers: true, reads_everything: false };
    (landlock::version().ok(), look(&wish).1)
}

/// As the banner says it.
impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.is_off, self.has_landlock, self.filters.is_some()) {
            (true, ..) => "no sandbox",
            (_, true, true) => "sandbox of Landlock and seccomp",
            (_, true, false) => "sandbox of Landlock alone",
            (_, false, true) => "sandbox of seccomp alone",
            (_, false, false) => "no sandbox, as there is none here",
        })?;
        if self.has_landlock && self.reads_everything {
            f.write_str(", which reads all files for --symlinks any")?;
        }
        Ok(())
    }
}

/// Why a sandbox that is required is not there.
#[derive(Debug)]
pub(crate) struct Incomplete(Vec<String>);

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.0.join("; ");
        write!(
            f,
            "cannot have the sandbox that --sandbox require asks for: {missing}; --sandbox auto does with less"
        )
    }
}

struct Stderr {
    out: io::Stderr,
    /// Until the first step was taken.
    sandbox: Option<Sandbox>,
}

impl Stderr {
    fn take_first_step(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.take_in(Kind::Diagnostics);
        }
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take_first_step();
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.take_first_step();
        self.out.flush()
    }
}
