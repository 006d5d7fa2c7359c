//! The network that the benches pretend: one VIP, a hundred tasks on ten nodes, clients without number.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::Arc;

use datapath::protection::Protection;
use datapath::service::{
    Backend, BackendId, BackendStats, Generation, Hop, Interface, InterfaceIndex, Listen, Overlay, Path, SchedulerKind,
    ServiceId, Tables, Turn, VirtualService,
};
use vxlan::Vni;
use wire::{MacAddr, Protocol};

/// The published address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Port of the TCP service.
pub const TCP_PORT: u16 = 8080;
/// Port of the UDP service.
pub const UDP_PORT: u16 = 8053;
/// Port that tasks listen on.
pub const TARGET_PORT: u16 = 8000;
/// The gateway's underlay address.
pub const VTEP: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
/// The gateway's overlay address.
pub const OVERLAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
/// The overlay network's number.
pub const VNI: u32 = 4096;
/// The gateway's MAC addresses: towards clients, towards nodes.
pub const OUR_MACS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0xa, 0]), MacAddr([2, 0, 0, 0, 0xa, 1])];
/// The router in front of the clients.
pub const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0xc, 1]);

/// As many as Katran's own benchmark has; with one overlay address they have ports for six million flows.
pub const BACKENDS: usize = 100;
const NODES: usize = 10;

/// Address and port of the n-th client connection.
#[must_use]
pub fn client(n: usize) -> (Ipv4Addr, u16) {
    (Ipv4Addr::from(0xcb00_7100 + (n / 50_000) as u32), 10_000 + (n % 50_000) as u16)
}

/// Overlay address of the n-th task.
#[must_use]
pub fn task(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0100 + n as u32)
}

/// Underlay address of the n-th task's node.
#[must_use]
pub fn node(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 1, 11 + (n % NODES) as u8)
}

/// MAC of that node.
#[must_use]
pub fn node_mac(n: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0xb, (n % NODES) as u8])
}

fn vni() -> Vni {
    Vni::try_from(VNI).unwrap_or(Vni::MAX)
}

/// The n-th backend of the service `service`; its task is the n-th one.
#[must_use]
pub fn backend(service: u32, per_service: u32, n: u32) -> Backend {
    let at = n as usize;
    Backend {
        id: BackendId(service * per_service + n),
        address: task(at),
        port: NonZeroU16::new(TARGET_PORT),
        weight: 1,
        max_connections: None,
        sorry: false,
        path: Path::Overlay {
            vni: vni(),
            vtep: node(at),
            mac: MacAddr::docker(task(at)),
            hop: Hop::Ethernet { interface: InterfaceIndex(1), mac: node_mac(at) },
        },
        stats: Arc::new(BackendStats::new(1)),
    }
}

/// A service on one port of an address.
#[must_use]
pub fn service(id: u32, address: Ipv4Addr, port: u16, protocol: Protocol, backends: Vec<Backend>) -> VirtualService {
    VirtualService {
        id: ServiceId(id),
        listens: vec![Listen { address, ports: port..=port, protocol }],
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

/// Tables around these services.
#[must_use]
pub fn tables(generation: u64, services: Vec<VirtualService>) -> Tables {
    let interface = |n: usize| Interface { name: format!("eth{n}"), mac: OUR_MACS[n], mtu: 1500, up: true };
    let overlay = Overlay {
        vni: vni(),
        port: vxlan::PORT,
        vtep: VTEP,
        addresses: vec![OVERLAY],
        mac: MacAddr::docker(OVERLAY),
        mtu: 1450,
        peers: Vec::new(),
    };
    Tables {
        generation: Generation(generation),
        interfaces: vec![interface(0), interface(1)],
        overlays: vec![overlay],
        services,
        left: Vec::new(),
        left_sources: Vec::new(),
        six: Vec::new(),
    }
}

/// The same, but that the UDP service makes no flows.
#[must_use]
pub fn one_packet_services() -> Vec<VirtualService> {
    let mut services = services();
    for service in &mut services {
        service.one_packet = service.id == ServiceId(1);
    }
    services
}

/// A TCP and a UDP service with [`BACKENDS`] backends each.
#[must_use]
pub fn services() -> Vec<VirtualService> {
    let count = BACKENDS as u32;
    let backends = |service| (0..count).map(|n| backend(service, count, n)).collect();
    vec![service(0, VIP, TCP_PORT, Protocol::Tcp, backends(0)), service(1, VIP, UDP_PORT, Protocol::Udp, backends(1))]
}

/// [`services`], whose backends count for so many workers.
#[must_use]
pub fn services_of(workers: usize) -> Vec<VirtualService> {
    let mut services = services();
    for backend in services.iter_mut().flat_map(|service| &mut service.backends) {
        backend.stats = Arc::new(BackendStats::new(workers));
    }
    services
}
