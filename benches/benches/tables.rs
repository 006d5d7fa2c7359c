//! New tables: what control pays to make and publish them, and what the worker's bursts notice.
//! `cargo bench --package benches --bench tables`.
#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "counts and shares of a measurement")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use benches::cases::{Size, Way, play_data};
use benches::gateway::Gateway;
use benches::network::{self, TCP_PORT, VIP, backend, service};
use benches::results::{self, Figure, quick};
use benches::stopwatch::timed;
use datapath::handover::Publisher;
use datapath::service::{Snapshot, Tables};
use sys::clock;
use wire::Protocol;

const SERVICES: u32 = 10_000;
const PER_SERVICE: u32 = 10;
const FLOWS: usize = 100_000;
const BURST: usize = 64;

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

/// The worker at full load on this thread, for as long as `busy` says.
fn load(gateway: &mut Gateway, busy: &AtomicBool) -> Stretch {
    let before = gateway.counters();
    let mut bursts = Vec::with_capacity(1 << 20);
    while busy.load(Ordering::Relaxed) && bursts.len() < bursts.capacity() {
        let (_, spent) = timed(|| gateway.turn());
        bursts.push(spent.as_secs_f64() * 1e6);
    }
    let after = gateway.counters();
    // ARP of ours is sent on top of what came in.
    let sent = after.tx_packets - before.tx_packets - (after.arp_taught - before.arp_taught);
    bursts.sort_by(f64::total_cmp);
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
    let mut tables = tables.clone();
    tables.generation = datapath::service::Generation(generation);
    let mut built = None;
    let spent = millis(|| built = Snapshot::build(tables).ok());
    let publish = millis(|| {
        let Some(mut snapshot) = built.take() else { return };
        let now = clock::now();
        if let Some(previous) = publisher.newest() {
            snapshot.inherit(previous, now, now + Duration::from_secs(15));
        }
        publisher.publish(generation, Arc::new(snapshot));
    });
    Price { build: spent, publish }
}

/// One stretch of load; `control` runs beside it and ends it.
fn stretch(gateway: Gateway, control: impl FnOnce()) -> (Gateway, Stretch) {
    let busy = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&busy);
    let mut gateway = gateway;
    let worker = thread::spawn(move || {
        let stretch = load(&mut gateway, &seen);
        (gateway, stretch)
    });
    control();
    busy.store(false, Ordering::Relaxed);
    match worker.join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
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

    fn stretch(&mut self, names: [&'static str; 4], stretch: &Stretch) {
        let at = |share: f64| stretch.bursts.get((stretch.bursts.len() as f64 * share) as usize).copied();
        self.add(names[0], "us", at(0.999).unwrap_or(f64::NAN));
        self.add(names[1], "us", stretch.bursts.last().copied().unwrap_or(f64::NAN));
        self.add(names[2], "bursts", stretch.bursts.iter().filter(|burst| **burst > 200.0).count() as f64);
        self.add(names[3], "packets", stretch.lost as f64);
    }
}

const QUIET: [&str; 4] = ["quiet/burst_p999", "quiet/burst_max", "quiet/bursts_over_200us", "quiet/lost"];
const SAME: [&str; 4] =
    ["publishing/burst_p999", "publishing/burst_max", "publishing/bursts_over_200us", "publishing/lost"];
const OTHERS: [&str; 4] =
    ["replacing/burst_p999", "replacing/burst_max", "replacing/bursts_over_200us", "replacing/lost"];

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = if quick() { 2 } else { 10 };
    // The second set lacks a backend of every service: publishing it retires 9,999 of them.
    let (whole, fewer) = (many(0), many(1));
    let mut gateway = Gateway::with(FLOWS, whole.clone())?;
    let connections = gateway.establish(FLOWS);
    play_data(&gateway, &connections, Way::ToTask, Size::Small, BURST);
    gateway.run(2_000);
    let first = Arc::new(Snapshot::build(whole.clone())?);
    let mut publisher = TablesPublisher::new(vec![Arc::clone(&gateway.shared.desk)], 1, first);
    let (mut columns, mut generation) = (Columns::default(), 1);
    for _ in 0..rounds {
        let (back, quiet) = stretch(gateway, || thread::sleep(Duration::from_millis(300)));
        gateway = back;
        columns.stretch(QUIET, &quiet);
        for (names, sets) in [(SAME, [&whole, &whole]), (OTHERS, [&fewer, &whole])] {
            let (back, noisy) = stretch(gateway, || {
                for tables in sets {
                    generation += 1;
                    let price = publish(&mut publisher, tables, generation);
                    columns.add("control/build", "ms", price.build);
                    columns.add("control/publish", "ms", price.publish);
                    thread::sleep(Duration::from_millis(50));
                }
            });
            gateway = back;
            columns.stretch(names, &noisy);
        }
    }
    let figures = columns.0.into_iter().map(|(name, unit, values)| Figure::of(name, unit, values));
    Ok(results::write("tables", &figures.collect::<Vec<_>>())?)
}
