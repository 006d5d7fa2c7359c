//! Median and range of some numbers, and how pages tell them.

use std::fmt::{self, Display};

/// Median, least and most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Spread {
    /// Of those numbers that are finite; none of none.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = numbers.into_iter().filter(|number| number.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[upper] } else { f64::midpoint(sorted[upper - 1], sorted[upper]) };
        Some(Spread { median, low, high })
    }

    /// Of the ratios of samples of the same rounds.
    #[must_use]
    pub fn of_ratios<T>(ours: &[T], base: &[T], value: impl Fn(&T) -> f64) -> Option<Spread> {
        Spread::of(ours.iter().zip(base).map(|(ours, base)| value(ours) / value(base)))
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}–{}]", number(self.median), number(self.low), number(self.high))
    }
}

/// A cell of a table.
#[must_use]
pub fn told(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".into(), |spread| spread.to_string())
}

/// Three or four digits, whatever the size.
#[must_use]
pub fn number(value: f64) -> String {
    match value {
        value if value >= 100_000.0 => format!("{:.0}k", value / 1000.0),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_and_ratios_of_rounds() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, low: 1.0, high: 4.0 }));
        assert_eq!((Spread::of([]), Spread::of([f64::NAN])), (None, None));
        let ratios = Spread::of_ratios(&[2.0, 9.0, 5.0], &[1.0, 3.0], |value| *value);
        assert_eq!(ratios, Some(Spread { median: 2.5, low: 2.0, high: 3.0 }));
    }

    #[test]
    fn a_cell_has_three_or_four_digits() {
        assert_eq!(told(Spread::of([123_456.0, 99.94, 1.0])), "99.9 [1.00–123k]");
        assert_eq!(told(None), "–");
    }
}
