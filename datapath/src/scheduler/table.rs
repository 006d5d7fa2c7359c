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
    /// Each backend has as many places as its weight says, side by side in the backends' order: when one goes, those of the
    /// others shift over its gap and no further.
    pub(super) fn by_weight(service: &VirtualService) -> Self {
        let weights: Vec<u64> = eligible(service).map(|(_, backend)| u64::from(backend.weight)).collect();
        let rows = eligible(service).zip(shares_of(&weights));
        Self(rows.flat_map(|((position, _), places)| std::iter::repeat_n(position as u16, places)).collect())
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

/// How many places of the table each of these weights gets: its part of all, rounded up or down. A weight that is too small for
/// one place has one all the same, and the others share what is left.
fn shares_of(weights: &[u64]) -> Vec<usize> {
    let (mut places, mut total) = (PLACES.max(weights.len()) as u64, weights.iter().sum::<u64>());
    let mut ascending = weights.to_vec();
    ascending.sort_unstable();
    let mut least = 0;
    for weight in ascending {
        least = weight;
        if weight * places >= total {
            break;
        }
        (places, total) = (places - 1, total - weight);
    }
    // Rounding where the rows end, and not how long they are, lets them add up to all places.
    let mut before = 0;
    let row = |&weight: &u64| {
        if weight < least {
            return 1;
        }
        let start = before * places / total;
        before += weight;
        (before * places / total - start) as usize
    };
    weights.iter().map(row).collect()
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

    use proptest::prelude::*;

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

    #[test]
    fn only_the_ratio_of_weights_counts() {
        assert_eq!(shares(&[100, 100]), [128, 128]);
        assert_eq!(shares(&[200, 100, 100]), [128, 64, 64]);
        assert_eq!(shares(&[65_535; 4]), [64; 4]);
        let close = shares(&[100, 99]);
        assert!(close[0].abs_diff(129) <= 1 && close[1].abs_diff(127) <= 1, "128.6 and 127.4: {close:?}");
        let tall = shares(&[1, 1, 10_000, 20_000]);
        assert_eq!(tall[..2], [1, 1], "too small for a place");
        assert!(tall[2].abs_diff(85) <= 1 && tall[3].abs_diff(169) <= 1, "{tall:?}");
    }

    #[test]
    fn most_places_stay_when_a_backend_goes() {
        let before = HashTable::by_weight(&service(&[1; 8]));
        for gone in 0..8 {
            let mut weights = [1; 8];
            weights[gone] = 0;
            let after = HashTable::by_weight(&service(&weights));
            let pairs = before.places().iter().zip(after.places());
            let moved = pairs.filter(|(old, new)| old != new && usize::from(**old) != gone).count();
            assert!(moved <= PLACES / 2, "{moved} moved between those that stay");
        }
    }

    proptest! {
        /// Every weight has a place, and all places are given; where no weight is too small for one, each part is exact but for
        /// rounding.
        #[test]
        fn places_are_shared_out_whole(weights in prop::collection::vec(1u16.., 1..=PLACES)) {
            let shares = shares(&weights);
            prop_assert_eq!(shares.iter().sum::<usize>(), PLACES);
            prop_assert!(shares.iter().all(|share| *share > 0));
            let total: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
            let exact = |weight: &u16| usize::from(*weight) * PLACES;
            if weights.iter().all(|weight| exact(weight) >= total) {
                for (weight, share) in weights.iter().zip(&shares) {
                    prop_assert!(exact(weight).abs_diff(share * total) < total, "{} has {} places", weight, share);
                }
            }
        }
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
