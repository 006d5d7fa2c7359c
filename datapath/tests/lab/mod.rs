//! A gateway in memory: real workers with devices of which the test holds the other ends, and a clock that the test
//! moves. What goes in is built by etherparse, what comes out is read by etherparse: never our own emitter.
#![allow(dead_code, reason = "every test file uses another part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, missing_docs, reason = "test code")]

mod held;
pub mod packets;
pub mod six;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use conntrack::{Conntrack, Idle, Timeouts};
use crossbeam::queue::ArrayQueue;
use datapath::core::{Core, CoreParts, InterfaceInfo, SlotInfo};
use datapath::counters::{Counters, WorkerCounters};
use datapath::exchange::{Exchange, Mailbox};
use datapath::flow_log::{self, FlowEvents};
use datapath::handover::{Desk, Publisher};
use datapath::probes::{Probes, split_ports};
use datapath::protection::Protection;
use datapath::query::{FlowFilter, FlowRecord, Page};
use datapath::service::{
    Backend, BackendId, BackendStats, Generation, Hop, Interface, InterfaceIndex, Listen, Overlay, Path, SchedulerKind,
    ServiceId, Snapshot, Tables, Turn, VirtualService,
};
use datapath::surrogate::Surrogates;
use datapath::worker::{Shared, TablesDesk, Worker};
use datapath::{Engine, EngineConfig, Lending, Output, ProbeLine, Role, Slot, SnatPorts, Unanswered};
use sys::{FramePool, LinkType, MemoryDevice, Shortcuts};
use vxlan::Vni;
use wire::{MacAddr, Protocol};

use held::Held;

pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 2);
pub const OUR_OVERLAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
pub const OUR_VTEP: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
pub const TASKS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 11), Ipv4Addr::new(10, 0, 0, 12)];
pub const VTEPS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 1, 11), Ipv4Addr::new(198, 18, 1, 12)];
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 50);
pub const PLAIN_SNAT: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
pub const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0xc, 1]);
pub const NODE_MACS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0xb, 1]), MacAddr([2, 0, 0, 0, 0xb, 2])];
pub const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0xb, 9]);
/// MACs of our interfaces: 0 towards clients, 1 towards nodes.
pub const OUR_MACS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0xa, 0]), MacAddr([2, 0, 0, 0, 0xa, 1])];
pub const VNI: u32 = 4096;
/// Slots of a worker.
pub const FRONT: usize = 0;
pub const BACK: usize = 1;

const FRAMES: usize = 512;

pub fn our_overlay_mac() -> MacAddr {
    MacAddr::docker(OUR_OVERLAY)
}

/// How engines are started in tests, with so many flows for each worker.
pub fn engine_config(workers: usize, flows_each: usize) -> EngineConfig {
    EngineConfig {
        cpus: vec![0; workers],
        flows: flows_each * workers,
        timeouts: Timeouts::default(),
        plain_ports: 1024..=32_767,
        overlay_ports: 1024..=65_535,
        seed: 7,
        logs_flows: false,
    }
}

/// The flows of running workers.
pub fn flows_of(engine: &Engine, service: Option<ServiceId>, limit: usize) -> Result<Vec<FlowRecord>, Unanswered> {
    let mut flows = Vec::new();
    engine.flow_reader().read(&FlowFilter { service, limit }, |flow| flows.push(flow.clone()))?;
    Ok(flows)
}

/// SNAT ports, those of probes included.
fn ports() -> SnatPorts {
    SnatPorts { overlay: 1024..=65_535, plain: 1024..=32_767 }
}

/// A service on `VIP:port` with one VXLAN backend for each weight.
pub fn service(id: u32, protocol: Protocol, port: u16, weights: &[u16]) -> VirtualService {
    let backends =
        weights.iter().enumerate().map(|(n, weight)| overlay_backend(id * 100 + n as u32, n, *weight)).collect();
    VirtualService {
        id: ServiceId(id),
        listens: vec![Listen { address: VIP, ports: port..=port, protocol }],
        scheduler: SchedulerKind::RoundRobin,
        rewrite_timestamps: true,
        direct: false,
        proxy_protocol: false,
        idle: Idle::default(),
        one_packet: false,
        persistence: None,
        protection: Protection::default(),
        backends,
        turn: Arc::new(Turn::default()),
    }
}

pub fn overlay_backend(id: u32, n: usize, weight: u16) -> Backend {
    let hop = Hop::Ethernet { interface: InterfaceIndex(1), mac: NODE_MACS[n] };
    Backend {
        id: BackendId(id),
        address: TASKS[n],
        port: NonZeroU16::new(8000),
        weight,
        max_connections: None,
        sorry: false,
        path: Path::Overlay { vni: Vni::try_from(VNI).unwrap(), vtep: VTEPS[n], mac: MacAddr::docker(TASKS[n]), hop },
        stats: Arc::new(BackendStats::new(2)),
    }
}

