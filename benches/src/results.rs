//! Figures as JSON: one file a bench below `target/bench/`, joined by the `report` program.

use std::path::PathBuf;
use std::{env, fs, io};

use serde::{Deserialize, Serialize};

/// One figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, with its parameters: `to_task/64B/burst64/flows1000`.
    pub name: String,
    /// Unit of the numbers.
    pub unit: String,
    /// The middle one of all rounds.
    pub median: f64,
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Figure {
    /// Of the values of several rounds.
    #[must_use]
    pub fn of(name: &str, unit: &str, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        let (median, low, high) = (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)));
        Self { name: name.to_owned(), unit: unit.to_owned(), median, low, high }
    }

    /// Of one exact value.
    #[must_use]
    pub fn exact(name: &str, unit: &str, value: f64) -> Self {
        Self::of(name, unit, vec![value])
    }
}

/// Prints the figures and writes them to `target/bench/<bench>.json`.
///
/// # Errors
/// If the file cannot be written.
pub fn write(bench: &str, figures: &[Figure]) -> io::Result<()> {
    for Figure { name, unit, median, low, high } in figures {
        println!("{name:<52} {median:>12.1} {unit:<16} [{low:.1} .. {high:.1}]");
    }
    let dir = dir();
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(bench).with_extension("json"), serde_json::to_string_pretty(figures)?)
}

/// Where results are written.
#[must_use]
pub fn dir() -> PathBuf {
    target().join("bench")
}

/// Cargo's target directory.
#[must_use]
pub fn target() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
    env::var_os("CARGO_TARGET_DIR").map_or_else(default, PathBuf::from)
}

/// `QUICK=1`: fewer flows and rounds, to see that all of it works.
#[must_use]
pub fn quick() -> bool {
    env::var("QUICK").is_ok_and(|value| value == "1")
}
