//! How one budget of memory is shared out: what the process takes in any case, and a share for everything that clients
//! make grow. ARCHITECTURE.md lists them, too.
//!
//! Each figure is an upper bound of what one of a kind takes. The kernel's memory for sockets is none of it.

use std::fmt;

use worker::address_table::BYTES_PER_CONNECTION;
use worker::cold::QUEUES_BYTES;
use worker::memory::{CONNECTION_BYTES, kept_input_bytes};
use worker::rate::BUCKETS_BYTES;
use worker::site::making::LENT_BYTES_MAX;
use worker::{Memory, Settings as WorkerSettings};

use super::budget::Budget;
use crate::cli::{Cli, Listing};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The program before it serves: its own data, the command line, rules, messages that wait to be written.
const PROGRAM_BYTES: u64 = 4 * MIB;
/// The stack of a thread, as far as it is used, and what the allocator keeps for it.
const THREAD_BYTES: u64 = 256 * KIB;
/// Scratch, events, timing wheel, hand-off, missing paths of a worker.
const WORKER_BYTES: u64 = 640 * KIB;
/// The ring and the buffer of a worker for the access log.
const LOG_BYTES: u64 = MIB + 128 * KIB;
/// What a helper reads into.
const HELPER_BYTES: u64 = 256 * KIB;
/// What coding takes while it is under way: brotli's window and tables.
const CODING_BYTES: u64 = 16 * MIB;
/// What decoding takes: windows as common coders use them.
const DECODING_BYTES: u64 = 8 * MIB;
/// The table of `--etag content`.
const DIGESTS_BYTES: u64 = 2 * MIB;

/// Transfer, inquiry and pace of a connection, beside its slot in the slab of each worker.
const CONNECTION_EXTRA_BYTES: u64 = KIB;
/// An open file: its prepared heads, its keys.
const FILE_BYTES: u64 = 6 * KIB;
/// A name that a listing is made of, in all the forms that it takes on the way.
const LISTED_BYTES: u64 = KIB;
/// A task and its outcome, beside copies of the path.
const TASK_BYTES: u64 = 24 * KIB;
const TASK_PATHS: u64 = 4;
/// Tasks of all workers, and requests that wait for them, so that a crowd whose files have to be opened leaves enough to
/// others. What takes a helper long leaves a quarter of them.
const CROWD: u64 = 128;
/// A buffer of either kind that is kept for reuse.
const POOLED_BYTES: u64 = (64 + 128) * KIB;

/// Something that grows, up to a bound that is derived.
#[derive(Clone, Copy, Debug)]
struct Pool {
    what: &'static str,
    /// The flag that asks for a figure, and what it asks for.
    asked: Option<(&'static str, u64)>,
    /// Whether the flag is in bytes.
    is_size: bool,
    /// What one takes; of pools that each worker has, all those together.
    unit_bytes: u64,
    least: u64,
    most: u64,
    /// How large its part is of what is left when all have the least.
    weight: u64,
}

impl Pool {
    const fn wanted(&self) -> u64 {
        match self.asked {
            Some((_, count)) => count,
            None => self.least,
        }
    }
}

/// Numbers of the pools.
const CONNECTIONS: usize = 0;
const FILES: usize = 1;
const CACHE: usize = 2;
const LENT: usize = 3;
const INPUTS: usize = 4;
const OUTPUT: usize = 5;
const TASKS: usize = 6;
const LISTED: usize = 7;
const POOLED: usize = 8;
const POOLS: usize = 9;

/// What decides how much is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) workers: u64,
    pub(super) descriptors: Budget,
    pub(super) has_access_log: bool,
    /// The memory of the costliest password.
    pub(super) password_kib: u32,
}

/// How the memory is shared out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// None: there is no budget, and everything is as large as its flag or default says.
    budget_bytes: Option<u64>,
    fixed_bytes: u64,
    pools: [Pool; POOLS],
    got: [u64; POOLS],
}

