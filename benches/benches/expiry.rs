//! A million open connections expire in a working gateway: what its turns take meanwhile, with everything that an ending
//! brings along (RSTs to both ends, counters, the log of flows) and other traffic at full load.
//! `cargo bench --package benches --bench expiry`.
#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "counts and shares of a measurement")]

use std::error::Error;
use std::time::Duration;

use benches::cases::{Size, Way, play_data};
use benches::gateway::{ESTABLISHED, Gateway};
use benches::results::{self, Figure, quick};
use benches::stopwatch::timed;
use sys::clock;

/// Connections that go on.
const BUSY: usize = 1_000;
const BURST: usize = 64;
/// Turns of the same load before.
const QUIET_TURNS: usize = 20_000;

/// What turns took, in microseconds: of the thread's processor time, and of everybody's.
#[derive(Default)]
struct Turns {
    cpu: Vec<f64>,
    wall: Vec<f64>,
}

impl Turns {
    fn take(&mut self, gateway: &mut Gateway) {
        let before = clock::now();
        let (_, spent) = timed(|| gateway.turn());
        self.wall.push(clock::now().saturating_sub(before).as_secs_f64() * 1e6);
        self.cpu.push(spent.as_secs_f64() * 1e6);
        // The log's reader keeps up.
        gateway.read_log();
    }

    /// Every round does the same in the same turn: what a turn took in its quickest round is its own work, what it took
    /// beyond that was the machine's.
    fn least_of(rounds: &[Self]) -> Vec<f64> {
        let turns = rounds.iter().map(|round| round.cpu.len()).min().unwrap_or(0);
        let least = |turn: usize| rounds.iter().map(|round| round.cpu[turn]).fold(f64::INFINITY, f64::min);
        (0..turns).map(least).collect()
    }
}

/// Values of all rounds, by name.
#[derive(Default)]
struct Columns(Vec<(String, &'static str, Vec<f64>)>);

impl Columns {
    fn add(&mut self, name: String, unit: &'static str, value: f64) {
        match self.0.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., values)) => values.push(value),
            None => self.0.push((name, unit, vec![value])),
        }
    }

    fn turns(&mut self, when: &str, turns: &Turns) {
        self.times(&format!("{when}/turn"), turns.cpu.clone());
        self.times(&format!("{when}/turn_wall"), turns.wall.clone());
    }

    fn times(&mut self, name: &str, mut times: Vec<f64>) {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        self.add(format!("{name}_median"), "us", at(0.5));
        self.add(format!("{name}_p999"), "us", at(0.999));
        self.add(format!("{name}_max"), "us", times.last().copied().unwrap_or(f64::NAN));
        let late = times.iter().filter(|time| **time > 100.0).count();
        self.add(format!("{name}s_over_100us"), "turns", late as f64);
    }
}

fn round(columns: &mut Columns, flows: usize) -> Result<Turns, Box<dyn Error>> {
    let mut gateway = Gateway::logging(flows + BUSY)?;
    let connections = gateway.establish(flows + BUSY);
    gateway.read_log();
    let busy = &connections[..BUSY];
    play_data(&gateway, busy, Way::Both, Size::Small, BURST);
    // All are as old now, but for the busy ones, which speak once more.
    gateway.pass(ESTABLISHED / 2);
    gateway.run(2 * BUSY as u64 / BURST as u64);
    let mut quiet = Turns::default();
    (0..QUIET_TURNS).for_each(|_| quiet.take(&mut gateway));
    columns.turns("quiet", &quiet);
    let (before, counted) = (gateway.flows(), gateway.counters());
    assert_eq!(before, flows + BUSY, "nobody has left");
    gateway.pass(ESTABLISHED / 2 + Duration::from_secs(1));
    let mut expiring = Turns::default();
    let spent = timed(|| {
        while gateway.flows() > BUSY {
            expiring.take(&mut gateway);
        }
    });
    let after = gateway.counters();
    assert_eq!(after.flows_expired - counted.flows_expired, flows as u64, "each has expired");
    assert_eq!(after.drops, counted.drops, "the busy ones have lost nothing");
    columns.add("expiring/turns".into(), "turns", expiring.cpu.len() as f64);
    columns.add("expiring/flows".into(), "M/s", flows as f64 / spent.1.as_secs_f64() / 1e6);
    let resets = after.tx_packets - counted.tx_packets - (after.rx_packets - counted.rx_packets);
    columns.add("expiring/resets_sent".into(), "packets/flow", resets as f64 / flows as f64);
    columns.turns("expiring", &expiring);
    Ok(expiring)
}

fn main() -> Result<(), Box<dyn Error>> {
    let (flows, rounds) = if quick() { (100_000, 1) } else { (1_000_000, 3) };
    let mut columns = Columns::default();
    let rounds = (0..rounds).map(|_| round(&mut columns, flows)).collect::<Result<Vec<_>, _>>()?;
    columns.times("expiring/least_turn", Turns::least_of(&rounds));
    let figures = columns.0.into_iter().map(|(name, unit, values)| Figure::of(&name, unit, values));
    Ok(results::write("expiry", &figures.collect::<Vec<_>>())?)
}
