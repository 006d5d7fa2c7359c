//! One worker and two: what a packet costs each, by kind of work.
//!
//! Each worker's thread feeds its devices by pieces that caches hold, lets the worker work, and empties them; all begin at once.
//! Two workers of one gateway are compared with one, and with two gateways that have nothing in common: what these two cost
//! one another is the machine's doing. Time is processor time of the turns in which a worker found something to do, so that
//! neither the feeding nor others on the machine count; replies may come to the worker that has their flow, or to the other one.

#![allow(clippy::cast_precision_loss, reason = "counts of a measurement")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use ::tests::{Failure, Outcome, ensure};
use datapath::counters::Counters;
use sys::clock;
use wire::Protocol;

use crate::cases::new_flows;
use crate::gateway::{Connection, read_connection};
use crate::generator::scaling::{Bench, workers};
use crate::network::{self, BACKENDS, OVERLAY};
use crate::packets::{self, Segment};
use crate::stopwatch::timed;
use crate::traffic::{Template, Traffic};

/// Flows of each worker.
pub const FLOWS: usize = 1_000;
/// Packets injected at a time while flows are opened.
const PIECE: usize = 64;
/// Packets injected at a time while time is taken.
const HELPING: usize = 256;
/// Packets that may be on their way in all workers together: what is handed over waits in a mailbox, which has room for more.
const UNDER_WAY: u64 = 1_024;
/// A round that has not ended then has lost something without counting it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who works at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Team {
    /// One worker.
    One,
    /// Two workers of one gateway.
    Two,
    /// Two workers of two gateways.
    Strangers,
}

impl Team {
    /// All teams.
    pub const ALL: [Team; 3] = [Team::One, Team::Two, Team::Strangers];

    /// As the page says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Team::One => "one worker",
            Team::Two => "two workers of one gateway",
            Team::Strangers => "two workers of two gateways",
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Datagrams of known flows, client to task.
    Datagrams,
    /// TCP data, client to task.
    Segments,
    /// TCP data, task to client; so many of a hundred come to the worker that does not have their flow.
    Replies {
        /// Percent.
        away: u32,
    },
}

impl Work {
    /// All of it.
    pub const ALL: [Work; 5] = [
        Work::Datagrams,
        Work::Segments,
        Work::Replies { away: 0 },
        Work::Replies { away: 50 },
        Work::Replies { away: 100 },
    ];

    /// As the page says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Work::Datagrams => "UDP, client to task",
            Work::Segments => "TCP, client to task",
            Work::Replies { away: 0 } => "TCP, task to client",
            Work::Replies { away: 100 } => "TCP, task to client, all handed over",
            Work::Replies { .. } => "TCP, task to client, half handed over",
        }
    }

    /// Whether a team can do it: one worker has nobody to hand over to.
    #[must_use]
    pub fn suits(self, team: Team) -> bool {
        team == Team::Two || !matches!(self, Work::Replies { away } if away > 0)
    }
}

/// What one round has shown.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Nanoseconds of processor time a packet.
    pub nanos: f64,
    /// Packets a second of all workers, by the wall clock, in which the devices are also fed and emptied.
    pub rate: f64,
}

/// A team with its open flows.
pub struct Crew {
    benches: Vec<Bench>,
    tcp: Vec<Vec<Connection>>,
    udp: Vec<Vec<Connection>>,
}

impl Crew {
    /// The team.
    ///
    /// # Errors
    /// The tables contradict themselves, or flows could not be opened.
    pub fn new(team: Team) -> Outcome<Crew> {
        let gateway = |count| {
            let tables = network::tables(1, network::services_of(count));
            workers(tables, count, 4 * FLOWS, 2 * UNDER_WAY as usize)
        };
        let benches = match team {
            Team::One => gateway(1)?,
            Team::Two => gateway(2)?,
            Team::Strangers => [gateway(1)?, gateway(1)?].into_iter().flatten().collect(),
        };
        let mut crew = Crew { benches, tcp: Vec::new(), udp: Vec::new() };
        for (index, bench) in crew.benches.iter_mut().enumerate() {
            crew.tcp.push(open_connections(bench, index, FLOWS)?);
            crew.udp.push(open(bench, Protocol::Udp, index, FLOWS)?);
        }
        Ok(crew)
    }