pub fn plain_backend(id: u32) -> Backend {
    let hop = Hop::Ethernet { interface: InterfaceIndex(1), mac: SERVER_MAC };
    Backend {
        id: BackendId(id),
        address: SERVER,
        port: NonZeroU16::new(80),
        weight: 1,
        max_connections: None,
        sorry: false,
        path: Path::Plain { snat: vec![PLAIN_SNAT], hop },
        stats: Arc::new(BackendStats::new(2)),
    }
}

pub fn tables(services: Vec<VirtualService>) -> Tables {
    let interface = |n: usize| Interface { name: format!("eth{n}"), mac: OUR_MACS[n], mtu: 1500, up: true };
    let overlay = Overlay {
        vni: Vni::try_from(VNI).unwrap(),
        port: vxlan::PORT,
        vtep: OUR_VTEP,
        addresses: vec![OUR_OVERLAY],
        mac: our_overlay_mac(),
        mtu: 1450,
        peers: Vec::new(),
    };
    Tables {
        generation: Generation(1),
        interfaces: vec![interface(0), interface(1)],
        overlays: vec![overlay],
        services,
        left: Vec::new(),
        left_sources: Vec::new(),
        six: Vec::new(),
    }
}

/// The same, where the kernel routes: TUN in front, the overlay socket behind.
pub fn kernel_tables(services: Vec<VirtualService>) -> Tables {
    let mut tables = tables(services);
    for backend in tables.services.iter_mut().flat_map(|service| &mut service.backends) {
        match &mut backend.path {
            Path::Overlay { hop, .. } | Path::Plain { hop, .. } => *hop = Hop::Kernel,
        }
    }
    tables
}

/// Workers, the far ends of their devices, and the clock.
pub struct Gateway {
    pub workers: Vec<Worker>,
    pub ends: Vec<[MemoryDevice; 2]>,
    pub shared: Vec<Arc<Shared>>,
    pub counters: Vec<Arc<Counters>>,
    /// What each worker says of its flows.
    pub events: Vec<FlowEvents>,
    pub now: Duration,
    /// As control has it.
    pub line: ProbeLine,
    probes: Arc<Probes>,
    pub surrogates: Arc<Surrogates>,
    publisher: Publisher<Snapshot, ArrayQueue<Arc<Snapshot>>, AtomicU64>,
    generation: u64,
    /// How many of the frames that were sent to the backends last have not left yet.
    pub held: Arc<AtomicUsize>,
    /// By which tables flows are lent, where they are.
    shortcuts: Option<Arc<Shortcuts>>,
    /// Of every backend there ever was: counters outlive tables.
    stats: BTreeMap<u32, Arc<BackendStats>>,
}

impl Gateway {
    pub fn new(tables: Tables) -> Self {
        Self::with(tables, 1, [LinkType::Ethernet; 2], 1024)
    }

    pub fn kernel(tables: Tables) -> Self {
        Self::with(tables, 1, [LinkType::Ip; 2], 1024)
    }

    /// As [`Gateway::kernel`], with devices that take joined segments.
    pub fn cutting(tables: Tables) -> Self {
        Self::build(tables, 1, [LinkType::Ip; 2], 1024, true)
    }

    /// As [`Gateway::new`], with devices that give joined segments.
    pub fn joining(tables: Tables) -> Self {
        Self::build(tables, 1, [LinkType::Ethernet; 2], 1024, true)
    }

    pub fn with(tables: Tables, workers: usize, links: [LinkType; 2], flows: usize) -> Self {
        Self::build(tables, workers, links, flows, false)
    }

