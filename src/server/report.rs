//! What the server has done so far, for the log.

use super::{REPORT, Server};

impl Server {
    /// Logs the counters of every worker, of the acceptor and of the access log.
    pub(super) fn report(&self, totals: acceptor::Totals) {
        for worker in &self.workers {
            let counters = worker.counters();
            tracing::info!(
                target: REPORT,
                worker = worker.index(),
                open = counters.open_connections(),
                adopted = counters.adopted.get(),
                closed = counters.closed.get(),
                requests = counters.requests.get(),
                sent_bytes = counters.sent_bytes.get(),
                header_timeouts = counters.header_timeouts.get(),
                keep_alive_timeouts = counters.keep_alive_timeouts.get(),
                content_timeouts = counters.content_timeouts.get(),
                send_timeouts = counters.send_timeouts.get(),
                slow_peers = counters.slow_peers.get(),
                memory_refusals = counters.memory_refusals.get(),
                linger_timeouts = counters.linger_timeouts.get(),
                truncated_files = counters.truncated_files.get(),
                failures = counters.failures.get(),
                proxy_refusals = counters.proxy_refusals.get(),
                crowd_refusals = counters.crowd_refusals.get(),
                rate_refusals = counters.rate_refusals.get(),
                displaced_idle = counters.displaced_idle.get(),
                displaced_unfinished = counters.displaced_unfinished.get(),
                refused_requests = counters.refused_requests.get(),
                helper_overflows = counters.helper_overflows.get(),
                shortages = counters.shortages.get(),
                limit_pauses = counters.limit_pauses.get(),
                panics = counters.panics.get(),
                "counters"
            );
        }
        tracing::info!(
            target: REPORT,
            accepted = totals.accepted,
            shortages = totals.shortages,
            limit_pauses = totals.limit_pauses,
            full_pauses = totals.full_pauses,
            "acceptor"
        );
        if let Some(access_log) = &self.access_log {
            tracing::info!(
                target: REPORT,
                dropped_lines = access_log.dropped(),
                write_errors = access_log.write_errors(),
                "access log"
            );
        }
    }
}
