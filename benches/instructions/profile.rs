//! Which functions the instructions of an operation are in. Inlined functions count for
//! themselves, those of the standard library for who called them.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::io::Write;
use std::ops::Range;
use std::process::{Command, Stdio};

use crate::trace;

/// Functions that are shown.
const SHOWN: usize = 30;

/// Prints the functions with the most instructions of one run.
pub(crate) fn print(name: &str) -> Result<(), Box<dyn Error>> {
    let (mut counts, mut maps) = (HashMap::<u64, u64>::new(), String::new());
    trace::step(name, |_, traced| {
        if maps.is_empty() {
            maps = traced.maps()?;
        }
        *counts.entry(traced.instruction_pointer()?).or_default() += 1;
        Ok(())
    })?;
    let mut by_function = BTreeMap::<String, u64>::new();
    for (file, counts) in by_file(&counts, &maps) {
        let names = functions(&file, &counts)?;
        for (name, (_, count)) in names.into_iter().zip(counts) {
            *by_function.entry(name).or_default() += count;
        }
    }
    let mut rows: Vec<_> = by_function.into_iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let runs = u64::from(crate::COUNTED_RUNS);
    for (function, count) in rows.iter().take(SHOWN) {
        println!("{:>6} {function}", (count + runs / 2) / runs);
    }
    let rest: u64 = rows.iter().skip(SHOWN).map(|(_, count)| count).sum();
    println!("{:>6} others", rest / runs);
    Ok(())
}

/// Addresses within each file that is mapped, with their counts.
fn by_file(counts: &HashMap<u64, u64>, maps: &str) -> BTreeMap<String, Vec<(u64, u64)>> {
    let mut files = BTreeMap::<String, Vec<(u64, u64)>>::new();
    let mut bases = HashMap::<&str, u64>::new();
    for (range, file) in maps.lines().filter_map(mapping) {
        let base = *bases.entry(file).or_insert(range.start);
        let inside = counts.iter().filter(|(address, _)| range.contains(address));
        files
            .entry(file.to_owned())
            .or_default()
            .extend(inside.map(|(address, count)| (address - base, *count)));
    }
    files
}

/// Where a file is mapped, by a line of `/proc/PID/maps`: `START-END PERMISSIONS OFFSET DEVICE INODE FILE`.
fn mapping(line: &str) -> Option<(Range<u64>, &str)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let file = words.nth(4).filter(|file| file.starts_with('/'))?;
    Some((u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?, file))
}

/// The function that each address is in, told by addr2line.
fn functions(file: &str, counts: &[(u64, u64)]) -> Result<Vec<String>, Box<dyn Error>> {
    let mut child = Command::new("addr2line")
        .args(["--addresses", "--functions", "--inlines", "--demangle", "--exe", file])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("addr2line: {error}"))?;
    let input: String = counts.iter().map(|(address, _)| format!("{address:#x}\n")).collect();
    let pipe = child.stdin.take().ok_or("no pipe")?;
    // Written beside, since addr2line answers before it has read all of it.
    let writer = std::thread::spawn(move || (&pipe).write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| "the writer")??;
    let text = String::from_utf8(output.stdout)?;
    let names = text.split("0x").skip(1).map(innermost);
    Ok(names.map(|name| name.unwrap_or_else(|| file.to_owned())).collect())
}

/// The innermost function that is not of the standard library, with its file. An answer is the address, then two
/// lines a function: its name and its place.
fn innermost(answer: &str) -> Option<String> {
    let lines: Vec<&str> = answer.lines().skip(1).collect();
    let frames = || lines.chunks_exact(2).map(|frame| (frame[0], frame[1]));
    let (name, place) =
        frames().find(|(_, place)| !place.contains("/library/")).or_else(|| frames().next_back())?;
    let file = place.rsplit('/').next().and_then(|file| file.split(':').next()).unwrap_or_default();
    (name != "??").then(|| format!("{name} ({file})"))
}
