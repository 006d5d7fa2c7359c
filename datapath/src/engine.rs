//! Control's handle on the workers: starts them, gives them tables, asks them questions, stops them.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, UNIX_EPOCH};

use conntrack::{Conntrack, Timeouts};
use crossbeam::queue::ArrayQueue;
use sys::{DeviceState, FramePool, LinkType, Shortcuts};

use crate::core::{Core, CoreParts, InterfaceInfo, Role, SlotInfo, SnatPorts};
use crate::counters::{Counters, WorkerCounters};
use crate::exchange::{Exchange, Mailbox};
use crate::flow_log::{self, FlowEvents};
use crate::handover::{Desk, Publisher};
use crate::lending::Lending;
use crate::probes::{self, ProbeLine, Probes};
use crate::reader::FlowReader;
use crate::service::{Generation, InterfaceIndex, Snapshot, Tables};
use crate::surrogate::Surrogates;
use crate::worker::{Bed, Event, Pacing, Shared, Slot, Worker};

/// How to run.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// One pinned worker per CPU.
    pub cpus: Vec<usize>,
    /// Capacity of the flow tables, all workers together.
    pub flows: usize,
    /// When idle flows end.
    pub timeouts: Timeouts,
    /// SNAT ports towards plainly routed backends; probes get a part of them.
    pub plain_ports: RangeInclusive<u16>,
    /// SNAT ports towards overlay backends; probes get a part of them.
    pub overlay_ports: RangeInclusive<u16>,
    /// Random per process: keys the hash, decides where port ranges begin.
    pub seed: u64,
    /// Whether the workers tell of their flows, see [`Engine::flow_events`].
    pub logs_flows: bool,
}

/// Packet memory and devices of one worker.
pub struct WorkerDevices {
    /// Its packet memory.
    pub pool: FramePool,
    /// Its devices.
    pub devices: Vec<Slot>,
    /// When its flows may be lent to the XDP program.
    pub lending: Option<Lending>,
}

/// Why the workers could not be started.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// One set of devices per CPU is needed.
    #[error("{cpus} CPUs but devices for {devices} workers")]
    WorkerCount {
        /// CPUs asked for.
        cpus: usize,
        /// Sets of devices given.
        devices: usize,
    },
    /// The operating system refused.
    #[error("starting worker {worker}: {source}")]
    Start {
        /// Which worker.
        worker: usize,
        /// Why.
        source: std::io::Error,
    },
}

/// The running workers.
pub struct Engine {
    publisher: Publisher<Snapshot, ArrayQueue<Arc<Snapshot>>, AtomicU64>,
    workers: Vec<Handle>,
    boxes: Arc<[Mailbox]>,
    ports: SnatPorts,
    probes: Arc<Probes>,
    surrogates: Arc<Surrogates>,
    pacing: Pacing,
    capacity: usize,
    /// How long flows that were reset stay.
    reset_time: Duration,
    flow_events: Vec<FlowEvents>,
    /// Held by whoever asks the workers for their flows.
    reading: Arc<Mutex<()>>,
    /// Flows that are lent to the XDP program.
    shortcuts: Option<Arc<Shortcuts>>,
}

struct Handle {
    shared: Arc<Shared>,
    /// The desk is shared with the publisher.
    counters: Arc<Counters>,
    devices: Vec<DeviceState>,
    /// When they came.
    heard: Duration,
    thread: Option<JoinHandle<()>>,
    failed: bool,
}

impl Engine {
    /// Starts one pinned worker per CPU, each with its devices, all with the first tables.
    ///
    /// # Errors
    /// [`EngineError`]; nothing runs then.
    pub fn start(config: &EngineConfig, devices: Vec<WorkerDevices>, first: Snapshot) -> Result<Self, EngineError> {
        Self::start_paced(config, Pacing::default(), devices, first)
    }

