//! Opening what is listened on, and who of the acceptor and the workers accepts there.

use acceptor::{Address, Listener, LocalAddress};
use worker::AcceptQueue;

use super::ServerError;
use crate::os;
use crate::settings::Settings;

/// How long the kernel may hold a connection back until the client has sent something.
const DEFER_ACCEPT_S: i32 = 1;

/// Everything that is listened on.
pub(super) struct Listeners {
    /// What the acceptor accepts from.
    pub(super) acceptor: Vec<Listener>,
    /// What each worker accepts from by itself.
    pub(super) shards: Vec<Vec<AcceptQueue>>,
    /// Every address, once.
    pub(super) locals: Vec<LocalAddress>,
}

impl Listeners {
    /// Opens every address of the settings, and takes it out of them.
    ///
    /// # Errors
    /// The address on which nobody can listen, and why.
    pub(super) fn open(settings: &mut Settings) -> Result<Self, ServerError> {
        let workers = settings.processors.len();
        let mut opened = Self {
            acceptor: Vec::new(),
            shards: (0..workers).map(|_| Vec::new()).collect(),
            locals: Vec::new(),
        };
        for address in std::mem::take(&mut settings.listen) {
            let shown = address.to_string();
            let is_unix = matches!(address, Address::Unix(_));
            opened.add(address, settings).map_err(|source| ServerError::Listen {
                address: shown,
                is_unix,
                source,
            })?;
        }
        Ok(opened)
    }

    fn add(&mut self, address: Address, settings: &Settings) -> std::io::Result<()> {
        let backlog = settings.acceptor.backlog;
        let is_sharded = settings.is_sharded && address.is_sharable();
        let listeners = if is_sharded {
            Listener::bind_shared(address, backlog, self.shards.len())?
        } else {
            vec![Listener::bind(address, backlog)?]
        };
        self.locals.extend(listeners.first().map(|listener| listener.local_address().clone()));
        if settings.defers_accept {
            listeners.iter().for_each(defer_accept);
        }
        if is_sharded {
            let queues = listeners.into_iter().map(Listener::into_queue);
            self.shards.iter_mut().zip(queues).for_each(|(shard, queue)| shard.push(queue));
        } else {
            self.acceptor.extend(listeners);
        }
        Ok(())
    }
}

fn defer_accept(listener: &Listener) {
    if matches!(listener.local_address(), LocalAddress::Tcp(_))
        && let Err(error) = os::defer_accept(listener, DEFER_ACCEPT_S)
    {
        tracing::debug!("accepting on {} cannot be deferred: {error}", listener.local_address());
    }
}
