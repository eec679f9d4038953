//! HTTP-dates, written out once more so that the server's own are not checked by themselves (RFC 9110 §5.6.7).

use std::time::{SystemTime, UNIX_EPOCH};

const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_S: u64 = 86_400;

/// Seconds since 1970, now.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

struct Civil {
    weekday: &'static str,
    year: u64,
    month: &'static str,
    day: u64,
    clock: String,
}

fn civil(seconds: u64) -> Civil {
    let (days, second) = (seconds / DAY_S, seconds % DAY_S);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    Civil {
        weekday: WEEKDAYS[(days % 7) as usize],
        year,
        month: MONTHS[month],
        day: left + 1,
        clock: format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the form that is sent.
pub(crate) fn imf_fixdate(seconds: u64) -> String {
    let Civil { weekday, year, month, day, clock } = civil(seconds);
    format!("{}, {day:02} {month} {year} {clock} GMT", &weekday[..3])
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`, obsolete but accepted.
pub(crate) fn rfc850(seconds: u64) -> String {
    let Civil { weekday, year, month, day, clock } = civil(seconds);
    format!("{weekday}, {day:02}-{month}-{:02} {clock} GMT", year % 100)
}

/// `Sun Nov  6 08:49:37 1994`, obsolete but accepted.
pub(crate) fn asctime(seconds: u64) -> String {
    let Civil { weekday, year, month, day, clock } = civil(seconds);
    format!("{} {month} {day:2} {clock} {year}", &weekday[..3])
}

/// Seconds since 1970 of an IMF-fixdate that is right to the letter, its weekday included.
pub(crate) fn parse_imf_fixdate(text: &str) -> Option<u64> {
    let figure = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let month = MONTHS.iter().position(|month| text.get(8..11) == Some(*month))?;
    let year = figure(12..16).filter(|year| *year >= 1970)?;
    let (earliest, clock) =
        ((year - 1970) * 365 + month as u64 * 28, figure(17..19)? * 3600 + figure(20..22)? * 60);
    // The days in between are found by trying: at most leap days and month lengths away.
    let second = clock + figure(23..25)?;
    (earliest..earliest + 200).map(|days| days * DAY_S + second).find(|&seconds| imf_fixdate(seconds) == text)
}

#[test]
fn dates_are_those_of_the_rfc() {
    let seconds = 784_111_777;
    assert_eq!(imf_fixdate(seconds), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(rfc850(seconds), "Sunday, 06-Nov-94 08:49:37 GMT");
    assert_eq!(asctime(seconds), "Sun Nov  6 08:49:37 1994");
    assert_eq!(parse_imf_fixdate("Sun, 06 Nov 1994 08:49:37 GMT"), Some(seconds));
    assert_eq!(parse_imf_fixdate("Mon, 06 Nov 1994 08:49:37 GMT"), None);
    assert_eq!(parse_imf_fixdate("Sun, 6 Nov 1994 08:49:37 GMT"), None);
    let now = now_s();
    assert_eq!(parse_imf_fixdate(&imf_fixdate(now)), Some(now));
}
