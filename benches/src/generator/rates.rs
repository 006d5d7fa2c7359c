//! The highest rates of every profile through every device, one search after the other, and all of them within a given time.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use ::tests::{Failure, Outcome, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sys::clock;

use super::answer::SearchReport;
use super::driver::{Bench, Contestant};
use super::profile::Profile;
use super::report::{Machine, Report};
use super::units::date;
use crate::results;

/// What a search takes beside its own time: start, flows that are opened first, the end.
const START: Duration = Duration::from_secs(2);
/// A search that takes so much longer than it should hangs, and is ended.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much later than planned a search may still begin.
const SPARE: Duration = Duration::from_secs(25);
/// What is searched for a second rate, with hardly any loss: it takes trials of its own, and where nothing but the machine's pauses loses
/// packets, it is the first one.
const WITH_LITTLE_LOSS: &str = "64b";
/// How fast a search opens flows before its first trial.
const LEARNING: f64 = super::trials::LEARNING;

/// What a search goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Through {
    /// A cable in memory: what the generator itself can do there.
    Cable,
    /// A whole gateway in memory, one worker.
    Memory,
    /// The bare forwarder over `AF_XDP`: what the generator, the two veths and the kernel can do.
    Bare,
    /// The gateway over `AF_XDP`, one worker.
    Xdp,
}

impl Through {
    /// All of them.
    pub const ALL: [Through; 4] = [Through::Cable, Through::Memory, Through::Bare, Through::Xdp];

    /// As tables say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Through::Cable => "cable in memory (generator alone)",
            Through::Memory => "gateway in memory",
            Through::Bare => "bare forwarder, AF_XDP on veth",
            Through::Xdp => "gateway, AF_XDP on veth",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Through::Cable => "cable",
            Through::Memory => "memory",
            Through::Bare => "bare",
            Through::Xdp => "xdp",
        }
    }

    fn device(self) -> &'static str {
        match self {
            Through::Cable => "cable",
            Through::Memory => "memory",
            Through::Bare | Through::Xdp => "xdp",
        }
    }

    /// More than anybody has been seen to bear; an answer of so much says that there may be more.
    fn highest(self, connections: bool) -> &'static str {
        match (self, connections) {
            (Through::Cable, false) => "16Mpps",
            (Through::Memory, false) => "6Mpps",
            (Through::Bare, false) => "1.5Mpps",
            (Through::Xdp, false) => "1Mpps",
            (Through::Cable, true) => "500k/s",
            (Through::Memory, true) => "300k/s",
            (Through::Bare | Through::Xdp, true) => "50k/s",
        }
    }
}

/// All of a run.
#[derive(Debug, Deserialize, Serialize)]
pub struct Results {
    /// The day.
    pub date: String,
    /// What was run.
    pub command: String,
    /// The commit.
    pub commit: String,
    /// The machine.
    pub machine: Machine,
    /// Seconds that it took.
    pub seconds: f64,
    /// Every search.
    pub cases: Vec<Case>,
}

impl Results {
    /// Whether every search has come to its end.
    ///
    /// # Errors
    /// Those that have not, and why.
    pub fn check(&self) -> Outcome {
        let failed =
            |case: &Case| Some(format!("{} through {}: {}", case.file, case.through.file(), case.failure.as_ref()?));
        let failed: Vec<_> = self.cases.iter().filter_map(failed).collect();
        ensure!(failed.is_empty(), "{} of {} searches failed: {}", failed.len(), self.cases.len(), failed.join("; "));
        Ok(())
    }
}

/// One search.
#[derive(Debug, Deserialize, Serialize)]
pub struct Case {
    /// File of the profile, without its ending.
    pub file: String,
    /// Name of the profile.
    pub profile: String,
    /// What it went through.
    pub through: Through,
    /// The command line.
    pub command: String,
    /// What it has found.
    pub search: Option<SearchReport>,
    /// Why there is nothing.
    pub failure: Option<String>,
}

