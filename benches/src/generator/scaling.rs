//! One worker and two: how much faster two are, and what of the rest is the workers' fault.
//!
//! Nothing but workers runs while time is taken: their devices are filled beforehand, all begin at once, and each stops its own
//! watch when it has forwarded everything. Two workers of one gateway are compared with one, and with two gateways that have
//! nothing in common: what these two cost one another is the machine's doing.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use ::tests::{Failure, Outcome, ensure};
use conntrack::{Conntrack, Timeouts};
use crossbeam::queue::ArrayQueue;
use datapath::SnatPorts;
use datapath::core::{Core, CoreParts, InterfaceInfo, Role, SlotInfo};
use datapath::counters::Counters;
use datapath::exchange::{Exchange, Mailbox};
use datapath::handover::Desk;
use datapath::probes::Probes;
use datapath::service::{InterfaceIndex, Snapshot};
use datapath::worker::{Shared, TablesDesk, Worker};
use sys::{FramePool, LinkType, MemoryDevice, clock};

use super::flows::{Rotation, Space};
use super::gateway::{slots, tables};
use super::profile::{Profile, Stream};
use super::stamp::Stamp;
use super::template::Template;

const FRAMES: usize = 1024;

/// A worker, its outer ends, and what it counts. Workers that run stand on stacks of their own; here they shall share no line either.
#[repr(align(128))]
pub struct Bench {
    /// The worker.
    pub worker: Worker,
    /// Where clients are.
    pub client: MemoryDevice,
    /// Where tasks are.
    pub task: MemoryDevice,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// The tables of all workers.
    pub tables: Arc<Snapshot>,
}

/// The workers of one gateway, not running.
///
/// # Errors
/// The profile makes no tables.
pub fn workers(profile: &Profile, count: usize, depth: usize) -> Outcome<Vec<Bench>> {
    let snapshot = Arc::new(Snapshot::build(tables(profile, count))?);
    let boxes: Arc<[Mailbox]> = (0..count).map(|_| Mailbox::new(FRAMES, None)).collect();
    let flows = (profile.flows() as usize * 5 / 4 / count).max(1024);
    Ok((0..count).map(|index| worker(index, &snapshot, &boxes, flows, depth)).collect())
}

fn worker(index: usize, snapshot: &Arc<Snapshot>, boxes: &Arc<[Mailbox]>, flows: usize, depth: usize) -> Bench {
    let (front, client) = sys::memory_pair(depth);
    let (back, task) = sys::memory_pair(depth);
    let counters = Arc::new(Counters::default());
    let link = LinkType::Ethernet;
    let role = |interface| Role::Interface(InterfaceIndex(interface));
    let everywhere = InterfaceInfo { link, workers: (0..boxes.len()).collect() };
    let core = Core::new(CoreParts {
        index,
        conntrack: Conntrack::new(flows, Timeouts::default(), 7 + index as u64),
        counters: Arc::clone(&counters),
        pool: FramePool::heap(FRAMES, 2048),
        slots: [0, 1]
            .map(|n| SlotInfo { role: role(n), link, steers: false, cuts_segments: false, ready: true })
            .into(),
        interfaces: vec![everywhere.clone(), everywhere],
        exchange: Exchange::new(index, Arc::clone(boxes)),
        ports: SnatPorts { overlay: 1024..=65_535, plain: 1024..=32_767 },
        probes: Arc::new(Probes::none()),
        surrogates: Arc::new(datapath::Surrogates::new(0)),
        epoch_millis: 0,
    });
    let desk: Arc<TablesDesk> = Arc::new(Desk::new(ArrayQueue::new(1), AtomicU64::new(1)));
    let worker = Worker::new(core, Arc::clone(snapshot), slots(front, back), Arc::new(Shared::new(desk)));
    Bench { worker, client, task, counters, tables: Arc::clone(snapshot) }
}

impl Bench {
    /// Runs the worker until it has received `packets` packets in all; gives the time that it took.
    fn drain(&mut self, packets: u64) -> Duration {
        let start = clock::now();
        while self.counters.rx_packets.get() < packets {
            self.worker.turn(clock::now());
        }
        clock::now().saturating_sub(start)
    }

