//! What was measured, and its medians.

use crate::Outcome;
use crate::peers::contestant::Contestant;
use crate::peers::measure::{Measure, Sample};
use crate::peers::memory::Memory;
use crate::spread::Spread;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// All samples of a contestant in a measure.
#[derive(Serialize, Deserialize)]
pub struct Row {
    /// Who.
    pub contestant: Contestant,
    /// What.
    pub measure: Measure,
    /// One a round.
    pub samples: Vec<Sample>,
}

/// A whole run.
#[derive(Default, Serialize, Deserialize)]
pub struct Results {
    /// Day of the run.
    pub date: String,
    /// What was run.
    pub commit: String,
    /// On what.
    pub machine: String,
    /// Versions of the peers.
    pub versions: Vec<String>,
    /// How long each sample took.
    pub millis: u64,
    /// Rounds of all measures; some may have been measured more often.
    pub rounds: usize,
    /// The samples.
    pub rows: Vec<Row>,
    /// Memory of idle connections.
    pub memory: Vec<Memory>,
    /// What did not work.
    pub failures: Vec<String>,
}

impl Results {
    /// Adds a sample.
    pub fn add(&mut self, contestant: Contestant, measure: Measure, sample: Sample) {
        let row = self.rows.iter_mut().find(|row| row.contestant == contestant && row.measure == measure);
        match row {
            Some(row) => row.samples.push(sample),
            None => self.rows.push(Row { contestant, measure, samples: vec![sample] }),
        }
    }

    /// The number of the round that comes next.
    #[must_use]
    pub fn next_round(&self) -> usize {
        self.rows.iter().flat_map(|row| &row.samples).map(|sample| sample.round + 1).max().unwrap_or(0)
    }

    /// How often a measure was measured.
    #[must_use]
    pub fn rounds_of(&self, measure: Measure) -> usize {
        let rows = self.rows.iter().filter(|row| row.measure == measure);
        rows.map(|row| row.samples.len()).max().unwrap_or(0)
    }

    /// The samples of a contestant in a measure.
    #[must_use]
    pub fn samples(&self, contestant: Contestant, measure: Measure) -> &[Sample] {
        let row = self.rows.iter().find(|row| row.contestant == contestant && row.measure == measure);
        row.map_or(&[], |row| &row.samples)
    }

    /// Median and range of something about the samples.
    #[must_use]
    pub fn spread(&self, contestant: Contestant, measure: Measure, of: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.samples(contestant, measure).iter().map(of))
    }

    /// Median and range of a ratio to another contestant of the same round.
    #[must_use]
    pub fn ratio(
        &self,
        contestant: Contestant,
        to: Contestant,
        measure: Measure,
        of: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        let others = self.samples(to, measure);
        let ratios = self.samples(contestant, measure).iter().filter_map(|one| {
            let other = others.iter().find(|other| other.round == one.round)?;
            Some(of(one) / of(other))
        });
        Spread::of(ratios)
    }

    /// Writes the JSON file.
    ///
    /// # Errors
    /// The disk says no.
    pub fn save(&self, path: &Path) -> Outcome {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(path, serde_json::to_string_pretty(self)?)?;
        Ok(())
    }

    /// Reads it again.
    ///
    /// # Errors
    /// There is none, or it is another format.
    pub fn load(path: &Path) -> Outcome<Results> {
        Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
    }
}

/// Microseconds of gateway CPU for each exchange (for bulk: milliseconds for each GB).
#[must_use]
pub fn cpu_per_unit(measure: Measure, nanoseconds: u64, units: f64) -> f64 {
    nanoseconds as f64 / units / if measure.is_bulk() { 1e6 } else { 1e3 }
}
