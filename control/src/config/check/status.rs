//! `200-399`, `200,204,301-302`: the HTTP statuses that pass.

use std::fmt;
use std::ops::RangeInclusive;

use crate::config::report::Complaint;

/// A set of HTTP statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(Vec<RangeInclusive<u16>>);

impl Default for StatusSet {
    fn default() -> StatusSet {
        StatusSet(vec![200..=399])
    }
}

impl StatusSet {
    /// Reads a list of statuses and ranges.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<StatusSet, Complaint> {
        text.split(',').map(|part| range(part.trim())).collect::<Result<_, _>>().map(StatusSet)
    }

    /// Whether this status passes.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, Complaint> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (status(first.trim())?, status(last.trim())?);
    if first > last {
        let message = format!("the statuses {text} run backwards");
        return Err(Complaint::hinted(message, format!("write {last}-{first}")));
    }
    Ok(first..=last)
}

fn status(text: &str) -> Result<u16, Complaint> {
    text.parse().ok().filter(|status| (100..=599).contains(status)).ok_or_else(|| {
        let hint = "statuses are 100 to 599, e.g. \"200\", \"200-399\", \"200,204,301-302\"";
        Complaint::hinted(format!("`{text}` is not an HTTP status"), hint)
    })
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let (first, last) = (range.start(), range.end());
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        let set = StatusSet::parse("200, 204,301-302").unwrap();
        let within: Vec<u16> = (0..1000).filter(|status| set.contains(*status)).collect();
        assert_eq!(within, [200, 204, 301, 302]);
        assert_eq!(set.to_string(), "200,204,301-302");
        assert_eq!(StatusSet::default().to_string(), "200-399");
    }

    #[test]
    fn what_is_none_is_refused() {
        for wrong in ["", ",", "200,", "99", "600", "2xx", "200-", "-200", "399-200", "200--399", "65536"] {
            assert!(StatusSet::parse(wrong).is_err(), "{wrong}");
        }
    }
}
