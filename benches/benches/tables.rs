//! New tables: what control pays to make and publish them, and what the worker's bursts notice.
//! `cargo bench --package benches --bench tables`.
#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "counts and shares of a measurement")]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use benches::cases::{Size, Way, play_data};
use benches::gateway::Gateway;
use benches::generator::scaling::{Bench, workers};
use benches::network::{self, TCP_PORT, VIP, backend, service};
use benches::packets::TUNNEL_LEN;
use benches::results::{self, Figure, quick};
use benches::stopwatch::timed;
use benches::teams::{Work, data, open_connections};
use datapath::handover::Publisher;
use datapath::service::{Generation, Snapshot, Tables};
use sys::{Device, FramePool, MemoryDevice, clock};
use tests::Outcome;
use wire::Protocol;

const SERVICES: u32 = 10_000;
const PER_SERVICE: u32 = 10;
const FLOWS: usize = 100_000;
const BURST: usize = 64;
/// Of the clock, in about the time of a burst.
const READINGS: usize = 200;
/// Of the open loop: packets a second, flows, how many the cable holds, how many are sent late at once.
const RATE: u64 = 300_000;
const FLOWS_OF_LOOP: usize = 1_000;
const DEPTH: usize = 8_192;
const LATE: u64 = 1_024;

/// 10,000 services with ten backends each, of which all but the first, which has the flows, lack the last `removed` ones.
/// The backends are one object in all generations that are cloned from one description, as control keeps them.
fn many(removed: u32) -> Tables {
    let of = |id: u32| {
        let address = std::net::Ipv4Addr::from(VIP.to_bits() + id / 1_000);
        let port = TCP_PORT + (id % 1_000) as u16;
        let count = if id == 0 { PER_SERVICE } else { PER_SERVICE - removed };
        let backends = (0..count).map(|n| backend(id, PER_SERVICE, n)).collect();
        service(id, address, port, Protocol::Tcp, backends)
    };
    network::tables(1, (0..SERVICES).map(of).collect())
}

/// What one stretch of full load was like.
struct Stretch {
    /// Every burst's processor time in microseconds, sorted.
    bursts: Vec<f64>,
    lost: u64,
}

