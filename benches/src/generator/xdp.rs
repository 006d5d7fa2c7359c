//! Ports on real interfaces: an `AF_XDP` socket for each queue.

use std::net::Ipv4Addr;

use ::tests::{Failure, Outcome};
use sys::{FilterListen, FilterOverlay, FilterRules, RingSizes, XdpDevice, XdpFilter, XdpMode};

use super::network::{TASKS, TUNNEL_PORT, VIP, VNI, VTEPS};
use super::port::Port;
use super::run::Ends;

const SPARE_FRAMES: usize = 2048;
const FRAME_SIZE: usize = 2048;

/// Ports on two interfaces. The filter goes when this is dropped.
pub struct XdpEnds {
    /// The ports.
    pub ends: Ends,
    _filter: XdpFilter,
}

/// What to take from a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// What is on its way to the VIP: the gateway's side, or a task behind something that only forwards.
    ToVip,
    /// What leaves the gateway for tasks.
    ToTasks,
    /// What comes back to clients, from the VIP.
    ToClients,
}

/// Opens the generator's interfaces: one where the clients are, one where the tasks are.
///
/// # Errors
/// No such interface, no permission.
pub fn open(clients: &str, tasks: &str, mode: XdpMode) -> Outcome<XdpEnds> {
    let mut filter = XdpFilter::load()?;
    filter.publish(&rules(&[Take::ToVip, Take::ToTasks, Take::ToClients]))?;
    let ends = Ends { clients: ports(&mut filter, clients, mode)?, tasks: ports(&mut filter, tasks, mode)? };
    Ok(XdpEnds { ends, _filter: filter })
}

/// The filter's rules for these kinds of traffic.
#[must_use]
pub fn rules(kinds: &[Take]) -> FilterRules {
    let mut rules = FilterRules::default();
    for kind in kinds {
        match kind {
            Take::ToVip => {
                let listen = |protocol| FilterListen { address: VIP.into(), ports: 1..=65_535, protocol };
                rules.listens.extend([listen(6), listen(17)]);
            }
            Take::ToTasks => rules.overlays.extend(VTEPS.iter().zip(TASKS).map(|(vtep, task)| FilterOverlay {
                vtep: *vtep,
                port: TUNNEL_PORT,
                vni: VNI,
                addresses: vec![task],
            })),
            Take::ToClients => {
                let from_vip = |protocol| sys::FilterPlain { backend: VIP.into(), port: 0, protocol };
                rules.plain.extend([from_vip(6), from_vip(17)]);
                let clients = (1..=250).map(|host| Ipv4Addr::new(198, 19, 0, host));
                rules
                    .snat
                    .extend(clients.map(|address| sys::FilterSnat { address: address.into(), ports: 1..=65_535 }));
            }
        }
    }
    rules
}

fn ports(filter: &mut XdpFilter, interface: &str, mode: XdpMode) -> Outcome<Vec<Port>> {
    let attached = filter.attach(interface, mode)?;
    let count = sys::queue_count(interface).map_err(|error| Failure::from(error).during(interface))?;
    (0..count).map(|queue| port(filter, interface, queue, attached.socket_mode(mode))).collect()
}

fn port(filter: &mut XdpFilter, interface: &str, queue: u32, mode: XdpMode) -> Outcome<Port> {
    let sizes = RingSizes::default();
    let (umem, mut pool) = sys::xdp_pool(sizes.frames() + SPARE_FRAMES, FRAME_SIZE)?;
    let device = XdpDevice::bind(&umem, &mut pool, interface, queue, mode, sizes)?;
    filter.set_socket(interface, queue, device.socket())?;
    Ok(Port::new(device, pool))
}
