//! `make bench-driver`: Sluicegate against a bare forwarder on the same `AF_XDP` sockets, in turn, over veth.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use benches::generator::driver::{Bench, Contestant, Measured, spread};
use benches::generator::profile::Profile;
use benches::generator::report::Machine;
use benches::generator::units::{short, short_time};
use clap::Parser;
use tests::Outcome;

/// Sluicegate against a bare forwarder on the same `AF_XDP` sockets.
#[derive(Parser)]
struct Cli {
    /// Turns of each contestant.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How much faster than the profiles (300 kpps) to send: more than anybody can take.
    #[arg(long, default_value_t = 8.0)]
    scale: f64,
    /// Priority of everybody in the bench, as `nice` has it.
    #[arg(long, default_value_t = -10, allow_hyphen_values = true)]
    nice: i32,
    /// The contestants' CPU. The generator has CPU 0.
    #[arg(long, default_value_t = 1)]
    cpu: usize,
}

const SIZES: [&str; 2] = ["64b", "1450b"];

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("driver: {failure:?}\n{}", tests::lab::last_logs());
            ExitCode::FAILURE
        }
    }
}

type Results = BTreeMap<(usize, bool), Vec<Measured>>;

fn run(cli: &Cli) -> Outcome {
    let bench = Bench::build(cli.nice)?;
    let mut results = Results::new();
    let machine = Machine::here();
    println!(
        "{} with {} CPUs, Linux {}; {} rounds of {} s",
        machine.cpu, machine.cpus, machine.kernel, cli.rounds, cli.seconds
    );
    println!(
        "{:12} {:6} {:>12} {:>12} {:>8} {:>10} {:>12}",
        "", "", "offered/s", "forwarded/s", "busy", "CPU ns/pkt", "p50"
    );
    for round in 0..cli.rounds {
        // Who begins changes, so that neither always follows the other.
        let mut order = [Contestant::Sluicegate, Contestant::Bare];
        order.rotate_left(round % 2);
        for contestant in order {
            turn(cli, &bench, contestant, &mut results)?;
        }
    }
    conclude(&results);
    Ok(())
}

fn turn(cli: &Cli, bench: &Bench, contestant: Contestant, results: &mut Results) -> Outcome {
    let first = Profile::load(&profile(SIZES[0]))?;
    let process = bench.start(contestant, &first, &[cli.cpu])?;
    if contestant == Contestant::Sluicegate && results.is_empty() {
        let idle = bench.idle(&process, Duration::from_secs(3))?;
        println!("Sluicegate, idle: {:.2} % of a CPU", idle * 100.0);
    }
    for (size, name) in SIZES.into_iter().enumerate() {
        let time = Duration::from_secs_f64(cli.seconds);
        let measured = bench.measure(&process, &profile(name), cli.scale, time)?;
        println!(
            "{:12} {name:6} {:>12} {:>12} {:>7.0}% {:>10.0} {:>12}",
            format!("{contestant:?}"),
            short(measured.offered),
            short(measured.rate),
            measured.busy * 100.0,
            measured.cpu_nanos,
            short_time(measured.p50)
        );
        results.entry((size, contestant == Contestant::Sluicegate)).or_default().push(measured);
    }
    Ok(())
}

fn profile(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("profiles/{name}.toml"))
}

/// Ratios of turns that followed one another, and their median and range.
fn conclude(results: &Results) {
    let none = Vec::new();
    for (size, name) in SIZES.into_iter().enumerate() {
        let of = |ours: bool| results.get(&(size, ours)).unwrap_or(&none);
        let ratios = |value: fn(&Measured) -> f64| {
            let pairs = of(true).iter().zip(of(false));
            spread(&pairs.map(|(ours, bare)| value(ours) / value(bare) * 100.0).collect::<Vec<_>>())
        };
        let (rate, low, high) = ratios(|measured| measured.rate);
        let (cpu, least, most) = ratios(|measured| 1.0 / measured.cpu_nanos);
        println!(
            "{name}: Sluicegate forwards at {rate:.0} % of the bare forwarder's rate ({low:.0} to {high:.0}), \
             {cpu:.0} % of its packets per CPU second ({least:.0} to {most:.0})"
        );
    }
}