/// Does `burst` over and over for as long as `busy` says: its processor times in microseconds, sorted.
fn burst_times(busy: &AtomicBool, mut burst: impl FnMut()) -> Vec<f64> {
    let mut times = Vec::with_capacity(1 << 20);
    while busy.load(Ordering::Relaxed) && times.len() < times.capacity() {
        let ((), spent) = timed(&mut burst);
        times.push(spent.as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times
}

/// The worker at full load on this thread, for as long as `busy` says.
fn load(gateway: &mut Gateway, busy: &AtomicBool) -> Stretch {
    let before = gateway.counters();
    let bursts = burst_times(busy, || _ = gateway.turn());
    let after = gateway.counters();
    // ARP of ours is sent on top of what came in.
    let sent = after.tx_packets - before.tx_packets - (after.arp_taught - before.arp_taught);
    Stretch { bursts, lost: (after.rx_packets - before.rx_packets).saturating_sub(sent) }
}

/// What control has to do for one publication, in milliseconds.
struct Price {
    build: f64,
    publish: f64,
}

fn millis(work: impl FnOnce()) -> f64 {
    timed(work).1.as_secs_f64() * 1e3
}

type TablesPublisher = Publisher<Snapshot, crossbeam::queue::ArrayQueue<Arc<Snapshot>>, std::sync::atomic::AtomicU64>;

/// Builds the next generation from the description and gives it to the worker, as `Engine::publish` does.
fn publish(publisher: &mut TablesPublisher, tables: &Tables, generation: u64) -> Price {
    let mut built = None;
    let spent = millis(|| {
        let mut tables = tables.clone();
        tables.generation = Generation(generation);
        built = Snapshot::build(tables).ok();
    });
    let publish = millis(|| {
        let Some(mut snapshot) = built.take() else { return };
        let now = clock::now();
        if let Some(previous) = publisher.newest() {
            snapshot.inherit(previous, now, Duration::from_secs(10));
        }
        publisher.publish(generation, Arc::new(snapshot));
    });
    Price { build: spent, publish }
}

/// A thread that only reads the clock, as often as takes a burst's time: what the machine itself takes away.
fn read_clock(busy: &AtomicBool) -> Vec<f64> {
    burst_times(busy, || (0..READINGS).for_each(|_| _ = black_box(clock::now())))
}

/// `work` on a thread of its own while `control` runs, whose end ends it.
fn beside<T: Send>(control: impl FnOnce(), work: impl FnOnce(&AtomicBool) -> T + Send) -> T {
    let busy = AtomicBool::new(true);
    thread::scope(|scope| {
        let worker = scope.spawn(|| work(&busy));
        control();
        busy.store(false, Ordering::Relaxed);
        match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[derive(Default)]
struct Columns(Vec<(&'static str, &'static str, Vec<f64>)>);

impl Columns {
    fn add(&mut self, name: &'static str, unit: &'static str, value: f64) {
        match self.0.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., values)) => values.push(value),
            None => self.0.push((name, unit, vec![value])),
        }
    }

    fn stretch(&mut self, [p999, max, long, lost]: [&'static str; 4], stretch: &Stretch) {
        self.bursts([p999, max, long], &stretch.bursts);
        self.add(lost, "packets", stretch.lost as f64);
    }

    fn bursts(&mut self, [p999, max, long]: [&'static str; 3], bursts: &[f64]) {
        let at = |share: f64| bursts.get((bursts.len() as f64 * share) as usize).copied();
        self.add(p999, "us", at(0.999).unwrap_or(f64::NAN));
        self.add(max, "us", bursts.last().copied().unwrap_or(f64::NAN));
        self.add(long, "bursts", bursts.iter().filter(|burst| **burst > 200.0).count() as f64);
    }
}

/// Tables are published, but nobody works with them: how long the machine itself keeps a thread, at most.
const CLOCK: [&str; 3] = ["clock_only/burst_p999", "clock_only/burst_max", "clock_only/bursts_over_200us"];
const QUIET: [&str; 4] = ["quiet/burst_p999", "quiet/burst_max", "quiet/bursts_over_200us", "quiet/lost"];
const SAME: [&str; 4] =
    ["publishing/burst_p999", "publishing/burst_max", "publishing/bursts_over_200us", "publishing/lost"];
const OTHERS: [&str; 4] =
    ["replacing/burst_p999", "replacing/burst_max", "replacing/bursts_over_200us", "replacing/lost"];

/// What a sender that does not wait for the worker has seen.
#[derive(Default)]
struct OpenLoop {
    sent: u64,
    /// Of the timetable, what the sender was too late for.
    missed: u64,
    lost: u64,
    /// From sending to arrival, by the wall clock, in microseconds.
    latencies: Vec<f64>,
}

/// Where a segment's payload begins, before the gateway and behind it.
const PAYLOAD: usize = 14 + 20 + 20;
const PAYLOAD_IN_TUNNEL: usize = TUNNEL_LEN + 20 + 20;

/// Segments of open connections at a steady rate through a worker on a thread of its own, while `control` runs. The cable holds 8,192: a worker that
/// is further behind loses what comes.
fn open_loop(tables: &Tables, control: impl FnOnce(&mut TablesPublisher) + Send) -> Outcome<OpenLoop> {
    let mut bench = workers(tables.clone(), 1, 4 * FLOWS_OF_LOOP, DEPTH)?.remove(0);
    let flows = open_connections(&mut bench, 0, FLOWS_OF_LOOP)?;
    let frames = data(Work::Segments, flows.iter()).frames();
    let first = Arc::clone(&bench.tables);
    let mut publisher = TablesPublisher::new(vec![Arc::clone(&bench.shared.desk)], 1, first);
    let Bench { mut worker, mut client, mut task, .. } = bench;
    let (working, sending) = (AtomicBool::new(true), AtomicBool::new(true));
    let mut seen = OpenLoop::default();
    let cpus = sys::allowed_cpus();
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = cpus.first().map(|cpu| sys::pin_current_thread(*cpu));
            while working.load(Ordering::Relaxed) {
                if worker.turn(clock::now()) == 0 {
                    thread::yield_now();
                }
            }
        });
        scope.spawn(|| {
            control(&mut publisher);
            sending.store(false, Ordering::Relaxed);
        });
        send(&mut seen, &frames, &mut client, &mut task, &sending);
        working.store(false, Ordering::Relaxed);
    });
    seen.lost = seen.sent - seen.latencies.len() as u64;
    seen.latencies.sort_by(f64::total_cmp);
    Ok(seen)
}

