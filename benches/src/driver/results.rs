//! What both benches have found, as it stands in `docs/benchmarks/driver-DATE.json`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::tests::Outcome;
use serde::{Deserialize, Serialize};

use crate::generator::driver::{Measured, Requests};
use crate::generator::report::Machine;
use crate::report::sheet;

/// A page's worth.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Results {
    /// Against the bare forwarder.
    pub contest: Option<Contest>,
    /// Over the settings.
    pub sweep: Option<Sweep>,
}

/// Where a bench ran, and how.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Run {
    /// Day, UTC.
    pub date: String,
    /// What was run.
    pub commit: String,
    /// The command.
    pub command: String,
    /// On what.
    pub machine: Machine,
    /// Complete rounds.
    pub rounds: usize,
    /// Length of each sample.
    pub seconds: f64,
}

/// Sluicegate and the bare forwarder, in turn.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Contest {
    /// When and where.
    pub run: Run,
    /// Part of a CPU that the idle gateway used, one for each round.
    pub idle: Vec<f64>,
    /// All samples.
    pub rows: Vec<ContestRow>,
}

/// All samples of one contestant in one case.
#[derive(Debug, Deserialize, Serialize)]
pub struct ContestRow {
    /// Whether it is Sluicegate.
    pub ours: bool,
    /// What was sent.
    pub case: String,
    /// One a round.
    pub samples: Vec<Measured>,
}

/// Settings, in turn.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Sweep {
    /// When and where.
    pub run: Run,
    /// Whether the kernel said that it lets the sockets poll their interfaces; None: it was not asked.
    pub busy_polled: Option<bool>,
    /// All samples, the base first.
    pub rows: Vec<SweepRow>,
}

/// All samples of one point.
#[derive(Debug, Deserialize, Serialize)]
pub struct SweepRow {
    /// Which setting.
    pub setting: String,
    /// Its value.
    pub value: String,
    /// As much as will go, 64-byte frames to tasks; one a round.
    pub rates: Vec<Measured>,
    /// Requests on four connections; one a round.
    pub requests: Vec<Requests>,
}

impl Run {
    /// This one, now.
    #[must_use]
    pub fn here(seconds: f64) -> Run {
        let said_by = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
        };
        Run {
            date: said_by("date", &["-u", "+%F"]),
            commit: tests::origin::commit().unwrap_or_default(),
            command: sheet::command("driver"),
            machine: Machine::here(),
            rounds: 0,
            seconds,
        }
    }
}

impl Contest {
    /// Adds a sample.
    pub fn add(&mut self, ours: bool, case: &str, sample: Measured) {
        match self.rows.iter_mut().find(|row| row.ours == ours && row.case == case) {
            Some(row) => row.samples.push(sample),
            None => self.rows.push(ContestRow { ours, case: case.to_owned(), samples: vec![sample] }),
        }
    }

    /// The samples of a contestant in a case.
    #[must_use]
    pub fn samples(&self, ours: bool, case: &str) -> &[Measured] {
        self.rows.iter().find(|row| row.ours == ours && row.case == case).map_or(&[], |row| &row.samples)
    }
}

impl Results {
    /// Those of a day in `dir`, empty if there are none yet.
    ///
    /// # Errors
    /// The file has another format.
    pub fn of_day(dir: &Path, date: &str) -> Outcome<Results> {
        match fs::read_to_string(Results::path(dir, date, "json")) {
            Ok(text) => Ok(serde_json::from_str(&text)?),
            Err(_) => Ok(Results::default()),
        }
    }

    /// Where a page, its figures or its plot lie in `dir`.
    #[must_use]
    pub fn path(dir: &Path, date: &str, extension: &str) -> PathBuf {
        dir.join(format!("driver-{date}.{extension}"))
    }
}
