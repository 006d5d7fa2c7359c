//! `make bench-sharing`: which cache lines are written by more than one worker.
//!
//! valgrind's lackey prints every load and store. Two workers of one gateway take turns, each on a thread of its own, and mark
//! where their turns begin and end by stores to known places; what both of them stored to in their turns is shared. That is
//! exact, the same on any machine, and needs no hardware counters.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use benches::generator::network::VIP;
use benches::generator::profile::Profile;
use benches::generator::scaling::{Bench, frames, workers};
use sys::clock;
use tests::lab::run;
use tests::{Failure, Outcome, ensure};
use wire::Protocol;

/// What the workers do while they are watched.
const CASES: [&str; 2] = ["packets of known flows", "packets that open flows"];
const TURNS: usize = 4;
const PACKETS: usize = 64;
const LINE: u64 = 64;

/// Where each worker's turns are marked, by case; the last one marks their end.
static MARKS: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];

fn main() -> ExitCode {
    let result = if std::env::args().nth(1).as_deref() == Some("watched") { watched() } else { watch() };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sharing: {failure:?}");
            ExitCode::FAILURE
        }
    }
}

/// Under valgrind: tells where things are, and lets the workers work.
fn watched() -> Outcome {
    let profile = Profile::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/64b.toml"))?;
    let mut benches = workers(&profile, 2, 1024)?;
    for mark in &MARKS {
        println!("mark {}", std::ptr::from_ref(mark).addr());
    }
    let tables = Arc::clone(&benches[0].tables);
    // Both counts lie in front of the value.
    println!("line {} reference count of the tables", Arc::as_ptr(&tables).addr() - 16);
    if let Some(service) = tables.lookup(VIP, 9000, Protocol::Udp) {
        println!("line {} whose turn it is (round robin)", Arc::as_ptr(&service.turn).addr());
    }
    for bench in &benches {
        println!("line {} counters of a worker", Arc::as_ptr(&bench.counters).addr());
    }
    let packets: Vec<_> =
        [0, 1].iter().map(|part| frames(&profile, PACKETS * (TURNS + 1), *part)).collect::<Outcome<_>>()?;
    std::thread::scope(|scope| {
        let hands: Vec<_> = benches
            .iter_mut()
            .zip(packets)
            .enumerate()
            .map(|(index, (bench, packets))| {
                let (start, begin) = channel::<usize>();
                let (end, done) = channel::<()>();
                scope.spawn(move || {
                    // The first round is not watched: it opens the flows that are known later.
                    for step in begin {
                        take_turn(index, bench, &packets, step);
                        if end.send(()).is_err() {
                            return;
                        }
                    }
                });
                (start, done)
            })
            .collect();
        for step in 0..=2 * TURNS {
            for (start, done) in &hands {
                start.send(step)?;
                done.recv()?;
            }
        }
        Ok(())
    })
}

/// Step 0 is not watched; then turns with known flows, then turns with new ones.
fn take_turn(index: usize, bench: &mut Bench, packets: &[Vec<u8>], step: usize) {
    let case = usize::from(step > TURNS);
    let first = if case == 1 { (step - TURNS) * PACKETS } else { 0 };
    for packet in packets.iter().skip(first).take(PACKETS) {
        bench.client.inject(packet);
    }
    let now = clock::now();
    let (begin, end) = (&MARKS[if step == 0 { 4 } else { case * 2 + index }], &MARKS[4]);
    begin.store(1, Ordering::SeqCst);
    bench.worker.turn(now);
    end.store(1, Ordering::SeqCst);
}

/// What was done to a cache line in each of the four marked phases.
#[derive(Clone, Copy, Default)]
struct Uses {
    loads: [u32; 4],
    stores: [u32; 4],
}

