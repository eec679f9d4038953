//! What the connections of one worker share: a connection borrows it for the length of one call, and gives back
//! what it took. Nothing in here crosses threads but the counters.

use std::sync::Arc;

use bytes::BytesMut;
use protocol::Limits;

use crate::buffers::Pool;
use crate::clock::Clock;
use crate::metrics::Counters;
use crate::output::Transfers;
use crate::settings::{Deadlines, Settings};
use crate::site::Site;

/// Bytes read from a socket at once.
pub const INPUT_BYTES: usize = 16 << 10;
/// Bytes of responses that are gathered before they are sent.
pub const OUTPUT_BYTES: usize = 64 << 10;
/// Buffers and transfers kept for reuse. More may be in use; these are what a quiet worker holds on to.
const POOLED_MAX: usize = 256;

/// The shared things.
#[derive(Debug)]
pub struct Context {
    /// The time of this turn.
    pub clock: Clock,
    /// Limits on a request.
    pub limits: Limits,
    /// Deadlines of a connection.
    pub deadlines: Deadlines,
    /// Where sockets are read into.
    pub input: Vec<u8>,
    /// Where responses gather. Empty between calls.
    pub output: BytesMut,
    /// Buffers for input that has to be kept.
    pub buffers: Pool,
    /// For output that has to be kept.
    pub transfers: Transfers,
    /// What is served.
    pub site: Site,
    /// What has been done.
    pub counters: Arc<Counters>,
    /// Whether every response is to be the last of its connection.
    pub is_draining: bool,
}

impl Context {
    /// Everything a worker's connections need, made once.
    #[must_use]
    pub fn new(settings: &Settings, site: Site, counters: Arc<Counters>, clock: Clock) -> Self {
        Self {
            clock,
            limits: settings.limits,
            deadlines: settings.deadlines,
            input: vec![0; INPUT_BYTES],
            output: BytesMut::with_capacity(2 * OUTPUT_BYTES),
            buffers: Pool::new(POOLED_MAX, INPUT_BYTES),
            transfers: Transfers::new(POOLED_MAX),
            site,
            counters,
            is_draining: false,
        }
    }
}
