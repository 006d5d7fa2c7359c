//! Scenarios on a real swarm: three dockerds in namespaces, one for all scenarios, which follow one another.
//!
//! They need root and Docker; without either they are skipped, with one line that says how many.
#![forbid(unsafe_code)]

mod balance;
mod failures;
mod flows;
mod managers;
mod places;
mod six;
mod stage;
mod updates;

use libtest_mimic::{Arguments, Failed, Trial};
use stage::Stage;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use tests::{Outcome, lab};

/// The swarm is built by the first scenario that runs.
type Shared = Arc<Mutex<Option<Stage>>>;

/// A scenario: its name and what it does.
pub type Scenario = (&'static str, fn(&mut Stage) -> Outcome);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let shared = Shared::default();
    let groups = [
        balance::SCENARIOS,
        updates::SCENARIOS,
        places::SCENARIOS,
        six::SCENARIOS,
        flows::SCENARIOS,
        failures::SCENARIOS,
        managers::SCENARIOS,
    ];
    let scenarios = groups.concat();
    let runs = lab::is_root();
    if !runs && !arguments.list {
        let _ = writeln!(
            std::io::stderr(),
            "\n*** SKIPPED: {} tests on a real swarm need root. Run `sudo make test`. ***\n",
            scenarios.len()
        );
    }
    let trial = |(name, body): Scenario| {
        let shared = Arc::clone(&shared);
        Trial::test(name, move || guarded(&shared, body)).with_ignored_flag(!runs)
    };
    let conclusion = libtest_mimic::run(&arguments, scenarios.into_iter().map(trial).collect());
    drop(shared.lock().unwrap_or_else(PoisonError::into_inner).take());
    conclusion.exit_code()
}

fn guarded(shared: &Shared, body: fn(&mut Stage) -> Outcome) -> Result<(), Failed> {
    let mut place = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = match place.take() {
        Some(stage) => Ok(stage),
        None => Stage::build(),
    };
    let mut stage = outcome.map_err(|failure| Failed::from(format!("{failure:?}\n{}", lab::last_logs())))?;
    let result = body(&mut stage).map_err(|failure| Failed::from(format!("{failure:?}\n{}", stage.describe())));
    let swept = stage.sweep();
    // What a scenario has broken shall not fail the next one: that gets a new swarm.
    if result.is_ok() && swept.is_ok() {
        *place = Some(stage);
    }
    result.and(swept.map_err(|failure| Failed::from(format!("cleaning up: {failure:?}"))))
}