    /// Does the work once: `packets` packets for each worker.
    ///
    /// # Errors
    /// Packets were dropped or vanished, or a thread could not be started.
    pub fn round(&mut self, work: Work, packets: usize, cpus: &[usize]) -> Outcome<Round> {
        let count = self.benches.len();
        let mut arrivals = vec![Vec::with_capacity(packets); count];
        for index in 0..count {
            for (to, frame) in self.frames(work, index, packets) {
                arrivals[to].push(frame);
            }
        }
        let counters: Vec<Arc<Counters>> = self.benches.iter().map(|bench| Arc::clone(&bench.counters)).collect();
        let dropped_before = counters.iter().map(|one| dropped(one)).sum::<u64>();
        let tally = Tally::new(counters, (packets * count) as u64);
        let (start, begin) = (Barrier::new(count), clock::now());
        let times: Vec<Outcome<Duration>> = std::thread::scope(|scope| {
            let (start, tally) = (&start, &tally);
            let play = move |bench: &mut Bench, frames: &[Vec<u8>], cpu: usize| {
                let _ = sys::pin_current_thread(cpu);
                start.wait();
                play(bench, frames, matches!(work, Work::Replies { .. }), tally)
            };
            let parts = self.benches.iter_mut().zip(&arrivals).zip(cpus.iter().copied().cycle());
            let threads: Vec<_> =
                parts.map(|((bench, frames), cpu)| scope.spawn(move || play(bench, frames, cpu))).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Outcome<Duration>>| {
                thread.join().unwrap_or_else(|_| Err(Failure::new("a worker failed")))
            };
            threads.into_iter().map(join).collect()
        });
        let wall = clock::now().saturating_sub(begin);
        let spent = times.into_iter().sum::<Outcome<Duration>>()?;
        // A packet that is dropped costs less than one that is sent: together they would be no packet's time.
        let dropped = tally.counters.iter().map(|one| dropped(one)).sum::<u64>() - dropped_before;
        ensure!(dropped == 0, "{dropped} packets of {work:?} were dropped: {:?}", reasons(&tally.counters));
        let total = tally.total as f64;
        Ok(Round { nanos: spent.as_secs_f64() * 1e9 / total, rate: total / wall.as_secs_f64() })
    }

    /// What the clients or tasks of a worker's flows send, and to which worker it comes.
    fn frames(&self, work: Work, index: usize, packets: usize) -> Vec<(usize, Vec<u8>)> {
        let (flows, away) = match work {
            Work::Datagrams => (&self.udp[index], 0),
            Work::Segments => (&self.tcp[index], 0),
            Work::Replies { away } => (&self.tcp[index], away),
        };
        let traffic = data(work, flows.iter().cycle().take(packets));
        let other = (index + 1) % self.benches.len();
        let to = |n: usize| if (n as u32 * 37) % 100 < away { other } else { index };
        traffic.frames().into_iter().enumerate().map(|(n, frame)| (to(n), frame)).collect()
    }
}

/// Packets of known flows.
pub fn data<'a>(work: Work, flows: impl Iterator<Item = &'a Connection>) -> Traffic {
    let mut traffic = Traffic::new(match work {
        Work::Datagrams => vec![packets::datagram(64)],
        Work::Segments => vec![packets::from_client(Segment::Data(64))],
        Work::Replies { .. } => (0..BACKENDS).map(|n| packets::from_task(n, Segment::Data(64))).collect(),
    });
    for flow in flows {
        if matches!(work, Work::Replies { .. }) {
            traffic.push(usize::from(flow.backend), OVERLAY, flow.snat_port);
        } else {
            let (address, port) = network::client(flow.client as usize);
            traffic.push(0, address, port);
        }
    }
    traffic
}

/// Packets that are through: sent on, or dropped and counted. ARP of ours is sent on top.
fn finished(counters: &Counters) -> u64 {
    let now = counters.read();
    now.tx_packets.saturating_sub(now.arp_taught) + dropped(counters)
}

/// What was ever dropped, by reason.
fn reasons(counters: &[Arc<Counters>]) -> Vec<(&'static str, u64)> {
    let all = counters.iter().flat_map(|one| one.read().drops.iter().map(|(name, n)| (*name, *n)).collect::<Vec<_>>());
    all.filter(|(_, n)| *n > 0).collect()
}

fn dropped(counters: &Counters) -> u64 {
    counters.read().drops.iter().map(|(_, n)| n).sum()
}

