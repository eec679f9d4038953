//! How the descriptors of the process are shared out between what has to be there, open files and connections.

use crate::cli::{Cli, DESCRIPTORS_CEILING};

use super::{Machine, SettingsError, saturate};

/// Of the acceptor: its epoll.
const PER_ACCEPTOR: u64 = 1;
/// Of each tree: its root and those that are kept behind it; for a moment, another that takes its place, one in between
/// that some worker still has, with those behind it, and what is opened to try it out and to warm it.
const PER_TREE: u64 = 1 + KEPT + 1 + 1 + KEPT + 2;
const KEPT: u64 = worker::KEPT_MAX as u64;
/// Of each worker: its epoll, the copy through which its loop registers, its eventfd.
const PER_WORKER: u64 = 3;
/// Of each worker, for a moment each: files that are being opened.
const PER_WORKER_OPENING: u64 = 3;

/// What connections and cached files may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) connections_max: u64,
    pub(crate) open_files_max: usize,
}

impl Budget {
    /// `listeners` are those that are still to be opened, beside what the machine says is open.
    ///
    /// # Errors
    /// When so many workers could not serve a single connection.
    pub(super) fn new(
        cli: &Cli,
        machine: &Machine,
        workers: usize,
        listeners: usize,
        has_access_log: bool,
    ) -> Result<Self, SettingsError> {
        let count = workers as u64;
        let descriptors = machine.descriptors_max.min(DESCRIPTORS_CEILING);
        let trees = 1 + cli.content.vhost.len() as u64;
        let shared = PER_ACCEPTOR
            + trees * PER_TREE
            + listeners as u64
            + u64::from(cli.helpers > 0)
            + u64::from(has_access_log);
        let reserved = machine.descriptors_open + shared + count * (PER_WORKER + PER_WORKER_OPENING);
        // One connection, and one file for each worker to keep.
        let least = reserved + count + 1;
        if descriptors < least {
            return Err(SettingsError::Descriptors { allowed: descriptors, least, workers });
        }
        let spare = descriptors - reserved;
        let open_files = cli.open_cache.min(spare / 4 / count).max(1);
        if open_files < cli.open_cache {
            tracing::debug!(
                "--open-cache lowered from {} to {open_files}: caches may take a quarter of the {descriptors} \
                 descriptors",
                cli.open_cache
            );
        }
        let affordable = spare - count * open_files;
        let connections_max = cli.max_conns.map_or(affordable, |wanted| wanted.min(affordable));
        if cli.max_conns.is_some_and(|wanted| wanted > affordable) {
            tracing::warn!(
                "--max-conns lowered to {affordable}: the limit of {descriptors} descriptors allows no more; raise \
                 it with `ulimit -n` or LimitNOFILE="
            );
        }
        Ok(Self { connections_max, open_files_max: saturate(open_files) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cli, machine};
    use super::*;

    fn budget(
        arguments: &[&str],
        descriptors_max: u64,
        workers: usize,
    ) -> Result<(u64, usize), SettingsError> {
        let machine = Machine { descriptors_max, descriptors_open: 5, ..machine() };
        let budget = Budget::new(&cli(arguments), &machine, workers, 1, false);
        budget.map(|budget| (budget.connections_max, budget.open_files_max))
    }

    #[test]
    fn descriptors_are_shared_between_files_and_connections() {
        // Open, acceptor, roots, listener, helpers; workers.
        let spare = 20_000 - (5 + 1 + PER_TREE + 1 + 1) - 2 * 6;
        let files = spare / 4 / 2;
        let table: [(&[&str], _, _); 8] = [
            (&[], 20_000, (spare - 2 * files, files)),
            (&["--open-cache", "100"], 20_000, (spare - 200, 100)),
            (&["--helpers", "0", "--open-cache", "1"], 20_000, (spare + 1 - 2, 1)),
            (&["--max-conns", "7"], 20_000, (7, files)),
            (&["--max-conns", "30000"], 20_000, (spare - 2 * files, files)),
            (&["--vhost", "a.org=a"], 20_000 + PER_TREE, (spare - 2 * files, files)),
            (&[], 64, (25, 4)),
            (&[], u64::MAX, (DESCRIPTORS_CEILING - 31 - 2 * 4096, 4096)),
        ];
        for (arguments, descriptors, (connections, files)) in table {
            let budget = budget(arguments, descriptors, 2).unwrap();
            assert_eq!(budget, (connections, saturate(files)), "{arguments:?} {descriptors}");
        }
    }

    #[test]
    fn too_few_descriptors_are_refused_with_how_many_are_enough() {
        for (workers, least) in [(1, 27), (2, 34), (1024, 7188)] {
            for descriptors in [0, 3, least - 1] {
                let line = budget(&[], descriptors, workers).unwrap_err().to_string();
                assert!(line.contains(&format!("raise `ulimit -n` to at least {least}")), "{line}");
                assert_eq!(line.contains("fewer --workers"), workers > 1, "{line}");
            }
            assert_eq!(budget(&[], least, workers).unwrap(), (1, 1));
        }
    }

    #[test]
    fn whatever_is_left_is_never_more_than_there_is() {
        for (descriptors, workers) in (18..200).flat_map(|descriptors| [(descriptors, 1), (descriptors, 4)]) {
            if let Ok((connections, files)) = budget(&[], descriptors, workers) {
                let workers = workers as u64;
                assert!(connections >= 1 && files >= 1);
                assert_eq!(8 + PER_TREE + workers * (6 + files as u64) + connections, descriptors);
            }
        }
    }
}