    /// Takes everything that the worker has sent off its devices.
    fn empty(&mut self, scratch: &mut (FramePool, Vec<sys::Frame>)) -> usize {
        let mut total = 0;
        for end in [&mut self.client, &mut self.task] {
            loop {
                let count = sys::Device::rx(end, &mut scratch.0, &mut scratch.1, sys::BURST);
                scratch.0.put_all(scratch.1.drain(..));
                if count == 0 {
                    break;
                }
                total += count;
            }
        }
        total
    }
}

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

/// A team with its packets.
pub struct Players {
    benches: Vec<Bench>,
    frames: Vec<Vec<Vec<u8>>>,
    rounds: u64,
}

impl Players {
    /// The team; each of its workers has `packets` packets of its own flows in each round.
    ///
    /// # Errors
    /// The profile makes no tables or no packets.
    pub fn new(profile: &Profile, team: Team, packets: usize) -> Outcome<Players> {
        let depth = packets + 256;
        let benches = match team {
            Team::One => workers(profile, 1, depth)?,
            Team::Two => workers(profile, 2, depth)?,
            Team::Strangers => {
                [workers(profile, 1, depth)?, workers(profile, 1, depth)?].into_iter().flatten().collect()
            }
        };
        let frames = (0..benches.len()).map(|index| frames(profile, packets, index as u64)).collect::<Outcome<_>>()?;
        Ok(Players { benches, frames, rounds: 0 })
    }

    /// One round: packets a second of all workers together, as the slowest's watch has it.
    ///
    /// # Errors
    /// A packet was lost, or a thread could not be started.
    pub fn round(&mut self, cpus: &[usize]) -> Outcome<f64> {
        self.rounds += 1;
        let packets = self.frames.first().map_or(0, Vec::len);
        for (bench, frames) in self.benches.iter_mut().zip(&self.frames) {
            let all = frames.iter().all(|frame| bench.client.inject(frame));
            ensure!(all, "the cable is too short");
        }
        let start = Barrier::new(self.benches.len());
        let (rounds, start) = (self.rounds, &start);
        let times: Vec<Option<Duration>> = std::thread::scope(|scope| {
            let play = |(bench, cpu): (&'_ mut Bench, usize)| {
                let _ = sys::pin_current_thread(cpu);
                start.wait();
                bench.drain(rounds * packets as u64)
            };
            let cpus = cpus.iter().copied().cycle();
            let threads: Vec<_> =
                self.benches.iter_mut().zip(cpus).map(|pair| scope.spawn(move || play(pair))).collect();
            threads.into_iter().map(|thread| thread.join().ok()).collect()
        });
        let mut scratch = (FramePool::heap(128, 2048), Vec::new());
        for bench in &mut self.benches {
            let forwarded = bench.empty(&mut scratch);
            ensure!(forwarded >= packets, "{forwarded} of {packets} packets came out");
        }
        let slowest = times.into_iter().max().flatten().ok_or_else(|| Failure::new("a worker failed"))?;
        Ok((packets * self.benches.len()) as f64 / slowest.as_secs_f64())
    }
}

/// Frames of the profile's first stream; `part` tells apart the flows of workers.
///
/// # Errors
/// The first stream is not of datagrams.
pub fn frames(profile: &Profile, packets: usize, part: u64) -> Outcome<Vec<Vec<u8>>> {
    let Some(Stream::Udp(stream)) = profile.stream.first() else {
        return Err(Failure::new("the first stream must be of datagrams"));
    };
    let space = Space { clients: stream.clients, client_ports: stream.client_ports, ports: stream.ports };
    let sizes = stream.sizes.round().map_err(Failure::new)?;
    let rotation = Rotation::new(stream.flows, stream.order);
    let mut pool = FramePool::heap(1, 2048);
    let mut frame = pool.take().ok_or_else(|| Failure::new("no frame"))?;
    let mut all = Vec::with_capacity(packets);
    for number in 0..packets as u64 {
        let template = Template::new(sizes[number as usize % sizes.len()]).map_err(Failure::new)?;
        let flow = space.endpoint(rotation.flow(number) + part * stream.flows);
        if template.write(&mut frame, &flow, &Stamp { run: 1, stream: 0, number, nanos: 0 }) {
            all.push(frame.bytes().to_vec());
        }
    }
    pool.put(frame);
    Ok(all)
}