/// What to run, and for how long.
pub struct Plan {
    /// As it was asked for.
    pub command: String,
    /// Names of profiles; empty: all that can be searched with.
    pub profiles: Vec<String>,
    /// Devices; empty: all.
    pub through: Vec<Through>,
    /// Time for everything.
    pub total: Duration,
    /// How long a trial sends.
    pub trial: Duration,
    /// How long the trial sends that confirms an answer.
    pub confirm: Duration,
}

impl Plan {
    /// Whether some of it is left out.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.profiles.is_empty() || !self.through.is_empty()
    }
}

/// A search that is to be made.
struct Task {
    file: String,
    profile: Profile,
    through: Through,
}

impl Task {
    fn is_of_connections(&self) -> bool {
        !self.profile.stream.iter().any(super::profile::Stream::is_udp)
    }

    /// The time before the first trial.
    fn learning(&self) -> Duration {
        let flows = if self.is_of_connections() { 0 } else { self.profile.flows() };
        Duration::from_secs_f64(flows as f64 / LEARNING * 1.1) + START
    }
}

/// Runs all searches.
///
/// # Errors
/// A profile cannot be read. Searches that fail are listed as such.
pub fn run(plan: &Plan) -> Outcome<Results> {
    let start = clock::now();
    let machine = Machine::here();
    let tasks = tasks(plan)?;
    let mut cases = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        let left: Duration = tasks[index..].iter().map(Task::learning).sum();
        let share = (start + plan.total).saturating_sub(clock::now() + left) / (tasks.len() - index) as u32;
        eprintln!("{} through {}: {:.0} s", task.profile.name, task.through.name(), share.as_secs_f64());
        let command = arguments(plan, task, share);
        let late = clock::now() > start + plan.total + SPARE;
        let outcome = if late { Err(Failure::new("no time was left")) } else { search(task, &command, share) };
        let (search, failure) = match outcome {
            Ok(report) => (report.search, None),
            Err(failure) => (None, Some(failure.reason().lines().last().unwrap_or_default().to_owned())),
        };
        for line in search.iter().flat_map(|search| &search.found) {
            eprintln!("  {line}");
        }
        if let Some(failure) = &failure {
            eprintln!("  failed: {failure}");
        }
        let (file, profile) = (task.file.clone(), task.profile.name.clone());
        let command = format!("generator {}", command.join(" "));
        cases.push(Case { file, profile, through: task.through, command, search, failure });
    }
    let seconds = clock::now().saturating_sub(start).as_secs_f64();
    let day = date(machine.began).chars().take(10).collect();
    let command = plan.command.clone();
    Ok(Results { date: day, command, commit: super::report::commit(), machine, seconds, cases })
}

/// What is to be searched, by device.
fn tasks(plan: &Plan) -> Outcome<Vec<Task>> {
    let all = searchable()?;
    for name in &plan.profiles {
        let names: Vec<_> = all.iter().map(|(file, _)| file.as_str()).collect();
        ensure!(names.contains(&name.as_str()), "no profile `{name}` to search with: there are {}", names.join(", "));
    }
    let mut tasks = Vec::new();
    for through in Through::ALL {
        let wanted = plan.through.is_empty() || plan.through.contains(&through);
        let named = |file: &String| plan.profiles.is_empty() || plan.profiles.contains(file);
        for (file, profile) in all.iter().filter(|(file, _)| wanted && named(file)) {
            tasks.push(Task { file: file.clone(), profile: profile.clone(), through });
        }
    }
    Ok(tasks)
}

/// Every profile that can be searched with, by the name of its file.
fn searchable() -> Outcome<Vec<(String, Profile)>> {
    let mut files: Vec<_> = fs::read_dir(profiles())?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut all = Vec::new();
    for path in &files {
        let profile = Profile::load(path)?;
        let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // `connections` is its like with ports enough for so many.
        if file != "churn" && super::trials::check(&profile).is_ok() {
            all.push((file, profile));
        }
    }
    Ok(all)
}

