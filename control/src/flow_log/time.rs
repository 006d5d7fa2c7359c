//! RFC 3339 in UTC with milliseconds: text that sorts by time.

use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_SECONDS: u64 = 86_400;

/// `2026-11-21T14:05:09.250Z`
pub fn show(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / DAY_SECONDS, since.as_secs() % DAY_SECONDS);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// The civil date so many days after 1970-01-01, by the method of Howard Hinnant: years begin in March, so that the day
/// of the leap year is the last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// From the first moment to the last.
pub type Span = RangeInclusive<String>;

/// What an operator may write: a whole time, or one of today's, to the minute, the second or the millisecond; as the log
/// has it. What is left out may be anything: who writes the second down, as most logs do, means all of it. `now` says which
/// day it is.
pub fn parse(text: &str, now: SystemTime) -> Option<Span> {
    let text = text.strip_suffix('Z').unwrap_or(text).replace(' ', "T");
    let text = if text.contains('T') { text } else { format!("{}T{text}", &show(now)[..10]) };
    let (pattern, last) = ("0000-00-00T00:00:00.000", "9999-12-31T23:59:59.999");
    let whole = format!("{text}{}", pattern.get(text.len()..)?);
    let fits = |(have, want): (char, char)| if want == '0' { have.is_ascii_digit() } else { have == want };
    let at_a_border = [16, 19].contains(&text.len()) || (21..=23).contains(&text.len());
    let is_moment = whole.is_ascii() && at_a_border && whole.chars().zip(pattern.chars()).all(fits) && exists(&whole);
    is_moment.then(|| format!("{whole}Z")..=format!("{text}{}Z", &last[text.len()..]))
}

/// Whether calendar and clock have this moment, which is written out in full: one that never comes would find nobody, or
/// somebody else.
fn exists(whole: &str) -> bool {
    let number = |range| whole.get(range).and_then(|digits: &str| digits.parse::<u64>().ok()).unwrap_or(u64::MAX);
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let (hour, minute, second) = (number(11..13), number(14..16), number(17..19));
    (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day) && hour < 24 && minute < 60 && second < 60
}

fn days_of(year: u64, month: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_of_all_kinds() {
        // As `date -u -d @SECONDS +%FT%T` says.
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_795_269_909, "2026-11-21T14:05:09.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(show(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        assert_eq!(show(UNIX_EPOCH + Duration::from_millis(1_250)), "1970-01-01T00:00:01.250Z");
    }

    #[test]
    fn only_moments_that_come_are_moments() {
        for good in ["2024-02-29 10:00", "2000-02-29 10:00", "2026-12-31 23:59:59.999", "2026-04-30 00:00"] {
            assert!(parse(good, UNIX_EPOCH).is_some(), "{good}");
        }
        for wrong in [
            "25:99",
            "24:00",
            "10:60",
            "10:00:60",
            "2026-02-31 10:00",
            "2026-02-29 10:00",
            "2100-02-29 10:00",
            "2026-04-31 10:00",
            "2026-00-01 10:00",
            "2026-13-01 10:00",
            "2026-01-00 10:00",
            "2026-01-32 10:00",
        ] {
            assert_eq!(parse(wrong, UNIX_EPOCH), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_left_out_is_anything_and_the_day_is_today() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_269_909);
        let cases = [
            ("2026-11-20T14:05:09.250Z", "2026-11-20T14:05:09.250Z", "2026-11-20T14:05:09.250Z"),
            ("2026-11-20 14:05", "2026-11-20T14:05:00.000Z", "2026-11-20T14:05:59.999Z"),
            ("14:05", "2026-11-21T14:05:00.000Z", "2026-11-21T14:05:59.999Z"),
            ("14:05:09", "2026-11-21T14:05:09.000Z", "2026-11-21T14:05:09.999Z"),
            ("14:05:09.5Z", "2026-11-21T14:05:09.500Z", "2026-11-21T14:05:09.599Z"),
        ];
        for (text, first, last) in cases {
            assert_eq!(parse(text, now), Some(first.to_owned()..=last.to_owned()), "{text}");
        }
        for wrong in
            ["", "now", "14", "14:5", "14:05:", "2026-11-20", "2026-11-20T14:05+01:00", "14:05:09.2500", "14-05"]
        {
            assert_eq!(parse(wrong, now), None, "{wrong}");
        }
    }
}
