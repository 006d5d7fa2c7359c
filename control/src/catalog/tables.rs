//! From the catalog to the tables that workers read.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use datapath::protection::Protection;
use datapath::service::{self, Backend, Generation, Hop, Overlay, Path, Tables, VirtualService};

use vxlan::Vni;

use super::{BackendEntry, Catalog, Resolve, ServiceEntry};
use crate::config::{Listen, OverlayConfig, rules};

impl Catalog {
    /// The tables of this moment. `resolve` says where packets must go.
    pub fn tables(&self, generation: Generation, resolve: &dyn Resolve) -> Tables {
        let services: Vec<_> = self.services.iter().map(|service| self.virtual_service(service, resolve)).collect();
        let left: Vec<_> =
            self.services.iter().flat_map(|service| &service.left).map(|left| self.listen(left)).collect();
        Tables {
            generation,
            interfaces: resolve.interfaces(),
            overlays: self.overlays.iter().map(|config| overlay(config, &self.peers)).collect(),
            six: self.surrogates.among(services.iter().flat_map(addresses).chain(left.iter().map(|left| left.address))),
            services,
            left,
            left_sources: Vec::new(),
        }
    }

    /// Whether connections may have a source address of the tables before.
    pub fn has_plain_connections(&self) -> bool {
        let backends = self.services.iter().flat_map(|service| &service.backends);
        let totals = backends.filter(|backend| backend.config.vtep.is_none()).map(|backend| backend.stats.totals());
        totals.into_iter().any(|now| now.active + now.inactive > 0)
    }

    /// Tells the workers of sources that connections may still have.
    pub fn leave_sources(&self, tables: &mut Tables, left: &[IpAddr]) {
        tables.left_sources = left.iter().map(|source| self.surrogates.of(*source)).collect();
        let known: BTreeSet<Ipv4Addr> = tables.six.iter().map(|(_, surrogate)| *surrogate).collect();
        let new = tables.left_sources.iter().copied().filter(|source| !known.contains(source));
        tables.six.extend(self.surrogates.among(new));
    }

    fn virtual_service(&self, service: &ServiceEntry, resolve: &dyn Resolve) -> VirtualService {
        VirtualService {
            id: service.id,
            listens: service.listens.iter().map(|listen| self.listen(listen)).collect(),
            scheduler: service.settings.scheduler,
            rewrite_timestamps: service.settings.rewrite_timestamps,
            direct: service.settings.direct,
            proxy_protocol: service.settings.proxy_protocol,
            idle: service.settings.timeouts.idle(service.settings.timeout),
            one_packet: service.settings.one_packet,
            backends: self.backends(service, resolve),
            persistence: self.persistence(service),
            protection: protection(service),
            turn: Arc::clone(&service.turn),
        }
    }

    fn backends(&self, service: &ServiceEntry, resolve: &dyn Resolve) -> Vec<Backend> {
        // Its path, and its weight as far as it goes by the backend alone.
        let ways = service.backends.iter().zip(service.weights()).map(|(entry, weight)| {
            // The swarm's overlay may be another than the file had in mind.
            let has_place = rules::backend_faults(&entry.config, self.rules_overlay()).is_empty();
            // What failed its checks, or does not answer, gets no new flows.
            let is_able = has_place && entry.health.is_up() && !entry.suspended;
            (self.path(service, entry, has_place, resolve), if is_able { weight } else { 0 })
        });
        let ways: Vec<_> = ways.collect();
        let is_served = ways.iter().any(|(path, weight)| *weight > 0 && path.hop() != Hop::Unresolved);
        let entries = service.backends.iter().zip(ways);
        entries.map(|(entry, (path, weight))| self.backend(entry, path, weight, is_served)).collect()
    }

    /// `is_served`: some backend of the service can be reached and takes new flows, be it a sorry one.
    fn backend(&self, entry: &BackendEntry, path: Path, weight: u16, is_served: bool) -> Backend {
        // Who cannot be reached gets nothing while others may; a task gets nothing at all. Where nobody can be reached it will
        // hardly last, and clients that are not answered come again.
        let is_lost = path.hop() == Hop::Unresolved && (entry.task.is_some() || is_served);
        Backend {
            id: entry.id,
            address: self.surrogates.of(entry.config.address.ip),
            port: entry.config.address.port,
            weight: if is_lost { 0 } else { weight },
            max_connections: entry.config.max_connections,
            sorry: entry.config.sorry,
            path,
            stats: Arc::clone(&entry.stats),
        }
    }

