//! The tables that workers read: services, backends, how to reach them.
//!
//! [`Tables`] is the plain description that control fills; [`Snapshot`] is the indexed, immutable form that workers
//! look things up in. A snapshot is built on control and shared by `Arc`; it is never changed after that.

mod by_number;
mod clients;
mod six;
mod snapshot;
mod stats;
#[cfg(test)]
pub(crate) mod testing;

pub use clients::{Clients, Home, Moment, Persistence};
pub(crate) use six::FixedSurrogates;
pub(crate) use snapshot::Pupil;
pub use snapshot::{BackendIndex, BackendRef, ServiceIndex, ServiceRef, Snapshot, TablesError};
pub use stats::{BackendStats, BackendTotals, Phase, WorkerStats};

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU16, NonZeroU32};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use conntrack::Idle;
use vxlan::Vni;
use wire::{MacAddr, Protocol};

use crate::protection::Protection;
pub use crate::scheduler::SchedulerKind;
use crate::scheduler::TableCache;

/// A virtual service, named by control; never given twice within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// A backend of one service, named by control; never given twice within a process, so that a task which takes over
/// the address of a dead one is another backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u32);

/// Which version of the tables; counts up by one with every publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// Position of an interface in [`Tables::interfaces`] (the order of `[[interface]]` in the config).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceIndex(pub u16);

/// Where a service listens: one address, one port or a range of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The VIP.
    pub address: Ipv4Addr,
    /// First to last port, both included.
    pub ports: RangeInclusive<u16>,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// A published service and the backends that serve it.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are settings, each by itself")]
pub struct VirtualService {
    /// Stable name.
    pub id: ServiceId,
    /// Where it listens.
    pub listens: Vec<Listen>,
    /// How a backend is picked.
    pub scheduler: SchedulerKind,
    /// TCP timestamps towards backends come from one clock, see `docs/decisions`.
    pub rewrite_timestamps: bool,
    /// Direct server return: backends get the clients' packets as they are, and answer around us.
    pub direct: bool,
    /// Backends get a PROXY protocol header in front of what a client sends. Not together with `direct`.
    pub proxy_protocol: bool,
    /// Its own idle times.
    pub idle: Idle,
    /// Each UDP datagram is scheduled on its own and makes no flow.
    pub one_packet: bool,
    /// Clients stay with their backends.
    pub persistence: Option<Persistence>,
    /// Who may open flows, and how many.
    pub protection: Protection,
    /// All backends, drained ones (weight 0) too.
    pub backends: Vec<Backend>,
    /// The scheduler's place: control hands the same one to every generation.
    pub turn: Arc<Turn>,
}

/// One task (or node port) that serves a service.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Stable name.
    pub id: BackendId,
    /// The task's overlay address, or a plainly routed address.
    pub address: Ipv4Addr,
    /// Target port; `None` keeps the port that the client asked for.
    pub port: Option<NonZeroU16>,
    /// 0 drains: no new flows, old ones go on.
    pub weight: u16,
    /// At most so many flows that are not over, all workers together.
    pub max_connections: Option<NonZeroU32>,
    /// Serves only when no other backend is left.
    pub sorry: bool,
    /// How packets get there.
    pub path: Path,
    /// Counters, one set a worker: control hands the same ones to every generation.
    pub stats: Arc<BackendStats>,
}

impl Backend {
    /// The port to send to when the client asked for `wanted`.
    #[must_use]
    pub fn target_port(&self, wanted: u16) -> u16 {
        self.port.map_or(wanted, NonZeroU16::get)
    }
}

/// How packets reach a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// Through the VXLAN overlay, to the node that runs the task.
    Overlay {
        /// Which overlay network.
        vni: Vni,
        /// The node's underlay address.
        vtep: Ipv4Addr,
        /// The task's MAC inside the overlay.
        mac: MacAddr,
        /// The way to the node.
        hop: Hop,
    },
    /// Routed plainly, DNAT and SNAT without VXLAN.
    Plain {
        /// Source addresses that the backend sees; never empty, but for direct services, which need none.
        snat: Vec<Ipv4Addr>,
        /// The way to the backend.
        hop: Hop,
    },
}

impl Path {
    /// The next hop on this path.
    #[must_use]
    pub fn hop(&self) -> Hop {
        match self {
            Path::Overlay { hop, .. } | Path::Plain { hop, .. } => *hop,
        }
    }
}

/// The next hop on the underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Out of one of our interfaces to this MAC.
    Ethernet {
        /// Which `[[interface]]`.
        interface: InterfaceIndex,
        /// MAC of the next hop.
        mac: MacAddr,
    },
    /// The kernel routes it: through the TUN device or the overlay socket.
    Kernel,
    /// No route or no neighbour yet: packets are dropped and counted.
    Unresolved,
}

/// What workers must know of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Kernel name.
    pub name: String,
    /// Its own MAC, the source of what we send.
    pub mac: MacAddr,
    /// Underlay MTU in bytes.
    pub mtu: u16,
    /// Administratively and physically up.
    pub up: bool,
}

/// Our place in a VXLAN overlay network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The network.
    pub vni: Vni,
    /// UDP port of the tunnels.
    pub port: u16,
    /// Our underlay address.
    pub vtep: Ipv4Addr,
    /// Our overlay addresses, the sources that tasks see; never empty, the first is the main one.
    pub addresses: Vec<Ipv4Addr>,
    /// Our MAC in the overlay.
    pub mac: MacAddr,
    /// Largest inner IP packet in bytes.
    pub mtu: u16,
    /// Where tunnels may come from beside the backends' VTEPs: a node's kernel chooses the source address by its routes.
    pub peers: Vec<Ipv4Addr>,
}

/// Everything that workers need, as control describes it.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Version.
    pub generation: Generation,
    /// In the order of the config.
    pub interfaces: Vec<Interface>,
    /// None when no backend has a VTEP. All share one underlay address and port; no two share an overlay address.
    pub overlays: Vec<Overlay>,
    /// All services.
    pub services: Vec<VirtualService>,
    /// Where services have listened that still have flows: what is new there is refused.
    pub left: Vec<Listen>,
    /// SNAT addresses that flows to plainly routed backends may still have, although no new flow gets them.
    pub left_sources: Vec<Ipv4Addr>,
    /// Every IPv6 address of the tables (VIPs, plain backends, our addresses towards those), with the address of
    /// 240.0.0.0/8 that stands for it wherever else there is an `Ipv4Addr` here. A pair lasts as long as the process.
    pub six: Vec<(Ipv6Addr, Ipv4Addr)>,
}

/// What a scheduler keeps from one generation to the next: whose turn it is, and the last table.
///
/// The turn is shared by all workers, so that the turns of a service alternate strictly whichever core a client's packets
/// land on. It is touched once per new flow, never per packet, and sits alone on its cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Turn {
    next: AtomicU32,
    /// Touched by control only.
    pub(crate) tables: Box<TableCache>,
}

impl Turn {
    /// Takes the next turn.
    pub fn take(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}
