//! Between the listeners and the workers: the way in, and the one connection that waits when every worker is full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use worker::Room;
use worker::accept::{Gate, Pause};
use worker::handoff::{Accepted, Sender};
use worker::overload::{FULL_PAUSE, Warning};

use crate::dispatcher::{Dispatcher, Refused};
use crate::error::AcceptError;

/// What the acceptor has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections accepted and handed to a worker.
    pub accepted: u64,
    /// Pauses because the process or the machine was out of descriptors or memory.
    pub shortages: u64,
    /// Pauses because there were as many connections as allowed.
    pub limit_pauses: u64,
    /// Pauses because no worker's hand-off had room.
    pub full_pauses: u64,
}

/// Whether a connection may come in now, or how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Admission {
    Open,
    Paused(Duration),
}

/// Between the listeners and the workers.
#[derive(Debug)]
pub(crate) struct Intake {
    dispatcher: Dispatcher,
    /// What every connection has to pass.
    pub(crate) gate: Gate,
    /// A connection that no worker could take yet.
    pending: Option<Accepted>,
    totals: Totals,
    full_warning: Warning,
}

impl Intake {
    pub(crate) fn new(workers: Vec<Sender>, room: Arc<Room>) -> Self {
        Self {
            dispatcher: Dispatcher::new(workers),
            gate: Gate::new(room),
            pending: None,
            totals: Totals::default(),
            full_warning: Warning::default(),
        }
    }

    pub(crate) const fn totals(&self) -> Totals {
        self.totals
    }

    /// Wakes the workers that got something.
    pub(crate) fn wake(&mut self) {
        self.dispatcher.wake();
    }

    /// Gives a connection to a worker, or keeps it until [`Intake::retry`].
    pub(crate) fn admit(&mut self, accepted: Accepted) -> Result<Admission, AcceptError> {
        match self.dispatcher.dispatch(accepted) {
            Ok(()) => {
                self.totals.accepted += 1;
                Ok(Admission::Open)
            }
            Err(Refused::Full(accepted)) => {
                self.pending = Some(accepted);
                self.totals.full_pauses += 1;
                if self.full_warning.is_due(Instant::now()) {
                    tracing::warn!("no worker keeps up with the new connections: they wait");
                }
                Ok(Admission::Paused(FULL_PAUSE))
            }
            Err(Refused::NoWorker) => Err(AcceptError::NoWorker),
        }
    }

    /// Tries again to give away the connection that nobody could take, if there is one.
    pub(crate) fn retry(&mut self) -> Result<Admission, AcceptError> {
        self.pending.take().map_or(Ok(Admission::Open), |accepted| self.admit(accepted))
    }

    /// Notes that nothing can be accepted now.
    pub(crate) const fn pause(&mut self, pause: Pause) -> Admission {
        match pause {
            Pause::Limit => self.totals.limit_pauses += 1,
            Pause::Shortage { .. } => self.totals.shortages += 1,
        }
        Admission::Paused(pause.duration())
    }
}