    /// As [`Engine::start`], with workers that take other bursts or sleep sooner or later.
    ///
    /// # Errors
    /// [`EngineError`]; nothing runs then.
    pub fn start_paced(
        config: &EngineConfig,
        pacing: Pacing,
        devices: Vec<WorkerDevices>,
        first: Snapshot,
    ) -> Result<Self, EngineError> {
        let count = config.cpus.len();
        if devices.len() != count || count == 0 {
            return Err(EngineError::WorkerCount { cpus: count, devices: devices.len() });
        }
        let generation = first.generation().0;
        let first = Arc::new(first);
        let (beds, boxes) = beds(&devices, pacing)?;
        let interfaces = interfaces(&devices, first.interfaces().len());
        let all = SnatPorts { overlay: config.overlay_ports.clone(), plain: config.plain_ports.clone() };
        let (ports, of_probes) = probes::split_ports(&all);
        let mut engine = Self {
            publisher: Publisher::new(Vec::new(), generation, Arc::clone(&first)),
            workers: Vec::new(),
            boxes,
            ports,
            probes: Arc::new(Probes::new(of_probes)),
            surrogates: Arc::new(Surrogates::new(config.flows)),
            pacing,
            capacity: 0,
            reset_time: config.timeouts.tcp_reset,
            flow_events: Vec::new(),
            reading: Arc::default(),
            shortcuts: devices.iter().find_map(|own| own.lending.as_ref()).map(|lending| lending.lender().table()),
        };
        engine.set_terms(&first);
        engine.prepare_six(&first);
        let mut desks = Vec::with_capacity(count);
        for (index, (own, bed)) in devices.into_iter().zip(beds).enumerate() {
            let desk = Arc::new(Desk::new(ArrayQueue::new(1), AtomicU64::new(generation)));
            desks.push(Arc::clone(&desk));
            let started = engine.start_worker(config, index, own, bed, desk, &first, &interfaces);
            if let Err(source) = started {
                engine.stop();
                return Err(EngineError::Start { worker: index, source });
            }
        }
        engine.publisher = Publisher::new(desks, generation, first);
        Ok(engine)
    }