    fn build(tables: Tables, workers: usize, links: [LinkType; 2], flows: usize, cuts: bool) -> Self {
        let stats = backends(&tables).map(|backend| (backend.id.0, Arc::clone(&backend.stats))).collect();
        let first = Arc::new(Snapshot::build(tables).unwrap());
        let boxes: Arc<[Mailbox]> = (0..workers).map(|_| Mailbox::new(FRAMES, None)).collect();
        let now = Duration::from_secs(100);
        let probes = Arc::new(Probes::new(split_ports(&ports()).1));
        let publisher = Publisher::new(Vec::new(), 1, Arc::clone(&first));
        let mut gateway = Self {
            workers: vec![],
            ends: vec![],
            shared: vec![],
            counters: vec![],
            events: vec![],
            now,
            line: ProbeLine::new(Arc::clone(&probes), Arc::clone(&boxes)),
            probes,
            surrogates: Arc::new(Surrogates::new(2 * flows)),
            publisher,
            generation: 1,
            held: Arc::default(),
            shortcuts: None,
            stats,
        };
        gateway.surrogates.prepare();
        let mut desks = Vec::new();
        for index in 0..workers {
            let desk: Arc<TablesDesk> = Arc::new(Desk::new(ArrayQueue::new(1), AtomicU64::new(1)));
            desks.push(Arc::clone(&desk));
            gateway.add_worker(index, workers, links, flows, cuts, &first, desk, &boxes);
        }
        gateway.publisher = Publisher::new(desks, 1, first);
        gateway
    }

    #[allow(clippy::too_many_arguments)]
    fn add_worker(
        &mut self,
        index: usize,
        workers: usize,
        links: [LinkType; 2],
        flows: usize,
        cuts_segments: bool,
        first: &Arc<Snapshot>,
        desk: Arc<TablesDesk>,
        boxes: &Arc<[Mailbox]>,
    ) {
        let (front, front_end) = sys::memory_pair_of(256, links[0]);
        let (back, back_end) = sys::memory_pair_of(256, links[1]);
        let roles = match links[1] {
            LinkType::Ethernet => [Role::Interface(InterfaceIndex(0)), Role::Interface(InterfaceIndex(1))],
            LinkType::Ip => [Role::Interface(InterfaceIndex(0)), Role::OverlaySocket],
        };
        let counters = Arc::new(Counters::default());
        let mut core = Core::new(CoreParts {
            index,
            conntrack: Conntrack::new(flows, Timeouts::default(), 7 + index as u64),
            counters: Arc::clone(&counters),
            pool: FramePool::heap(FRAMES, if links[1] == LinkType::Ip { sys::MAX_FRAME_BYTES } else { 2048 }),
            slots: roles
                .iter()
                .zip(links)
                .map(|(role, link)| {
                    let cuts_segments = cuts_segments && link == LinkType::Ip;
                    SlotInfo { role: *role, link, steers: false, cuts_segments, ready: true }
                })
                .collect(),
            interfaces: links
                .iter()
                .map(|link| {
                    let joins = cuts_segments && *link == LinkType::Ethernet;
                    InterfaceInfo { link: *link, joins, workers: (0..workers).collect() }
                })
                .collect(),
            exchange: Exchange::new(index, Arc::clone(boxes)),
            ports: split_ports(&ports()).0,
            probes: Arc::clone(&self.probes),
            surrogates: Arc::clone(&self.surrogates),
            epoch_millis: 5_000,
        });
        let events = flow_log::queue();
        core.log_flows(Arc::clone(&events));
        self.events.push(events);
        let shared = Arc::new(Shared::new(desk));
        let devices = vec![
            Slot { role: roles[0], device: Box::new(front) as Box<dyn sys::Device> },
            Slot { role: roles[1], device: Box::new(Held { inner: back, held: Arc::clone(&self.held) }) },
        ];
        self.workers.push(Worker::new(core, Arc::clone(first), devices, Arc::clone(&shared)));
        self.ends.push([front_end, back_end]);
        self.shared.push(shared);
        self.counters.push(counters);
    }

    /// Flows of worker 0 are lent from now on. Time is the program's.
    pub fn lend(&mut self, shortcuts: &Arc<Shortcuts>, output: Output) {
        let lender = shortcuts.lenders(1).remove(0);
        self.workers[0].core_mut().lend_by(Lending::new(lender, vec![Some(output); 2]));
        self.shortcuts = Some(Arc::clone(shortcuts));
        self.set_terms(self.generation);
    }

    /// The program knows of the next tables already, the workers do not.
    pub fn announce(&self) {
        self.set_terms(self.generation + 1);
    }

    fn set_terms(&self, generation: u64) {
        if let Some(shortcuts) = &self.shortcuts {
            shortcuts.set_terms(generation as u32, Some(SocketAddrV4::new(OUR_VTEP, vxlan::PORT)));
        }
    }

