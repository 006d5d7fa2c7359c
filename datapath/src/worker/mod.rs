//! The loop of one core: receive, run the stages, send, let time pass, sleep when there is nothing to do.

mod pacing;
mod sleep;
mod teacher;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use sys::{BURST, Device, DeviceState, Frame};
use wire::{Headers, MacAddr};

pub use pacing::Pacing;
pub(crate) use sleep::Bed;
use teacher::Teacher;

use crate::core::{Core, Role};
use crate::handover::Desk;
use crate::lending::Departures;
use crate::lifetime::Sweep;
use crate::packet::Packet;
use crate::query::Queries;
use crate::service::Snapshot;
use crate::verdict::{DropReason, Purpose, Verdict};

/// Packets taken from other workers per turn.
const MESSAGES_PER_TURN: usize = 2 * BURST;
/// Bytes of them after which the rest waits for the next turn: a joined packet becomes dozens of frames, and all of a turn must be
/// there before the first of them is sent.
const MESSAGE_BYTES_PER_TURN: usize = 256 << 10;

/// What a worker tells control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A task answered ARP with another MAC than the tables have.
    OverlayNeighbour {
        /// Its node.
        vtep: Ipv4Addr,
        /// Its overlay address.
        address: Ipv4Addr,
        /// Its MAC.
        mac: MacAddr,
    },
    /// A worker has stopped by a fault of its own.
    WorkerFailed {
        /// Which one.
        worker: usize,
        /// What it said.
        reason: String,
    },
}

/// Where workers meet control.
pub type TablesDesk = Desk<ArrayQueue<Arc<Snapshot>>, AtomicU64>;

/// A device and what it is there for.
pub struct Slot {
    /// Its role.
    pub role: Role,
    /// The device.
    pub device: Box<dyn Device>,
}

/// What a worker shares with control, each field written by one side only.
pub struct Shared {
    /// Hand-over of tables.
    pub desk: Arc<TablesDesk>,
    /// What the worker has to say.
    pub events: ArrayQueue<Event>,
    /// Questions about flows.
    pub queries: Queries,
    /// Flows in the table.
    pub flows: AtomicU64,
    /// States of the devices, refreshed now and then.
    pub devices: ArrayQueue<Vec<DeviceState>>,
    /// Control wants the worker to end.
    pub stop: AtomicBool,
}

impl Shared {
    /// A meeting place around this desk.
    #[must_use]
    pub fn new(desk: Arc<TablesDesk>) -> Self {
        Self {
            desk,
            events: ArrayQueue::new(1024),
            queries: Queries::default(),
            flows: AtomicU64::new(0),
            devices: ArrayQueue::new(1),
            stop: AtomicBool::new(false),
        }
    }
}

/// One worker: its [`Core`], its tables, its devices.
pub struct Worker {
    core: Core,
    /// Borrowed by every stage, never cloned: the reference count would be a cache line that all workers write.
    tables: Arc<Snapshot>,
    devices: Vec<Slot>,
    shared: Arc<Shared>,
    teacher: Teacher,
    burst: Vec<Frame>,
    /// Frames taken from a device in one turn.
    limit: usize,
    packets: Vec<Packet>,
    reported: Duration,
    /// When what was not answered is looked at next.
    repeats_due: Duration,
    /// More flows may have come to their end than the last turn looked at.
    behind: bool,
    /// Of each device.
    departures: Vec<Departures>,
}

impl Worker {
    /// `tables` are the first ones; `devices` in the order of the core's slots.
    #[must_use]
    pub fn new(core: Core, tables: Arc<Snapshot>, devices: Vec<Slot>, shared: Arc<Shared>) -> Self {
        let teacher = Teacher::new(core.index);
        let (burst, packets) = (Vec::with_capacity(BURST), Vec::with_capacity(BURST));
        let (reported, repeats_due) = (Duration::ZERO, Duration::ZERO);
        let (limit, behind) = (BURST, false);
        let departures = vec![Departures::default(); devices.len()];
        Self {
            core,
            tables,
            devices,
            shared,
            teacher,
            burst,
            limit,
            packets,
            reported,
            repeats_due,
            behind,
            departures,
        }
    }

    /// The same worker, taking other bursts.
    pub(crate) fn paced(self, pacing: Pacing) -> Self {
        Self { limit: pacing.burst.clamp(1, BURST), ..self }
    }

    /// One turn: everything that is waiting now, at most a burst of each device. Returns how many packets came.
    pub fn turn(&mut self, now: Duration) -> usize {
        self.core.second = now.as_secs() as u32;
        self.core.log_time(now);
        self.refresh(now);
        let more_due = self.core.look_after_loans(&self.tables, now);
        self.core.take_back_frames();
        let mut taken = self.take_messages(now);
        taken += self.core.send_probes(&self.tables);
        for slot in 0..self.devices.len() {
            taken += self.receive(slot, now);
        }
        self.pass_time(now);
        self.behind |= more_due;
        self.flush();
        if self.core.has_to_lend() {
            let is_idle = taken == 0 && !self.devices.iter().any(|slot| slot.device.has_work());
            self.core.lend_offered(&self.tables, &self.departures, is_idle, now);
        }
        taken
    }

