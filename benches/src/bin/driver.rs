//! `make bench-driver`: Sluicegate against a bare forwarder on the same `AF_XDP` sockets, in turn, over veth.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use benches::generator::driver::{Bench, Contestant, Measured, spread};
use benches::generator::profile::{Profile, Stream};
use benches::generator::report::Machine;
use benches::generator::sizes::Sizes;
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
    /// The contestants' CPU. The generator has CPU 0.
    #[arg(long, default_value_t = 1)]
    cpu: usize,
}

/// Lengths of frames, check sequence counted. Those after the first two are as long as what Sluicegate sends for the first two,
/// tunnel included: they tell how much of the difference is length alone.
const SIZES: [(&str, u16); 4] = [("64 B", 64), ("1450 B", 1468), ("64+50 B", 114), ("1450+50 B", 1518)];
const OF_SLUICEGATE: usize = 2;

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
    let bench = Bench::build()?;
    let mut results = Results::new();
    let machine = Machine::here();
    println!(
        "{} with {} CPUs, Linux {}; {} rounds of {} s",
        machine.cpu, machine.cpus, machine.kernel, cli.rounds, cli.seconds
    );
    println!(
        "{:12} {:10} {:>12} {:>12} {:>8} {:>10} {:>12}",
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
    let mut profile = Profile::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/64b.toml"))?;
    let ours = contestant == Contestant::Sluicegate;
    let process = bench.start(contestant, &profile, &[cli.cpu])?;
    if ours && results.keys().all(|(_, ours)| !ours) {
        let idle = bench.idle(&process, Duration::from_secs(3))?;
        println!("Sluicegate, idle: {:.2} % of a CPU", idle * 100.0);
    }
    let sizes = if ours { &SIZES[..OF_SLUICEGATE] } else { &SIZES[..] };
    for (size, (name, bytes)) in sizes.iter().enumerate() {
        if let Some(Stream::Udp(stream)) = profile.stream.first_mut() {
            stream.sizes = Sizes::One(*bytes);
        }
        let measured = bench.measure(&process, &profile, cli.scale, Duration::from_secs_f64(cli.seconds))?;
        println!(
            "{:12} {name:10} {:>12} {:>12} {:>7.0}% {:>10.0} {:>12}",
            format!("{contestant:?}"),
            short(measured.offered),
            short(measured.rate),
            measured.busy * 100.0,
            measured.cpu_nanos,
            short_time(measured.p50)
        );
        results.entry((size, ours)).or_default().push(measured);
    }
    Ok(())
}

/// Ratios of turns that followed one another, and their median and range.
fn conclude(results: &Results) {
    let none = Vec::new();
    for (size, (name, _)) in SIZES.iter().enumerate().take(OF_SLUICEGATE) {
        for other in [size, size + OF_SLUICEGATE] {
            let ours = results.get(&(size, true)).unwrap_or(&none);
            let bare = results.get(&(other, false)).unwrap_or(&none);
            let ratios = |value: fn(&Measured) -> f64| {
                let pairs = ours.iter().zip(bare);
                spread(&pairs.map(|(ours, bare)| value(ours) / value(bare) * 100.0).collect::<Vec<_>>())
            };
            let (rate, low, high) = ratios(|measured| measured.rate);
            let (cpu, least, most) = ratios(|measured| 1.0 / measured.cpu_nanos);
            println!(
                "Sluicegate with {} : bare with {}: {cpu:.0} % of the packets per CPU second ({least:.0} to {most:.0}), \
                 {rate:.0} % of the rate ({low:.0} to {high:.0})",
                name, SIZES[other].0
            );
        }
    }
}
