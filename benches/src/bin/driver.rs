//! `make bench-driver`: Sluicegate against a bare forwarder on the same `AF_XDP` sockets, in turn, over veth; and a sweep over the
//! settings of sockets and worker. Both write `docs/benchmarks/driver-DATE.md`.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use benches::driver::gateway::{self, Tuning};
use benches::driver::page;
use benches::driver::points::{Deferral, Point, all};
use benches::driver::results::{Contest, Results, Run, Sweep, SweepRow};
use benches::generator::driver::{Bench, Contestant, Measured, Requests};
use benches::generator::profile::{Profile, Stream};
use benches::generator::sizes::Sizes;
use benches::generator::units::{short, short_time};
use benches::report::sheet;
use clap::{Args, Parser, Subcommand};
use tests::{Failure, Outcome, clock};

/// Sluicegate against a bare forwarder on the same `AF_XDP` sockets.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    plan: Plan,
}

#[derive(Subcommand)]
enum Verb {
    /// Tries the settings of sockets and worker, in turn.
    Sweep {
        /// Rounds, if there is time for so many.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
        /// How much faster than the profiles (300 kpps) to send.
        #[arg(long, default_value_t = 8.0)]
        scale: f64,
        /// Only points of which setting or value contain this; the page stays in `target/bench/`.
        #[arg(long, default_value = "")]
        only: String,
        /// No further round is begun that could end after so many seconds.
        #[arg(long, default_value_t = 280)]
        limit: u64,
    },
    /// Makes the page of a day's figures anew.
    Page {
        /// The day, 2026-11-22 for example.
        date: String,
    },
    /// The gateway's worker with other settings; what the sweep measures.
    #[command(hide = true)]
    Gateway {
        profile: PathBuf,
        #[arg(long)]
        cpu: usize,
        #[command(flatten)]
        tuning: Tuning,
    },
}

/// The contest.
#[derive(Args)]
struct Plan {
    /// Turns of each contestant.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How much faster than the profiles (300 kpps) to send: more than anybody can take.
    #[arg(long, default_value_t = 8.0)]
    scale: f64,
    /// No further round is begun that could end after so many seconds.
    #[arg(long, default_value_t = 280)]
    limit: u64,
}

/// Lengths of frames, check sequence counted, and whether tasks answer. Those after the first four are as long as what Sluicegate
/// sends for the first two, tunnel included.
const CASES: [(&str, u16, bool); 9] = [
    ("64 B, to tasks", 64, false),
    ("1450 B, to tasks", 1468, false),
    ("64 B, both ways", 64, true),
    ("1450 B, both ways", 1468, true),
    ("64+50 B, to tasks", 114, false),
    ("1450+50 B, to tasks", 1518, false),
    ("1450+50 B, both ways", 1518, true),
    ("frames of 1472 bytes, to tasks", 1476, false),
    ("frames of 1473 bytes, to tasks", 1477, false),
];
const OF_SLUICEGATE: usize = 4;
/// The contestants' CPU. The generator has CPU 0.
const CPU: usize = 1;
/// Four connections that ask 100 times each; a new one when one has ended.
const REQUESTS: &str = "name = 'requests'\nduration = '1s'\n[[stream]]\nkind = 'tcp'\nname = 'requests'\nrate = '20k/s'\nat_once = 4\nrequests = 100\n\
    request_bytes = 100\nresponse_bytes = 200\nclients = '198.19.0.1-198.19.0.250'\nports = '8080'\n";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.verb {
        None => contest(&cli.plan),
        Some(Verb::Sweep { rounds, seconds, scale, only, limit }) => {
            sweep(*rounds, *seconds, *scale, only, Duration::from_secs(*limit))
        }
        Some(Verb::Page { date }) => page_of(date),
        Some(Verb::Gateway { profile, cpu, tuning }) => {
            Profile::load(profile).and_then(|profile| gateway::run(&profile, ["eth0", "eth1"], *cpu, tuning))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("driver: {failure:?}\n{}", tests::lab::last_logs());
            ExitCode::FAILURE
        }
    }
}

fn page_of(date: &str) -> Outcome {
    let dir = sheet::dir(false);
    page::write(&dir, date, &Results::of_day(&dir, date)?)
}

/// Runs rounds as long as there is time for one more, and keeps what there is after each.
fn rounds(most: usize, limit: Duration, mut round: impl FnMut(usize) -> Outcome) -> Outcome<()> {
    let (start, mut longest) = (clock::now(), Duration::ZERO);
    for number in 0..most {
        let began = start.elapsed();
        if began + longest > limit {
            println!("no time for more than {number} rounds");
            break;
        }
        round(number)?;
        longest = longest.max(start.elapsed().saturating_sub(began));
    }
    Ok(())
}

fn contest(plan: &Plan) -> Outcome {
    let bench = Bench::build()?;
    let mut contest = Contest { run: Run::here(plan.seconds), ..Contest::default() };
    println!(
        "{:12} {:20} {:>12} {:>12} {:>8} {:>10} {:>12}",
        "", "", "offered/s", "forwarded/s", "busy", "CPU ns/pkt", "p50"
    );
    rounds(plan.rounds, Duration::from_secs(plan.limit), |number| {
        // Who begins changes, so that neither always follows the other.
        let mut order = [Contestant::Sluicegate, Contestant::Bare];
        order.rotate_left(number % 2);
        for contestant in order {
            turn(plan, &bench, contestant, &mut contest)?;
        }
        contest.run.rounds += 1;
        Ok(())
    })?;
    let (date, dir) = (contest.run.date.clone(), sheet::dir(false));
    let results = Results { contest: Some(contest), ..Results::of_day(&dir, &date)? };
    page::write(&dir, &date, &results)
}

