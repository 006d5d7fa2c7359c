//! What the XDP filter is to take, derived from the tables.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use datapath::ProbeKind;
use datapath::service::{Backend, Overlay, Path, Tables, VirtualService};
use sys::{FilterListen, FilterOverlay, FilterPlain, FilterRules, FilterSnat};
use wire::Protocol;

use crate::catalog::{ServiceEntry, Surrogates};
use crate::check::Target;
use crate::kernel::{ReplyPart, ReplyRule};

/// The filter's rules as sets, so that two of them can be joined and compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    listens: BTreeSet<(IpAddr, u16, u16, u8)>,
    overlays: BTreeSet<(Ipv4Addr, u16, u32, Vec<Ipv4Addr>)>,
    plain: BTreeSet<(IpAddr, u16, u8)>,
    snat: BTreeSet<IpAddr>,
}

impl Rules {
    /// The rules that these tables need.
    pub fn of(tables: &Tables, surrogates: &Surrogates) -> Rules {
        let mut rules = Rules::default();
        rules.overlays.extend(tables.overlays.iter().map(overlay));
        for service in &tables.services {
            rules.add_service(service, surrogates);
        }
        rules
    }

    fn add_service(&mut self, service: &VirtualService, surrogates: &Surrogates) {
        let mut protocols = BTreeSet::new();
        for listen in &service.listens {
            let protocol = listen.protocol as u8;
            let real = surrogates.real(listen.address);
            self.listens.extend(real.map(|real| (real, *listen.ports.start(), *listen.ports.end(), protocol)));
            protocols.insert(protocol);
        }
        for backend in &service.backends {
            self.add_backend(backend, &protocols, surrogates);
        }
    }

    /// Replies of a plain backend come to the SNAT address, which may be the node's own: only what
    /// comes from a backend, to our ports, is ours.
    fn add_backend(&mut self, backend: &Backend, protocols: &BTreeSet<u8>, surrogates: &Surrogates) {
        let Path::Plain { snat, .. } = &backend.path else { return };
        let port = backend.port.map_or(0, std::num::NonZeroU16::get);
        let Some(address) = surrogates.real(backend.address) else { return };
        self.plain.extend(protocols.iter().map(|protocol| (address, port, *protocol)));
        self.snat.extend(snat.iter().filter_map(|source| surrogates.real(*source)));
    }

    /// Where services have listened: packets of connections that still stand come there, and answers to them. What is new there is
    /// refused by the workers.
    pub fn add_left(&mut self, service: &ServiceEntry) {
        for listen in &service.left {
            let protocol = listen.protocol as u8;
            self.listens.insert((listen.address, *listen.ports.start(), *listen.ports.end(), protocol));
            let plain = service.backends.iter().filter(|backend| backend.config.vtep.is_none());
            self.plain.extend(plain.map(|backend| {
                let address = backend.config.address;
                (address.ip, address.port.map_or(0, std::num::NonZeroU16::get), protocol)
            }));
        }
    }

    /// Addresses that connections to plain backends still have.
    pub fn add_sources(&mut self, left: &[IpAddr]) {
        self.snat.extend(left);
    }

    /// A check may ask another port, or in another protocol, than clients do.
    pub fn add_target(&mut self, target: &Target) {
        if target.kind == ProbeKind::Plain {
            let protocol = target.check.kind.protocol() as u8;
            self.plain.insert((target.real.ip(), target.real.port(), protocol));
        }
    }

