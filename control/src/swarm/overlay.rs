//! Which overlay the gateway serves, and its own place in it: from the network that the API shows, the file's `[overlay]`
//! and, on a member, what its own engine says.

use std::net::Ipv4Addr;

use vxlan::Vni;
use wire::MacAddr;

use super::model::Network;
use crate::config::rules::host_in_subnet;
use crate::config::{OverlayConfig, OverlaySeed};

const VNI: &str = "com.docker.network.driver.overlay.vxlanid_list";
const MTU: &str = "com.docker.network.driver.mtu";
const ENCRYPTED: &str = "encrypted";
/// Tasks have the VIPs of their services on the loopback.
pub const DSR: &str = "dsr";
/// Outer Ethernet, IPv4, UDP and VXLAN.
const VXLAN_BYTES: u16 = 50;
const DEFAULT_MTU: u16 = 1500;

/// Where a member stands in the overlay by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    /// The address of its ingress sandbox.
    pub address: Ipv4Addr,
    /// Its VTEP.
    pub vtep: Ipv4Addr,
}

/// What the member's own engine says of its place in this network.
pub fn own_place(network: &Network) -> Option<Own> {
    let sandbox = network.containers.get(&format!("{}-sbox", network.name))?;
    let (address, _) = subnet(&sandbox.ipv4_address)?;
    let endpoints = network.services.values().flat_map(|service| &service.tasks);
    let mut mine = endpoints.filter(|endpoint| endpoint.endpoint_ip.parse() == Ok(address));
    let vtep = mine.find_map(|endpoint| endpoint.info.get("Host IP")?.parse().ok())?;
    Some(Own { address, vtep })
}

/// `10.0.0.2/24`
pub fn subnet(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, bits) = text.split_once('/')?;
    Some((address.parse().ok()?, bits.parse().ok().filter(|bits| (1..=30).contains(bits))?))
}

/// The network that is asked for by name, or the one for published ports.
pub fn choose<'a>(networks: &'a [Network], name: Option<&str>) -> Result<&'a Network, String> {
    let overlay = |network: &&Network| network.driver == "overlay" && network.scope == "swarm";
    let fits = |network: &&Network| match name {
        Some(name) => network.name == name || network.id == name,
        None => network.ingress,
    };
    networks.iter().find(|network| overlay(network) && fits(network)).ok_or_else(|| match name {
        Some(name) => format!("the swarm has no overlay network {name}: docker network ls"),
        None => "the swarm has no ingress network: docker network create -d overlay --ingress ingress".to_owned(),
    })
}

/// The overlay to serve. `port` is the swarm's data-path port.
pub fn overlay(network: &Network, port: u16, seed: &OverlaySeed, own: Option<Own>) -> Result<OverlayConfig, String> {
    let name = &network.name;
    if network.options.contains_key(ENCRYPTED) {
        return Err(format!(
            "network {name} is encrypted: Sluicegate has no keys for it; recreate it without --opt encrypted"
        ));
    }
    let address = match (seed.address, own) {
        (_, Some(own)) => own.address,
        (Some((address, _)), None) => address,
        (None, None) => return Err(needs(name, "overlay.address", "a free address of it")),
    };
    let (at, prefix_bits) = subnet_of(address, network)?;
    let vni = vni(network, at).ok_or_else(|| format!("network {name} shows no VNI"))?;
    let vtep = seed.vtep.or(own.map(|own| own.vtep));
    let mac = if own.is_some() { None } else { seed.mac };
    Ok(OverlayConfig {
        vni,
        port: if port == 0 { vxlan::PORT } else { port },
        vtep: vtep.ok_or_else(|| needs(name, "overlay.vtep", "this machine's address towards the nodes"))?,
        address,
        prefix_bits,
        snat: seed.snat.iter().copied().filter(|snat| snat_fault(*snat, address, prefix_bits).is_none()).collect(),
        mac: mac.unwrap_or_else(|| MacAddr::docker(address)),
        mtu: seed.mtu.unwrap_or_else(|| mtu(network)),
    })
}

/// Those of the operator's further source addresses that have no place in the overlay as the swarm has it, a sentence each.
/// The file alone could not know.
pub fn unused_snat(network: &str, seed: &OverlaySeed, overlay: &OverlayConfig) -> Vec<String> {
    let faults = seed.snat.iter().filter_map(|snat| snat_fault(*snat, overlay.address, overlay.prefix_bits));
    faults.map(|fault| format!("network {network}: a source address in `snat` is not used: {fault}")).collect()
}

fn snat_fault(snat: Ipv4Addr, address: Ipv4Addr, bits: u8) -> Option<String> {
    if snat == address {
        return Some(format!("`{snat}` is the gateway's own address anyway"));
    }
    host_in_subnet(snat, address, bits).err().map(|complaint| complaint.message)
}

fn needs(network: &str, key: &str, what: &str) -> String {
    format!("this machine's own engine tells of no place in network {network}: without it {key} must be set, {what}")
}

/// Which of the network's IPv4 subnets has the address, and how long its prefix is.
fn subnet_of(address: Ipv4Addr, network: &Network) -> Result<(usize, u8), String> {
    let mut texts = network.ipam.config.iter().map(|config| config.subnet.as_str()).filter(|text| !text.contains(':'));
    let known = texts.clone().collect::<Vec<_>>().join(", ");
    let fits = |text| {
        let (of, bits) = subnet(text)?;
        host_in_subnet(address, of, bits).ok().map(|()| bits)
    };
    let found = texts.by_ref().map(fits).enumerate().find_map(|(at, bits)| Some((at, bits?)));
    let name = &network.name;
    found.ok_or_else(|| format!("overlay.address {address} is no host's address in network {name} ({known})"))
}

/// Docker gives each IPv4 subnet of a network a VNI, and lists them in the order of the subnets.
fn vni(network: &Network, subnet: usize) -> Option<Vni> {
    let text = network.options.get(VNI)?.split(',').nth(subnet)?;
    Vni::try_from(text.trim().parse::<u32>().ok()?).ok()
}

/// What a task's interface has.
fn mtu(network: &Network) -> u16 {
    let configured = network.options.get(MTU).and_then(|text| text.parse::<u16>().ok());
    configured.filter(|mtu| *mtu >= 576 + VXLAN_BYTES).unwrap_or(DEFAULT_MTU) - VXLAN_BYTES
}
