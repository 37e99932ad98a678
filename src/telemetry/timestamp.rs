//! A second of UTC as text, in the two spellings the logs use.
//!
//! Split and printed once a second and thread, so that a log line pays for a copy only. Used by the
//! formats of the access log and by the error log.

use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, SystemTime};

const SECONDS_A_DAY: u64 = 86_400;
/// The last second of the year 9999: with four digits a year, both texts keep their length.
const SECOND_MAX: u64 = 253_402_300_799;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[derive(Clone, Copy)]
pub(super) struct Timestamp {
    second: u64,
    /// `2026-11-21T07:00:00`, to which a fraction and `Z` may be added.
    pub(super) rfc3339: [u8; 19],
    /// `21/Nov/2026:07:00:00 +0000`, as nginx and Apache print it.
    pub(super) common: [u8; 26],
}

thread_local! {
    static LATEST: Cell<Timestamp> = const {
        Cell::new(Timestamp { second: u64::MAX, rfc3339: [b' '; 19], common: [b' '; 26] })
    };
}

impl Timestamp {
    /// The second `time` lies in, and how far into it. A time before 1970 is taken for 1970.
    pub(super) fn of(time: SystemTime) -> (Timestamp, Duration) {
        let since_epoch = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let second = since_epoch.as_secs().min(SECOND_MAX);
        let fraction = Duration::from_nanos(u64::from(since_epoch.subsec_nanos()));
        let latest = LATEST.get();
        if latest.second == second {
            return (latest, fraction);
        }
        let timestamp = Timestamp::print(second);
        LATEST.set(timestamp);
        (timestamp, fraction)
    }

    fn print(second: u64) -> Timestamp {
        let (year, month, day) = date(second / SECONDS_A_DAY);
        let of_day = second % SECONDS_A_DAY;
        let (hour, minute, of_minute) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let name = MONTHS[month as usize - 1];
        let mut timestamp = Timestamp {
            second,
            rfc3339: [b' '; 19],
            common: [b' '; 26],
        };
        // Both texts have the length of their arrays, so that neither write can fall short.
        let _ = write!(
            &mut timestamp.rfc3339[..],
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{of_minute:02}"
        );
        let _ = write!(
            &mut timestamp.common[..],
            "{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{of_minute:02} +0000"
        );
        timestamp
    }
}

/// Year, month and day of a day counted from 1970-01-01.
///
/// Counts in eras of 400 years that begin on a 1 March, so that the leap day is the last of a year
/// (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(seconds: u64) -> (String, String) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let (timestamp, _) = Timestamp::of(time);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&timestamp.rfc3339), text(&timestamp.common))
    }

    #[test]
    fn a_second_is_printed_as_utc() {
        for (seconds, rfc3339, common) in [
            (0, "1970-01-01T00:00:00", "01/Jan/1970:00:00:00 +0000"),
            (
                951_782_399,
                "2000-02-28T23:59:59",
                "28/Feb/2000:23:59:59 +0000",
            ),
            (
                951_782_400,
                "2000-02-29T00:00:00",
                "29/Feb/2000:00:00:00 +0000",
            ),
            (
                1_795_244_400,
                "2026-11-21T07:00:00",
                "21/Nov/2026:07:00:00 +0000",
            ),
            (
                4_107_542_399,
                "2100-02-28T23:59:59",
                "28/Feb/2100:23:59:59 +0000",
            ),
            (
                4_107_542_400,
                "2100-03-01T00:00:00",
                "01/Mar/2100:00:00:00 +0000",
            ),
            (
                u64::MAX / 4,
                "9999-12-31T23:59:59",
                "31/Dec/9999:23:59:59 +0000",
            ),
        ] {
            assert_eq!(texts(seconds), (rfc3339.to_owned(), common.to_owned()));
        }
    }

    #[test]
    fn every_day_agrees_with_httpdate() {
        for day in (0..2_000_000).step_by(37) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(day * SECONDS_A_DAY);
            let (year, month, of_month) = date(day);
            let Ok(month) = usize::try_from(month) else {
                panic!("{month} is no month");
            };
            let expected = format!("{of_month:02} {} {year:04}", MONTHS[month - 1]);
            let http = httpdate::fmt_http_date(time);
            assert!(http.contains(&expected), "{expected} is not in {http}");
        }
    }

    #[test]
    fn a_time_before_1970_is_taken_for_1970() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(5);
        let (timestamp, fraction) = Timestamp::of(before);
        assert_eq!(&timestamp.rfc3339, b"1970-01-01T00:00:00");
        assert_eq!(fraction, Duration::ZERO);
    }
}
