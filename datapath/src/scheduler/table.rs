//! Tables of backends by the hash of an address: of `sh` and `dh`, filled here, and of `mh`.

use std::net::{IpAddr, Ipv6Addr};

use super::eligible;
use crate::service::VirtualService;

/// IPVS's default (`IP_VS_SH_TAB_BITS` 8).
const PLACES: usize = 256;

/// Positions of backends; empty when none may take new flows.
#[derive(Debug, Default)]
pub(crate) struct HashTable(Vec<u16>);

impl HashTable {
    /// Backends take their places in turn, each as many in a row as its weight says (divided by the greatest weight's
    /// share, so that all of them come into the table).
    pub(super) fn by_weight(service: &VirtualService) -> Self {
        let greatest = eligible(service).map(|(_, backend)| usize::from(backend.weight)).max().unwrap_or(1);
        let count = eligible(service).count().max(1);
        let most = (PLACES / count).clamp(1, greatest);
        let row = |(position, weight): (usize, u16)| {
            std::iter::repeat_n(position as u16, (usize::from(weight) * most / greatest).max(1))
        };
        let round: Vec<u16> =
            eligible(service).flat_map(|(position, backend)| row((position, backend.weight))).collect();
        Self(round.iter().copied().cycle().take(if round.is_empty() { 0 } else { PLACES.max(round.len()) }).collect())
    }

    /// A table with these positions.
    pub(super) fn new(places: Vec<u16>) -> Self {
        Self(places)
    }

    /// How often each of so many backends stands in the table.
    #[cfg(test)]
    pub(super) fn shares(&self, backends: usize) -> Vec<usize> {
        (0..backends).map(|n| self.0.iter().filter(|position| usize::from(**position) == n).count()).collect()
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> &[u16] {
        &self.0
    }

    /// Whose turn it is.
    pub(super) fn in_turn(&self, turn: u32) -> Option<usize> {
        let place = turn as usize % self.0.len().max(1);
        self.0.get(place).map(|position| usize::from(*position))
    }

    pub(super) fn lookup(&self, address: IpAddr) -> Option<usize> {
        let place = spread(address) as usize % self.0.len().max(1);
        self.0.get(place).map(|position| usize::from(*position))
    }
}

/// The same in every process and on every machine, so that two gateways agree: the multiplicative hash of Knuth, whose
/// upper bits depend on all of the address.
fn spread(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => (u64::from(address.to_bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32,
        IpAddr::V6(address) => (mix(address) >> 32) as u32,
    }
}

/// An IPv6 address in half as many bits, the same everywhere and for ever; its upper bits depend on all of the address.
pub(crate) fn mix(address: Ipv6Addr) -> u64 {
    let (high, low) = ((address.to_bits() >> 64) as u64, address.to_bits() as u64);
    let mixed = high.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 32) ^ low).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

#[cfg(test)]
mod tests {
    use super::super::testing::service;
    use super::*;

    fn shares(weights: &[u16]) -> Vec<usize> {
        HashTable::by_weight(&service(weights)).shares(weights.len())
    }

    #[test]
    fn places_follow_the_weights() {
        assert_eq!(shares(&[1, 1]), [128, 128]);
        let thirds = shares(&[1, 0, 2]);
        assert_eq!(thirds[1], 0);
        assert!(thirds[0].abs_diff(85) <= 1 && thirds[2].abs_diff(171) <= 1, "{thirds:?}");
        assert_eq!(shares(&[65_535]), [256]);
        assert!(shares(&[1, 65_535])[0] >= 1, "a small weight is not none");
        assert!(shares(&[1; 300]).iter().all(|share| *share == 1), "more backends than places");
        assert_eq!(HashTable::by_weight(&service(&[0])).lookup(IpAddr::from([127, 0, 0, 1])), None);
    }

    /// Neighbours in one network, and networks: a hundred thousand of either spread evenly.
    #[test]
    fn ipv6_clients_spread() {
        let table = HashTable::by_weight(&service(&[1; 8]));
        for step in [1_u128, 1 << 32, 1 << 64, 1 << 80] {
            let mut counts = [0_usize; 8];
            for n in 0..100_000 {
                let address = Ipv6Addr::from_bits((0x2001_0db8 << 96) + n * step);
                counts[table.lookup(IpAddr::V6(address)).unwrap()] += 1;
            }
            assert!(counts.iter().all(|count| count.abs_diff(12_500) < 700), "{step}: {counts:?}");
        }
    }
}