impl Shares {
    /// # Errors
    /// When the budget is too small, or too small for what a flag asks for.
    pub(super) fn new(cli: &Cli, load: &Load) -> Result<Self, MemoryError> {
        let pools = pools(cli, load);
        let most = pools.map(|pool| pool.most.max(pool.wanted()));
        let budget_bytes = cli.bounds.memory_budget;
        if budget_bytes == 0 {
            return Ok(Self { budget_bytes: None, fixed_bytes: 0, pools, got: most });
        }
        let fixed_bytes = fixed_bytes(cli, load);
        let least_bytes = fixed_bytes + cost(&pools, pools.map(|pool| pool.least));
        if budget_bytes < least_bytes {
            let (workers, compresses) = (load.workers, cli.content.compress);
            return Err(MemoryError::TooSmall { budget_bytes, least_bytes, workers, compresses });
        }
        let got = share_out(&pools, budget_bytes - fixed_bytes).map_err(|(flag, is_size, asked, fits)| {
            MemoryError::DoesNotFit { flag, is_size, asked, fits, budget_bytes }
        })?;
        Ok(Self { budget_bytes: Some(budget_bytes), fixed_bytes, pools, got })
    }

    /// Most connections of all workers together.
    pub(crate) fn connections_max(&self) -> u64 {
        self.got[CONNECTIONS]
    }

    /// Whether there is a budget.
    pub(crate) const fn is_bounded(&self) -> bool {
        self.budget_bytes.is_some()
    }

    /// Tells a worker.
    pub(super) fn apply(&self, worker: &mut WorkerSettings) {
        let got = |pool: usize| super::saturate(self.got[pool]);
        worker.connections_max = got(CONNECTIONS);
        worker.site.open_files_max = got(FILES);
        if self.budget_bytes.is_none() {
            return;
        }
        worker.site.memory_bytes_max = super::saturate(self.got[CACHE] * KIB);
        worker.site.lent_bytes_max = self.got[LENT] * KIB;
        worker.memory = Memory {
            kept_inputs_max: got(INPUTS),
            kept_output_bytes_max: super::saturate(self.got[OUTPUT] * KIB),
            pooled_max: got(POOLED),
            tasks_max: got(TASKS),
        };
        // Nobody else has it yet.
        if let Some(plan) = std::sync::Arc::get_mut(&mut worker.site.plan)
            && let Some(listing) = &mut plan.listing
        {
            listing.entries_max = got(LISTED);
        }
    }

    /// Bytes of everything together, if there is a budget.
    fn total_bytes(&self) -> u64 {
        self.fixed_bytes + cost(&self.pools, self.got)
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(budget_bytes) = self.budget_bytes else { return f.write_str("no --memory-budget") };
        write!(
            f,
            "{} of {} shared out: {} for the program and its threads",
            Size(self.total_bytes()),
            Size(budget_bytes),
            Size(self.fixed_bytes)
        )?;
        for (pool, got) in self.pools.iter().zip(self.got).filter(|(pool, got)| pool.unit_bytes * got > 0) {
            let bytes = Size(pool.unit_bytes * got);
            match pool.is_size {
                true => write!(f, ", {bytes} for {}", pool.what)?,
                false => write!(f, ", {bytes} for {got} {}", pool.what)?,
            }
        }
        Ok(())
    }
}

/// What is there in any case.
fn fixed_bytes(cli: &Cli, load: &Load) -> u64 {
    let helpers = cli.helpers as u64;
    let makers = at_once(helpers, load.workers);
    let making_bytes = match (cli.content.compress, cli.content.precompressed.iter().next()) {
        (true, _) => CODING_BYTES,
        (false, Some(_)) => DECODING_BYTES,
        (false, None) => 0,
    };
    let trees = 1 + cli.content.vhost.len() as u64;
    // The acceptor, roots, diagnostics, users, and the thread of the access log.
    let threads = load.workers + helpers + trees + 4;
    PROGRAM_BYTES
        + threads * THREAD_BYTES
        + load.workers * (WORKER_BYTES + if load.has_access_log { LOG_BYTES } else { 0 })
        + helpers * HELPER_BYTES
        + if helpers == 0 { 0 } else { QUEUES_BYTES as u64 }
        + makers * (making_bytes + u64::from(load.password_kib) * KIB)
        + if cli.content.etag == crate::cli::Etag::Content { DIGESTS_BYTES } else { 0 }
        + cli.overload.rate.some().map_or(0, |_| BUCKETS_BYTES as u64)
}

/// How many jobs of one kind that takes long are done at once: by half of the helpers, or by the workers themselves.
fn at_once(helpers: u64, workers: u64) -> u64 {
    if helpers == 0 { workers } else { (helpers / 2).max(1) }
}