    /// Lets every worker do everything that waits.
    pub fn settle(&mut self) {
        for _ in 0..4 {
            for worker in &mut self.workers {
                worker.turn(self.now);
            }
        }
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    pub fn publish(&mut self, tables: Tables) {
        self.publish_quietly(tables);
        self.settle();
    }

    /// The workers have not had a turn yet.
    pub fn publish_quietly(&mut self, tables: Tables) {
        self.publish_as(tables, true);
    }

    /// The new tables know nothing of what the old ones had, as if it had been gone for long.
    pub fn publish_alone(&mut self, tables: Tables) {
        self.publish_as(tables, false);
    }

    fn publish_as(&mut self, mut tables: Tables, inherits: bool) {
        self.generation += 1;
        tables.generation = Generation(self.generation);
        let mut snapshot = Snapshot::build(tables).unwrap();
        if let Some(previous) = self.publisher.newest().filter(|_| inherits) {
            snapshot.inherit(previous, self.now, Timeouts::default().tcp_reset);
        }
        self.set_terms(self.generation);
        self.publisher.publish(self.generation, Arc::new(snapshot));
    }

    /// As [`Gateway::publish`], with the counters that each backend already has, as control does it.
    pub fn publish_same(&mut self, mut tables: Tables) {
        for backend in tables.services.iter_mut().flat_map(|service| &mut service.backends) {
            backend.stats = Arc::clone(self.stats.entry(backend.id.0).or_insert_with(|| Arc::clone(&backend.stats)));
        }
        self.publish(tables);
    }

    /// All flows of all workers.
    pub fn flows(&mut self) -> Vec<FlowRecord> {
        let mut flows = Vec::new();
        for index in 0..self.workers.len() {
            let filter = FlowFilter { service: None, limit: usize::MAX };
            let mut page = Page { question: 0, filter, next: Some(0), found: Vec::new() };
            while page.next.is_some() {
                self.shared[index].queries.ask(page).unwrap();
                self.workers[index].turn(self.now);
                page = self.shared[index].queries.take_answer(0).unwrap();
            }
            flows.append(&mut page.found);
        }
        flows
    }

    /// The gauges of every backend say what is in the flow tables.
    pub fn assert_gauges(&mut self) {
        let mut counted: BTreeMap<u32, (u64, u64)> = self.stats.keys().map(|id| (*id, (0, 0))).collect();
        for flow in self.flows() {
            let (active, inactive) = counted.entry(flow.backend_id.0).or_default();
            let gauge = if ["ESTABLISHED", "UDP_STREAM"].contains(&flow.state) { active } else { inactive };
            *gauge += 1;
        }
        let totals = self.stats.iter().map(|(id, stats)| (*id, stats.totals()));
        let gauges = totals.map(|(id, totals)| (id, (totals.active, totals.inactive))).collect();
        assert_eq!(counted, gauges, "flows in the tables, and what the gauges say: backend, (active, inactive)");
    }

    /// Puts a frame into a worker's device.
    pub fn inject(&mut self, worker: usize, slot: usize, bytes: &[u8]) {
        assert!(self.ends[worker][slot].inject(bytes), "the device is full");
    }

    /// Everything that came out there, ARP left out.
    pub fn collect(&mut self, worker: usize, slot: usize) -> Vec<Vec<u8>> {
        self.collect_all(worker, slot).into_iter().filter(|bytes| !is_arp(bytes)).collect()
    }

    pub fn collect_all(&mut self, worker: usize, slot: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.ends[worker][slot].collect()).collect()
    }

    /// In at the front of worker 0, out at the back of it.
    pub fn forward(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.inject(0, FRONT, bytes);
        self.settle();
        self.collect(0, BACK)
    }

    /// In at the back of worker 0, out at the front of it.
    pub fn backward(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.inject(0, BACK, bytes);
        self.settle();
        self.collect(0, FRONT)
    }

    pub fn totals(&self) -> WorkerCounters {
        let mut sum = WorkerCounters::default();
        self.counters.iter().for_each(|counters| sum.add(&counters.read()));
        sum
    }

    /// The drop counters that are not zero.
    pub fn drops(&self) -> Vec<(&'static str, u64)> {
        self.totals().drops.into_iter().filter(|(_, n)| *n > 0).collect()
    }

    /// No frame was lost: all are free or held for a first fragment.
    pub fn assert_frames_conserved(&mut self) {
        self.settle();
        for worker in &self.workers {
            let (free, held, total) = worker.core().frames();
            assert_eq!(free + held, total, "frames leaked");
        }
    }
}

fn backends(tables: &Tables) -> impl Iterator<Item = &Backend> {
    tables.services.iter().flat_map(|service| &service.backends)
}

fn is_arp(bytes: &[u8]) -> bool {
    // Outer Ethernet + IP + UDP + VXLAN, then the inner ethertype; without outer Ethernet where the kernel adds it.
    let at = |offset: usize| bytes.get(offset..offset + 2) == Some(&[0x08, 0x06]);
    at(14 + 20 + 8 + 8 + 12) || at(20 + 8 + 8 + 12)
}
