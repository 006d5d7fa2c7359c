//! The immutable, indexed form of the tables that workers read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use conntrack::State;
use hashbrown::{HashMap, HashSet};
use vxlan::Vni;
use wire::Protocol;

use super::by_number::ByNumber;
use super::six::FixedSurrogates;
use super::{
    Backend, BackendId, Generation, Interface, InterfaceIndex, Listen, Overlay, Path, ServiceId, Tables, VirtualService,
};
use crate::adjacency::Adjacency;
use crate::scheduler::HashTable;

/// Ranges longer than this are looked up one by one instead of filling the port index.
const LONGEST_INDEXED_RANGE: usize = 1024;

/// How long removed backends are remembered for saying farewell to their flows.
const FAREWELL: Duration = Duration::from_secs(15);

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

/// What is wrong with a set of tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TablesError {
    /// Two services want the same packets.
    #[error("services {0:?} and {1:?} both listen on {2:?}")]
    ListenTwice(ServiceId, ServiceId, Listen),
    /// Ids must be unique.
    #[error("backend {0:?} is described twice")]
    BackendTwice(BackendId),
    /// A VXLAN backend without an overlay to reach it through.
    #[error("backend {0:?} has a VTEP, but its overlay is not in the tables")]
    NoOverlay(BackendId),
    /// Packets of two overlays could not be told apart, or come to different sockets.
    #[error("the overlays with VNI {0} and {1} need one tunnel endpoint, and numbers and addresses of their own")]
    OverlaysMeet(Vni, Vni),
    /// No source address to translate to.
    #[error("backend {0:?} has no SNAT address")]
    NoSource(BackendId),
    /// A next hop on an interface that is not described.
    #[error("backend {0:?} is reached through interface {1:?}, which is not in the tables")]
    NoInterface(BackendId, InterfaceIndex),
    /// Not of 240.0.0.0/8, or given twice.
    #[error("{1} cannot stand for {0}: it is not of 240.0.0.0/8, or one of the two is in the tables already")]
    BadSurrogate(Ipv6Addr, Ipv4Addr),
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
    /// Checks and indexes a description.
    ///
    /// # Errors
    /// [`TablesError`] names the first contradiction; nothing is built then.
    pub fn build(tables: Tables) -> Result<Self, TablesError> {
        let mut snapshot = Self {
            generation: tables.generation,
            interfaces: tables.interfaces,
            overlays: tables.overlays,
            services: Vec::with_capacity(tables.services.len()),
            ports: HashMap::new(),
            ranges: Vec::new(),
            backends: ByNumber::with_room(tables.services.iter().map(|service| service.backends.len()).sum()),
            retired: HashMap::new(),
            vips: tables.left.iter().map(|listen| listen.address).collect(),
            left: tables.left,
            sources: tables.left_sources.into_iter().collect(),
            vteps: ByNumber::new(),
            plain: HashSet::new(),
            pupils: Vec::new(),
            news: 0,
            tasks: HashMap::new(),
            removals: 0,
            six: FixedSurrogates::new(&tables.six)?,
            has_one_packet: tables.services.iter().any(|service| service.one_packet),
            one_packet: HashSet::new(),
        };
        snapshot.check_overlays()?;
        for overlay in &snapshot.overlays {
            snapshot.sources.extend(overlay.addresses.iter().copied());
            for peer in &overlay.peers {
                snapshot.vteps.insert(peer.to_bits(), ());
            }
        }
        for service in tables.services {
            snapshot.add_service(service)?;
        }
        Ok(snapshot)
    }

    fn check_overlays(&self) -> Result<(), TablesError> {
        for (n, one) in self.overlays.iter().enumerate() {
            let meets = |other: &&Overlay| {
                other.vni == one.vni
                    || (other.vtep, other.port) != (one.vtep, one.port)
                    || other.addresses.iter().any(|address| one.addresses.contains(address))
            };
            if let Some(other) = self.overlays.iter().skip(n + 1).find(meets) {
                return Err(TablesError::OverlaysMeet(one.vni, other.vni));
            }
        }
        Ok(())
    }

    fn add_service(&mut self, service: VirtualService) -> Result<(), TablesError> {
        let index = ServiceIndex(self.services.len());
        for listen in &service.listens {
            self.add_listen(listen, index, service.id)?;
        }
        let mut adjacencies = Vec::with_capacity(service.backends.len());
        for (position, backend) in service.backends.iter().enumerate() {
            adjacencies.push(self.adjacency(backend, service.direct)?);
            self.index_backend(backend, service.direct);
            if service.one_packet {
                self.one_packet.insert((backend.address, backend.port.map(std::num::NonZeroU16::get)));
            }
            let place = BackendIndex { service: index.0 as u32, backend: position as u32 };
            if !self.backends.insert(backend.id.0, place) {
                return Err(TablesError::BackendTwice(backend.id));
            }
        }
        let table = service.turn.tables.table(&service, &self.six);
        let least_mtu = adjacencies.iter().map(|adjacency| adjacency.mtu).min().unwrap_or(1500);
        self.services.push(Arc::new(Compiled { service, adjacencies, table, least_mtu }));
        Ok(())
    }

    fn add_listen(&mut self, listen: &Listen, index: ServiceIndex, id: ServiceId) -> Result<(), TablesError> {
        self.vips.insert(listen.address);
        if let Some(other) = self.overlapping(listen) {
            return Err(TablesError::ListenTwice(self.service_id(other).unwrap_or(id), id, listen.clone()));
        }
        if listen.ports.len() > LONGEST_INDEXED_RANGE {
            self.ranges.push((listen.clone(), index));
            return Ok(());
        }
        for port in listen.ports.clone() {
            self.ports.insert((listen.address, port, listen.protocol), index);
        }
        Ok(())
    }

    fn overlapping(&self, listen: &Listen) -> Option<ServiceIndex> {
        let same = |other: &Listen| other.address == listen.address && other.protocol == listen.protocol;
        let meets =
            |other: &Listen| other.ports.start() <= listen.ports.end() && listen.ports.start() <= other.ports.end();
        let in_ranges = self.ranges.iter().find(|(other, _)| same(other) && meets(other)).map(|(_, index)| *index);
        in_ranges.or_else(|| {
            let key = |port| (listen.address, port, listen.protocol);
            listen.ports.clone().find_map(|port| self.ports.get(&key(port)).copied())
        })
    }

    fn service_id(&self, index: ServiceIndex) -> Option<ServiceId> {
        self.services.get(index.0).map(|compiled| compiled.service.id)
    }

    fn adjacency(&self, backend: &Backend, direct: bool) -> Result<Adjacency, TablesError> {
        if let Path::Plain { snat, .. } = &backend.path
            && snat.is_empty()
            && !direct
        {
            return Err(TablesError::NoSource(backend.id));
        }
        let overlay = match backend.path {
            Path::Overlay { vni, .. } => Some(self.overlay(vni).ok_or(TablesError::NoOverlay(backend.id))?),
            Path::Plain { .. } => None,
        };
        if let super::Hop::Ethernet { interface, .. } = backend.path.hop()
            && self.interface(interface).is_none()
        {
            return Err(TablesError::NoInterface(backend.id, interface));
        }
        Ok(Adjacency::new(backend, overlay, &self.interfaces))
    }

    fn index_backend(&mut self, backend: &Backend, direct: bool) {
        match &backend.path {
            Path::Overlay { vni, vtep, .. } => {
                self.vteps.insert(vtep.to_bits(), ());
                self.pupils.push(Pupil { backend: backend.id, news: 0, since: Duration::ZERO });
                self.tasks.entry((*vni, backend.address, *vtep)).or_insert(backend.id);
            }
            Path::Plain { snat, .. } => {
                // It answers around us, but for flows of a time in which its service was not direct.
                self.sources.extend(snat.iter().filter(|_| !direct).copied());
                self.plain.insert((backend.address, backend.port.map(std::num::NonZeroU16::get)));
            }
        }
    }

    /// Whether packets travel as with these tables: over the same interfaces, on the same ways to the same backends. That is
    /// the part of tables that the kernel and ARP decide.
    #[must_use]
    pub fn leads_as(&self, tables: &Tables) -> bool {
        fn ways<'a>(services: impl Iterator<Item = &'a VirtualService>) -> impl Iterator<Item = (BackendId, &'a Path)> {
            services.flat_map(|service| &service.backends).map(|backend| (backend.id, &backend.path))
        }
        self.interfaces == tables.interfaces && ways(self.services()).eq(ways(tables.services.iter()))
    }

    /// Takes over, from the tables before these, what is needed to say farewell to removed backends. `reset_time` is how long flows
    /// that were reset stay, where their service has no longer time of its own: the last of them must still find its backend's
    /// gauges, which may serve the backend that comes after it.
    pub fn inherit(&mut self, previous: &Snapshot, now: Duration, reset_time: Duration) {
        // A service's own time counts only while there is room for one more.
        let stay =
            |service: &VirtualService| FAREWELL + service.idle.of(State::Reset).unwrap_or_default().max(reset_time);
        let longest = previous.services().map(stay).max().unwrap_or(FAREWELL);
        self.removals = previous.removals;
        self.six.inherit(&previous.six, now, now + longest);
        for (id, place) in previous.backends.iter() {
            if self.backends.contains(id) {
                continue;
            }
            self.removals += 1;
            let Some(service) = previous.services.get(place.service as usize) else { continue };
            let position = place.backend as usize;
            let Some(adjacency) = service.adjacencies.get(position).cloned() else { continue };
            let until = now + stay(&service.service);
            self.retired.insert(BackendId(id), Retired { service: Arc::clone(service), position, adjacency, until });
        }
        let lasting = previous.retired.iter().filter(|(id, old)| old.until > now && !self.backends.contains(id.0));
        let lasting: Vec<_> = lasting.map(|(id, old)| (*id, old.clone())).collect();
        self.retired.extend(lasting);
        self.follow_nodes();
        self.note_news(previous, now);
    }

    /// Finds who has to be taught that we are here; who was taught by the tables before these need not be.
    fn note_news(&mut self, previous: &Snapshot, now: Duration) {
        let known: HashMap<BackendId, &Pupil> = previous.pupils.iter().map(|pupil| (pupil.backend, pupil)).collect();
        let next = previous.news + 1;
        self.news = previous.news;
        let mut pupils = std::mem::take(&mut self.pupils);
        for pupil in &mut pupils {
            match known.get(&pupil.backend) {
                Some(old) if self.teaches_as(previous, pupil.backend) => *pupil = **old,
                _ => {
                    (pupil.news, pupil.since) = (next, now);
                    self.news = next;
                }
            }
        }
        self.pupils = pupils;
    }

    /// Whether this backend hears from us what it heard by the tables before these, on the same way: before there was one, it
    /// heard nothing.
    fn teaches_as(&self, previous: &Snapshot, id: BackendId) -> bool {
        let (Some(new), Some(old)) = (self.backend(id), previous.backend(id)) else { return false };
        let Path::Overlay { vni, .. } = new.backend.path else { return false };
        let (Some(ours), Some(before)) = (self.overlay(vni), previous.overlay(vni)) else { return false };
        (new.backend.address, &new.backend.path) == (old.backend.address, &old.backend.path)
            && (ours.mac, ours.vtep) == (before.mac, before.vtep)
            && ours.addresses.iter().all(|address| before.addresses.contains(address))
    }

    /// The way to a removed backend's node may have changed since, if another one runs there: a node that was cut off
    /// comes back.
    fn follow_nodes(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        let mut hops = HashMap::new();
        for other in self.backends() {
            if let Path::Overlay { vtep, .. } = other.backend.path {
                hops.insert(vtep, other.adjacency.hop);
            }
        }
        for old in self.retired.values_mut() {
            let Some(backend) = old.service.service.backends.get(old.position) else { continue };
            if let Path::Overlay { vtep, .. } = backend.path
                && let Some(hop) = hops.get(&vtep)
            {
                old.adjacency.hop = *hop;
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::{plain_backend, service, tables};

    #[test]
    fn finds_single_ports_and_ranges() {
        let mut web = service(&[1]);
        web.listens[0].ports = 8080..=8080;
        let mut range = service(&[1]);
        range.id = ServiceId(2);
        range.backends[0].id = BackendId(77);
        range.listens[0].ports = 20_000..=40_000;
        let snapshot = Snapshot::build(tables(vec![web, range])).unwrap();
        let vip = Ipv4Addr::new(198, 18, 0, 1);
        let id = |port| snapshot.lookup(vip, port, Protocol::Tcp).map(|service| service.id);
        assert_eq!(id(8080), Some(ServiceId(1)));
        assert_eq!(id(20_000), Some(ServiceId(2)));
        assert_eq!(id(40_000), Some(ServiceId(2)));
        assert_eq!(id(40_001), None);
        assert!(snapshot.lookup(vip, 8080, Protocol::Udp).is_none());
        assert!(snapshot.lookup(Ipv4Addr::new(198, 18, 0, 2), 8080, Protocol::Tcp).is_none());
    }

    #[test]
    fn refuses_two_services_on_one_port_whatever_their_order() {
        for (first, second) in [
            (8080..=8080, 8000..=20_000),
            (8000..=20_000, 8080..=8080),
            (80..=90, 90..=100),
            (1000..=5000, 5000..=9000),
            (5000..=9000, 1000..=5000),
        ] {
            let mut a = service(&[1]);
            a.listens[0].ports = first;
            let mut b = service(&[]);
            b.id = ServiceId(2);
            b.listens[0].ports = second;
            assert!(matches!(
                Snapshot::build(tables(vec![a, b])),
                Err(TablesError::ListenTwice(ServiceId(1), ServiceId(2), _))
            ));
        }
    }

    /// The same ports of another address, or of another protocol, are other ports: long ranges as well as short ones.
    #[test]
    fn ports_of_another_address_or_protocol_are_free() {
        for ports in [80..=90, 8000..=20_000] {
            let mut services = vec![service(&[]), service(&[]), service(&[])];
            for (service, id) in services.iter_mut().zip(1..) {
                service.id = ServiceId(id);
                service.listens[0].ports = ports.clone();
            }
            services[1].listens[0].protocol = Protocol::Udp;
            services[2].listens[0].address = Ipv4Addr::new(198, 18, 0, 9);
            let vip = services[0].listens[0].address;
            let snapshot = Snapshot::build(tables(services)).unwrap();
            let id = |address, protocol| snapshot.lookup(address, *ports.end(), protocol).map(|service| service.id);
            assert_eq!(id(vip, Protocol::Tcp), Some(ServiceId(1)));
            assert_eq!(id(vip, Protocol::Udp), Some(ServiceId(2)));
            assert_eq!(id(Ipv4Addr::new(198, 18, 0, 9), Protocol::Tcp), Some(ServiceId(3)));
        }
    }

    #[test]
    fn long_ranges_may_lie_side_by_side() {
        let (mut low, mut high) = (service(&[]), service(&[]));
        low.listens[0].ports = 1000..=4999;
        high.id = ServiceId(2);
        high.listens[0].ports = 5000..=9000;
        let vip = low.listens[0].address;
        let snapshot = Snapshot::build(tables(vec![low, high])).unwrap();
        let id = |port| snapshot.lookup(vip, port, Protocol::Tcp).map(|service| service.id);
        assert_eq!((id(4999), id(5000)), (Some(ServiceId(1)), Some(ServiceId(2))));
    }

    #[test]
    fn plain_backends_answer_from_their_port_or_from_any() {
        let source = vec![Ipv4Addr::new(198, 18, 1, 1)];
        let mut web = service(&[]);
        web.backends = vec![plain_backend(5, source.clone()), plain_backend(6, source)];
        let (one, any) = (web.backends[0].address, Ipv4Addr::new(198, 18, 1, 77));
        let port = web.backends[0].port.unwrap().get();
        (web.backends[1].address, web.backends[1].port) = (any, None);
        let snapshot = Snapshot::build(tables(vec![web])).unwrap();
        let answers = [(one, port), (one, port + 1), (any, 1), (any, 65_535)];
        let is_plain = answers.map(|(address, port)| snapshot.is_plain_backend(address, port));
        assert_eq!(is_plain, [true, false, true, true]);
    }

    #[test]
    fn refuses_contradictions() {
        let mut twice = service(&[1, 1]);
        twice.backends[1].id = twice.backends[0].id;
        assert!(matches!(Snapshot::build(tables(vec![twice])), Err(TablesError::BackendTwice(_))));

        let mut no_source = service(&[1]);
        no_source.backends[0] = plain_backend(5, vec![]);
        assert!(matches!(Snapshot::build(tables(vec![no_source])), Err(TablesError::NoSource(_))));

        let mut no_overlay = tables(vec![service(&[1])]);
        no_overlay.overlays.clear();
        assert!(matches!(Snapshot::build(no_overlay), Err(TablesError::NoOverlay(_))));

        let second = |change: fn(&mut Overlay)| {
            let mut two = tables(vec![service(&[1])]);
            let mut other = two.overlays[0].clone();
            (other.vni, other.addresses) = (Vni::try_from(99).unwrap(), vec![Ipv4Addr::new(10, 9, 0, 3)]);
            change(&mut other);
            two.overlays.push(other);
            Snapshot::build(two).map(|_| ())
        };
        assert_eq!(second(|_| {}), Ok(()));
        let wrong: [fn(&mut Overlay); 4] = [
            |overlay| overlay.vni = Vni::try_from(4096).unwrap(),
            |overlay| overlay.port = 8472,
            |overlay| overlay.vtep = Ipv4Addr::new(198, 18, 1, 2),
            |overlay| overlay.addresses.push(Ipv4Addr::new(10, 0, 0, 3)),
        ];
        for change in wrong {
            assert!(matches!(second(change), Err(TablesError::OverlaysMeet(..))));
        }
    }

    /// A node is cut off, its tasks are taken out, and it comes back.
    #[test]
    fn the_way_to_a_removed_backend_follows_its_node() {
        let with_hop = |hop: super::super::Hop, weights: &[u16]| {
            let mut tables = tables(vec![service(weights)]);
            for backend in &mut tables.services[0].backends {
                if let Path::Overlay { vtep, hop: now, .. } = &mut backend.path {
                    (*vtep, *now) = (Ipv4Addr::new(198, 18, 1, 11), hop);
                }
            }
            Snapshot::build(tables).unwrap()
        };
        let second = Duration::from_secs(1);
        let cut = with_hop(super::super::Hop::Unresolved, &[1, 1]);
        let gone = cut.backends().nth(1).unwrap().backend.id;
        let mut fewer = with_hop(super::super::Hop::Unresolved, &[1]);
        fewer.inherit(&cut, Duration::ZERO, 10 * second);
        assert_eq!(fewer.backend_or_retired(gone).unwrap().adjacency.hop, crate::adjacency::PreparedHop::Unresolved);
        let mut back = with_hop(super::super::Hop::Kernel, &[1]);
        back.inherit(&fewer, second, 10 * second);
        assert_eq!(back.backend_or_retired(gone).unwrap().adjacency.hop, crate::adjacency::PreparedHop::Kernel);
    }

    #[test]
    fn a_removed_backend_is_remembered_for_a_while() {
        let second = Duration::from_secs(1);
        let full = Snapshot::build(tables(vec![service(&[1, 1])])).unwrap();
        let id = full.backends().nth(1).unwrap().backend.id;
        let mut fewer = Snapshot::build(tables(vec![service(&[1])])).unwrap();
        fewer.inherit(&full, Duration::ZERO, 10 * second);
        assert!(fewer.backend(id).is_none());
        assert!(fewer.backend_or_retired(id).is_some());
        assert!(!fewer.keeps_all_of(&full));

        let mut soon = Snapshot::build(tables(vec![service(&[1])])).unwrap();
        soon.inherit(&fewer, 24 * second, 10 * second);
        assert!(soon.keeps_all_of(&fewer), "what went earlier is no news");
        assert!(soon.backend_or_retired(id).is_some());
        let mut late = Snapshot::build(tables(vec![service(&[1])])).unwrap();
        late.inherit(&soon, 25 * second, 10 * second);
        assert!(late.backend_or_retired(id).is_none());
    }

    /// Its service may have a time of its own for flows that were reset.
    #[test]
    fn a_removed_backend_is_remembered_as_long_as_its_service_remembers_flows() {
        let second = Duration::from_secs(1);
        let with_time = |weights: &[u16]| {
            let mut web = service(weights);
            web.idle = conntrack::Idle::by_state(|state| (state == State::Reset).then_some(60 * second));
            Snapshot::build(tables(vec![web])).unwrap()
        };
        let full = with_time(&[1, 1]);
        let id = full.backends().nth(1).unwrap().backend.id;
        let mut fewer = with_time(&[1]);
        fewer.inherit(&full, Duration::ZERO, 10 * second);
        let mut soon = with_time(&[1]);
        soon.inherit(&fewer, 74 * second, 10 * second);
        assert!(soon.backend_or_retired(id).is_some());
        let mut late = with_time(&[1]);
        late.inherit(&soon, 75 * second, 10 * second);
        assert!(late.backend_or_retired(id).is_none());
    }
}