fn pools(cli: &Cli, load: &Load) -> [Pool; POOLS] {
    let workers = load.workers;
    let pool = |what, unit_bytes, (least, most), weight| Pool {
        what,
        asked: None,
        is_size: false,
        unit_bytes,
        least,
        most,
        weight,
    };
    // In steps of 1 KiB for each worker.
    let sized = |what, range, weight| Pool { is_size: true, ..pool(what, workers * KIB, range, weight) };
    let connections = load.descriptors.connections_max;
    let open_files = load.descriptors.open_files_max as u64;
    let makes = cli.content.compress || cli.content.listing != Listing::Off;
    let listers = at_once(cli.helpers as u64, workers) * u64::from(cli.content.listing != Listing::Off);
    let asked = cli.bounds.asked;
    let address_bytes = cli.overload.max_conns_per_ip.some().map_or(0, |_| BYTES_PER_CONNECTION);
    let connection_bytes = workers * CONNECTION_BYTES as u64 + address_bytes + CONNECTION_EXTRA_BYTES;
    let task_bytes = workers * (TASK_BYTES + TASK_PATHS * cli.max_uri as u64);
    let input_bytes = workers * kept_input_bytes(cli.max_header) as u64;
    // Connections come to the workers in turn. A crowd does not send the longest heads.
    let crowd = (CROWD / workers).max(16);
    let inputs_min = (crowd * workers * kept_input_bytes(0) as u64 / input_bytes).max(8);
    let tasks = if cli.helpers == 0 { (0, 0) } else { (crowd, worker::cold::QUEUE_MAX as u64) };
    let listed_max = worker::site::listing::ENTRIES_MAX as u64;
    [
        Pool {
            asked: cli.max_conns.map(|_| ("--max-conns", connections)),
            ..pool("connections", connection_bytes, (connections.min(64), connections), 4)
        },
        Pool {
            asked: asked.open_cache.then_some(("--open-cache", open_files)),
            ..pool("open files a worker", workers * FILE_BYTES, (open_files.min(16), open_files), 3)
        },
        Pool {
            asked: asked.mem_cache.then_some(("--mem-cache", cli.mem_cache / KIB)),
            ..sized("contents in caches", (64, (cli.mem_cache / KIB).max(64)), 6)
        },
        sized(
            "contents that were made or are held",
            (if makes { 1024 } else { 256 }, LENT_BYTES_MAX / KIB),
            if makes { 6 } else { 2 },
        ),
        pool(
            "requests a worker that are not whole or wait",
            input_bytes,
            (inputs_min, connections.max(inputs_min)),
            6,
        ),
        sized("responses that clients do not take", (256, connections.saturating_mul(256).max(256)), 6),
        pool("tasks a worker", task_bytes, tasks, 3),
        pool("entries of a listing", listers * LISTED_BYTES, (1_000, listed_max), 3),
        pool("spare buffers a worker", workers * POOLED_BYTES, (2, 256), 1),
    ]
}

fn cost(pools: &[Pool; POOLS], counts: [u64; POOLS]) -> u64 {
    let costs = pools.iter().zip(counts).map(|(pool, count)| pool.unit_bytes.saturating_mul(count));
    costs.fold(0, u64::saturating_add)
}

/// What every pool gets of so many bytes, which are enough for the least: what was asked for, or the least and a part of
/// the rest.
///
/// # Errors
/// A flag that asks for too much, whether it is in bytes, how much, and what would fit.
fn share_out(pools: &[Pool; POOLS], bytes: u64) -> Result<[u64; POOLS], (&'static str, bool, u64, u64)> {
    let mut got = pools.map(|pool| pool.wanted());
    let needed = cost(pools, got);
    if needed > bytes {
        // The greediest is to blame. What would fit beside the others, if they are modest, and else beside the least.
        let greedy = pools.iter().filter_map(|pool| pool.asked.map(|(flag, count)| (pool, flag, count)));
        let greediest = greedy.max_by_key(|(pool, _, count)| pool.unit_bytes.saturating_mul(*count));
        if let Some((pool, flag, count)) = greediest {
            let own = pool.unit_bytes.saturating_mul(count);
            let others = needed.saturating_sub(own);
            let least = cost(pools, pools.map(|pool| pool.least)) - pool.unit_bytes * pool.least;
            let others = if others > bytes { least } else { others };
            let fits = (bytes - others) / pool.unit_bytes;
            // If it is too much only together with others that are too much without it, all have to be lowered alike.
            let fits = if fits < count { fits } else { scaled(count, bytes, needed) };
            return Err((flag, pool.is_size, count, fits));
        }
    }
    let mut spare = bytes - needed;
    // Each round fills at least one pool, or is the last.
    for _ in 0..POOLS {
        let is_open = |pool: &Pool, got: u64| pool.asked.is_none() && pool.unit_bytes > 0 && got < pool.most;
        let open = pools.iter().zip(got).filter(|(pool, got)| is_open(pool, *got));
        let weights = open.map(|(pool, _)| pool.weight).sum::<u64>();
        let round = spare;
        for (pool, got) in pools.iter().zip(&mut got).filter(|(pool, got)| is_open(pool, **got)) {
            // Divided first: what that loses is less than anybody misses, and nothing overflows.
            let more = (round / weights * pool.weight / pool.unit_bytes).min(pool.most - *got);
            *got += more;
            spare -= more * pool.unit_bytes;
        }
    }
    Ok(got)
}