fn watch() -> Outcome {
    let log = std::env::temp_dir().join(format!("sluicegate-sharing-{}", std::process::id()));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=lackey", "--trace-mem=yes", "--basic-counts=no"]);
    valgrind.arg(format!("--log-file={}", log.display())).arg(std::env::current_exe()?).arg("watched");
    let told = run(&mut valgrind);
    let read = told.and_then(|told| Ok((labels(&told)?, told)));
    let result = read.and_then(|((marks, names), _)| report(&uses(&log, &marks)?, &names));
    // Gone already is as good.
    let _ = std::fs::remove_file(&log);
    result
}

type Labels = (Vec<u64>, BTreeMap<u64, String>);

fn labels(told: &str) -> Outcome<Labels> {
    let (mut marks, mut names) = (Vec::new(), BTreeMap::new());
    for line in told.lines() {
        let mut words = line.splitn(3, ' ');
        let (kind, address) = (words.next(), words.next().unwrap_or_default().parse::<u64>()?);
        match kind {
            Some("mark") => marks.push(address),
            _ => drop(names.insert(address / LINE, words.next().unwrap_or_default().to_owned())),
        }
    }
    ensure!(marks.len() == MARKS.len(), "the watched program said:\n{told}");
    Ok((marks, names))
}

/// Reads lackey's log: ` L`, ` S` and ` M` lines with an address in hex and a size.
fn uses(log: &Path, marks: &[u64]) -> Outcome<HashMap<u64, Uses>> {
    let mut lines: HashMap<u64, Uses> = HashMap::new();
    let mut phase = 4;
    for line in BufReader::new(File::open(log)?).split(b'\n') {
        let line = line?;
        let (Some(b' '), Some(kind @ (b'L' | b'S' | b'M'))) = (line.first(), line.get(1)) else { continue };
        let text = std::str::from_utf8(line.get(3..).unwrap_or_default())?;
        let (address, size) = text.split_once(',').ok_or_else(|| Failure::new(format!("lackey said `{text}`")))?;
        let (address, size) = (u64::from_str_radix(address, 16)?, size.trim().parse::<u64>()?);
        if *kind != b'L'
            && let Some(mark) = marks.iter().position(|mark| *mark == address)
        {
            phase = mark;
            continue;
        }
        if phase == 4 {
            continue;
        }
        for at in address / LINE..=(address + size - 1) / LINE {
            let uses = lines.entry(at).or_default();
            uses.loads[phase] += u32::from(*kind != b'S');
            uses.stores[phase] += u32::from(*kind != b'L');
        }
    }
    Ok(lines)
}

fn report(lines: &HashMap<u64, Uses>, names: &BTreeMap<u64, String>) -> Outcome {
    for (case, name) in CASES.into_iter().enumerate() {
        let (one, two) = (case * 2, case * 2 + 1);
        let touched = |phase: usize| lines.values().filter(|uses| uses.loads[phase] + uses.stores[phase] > 0).count();
        ensure!(touched(one) > 100 && touched(two) > 100, "nothing was seen of {name}");
        println!(
            "{name}: {TURNS} turns of {PACKETS}; worker 0 touched {} cache lines, worker 1 {}",
            touched(one),
            touched(two)
        );
        let mut shared: Vec<_> =
            lines.iter().filter(|(_, uses)| uses.stores[one] > 0 && uses.stores[two] > 0).collect();
        shared.sort_by_key(|(at, _)| **at);
        println!("  written by both: {}", shared.len());
        for (at, uses) in shared {
            let what = names.get(at).map_or("(unknown)", String::as_str);
            println!("    {:x}: {} and {} stores: {what}", at * LINE, uses.stores[one], uses.stores[two]);
        }
        let crossed = |uses: &&Uses| {
            let by = |writer: usize, reader: usize| {
                uses.stores[writer] > 0 && uses.stores[reader] == 0 && uses.loads[reader] > 0
            };
            by(one, two) || by(two, one)
        };
        println!("  written by one and read by the other: {}", lines.values().filter(crossed).count());
    }
    Ok(())
}
