//! A whole gateway in memory: the real engine and its pinned workers, on devices of which the generator holds the other ends.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::tests::Outcome;
use conntrack::Timeouts;
use datapath::counters::WorkerCounters;
use datapath::protection::{Guard, Protection, SynCookies};
use datapath::service::{
    Backend, BackendId, BackendStats, Generation, Hop, Interface, InterfaceIndex, Listen, Overlay, Path, SchedulerKind,
    ServiceId, Snapshot, Tables, Turn, VirtualService,
};
use datapath::{Engine, EngineConfig, Role, Slot, WorkerDevices};
use sys::{Device, DeviceState, Frame, FramePool, LinkType, MemoryDevice, TxReport};
use vxlan::Vni;
use wire::{MacAddr, Protocol};

use super::faulty::{Faults, FaultyDevice};
use super::network::{
    GATEWAY_MACS, GATEWAY_OVERLAY, GATEWAY_VTEP, NODE_MACS, OVERLAY_MTU, TASKS, TUNNEL_PORT, VIP, VNI, VTEPS,
};
use super::port::Port;
use super::profile::{Profile, Stream};
use super::report::Report;
use super::run::Ends;

/// Packets that fit into a cable; a gateway that is this far behind loses what comes.
const DEPTH: usize = 8192;
const FRAMES: usize = 16_384;
const FRAME_SIZE: usize = 2048;

/// A running gateway; it ends when dropped.
pub struct MemoryGateway {
    engine: Option<Engine>,
}

impl MemoryGateway {
    /// Starts one worker per CPU with the services of the profile, and gives the far ends of its devices.
    ///
    /// # Errors
    /// Threads could not be started.
    pub fn start(profile: &Profile, cpus: &[usize]) -> Outcome<(MemoryGateway, Ends)> {
        let mut ends = Ends { clients: Vec::new(), tasks: Vec::new() };
        let mut devices = Vec::new();
        for _ in cpus {
            let (front, client) = sys::memory_pair(DEPTH);
            let (back, task) = sys::memory_pair(DEPTH);
            let overflows = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
            let front = Counted { device: front, refused: Arc::clone(&overflows[0]) };
            let back = Counted { device: back, refused: Arc::clone(&overflows[1]) };
            let [to_clients, to_tasks] = overflows;
            ends.clients.push(port(client).facing(to_clients));
            ends.tasks.push(port(task).facing(to_tasks));
            devices.push(WorkerDevices {
                pool: FramePool::heap(FRAMES, FRAME_SIZE),
                devices: slots(front, back),
                lending: None,
            });
        }
        let config = EngineConfig {
            cpus: cpus.to_vec(),
            flows: (profile.flows() as usize * 5 / 4).max(1 << 16),
            timeouts: Timeouts::default(),
            plain_ports: 1024..=32_767,
            overlay_ports: 1024..=65_535,
            seed: 7,
            logs_flows: false,
        };
        let engine = Engine::start(&config, devices, Snapshot::build(tables(profile, cpus.len()))?)?;
        Ok((MemoryGateway { engine: Some(engine) }, ends))
    }

    /// What it has counted: all that is not zero.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, u64)> {
        let mut sum = WorkerCounters::default();
        self.engine.iter().flat_map(Engine::counters).for_each(|worker| sum.add(&worker));
        let all = sum.named().into_iter().chain(sum.drops.iter().copied());
        all.filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), n)).collect()
    }
}

/// A run, and in its report what the gateway, if there is one, has counted meanwhile: not what it had counted before.
///
/// # Errors
/// Those of the run.
pub fn counted(gateway: Option<&MemoryGateway>, run: impl FnOnce() -> Outcome<Report>) -> Outcome<Report> {
    let counters = || gateway.map(MemoryGateway::counters).unwrap_or_default();
    let before: HashMap<_, _> = counters().into_iter().collect();
    let mut report = run()?;
    let moved = |(name, n): (String, u64)| {
        let n = n - before.get(&name).copied().unwrap_or(0).min(n);
        (n > 0).then_some((name, n))
    };
    report.counters = counters().into_iter().filter_map(moved).collect();
    Ok(report)
}

impl Drop for MemoryGateway {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop();
        }
    }
}

/// Devices of a worker.
#[must_use]
pub fn slots(front: impl Device + 'static, back: impl Device + 'static) -> Vec<Slot> {
    vec![
        Slot { role: Role::Interface(InterfaceIndex(0)), device: Box::new(front) },
        Slot { role: Role::Interface(InterfaceIndex(1)), device: Box::new(back) },
    ]
}

