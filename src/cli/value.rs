//! How the values of flags are read: numbers, sizes, times, lists. What is refused is told what is allowed.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::{Pin, Workers};
use crate::show::quoted;

/// Splits `12ms` into the number, if it fits into 64 bits, and the unit.
fn split_unit(text: &str) -> Result<(Option<u64>, &str), String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err("it must start with a digit".into());
    }
    let (number, unit) = text.split_at(digits);
    if unit.starts_with(['.', ',']) {
        return Err("it must be a whole number: use a smaller unit instead of a fraction".into());
    }
    Ok((number.parse().ok(), unit))
}

/// `500ms`, `10s`, `1m`, `1h`; a bare number is seconds.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let milliseconds = parse_milliseconds(text)?;
    milliseconds.map(Duration::from_millis).ok_or_else(|| "it must be from 0 to 8760h".into())
}

/// The same for a time in which something has to happen: nothing happens in no time.
pub(super) fn parse_deadline(text: &str) -> Result<Duration, String> {
    let milliseconds = parse_milliseconds(text)?.filter(|&milliseconds| milliseconds > 0);
    milliseconds.map(Duration::from_millis).ok_or_else(|| "it must be from 1ms to 8760h".into())
}

/// None for more than a year: nobody waits longer, and sums of such times never overflow.
fn parse_milliseconds(text: &str) -> Result<Option<u64>, String> {
    const HOUR_MS: u64 = 60 * 60 * 1000;
    let (number, unit) = split_unit(text)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60 * 1000,
        "h" => HOUR_MS,
        _ => return Err(format!("{} is no unit of time: use ms, s, m or h", quoted(unit))),
    };
    let milliseconds = number.and_then(|number| number.checked_mul(unit_ms));
    Ok(milliseconds.filter(|&milliseconds| milliseconds <= 365 * 24 * HOUR_MS))
}

/// Bytes, or with `k`, `m` or `g` so many KiB, MiB or GiB.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    parse_bytes(text)?.ok_or_else(|| "it must be at most 17179869183g".into())
}

/// The size of something that is kept in memory for a connection.
pub(super) fn parse_head_size(text: &str) -> Result<usize, String> {
    let bytes = parse_bytes(text)?.filter(|bytes| (64..=1 << 20).contains(bytes));
    bytes.and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(|| "it must be from 64 to 1m".into())
}

/// None for more than 64 bits can count.
fn parse_bytes(text: &str) -> Result<Option<u64>, String> {
    let (number, unit) = split_unit(text)?;
    let shift = match unit {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return Err(format!("{} is no unit of size: use k, m or g", quoted(unit))),
    };
    Ok(number.and_then(|number| number.checked_mul(1 << shift)))
}

/// A value that has a line of its own, as several have in the environment; an empty line is none.
pub(super) fn line<T, E: ToString>(
    parse: impl Fn(&str) -> Result<T, E> + Clone,
) -> impl Fn(&str) -> Result<Option<T>, String> + Clone {
    move |text| {
        let is_empty = text.trim().is_empty();
        if is_empty { Ok(None) } else { parse(text).map(Some).map_err(|error| error.to_string()) }
    }
}

/// A path that has a line of its own; an empty line is none.
pub(super) fn path_line() -> impl TypedValueParser<Value = Option<PathBuf>> {
    let is_blank = |path: &OsString| path.to_str().is_some_and(|text| text.trim().is_empty());
    OsStringValueParser::new().map(move |path| (!is_blank(&path)).then(|| path.into()))
}

/// The path of what is served.
pub(super) fn root() -> impl TypedValueParser<Value = PathBuf> {
    let is_given = |path: OsString| match path.is_empty() {
        true => Err("it is empty: give a directory, or nothing for '.'"),
        false => Ok(path.into()),
    };
    OsStringValueParser::new().try_map(is_given)
}

/// Reads a number within a range.
pub(super) fn number<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("it must be a number from {} to {}", range.start(), range.end()))
    }
}

pub(super) fn parse_workers(text: &str) -> Result<Workers, String> {
    match text.parse() {
        _ if text == "auto" => Ok(Workers::Auto),
        Ok(count @ 1..=1024) => Ok(Workers::Count(count)),
        _ => Err("it must be auto or a number from 1 to 1024".into()),
    }
}

