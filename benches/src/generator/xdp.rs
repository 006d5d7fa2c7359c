//! Ports on real interfaces: an `AF_XDP` socket for each queue.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ::tests::{Failure, Outcome, ensure};
use sys::{FilterListen, FilterOverlay, FilterRules, RingSizes, XdpDevice, XdpFilter, XdpMode};

use super::network::{TASKS, TUNNEL_PORT, VIP, VNI, VTEPS};
use super::port::Port;
use super::profile::Profile;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take {
    /// What is on its way to the VIP: the gateway's side, or a task behind something that only forwards.
    ToVip,
    /// What leaves the gateway for tasks.
    ToTasks,
    /// What comes back to these clients, from the VIP.
    ToClients(BTreeSet<Ipv4Addr>),
}

/// Addresses of clients that the filter has room for.
const MOST_CLIENTS: u64 = 1024;

/// Opens the generator's interfaces: one where the clients are, one where the tasks are.
///
/// # Errors
/// No such interface, no permission; the profile has more clients that wait for replies than the filter can tell apart.
pub fn open(profile: &Profile, clients: &str, tasks: &str, mode: XdpMode) -> Outcome<XdpEnds> {
    let mut filter = XdpFilter::load()?;
    filter.publish(&rules(&[Take::ToVip, Take::ToTasks, Take::ToClients(listeners(profile)?)]))?;
    let ends = Ends { clients: ports(&mut filter, clients, mode)?, tasks: ports(&mut filter, tasks, mode)? };
    Ok(XdpEnds { ends, _filter: filter })
}

/// The clients of the shipped profiles that get replies: for whoever does not know the profile.
#[must_use]
pub fn few_clients() -> BTreeSet<Ipv4Addr> {
    (1..=250).map(|host| Ipv4Addr::new(198, 19, 0, host)).collect()
}

/// Clients that get replies.
fn listeners(profile: &Profile) -> Outcome<BTreeSet<Ipv4Addr>> {
    let mut clients = BTreeSet::new();
    for stream in profile.stream.iter().filter(|stream| stream.wants_replies()) {
        let range = stream.space().clients;
        // Flows take turns of clients before they take turns of client ports: see `Space::endpoint`.
        let count = range.count().min(stream.places());
        clients.extend((0..count.min(MOST_CLIENTS + 1)).map(|index| range.nth(index)));
        ensure!(
            clients.len() as u64 <= MOST_CLIENTS,
            "stream `{}`: over AF_XDP at most {MOST_CLIENTS} clients can get replies, all streams together; say \
             `clients = \"198.19.0.1-198.19.0.250\"`, for example",
            stream.name()
        );
    }
    Ok(clients)
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
            Take::ToClients(clients) => {
                let from_vip = |protocol| sys::FilterPlain { backend: VIP.into(), port: 0, protocol };
                rules.plain.extend([from_vip(6), from_vip(17)]);
                let of = |client: &Ipv4Addr| sys::FilterSnat { address: (*client).into(), ports: 1..=65_535 };
                rules.snat.extend(clients.iter().map(of));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_come_from_the_profile_and_too_many_clients_are_refused() {
        let parse = |more: &str| {
            let head = "name = 'x'\n[[stream]]\nkind = 'udp'\nname = 'a'\nrate = '1kpps'\nports = '9000'\n";
            Profile::parse(&format!("{head}{more}")).unwrap()
        };
        let clients = |more: &str| listeners(&parse(more));
        // Nobody waits for anything.
        assert!(clients("flows = 9").unwrap().is_empty());
        let some = clients("echo = true\nflows = 9\nclients = '10.0.0.1-10.0.0.3'").unwrap();
        assert_eq!(some.into_iter().collect::<Vec<_>>(), [1, 2, 3].map(|host| Ipv4Addr::new(10, 0, 0, host)));
        // As many as there are flows, of the default range of 65,534.
        assert_eq!(clients("echo = true\nflows = 9").unwrap().len(), 9);
        let many = clients("echo = true\nflows = 2000").unwrap_err();
        assert!(many.reason().contains("`a`") && many.reason().contains("1024"), "{many:?}");
    }
}