    #[expect(clippy::too_many_arguments, reason = "everything that a worker is made of, once")]
    fn start_worker(
        &mut self,
        config: &EngineConfig,
        index: usize,
        own: WorkerDevices,
        mut bed: Bed,
        desk: Arc<crate::worker::TablesDesk>,
        first: &Arc<Snapshot>,
        interfaces: &[InterfaceInfo],
    ) -> std::io::Result<()> {
        let count = config.cpus.len();
        let conntrack =
            Conntrack::new(config.flows.div_ceil(count), config.timeouts, config.seed.wrapping_add(index as u64));
        self.capacity += conntrack.capacity();
        let counters = Arc::new(Counters::default());
        let parts = CoreParts {
            index,
            conntrack,
            counters: Arc::clone(&counters),
            pool: own.pool,
            slots: own.devices.iter().map(|slot| slot_info(slot, interfaces)).collect(),
            interfaces: interfaces.to_vec(),
            exchange: Exchange::new(index, Arc::clone(&self.boxes)),
            ports: self.ports.clone(),
            probes: Arc::clone(&self.probes),
            surrogates: Arc::clone(&self.surrogates),
            epoch_millis: epoch_millis(),
        };
        let shared = Arc::new(Shared::new(desk));
        let mut core = Core::new(parts);
        if let Some(lending) = own.lending {
            core.lend_by(lending);
        }
        if config.logs_flows {
            let events = flow_log::queue();
            core.log_flows(Arc::clone(&events));
            self.flow_events.push(events);
        }
        let worker = Worker::new(core, Arc::clone(first), own.devices, Arc::clone(&shared));
        let worker = worker.paced(self.pacing);
        bed.register(worker.devices())?;
        let cpu = config.cpus.get(index).copied().unwrap_or(0);
        let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            // A CPU that is not ours any more: the worker runs wherever it may.
            let _ = sys::pin_current_thread(cpu);
            worker.run(bed);
        })?;
        self.workers.push(Handle {
            shared,
            counters,
            devices: Vec::new(),
            heard: sys::clock::now(),
            thread: Some(thread),
            failed: false,
        });
        Ok(())
    }

    /// Gives new tables to all workers. Generations must grow.
    pub fn publish(&mut self, mut snapshot: Snapshot) {
        let now = sys::clock::now();
        if let Some(previous) = self.publisher.newest() {
            snapshot.inherit(previous, now, self.reset_time);
        }
        self.prepare_six(&snapshot);
        self.set_terms(&snapshot);
        self.publisher.publish(snapshot.generation().0, Arc::new(snapshot));
        for mailbox in self.boxes.iter() {
            mailbox.wake();
        }
    }

    /// Flows that were lent by older tables come back with their next packet.
    fn set_terms(&self, snapshot: &Snapshot) {
        if let Some(shortcuts) = &self.shortcuts {
            let tunnel = snapshot.tunnel().map(|(vtep, port)| SocketAddrV4::new(vtep, port));
            shortcuts.set_terms(snapshot.generation().0 as u32, tunnel);
        }
    }

    /// As [`Snapshot::leads_as`], of the newest tables.
    #[must_use]
    pub fn leads_as(&self, tables: &Tables) -> bool {
        self.publisher.newest().is_some_and(|newest| newest.leads_as(tables))
    }

    /// Gateways without IPv6 need no room for its clients.
    fn prepare_six(&self, snapshot: &Snapshot) {
        if snapshot.has_six() {
            self.surrogates.prepare();
        }
    }

    /// The surrogates of IPv6 clients.
    #[must_use]
    pub fn surrogates(&self) -> Arc<Surrogates> {
        Arc::clone(&self.surrogates)
    }

    /// An address as others know it, by the newest tables.
    #[must_use]
    pub fn real_address(&self, address: Ipv4Addr) -> IpAddr {
        match (self.surrogates.address(address), self.publisher.newest()) {
            (Some(client), _) => IpAddr::V6(client),
            (None, Some(tables)) => tables.real_address(address),
            (None, None) => IpAddr::V4(address),
        }
    }

    /// Where the workers' flow events wait to be taken; none if they are not to tell.
    #[must_use]
    pub fn flow_events(&self) -> Vec<FlowEvents> {
        self.flow_events.clone()
    }

    /// Frees tables that no worker uses any more; call it now and then.
    pub fn reclaim(&mut self) {
        self.publisher.reclaim();
    }

    /// The generation that each worker uses.
    #[must_use]
    pub fn applied(&self) -> Vec<Generation> {
        self.workers.iter().map(|worker| Generation(worker.shared.desk.applied())).collect()
    }

    /// What each worker has counted.
    #[must_use]
    pub fn counters(&self) -> Vec<WorkerCounters> {
        self.workers.iter().map(|worker| worker.counters.read()).collect()
    }

    /// Flows in all tables, a moment ago.
    #[must_use]
    pub fn flow_count(&self) -> usize {
        self.workers.iter().map(|worker| worker.shared.flows.load(Ordering::Relaxed) as usize).sum()
    }

    /// Flows that fit into all tables.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Where to ask the workers for their flows.
    #[must_use]
    pub fn flow_reader(&self) -> FlowReader {
        let workers = self.workers.iter().map(|worker| Arc::clone(&worker.shared)).collect();
        FlowReader::new(workers, Arc::clone(&self.boxes), Arc::clone(&self.reading))
    }

    /// The state of every device, by worker, as last reported (a fifth of a second old at most).
    #[must_use]
    pub fn devices(&mut self) -> Vec<(usize, DeviceState)> {
        let mut all = Vec::new();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            if let Some(states) = worker.shared.devices.pop() {
                (worker.devices, worker.heard) = (states, sys::clock::now());
            }
            all.extend(worker.devices.iter().cloned().map(|state| (index, state)));
        }
        all
    }

    /// When each worker has last reported, as far as [`Engine::devices`] has seen: it does so five times a second.
    #[must_use]
    pub fn heard(&self) -> Vec<Duration> {
        self.workers.iter().map(|worker| worker.heard).collect()
    }

    /// Where control's own packets to backends go.
    #[must_use]
    pub fn probe_line(&self) -> ProbeLine {
        ProbeLine::new(Arc::clone(&self.probes), Arc::clone(&self.boxes))
    }

    /// What the workers had to say since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            while let Some(event) = worker.shared.events.pop() {
                events.push(event);
            }
            if !worker.failed && worker.thread.as_ref().is_some_and(JoinHandle::is_finished) {
                worker.failed = true;
                events.push(Event::WorkerFailed { worker: index, reason: worker.end() });
            }
        }
        events
    }

    /// Ends all workers and closes their devices.
    pub fn stop(mut self) {
        if let Some(shortcuts) = &self.shortcuts {
            shortcuts.set_terms(0, None);
        }
        for worker in &self.workers {
            worker.shared.stop.store(true, Ordering::Relaxed);
        }
        for mailbox in self.boxes.iter() {
            mailbox.wake();
        }
        for worker in &mut self.workers {
            worker.end();
        }
    }
}

