//! Flags about how much each client may ask for, and how their values are read.

use clap::Args;
use worker::rate::Rate;

use super::{Cli, DESCRIPTORS_CEILING, conflict};
use crate::show::quoted;

/// The most that a rate may be, and a burst: more is no limit.
const REQUESTS_MAX: u32 = 1_000_000;

/// What each client may ask for.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Overload {
    /// Most connections of one client address, or of one IPv6 network of 64 bits; others are answered with 429 and closed
    #[arg(long, env = "ONELOOP_MAX_CONNS_PER_IP", value_name = "N|off", default_value = "off")]
    #[arg(value_parser = parse_connections)]
    pub(crate) max_conns_per_ip: Limit<u32>,

    /// Requests of one client address, or of one IPv6 network of 64 bits, in a second or a minute, such as 20/s or
    /// 300/m:50; BURST of them, by default N, may come at once; others are answered with 429
    #[arg(long, env = "ONELOOP_RATE", value_name = "N/s|N/m[:BURST]|off", default_value = "off")]
    #[arg(value_parser = parse_rate)]
    pub(crate) rate: Limit<Rate>,
}

/// A limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit<T> {
    Off,
    At(T),
}

impl<T> Limit<T> {
    /// What it is, if there is one.
    pub(crate) fn some(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::At(limit) => Some(limit),
        }
    }
}

impl Cli {
    /// A limit that is never met is a mistake.
    pub(super) fn settle_limits(&self) -> Result<(), clap::Error> {
        let both = self.overload.max_conns_per_ip.some().zip(self.max_conns);
        if let Some((of_client, of_all)) = both.filter(|&(of_client, of_all)| u64::from(of_client) > of_all) {
            return Err(conflict(&format!(
                "--max-conns-per-ip allows {of_client} connections of one address, which is more than the {of_all} \
                 that --max-conns allows of all: lower the one or raise the other"
            )));
        }
        Ok(())
    }
}

fn parse_connections(text: &str) -> Result<Limit<u32>, String> {
    if text == "off" {
        return Ok(Limit::Off);
    }
    let number = text.parse().ok().filter(|&number| (1..=DESCRIPTORS_CEILING).contains(&u64::from(number)));
    number.map(Limit::At).ok_or_else(|| format!("it must be off or a number from 1 to {DESCRIPTORS_CEILING}"))
}

fn parse_rate(text: &str) -> Result<Limit<Rate>, String> {
    if text == "off" {
        return Ok(Limit::Off);
    }
    let (rate, burst) = text.split_once(':').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
    let Some((requests, period)) = rate.split_once('/') else {
        return Err(
            "it must be off, or requests in a second or a minute, such as 20/s, 300/m or 20/s:50".into()
        );
    };
    let period_s = match period {
        "s" => 1,
        "m" => 60,
        _ => return Err(format!("{} is no period: use s or m", quoted(period))),
    };
    let requests = parse_requests(requests, "the number of requests")?;
    let burst = burst.map_or(Ok(requests), |burst| parse_requests(burst, "the burst"))?;
    Ok(Limit::At(Rate { requests, period_s, burst }))
}

fn parse_requests(text: &str, what: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=REQUESTS_MAX).contains(number));
    number.ok_or_else(|| format!("{what} must be from 1 to {REQUESTS_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_requests_in_a_period_and_a_burst() {
        let rate = |requests, period_s, burst| Some(Limit::At(Rate { requests, period_s, burst }));
        let table = [
            ("off", Some(Limit::Off)),
            ("20/s", rate(20, 1, 20)),
            ("300/m", rate(300, 60, 300)),
            ("20/s:50", rate(20, 1, 50)),
            ("300/m:1", rate(300, 60, 1)),
            ("1000000/s:1000000", rate(1_000_000, 1, 1_000_000)),
        ];
        for (text, expected) in table {
            assert_eq!(parse_rate(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_told_what_is() {
        let table = [
            ("", "such as 20/s"),
            ("20", "such as 20/s"),
            ("20:5", "such as 20/s"),
            ("20/h", "'h' is no period"),
            ("20/", "'' is no period"),
            ("0/s", "the number of requests must be from 1"),
            ("1000001/s", "to 1000000"),
            ("-1/s", "the number of requests"),
            ("1.5/s", "the number of requests"),
            ("/s", "the number of requests"),
            ("20/s:", "the burst must be"),
            ("20/s:0", "the burst must be"),
            ("20/s:5:5", "the burst must be"),
        ];
        for (text, expected) in table {
            let message = parse_rate(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn a_limit_of_connections_is_a_number_or_off() {
        assert_eq!(parse_connections("off"), Ok(Limit::Off));
        for number in [1, 50, 1 << 20] {
            assert_eq!(parse_connections(&number.to_string()), Ok(Limit::At(number)));
        }
        for wrong in ["", "0", "-1", "1048577", "on", "5x"] {
            let message = parse_connections(wrong).unwrap_err();
            assert_eq!(message, "it must be off or a number from 1 to 1048576", "{wrong}");
        }
    }
}
