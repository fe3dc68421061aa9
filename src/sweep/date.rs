//! The time of day, for people who find results later.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, as ISO 8601 writes it, in UTC, to the second.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    iso(since.map_or(0, |since| since.as_secs()))
}

fn iso(seconds: u64) -> String {
    let [year, month, day] = civil(seconds / 86_400);
    let time = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time / 3600, time / 60 % 60, time % 60)
}

/// Year, month and day of the Gregorian calendar, so many days after 1 January 1970. Years begin
/// in March here, so that leap days come last: then five months have 153 days from whichever month
/// they are counted.
fn civil(days: u64) -> [u64; 3] {
    // From 1 March of the year 0, in eras of 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    [era * 400 + year_of_era + u64::from(month <= 2), month, day]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(iso(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(iso(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(iso(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(iso(1_709_251_199), "2024-02-29T23:59:59Z");
    }

    /// Every day is the next of its month, the first of the next, or the first of the year.
    #[test]
    fn days_follow_each_other() {
        let mut before = civil(0);
        for day in 1..200_000 {
            let [year, month, date] = before;
            let next = civil(day);
            let follows = [[year, month, date + 1], [year, month + 1, 1], [year + 1, 1, 1]].contains(&next);
            assert!(follows && next[1] <= 12 && next[2] <= 31, "{before:?} and {next:?}");
            before = next;
        }
    }
}
