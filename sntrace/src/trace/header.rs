//! What a trace says about its run before the first event.

use std::time::{SystemTime, UNIX_EPOCH};

/// The head of a trace. Known before the program starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The program and its arguments, as given to sntrace.
    pub command: Vec<String>,
    /// Operating system, as Rust calls it: `linux`, `macos`, `windows`.
    pub os: String,
    /// Processor, as Rust calls it: `x86_64`, `aarch64`.
    pub arch: String,
    /// When the run began, as in RFC 3339, in UTC.
    pub started: String,
}

impl Header {
    /// For a run on this machine that begins now.
    #[must_use]
    pub fn now(command: Vec<String>) -> Header {
        Header {
            command,
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            started: rfc3339(SystemTime::now()),
        }
    }
}

/// A time as `2026-11-22T20:38:53.123456Z`.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    // A clock set before 1970 is set wrong; the epoch says so as well as any other date.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is a year's last and the months before it
/// have a regular pattern: 153 days for every five months.
fn date(days: u64) -> (u64, u64, u64) {
    // 0000-03-01 is 719468 days before 1970-01-01; 400 years have 146097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // From `date -u -d @SECONDS +%FT%TZ`.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000000Z"),
            (1_795_379_933, "2026-11-22T20:38:53.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = date(0);
        for days in 1..150_000 {
            let next = date(days);
            let same_month = (last.0, last.1, last.2 + 1);
            let next_month = (last.0 + last.1 / 12, last.1 % 12 + 1, 1);
            assert!(
                next == same_month || next == next_month,
                "{last:?} then {next:?}"
            );
            last = next;
        }
    }
}
