//! All figures of a run, to be looked up by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tests::spread::number;

use crate::results::Figure;

/// A whole run of `make bench`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Book {
    /// When.
    pub date: String,
    /// What was run.
    pub commit: String,
    /// On what.
    pub machine: String,
    /// Runnable processes at the end, over a minute: 1 is the bench itself.
    pub load: String,
    /// What was measured.
    pub figures: Vec<Figure>,
}

/// Figures by name.
pub struct Lookup<'a>(BTreeMap<&'a str, &'a Figure>);

impl Book {
    /// By name.
    #[must_use]
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup(self.figures.iter().map(|figure| (figure.name.as_str(), figure)).collect())
    }
}

impl<'a> Lookup<'a> {
    /// The figure of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a Figure> {
        self.0.get(name).copied()
    }

    /// Its median.
    #[must_use]
    pub fn median(&self, name: &str) -> Option<f64> {
        self.get(name).map(|figure| figure.median)
    }

    /// Median and range, as a cell of a table.
    #[must_use]
    pub fn cell(&self, name: &str) -> String {
        self.get(name).map_or_else(|| "–".into(), told)
    }

    /// The figures below a name, with the rest of their names.
    pub fn below<'b>(&'b self, prefix: &'b str) -> impl Iterator<Item = (&'a str, &'a Figure)> + 'b {
        self.0.iter().filter_map(move |(name, figure)| Some((name.strip_prefix(prefix)?, *figure)))
    }

    /// The numbers at the end of the names `prefix` + number, from the smallest on.
    #[must_use]
    pub fn numbers(&self, prefix: &str) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.below(prefix).filter_map(|(rest, _)| rest.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Median and range; of one value, that value.
#[must_use]
pub fn told(figure: &Figure) -> String {
    let Figure { median, low, high, .. } = figure;
    let text = number(*median);
    if low.total_cmp(high).is_eq() { text } else { format!("{text} [{}–{}]", number(*low), number(*high)) }
}