fn turn(plan: &Plan, bench: &Bench, contestant: Contestant, contest: &mut Contest) -> Outcome {
    let mut profile = flood()?;
    let ours = contestant == Contestant::Sluicegate;
    let process = bench.start(contestant, &profile, &[CPU])?;
    if ours {
        contest.idle.push(bench.idle(&process, Duration::from_secs(3))?);
    }
    let cases = if ours { &CASES[..OF_SLUICEGATE] } else { &CASES[..] };
    for (name, bytes, echo) in cases {
        if let Some(Stream::Udp(stream)) = profile.stream.first_mut() {
            (stream.sizes, stream.echo) = (Sizes::One(*bytes), *echo);
        }
        let measured = bench.measure(&process, &profile, plan.scale, Duration::from_secs_f64(plan.seconds))?;
        tell(&format!("{contestant:?}"), name, &measured);
        contest.add(ours, name, measured);
    }
    Ok(())
}

fn tell(who: &str, what: &str, measured: &Measured) {
    println!(
        "{who:12} {what:20} {:>12} {:>12} {:>7.0}% {:>10.0} {:>12}",
        short(measured.offered),
        short(measured.rate),
        measured.busy * 100.0,
        measured.cpu_nanos,
        short_time(measured.p50)
    );
}

/// 64-byte datagrams of a thousand flows.
fn flood() -> Outcome<Profile> {
    Profile::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/64b.toml"))
}

/// What the sweep sends: by itself each, the gateway knows both.
struct Traffic {
    flood: Profile,
    requests: Profile,
    scale: f64,
    time: Duration,
}

fn sweep(most: usize, seconds: f64, scale: f64, only: &str, limit: Duration) -> Outcome {
    let (flood, requests) = (flood()?, Profile::parse(REQUESTS)?);
    let bench = Bench::build()?;
    let both = Profile { stream: [&flood.stream[..], &requests.stream].concat(), ..flood.clone() };
    let path = bench.dir().join("gateway.toml");
    std::fs::write(&path, toml::to_string(&both)?)?;
    let traffic = Traffic { flood, requests, scale, time: Duration::from_secs_f64(seconds) };
    let mut points = all();
    points.retain(|point| {
        point.tuning == Tuning::default() || point.setting.contains(only) || point.value.contains(only)
    });
    let empty = |point: &Point| SweepRow {
        setting: point.setting.into(),
        value: point.value.into(),
        rates: Vec::new(),
        requests: Vec::new(),
    };
    let mut sweep = Sweep { run: Run::here(seconds), busy_polled: None, rows: points.iter().map(empty).collect() };
    rounds(most, limit, |number| {
        for at in 0..points.len() {
            let at = (at + number * 4) % points.len();
            let (measured, asked) = try_point(&bench, &path, &points[at], &traffic, &mut sweep.busy_polled)
                .map_err(|failure| failure.during(&format!("{}: {}", points[at].setting, points[at].value)))?;
            tell(points[at].setting, points[at].value, &measured);
            println!(
                "{:12} {:20} {:>12} requests/s {:>7.1}% {:>10.0} {:>12} p99 {}",
                "",
                "",
                short(asked.rate),
                asked.busy * 100.0,
                asked.cpu_nanos,
                short_time(asked.p50),
                short_time(asked.p99)
            );
            sweep.rows[at].rates.push(measured);
            sweep.rows[at].requests.push(asked);
        }
        sweep.run.rounds += 1;
        Ok(())
    })?;
    // Some points are not the day's page.
    let (date, dir) = (sweep.run.date.clone(), sheet::dir(!only.is_empty()));
    let results = Results { sweep: Some(sweep), ..Results::of_day(&dir, &date)? };
    page::write(&dir, &date, &results)
}

fn try_point(
    bench: &Bench,
    profile: &Path,
    point: &Point,
    traffic: &Traffic,
    busy_polled: &mut Option<bool>,
) -> Outcome<(Measured, Requests)> {
    let mut words = vec!["gateway".to_owned(), profile.display().to_string(), format!("--cpu={CPU}")];
    words.extend(point.tuning.words());
    let process = bench.start_program(&std::env::current_exe()?, &words)?;
    if point.tuning.busy_poll > 0 {
        *busy_polled = Some(!process.log().contains("busy-polled eth0: false"));
    }
    bench.put_interrupts_off(point.deferral)?;
    let measured = bench.measure(&process, &traffic.flood, traffic.scale, traffic.time);
    let asked = bench.ask(&process, &traffic.requests, traffic.time);
    bench.put_interrupts_off(Deferral::default())?;
    match (measured, asked) {
        (Ok(measured), Ok(asked)) => Ok((measured, asked)),
        (Err(failure), _) | (_, Err(failure)) => Err(Failure::new(format!("{failure:?}\n{}", process.log()))),
    }
}
