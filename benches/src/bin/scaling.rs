//! `make bench-scaling`: one worker, two workers of one gateway, and two workers that share nothing, in turn.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use benches::generator::driver::spread;
use benches::generator::profile::Profile;
use benches::generator::report::Machine;
use benches::generator::scaling::{Players, Team};
use benches::generator::units::short;
use clap::Parser;
use tests::Outcome;

/// One worker and two, in memory.
#[derive(Parser)]
struct Cli {
    /// What to send: the first stream of a profile.
    #[arg(long)]
    profile: Option<PathBuf>,
    /// Packets for each worker in a round.
    #[arg(long, default_value_t = 30_000)]
    packets: usize,
    /// Rounds of each team.
    #[arg(long, default_value_t = 41)]
    rounds: usize,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("scaling: {failure:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Outcome {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/64b.toml");
    let profile = Profile::load(&cli.profile.clone().unwrap_or_else(default))?;
    let (cpus, machine) = (sys::allowed_cpus(), Machine::here());
    println!("{} with {} CPUs, Linux {}; {} rounds", machine.cpu, machine.cpus, machine.kernel, cli.rounds);
    let teams = [Team::One, Team::Two, Team::Strangers];
    let mut players = Vec::new();
    for team in teams {
        players.push((team, Players::new(&profile, team, cli.packets)?));
    }
    let mut rates: BTreeMap<Team, Vec<f64>> = BTreeMap::new();
    for round in 0..=cli.rounds {
        for (team, players) in &mut players {
            let rate = players.round(&cpus)?;
            // The first round opens the flows.
            if round > 0 {
                rates.entry(*team).or_default().push(rate);
            }
        }
    }
    for (team, rates) in &rates {
        let (median, low, high) = spread(rates);
        println!("{:10} {:>10}/s ({} to {})", format!("{team:?}"), short(median), short(low), short(high));
    }
    let ratio = |a, b| {
        let (Some(a), Some(b)) = (rates.get(&a), rates.get(&b)) else { return (0.0, 0.0, 0.0) };
        spread(&a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>())
    };
    for (name, a, b) in
        [("two workers : one", Team::Two, Team::One), ("two workers : two strangers", Team::Two, Team::Strangers)]
    {
        let (median, low, high) = ratio(a, b);
        println!("{name}: {median:.2} ({low:.2} to {high:.2})");
    }
    Ok(())
}
