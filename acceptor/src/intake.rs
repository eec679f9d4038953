//! How many connections come in: the limit on live ones, and the one that waits when every worker is full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use worker::Counters;
use worker::handoff::{Accepted, Sender};

use crate::dispatcher::{Dispatcher, Refused};
use crate::error::AcceptError;
use crate::overload::{FULL_PAUSE, SHORTAGE_PAUSE, Warning};

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
    connections_max: u64,
    /// How many more may come in before the workers' counters must be looked at again. This spares each accept
    /// the look at memory that the workers write.
    room: u64,
    /// A connection that no worker could take yet.
    pending: Option<Accepted>,
    totals: Totals,
    shortage_warning: Warning,
    limit_warning: Warning,
    full_warning: Warning,
}

impl Intake {
    pub(crate) fn new(workers: Vec<(Sender, Arc<Counters>)>, connections_max: u64) -> Self {
        Self {
            dispatcher: Dispatcher::new(workers),
            connections_max,
            room: connections_max,
            pending: None,
            totals: Totals::default(),
            shortage_warning: Warning::default(),
            limit_warning: Warning::default(),
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
                self.room = self.room.saturating_sub(1);
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

    /// Whether the limit on live connections allows another one.
    pub(crate) fn check_limit(&mut self) -> Admission {
        if self.room == 0 {
            self.room = self.connections_max.saturating_sub(self.dispatcher.open_connections());
        }
        if self.room > 0 {
            return Admission::Open;
        }
        self.totals.limit_pauses += 1;
        if self.limit_warning.is_due(Instant::now()) {
            let limit = self.connections_max;
            tracing::warn!("{limit} connections, as many as allowed: new ones wait; --max-conns allows more");
        }
        Admission::Paused(FULL_PAUSE)
    }

    /// Notes that the kernel is out of something that a connection needs.
    pub(crate) fn note_shortage(&mut self, error: &std::io::Error) -> Admission {
        self.totals.shortages += 1;
        if self.shortage_warning.is_due(Instant::now()) {
            tracing::warn!("cannot accept connections: {error}; trying again every {SHORTAGE_PAUSE:?}");
        }
        Admission::Paused(SHORTAGE_PAUSE)
    }
}
