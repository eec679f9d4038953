//! How much memory a worker may take for what clients make it keep.
//!
//! Everything else in a worker has a size of its own, or a bound in [`crate::settings`]. The binary derives these
//! figures from one budget, or leaves them as they are.

use crate::cold::QUEUE_MAX;

/// Bounds for one worker, and for the helpers of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Connections that may keep input at the same time: heads that are not whole, that wait for a helper, or for
    /// their turn. Each takes [`kept_input_bytes`] at most.
    pub kept_inputs_max: usize,
    /// Bytes of output that may be kept because sockets are full, or were read for connections by helpers.
    pub kept_output_bytes_max: usize,
    /// Buffers of either kind that are kept for reuse.
    pub pooled_max: usize,
    /// Tasks that may wait for helpers, or their outcomes for the worker.
    pub tasks_max: usize,
}

impl Default for Memory {
    /// As much as the number of connections allows.
    fn default() -> Self {
        Self {
            kept_inputs_max: usize::MAX,
            kept_output_bytes_max: usize::MAX,
            pooled_max: 256,
            tasks_max: QUEUE_MAX,
        }
    }
}

/// The most that the input takes which a connection keeps: what is shorter than a head, and one read behind it, in a
/// buffer that grows by doubling.
#[must_use]
pub const fn kept_input_bytes(head_bytes_max: usize) -> usize {
    let read_bytes = crate::context::INPUT_BYTES;
    2 * if head_bytes_max > read_bytes { head_bytes_max } else { read_bytes }
}

/// What a connection takes that keeps nothing: its slot, its timer, and its place in the ranking of those that are idle,
/// which grows by doubling.
pub const CONNECTION_BYTES: usize =
    size_of::<crate::connection::Connection<crate::transport::Socket>>() + 8 + 16 + 2 * 16;
