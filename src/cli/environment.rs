//! Flags that come from the environment: which variables are heard, and which of them is to blame.
//!
//! An empty variable is one that is not set. A value is the same as that of a flag, and when it is wrong, the
//! variable is named and not the flag, which nobody gave.

use std::env;
use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::show::quoted;

const PREFIX: &[u8] = b"ONELOOP_";
/// What begins so makes faults, in debug builds only.
const FAULT: &str = "ONELOOP_FAULT_";
/// How far a name may be from one that there is, to be taken for a slip; and not by more than half of what follows
/// the prefix.
const SLIP_MAX: usize = 3;

/// Reads a command line and the variables of the definition.
///
/// # Errors
/// What clap says of the command line, or of the first variable that is wrong.
pub(super) fn matches(definition: &Command, arguments: &[OsString]) -> Result<ArgMatches, clap::Error> {
    // By itself first: what is wrong then is nobody's fault but the command line's.
    let given = hearing(definition, |_| false).try_get_matches_from(arguments)?;
    hearing(definition, is_set)
        .try_get_matches_from(arguments)
        .map_err(|error| blame(definition, &given).unwrap_or(error))
}

/// The definition with those variables alone.
pub(super) fn hearing(definition: &Command, is_heard: impl Fn(&Arg) -> bool) -> Command {
    let reset = |argument: Arg| argument.env(Resettable::Reset);
    definition.clone().mut_args(|argument| if is_heard(&argument) { argument } else { reset(argument) })
}

fn is_set(argument: &Arg) -> bool {
    argument.get_env().and_then(env::var_os).is_some_and(|value| !value.is_empty())
}

/// The error of the first variable that is wrong and that no flag has beaten.
fn blame(definition: &Command, given: &ArgMatches) -> Option<clap::Error> {
    let is_beaten =
        |argument: &Arg| given.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine);
    let heard = definition.get_arguments().filter(|argument| is_set(argument) && !is_beaten(argument));
    heard.into_iter().find_map(|argument| {
        let alone = hearing(definition, |other| other.get_id() == argument.get_id());
        let mut error = alone.try_get_matches_from([definition.get_name()]).err()?;
        if error.kind() == ErrorKind::MissingRequiredArgument {
            // Only the command line can give that.
            return None;
        }
        let variable = argument.get_env()?.display().to_string();
        if error.kind() == ErrorKind::InvalidUtf8 {
            let message = format!("the value of the variable '{variable}' is not UTF-8");
            return Some(definition.clone().error(ErrorKind::ValueValidation, message));
        }
        error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
        Some(error)
    })
}

/// What to say of each variable that looks like ours and is not.
pub(super) fn strangers(definition: &Command) -> Vec<String> {
    let known: Vec<&str> =
        definition.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
    let names = env::vars_os().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name);
    names.filter_map(|name| stranger(&name, &known)).collect()
}

fn stranger(name: &OsStr, known: &[&str]) -> Option<String> {
    let is_fault = cfg!(debug_assertions) && name.as_encoded_bytes().starts_with(FAULT.as_bytes());
    if !name.as_encoded_bytes().starts_with(PREFIX) || known.iter().any(|&known| name == known) || is_fault {
        return None;
    }
    let shown = name.display().to_string();
    let distances = known.iter().map(|&known| (distance(&shown, known), known));
    let slip_max = SLIP_MAX.min((name.len() - PREFIX.len()) / 2);
    let advice = match distances.min() {
        Some((distance, nearest)) if distance <= slip_max => format!("did you mean {nearest}?"),
        _ => "oneloop --help shows the flags that it could be named after".to_owned(),
    };
    Some(format!("the variable {} means nothing: {advice}", quoted(&shown)))
}

/// Characters to insert, delete or replace until one text is the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (index, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, b) in (1..).zip(to.chars()) {
            let nearest = (diagonal + usize::from(a != b)).min(row[column] + 1).min(row[column - 1] + 1);
            diagonal = std::mem::replace(&mut row[column], nearest);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_what_has_to_be_changed() {
        let table = [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "axc", 1),
            ("abc", "abcd", 1),
            ("xabc", "abc", 1),
            ("kitten", "sitting", 3),
        ];
        for (from, to, expected) in table {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn a_strange_variable_is_told_the_nearest_name() {
        let known = ["ONELOOP_PORT", "ONELOOP_ROOT", "ONELOOP_MAX_HEADER"];
        let table = [
            ("ONELOOP_PORT", None),
            ("PORT", None),
            ("ONELOOP_PROT", Some("did you mean ONELOOP_PORT?")),
            ("ONELOOP_MAX_HEADERS", Some("did you mean ONELOOP_MAX_HEADER?")),
            ("ONELOOP_SOMETHING_ELSE", Some("--help")),
            ("ONELOOP_FOO", Some("--help")),
            ("ONELOOP_\n", Some(r"'ONELOOP_\n'")),
        ];
        for (name, mention) in table {
            let said = stranger(name.as_ref(), &known);
            assert_eq!(said.is_some(), mention.is_some(), "{name}");
            assert!(said.unwrap_or_default().contains(mention.unwrap_or_default()), "{name}");
        }
    }
}