    /// Whether work is left for which nothing will wake the worker.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.behind || self.core.sweep.is_some() || self.core.awaits_departures()
    }

    /// Newer tables, if some wait.
    fn refresh(&mut self, now: Duration) {
        let mut all_stand = true;
        let mut met = 0;
        let refreshed = self.shared.desk.refresh(&mut self.tables, |old, new| {
            all_stand = new.keeps_all_of(old);
            met = old.news();
            new.generation().0
        });
        if !all_stand {
            self.core.sweep = Some(Sweep::default());
        }
        if refreshed {
            self.core.returns.tidy(&self.tables, now);
            self.core.schedulers.localities.tidy(&self.tables);
            self.teacher.meet(&self.tables, met, now);
        }
    }

    fn receive(&mut self, slot: usize, now: Duration) -> usize {
        let Some(Slot { device, .. }) = self.devices.get_mut(slot) else { return 0 };
        let count = device.rx(&mut self.core.pool, &mut self.burst, self.limit);
        if count == 0 {
            return 0;
        }
        self.core.counters.bursts.add(1);
        self.core.counters.rx_packets.add(count as u64);
        self.core.counters.rx_bytes.add(self.burst.iter().map(|frame| frame.len() as u64).sum());
        for frame in self.burst.drain(..) {
            if let Err((frame, verdict)) = self.core.classify(&self.tables, slot, frame, &mut self.packets) {
                self.core.conclude_frame(frame, verdict);
            }
        }
        self.core.process(&self.tables, &mut self.packets, now);
        count
    }

    /// What other workers left for us.
    fn take_messages(&mut self, now: Duration) -> usize {
        let (mut taken, mut bytes) = (0, 0);
        while taken < MESSAGES_PER_TURN
            && bytes < MESSAGE_BYTES_PER_TURN
            && let Some(message) = self.core.exchange.receive()
        {
            taken += 1;
            bytes += message.frame.len();
            self.core.counters.received_over.add(1);
            let (purpose, origin) = (message.purpose, message.origin);
            let Some(frame) = self.core.adopt(message.frame, message.home) else { continue };
            match purpose {
                Purpose::Transmit(interface) => {
                    let verdict = match self.core.slot_on(interface) {
                        Some(slot) => Verdict::Tx(slot),
                        None => Verdict::Drop(DropReason::NoDevice),
                    };
                    self.core.conclude_frame(frame, verdict);
                }
                Purpose::Track | Purpose::Search(_) => match Headers::parse(frame.bytes(), 0) {
                    Ok(headers) => {
                        let searched = if let Purpose::Search(n) = purpose { n } else { 0 };
                        let steered = purpose == Purpose::Track;
                        self.packets.push(Packet { frame, headers, origin, searched, steered });
                    }
                    Err(error) => self.core.drop_frame(frame, error.into()),
                },
            }
            if self.packets.len() >= BURST {
                self.core.process(&self.tables, &mut self.packets, now);
            }
        }
        self.core.process(&self.tables, &mut self.packets, now);
        taken
    }

    /// Timers, sweeps, teaching, questions of control: a bounded piece of each.
    fn pass_time(&mut self, now: Duration) {
        self.behind = self.core.expire(&self.tables, now);
        self.core.sweep(&self.tables, now);
        if now >= self.repeats_due {
            self.repeats_due = now + REPEATS_EVERY;
            self.core.repeat_headers(&self.tables, now);
            self.core.repeat_syns(&self.tables, now);
            self.core.conntrack.forget_unused_ports(now);
        }
        self.teacher.teach(&mut self.core, &self.tables, now);
        self.shared.queries.answer(&self.core, &self.tables, now);
        for event in self.core.events.drain(..) {
            // Lost when nobody listens: the task will be heard again.
            let _ = self.shared.events.push(event);
        }
        if now.saturating_sub(self.reported) >= REPORT_EVERY || self.reported.is_zero() {
            self.report(now);
        }
    }

    fn report(&mut self, now: Duration) {
        self.reported = now;
        self.shared.flows.store(self.core.conntrack.len() as u64, Ordering::Relaxed);
        for (info, slot) in self.core.slots.iter_mut().zip(&self.devices) {
            info.ready = slot.device.is_ready();
        }
        let states = self.devices.iter().map(|slot| slot.device.state()).collect();
        self.shared.devices.force_push(states);
    }

    fn flush(&mut self) {
        let slots = self.devices.iter_mut().zip(&mut self.core.outputs);
        for ((slot, output), departures) in slots.zip(&mut self.departures) {
            let report = slot.device.tx(&mut self.core.pool, output);
            departures.taken += report.sent as u64;
            departures.left = departures.taken.saturating_sub(report.held as u64);
            self.core.counters.tx_packets.add(report.sent as u64);
            self.core.counters.tx_bytes.add(report.bytes);
            if report.refused > 0 {
                self.core.counters.dropped_many(DropReason::DeviceFull, report.refused);
            }
        }
    }

    /// Runs until control says stop.
    pub(crate) fn run(mut self, mut bed: Bed) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let taken = self.turn(sys::clock::now());
            if taken == 0 && !self.has_more() {
                bed.rest(&self.devices, &self.core);
            } else {
                bed.stay_awake();
            }
        }
    }

    /// The devices, for registration with the bed.
    pub(crate) fn devices(&self) -> &[Slot] {
        &self.devices
    }

    /// For tests: the core, to be set up.
    pub fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    /// For tests: the core.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.core
    }
}

/// The shortest wait for an answer is 200 ms: a turn that comes sooner than this need not look.
const REPEATS_EVERY: Duration = Duration::from_millis(1);
/// How often gauges are refreshed.
const REPORT_EVERY: Duration = Duration::from_millis(200);
