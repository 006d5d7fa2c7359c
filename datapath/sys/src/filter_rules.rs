//! What the XDP filter is to take, as control says it and as the program reads it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use crate::FilterError;

/// What belongs to the gateway. All else stays with the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterRules {
    /// Published addresses and ports.
    pub listens: Vec<FilterListen>,
    /// Overlays in which the gateway has addresses.
    pub overlays: Vec<FilterOverlay>,
    /// Backends that answer without the overlay.
    pub plain: Vec<FilterPlain>,
    /// Addresses and ports under which the gateway speaks to those.
    pub snat: Vec<FilterSnat>,
}

/// A published address: its packets to these ports, its fragments, and its ICMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterListen {
    /// The VIP.
    pub address: IpAddr,
    /// Published ports.
    pub ports: RangeInclusive<u16>,
    /// 6 or 17.
    pub protocol: u8,
}

/// An overlay: packets in its VXLAN tunnel to the gateway's inner addresses, and ARP for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterOverlay {
    /// The gateway's underlay address.
    pub vtep: Ipv4Addr,
    /// The VXLAN port.
    pub port: u16,
    /// The network.
    pub vni: u32,
    /// The gateway's addresses inside.
    pub addresses: Vec<Ipv4Addr>,
}

/// A backend that answers without the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterPlain {
    /// Its address.
    pub backend: IpAddr,
    /// Its port; 0 = any.
    pub port: u16,
    /// 6 or 17.
    pub protocol: u8,
}

/// An address under which the gateway speaks to plain backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterSnat {
    /// The address, which may be the node's own.
    pub address: IpAddr,
    /// The gateway's ports of it.
    pub ports: RangeInclusive<u16>,
}

/// A set of ports, as `struct ports` of the program.
pub(crate) type PortBits = [u64; 1024];

/// The rules as the program's maps hold them, keys and values laid out as its structures.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) listens: BTreeMap<[u32; 2], Box<PortBits>>,
    pub(crate) vips: BTreeMap<u32, u32>,
    pub(crate) tunnels: BTreeMap<[u32; 2], u32>,
    pub(crate) inner_addresses: BTreeMap<[u32; 2], u32>,
    pub(crate) plain_backends: BTreeMap<[u8; 8], u32>,
    pub(crate) snat: BTreeMap<u32, [u16; 2]>,
    pub(crate) listens_six: BTreeMap<[u32; 5], Box<PortBits>>,
    pub(crate) vips_six: BTreeMap<[u32; 4], u32>,
    pub(crate) plain_backends_six: BTreeMap<[u32; 5], u32>,
    pub(crate) snat_six: BTreeMap<[u32; 4], [u16; 2]>,
}

