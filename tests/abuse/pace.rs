//! Clients who behave, and what they notice of an attack.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::client::{Client, eventually, request};
use super::process::this_thread_waited_for_processor;
use super::server::Server;

/// Workers of every server here, so that figures do not depend on the machine.
pub(crate) const WORKERS: usize = 2;

/// Between two requests.
const BEAT: Duration = Duration::from_millis(2);

/// Below this, a 99th percentile is that of the machine's scheduler: twice as much means nothing.
pub(crate) const FLOOR: Duration = Duration::from_millis(2);

/// Response times in order.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// Of `target`, asked for every two milliseconds for so long. Counted from when the request was due, so that those
    /// which a stall holds up are counted as well; less what the client itself waited for a processor, as beside attackers
    /// on the same machine, since no server can do anything about that.
    pub(crate) fn of(address: SocketAddr, target: &str, expected: &[u8], span: Duration) -> Self {
        let mut client = Client::connect(address);
        let request = request("GET", target, &[]);
        let (start, mut latencies) = (Instant::now(), Vec::new());
        let mut due = start;
        while due < start + span && start.elapsed() < 4 * span {
            let starved = this_thread_waited_for_processor();
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let response = client.exchange(&request);
            assert!(response.status == 200 && response.content == expected, "{:?}", response.head());
            let latency = due.elapsed();
            latencies.push(latency.saturating_sub(this_thread_waited_for_processor() - starved));
            due += BEAT;
        }
        latencies.sort();
        Self(latencies)
    }

    /// Requests that were answered.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// What so many of a hundred responses took at most.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }

    /// The figures of a report.
    pub(crate) fn shown(&self) -> String {
        format!(
            "p50 {:.2?}, p99 {:.2?}, max {:.1?}",
            self.percentile(50),
            self.percentile(99),
            self.percentile(100)
        )
    }
}

/// Asks every worker for each of them, so that it holds them: they take turns.
pub(crate) fn fill_caches(server: &Server, targets: &[&str]) {
    for target in targets {
        for _ in 0..2 * WORKERS {
            server.connect().get(target);
        }
    }
}

/// What a server holds while nobody attacks it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calm {
    /// Descriptors, all of them.
    pub(crate) descriptors: usize,
    /// Resident memory.
    pub(crate) resident_bytes: u64,
}

impl Calm {
    /// Of a server that has answered once, so that its caches hold what they will hold.
    pub(crate) fn of(server: &Server, targets: &[&str]) -> Self {
        fill_caches(server, targets);
        let mut descriptors = usize::MAX;
        eventually(Duration::from_secs(5), || {
            let now = server.process().descriptors();
            std::thread::sleep(Duration::from_millis(20));
            std::mem::replace(&mut descriptors, now) == now && server.process().sockets() < 8
        });
        Self { descriptors, resident_bytes: server.process().resident_bytes() }
    }

    /// Every descriptor comes back, exactly, and the server answers at once. Returns how long that took.
    #[track_caller]
    pub(crate) fn expect_back(&self, server: &Server, patience: Duration) -> Duration {
        let start = Instant::now();
        let is_back = eventually(patience, || server.process().descriptors() == self.descriptors);
        let now = server.process().descriptors();
        assert!(is_back, "{now} descriptors after {patience:?}, {} before", self.descriptors);
        start.elapsed()
    }
}
