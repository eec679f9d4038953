//! What the machine offers, beside what the flags ask for.

use std::fs;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Finding;
use crate::cli::{Cli, Workers};
use crate::settings::{self, Machine, SettingsError};
use crate::show::counted;

/// All of it.
pub(super) fn findings(cli: &Cli) -> Vec<Finding> {
    let machine = Machine::look();
    let somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn");
    let somaxconn = somaxconn.ok().and_then(|number| number.trim().parse().ok());
    let mut findings = vec![descriptors(cli, &machine), processors(cli, &machine)];
    findings.extend(memory(cli, &machine));
    findings.extend(somaxconn.map(|somaxconn| backlog(cli.backlog, somaxconn)));
    findings.push(kernel());
    findings
}

fn descriptors(cli: &Cli, machine: &Machine) -> Finding {
    let has_access_log = settings::access_log(cli.access_log.as_deref(), false).is_some();
    let budget = match settings::budget(cli, machine, has_access_log) {
        Ok(budget) => budget,
        Err(error) => return Finding::fail("descriptors", error),
    };
    let (limit, connections) = (machine.descriptors_max, budget.connections_max);
    match cli.max_conns {
        Some(wanted) if wanted > connections => Finding::warn(
            "descriptors",
            format!("{limit} allow {connections} connections, not --max-conns {wanted}: raise `ulimit -n`"),
        ),
        _ => Finding::ok("descriptors", format!("{limit}, for at most {connections} connections")),
    }
}

/// What of a budget goes where.
fn memory(cli: &Cli, machine: &Machine) -> Option<Finding> {
    let has_access_log = settings::access_log(cli.access_log.as_deref(), false).is_some();
    match settings::memory(cli, machine, has_access_log) {
        Ok(shares) => shares.is_bounded().then(|| Finding::ok("memory", shares)),
        Err(SettingsError::Memory(error)) => Some(Finding::fail("memory", error)),
        // Told by others.
        Err(_) => None,
    }
}

fn processors(cli: &Cli, machine: &Machine) -> Finding {
    let workers = settings::workers(cli, machine);
    if let Err(error) = settings::processors(&cli.pin, machine, workers) {
        return Finding::fail("processors", error);
    }
    let threads = machine.parallelism;
    match cli.workers {
        Workers::Count(count) if count > threads => Finding::warn(
            "processors",
            format!("{threads} for {count} workers, which take turns: fewer --workers cost less"),
        ),
        _ => Finding::ok("processors", format!("{threads}, for {}", counted(workers as u64, "worker"))),
    }
}

fn backlog(backlog: u16, somaxconn: u32) -> Finding {
    if u32::from(backlog) > somaxconn {
        let text =
            format!("the kernel queues {somaxconn}, not --backlog {backlog}: raise net.core.somaxconn");
        return Finding::warn("backlog", text);
    }
    Finding::ok("backlog", format!("{backlog}; net.core.somaxconn is {somaxconn}"))
}

/// Whether the kernel can open without leaving the root, and without waiting.
fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "this kernel".into());
    let release = release.trim();
    let open = |resolve| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(rustix::fs::CWD, c".", flags, Mode::empty(), resolve).map(drop)
    };
    match (open(ResolveFlags::BENEATH), open(ResolveFlags::CACHED)) {
        (Err(Errno::NOSYS | Errno::PERM), _) => {
            Finding::fail("kernel", format!("{release} has or allows no openat2(2): oneloop needs Linux 5.6"))
        }
        (_, Err(Errno::INVAL)) => Finding::warn(
            "kernel",
            format!("{release} has no RESOLVE_CACHED (Linux 5.12): helper threads have to open every file"),
        ),
        _ => Finding::ok("kernel", format!("{release}, with openat2 and RESOLVE_CACHED")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn what_the_machine_cannot_do_is_a_warning_and_what_it_must_do_a_failure() {
        let machine = |descriptors_max| Machine {
            descriptors_max,
            descriptors_open: 5,
            processors: vec![0, 1],
            parallelism: 2,
        };
        let cli = |arguments: &[&str]| {
            Cli::read(std::iter::once("oneloop").chain(arguments.iter().copied()), None).unwrap()
        };
        let descriptors_table: [(&[&str], u64, Verdict); 4] = [
            (&[], 20_000, Verdict::Ok),
            (&["--max-conns", "10000"], 20_000, Verdict::Ok),
            (&["--max-conns", "30000"], 20_000, Verdict::Warn),
            (&[], 10, Verdict::Fail),
        ];
        for (arguments, limit, verdict) in descriptors_table {
            let finding = descriptors(&cli(arguments), &machine(limit));
            assert_eq!(finding.verdict, verdict, "{arguments:?} {limit}: {finding}");
        }
        let processors_table: [(&[&str], Verdict); 4] = [
            (&[], Verdict::Ok),
            (&["-t", "2", "--pin", "auto"], Verdict::Ok),
            (&["-t", "3"], Verdict::Warn),
            (&["--pin", "2"], Verdict::Fail),
        ];
        for (arguments, verdict) in processors_table {
            assert_eq!(processors(&cli(arguments), &machine(100)).verdict, verdict, "{arguments:?}");
        }
        assert_eq!(backlog(4096, 4096).verdict, Verdict::Ok);
        assert_eq!(backlog(4097, 4096).verdict, Verdict::Warn);
    }
}