/// An address as it lies in a packet.
fn network(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// The same of an IPv6 address.
fn network_six(address: Ipv6Addr) -> [u32; 4] {
    let octets = address.octets();
    let (words, _) = octets.as_chunks::<4>();
    std::array::from_fn(|n| words.get(n).map_or(0, |word| u32::from_ne_bytes(*word)))
}

/// An address, and what follows it in a key.
fn six_and(address: Ipv6Addr, last: u32) -> [u32; 5] {
    let [a, b, c, d] = network_six(address);
    [a, b, c, d, last]
}

/// `struct plain_six_key`.
fn plain_six_key(address: Ipv6Addr, port: u16, protocol: u8, host: u8) -> [u32; 5] {
    let [high, low] = port.to_ne_bytes();
    six_and(address, u32::from_ne_bytes([high, low, protocol, host]))
}

/// `struct plain_key`.
fn plain_key(address: Ipv4Addr, port: u16, protocol: u8, host: u8) -> [u8; 8] {
    let ([a, b, c, d], [high, low]) = (address.octets(), port.to_ne_bytes());
    [a, b, c, d, high, low, protocol, host]
}

impl Tables {
    pub(crate) fn of(rules: &FilterRules) -> Result<Tables, FilterError> {
        let mut tables = Tables::default();
        for listen in &rules.listens {
            tables.add_listen(listen);
        }
        for overlay in &rules.overlays {
            tables.tunnels.insert([network(overlay.vtep), u32::from(overlay.port)], 1);
            for address in &overlay.addresses {
                tables.inner_addresses.insert([overlay.vni, network(*address)], 1);
            }
        }
        for plain in &rules.plain {
            tables.add_plain(plain);
        }
        for snat in &rules.snat {
            tables.add_snat(snat)?;
        }
        Ok(tables)
    }

    fn add_listen(&mut self, listen: &FilterListen) {
        let protocol = u32::from(listen.protocol);
        let bits = match listen.address {
            IpAddr::V4(address) => {
                self.vips.insert(network(address), 1);
                self.listens.entry([network(address), protocol]).or_insert_with(|| Box::new([0; 1024]))
            }
            IpAddr::V6(address) => {
                self.vips_six.insert(network_six(address), 1);
                self.listens_six.entry(six_and(address, protocol)).or_insert_with(|| Box::new([0; 1024]))
            }
        };
        for port in listen.ports.clone() {
            bits[usize::from(port >> 6)] |= 1 << (port & 63);
        }
    }

    fn add_plain(&mut self, plain: &FilterPlain) {
        for (port, host) in [(plain.port, 0), (0, 1)] {
            match plain.backend {
                IpAddr::V4(address) => self.plain_backends.insert(plain_key(address, port, plain.protocol, host), 1),
                IpAddr::V6(address) => {
                    self.plain_backends_six.insert(plain_six_key(address, port, plain.protocol, host), 1)
                }
            };
        }
    }

    /// Ranges of one address that touch become one.
    fn add_snat(&mut self, snat: &FilterSnat) -> Result<(), FilterError> {
        let (first, last) = (*snat.ports.start(), *snat.ports.end());
        if first > last {
            return Ok(());
        }
        let known = match snat.address {
            IpAddr::V4(address) => self.snat.entry(network(address)).or_insert([first, last]),
            IpAddr::V6(address) => self.snat_six.entry(network_six(address)).or_insert([first, last]),
        };
        let touch = first <= known[1].saturating_add(1) && known[0] <= last.saturating_add(1);
        if !touch {
            return Err(FilterError::SplitRange(snat.address));
        }
        *known = [known[0].min(first), known[1].max(last)];
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

    fn snat(ports: RangeInclusive<u16>) -> FilterSnat {
        FilterSnat { address: VIP, ports }
    }

    #[test]
    fn ports_are_bits() {
        let listen = |ports| FilterListen { address: VIP, ports, protocol: 6 };
        let rules = FilterRules { listens: vec![listen(80..=80), listen(65_530..=65_535)], ..FilterRules::default() };
        let tables = Tables::of(&rules).unwrap();
        let bits = &tables.listens[&[u32::from_ne_bytes([198, 18, 0, 1]), 6]];
        let set: Vec<usize> = (0..65_536).filter(|port| bits[port / 64] >> (port % 64) & 1 == 1).collect();
        assert_eq!(set, [80, 65_530, 65_531, 65_532, 65_533, 65_534, 65_535]);
        assert_eq!(tables.vips.len(), 1);
    }

    #[test]
    fn touching_ranges_become_one_and_others_are_refused() {
        let of = |snat| Tables::of(&FilterRules { snat, ..FilterRules::default() });
        let one = of(vec![snat(1000..=1999), snat(2000..=2999), snat(65_535..=65_535)]);
        assert!(matches!(one, Err(FilterError::SplitRange(VIP))));
        let one = of(vec![snat(2000..=65_535), snat(1000..=1999)]).unwrap();
        assert_eq!(one.snat.into_values().collect::<Vec<_>>(), [[1000, 65_535]]);
        assert!(of(vec![snat(1000..=1999), snat(1500..=1600), snat(2001..=2002)]).is_err());
    }
}
