//! Tables are checked and indexed here.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use vxlan::Vni;

use super::{BackendIndex, Compiled, Pupil, ServiceIndex, Snapshot};
use crate::adjacency::Adjacency;
use crate::service::by_number::ByNumber;
use crate::service::six::FixedSurrogates;
use crate::service::{
    Backend, BackendId, Hop, InterfaceIndex, Listen, Overlay, Path, ServiceId, Tables, VirtualService,
};

/// Ranges longer than this are looked up one by one instead of filling the port index.
const LONGEST_INDEXED_RANGE: usize = 1024;

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
                self.one_packet.insert((backend.address, backend.port.map(NonZeroU16::get)));
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
        if let Hop::Ethernet { interface, .. } = backend.path.hop()
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
                self.plain.insert((backend.address, backend.port.map(NonZeroU16::get)));
            }
        }
    }
}
