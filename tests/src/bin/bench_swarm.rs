//! `make bench-swarm`: how soon the gateway follows a swarm of a thousand tasks, and what it costs while nothing happens.
//! `bench_swarm page` makes the page of the last run anew.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tests::lab::Lab;
use tests::paper::manager::Manager;
use tests::paper::measure::{quiet, reactions};
use tests::paper::page::{Asked, Results};
use tests::paper::site::{Kind, Seat, build};
use tests::{Failure, Outcome, origin};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        [] => measure(),
        ["page"] => load().and_then(|results| results.write(&root().join("docs/benchmarks"))),
        _ => Err(Failure::new("usage: bench_swarm [page]")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nbench-swarm: FAILED: {failure:?}\n{}", tests::lab::last_logs());
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn json() -> PathBuf {
    root().join("target/bench/swarm.json")
}

fn load() -> Outcome<Results> {
    Ok(serde_json::from_str(&fs::read_to_string(json())?)?)
}

fn measure() -> Outcome {
    let quick = std::env::var("QUICK").is_ok_and(|word| word == "1");
    let (stretches, quiet_seconds, changes) = if quick { (1, 10, 2) } else { (3, 30, 13) };
    let mut results = describe(quiet_seconds)?;
    let lab = Lab::new()?;
    let seats = build(&lab)?;
    // The gateway looks more closely for a while after each change, and all of this was one.
    std::thread::sleep(Duration::from_secs(10));
    println!("quiet, {stretches} times {quiet_seconds} s");
    let before = requests(&seats);
    for _ in 0..stretches {
        let loads = quiet(&seats, Duration::from_secs(quiet_seconds))?;
        results.quiet.push(seats.iter().map(|seat| seat.kind).zip(loads).collect());
    }
    results.managers = asked(&seats, &before, stretches * quiet_seconds);
    println!("changes, {changes} of each kind");
    results.reactions = change_all(&seats, changes)?;
    fs::create_dir_all(root().join("target/bench"))?;
    fs::write(json(), serde_json::to_string_pretty(&results)?)?;
    println!("\n{}", results.tables()?);
    if quick { Ok(()) } else { results.write(&root().join("docs/benchmarks")) }
}

/// Both swarms at the same time.
fn change_all(seats: &[Seat], changes: usize) -> Outcome<Vec<(Kind, tests::paper::measure::Change, f64)>> {
    let followers = || seats.iter().filter(|seat| seat.manager.is_some());
    std::thread::scope(|scope| {
        let work = |(number, seat)| scope.spawn(move || reactions(seat, changes, number as u64 + 1));
        let works: Vec<_> = followers().enumerate().map(work).collect();
        let mut all = Vec::new();
        for (seat, work) in followers().zip(works) {
            let times = work.join().map_err(|_| Failure::new("a thread panicked"))??;
            all.extend(times.into_iter().map(|(change, time)| (seat.kind, change, time)));
        }
        Ok(all)
    })
}

fn requests(seats: &[Seat]) -> Vec<u64> {
    seats.iter().map(|seat| seat.manager.as_ref().map_or(0, Manager::requests)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "some thousand requests")]
fn asked(seats: &[Seat], before: &[u64], seconds: u64) -> Vec<Asked> {
    let one = |(seat, before): (&Seat, &u64)| {
        let manager = seat.manager.as_ref()?;
        Some(Asked {
            kind: seat.kind,
            per_second: (manager.requests() - before) as f64 / seconds as f64,
            services_bytes: manager.size("/services"),
            tasks_bytes: manager.size("/tasks"),
        })
    };
    seats.iter().zip(before).filter_map(one).collect()
}

fn describe(quiet_seconds: u64) -> Outcome<Results> {
    Ok(Results {
        date: origin::date()?,
        commit: origin::commit()?,
        machine: origin::machine()?,
        quiet_seconds,
        ..Results::default()
    })
}