/// A part of `count`: as much as `bytes` are of `needed`, which are more.
fn scaled(count: u64, bytes: u64, needed: u64) -> u64 {
    let part = u128::from(count) * u128::from(bytes) / u128::from(needed);
    u64::try_from(part).unwrap_or(count)
}

/// Bytes, as people read them.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0 / MIB * 10 + self.0 % MIB * 10 / MIB;
        match tenths {
            0..10 => write!(f, "{} KiB", self.0 / KIB),
            _ => write!(f, "{}.{} MiB", tenths / 10, tenths % 10),
        }
    }
}

/// Why a budget cannot be kept to. One line: what, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryError {
    /// Not even the least fits.
    TooSmall {
        /// What there is.
        budget_bytes: u64,
        /// What is needed.
        least_bytes: u64,
        /// For how many workers.
        workers: u64,
        /// Whether `--compress` needs a part of it.
        compresses: bool,
    },
    /// What a flag asks for does not fit.
    DoesNotFit {
        /// The flag.
        flag: &'static str,
        /// Whether its figure is in KiB.
        is_size: bool,
        /// What it asks for.
        asked: u64,
        /// What would fit.
        fits: u64,
        /// What there is.
        budget_bytes: u64,
    },
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooSmall { budget_bytes, least_bytes, workers, compresses } => write!(
                f,
                "cannot keep to --memory-budget {}: at least {}k is needed; raise it, or use fewer {}--helpers{}",
                Size(budget_bytes),
                least_bytes.div_ceil(KIB),
                if workers > 1 { "--workers or " } else { "" },
                if compresses { ", or no --compress" } else { "" }
            ),
            Self::DoesNotFit { flag, is_size, asked, fits, budget_bytes } => {
                let unit = if is_size { "k" } else { "" };
                write!(
                    f,
                    "{flag} {asked}{unit} does not fit into --memory-budget {}: {flag} {fits}{unit} does; lower the \
                     one or raise the other",
                    Size(budget_bytes)
                )
            }
        }
    }
}