/// How far all workers together are.
struct Tally {
    counters: Vec<Arc<Counters>>,
    /// What they had finished before.
    before: u64,
    /// What they shall finish.
    total: u64,
    injected: AtomicU64,
}

impl Tally {
    fn new(counters: Vec<Arc<Counters>>, total: u64) -> Tally {
        let before = counters.iter().map(|one| finished(one)).sum();
        Tally { counters, before, total, injected: AtomicU64::new(0) }
    }

    fn done(&self) -> u64 {
        self.counters.iter().map(|one| finished(one)).sum::<u64>() - self.before
    }

    /// Whether so many more may come.
    fn has_room(&self, more: u64) -> bool {
        self.injected.load(Ordering::Relaxed) + more <= self.done() + UNDER_WAY
    }
}

/// Feeds one worker and lets it work until all workers are done; the processor time of the turns that did something.
fn play(bench: &mut Bench, frames: &[Vec<u8>], from_tasks: bool, tally: &Tally) -> Outcome<Duration> {
    let (mut spent, deadline) = (Duration::ZERO, clock::now() + PATIENCE);
    let mut helpings = frames.chunks(HELPING).peekable();
    loop {
        if let Some(helping) = helpings.next_if(|helping| tally.has_room(helping.len() as u64)) {
            tally.injected.fetch_add(helping.len() as u64, Ordering::Relaxed);
            let end = if from_tasks { &mut bench.task } else { &mut bench.client };
            ensure!(helping.iter().all(|frame| end.inject(frame)), "the cable is too short");
        }
        let mut worked = false;
        loop {
            let now = clock::now();
            let (taken, time) = timed(|| bench.worker.turn(now));
            if taken == 0 {
                ensure!(now < deadline, "packets have vanished");
                break;
            }
            (worked, spent) = (true, spent + time);
            // The other worker may hand over more and more.
            while bench.client.collect().is_some() {}
            while bench.task.collect().is_some() {}
        }
        if !worked && helpings.peek().is_none() && tally.done() >= tally.total {
            return Ok(spent);
        }
        if !worked {
            std::thread::yield_now();
        }
    }
}

/// The first client of a worker's flows.
#[must_use]
pub const fn first_client(index: usize) -> usize {
    index * 20_000
}

/// Opens so many flows of a worker: they are in the order of their clients.
///
/// # Errors
/// Not all of them came out where tasks are.
pub fn open(bench: &mut Bench, protocol: Protocol, index: usize, count: usize) -> Outcome<Vec<Connection>> {
    let first = first_client(index);
    let mut flows = Vec::with_capacity(count);
    for frame in through(bench, &new_flows(protocol, first, count).frames())? {
        flows.extend(read_connection(&frame, (first + flows.len()) as u32));
    }
    ensure!(flows.len() == count, "{} of {count} flows were opened", flows.len());
    Ok(flows)
}

/// The same with the whole handshake of TCP.
///
/// # Errors
/// As [`open`].
pub fn open_connections(bench: &mut Bench, index: usize, count: usize) -> Outcome<Vec<Connection>> {
    let flows = open(bench, Protocol::Tcp, index, count)?;
    let mut syn_acks =
        Traffic::new((0..BACKENDS).map(|n| packets::from_task(n, Segment::SynAck)).collect::<Vec<Template>>());
    for flow in &flows {
        syn_acks.push(usize::from(flow.backend), OVERLAY, flow.snat_port);
    }
    for piece in syn_acks.frames().chunks(PIECE) {
        ensure!(piece.iter().all(|frame| bench.task.inject(frame)), "the cable is too short");
        bench.worker.turn(clock::now());
    }
    let acks = data(Work::Segments, flows.iter()).frames();
    ensure!(through(bench, &acks)?.len() >= count, "connections were not established");
    while bench.client.collect().is_some() {}
    Ok(flows)
}

/// Lets a worker hear clients; what comes out where tasks are.
fn through(bench: &mut Bench, frames: &[Vec<u8>]) -> Outcome<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    for piece in frames.chunks(PIECE) {
        ensure!(piece.iter().all(|frame| bench.client.inject(frame)), "the cable is too short");
        bench.worker.turn(clock::now());
        out.extend(std::iter::from_fn(|| bench.task.collect()));
    }
    Ok(out)
}
