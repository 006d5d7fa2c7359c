//! The page `docs/benchmarks/swarm-DATE.md`. What stands below its last heading, "Reading it", is written by hand and kept
//! when the page is made anew.

use super::measure::{Change, Load};
use super::site::Kind;
use super::state::{NODES, SERVICES, TASKS};
use crate::Outcome;
use crate::spread::Spread;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

const BY_HAND: &str = "## Reading it";
const METHOD: &str = include_str!("method.md");

/// A whole run.
#[derive(Default, Serialize, Deserialize)]
pub struct Results {
    /// Day of the run.
    pub date: String,
    /// What was run.
    pub commit: String,
    /// On what.
    pub machine: String,
    /// Length of each stretch of quiet.
    pub quiet_seconds: u64,
    /// For each stretch, what each gateway cost.
    pub quiet: Vec<Vec<(Kind, Load)>>,
    /// Requests to each manager and bytes of its answers about services and tasks, over all stretches.
    pub managers: Vec<Asked>,
    /// Milliseconds.
    pub reactions: Vec<(Kind, Change, f64)>,
}

/// What a gateway asked of its manager while nothing happened.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Asked {
    /// Whose manager.
    pub kind: Kind,
    /// Requests a second.
    pub per_second: f64,
    /// Bytes of `GET /services`.
    pub services_bytes: usize,
    /// Bytes of `GET /tasks`.
    pub tasks_bytes: usize,
}

impl Results {
    fn times(&self, kind: Kind, change: Change) -> Vec<f64> {
        let fits = |(of, what, _): &&(Kind, Change, f64)| (*of, *what) == (kind, change);
        let mut times: Vec<f64> = self.reactions.iter().filter(fits).map(|(_, _, time)| *time).collect();
        times.sort_unstable_by(f64::total_cmp);
        times
    }

    fn load(&self, kind: Kind, of: impl Fn(&Load) -> f64) -> String {
        let loads = self.quiet.iter().flatten().filter(|(of, _)| *of == kind).map(|(_, load)| of(load));
        Spread::of(loads).map_or("–".to_owned(), |s| format!("{:.2} [{:.2}–{:.2}]", s.median, s.low, s.high))
    }

    /// The tables.
    ///
    /// # Errors
    /// None that can happen: text grows in memory.
    pub fn tables(&self) -> Result<String, fmt::Error> {
        let mut out = String::from(
            "## Reaction, ms\n| change | engine | changes | median | p99 | max |\n|---|---|---|---|---|---|\n",
        );
        for change in Change::ALL {
            for kind in [Kind::Swarm, Kind::OldSwarm] {
                let times = self.times(kind, change);
                let (count, name, engine) = (times.len(), change.name(), kind.name());
                let [median, p99, max] = [0.5, 0.99, 1.0].map(|share| rank(&times, share));
                writeln!(out, "| {name} | {engine} | {count} | {median:.0} | {p99:.0} | {max:.0} |")?;
            }
        }
        let (stretches, seconds) = (self.quiet.len(), self.quiet_seconds);
        writeln!(
            out,
            "\n## CPU while nothing happens, percent of a core\n{stretches} stretches of {seconds} s; median [least–most]\n"
        )?;
        writeln!(out, "| the gateway follows | in all | workers | control |\n|---|---|---|---|")?;
        for kind in Kind::ALL {
            let [all, workers, control] = [
                self.load(kind, |load| load.workers + load.control),
                self.load(kind, |load| load.workers),
                self.load(kind, |load| load.control),
            ];
            writeln!(out, "| {} | {all} | {workers} | {control} |", kind.name())?;
        }
        writeln!(
            out,
            "\n| what it asks of the manager meanwhile | requests/s | `/services` | `/tasks` |\n|---|---|---|---|"
        )?;
        for asked in &self.managers {
            let [services, tasks] = [asked.services_bytes, asked.tasks_bytes].map(|bytes| bytes / 1000);
            writeln!(out, "| {} | {:.1} | {services} kB | {tasks} kB |", asked.kind.name(), asked.per_second)?;
        }
        Ok(out + "\n")
    }

    /// Writes the page into `dir`.
    ///
    /// # Errors
    /// The disk says no.
    pub fn write(&self, dir: &Path) -> Outcome {
        let path = dir.join(format!("swarm-{}.md", self.date));
        let old = fs::read_to_string(&path).unwrap_or_default();
        let by_hand = old.find(BY_HAND).map_or(BY_HAND, |at| &old[at..]).trim_end();
        let Results { date, commit, machine, .. } = self;
        let page = format!(
            "# Following a swarm, {date}\n\nMade by `make bench-swarm` from commit {commit}. {machine}, shared with other work. \
             {TASKS} tasks, {SERVICES} services, {NODES} nodes.\n\n{METHOD}\n{}{by_hand}\n",
            self.tables()?
        );
        fs::write(&path, page)?;
        println!("{}", path.display());
        Ok(())
    }
}

/// The value that this share of sorted ones does not exceed.
#[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "of some dozens of values")]
fn rank(sorted: &[f64], share: f64) -> f64 {
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_nearest_value() {
        let values: Vec<f64> = (1..=50).map(f64::from).collect();
        assert_eq!(format!("{:?}", [0.5, 0.99, 1.0].map(|share| rank(&values, share))), "[25.0, 50.0, 50.0]");
        assert!(rank(&[], 0.5).is_nan());
    }
}
