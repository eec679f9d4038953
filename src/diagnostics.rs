//! Where diagnostics go: straight to standard error while the process has one thread, and from then on through a thread
//! of their own, so that no loop ever waits for whoever reads them.

use std::io::{self, Stderr, Write};
use std::sync::{Arc, OnceLock};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written: with a budget of memory, and without.
const FEW_LINES: usize = 4_096;
const MANY_LINES: usize = 128_000;

/// The way of all lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<OnceLock<NonBlocking>>);

impl Lines {
    /// Starts the thread, which writes to `out`; when nobody reads there, lines are dropped, and sooner if memory `is_bounded`.
    /// What it has then is written when the guard is dropped.
    pub(crate) fn leave_to_thread(&self, out: impl Write + Send + 'static, is_bounded: bool) -> WorkerGuard {
        let (mut writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(if is_bounded { FEW_LINES } else { MANY_LINES })
            .thread_name("diagnostics")
            .finish(out);
        // Nothing, by which `out` learns what thread it is on.
        let _ = writer.write(b"");
        // There is none yet: this is done once.
        let _ = self.0.set(writer);
        guard
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        self.0.get().cloned().map_or_else(|| Line::Direct(io::stderr()), Line::Queued)
    }
}

/// The way of one line.
pub(crate) enum Line {
    Direct(Stderr),
    Queued(NonBlocking),
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Direct(out) => out.write(bytes),
            Self::Queued(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Direct(out) => out.flush(),
            Self::Queued(out) => out.flush(),
        }
    }
}