pub(super) fn parse_pin(text: &str) -> Result<Pin, String> {
    match text {
        "auto" => Ok(Pin::Auto),
        "off" => Ok(Pin::Off),
        list => {
            let ranges: Option<Vec<_>> = list.split(',').map(parse_range).collect();
            let message = || "it must be auto, off, or processors such as 0,2,4-7".to_owned();
            Ok(Pin::List(ranges.ok_or_else(message)?.into_iter().flatten().collect()))
        }
    }
}

/// `3` or `3-5`, as far as the kernel can count processors.
fn parse_range(text: &str) -> Option<RangeInclusive<usize>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < 1024).then_some(first..=last)
}

/// What a flag without a value is in the environment.
pub(super) fn parse_switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Ok(false),
        _ => Err("it must be true or false, yes or no, on or off, 1 or 0".into()),
    }
}

pub(super) fn parse_file_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['/', '\0']) || text == "." || text == ".." {
        return Err("it must be the name of a file, without a folder".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_deadlines_are_never_zero() {
        let table = [
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            ("10", Some(10_000)),
            ("1m", Some(60_000)),
            ("1h", Some(3_600_000)),
            ("8760h", Some(31_536_000_000)),
            ("8761h", None),
            ("0", Some(0)),
            ("0ms", Some(0)),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1 s", None),
            ("1d", None),
            ("99999999999999999999", None),
            ("9999999999999999999h", None),
        ];
        for (text, milliseconds) in table {
            assert_eq!(parse_time(text).ok(), milliseconds.map(Duration::from_millis), "{text}");
            let deadline = milliseconds.filter(|&milliseconds| milliseconds > 0);
            assert_eq!(parse_deadline(text).ok(), deadline.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let table = [
            ("0", Some(0)),
            ("1", Some(1)),
            ("16k", Some(16_384)),
            ("32M", Some(33_554_432)),
            ("2g", Some(2_147_483_648)),
            ("17179869183g", Some(18_446_744_072_635_809_792)),
            ("17179869184g", None),
            ("k", None),
            ("1kb", None),
            ("-1", None),
        ];
        for (text, bytes) in table {
            assert_eq!(parse_size(text).ok(), bytes, "{text}");
        }
        assert!(parse_head_size("63").is_err());
        assert_eq!(parse_head_size("1m"), Ok(1 << 20));
        assert!(parse_head_size("1025k").is_err());
    }

    #[test]
    fn workers_and_processors_are_numbers_or_words() {
        assert_eq!(parse_workers("auto"), Ok(Workers::Auto));
        assert_eq!(parse_workers("3"), Ok(Workers::Count(3)));
        for wrong in ["0", "1025", "many", ""] {
            assert!(parse_workers(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_pin("auto"), Ok(Pin::Auto));
        assert_eq!(parse_pin("off"), Ok(Pin::Off));
        assert_eq!(parse_pin("0,2,4-6"), Ok(Pin::List(vec![0, 2, 4, 5, 6])));
        for wrong in ["", "1,", "5-4", "a", "0-99999999999", "-"] {
            assert!(parse_pin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fractions_are_refused_as_such() {
        for wrong in ["0.5", "1.5s", "1,5s", "2.", "0.1ms"] {
            assert!(parse_time(wrong).unwrap_err().contains("whole number"), "{wrong}");
            assert!(parse_deadline(wrong).unwrap_err().contains("whole number"), "{wrong}");
        }
        assert!(parse_size("1.5k").unwrap_err().contains("whole number"));
        assert_eq!(parse_time("1\x1b").unwrap_err(), r"'\u{1b}' is no unit of time: use ms, s, m or h");
    }

    #[test]
    fn a_switch_is_true_or_false() {
        let table =
            [("1", Some(true)), ("YES", Some(true)), ("off", Some(false)), ("0", Some(false)), ("2", None)];
        for (text, expected) in table {
            assert_eq!(parse_switch(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn numbers_lie_in_their_range() {
        let from_1_to_5 = number::<u8>(1..=5);
        for (text, expected) in
            [("1", Some(1)), ("5", Some(5)), ("0", None), ("6", None), ("", None), ("x", None)]
        {
            assert_eq!(from_1_to_5(text).ok(), expected, "{text}");
        }
        for wrong in ["-1", "1.5", "99999999999999999999"] {
            assert_eq!(from_1_to_5(wrong), Err("it must be a number from 1 to 5".into()), "{wrong}");
        }
    }
}