/// A device of the gateway that tells how often the generator's queue was full.
struct Counted {
    device: MemoryDevice,
    refused: Arc<AtomicU64>,
}

impl Device for Counted {
    fn link_type(&self) -> LinkType {
        self.device.link_type()
    }

    fn rx(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize {
        self.device.rx(pool, burst, limit)
    }

    fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport {
        let report = self.device.tx(pool, out);
        if report.refused > 0 {
            self.refused.fetch_add(report.refused as u64, Ordering::Relaxed);
        }
        report
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.device.fd()
    }

    fn has_work(&self) -> bool {
        self.device.has_work()
    }

    fn state(&self) -> DeviceState {
        self.device.state()
    }
}

fn port(device: MemoryDevice) -> Port {
    Port::new(device, FramePool::heap(FRAMES, FRAME_SIZE))
}

/// A cable instead of a gateway, with known faults on the clients' end: what the generator itself can do.
#[must_use]
pub fn cable(faults: Faults) -> Ends {
    let (client, task) = sys::memory_pair(DEPTH);
    let client = Port::new(FaultyDevice::new(client, faults), FramePool::heap(FRAMES, FRAME_SIZE));
    Ends { clients: vec![client], tasks: vec![port(task)] }
}

fn vni() -> Vni {
    Vni::try_from(VNI).unwrap_or(Vni::MAX)
}

/// The tables of a gateway that serves everything that a profile asks for: a service for each stream, two tasks each.
#[must_use]
pub fn tables(profile: &Profile, workers: usize) -> Tables {
    let interface = |n: usize| Interface { name: format!("eth{n}"), mac: GATEWAY_MACS[n], mtu: 1600, up: true };
    let overlay = Overlay {
        vni: vni(),
        port: TUNNEL_PORT,
        vtep: GATEWAY_VTEP,
        addresses: vec![GATEWAY_OVERLAY],
        mac: MacAddr::docker(GATEWAY_OVERLAY),
        mtu: OVERLAY_MTU.max(1500),
        peers: Vec::new(),
    };
    Tables {
        generation: Generation(1),
        interfaces: vec![interface(0), interface(1)],
        overlays: vec![overlay],
        services: services(profile).map(|(id, stream)| service(id, stream, workers, profile.half_open)).collect(),
        left: Vec::new(),
        left_sources: Vec::new(),
        six: Vec::new(),
    }
}

/// The streams that need a service of their own; a flood may go to the service of another stream.
pub fn services(profile: &Profile) -> impl Iterator<Item = (u32, &Stream)> {
    let streams = &profile.stream;
    let covered = |index: usize, stream: &Stream| {
        let other = |at: usize, other: &Stream| {
            at != index
                && other.is_udp() == stream.is_udp()
                && other.space().ports.overlaps(&stream.space().ports)
                && (!matches!(other, Stream::Syn(_)) || at < index)
        };
        matches!(stream, Stream::Syn(_)) && streams.iter().enumerate().any(|(at, one)| other(at, one))
    };
    (0..).zip(streams).filter(move |(index, stream)| !covered(*index as usize, stream))
}

fn service(id: u32, stream: &Stream, workers: usize, half_open: Option<u32>) -> VirtualService {
    let ports = stream.space().ports;
    let syn_cookies = half_open.map_or(SynCookies::Never, |half_open| SynCookies::Above { half_open });
    let protocol = if stream.is_udp() { Protocol::Udp } else { Protocol::Tcp };
    let backend = |n: usize| Backend {
        id: BackendId(id * 2 + n as u32),
        address: TASKS[n],
        // The port that was asked for: each has its own room of SNAT ports, so that a million flows fit.
        port: None::<NonZeroU16>,
        weight: 1,
        max_connections: None,
        sorry: false,
        path: Path::Overlay {
            vni: vni(),
            vtep: VTEPS[n],
            mac: MacAddr::docker(TASKS[n]),
            hop: Hop::Ethernet { interface: InterfaceIndex(1), mac: NODE_MACS[n] },
        },
        stats: Arc::new(BackendStats::new(workers)),
    };
    VirtualService {
        id: ServiceId(id),
        listens: vec![Listen { address: VIP, ports: ports.first..=ports.last, protocol }],
        scheduler: SchedulerKind::RoundRobin,
        rewrite_timestamps: true,
        direct: false,
        proxy_protocol: false,
        idle: conntrack::Idle::default(),
        one_packet: false,
        persistence: None,
        protection: Protection { syn_cookies, guard: Arc::new(Guard::new(workers)), ..Protection::default() },
        backends: (0..TASKS.len()).map(backend).collect(),
        turn: Arc::new(Turn::default()),
    }
}