/// Sends by the timetable and listens, until told to stop and all is there, or a while has passed.
fn send(
    seen: &mut OpenLoop,
    frames: &[Vec<u8>],
    client: &mut MemoryDevice,
    task: &mut MemoryDevice,
    sending: &AtomicBool,
) {
    let (start, mut timetable, mut stopped) = (clock::now(), 0, None);
    let mut pool = FramePool::heap(2 * BURST, 2048);
    let mut burst = Vec::with_capacity(BURST);
    let mut packet = Vec::with_capacity(2048);
    while stopped
        .is_none_or(|at| clock::now() < at + Duration::from_millis(300) && seen.latencies.len() < seen.sent as usize)
    {
        if stopped.is_none() && sending.load(Ordering::Relaxed) {
            let due = clock::now().saturating_sub(start).as_micros() as u64 * RATE / 1_000_000 - timetable;
            timetable += due;
            // What another program's slice has cost is not to come at once.
            seen.missed += due.saturating_sub(LATE);
            for _ in 0..due.min(LATE) {
                packet.clear();
                packet.extend_from_slice(&frames[seen.sent as usize % frames.len()]);
                packet[PAYLOAD..PAYLOAD + 8].copy_from_slice(&(clock::now().as_nanos() as u64).to_be_bytes());
                client.inject(&packet);
                seen.sent += 1;
            }
        } else {
            stopped = stopped.or_else(|| Some(clock::now()));
        }
        while task.rx(&mut pool, &mut burst, BURST) > 0 {
            let now = clock::now().as_nanos() as u64;
            for frame in burst.drain(..) {
                if let Some(stamp) = frame.bytes().get(PAYLOAD_IN_TUNNEL..PAYLOAD_IN_TUNNEL + 8)
                    && let Ok(stamp) = <[u8; 8]>::try_from(stamp)
                    && frame.bytes()[TUNNEL_LEN - 2..TUNNEL_LEN] == [0x08, 0x00]
                {
                    seen.latencies.push(now.saturating_sub(u64::from_be_bytes(stamp)) as f64 / 1e3);
                }
                pool.put(frame);
            }
        }
    }
}

/// Tables come while packets do, and none do.
fn open_loops(columns: &mut Columns, rounds: usize, whole: &Tables, fewer: &Tables) -> Outcome {
    for _ in 0..rounds {
        let quiet = open_loop(whole, |_| thread::sleep(Duration::from_millis(500)))?;
        let busy = open_loop(whole, |publisher| {
            for (generation, tables) in (2..).zip([whole, fewer, whole, whole]) {
                publish(publisher, tables, generation);
                thread::sleep(Duration::from_millis(80));
            }
        })?;
        for (names, seen) in [
            (
                [
                    "open_loop/quiet_lost",
                    "open_loop/quiet_latency_p50",
                    "open_loop/quiet_latency_p999",
                    "open_loop/quiet_latency_max",
                    "open_loop/quiet_missed",
                ],
                quiet,
            ),
            (
                [
                    "open_loop/lost",
                    "open_loop/latency_p50",
                    "open_loop/latency_p999",
                    "open_loop/latency_max",
                    "open_loop/missed",
                ],
                busy,
            ),
        ] {
            let at = |share: f64| seen.latencies.get((seen.latencies.len() as f64 * share) as usize).copied();
            columns.add(names[0], "packets", seen.lost as f64);
            columns.add(names[1], "us", at(0.5).unwrap_or(f64::NAN));
            columns.add(names[2], "us", at(0.999).unwrap_or(f64::NAN));
            columns.add(names[3], "us", seen.latencies.last().copied().unwrap_or(f64::NAN));
            columns.add(names[4], "packets", seen.missed as f64);
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tables: {failure:?}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome {
    let rounds = if quick() { 2 } else { 10 };
    // The second set lacks a backend of every service: publishing it retires 9,999 of them.
    let (whole, fewer) = (many(0), many(1));
    let mut gateway = Gateway::with(FLOWS, whole.clone())?;
    let connections = gateway.establish(FLOWS);
    play_data(&gateway, &connections, Way::ToTask, Size::Small, BURST);
    gateway.run(2_000);
    let first = Arc::clone(&gateway.first);
    let mut publisher = TablesPublisher::new(vec![Arc::clone(&gateway.shared.desk)], 1, first);
    let (mut columns, mut generation) = (Columns::default(), 1);
    for _ in 0..rounds {
        let quiet = beside(|| thread::sleep(Duration::from_millis(300)), |busy| load(&mut gateway, busy));
        columns.stretch(QUIET, &quiet);
        let mut publish_all = |columns: &mut Columns, sets: [&Tables; 2]| {
            for tables in sets {
                generation += 1;
                let price = publish(&mut publisher, tables, generation);
                columns.add("control/build", "ms", price.build);
                columns.add("control/both", "ms", price.build + price.publish);
                columns.add("control/publish", "ms", price.publish);
                thread::sleep(Duration::from_millis(50));
            }
        };
        let clock_only = beside(|| publish_all(&mut columns, [&whole, &whole]), read_clock);
        columns.bursts(CLOCK, &clock_only);
        for (names, sets) in [(SAME, [&whole, &whole]), (OTHERS, [&fewer, &whole])] {
            let noisy = beside(|| publish_all(&mut columns, sets), |busy| load(&mut gateway, busy));
            columns.stretch(names, &noisy);
        }
    }
    drop(gateway);
    open_loops(&mut columns, rounds.min(5), &whole, &fewer)?;
    let figures = columns.0.into_iter().map(|(name, unit, values)| Figure::of(name, unit, values));
    Ok(results::write("tables", &figures.collect::<Vec<_>>())?)
}
