//! `make bench-sharing`: which cache lines are written by more than one worker. Writes `docs/benchmarks/sharing-DATE.md`; fails
//! when there are others than those that are known, or any while packets are of known flows.
//!
//! valgrind's lackey prints every load and store. Two workers of one gateway take turns, each on a thread of its own, and mark
//! where their turns begin and end by stores to known places; what both of them stored to in their turns is shared. That is
//! exact, the same on any machine, and needs no hardware counters.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use ::tests::lab::run;
use ::tests::{Failure, Outcome, ensure};
use benches::cases::new_flows;
use benches::generator::scaling::{Bench, mailboxes, workers_with};
use benches::network;
use benches::report::sheet::{self, Place};
use benches::results::quick;
use benches::teams::{Work, data, first_client, open, open_connections};
use datapath::protection::{Guard, Protection, Rate, SynCookies};
use datapath::service::{Clients, Persistence, VirtualService};
use sys::{BURST, Device, Frame, FramePool, clock};
use wire::Protocol;

/// What the workers do while they are watched.
const CASES: [&str; 6] = [
    "datagrams of known flows",
    "TCP data of known flows",
    "replies to the worker of their flow",
    "replies to the other worker",
    "packets that open flows",
    "the same, with persistence, both rates, and cookies in reserve",
];
/// Up to here, packets are of known flows and come to the worker of their flow: nothing at all may be written by both.
const APART: usize = 3;
/// From here on, gateways have services with all that remembers clients.
const GUARDED: usize = 5;
/// The phase in which nobody is watched.
const UNWATCHED: usize = 2 * CASES.len();
const TURNS: usize = 4;
const PACKETS: usize = 64;
const LINE: u64 = 64;
const SETTLED: Duration = Duration::from_millis(20);
/// Larger than this, memory is mapped by itself, so that queues and tables can be told apart.
const MAPPED_BYTES: &str = "32768";

/// Where each worker's turns are marked, by case; the last one marks their end.
static MARKS: [AtomicU64; UNWATCHED + 1] = [const { AtomicU64::new(0) }; UNWATCHED + 1];

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

/// Says that memory is known, and whether two workers may write to it.
fn tell(kind: &str, from: usize, bytes: usize, name: &str) {
    println!("{kind} {from} {} {name}", from + bytes);
}

fn tell_value<T>(kind: &str, value: &T, name: &str) {
    tell(kind, std::ptr::from_ref(value).addr(), size_of::<T>(), name);
}

/// Does something, and says what memory it has mapped for itself.
fn telling<T>(name: &str, work: impl FnOnce() -> T) -> Outcome<T> {
    let before = mapped()?;
    let made = work();
    for (from, to) in mapped()? {
        // Grown upwards or downwards, or new.
        let old = before.iter().find(|(start, end)| *start <= to && from <= *end);
        let (old_from, old_to) = old.copied().unwrap_or((to, to));
        for (from, to) in [(from, old_from.clamp(from, to)), (old_to.clamp(from, to), to)] {
            if from < to {
                tell("shared", from, to - from, name);
            }
        }
    }
    Ok(made)
}

/// Anonymous memory of this process, without heap and stacks.
fn mapped() -> Outcome<Vec<(usize, usize)>> {
    let mut all = Vec::new();
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [range, _, _, _, _] = words[..]
            && let Some((from, to)) = range.split_once('-')
        {
            all.push((usize::from_str_radix(from, 16)?, usize::from_str_radix(to, 16)?));
        }
    }
    Ok(all)
}

