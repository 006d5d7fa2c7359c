//! IPv6 beside the IPv4 of a [`Network`]: on the clients' link and on the underlay, not in the overlay.
//!
//! ```text
//! clients 2001:db8:2::10 ── 2001:db8:2::1 gateway 2001:db8:1::1 ── switch 2001:db8:1::/64 ── plain servers ::31, ::32
//! ```
//! The VIP `2001:db8::1` is nobody's address: clients have a route for it through the gateway.

use crate::Outcome;
use crate::namespace::Namespace;
use crate::network::{Network, link};
use std::net::Ipv6Addr;

/// The address that clients ask for.
pub const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The gateway's address on the clients' link.
pub const GATEWAY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);
/// The gateway's address in the underlay, which plain backends see.
pub const GATEWAY_UNDERLAY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// The host behind a router of [`add_far_client`].
pub const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 2);

/// The address of a client.
#[must_use]
pub fn client(index: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10 + index)
}

/// The address of a server outside of the overlay.
#[must_use]
pub fn plain(index: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x31 + index)
}

/// Gives the hosts their IPv6 addresses and routes. In a one-armed network both prefixes are on the one link.
///
/// # Errors
/// What the kernel refused.
pub fn enable(network: &Network) -> Outcome {
    give(&network.gateway, "eth0", GATEWAY)?;
    match network.underlay_interface() {
        "eth0" => network.gateway.ip(&format!("addr add {GATEWAY_UNDERLAY}/64 dev eth0 nodad"))?,
        back => give(&network.gateway, back, GATEWAY_UNDERLAY)?,
    }
    for (index, host) in (0..).zip(&network.clients) {
        give(&host.namespace, "eth0", client(index))?;
        host.namespace.ip(&format!("route add {VIP} via {GATEWAY}"))?;
    }
    for (index, host) in (0..).zip(&network.plain) {
        give(&host.namespace, "eth0", plain(index))?;
    }
    Ok(())
}

/// An address, and one for the link, which neighbour discovery speaks from. Both are usable at once: the kernel's own
/// address for the link is not, while it asks whether anybody else has it.
fn give(host: &Namespace, device: &str, address: Ipv6Addr) -> Outcome {
    let of_link = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, address.segments()[7]);
    host.ip(&format!(
        "addr flush dev {device} scope link\naddr add {of_link}/64 dev {device} nodad\naddr add {address}/64 dev {device} nodad"
    ))
}

/// Makes the first client a router, and puts a host behind it. What the router carries there may have `mtu` bytes,
/// though neither link says so.
///
/// # Errors
/// What the kernel refused.
pub fn add_far_client(network: &Network, mtu: u32) -> Outcome<Namespace> {
    let (router, far) = (network.client(), network.lab.namespace("far")?);
    link((router, "eth1"), (&far, "eth0"), 1)?;
    router.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    router.ip(&format!(
        "link set eth1 up\naddr add 2001:db8:3::1/64 dev eth1 nodad\nroute add {FAR} dev eth1 mtu {mtu}"
    ))?;
    far.ip(&format!("link set eth0 up\naddr add {FAR}/64 dev eth0 nodad\nroute add {VIP} via 2001:db8:3::1"))?;
    // Over TUN the kernel takes answers to clients on.
    network.gateway.ip(&format!("route add {FAR} via {}", client(0)))?;
    Ok(far)
}
