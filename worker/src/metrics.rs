//! Counters of one worker: written by its thread alone, read by anybody.
//!
//! Each worker has its own block on its own cache lines, so counting is a plain store and no line ever moves
//! between processors because two workers count at once.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread raises and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker may call this: load and store are not one atomic step.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds one. Only the owning worker may call this.
    pub fn increment(&self) {
        self.add(1);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker has done since it started. Survives the worker's panics.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Connections taken over from the acceptor, or accepted from a listener of its own.
    pub adopted: Counter,
    /// Connections ended, for whatever reason. `adopted - closed` are alive.
    pub closed: Counter,
    /// Requests answered, refusals included.
    pub requests: Counter,
    /// Bytes of responses handed to the kernel.
    pub sent_bytes: Counter,
    /// Connections cut because the request head took too long.
    pub header_timeouts: Counter,
    /// Connections closed because nothing came after an exchange.
    pub keep_alive_timeouts: Counter,
    /// Connections cut because request content stalled.
    pub content_timeouts: Counter,
    /// Connections reset because the peer took no more bytes.
    pub send_timeouts: Counter,
    /// Times there was no memory left for what a client made us keep.
    pub memory_refusals: Counter,
    /// Connections reset because the peer took or gave too few bytes a second.
    pub slow_peers: Counter,
    /// Connections closed because a refused peer went on talking.
    pub linger_timeouts: Counter,
    /// Connections reset because a file changed while it was being sent.
    pub truncated_files: Counter,
    /// Connections reset because the kernel failed us, not the peer: a file could not be read, or not in time.
    pub failures: Counter,
    /// Connections closed because they did not begin with a header of the PROXY protocol, or might not.
    pub proxy_refusals: Counter,
    /// Connections refused because their client had as many as allowed.
    pub crowd_refusals: Counter,
    /// Requests refused because their client made too many.
    pub rate_refusals: Counter,
    /// Connections closed to make room that were idle.
    pub displaced_idle: Counter,
    /// Connections closed to make room that had begun to say something and not finished.
    pub displaced_unfinished: Counter,
    /// Requests that were malformed or beyond a limit.
    pub refused_requests: Counter,
    /// Pauses in accepting because the process or the machine was out of descriptors or memory.
    pub shortages: Counter,
    /// Pauses in accepting because there were as many connections as allowed.
    pub limit_pauses: Counter,
    /// Times there was no room for what a helper thread had to do.
    pub helper_overflows: Counter,
    /// Times the worker panicked and was rebuilt.
    pub panics: Counter,
}

impl Counters {
    /// Connections that are open now.
    pub fn open_connections(&self) -> u64 {
        self.adopted.get().saturating_sub(self.closed.get())
    }
}