impl Handle {
    /// Waits for the thread; what it said if it panicked.
    fn end(&mut self) -> String {
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
                (Some(text), _) => (*text).to_owned(),
                (None, Some(text)) => text.clone(),
                (None, None) => "panicked".to_owned(),
            },
            _ => "ended".to_owned(),
        }
    }
}

/// A bed for each worker, and the mailboxes with their wakers.
fn beds(devices: &[WorkerDevices], pacing: Pacing) -> Result<(Vec<Bed>, Arc<[Mailbox]>), EngineError> {
    let mut beds = Vec::with_capacity(devices.len());
    let mut boxes = Vec::with_capacity(devices.len());
    for (worker, own) in devices.iter().enumerate() {
        let (bed, waker) = Bed::new(pacing.empty_turns).map_err(|source| EngineError::Start { worker, source })?;
        beds.push(bed);
        boxes.push(Mailbox::new(own.pool.total(), Some(waker)));
    }
    Ok((beds, boxes.into()))
}

fn interfaces(devices: &[WorkerDevices], count: usize) -> Vec<InterfaceInfo> {
    let is_on = |slot: &Slot, index: usize| slot.role == Role::Interface(InterfaceIndex(index as u16));
    let on = |own: &WorkerDevices, index: usize| {
        let mut ready = own.devices.iter().filter(|slot| slot.device.is_ready());
        ready.find(|slot| is_on(slot, index)).map(|slot| slot.device.link_type())
    };
    let joins = |slot: &Slot, index| is_on(slot, index) && slot.device.joins_segments();
    let info = |index| InterfaceInfo {
        joins: devices.iter().flat_map(|own| &own.devices).any(|slot| joins(slot, index)),
        link: devices.iter().find_map(|own| on(own, index)).unwrap_or(LinkType::Ethernet),
        workers: (0..devices.len())
            .filter(|worker| devices.get(*worker).is_some_and(|own| on(own, index).is_some()))
            .collect(),
    };
    (0..count).map(info).collect()
}

fn slot_info(slot: &Slot, interfaces: &[InterfaceInfo]) -> SlotInfo {
    let link = slot.device.link_type();
    // A TUN device has one queue, which worker 0 reads for all.
    let shared = |info: &InterfaceInfo| info.link == LinkType::Ip && info.workers.len() > 1;
    let steers = match slot.role {
        Role::Interface(index) => interfaces.get(usize::from(index.0)).is_some_and(shared),
        Role::OverlaySocket => false,
    };
    let cuts_segments = slot.device.cuts_segments();
    SlotInfo { role: slot.role, link, steers, cuts_segments, ready: slot.device.is_ready() }
}

fn epoch_millis() -> u32 {
    let since = sys::clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.saturating_sub(sys::clock::now()).as_millis() as u32
}
