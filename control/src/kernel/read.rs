//! Reading the kernel's tables, and asking it to keep a neighbour fresh.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use rtnetlink::{Handle, RouteMessageBuilder};
use wire::MacAddr;

use super::{KernelError, Link, LocalAddress, Path};

/// What the kernel knows by ARP and by neighbour discovery, by link and address.
#[derive(Debug, Default)]
pub struct Neighbours {
    /// A packet could be sent to these right now.
    pub valid: HashMap<(u32, IpAddr), MacAddr>,
    /// Of those, the ones that somebody has written down: nobody asks for them.
    pub fixed: HashSet<(u32, IpAddr)>,
    /// These were asked for and did not answer.
    pub failed: HashSet<(u32, IpAddr)>,
}

/// All links.
pub async fn links(handle: &Handle) -> Result<BTreeMap<u32, Link>, KernelError> {
    let mut stream = std::pin::pin!(handle.link().get().execute());
    let mut links = BTreeMap::new();
    let failed = |error| KernelError::netlink("read the links", error);
    while let Some(message) = stream.try_next().await.map_err(failed)? {
        let link = link(message);
        links.insert(link.index, link);
    }
    Ok(links)
}

fn link(message: LinkMessage) -> Link {
    let up = LinkFlags::Up | LinkFlags::LowerUp;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: MacAddr::default(),
        mtu: 0,
        up: message.header.flags.contains(up),
        is_bond: false,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(bytes) => link.mac = mac(&bytes).unwrap_or_default(),
            LinkAttribute::LinkInfo(infos) => link.is_bond = infos.contains(&LinkInfo::Kind(InfoKind::Bond)),
            _ => {}
        }
    }
    link
}

fn mac(bytes: &[u8]) -> Option<MacAddr> {
    Some(MacAddr(bytes.try_into().ok()?))
}

/// The addresses of this machine, of both families.
pub async fn addresses(handle: &Handle) -> Result<BTreeSet<LocalAddress>, KernelError> {
    let mut stream = std::pin::pin!(handle.address().get().execute());
    let mut addresses = BTreeSet::new();
    let failed = |error| KernelError::netlink("read the addresses", error);
    while let Some(message) = stream.try_next().await.map_err(failed)? {
        addresses.extend(local_address(&message));
    }
    Ok(addresses)
}

/// `IFA_LOCAL` is this end's address; `IFA_ADDRESS` is the other end's on a point-to-point link.
fn local_address(message: &AddressMessage) -> Option<LocalAddress> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    Some(LocalAddress {
        address: local.or(address)?,
        prefix_len: message.header.prefix_len,
        link: message.header.index,
    })
}

/// The neighbours, answered or failed.
pub async fn neighbours(handle: &Handle) -> Result<Neighbours, KernelError> {
    let mut stream = std::pin::pin!(handle.neighbours().get().execute());
    let mut neighbours = Neighbours::default();
    let failed = |error| KernelError::netlink("read the neighbours", error);
    while let Some(message) = stream.try_next().await.map_err(failed)? {
        neighbours.add(&message);
    }
    Ok(neighbours)
}

impl Neighbours {
    fn add(&mut self, message: &NeighbourMessage) {
        let Some(address) = neighbour_address(message) else { return };
        let key = (message.header.ifindex, address);
        let mac = message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac(bytes),
            _ => None,
        });
        if matches!(message.header.state, NeighbourState::Permanent | NeighbourState::Noarp) {
            self.fixed.insert(key);
        }
        match message.header.state {
            NeighbourState::Failed => {
                self.failed.insert(key);
            }
            // NUD_VALID of net/neighbour.h.
            NeighbourState::Permanent
            | NeighbourState::Noarp
            | NeighbourState::Reachable
            | NeighbourState::Probe
            | NeighbourState::Stale
            | NeighbourState::Delay => self.valid.extend(mac.map(|mac| (key, mac))),
            _ => {}
        }
    }
}

/// The address that a neighbour message is about.
pub fn neighbour_address(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}

/// Asks the kernel how it would reach `address`: policy routing and source selection are its own.
/// The next hop's Ethernet address is left open.
pub async fn path(handle: &Handle, address: IpAddr) -> Path {
    let mut stream = std::pin::pin!(handle.route().get(host_route(address)).execute());
    match stream.try_next().await {
        Ok(Some(message)) => route(&message, address),
        Ok(None) => Path::NoRoute(format!("no route to {address}")),
        Err(rtnetlink::Error::NetlinkError(error)) => Path::NoRoute(refusal(address, &error.to_io())),
        Err(error) => Path::NoRoute(format!("no route to {address}: {error}")),
    }
}

/// A message about the way to one host.
pub fn host_route(address: IpAddr) -> RouteMessage {
    match address {
        IpAddr::V4(address) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).build(),
        IpAddr::V6(address) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(address, 128).build(),
    }
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// ENETUNREACH and EHOSTUNREACH are the everyday answers; others (EACCES of a prohibit rule, EINVAL
/// of a blackhole) deserve their name.
fn refusal(address: IpAddr, error: &std::io::Error) -> String {
    use std::io::ErrorKind::{HostUnreachable, NetworkUnreachable};
    match error.kind() {
        NetworkUnreachable | HostUnreachable => format!("no route to {address}"),
        _ => format!("no route to {address}: {error}"),
    }
}

fn route(message: &RouteMessage, address: IpAddr) -> Path {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Path::Local,
        kind => return Path::NoRoute(format!("the route to {address} is of kind {kind:?}")),
    }
    let (mut link, mut next_hop, mut source) = (None, address, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Gateway(gateway) => next_hop = plain(gateway).unwrap_or(next_hop),
            RouteAttribute::PrefSource(preferred) => source = plain(preferred),
            // IPv4 by way of an IPv6 router (RFC 5549).
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => next_hop = IpAddr::V6(*gateway),
            RouteAttribute::Via(_) => {
                return Path::NoRoute(format!("the route to {address} has a next hop that is neither IPv4 nor IPv6"));
            }
            _ => {}
        }
    }
    match link {
        Some(link) => Path::Link { link, next_hop, mac: None, source },
        None => Path::NoRoute(format!("the route to {address} names no interface")),
    }
}

/// Tells the kernel that the neighbour is in use, so that it resolves or confirms it. Our packets go
/// past its neighbour code: nothing else would.
///
/// Not to be done to a permanent neighbour: the kernel takes the permanence away (`NEIGH_UPDATE_F_USE` in net/core/neighbour.c) and
/// asks for what was not to be asked for.
pub async fn poke(handle: &Handle, link: u32, address: IpAddr) -> Result<(), KernelError> {
    let request = handle.neighbours().add(link, address);
    // NTF_USE with no state asks for resolution alone; the address of an existing entry is not overwritten.
    let request = request.state(NeighbourState::None).flags(NeighbourFlags::Use).replace();
    let failed = |error| KernelError::netlink(format!("resolve the neighbour {address}"), error);
    request.execute().await.map_err(failed)
}
