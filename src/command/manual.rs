//! `oneloop completions` and `oneloop man`: what the definition of the command line tells shells and readers.

use std::process::ExitCode;

use clap_complete::Shell;
use clap_mangen::Man;

use super::{Ended, put_out};
use crate::cli::{self, definition};

/// Puts out a script that completes command lines in a shell.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn completions(shell: Shell) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), "oneloop", &mut script);
    put_out(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Puts out a page of the manual.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn page(asked: &cli::Man) -> Ended {
    let mut definition = definition();
    // Gives every command the whole of its name.
    definition.build();
    let name = asked.command.as_deref().unwrap_or_default();
    let about = definition.find_subcommand(name).cloned().unwrap_or(definition);
    let mut page = Vec::new();
    Man::new(about).render(&mut page)?;
    // A command stands in the place of all the rest, not behind it.
    let page = String::from_utf8_lossy(&page)
        .replace(r" [\fIcommand\fR]", "\n.br\n\\fBoneloop\\fR \\fICOMMAND\\fR ...");
    put_out(page.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
