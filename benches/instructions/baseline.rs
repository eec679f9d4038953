//! The counts that are committed, and what they were counted with.

use std::error::Error;
use std::fmt;
use std::fs;
use std::process::Command;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions/baseline.txt");

/// How much more than the baseline is a failure, and how much less is a gain to be kept, in per cent.
const CHANGE_MAX: u64 = 3;

/// Instructions of one run, by operation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Baseline {
    /// Counts of different toolchains cannot be compared strictly.
    pub(crate) toolchain: String,
    /// Names and counts, in the order of the operations.
    pub(crate) counts: Vec<(String, u64)>,
}

impl Baseline {
    /// The committed one.
    pub(crate) fn read() -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
        Self::parse(&text).ok_or_else(|| format!("{PATH} is malformed").into())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let toolchain = lines.next()?.to_owned();
        let counts = lines
            .map(|line| {
                let (name, count) = line.split_once(' ')?;
                Some((name.to_owned(), count.trim().parse().ok()?))
            })
            .collect::<Option<_>>()?;
        Some(Self { toolchain, counts })
    }

    /// Makes it the committed one.
    pub(crate) fn write(&self) -> Result<(), Box<dyn Error>> {
        let mut text = format!("# Written by benches/instructions/run --update.\n{}\n", self.toolchain);
        for (name, count) in &self.counts {
            text.push_str(&format!("{name:<18} {count:>8}\n"));
        }
        print!("{text}");
        Ok(fs::write(PATH, text)?)
    }

    /// The count of an operation.
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        self.counts.iter().find(|(known, _)| known == name).map(|(_, count)| *count)
    }
}

/// The compiler, and what else decides which instructions are run.
pub(crate) fn toolchain() -> Result<String, Box<dyn Error>> {
    let compiler = first_words("rustc", "--version", 2)?;
    let library = first_words("getconf", "GNU_LIBC_VERSION", 2)?;
    let vectors = vectors();
    Ok(format!("{compiler}, {library}, {}{vectors}", std::env::consts::ARCH))
}

fn first_words(program: &str, argument: &str, count: usize) -> Result<String, Box<dyn Error>> {
    let output =
        Command::new(program).arg(argument).output().map_err(|error| format!("{program}: {error}"))?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().take(count).collect::<Vec<_>>().join(" "))
}

/// Searches and copies choose their instructions by what the processor has.
fn vectors() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return " with AVX2";
    }
    ""
}

/// A count beside its baseline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// The count now.
    pub(crate) count: u64,
    /// What it was, if the operation is not new.
    pub(crate) baseline: Option<u64>,
}

impl Change {
    /// Whether it must not stay so. An operation that is new has to be put into the baseline.
    pub(crate) fn is_worse(self) -> bool {
        self.baseline.is_none_or(|baseline| self.count * 100 > baseline * (100 + CHANGE_MAX))
    }

    fn is_better(self) -> bool {
        self.baseline.is_some_and(|baseline| self.count * 100 < baseline * (100 - CHANGE_MAX))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, baseline: Some(baseline) } = *self else {
            return write!(f, "{:>12} {:>10} {:>8}  to be added: run with --update", self.count, "-", "-");
        };
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let percent = (count as f64 / baseline as f64 - 1.0) * 100.0;
        write!(f, "{count:>12} {baseline:>10} {percent:>+7.1}%")?;
        match self {
            _ if self.is_worse() => f.write_str("  too many"),
            _ if self.is_better() => f.write_str("  to be kept: run with --update"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let text = "# Comment.\nrustc 1.0.0\nhit   12\nmiss 3\n";
        let baseline = Baseline::parse(text).unwrap();
        assert_eq!(baseline.toolchain, "rustc 1.0.0");
        assert_eq!(
            [baseline.count("hit"), baseline.count("miss"), baseline.count("x")],
            [Some(12), Some(3), None]
        );
        for malformed in ["", "# Only a comment.\n", "rustc\nhit\n", "rustc\nhit many\n"] {
            assert_eq!(Baseline::parse(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn three_per_cent_more_is_worse_and_less_never_is() {
        let table = [(1000, false), (1030, false), (1031, true), (2000, true), (969, false), (0, false)];
        for (count, is_worse) in table {
            assert_eq!(Change { count, baseline: Some(1000) }.is_worse(), is_worse, "{count}");
        }
        assert!(Change { count: 1, baseline: None }.is_worse());
    }
}
