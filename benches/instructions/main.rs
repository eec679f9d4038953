//! Counts the instructions that operations of the server take in user mode, and compares them with a baseline.
//!
//! Times differ from run to run and from machine to machine; instructions hardly do, so a change of a few per
//! cent is seen. Each operation runs in a process of its own, which [`trace`] takes one instruction at a time.
//! What the kernel does is not counted; how often it is asked is the matter of `tests/black_box/syscalls.rs`.
#![allow(clippy::print_stdout, reason = "a table is what this program is for")]

mod baseline;
mod profile;
mod trace;

use std::error::Error;
use std::process::ExitCode;

use baseline::{Baseline, Change};
use oneloop_benches::operation;

/// Runs before counting begins, so that caches are warm, pools are filled, and a file that parts are asked of is
/// held in memory.
const WARM_UP_RUNS: u32 = 200;
/// Runs that are counted.
const COUNTED_RUNS: u32 = 8;

/// The exit code that says that nothing was counted.
const SKIPPED: u8 = 77;

const USAGE: &str = "usage: instructions [--update | --profile OPERATION]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        [] => compare(),
        ["--update"] => count_all().and_then(|now| now.write()).map(|()| ExitCode::SUCCESS),
        ["--profile", name] => profile::print(name).map(|()| ExitCode::SUCCESS),
        [trace::WORD, name] => repeat(name).map(|()| ExitCode::SUCCESS),
        _ => Err(USAGE.into()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("instructions: {error}");
        ExitCode::from(2)
    })
}

/// What the traced process does. The first stretch is empty, so it tells what the marks cost.
fn repeat(name: &str) -> Result<(), Box<dyn Error>> {
    let mut run = (operation::find(name).ok_or("no such operation")?.make)();
    for runs in [WARM_UP_RUNS, 0, COUNTED_RUNS] {
        (0..runs).for_each(|_| run());
        trace::mark()?;
    }
    Ok(())
}

fn compare() -> Result<ExitCode, Box<dyn Error>> {
    if let Err(error) = trace::step(operation::ALL[0].name, |_, _| Ok(()))
        && error.kind() == std::io::ErrorKind::PermissionDenied
    {
        println!("skipped: no process may be traced here");
        return Ok(SKIPPED.into());
    }
    let (baseline, now) = (Baseline::read()?, count_all()?);
    println!("{:<18} {:>12} {:>10} {:>8}", "operation", "instructions", "baseline", "change");
    let mut is_worse = false;
    for (name, count) in &now.counts {
        let change = Change { count: *count, baseline: baseline.count(name) };
        println!("{name:<18} {change}");
        is_worse |= change.is_worse();
    }
    if baseline.toolchain != now.toolchain {
        println!("only a warning: baseline of {}, counted with {}", baseline.toolchain, now.toolchain);
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if is_worse { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn count_all() -> Result<Baseline, Box<dyn Error>> {
    let mut counts = Vec::new();
    for operation in operation::ALL {
        counts.push((operation.name.to_owned(), count(operation.name)?));
    }
    Ok(Baseline { toolchain: baseline::toolchain()?, counts })
}

/// Instructions of one run.
fn count(name: &str) -> Result<u64, Box<dyn Error>> {
    let mut stretches = [0_u64; trace::STRETCHES];
    trace::step(name, |stretch, _| {
        stretches[stretch] += 1;
        Ok(())
    })?;
    let runs = u64::from(COUNTED_RUNS);
    Ok((stretches[1].saturating_sub(stretches[0]) + runs / 2) / runs)
}
