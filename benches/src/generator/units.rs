//! Numbers with units, as they stand in profiles and on the command line.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bytes of a frame on the wire that its length does not count: preamble, start delimiter, gap.
const GAP_BYTES: f64 = 20.0;

/// How much to send.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Rate {
    /// Packets (for connections: connections) a second.
    PerSecond(f64),
    /// Bits a second on the wire, gaps between frames included.
    Bits(f64),
    /// Part of the line, 100 being all of it.
    Percent(f64),
}

impl Rate {
    /// Packets a second, of frames of this mean length (checksum included), on this line.
    #[must_use]
    pub fn packets(self, frame_bytes: f64, line_bits: f64) -> f64 {
        let frame_bits = (frame_bytes + GAP_BYTES) * 8.0;
        match self {
            Rate::PerSecond(rate) => rate,
            Rate::Bits(bits) => bits / frame_bits,
            Rate::Percent(percent) => line_bits * percent / 100.0 / frame_bits,
        }
    }
}

impl Rate {
    /// Whether it is more than nothing, and less than everything.
    #[must_use]
    pub fn is_positive(self) -> bool {
        let (Rate::PerSecond(number) | Rate::Bits(number) | Rate::Percent(number)) = self;
        number > 0.0 && number.is_finite()
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Rate, String> {
        let (number, unit) = split(&text)?;
        let (scale, base) = match unit.chars().next() {
            Some('k') => (1e3, &unit[1..]),
            Some('M') => (1e6, &unit[1..]),
            Some('G') => (1e9, &unit[1..]),
            _ => (1.0, unit),
        };
        match base {
            "pps" | "/s" => Ok(Rate::PerSecond(number * scale)),
            "bps" | "bit/s" => Ok(Rate::Bits(number * scale)),
            "%" => Ok(Rate::Percent(number * scale)),
            _ => Err(format!("`{text}` is no rate: say 500kpps, 2Gbps, 10% or (connections) 5k/s")),
        }
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> String {
        match rate {
            Rate::PerSecond(rate) => format!("{rate}/s"),
            Rate::Bits(bits) => format!("{bits}bps"),
            Rate::Percent(percent) => format!("{percent}%"),
        }
    }
}

/// A time, `1.5s` or `200ms` or `2m`.
///
/// # Errors
/// The text is something else.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(format!("`{text}` is no time: say 10s, 500ms or 2m")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("`{text}`: {error}"))
}

/// A time that is not zero.
///
/// # Errors
/// The text is something else.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("`{text}` is no time at all")),
        time => Ok(time),
    }
}

/// A number that is finite and more than 0.
///
/// # Errors
/// The text is something else.
pub fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| format!("`{text}` is no number above 0"))
}

/// The number at the front, and the rest. Underscores may divide digits.
fn split(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '_')).unwrap_or(text.len());
    let number = text[..end].replace('_', "");
    match number.parse::<f64>() {
        Ok(number) => Ok((number, text[end..].trim())),
        Err(_) => Err(format!("`{text}` does not begin with a number")),
    }
}

/// A rate for people: `1.50 M`, `820 k`.
#[must_use]
pub fn short(number: f64) -> String {
    match number {
        n if n >= 1e9 => format!("{:.2} G", n / 1e9),
        n if n >= 1e6 => format!("{:.2} M", n / 1e6),
        n if n >= 1e4 => format!("{:.1} k", n / 1e3),
        n if n >= 100.0 || n.fract() == 0.0 => format!("{n:.0}"),
        n => format!("{n:.2}"),
    }
}

/// A time for people, from nanoseconds.
#[must_use]
pub fn short_time(nanos: u64) -> String {
    match nanos as f64 {
        n if n >= 1e9 => format!("{:.2} s", n / 1e9),
        n if n >= 1e6 => format!("{:.2} ms", n / 1e6),
        n if n >= 1e3 => format!("{:.1} µs", n / 1e3),
        n => format!("{n:.0} ns"),
    }
}

/// `2026-11-22 01:30`, from seconds since 1970; UTC. After Howard Hinnant's `civil_from_days`.
#[must_use]
pub fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year + era * 400 + u64::from(month <= 2);
    let minutes = seconds % 86_400 / 60;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Result<Rate, String> {
        Rate::try_from(text.to_owned())
    }

    #[test]
    fn rates_have_units() {
        assert_eq!(rate("500kpps"), Ok(Rate::PerSecond(5e5)));
        assert_eq!(rate("5k/s"), Ok(Rate::PerSecond(5e3)));
        assert_eq!(rate("1.5Gbps"), Ok(Rate::Bits(1.5e9)));
        assert_eq!(rate("12.5%"), Ok(Rate::Percent(12.5)));
        for wrong in ["", "500", "fast", "3 apples", "-1pps", "k"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    /// RFC 2544 §20 has the numbers for 10 Mbit/s; RFC 5180 appendix A.1 and every vendor's sheet those for 10 Gbit/s.
    #[test]
    fn line_rate_is_that_of_the_books() {
        let packets = |percent, bytes, line| Rate::Percent(percent).packets(bytes, line) as u64;
        assert_eq!(packets(100.0, 64.0, 1e7), 14_880);
        assert_eq!(packets(100.0, 1518.0, 1e7), 812);
        assert_eq!(packets(100.0, 64.0, 1e10), 14_880_952);
        assert_eq!(packets(50.0, 64.0, 1e10), 7_440_476);
        assert_eq!(Rate::Bits(1e9).packets(64.0, 1e10) as u64, 1_488_095);
    }

    /// From `date -u -d @SECONDS`.
    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_399), "2000-02-28 23:59");
        assert_eq!(date(951_868_799), "2000-02-29 23:59");
        assert_eq!(date(1_795_311_070), "2026-11-22 01:31");
    }

    #[test]
    fn times_and_numbers() {
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert!(duration("5").is_err());
        assert_eq!((positive("0.5"), positive_duration("1ms")), (Ok(0.5), Ok(Duration::from_millis(1))));
        assert!(["0", "-1", "inf", "nan", "x", ""].into_iter().all(|wrong| positive(wrong).is_err()));
        assert!(["0s", "0ms", "1"].into_iter().all(|wrong| positive_duration(wrong).is_err()));
        assert_eq!((short(1_500_000.0), short_time(2500)), ("1.50 M".into(), "2.5 µs".into()));
    }
}