/// Of a search, from the root of the tree.
fn arguments(plan: &Plan, task: &Task, within: Duration) -> Vec<String> {
    let seconds = |time: Duration| format!("{:.1}s", time.as_secs_f64());
    let highest = task.through.highest(task.is_of_connections());
    let losses = if task.file == WITH_LITTLE_LOSS { "0,0.1" } else { "0" };
    let text = format!(
        "search --profile benches/profiles/{}.toml --device {} --highest {highest} --trial {} --confirm {} --within {} --loss {losses}",
        task.file,
        task.through.device(),
        seconds(plan.trial),
        seconds(plan.confirm),
        seconds(within)
    );
    text.split(' ').map(str::to_owned).collect()
}

fn search(task: &Task, words: &[String], within: Duration) -> Outcome<Report> {
    let dir = results::dir().join("rates");
    fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    let name = format!("{}-{}", task.file, task.through.file());
    let (json, html) = (dir.join(format!("{name}.json")), dir.join(format!("{name}.html")));
    let limit = (within + task.learning() + PATIENCE).as_secs().to_string();
    // In the terminal's foreground, or Ctrl-C would not reach it.
    let mut arguments: Vec<OsString> = ["--foreground", "--kill-after=2", &limit]
        .into_iter()
        .map(OsString::from)
        .chain([generator()?.into()])
        .collect();
    arguments.extend(words.iter().map(OsString::from));
    arguments.extend(["--quiet".into(), "--json".into(), json.clone().into(), "--html".into(), html.into()]);
    let contestant = match task.through {
        Through::Cable | Through::Memory => None,
        Through::Bare => Some(Contestant::Bare),
        Through::Xdp => Some(Contestant::Sluicegate),
    };
    let mut command;
    let mut lab = None;
    match contestant {
        None => {
            // No lab's reaper ends it when this program is ended.
            command = Command::new("setpriv");
            command.args(["--pdeathsig", "TERM", "timeout"]);
        }
        Some(contestant) => {
            // Cables of its own each time: nothing of another contestant is left on them.
            let bench = Bench::build()?;
            let cpu = sys::allowed_cpus().last().copied().unwrap_or(0);
            let process = bench.start(contestant, &task.profile, &[cpu])?;
            command = bench.outside.command("timeout");
            lab = Some((process, bench));
        }
    }
    ::tests::lab::run(command.args(arguments).current_dir(root()))?;
    drop(lab);
    Ok(serde_json::from_str(&fs::read_to_string(json)?)?)
}

fn generator() -> Outcome<PathBuf> {
    let this = env::current_exe()?;
    let path = this.with_file_name("generator");
    if path.is_file() { Ok(path) } else { Err(Failure::new(format!("no program `generator` near {}", this.display()))) }
}

fn profiles() -> PathBuf {
    root().join("benches/profiles")
}

/// The root of the tree.
#[must_use]
pub fn root() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    path.canonicalize().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(profiles: &[&str]) -> Plan {
        let profiles = profiles.iter().map(|name| (*name).to_owned()).collect();
        let (total, trial, confirm) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let through = vec![Through::Cable, Through::Memory];
        Plan { command: String::new(), profiles, through, total, trial, confirm }
    }

    #[test]
    fn a_part_is_no_whole_and_only_one_profile_has_a_second_rate() {
        let mut plan = plan(&[]);
        let tasks = tasks(&plan).unwrap();
        let second = tasks.iter().filter(|task| arguments(&plan, task, Duration::ZERO).contains(&"0,0.1".to_owned()));
        assert!(second.map(|task| task.file.as_str()).eq(["64b"; 2]));
        assert!(plan.is_partial());
        plan.through.clear();
        assert!(!plan.is_partial());
        plan.profiles.push("64b".into());
        assert!(plan.is_partial());
    }

    #[test]
    fn a_name_that_no_profile_has_is_refused() {
        assert_eq!(tasks(&plan(&["64b", "imix"])).unwrap().len(), 4);
        assert_eq!(tasks(&plan(&[])).unwrap().len() % 2, 0);
        // The second one is there, and cannot be searched with.
        for wrong in ["64B", "syn-flood", ""] {
            let Err(error) = tasks(&plan(&["imix", wrong])) else { panic!("`{wrong}` was taken") };
            let reason = error.reason();
            assert!(reason.contains(&format!("`{wrong}`")) && reason.contains("64b, connections, imix"), "{reason}");
        }
    }
}
