//! Small tables for tests.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::Arc;

use vxlan::Vni;
use wire::{MacAddr, Protocol};

use super::{
    Backend, BackendId, BackendStats, Generation, Hop, Interface, InterfaceIndex, Listen, Overlay, Path, SchedulerKind,
    ServiceId, Tables, Turn, VirtualService,
};
use crate::protection::Protection;

pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub(crate) const OVERLAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
pub(crate) const OUR_VTEP: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
pub(crate) const NODE_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0x0b, 0]);

/// The overlay address of the n-th backend of [`service`].
pub(crate) fn task(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 11 + n as u8)
}

/// The node that runs it.
pub(crate) fn vtep(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 1, 11 + n as u8)
}

/// `198.18.0.1:8080/tcp` → `10.0.0.(11+n):8000` through VXLAN, with these weights.
pub(crate) fn service(weights: &[u16]) -> VirtualService {
    let backends = weights.iter().enumerate().map(|(n, weight)| overlay_backend(n, *weight)).collect();
    VirtualService {
        id: ServiceId(1),
        listens: vec![Listen { address: VIP, ports: 8080..=8080, protocol: Protocol::Tcp }],
        scheduler: SchedulerKind::RoundRobin,
        rewrite_timestamps: true,
        direct: false,
        proxy_protocol: false,
        idle: conntrack::Idle::default(),
        one_packet: false,
        persistence: None,
        protection: Protection::default(),
        backends,
        turn: Arc::new(Turn::default()),
    }
}

pub(crate) fn overlay_backend(n: usize, weight: u16) -> Backend {
    let hop = Hop::Ethernet { interface: InterfaceIndex(0), mac: NODE_MAC };
    Backend {
        id: BackendId(100 + n as u32),
        address: task(n),
        port: NonZeroU16::new(8000),
        weight,
        max_connections: None,
        sorry: false,
        path: Path::Overlay { vni: Vni::try_from(4096).unwrap(), vtep: vtep(n), mac: MacAddr::docker(task(n)), hop },
        stats: Arc::new(BackendStats::new(2)),
    }
}

pub(crate) fn plain_backend(id: u32, snat: Vec<Ipv4Addr>) -> Backend {
    let hop = Hop::Ethernet { interface: InterfaceIndex(0), mac: NODE_MAC };
    Backend {
        id: BackendId(id),
        address: Ipv4Addr::new(198, 18, 1, 50),
        port: NonZeroU16::new(80),
        weight: 1,
        max_connections: None,
        sorry: false,
        path: Path::Plain { snat, hop },
        stats: Arc::new(BackendStats::new(2)),
    }
}

pub(crate) fn tables(services: Vec<VirtualService>) -> Tables {
    let interface = Interface { name: "eth0".into(), mac: MacAddr([2, 0, 0, 0, 0, 1]), mtu: 1500, up: true };
    let overlay = Overlay {
        vni: Vni::try_from(4096).unwrap(),
        port: vxlan::PORT,
        vtep: OUR_VTEP,
        addresses: vec![OVERLAY],
        mac: MacAddr::docker(OVERLAY),
        mtu: 1450,
        peers: Vec::new(),
    };
    Tables {
        generation: Generation(1),
        interfaces: vec![interface],
        overlays: vec![overlay],
        services,
        left: Vec::new(),
        left_sources: Vec::new(),
        six: Vec::new(),
    }
}
