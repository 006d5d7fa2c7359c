//! Adjacencies: everything that is written in front of an IP packet so that it reaches its next hop, prepared by
//! control and patched per packet.

use vxlan::{Encap, OVERHEAD, Tunnel};
use wire::translate::GROWTH;
use wire::{ETHERNET_LEN, MacAddr, ethertype, write_ethernet};

use crate::service::{Backend, Hop, Interface, InterfaceIndex, Overlay, Path};
use crate::surrogate::is_surrogate;

/// The prepared way to a backend.
#[derive(Clone, Debug)]
pub struct Adjacency {
    /// The VXLAN header stack; `None` for plain routing.
    pub encap: Option<Encap>,
    /// The next hop on the underlay.
    pub hop: PreparedHop,
    /// Largest IPv4 packet (inner, with VXLAN; before it becomes an IPv6 packet) in bytes.
    pub mtu: usize,
    /// The backend has an IPv6 address.
    pub six: bool,
}

/// A next hop, ready to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreparedHop {
    /// This Ethernet header, out of this interface.
    Ethernet {
        /// Which `[[interface]]`.
        interface: InterfaceIndex,
        /// Destination, source, IPv4 or IPv6.
        header: [u8; ETHERNET_LEN],
    },
    /// To the kernel as it is.
    Kernel,
    /// No way yet.
    Unresolved,
}

impl Adjacency {
    /// Prepares the way to a backend. `interfaces` are those of the same tables.
    #[must_use]
    pub fn new(backend: &Backend, overlay: Option<&Overlay>, interfaces: &[Interface]) -> Self {
        let (path, six) = (&backend.path, is_surrogate(backend.address));
        let hop = PreparedHop::new(path.hop(), interfaces, if six { ethertype::IPV6 } else { ethertype::IPV4 });
        let link = if let Hop::Ethernet { interface, .. } = path.hop() { Some(interface) } else { None };
        let link_mtu = link.and_then(|link| interfaces.get(usize::from(link.0))).map(|link| usize::from(link.mtu));
        if let (Path::Overlay { vtep, mac, .. }, Some(overlay)) = (path, overlay) {
            let tunnel = Tunnel {
                local: overlay.vtep,
                remote: *vtep,
                port: overlay.port,
                vni: overlay.vni,
                inner_src: overlay.mac,
                inner_dst: *mac,
            };
            // A tunnel's packet that does not fit the link is lost there, and a node would send its own in fragments.
            let fits = link_mtu.map_or(usize::MAX, |mtu| mtu.saturating_sub(OVERHEAD));
            return Self { encap: Some(Encap::new(&tunnel)), hop, mtu: usize::from(overlay.mtu).min(fits), six: false };
        }
        let mtu = link_mtu.unwrap_or(1500).saturating_sub(if six { GROWTH } else { 0 });
        Self { encap: None, hop, mtu, six }
    }
}

/// The Ethernet header from an interface of ours to a neighbour there.
#[inline]
pub(crate) fn link_header(
    interfaces: &[Interface],
    interface: InterfaceIndex,
    mac: MacAddr,
    ethertype: u16,
) -> [u8; ETHERNET_LEN] {
    let source = interfaces.get(usize::from(interface.0)).map_or(MacAddr::default(), |i| i.mac);
    let mut header = [0; ETHERNET_LEN];
    write_ethernet(&mut header, mac, source, ethertype);
    header
}

impl PreparedHop {
    /// Prepares the Ethernet header of a hop.
    #[must_use]
    pub fn new(hop: Hop, interfaces: &[Interface], ethertype: u16) -> Self {
        match hop {
            Hop::Ethernet { interface, mac } => {
                PreparedHop::Ethernet { interface, header: link_header(interfaces, interface, mac, ethertype) }
            }
            Hop::Kernel => PreparedHop::Kernel,
            Hop::Unresolved => PreparedHop::Unresolved,
        }
    }
}
