//! The workers of one gateway in memory, for who wants to run them himself: [`crate::teams`], and the program `sharing`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ::tests::Outcome;
use conntrack::{Conntrack, Timeouts};
use crossbeam::queue::ArrayQueue;
use datapath::SnatPorts;
use datapath::core::{Core, CoreParts, InterfaceInfo, Role, SlotInfo};
use datapath::counters::Counters;
use datapath::exchange::{Exchange, Mailbox};
use datapath::handover::Desk;
use datapath::probes::Probes;
use datapath::service::{InterfaceIndex, Snapshot, Tables};
use datapath::worker::{Shared, TablesDesk, Worker};
use sys::{FramePool, LinkType, MemoryDevice};

use super::gateway::slots;

/// Frames of a worker.
pub const FRAMES: usize = 4096;

/// A worker, its outer ends, and what it counts. Workers that run stand on stacks of their own; here they shall share no line either.
#[repr(align(128))]
pub struct Bench {
    /// The worker.
    pub worker: Worker,
    /// Where clients are.
    pub client: MemoryDevice,
    /// Where tasks are.
    pub task: MemoryDevice,
    /// What control shares with it.
    pub shared: Arc<Shared>,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// The tables of all workers.
    pub tables: Arc<Snapshot>,
}

/// The workers of one gateway, not running, each with room for `flows` flows.
///
/// # Errors
/// The tables contradict themselves.
pub fn workers(tables: Tables, count: usize, flows: usize, depth: usize) -> Outcome<Vec<Bench>> {
    workers_with(tables, &mailboxes(count), flows, depth)
}

/// Mailboxes of so many workers.
#[must_use]
pub fn mailboxes(count: usize) -> Arc<[Mailbox]> {
    (0..count).map(|_| Mailbox::new(FRAMES, None)).collect()
}

/// As [`workers`], with these mailboxes.
///
/// # Errors
/// As there.
pub fn workers_with(tables: Tables, boxes: &Arc<[Mailbox]>, flows: usize, depth: usize) -> Outcome<Vec<Bench>> {
    let snapshot = Arc::new(Snapshot::build(tables)?);
    Ok((0..boxes.len()).map(|index| worker(index, &snapshot, boxes, flows, depth)).collect())
}

fn worker(index: usize, snapshot: &Arc<Snapshot>, boxes: &Arc<[Mailbox]>, flows: usize, depth: usize) -> Bench {
    let (front, client) = sys::memory_pair(depth);
    let (back, task) = sys::memory_pair(depth);
    let counters = Arc::new(Counters::default());
    let link = LinkType::Ethernet;
    let role = |interface| Role::Interface(InterfaceIndex(interface));
    let everywhere = InterfaceInfo { link, joins: false, workers: (0..boxes.len()).collect() };
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
    let shared = Arc::new(Shared::new(desk));
    let worker = Worker::new(core, Arc::clone(snapshot), slots(front, back), Arc::clone(&shared));
    Bench { worker, client, task, shared, counters, tables: Arc::clone(snapshot) }
}
