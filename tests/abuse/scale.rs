//! How much abuse there is, and how a scenario says what came of it.

use super::schedule::note;

/// Set to `full` by `tests/abuse/run --full`.
const VARIABLE: &str = "ONELOOP_TEST_ABUSE";

/// Whether this is the run at full scale.
pub(crate) fn is_full() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|value| value == "full")
}

/// A figure for `cargo test`, or the one at full scale.
pub(crate) fn scaled<T>(small: T, full: T) -> T {
    if is_full() { full } else { small }
}

/// The one line of a scenario.
pub(crate) fn report(scenario: &str, figures: &str) {
    note(&format!("abuse: {scenario}: {figures}"));
}
