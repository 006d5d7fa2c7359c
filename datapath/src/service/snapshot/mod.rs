//! The immutable, indexed form of the tables that workers read. [`build`] makes it, [`inherit`] takes over what is still needed
//! of the tables before; here it is read.

mod build;
mod inherit;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use vxlan::Vni;
use wire::Protocol;

pub use build::TablesError;

use super::by_number::ByNumber;
use super::six::FixedSurrogates;
use super::{Backend, BackendId, Generation, Interface, InterfaceIndex, Listen, Overlay, Path, Tables, VirtualService};
use crate::adjacency::Adjacency;
use crate::scheduler::HashTable;

/// Position of a service in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceIndex(usize);

/// Position of a backend in a snapshot: its service, its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendIndex {
    service: u32,
    backend: u32,
}

/// A backend, with what was prepared for reaching it.
#[derive(Clone, Copy, Debug)]
pub struct BackendRef<'a> {
    /// The service it belongs to.
    pub service: &'a VirtualService,
    /// As control described it.
    pub backend: &'a Backend,
    /// The way to it.
    pub adjacency: &'a Adjacency,
}

/// A backend that was taken out of the tables a short while ago: enough to tell it that its flows have ended.
#[derive(Clone, Debug)]
struct Retired {
    service: Arc<Compiled>,
    position: usize,
    adjacency: Adjacency,
    until: Duration,
}

#[derive(Debug)]
struct Compiled {
    service: VirtualService,
    adjacencies: Vec<Adjacency>,
    table: Arc<HashTable>,
    least_mtu: usize,
}

/// A service as the workers see it.
#[derive(Clone, Copy, Debug)]
pub struct ServiceRef<'a> {
    service: &'a VirtualService,
    /// What its scheduler needs.
    pub(crate) table: &'a HashTable,
    /// The largest IP packet that every one of its backends can be sent, in bytes.
    pub(crate) least_mtu: usize,
}

impl<'a> ServiceRef<'a> {
    /// The service, for as long as the tables live.
    #[must_use]
    pub fn get(self) -> &'a VirtualService {
        self.service
    }
}

impl std::ops::Deref for ServiceRef<'_> {
    type Target = VirtualService;

    fn deref(&self) -> &VirtualService {
        self.service
    }
}

/// A backend in the overlay, of which the task must know us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pupil {
    /// Which backend.
    pub(crate) backend: BackendId,
    /// Which news it came with, or moved with: see [`Snapshot::news`].
    pub(crate) news: u64,
    /// When that was.
    pub(crate) since: Duration,
}

/// Services, backends and prepared adjacencies of one generation.
#[derive(Debug)]
pub struct Snapshot {
    generation: Generation,
    interfaces: Vec<Interface>,
    overlays: Vec<Overlay>,
    services: Vec<Arc<Compiled>>,
    ports: HashMap<(Ipv4Addr, u16, Protocol), ServiceIndex>,
    ranges: Vec<(Listen, ServiceIndex)>,
    backends: ByNumber<BackendIndex>,
    retired: HashMap<BackendId, Retired>,
    vips: HashSet<Ipv4Addr>,
    /// See [`Tables::left`]. Few.
    left: Vec<Listen>,
    sources: HashSet<Ipv4Addr>,
    vteps: ByNumber<()>,
    plain: HashSet<(Ipv4Addr, Option<u16>)>,
    /// Backends in the overlay, in a stable order.
    pupils: Vec<Pupil>,
    /// How often there was something new in the overlay, over all generations up to this one.
    news: u64,
    /// One of the backends at each overlay address and VTEP.
    tasks: HashMap<(Vni, Ipv4Addr, Ipv4Addr), BackendId>,
    /// Backends that were removed, over all generations up to this one.
    removals: u64,
    six: FixedSurrogates,
    /// Some service's datagrams make no flows.
    has_one_packet: bool,
    /// Where such datagrams go; without a port, to the one that the client has asked for.
    one_packet: HashSet<(Ipv4Addr, Option<u16>)>,
}

