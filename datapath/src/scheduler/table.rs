//! Tables of backends by the hash of an address: of `sh` and `dh`, filled here, and of `mh`.

use std::net::Ipv4Addr;

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

    pub(super) fn lookup(&self, address: Ipv4Addr) -> Option<usize> {
        let place = spread(address) as usize % self.0.len().max(1);
        self.0.get(place).map(|position| usize::from(*position))
    }
}

/// The same in every process and on every machine, so that two gateways agree: the multiplicative hash of Knuth, whose
/// upper bits depend on all of the address.
fn spread(address: Ipv4Addr) -> u32 {
    let mixed = u64::from(address.to_bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
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
        assert_eq!(HashTable::by_weight(&service(&[0])).lookup(Ipv4Addr::LOCALHOST), None);
    }
}