impl std::error::Error for MemoryError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::cli;
    use super::*;

    fn load(workers: u64, connections_max: u64) -> Load {
        let descriptors = Budget { connections_max, open_files_max: 4096 };
        Load { workers, descriptors, has_access_log: false, password_kib: 0 }
    }

    /// As it is where there are descriptors for what is asked for.
    fn load_of(cli: &Cli, workers: u64) -> Load {
        let (connections_max, open_files_max) = (cli.max_conns.unwrap_or(15_000), cli.open_cache);
        let open_files_max = super::super::saturate(open_files_max);
        Load { descriptors: Budget { connections_max, open_files_max }, ..load(workers, 0) }
    }

    fn shares(arguments: &[&str], load: &Load) -> Result<Shares, MemoryError> {
        Shares::new(&cli(arguments), load)
    }

    #[test]
    fn without_a_budget_everything_is_as_its_flag_says() {
        let shares = shares(&["--open-cache", "100"], &load(4, 15_000)).unwrap();
        assert_eq!(shares.connections_max(), 15_000);
        let mut worker = super::super::worker(&cli(&[]), 1, 1);
        shares.apply(&mut worker);
        assert_eq!(worker.memory, Memory::default());
        assert_eq!((worker.connections_max, worker.site.open_files_max), (15_000, 4096));
        assert_eq!((worker.site.memory_bytes_max, worker.site.lent_bytes_max), (32 << 20, LENT_BYTES_MAX));
    }

    #[test]
    fn defaults_shrink_to_fit_and_what_is_asked_for_is_kept() {
        let flags: [&[&str]; 7] = [
            &[],
            &["--max-conns", "2000"],
            &["--mem-cache", "1m", "--open-cache", "64"],
            &["--mem-cache", "0"],
            &["-x", "--helpers", "2"],
            &["--listing", "--helpers", "0"],
            &["--max-header", "64k", "--max-conns", "100"],
        ];
        for (arguments, workers) in flags.into_iter().flat_map(|flags| [(flags, 1), (flags, 2), (flags, 4)]) {
            let given = cli(arguments);
            let arguments = [arguments, &["--memory-budget", "64m"]].concat();
            let shares = shares(&arguments, &load_of(&given, workers)).unwrap();
            assert!(shares.total_bytes() <= 64 * MIB, "{arguments:?}: {shares}");
            assert!(
                shares.total_bytes() > 60 * MIB || given.max_conns == Some(100),
                "{arguments:?}: {shares}"
            );
            for (pool, got) in shares.pools.iter().zip(shares.got) {
                let range = pool.asked.map_or(pool.least..=pool.most, |(_, count)| count..=count);
                assert!(range.contains(&got), "{arguments:?}: {got} {}", pool.what);
            }
            let mut worker = super::super::worker(&cli(&arguments), 1, 1);
            shares.apply(&mut worker);
            assert_eq!(worker.memory.kept_inputs_max as u64, shares.got[INPUTS]);
            assert_eq!(worker.site.memory_bytes_max as u64, shares.got[CACHE] * KIB);
            let listing = worker.site.plan.listing;
            assert!(listing.is_none_or(|listing| listing.entries_max as u64 == shares.got[LISTED]));
        }
    }

    #[test]
    fn without_helpers_nothing_is_set_aside_for_their_tasks() {
        let got =
            |helpers| shares(&["--memory-budget", "64m", "--helpers", helpers], &load(2, 5_000)).unwrap().got;
        assert_eq!(got("0")[TASKS], 0);
        assert!(got("4")[TASKS] > 0 && got("0")[CACHE] > got("4")[CACHE]);
    }

    #[test]
    fn the_largest_budget_can_be_shown() {
        let sizes = [0, KIB - 1, MIB / 10, MIB, MIB * 3 / 2, u64::MAX].map(|bytes| Size(bytes).to_string());
        assert_eq!(sizes, ["0 KiB", "0 KiB", "102 KiB", "1.0 MiB", "1.5 MiB", "17592186044415.9 MiB"]);
    }

    #[test]
    fn a_budget_that_is_too_small_is_refused_with_what_is_needed() {
        for arguments in [&[][..], &["-x"], &["--listing"], &["--max-header", "1m"], &["--max-conns", "9"]] {
            for workers in [1, 2, 16] {
                let load = load_of(&cli(arguments), workers);
                let refused = shares(&[arguments, &["--memory-budget", "1m"]].concat(), &load).unwrap_err();
                let line = refused.to_string();
                let MemoryError::TooSmall { least_bytes, .. } = refused else { panic!("{line}") };
                let least = format!("{}k", least_bytes.div_ceil(KIB));
                assert!(line.contains(&format!("at least {least} is needed")), "{line}");
                assert_eq!(line.contains("--workers"), workers > 1, "{line}");
                assert_eq!(line.contains("--compress"), arguments == ["-x"], "{line}");
                let fits = shares(&[arguments, &["--memory-budget", &least]].concat(), &load);
                assert!(fits.is_ok_and(|shares| shares.total_bytes() <= least_bytes.next_multiple_of(KIB)));
            }
        }
        let costly = Load { password_kib: 64 << 10, ..load(1, 100) };
        assert!(shares(&["--memory-budget", "64m"], &costly).is_err(), "two passwords at a time");
        assert!(shares(&["--memory-budget", "200m"], &costly).is_ok());
    }

    #[test]
    fn a_flag_that_does_not_fit_is_refused_with_what_would() {
        let table: [(&[&str], &str); 5] = [
            (&["--mem-cache", "1g"], "--mem-cache"),
            (&["--open-cache", "9000"], "--open-cache"),
            (&["--max-conns", "900000"], "--max-conns"),
            (&["--mem-cache", "1g", "--open-cache", "100"], "--mem-cache"),
            (&["--mem-cache", "1g", "--max-conns", "900000"], "--mem-cache"),
        ];
        for (arguments, blamed) in table {
            let load = load(2, if arguments.contains(&"--max-conns") { 900_000 } else { 5_000 });
            let load = Load { descriptors: Budget { open_files_max: 9_000, ..load.descriptors }, ..load };
            let arguments = [arguments, &["--memory-budget", "64m"]].concat();
            let refused = shares(&arguments, &load).unwrap_err();
            let line = refused.to_string();
            let MemoryError::DoesNotFit { flag, is_size, fits, .. } = refused else { panic!("{line}") };
            assert_eq!(flag, blamed, "{line}");
            let unit = if is_size { "k" } else { "" };
            assert!(line.contains(&format!("{flag} {fits}{unit} does; lower")), "{line}");
            // With that figure alone it starts, and hardly any more would fit.
            let alone = |count: u64| {
                let descriptors = Budget {
                    connections_max: if flag == "--max-conns" { count } else { 5_000 },
                    open_files_max: if flag == "--open-cache" {
                        super::super::saturate(count)
                    } else {
                        4_096
                    },
                };
                let count = format!("{count}{unit}");
                shares(&[flag, &count, "--memory-budget", "64m"], &Load { descriptors, ..load })
            };
            assert!(alone(fits).is_ok(), "{line}: {:?}", alone(fits));
            assert!(alone(fits + fits / 4 + 1).is_err(), "{line}");
        }
    }

    /// Each of three would fit beside the least of the others, and no two of them do.
    #[test]
    fn of_figures_that_are_too_much_together_the_greediest_is_to_be_lowered_in_proportion() {
        let mut pools = pools(&cli(&["--memory-budget=1g"]), &load(1, 100));
        for (pool, bytes) in pools.iter_mut().zip([300, 250, 250]) {
            (pool.asked, pool.unit_bytes, pool.least) = (Some(("--flag", bytes)), 1, 1);
        }
        for pool in &mut pools[3..] {
            (pool.least, pool.unit_bytes) = (0, 1);
        }
        assert_eq!(share_out(&pools, 400), Err(("--flag", false, 300, 150)));
        assert_eq!(share_out(&pools, 500), Err(("--flag", false, 300, 0)), "beside the others");
        assert_eq!(share_out(&pools, 700), Err(("--flag", false, 300, 200)));
        assert!(share_out(&pools, 800).is_ok());
    }

    #[test]
    fn the_figures_are_told() {
        let shares = shares(&["--memory-budget", "64m"], &load(2, 15_000)).unwrap().to_string();
        assert!(shares.starts_with("63.") && shares.contains(" of 64.0 MiB shared out: "), "{shares}");
        for what in ["connections", "open files", "contents in caches", "tasks", "spare buffers"] {
            assert!(shares.contains(what), "{shares}");
        }
        assert!(!shares.contains("listing"), "{shares}");
    }

    proptest! {
        #[test]
        fn the_sum_never_exceeds_the_budget(
            budget in 8 * KIB..4_000_000,
            workers in 1_u64..64,
            connections_max in 1_u64..1 << 20,
            open_files_max in 1_usize..1 << 20,
            has_access_log: bool,
            password_kib in 0_u32..100_000,
            flags in prop::sample::subsequence(
                vec!["-x", "--listing", "--mem-cache=5m", "--open-cache=300", "--max-conns=700", "--max-header=1m"], 0..6
            ),
        ) {
            let descriptors = Budget { connections_max, open_files_max };
            let load = Load { workers, descriptors, has_access_log, password_kib };
            let budget = format!("--memory-budget={budget}k");
            let arguments = [&[budget.as_str()], &flags[..]].concat();
            let budget_bytes = cli(&arguments).bounds.memory_budget;
            match shares(&arguments, &load) {
                Ok(shares) => {
                    prop_assert!(shares.total_bytes() <= budget_bytes, "{shares}");
                    prop_assert!(shares.connections_max() >= 1);
                    prop_assert!(shares.connections_max() <= connections_max);
                }
                Err(MemoryError::TooSmall { least_bytes, .. }) => prop_assert!(least_bytes > budget_bytes),
                Err(MemoryError::DoesNotFit { asked, fits, .. }) => prop_assert!(fits < asked),
            }
        }
    }
}