/// Under valgrind: tells where things are, and lets the workers work.
fn watched() -> Outcome {
    for mark in &MARKS {
        println!("mark {}", std::ptr::from_ref(mark).addr());
    }
    let plain = gateway(network::services_of(2))?;
    let guarded = gateway(guarded_services()?)?;
    let hand = |(plain, guarded)| Hand {
        plain,
        guarded,
        frames: Vec::new(),
        pool: FramePool::heap(2 * BURST, 2048),
        burst: Vec::with_capacity(BURST),
    };
    let mut hands: Vec<Hand> = plain.into_iter().zip(guarded).map(hand).collect();
    prepare(&mut hands)?;
    std::thread::scope(|scope| {
        let hands: Vec<_> = hands
            .iter_mut()
            .enumerate()
            .map(|(index, hand)| {
                let (start, begin) = channel::<(usize, usize)>();
                let (end, done) = channel::<()>();
                scope.spawn(move || {
                    for (case, turn) in begin {
                        hand.take_turn(index, case, turn);
                        if end.send(()).is_err() {
                            return;
                        }
                    }
                });
                (start, done)
            })
            .collect();
        for step in (0..CASES.len()).flat_map(|case| (0..=TURNS).map(move |turn| (case, turn))) {
            for (start, done) in &hands {
                start.send(step)?;
                done.recv()?;
            }
        }
        Ok(())
    })
}

/// Two workers and what they share.
fn gateway(services: Vec<VirtualService>) -> Outcome<Vec<Bench>> {
    let boxes = telling("queue of a mailbox", || mailboxes(2))?;
    for one in boxes.iter() {
        tell_value("shared", one, "mailbox");
    }
    for service in &services {
        tell_value("shared", &*service.turn, "whose turn it is (round robin)");
        for backend in &service.backends {
            tell_value("known", &*backend.stats, "counters of a backend");
            for stats in [0, 1].iter().filter_map(|worker| backend.stats.worker(*worker)) {
                tell_value("known", stats, "a worker's counters of a backend");
            }
        }
        for counts in [0, 1].iter().filter_map(|worker| service.protection.guard.worker(*worker)) {
            tell_value("known", counts, "a worker's counters of a service");
        }
    }
    let benches = workers_with(network::tables(1, services), &boxes, 4096, 1024)?;
    // Both counts lie in front of the value.
    tell("known", Arc::as_ptr(&benches[0].tables).addr() - 16, 16, "reference count of the tables");
    for bench in &benches {
        tell_value("known", &*bench.counters, "counters of a worker");
    }
    Ok(benches)
}

/// Services that remember clients in every way that there is for IPv4.
fn guarded_services() -> Outcome<Vec<VirtualService>> {
    let mut services = network::services_of(2);
    for service in &mut services {
        let clients = telling("clients and their backends", || Arc::new(Clients::new(1 << 14)))?;
        tell_value("shared", &*clients, "clients that were forgotten early");
        service.persistence =
            Some(Persistence { time: Duration::from_mins(5), prefix: 32, prefix_six: 64, grouped: false, clients });
        let guard = Arc::new(Guard::new(2));
        telling("buckets of sources", || guard.prepare_sources())?;
        tell_value("shared", &*guard, "bucket of a service");
        let rate = Rate::new(1_000_000, Duration::from_secs(1), 1_000_000);
        service.protection = Protection {
            rate: Some(rate),
            rate_per_source: Some(rate),
            syn_cookies: SynCookies::Above { half_open: 1_000_000 },
            guard,
            ..Protection::default()
        };
    }
    Ok(services)
}

/// One worker of each gateway, and what they are to hear: by case, for all turns.
struct Hand {
    plain: Bench,
    guarded: Bench,
    frames: Vec<Vec<Vec<u8>>>,
    /// To take what has come out of the gateway.
    pool: FramePool,
    burst: Vec<Frame>,
}

/// Opens flows, and makes the packets.
fn prepare(hands: &mut [Hand]) -> Outcome {
    let total = PACKETS * (TURNS + 1);
    for (index, hand) in hands.iter_mut().enumerate() {
        let udp = open(&mut hand.plain, Protocol::Udp, index, PACKETS)?;
        let tcp = open_connections(&mut hand.plain, index, PACKETS)?;
        open(&mut hand.guarded, Protocol::Udp, index, PACKETS)?;
        let frames =
            |work, flows: &[benches::gateway::Connection]| data(work, flows.iter().cycle().take(total)).frames();
        let fresh = || new_flows(Protocol::Tcp, first_client(index) + 10_000, total).frames();
        let replies = frames(Work::Replies { away: 0 }, &tcp);
        hand.frames = vec![
            frames(Work::Datagrams, &udp),
            frames(Work::Segments, &tcp),
            replies.clone(),
            replies,
            fresh(),
            fresh(),
        ];
    }
    let [one, two] = hands else { return Err(Failure::new("two workers are needed")) };
    std::mem::swap(&mut one.frames[3], &mut two.frames[3]);
    Ok(())
}

