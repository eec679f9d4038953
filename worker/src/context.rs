//! What the connections of one worker share: a connection borrows it for the length of one call, and gives back
//! what it took. Nothing in here crosses threads but the counters.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use protocol::Limits;
use protocol::http1::memo::Memo;

use crate::address_table::AddressTable;
use crate::buffers::Pool;
use crate::clock::Clock;
use crate::errands::Errands;
use crate::gate::SharedGate;
use crate::log_writer::Producer;
use crate::metrics::Counters;
use crate::output::Transfers;
use crate::pace::Rates;
use crate::settings::{Deadlines, Settings};
use crate::site::Site;
use crate::slab::Slab;
use crate::sys;

/// Bytes read from a socket at once.
pub const INPUT_BYTES: usize = 16 << 10;
/// Bytes of responses that are gathered before they are sent.
pub const OUTPUT_BYTES: usize = 64 << 10;
/// How long a peer may take to finish a request, or to stop talking, when the server is ending.
const DRAINING_MS: u64 = 1_000;
/// How often what nobody needs any more is given up.
const TIDY_MS: u64 = 10_000;
/// So many things have to be given up at once for a worker that goes on working to look for free pages: that takes it a
/// moment, the longer, the more there are.
const RETURN_MIN: usize = 16;

/// The worker's way to the access log. Shared with the worker's thread, which keeps it when the loop panics.
pub type SharedProducer = Rc<RefCell<Producer>>;

/// The shared things.
#[derive(Debug)]
pub struct Context {
    /// The time of this turn.
    pub clock: Clock,
    /// Limits on a request.
    pub limits: Limits,
    /// A head that was decoded lately, whoever sent it. Away while that very head is being answered.
    pub memo: Memo,
    /// Deadlines of a connection.
    pub deadlines: Deadlines,
    /// How fast a connection may go, and how slowly.
    pub rates: Rates,
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
    /// Who may ask, if not everybody.
    pub gate: Option<SharedGate>,
    /// How many connections each client has, if that is limited.
    pub of_clients: Option<&'static AddressTable>,
    /// The access log, if there is one.
    pub log: Option<SharedProducer>,
    /// What threads do that may wait for a disk. Without them, this thread waits itself.
    pub errands: Option<Errands>,
    /// What has been done.
    pub counters: Arc<Counters>,
    /// Whether every response is to be the last of its connection.
    pub is_draining: bool,
    tidied_ms: u64,
}

impl Context {
    /// Everything a worker's connections need, made once.
    #[must_use]
    pub fn new(
        settings: &Settings,
        site: Site,
        counters: Arc<Counters>,
        log: Option<SharedProducer>,
        clock: Clock,
    ) -> Self {
        let memory = &settings.memory;
        Self {
            clock,
            limits: settings.limits,
            memo: Memo::default(),
            deadlines: settings.deadlines,
            rates: settings.rates,
            input: vec![0; INPUT_BYTES],
            output: BytesMut::with_capacity(2 * OUTPUT_BYTES),
            buffers: Pool::new(memory.pooled_max, INPUT_BYTES).with_room(memory.kept_inputs_max),
            transfers: Transfers::new(memory.pooled_max).with_room(memory.kept_output_bytes_max),
            site,
            gate: None,
            of_clients: None,
            log,
            errands: None,
            counters,
            is_draining: false,
            tidied_ms: 0,
        }
    }

    /// How long the loop may sleep before [`Context::tidy`] has something to do; `None` is for ever.
    #[must_use]
    pub fn tidy_timeout_ms<T>(&self, connections: &Slab<T>) -> Option<u64> {
        let Self { site, buffers, transfers, .. } = self;
        let is_tidy =
            site.is_tidy() && buffers.is_trimmed() && transfers.is_trimmed() && connections.is_trimmed();
        (!is_tidy).then(|| (self.tidied_ms + TIDY_MS).saturating_sub(self.clock.now_ms()))
    }

    /// Gives up what nobody needed lately: open files, buffers, slots of connections; and returns the pages behind. Costs
    /// a comparison until it is time for it.
    pub fn tidy<T>(&mut self, connections: &mut Slab<T>) {
        let now_ms = self.clock.now_ms();
        if now_ms >= self.tidied_ms + TIDY_MS {
            self.tidied_ms = now_ms;
            let given_up =
                self.site.tidy(now_ms) + self.buffers.trim() + self.transfers.trim() + connections.trim();
            let is_at_rest = self.buffers.is_trimmed() && self.transfers.is_trimmed();
            if given_up >= RETURN_MIN || (given_up > 0 && is_at_rest) {
                sys::return_freed_memory();
            }
        }
    }

    /// Whether this thread may wait for a disk: only where nobody else can.
    #[must_use]
    pub const fn may_wait(&self) -> bool {
        self.errands.is_none()
    }

    /// A deadline for a peer that owes us something: short when the server is ending.
    #[must_use]
    pub fn hurried(&self, ms: u64) -> u64 {
        if self.is_draining { ms.min(DRAINING_MS) } else { ms }
    }

    /// Lets `write` append whole lines to the access log, if there is one.
    pub fn log(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(log) = &self.log {
            write(log.borrow_mut().buffer());
        }
    }

    /// Passes on what was logged in this turn.
    pub fn flush_log(&mut self) {
        if let Some(log) = &self.log {
            log.borrow_mut().flush();
        }
    }
}