    fn path(&self, service: &ServiceEntry, entry: &BackendEntry, has_place: bool, resolve: &dyn Resolve) -> Path {
        let ip = entry.config.address.ip;
        match (entry.config.vtep, ip) {
            (Some(vtep), IpAddr::V4(address)) => {
                let vni = self.vni_of(address);
                let mac = entry.config.mac.unwrap_or_else(|| resolve.overlay_mac(address));
                let hop = if has_place { resolve.hop(vtep.into()) } else { Hop::Unresolved };
                Path::Overlay { vni, vtep, mac, hop }
            }
            _ if service.settings.direct => {
                Path::Plain { snat: self.direct_sources(service, ip, resolve), hop: resolve.direct_hop(ip) }
            }
            _ => self.plain_path(service, ip, resolve),
        }
    }

    fn listen(&self, listen: &Listen) -> service::Listen {
        let address = self.surrogates.of(listen.address);
        service::Listen { address, ports: listen.ports.clone(), protocol: listen.protocol }
    }

    /// Clients' packets keep their source; checks come from where the gateway's own packets do.
    fn direct_sources(&self, service: &ServiceEntry, ip: IpAddr, resolve: &dyn Resolve) -> Vec<Ipv4Addr> {
        let checked = service.check.as_ref().map(|_| plain_snat(service, ip, resolve));
        checked.into_iter().flatten().map(|source| self.surrogates.of(source)).collect()
    }

    /// Without a source address nothing can be sent.
    fn plain_path(&self, service: &ServiceEntry, ip: IpAddr, resolve: &dyn Resolve) -> Path {
        let hop = resolve.hop(ip);
        match plain_snat(service, ip, resolve) {
            none if none.is_empty() => Path::Plain { snat: vec![Ipv4Addr::UNSPECIFIED], hop: Hop::Unresolved },
            sources => {
                Path::Plain { snat: sources.into_iter().map(|source| self.surrogates.of(source)).collect(), hop }
            }
        }
    }

    /// The overlay that has the address in its subnet; else the main one, which is not there only if no backend has a VTEP.
    fn vni_of(&self, address: Ipv4Addr) -> Vni {
        let overlay = self.overlays.iter().find(|overlay| overlay.contains(address)).or(self.overlays.first());
        overlay.map_or(Vni::MAX, |overlay| overlay.vni)
    }
}

/// What the service says, and the buckets that it needs for that.
fn protection(service: &ServiceEntry) -> Protection {
    let protection = service.settings.protection.compile(service.settings.direct, Arc::clone(&service.guard));
    if protection.rate_per_source.is_some() {
        service.guard.prepare_sources();
    }
    protection
}

fn overlay(config: &OverlayConfig, peers: &BTreeSet<Ipv4Addr>) -> Overlay {
    Overlay {
        vni: config.vni,
        port: config.port,
        vtep: config.vtep,
        addresses: config.addresses(),
        mac: config.mac,
        mtu: config.mtu,
        peers: peers.iter().copied().collect(),
    }
}

/// Everything in a service that may be a surrogate.
fn addresses(service: &VirtualService) -> impl Iterator<Item = Ipv4Addr> {
    let sources = service.backends.iter().filter_map(|backend| match &backend.path {
        Path::Plain { snat, .. } => Some(snat.iter().copied()),
        Path::Overlay { .. } => None,
    });
    let listens = service.listens.iter().map(|listen| listen.address);
    listens.chain(service.backends.iter().map(|backend| backend.address)).chain(sources.flatten())
}

/// A service may listen on several VIPs: the sources for any of them, each once.
fn plain_snat(service: &ServiceEntry, address: IpAddr, resolve: &dyn Resolve) -> Vec<IpAddr> {
    let mut sources = Vec::new();
    for listen in &service.listens {
        for source in resolve.plain_snat(address, listen.address) {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
    }
    sources
}
