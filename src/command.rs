//! The commands beside serving, each in a module of its own. What they have to say goes to standard output, and the
//! exit code tells what came of it.

pub(crate) mod check;
pub(crate) mod explain;
pub(crate) mod healthcheck;
pub(crate) mod manifest;
pub(crate) mod manual;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

/// How a command ends: with what its result stands for, or because it could not be carried out.
pub(crate) type Ended = Result<ExitCode, Box<dyn Error>>;

/// Puts out text. Whoever has heard enough may close the pipe.
///
/// # Errors
/// When it cannot be written for any other reason.
fn put_out(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
