//! `make bench-search`: the highest rates of every profile without loss, through every device. `rates page` makes the page of the
//! last run anew, and publishes it, whatever run that was.
#![forbid(unsafe_code)]

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use benches::generator::rates::{Plan, Results, Through, run};
use benches::generator::{rates_page, units};
use benches::report::sheet;
use benches::results;
use clap::{Parser, Subcommand};
use tests::Outcome;

/// The highest rates of every profile through every device.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Time for everything; `QUICK=1`: 90s.
    #[arg(long, value_parser = units::duration, default_value = "800s")]
    total: Duration,
    /// How long a trial sends.
    #[arg(long, value_parser = units::positive_duration, default_value = "1s")]
    trial: Duration,
    /// How long the trial sends that confirms an answer.
    #[arg(long, value_parser = units::duration, default_value = "3s")]
    confirm: Duration,
    /// Only these profiles, `64b,imix`; the page stays in `target/bench/`.
    #[arg(long, value_delimiter = ',')]
    profiles: Vec<String>,
    /// Only through these, `cable,memory` need no root; the page stays in `target/bench/`.
    #[arg(long, value_enum, value_delimiter = ',')]
    through: Vec<Through>,
    /// Writes no page.
    #[arg(long)]
    dry: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Makes the page of the last run anew.
    Page,
}

fn main() -> ExitCode {
    match go(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("rates: {failure:?}\n{}", tests::lab::last_logs());
            ExitCode::FAILURE
        }
    }
}

fn go(cli: Cli) -> Outcome {
    let json = results::dir().join("rates.json");
    if matches!(cli.verb, Some(Verb::Page)) {
        let results: Results = serde_json::from_str(&fs::read_to_string(json)?)?;
        return rates_page::write(&results, &sheet::dir(false));
    }
    let total = if results::quick() { Duration::from_secs(90) } else { cli.total };
    let Cli { trial, confirm, profiles, through, .. } = cli;
    let command = sheet::command("rates");
    let plan = Plan { command, profiles, through, total, trial, confirm };
    let results = run(&plan)?;
    fs::create_dir_all(results::dir())?;
    fs::write(&json, serde_json::to_string_pretty(&results)?)?;
    if cli.dry || results::quick() {
        results.check()
    } else {
        rates_page::publish(&results, &sheet::dir(plan.is_partial()))
    }
}