impl Hand {
    /// Turn 0 of a case is not watched.
    fn take_turn(&mut self, index: usize, case: usize, turn: usize) {
        let bench = if case < GUARDED { &mut self.plain } else { &mut self.guarded };
        let end = if matches!(case, 2 | 3) { &mut bench.task } else { &mut bench.client };
        for packet in self.frames[case].iter().skip(turn * PACKETS).take(PACKETS) {
            end.inject(packet);
        }
        // All others are to be asleep by then, or what they do on their way there would be taken for this worker's.
        std::thread::sleep(SETTLED);
        let now = clock::now();
        let (begin, over) = (&MARKS[if turn == 0 { UNWATCHED } else { case * 2 + index }], &MARKS[UNWATCHED]);
        begin.store(1, Ordering::SeqCst);
        bench.worker.turn(now);
        over.store(1, Ordering::SeqCst);
        for end in [&mut bench.client, &mut bench.task] {
            // Buffers go back to the worker's end of the cable, so that no memory is asked for in a turn.
            while end.rx(&mut self.pool, &mut self.burst, BURST) > 0 {
                self.pool.put_all(self.burst.drain(..));
            }
        }
    }
}

/// What was done to a cache line in each of the marked phases.
#[derive(Clone, Copy, Default)]
struct Uses {
    loads: [u32; UNWATCHED],
    stores: [u32; UNWATCHED],
}

fn watch() -> Outcome {
    let log = std::env::temp_dir().join(format!("sluicegate-sharing-{}", std::process::id()));
    let mut valgrind = Command::new("valgrind");
    valgrind.env("MALLOC_MMAP_THRESHOLD_", MAPPED_BYTES);
    valgrind.args(["--tool=lackey", "--trace-mem=yes", "--basic-counts=no"]);
    valgrind.arg(format!("--log-file={}", log.display())).arg(std::env::current_exe()?).arg("watched");
    let told = run(&mut valgrind);
    let result = told.and_then(|told| {
        let labels = labels(&told)?;
        report(&uses(&log, &labels.marks)?, &labels)
    });
    // Gone already is as good.
    let _ = fs::remove_file(&log);
    result
}

/// What the watched program has said.
#[derive(Default)]
struct Labels {
    marks: Vec<u64>,
    /// By first line: the line after the last, whether two may write there, and what it is.
    lines: BTreeMap<u64, (u64, bool, String)>,
}

impl Labels {
    fn of(&self, line: u64) -> Option<(bool, &str)> {
        let (_, (end, shared, name)) = self.lines.range(..=line).next_back()?;
        (line < *end).then_some((*shared, name))
    }
}

fn labels(told: &str) -> Outcome<Labels> {
    let mut labels = Labels::default();
    for line in told.lines() {
        let mut words = line.splitn(4, ' ');
        let (kind, from) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().parse::<u64>()?);
        if kind == "mark" {
            labels.marks.push(from);
            continue;
        }
        let to = words.next().unwrap_or_default().parse::<u64>()?;
        let name = words.next().unwrap_or_default().to_owned();
        labels.lines.insert(from / LINE, (to.div_ceil(LINE), kind == "shared", name));
    }
    ensure!(labels.marks.len() == MARKS.len(), "the watched program said:\n{told}");
    Ok(labels)
}

