//! Dates as HTTP writes them (RFC 9110 §5.6.7). Seconds since 1970 on our side; where they come from is for the
//! caller to say.

use std::io::Write;
use std::time::{Duration, SystemTime};

use httpdate::HttpDate;

/// Bytes of a date in the one form that we send.
pub const LENGTH: usize = 29;

/// The last second that four digits of year can name.
const MAX_S: i64 = 253_402_300_799;

/// The time nearest to this one that can be written: not before 1970, not after 9999.
#[must_use]
pub fn clamp(unix_s: i64) -> i64 {
    unix_s.clamp(0, MAX_S)
}

/// Writes a time as `IMF-fixdate`, clamped to what that form can hold.
#[must_use]
pub fn format(unix_s: i64) -> [u8; LENGTH] {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(clamp(unix_s).unsigned_abs());
    let mut date = [b' '; LENGTH];
    // Cannot fail: the form has a fixed length.
    let _ = write!(date.as_mut_slice(), "{}", HttpDate::from(time));
    date
}

/// Reads a date in any of the three forms that a recipient must know. None if it is no such date, or a day of
/// the week that it was not.
#[must_use]
pub fn parse(value: &[u8]) -> Option<i64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since_epoch.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_fixed_dates_and_clamped() {
        let table: [(i64, &[u8; LENGTH]); 9] = [
            (0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (-1, b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (i64::MIN, b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, b"Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, b"Sun, 28 Feb 2100 23:59:59 GMT"),
            (MAX_S, b"Fri, 31 Dec 9999 23:59:59 GMT"),
            (MAX_S + 1, b"Fri, 31 Dec 9999 23:59:59 GMT"),
            (i64::MAX, b"Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (unix_s, date) in table {
            assert_eq!(format(unix_s).escape_ascii().to_string(), date.escape_ascii().to_string());
        }
    }

    #[test]
    fn all_three_forms_are_read() {
        let table: [(&[u8], i64); 6] = [
            (b"Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            (b"Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
            (b"Sun Nov  6 08:49:37 1994", 784_111_777),
            (b"Tuesday, 31-Dec-69 00:00:00 GMT", 3_155_673_600),
            (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
            (b"Fri, 31 Dec 9999 23:59:59 GMT", MAX_S),
        ];
        for (value, unix_s) in table {
            assert_eq!(parse(value), Some(unix_s), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        let table: [&[u8]; 16] = [
            b"",
            b"0",
            b"784111777",
            b"Sun, 06 Nov 1994 08:49:37",
            b"Sun, 06 Nov 1994 08:49:37 UTC",
            b"Sun, 06 Nov 1994 08:49:37 +0000",
            b"Mon, 06 Nov 1994 08:49:37 GMT",
            b"Sun, 6 Nov 1994 08:49:37 GMT",
            b"Tue, 31 Feb 1995 00:00:00 GMT",
            b"Sun, 00 Nov 1994 08:49:37 GMT",
            b"Sun, 06 Nov 1994 24:00:00 GMT",
            b"Sat, 31 Dec 2016 23:59:60 GMT",
            b"Wed, 31 Dec 1969 23:59:59 GMT",
            b"sun, 06 nov 1994 08:49:37 gmt",
            b"Sun, 06 Nov 1994 08:49:37 GM\xff",
            b"Sun, 06 Nov 1994 08:49:37 GMT; length=5",
        ];
        for value in table {
            assert_eq!(parse(value), None, "{}", value.escape_ascii());
        }
    }
}
