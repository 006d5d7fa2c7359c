//! `make bench-peers`: Sluicegate beside what a user would pick instead. `peers page` makes the page of the last run anew;
//! `peers more PacedRequests,FewRequests 10` adds ten rounds of these measures to it, of the same commit;
//! `peers one AfXdp Connections 5000` runs one measure of one contestant for five seconds, for a profiler to look at;
//! `peers memory Haproxy` fills one with idle connections.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tests::namespace::Process;
use tests::peers::contestant::{Contestant, start_all};
use tests::peers::cpu::Accounts;
use tests::peers::measure::Measure;
use tests::peers::results::Results;
use tests::peers::round::{Servers, run_round, take_sample};
use tests::peers::site::Site;
use tests::peers::{memory, page};
use tests::{Failure, Outcome, clock, ensure, origin};

/// No round begins that could end after this; whatever hangs then is killed by `make`'s own limit.
const FULL: Duration = Duration::from_mins(14);
const QUICK: Duration = Duration::from_secs(150);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        [] => compare(),
        ["page"] => make_page(),
        ["more", measures, rounds] => measure_more(measures, rounds),
        ["one", contestant, measure, millis] => run_one(contestant, measure, millis),
        ["memory", contestant] => run_memory(contestant),
        _ => Err(Failure::new(
            "usage: peers [page | more MEASURE[,MEASURE...] ROUNDS | memory CONTESTANT | one CONTESTANT MEASURE MILLISECONDS]",
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\npeers: FAILED: {failure:?}\n{}", tests::lab::last_logs());
            ExitCode::FAILURE
        }
    }
}

/// All that is compared, up and running; the site goes last.
struct Running {
    _gateways: Vec<Process>,
    _servers: Servers,
    site: Site,
}

impl Running {
    fn start() -> Outcome<Running> {
        memory::allow_descriptors()?;
        let site = Site::build()?;
        let servers = Servers::start(&site)?;
        let gateways = start_all(&site)?;
        Ok(Running { _gateways: gateways, _servers: servers, site })
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn json() -> PathBuf {
    root().join("target/bench/peers.json")
}

fn compare() -> Outcome {
    let start = clock::now();
    let quick = std::env::var("QUICK").is_ok_and(|word| word == "1");
    let (rounds, millis, limit) = if quick { (1, 500, QUICK) } else { (5, 1000, FULL) };
    let mut results = describe(millis)?;
    let running = Running::start()?;
    let site = &running.site;
    let accounts = Accounts::open(site)?;
    // First of all: later there would be leftovers of other connections in the counts.
    results.memory = memory::measure_all(site)?;
    let all: Vec<Measure> = Measure::all().collect();
    run_rounds(rounds, start, limit, || {
        run_round(site, &accounts, &all, &mut results)?;
        results.rounds += 1;
        // What there is stays, whatever the next round does.
        results.save(&json())
    })?;
    println!("\n{}", page::terminal(&results)?);
    if quick {
        println!("{}", json().display());
        return Ok(());
    }
    make_page()
}

/// Single readings of latency wander: a median of five says little.
fn measure_more(measures: &str, rounds: &str) -> Outcome {
    let start = clock::now();
    let measures: Vec<Measure> = serde_json::from_value(measures.split(',').collect())?;
    let rounds = rounds.parse()?;
    let missing = |failure: Failure| Failure::new(format!("{}: {}: run all first", json().display(), failure.reason()));
    let mut results = Results::load(&json()).map_err(missing)?;
    let now = describe(results.millis)?;
    let same = (&results.commit, &results.machine) == (&now.commit, &now.machine);
    ensure!(same, "the last run was of {} on {}: run all measures anew", results.commit, results.machine);
    let running = Running::start()?;
    let site = &running.site;
    let accounts = Accounts::open(site)?;
    run_rounds(rounds, start, FULL, || {
        run_round(site, &accounts, &measures, &mut results)?;
        results.save(&json())
    })?;
    make_page()
}

/// Rounds, as long as there is time for one more.
fn run_rounds(rounds: usize, start: Instant, limit: Duration, mut round: impl FnMut() -> Outcome) -> Outcome {
    let mut longest = Duration::ZERO;
    for number in 1..=rounds {
        let began = start.elapsed();
        if began + longest > limit {
            println!("no time for more rounds");
            break;
        }
        round()?;
        longest = longest.max(start.elapsed().saturating_sub(began));
        println!("round {number} of {rounds}, {} s", start.elapsed().as_secs());
    }
    Ok(())
}

fn run_one(contestant: &str, measure: &str, millis: &str) -> Outcome {
    let contestant: Contestant = serde_json::from_str(&format!("\"{contestant}\""))?;
    let measure: Measure = serde_json::from_str(&format!("\"{measure}\""))?;
    let millis = millis.parse()?;
    let running = Running::start()?;
    let site = &running.site;
    let accounts = Accounts::open(site)?;
    site.set_offloads(!Measure::WITHOUT_OFFLOADS.contains(&measure))?;
    println!("running");
    let sample = take_sample(site, &accounts, contestant, measure, millis)?;
    println!("{}", serde_json::to_string_pretty(&sample)?);
    let again = || take_sample(site, &accounts, contestant, measure, millis).map(drop);
    for (tracepoint, count, nanoseconds) in accounts.own_cost(again)? {
        println!("tracing: {tracepoint}: {count} times, {nanoseconds:.0} ns each");
    }
    Ok(())
}

fn run_memory(contestant: &str) -> Outcome {
    let contestant: Contestant = serde_json::from_str(&format!("\"{contestant}\""))?;
    let running = Running::start()?;
    let site = &running.site;
    println!("{}", serde_json::to_string_pretty(&memory::measure(site, contestant)?)?);
    Ok(())
}

fn make_page() -> Outcome {
    page::write(&Results::load(&json())?, &root().join("docs/benchmarks"))
}

fn describe(millis: u64) -> Outcome<Results> {
    Ok(Results {
        date: origin::date()?,
        commit: origin::commit()?,
        machine: origin::machine()?,
        versions: vec![
            origin::say("haproxy -v | head -1 | cut -d' ' -f1-3")?,
            origin::say("nft --version")?,
            origin::say("nginx -v 2>&1")?,
        ],
        millis,
        ..Results::default()
    })
}