impl Snapshot {
    /// Whether packets travel as with these tables: over the same interfaces, on the same ways to the same backends. That is
    /// the part of tables that the kernel and ARP decide.
    #[must_use]
    pub fn leads_as(&self, tables: &Tables) -> bool {
        fn ways<'a>(services: impl Iterator<Item = &'a VirtualService>) -> impl Iterator<Item = (BackendId, &'a Path)> {
            services.flat_map(|service| &service.backends).map(|backend| (backend.id, &backend.path))
        }
        self.interfaces == tables.interfaces && ways(self.services()).eq(ways(tables.services.iter()))
    }

    /// Version of these tables.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The service that listens there.
    #[must_use]
    pub fn lookup(&self, address: Ipv4Addr, port: u16, protocol: Protocol) -> Option<ServiceRef<'_>> {
        let index = self.ports.get(&(address, port, protocol)).copied().or_else(|| {
            let covers = |listen: &Listen| {
                listen.address == address && listen.protocol == protocol && listen.ports.contains(&port)
            };
            self.ranges.iter().find(|(listen, _)| covers(listen)).map(|(_, index)| *index)
        })?;
        self.services.get(index.0).map(|compiled| ServiceRef {
            service: &compiled.service,
            table: &compiled.table,
            least_mtu: compiled.least_mtu,
        })
    }

    /// A backend that stands.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> Option<BackendRef<'_>> {
        let place = self.backends.get(id.0)?;
        self.services.get(place.service as usize).and_then(|compiled| compiled.backend(place.backend as usize))
    }

    /// A backend that stands, or one that was removed lately.
    #[must_use]
    pub fn backend_or_retired(&self, id: BackendId) -> Option<BackendRef<'_>> {
        self.backend(id).or_else(|| {
            let old = self.retired.get(&id)?;
            let found = old.service.backend(old.position)?;
            Some(BackendRef { adjacency: &old.adjacency, ..found })
        })
    }

    /// Whether all backends of earlier tables stand in these too. Counted on control, so that workers need not look at
    /// every backend.
    #[must_use]
    pub(crate) fn keeps_all_of(&self, earlier: &Snapshot) -> bool {
        self.removals == earlier.removals
    }

    /// A backend at this address of an overlay behind this VTEP.
    #[must_use]
    pub(crate) fn task(&self, vni: Vni, address: Ipv4Addr, vtep: Ipv4Addr) -> Option<BackendRef<'_>> {
        self.backend(*self.tasks.get(&(vni, address, vtep))?)
    }

    /// All backends in the overlay, in a stable order.
    #[must_use]
    pub(crate) fn pupils(&self) -> &[Pupil] {
        &self.pupils
    }

    /// Counts the tables that brought backends in the overlay which must be taught who we are. Counted on control, so that
    /// worker 0 need not compare tables, and can leave some out.
    #[must_use]
    pub(crate) fn news(&self) -> u64 {
        self.news
    }

    /// All backends, in a stable order.
    pub fn backends(&self) -> impl Iterator<Item = BackendRef<'_>> {
        self.services.iter().flat_map(|compiled| (0..compiled.adjacencies.len()).filter_map(|i| compiled.backend(i)))
    }

    /// All services.
    pub fn services(&self) -> impl Iterator<Item = &VirtualService> {
        self.services.iter().map(|compiled| &compiled.service)
    }

    /// Whether flows that some service still has may have come there.
    #[must_use]
    pub fn was_left(&self, address: Ipv4Addr, port: u16, protocol: Protocol) -> bool {
        let is_it =
            |listen: &Listen| (listen.address, listen.protocol) == (address, protocol) && listen.ports.contains(&port);
        self.left.iter().any(is_it)
    }

    /// Whether some service listens on this address, or has listened there.
    #[must_use]
    pub fn is_vip(&self, address: Ipv4Addr) -> bool {
        self.vips.contains(&address)
    }

    /// Whether some service's datagrams make no flows.
    #[must_use]
    pub fn has_one_packet(&self) -> bool {
        self.has_one_packet
    }

    /// Whether datagrams that make no flows go there.
    pub(crate) fn takes_one_packet(&self, address: Ipv4Addr, port: u16) -> bool {
        self.one_packet.contains(&(address, Some(port))) || self.one_packet.contains(&(address, None))
    }

    /// Whether we translate source addresses to this one.
    #[must_use]
    pub fn is_source(&self, address: Ipv4Addr) -> bool {
        self.sources.contains(&address)
    }

    /// Whether tunnels may come from there.
    #[must_use]
    pub fn is_vtep(&self, address: Ipv4Addr) -> bool {
        self.vteps.contains(address.to_bits())
    }

    /// Whether a plainly routed backend answers from there.
    #[must_use]
    pub fn is_plain_backend(&self, address: Ipv4Addr, port: u16) -> bool {
        self.plain.contains(&(address, Some(port))) || self.plain.contains(&(address, None))
    }

    /// Whether there is IPv6 in the tables.
    #[must_use]
    pub fn has_six(&self) -> bool {
        !self.six.is_empty()
    }

    /// What stands for an IPv6 address of the tables.
    #[must_use]
    pub fn surrogate(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        self.six.surrogate(address)
    }

    /// An address of the tables as others know it.
    #[must_use]
    pub fn real_address(&self, address: Ipv4Addr) -> IpAddr {
        self.six.real(address)
    }

    /// Our places in the overlays.
    #[must_use]
    pub fn overlays(&self) -> &[Overlay] {
        &self.overlays
    }

    /// Our place in the overlay with this number.
    #[must_use]
    pub fn overlay(&self, vni: Vni) -> Option<&Overlay> {
        // There are few.
        self.overlays.iter().find(|overlay| overlay.vni == vni)
    }

    /// Where tunnels for us end.
    #[must_use]
    pub(crate) fn tunnel(&self) -> Option<(Ipv4Addr, u16)> {
        self.overlays.first().map(|overlay| (overlay.vtep, overlay.port))
    }

    /// All interfaces, in the order of the config.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The MTU of an interface's link in bytes; Ethernet's for one that is not described.
    #[must_use]
    pub fn link_mtu(&self, index: InterfaceIndex) -> usize {
        self.interface(index).map_or(1500, |interface| usize::from(interface.mtu))
    }

    /// One interface.
    #[must_use]
    pub fn interface(&self, index: InterfaceIndex) -> Option<&Interface> {
        self.interfaces.get(usize::from(index.0))
    }
}

impl Compiled {
    fn backend(&self, position: usize) -> Option<BackendRef<'_>> {
        let backend = self.service.backends.get(position)?;
        let adjacency = self.adjacencies.get(position)?;
        Some(BackendRef { service: &self.service, backend, adjacency })
    }
}