    /// The addresses that services listen on.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> {
        self.listens.iter().map(|(address, ..)| *address)
    }

    /// The SNAT addresses of plain backends.
    pub fn snat(&self) -> impl Iterator<Item = IpAddr> {
        self.snat.iter().copied()
    }

    /// The answers of plain backends to addresses that `is_local`: over TUN they must be led past the kernel.
    pub fn replies(&self, ports: &RangeInclusive<u16>, is_local: impl Fn(IpAddr) -> bool) -> BTreeSet<ReplyRule> {
        let ports = (*ports.start(), *ports.end());
        let mut rules = BTreeSet::new();
        for snat in self.snat().filter(|snat| is_local(*snat)) {
            let of_family = self.plain.iter().filter(|(backend, ..)| backend.is_ipv4() == snat.is_ipv4());
            for &(backend, port, protocol) in of_family {
                let mut add = |part| rules.insert(ReplyRule { backend, snat, protocol, part });
                add(ReplyPart::Answers { port, ports });
                if protocol == Protocol::Udp as u8 {
                    add(ReplyPart::WithPorts);
                    add(ReplyPart::Fragments);
                }
            }
        }
        rules
    }

    /// What either needs: for the moment in which some workers still use the old table.
    pub fn union(&self, other: &Rules) -> Rules {
        Rules {
            listens: &self.listens | &other.listens,
            overlays: &self.overlays | &other.overlays,
            plain: &self.plain | &other.plain,
            snat: &self.snat | &other.snat,
        }
    }

    /// The filter's own form. `plain_ports` are the SNAT ports of plain backends.
    pub fn to_filter(&self, plain_ports: &RangeInclusive<u16>) -> FilterRules {
        let listen = |&(address, first, last, protocol): &(IpAddr, u16, u16, u8)| FilterListen {
            address,
            ports: first..=last,
            protocol,
        };
        let overlay = |(vtep, port, vni, addresses): &(Ipv4Addr, u16, u32, Vec<Ipv4Addr>)| FilterOverlay {
            vtep: *vtep,
            port: *port,
            vni: *vni,
            addresses: addresses.clone(),
        };
        let plain = |&(backend, port, protocol): &(IpAddr, u16, u8)| FilterPlain { backend, port, protocol };
        let snat = |&address: &IpAddr| FilterSnat { address, ports: plain_ports.clone() };
        FilterRules {
            listens: self.listens.iter().map(listen).collect(),
            overlays: self.overlays.iter().map(overlay).collect(),
            plain: self.plain.iter().map(plain).collect(),
            snat: self.snat.iter().map(snat).collect(),
        }
    }
}

fn overlay(overlay: &Overlay) -> (Ipv4Addr, u16, u32, Vec<Ipv4Addr>) {
    (overlay.vtep, overlay.port, overlay.vni.get(), overlay.addresses.clone())
}

/// The SNAT ports of plain backends. Their SNAT address is the node's own, so they stay clear of the
/// ports that the kernel gives to its own connections: the larger piece beside those.
pub fn plain_ports(kernels: &RangeInclusive<u16>) -> RangeInclusive<u16> {
    const FIRST: u16 = 1024;
    // A kernel that was given (nearly) all ports leaves no choice: then both share the lower half.
    const ENOUGH: u32 = 1024;
    const SHARED: RangeInclusive<u16> = FIRST..=32767;
    let below = FIRST..=kernels.start().saturating_sub(1);
    let above = kernels.end().saturating_add(1).max(FIRST)..=u16::MAX;
    let len = |ports: &RangeInclusive<u16>| u32::from(*ports.end()).saturating_sub(u32::from(*ports.start()));
    let larger = if len(&below) >= len(&above) { below } else { above };
    if len(&larger) < ENOUGH { SHARED } else { larger }
}

/// Keeps the compiler honest about the numbers that the filter compares.
const _: () = assert!(Protocol::Tcp as u8 == 6 && Protocol::Udp as u8 == 17);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_ports_stay_clear_of_the_kernels_own() {
        assert_eq!(plain_ports(&(32768..=60999)), 1024..=32767);
        assert_eq!(plain_ports(&(1024..=20000)), 20001..=65535);
        assert_eq!(plain_ports(&(10000..=65535)), 1024..=9999);
        assert_eq!(plain_ports(&(1024..=65535)), 1024..=32767);
    }
}