/// Reads lackey's log: ` L`, ` S` and ` M` lines with an address in hex and a size.
fn uses(log: &Path, marks: &[u64]) -> Outcome<HashMap<u64, Uses>> {
    let mut lines: HashMap<u64, Uses> = HashMap::new();
    let mut phase = UNWATCHED;
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
        if phase == UNWATCHED {
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

/// What one case has shown.
struct Finding {
    touched: [usize; 2],
    /// Lines written by both, by name: how many, and all stores.
    both: BTreeMap<String, (usize, u32)>,
    crossed: usize,
    /// Lines that both must not write to: those that nobody has listed, and of packets that share nothing, all.
    forbidden: Vec<String>,
}

fn find(lines: &HashMap<u64, Uses>, labels: &Labels, case: usize) -> Finding {
    let phases = [case * 2, case * 2 + 1];
    let used = |uses: &Uses, phase: usize| uses.loads[phase] + uses.stores[phase] > 0;
    let mut finding = Finding {
        touched: phases.map(|phase| lines.values().filter(|uses| used(uses, phase)).count()),
        both: BTreeMap::new(),
        crossed: 0,
        forbidden: Vec::new(),
    };
    for (at, uses) in lines {
        let [one, two] = phases.map(|phase| uses.stores[phase]);
        if one > 0 && two > 0 {
            let (shared, name) = labels.of(*at).unwrap_or((false, "(unknown)"));
            let sum = finding.both.entry(name.to_owned()).or_default();
            *sum = (sum.0 + 1, sum.1 + one + two);
            if !shared || case < APART {
                finding.forbidden.push(format!("{}: {:x}, {one} and {two} stores: {name}", CASES[case], at * LINE));
            }
        } else if (one > 0 && uses.loads[phases[1]] > 0) || (two > 0 && uses.loads[phases[0]] > 0) {
            finding.crossed += 1;
        }
    }
    finding
}

fn report(lines: &HashMap<u64, Uses>, labels: &Labels) -> Outcome {
    let findings: Vec<Finding> = (0..CASES.len()).map(|case| find(lines, labels, case)).collect();
    for (finding, name) in findings.iter().zip(CASES) {
        ensure!(finding.touched.iter().all(|count| *count > 100), "nothing was seen of {name}");
    }
    let place = Place::here();
    let page = page(&place, &findings);
    println!("{page}");
    sheet::write(&sheet::dir(quick()), &format!("sharing-{}", place.date), &page)?;
    let forbidden: Vec<&str> =
        findings.iter().flat_map(|finding| finding.forbidden.iter().map(String::as_str)).collect();
    ensure!(forbidden.is_empty(), "lines that both workers wrote to and must not:\n  {}", forbidden.join("\n  "));
    Ok(())
}

fn page(place: &Place, findings: &[Finding]) -> String {
    let rows = findings.iter().zip(CASES).map(|(finding, name)| {
        let both: usize = finding.both.values().map(|(lines, _)| lines).sum();
        vec![
            name.to_owned(),
            finding.touched[0].to_string(),
            finding.touched[1].to_string(),
            both.to_string(),
            finding.forbidden.len().to_string(),
            finding.crossed.to_string(),
            if both == 0 { "met".into() } else { "**not met**".into() },
        ]
    });
    let head = [
        "packets",
        "lines touched by worker 0",
        "by worker 1",
        "written by both",
        "of them not allowed",
        "written by one, read by the other",
        "none written by two",
    ];
    let which = findings.iter().zip(CASES).flat_map(|(finding, case)| {
        finding.both.iter().map(move |(name, (lines, stores))| {
            vec![case.to_owned(), name.clone(), lines.to_string(), stores.to_string()]
        })
    });
    format!(
        "{}{TURNS} turns of {PACKETS} packets for each worker and case.\n\n{}\n## Cache lines\n\n{}\n## Which lines both write\n\n{}",
        place.head("What workers share", "make bench-sharing"),
        include_str!("../report/sharing.md"),
        sheet::table(&head, rows),
        sheet::table(&["packets", "what", "lines", "stores"], which)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A turn of round robin is listed, and is no excuse for packets that open no flow.
    #[test]
    fn known_flows_may_share_nothing_and_others_what_is_listed() {
        let mut labels = Labels::default();
        labels.lines.insert(7, (8, true, "whose turn it is".into()));
        let forbidden = |case: usize, line: u64| {
            let mut uses = Uses::default();
            (uses.stores[case * 2], uses.stores[case * 2 + 1]) = (1, 1);
            find(&HashMap::from([(line, uses)]), &labels, case).forbidden.len()
        };
        let counts = |line| [0, APART - 1, APART, CASES.len() - 1].map(|case| forbidden(case, line));
        assert_eq!((counts(7), counts(8)), ([1, 1, 0, 0], [1; 4]));
    }
}
