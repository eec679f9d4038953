//! What to do when a connection cannot be taken: the meaning of accept's errors, the pauses, and warnings that do
//! not flood the log. For whoever accepts: the acceptor, or a worker with listeners of its own.
//!
//! A pause is a timeout of the poll, never a sleep, and when it is over accepting is tried again by itself: an
//! edge-triggered listener announces what is queued only once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// How long to wait for a resource that the whole process or machine is out of, and of which none has come back.
pub const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
/// How long to wait for a connection to end, or for a worker to take something out of its ring.
pub const FULL_PAUSE: Duration = Duration::from_millis(10);
/// Between two warnings about the same thing.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Whether a file could not be opened because the process or the machine is out of something, since somebody looked.
static SHORTAGE: AtomicBool = AtomicBool::new(false);

/// Notes that a file could not be opened because the process or the machine is out of something. Any thread may.
pub fn note_shortage() {
    SHORTAGE.store(true, Ordering::Relaxed);
}

/// Whether that was noted. One of those who look is told; it costs the others a load.
pub fn take_shortage() -> bool {
    SHORTAGE.load(Ordering::Relaxed) && SHORTAGE.swap(false, Ordering::Relaxed)
}

/// What an error of accept means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The queue is empty.
    Drained,
    /// That connection is gone, the next may be fine.
    Next,
    /// Out of descriptors or memory: pause.
    Shortage,
    /// The listener is of no use any more.
    Fatal,
}

/// Judges an error of accept.
#[must_use]
pub fn judge(error: &io::Error) -> Verdict {
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN) => Verdict::Drained,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Verdict::Shortage,
        Some(Errno::CONNABORTED | Errno::INTR) => Verdict::Next,
        // accept(2): Linux passes network errors that are already pending on the new socket; a firewall says EPERM.
        Some(
            Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::CONNRESET
            | Errno::TIMEDOUT
            | Errno::PERM,
        ) => Verdict::Next,
        _ => Verdict::Fatal,
    }
}

/// Lets one of many equal warnings through.
#[derive(Debug, Default)]
pub struct Warning {
    last: Option<Instant>,
}

impl Warning {
    /// Whether to warn now.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= WARNING_INTERVAL);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_accept_has_its_meaning() {
        let table = [
            (Errno::AGAIN, Verdict::Drained),
            (Errno::CONNABORTED, Verdict::Next),
            (Errno::INTR, Verdict::Next),
            (Errno::PROTO, Verdict::Next),
            (Errno::HOSTUNREACH, Verdict::Next),
            (Errno::PERM, Verdict::Next),
            (Errno::MFILE, Verdict::Shortage),
            (Errno::NFILE, Verdict::Shortage),
            (Errno::NOBUFS, Verdict::Shortage),
            (Errno::NOMEM, Verdict::Shortage),
            (Errno::BADF, Verdict::Fatal),
            (Errno::INVAL, Verdict::Fatal),
            (Errno::NOTSOCK, Verdict::Fatal),
        ];
        for (errno, verdict) in table {
            assert_eq!(judge(&errno.into()), verdict, "{errno}");
        }
        assert_eq!(judge(&io::Error::other("no errno")), Verdict::Fatal);
    }

    #[test]
    fn a_warning_is_repeated_only_after_its_interval() {
        let mut warning = Warning::default();
        let start = Instant::now();
        assert!(warning.is_due(start));
        assert!(!warning.is_due(start + WARNING_INTERVAL / 2));
        assert!(warning.is_due(start + WARNING_INTERVAL));
        assert!(!warning.is_due(start + WARNING_INTERVAL));
    }
}
