//! Which tests may run at the same time, and how a test that cannot run says so.

use std::io::Write as _;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

/// Held by a test that loads the whole machine. Only one such test runs at a time, and none that measures time.
pub(crate) fn heavy() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a test that measures time: no heavy test runs meanwhile.
pub(crate) fn timed() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Prints a line that is seen even when the test passes: the capture of the test harness covers only the
/// printing macros.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Says why a test did not run.
pub(crate) fn skip(test: &str, reason: &str) {
    note(&format!("skipped {test}: {reason}"));
}
