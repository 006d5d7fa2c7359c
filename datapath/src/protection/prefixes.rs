//! Lists of source prefixes: any number of them, a few steps to ask.
//!
//! Whether an address is in a list is all that is asked, so overlapping prefixes are merged once, when control builds the
//! list: what is left are sorted ranges that do not touch, and a binary search.

use std::net::IpAddr;
use std::sync::Arc;

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The network's address; bits behind the length are zero.
    pub address: IpAddr,
    /// The length: up to 32, or 128 for IPv6.
    pub bits: u8,
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// A list, ready to be asked. Clones share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes(Arc<Ranges>);

/// First and last address of each range, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ranges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Prefixes {
    /// The list of these.
    #[must_use]
    pub fn new(prefixes: &[Prefix]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for Prefix { address, bits } in prefixes {
            match address {
                IpAddr::V4(address) => {
                    let host = u32::MAX.checked_shr(u32::from(*bits)).unwrap_or(0);
                    v4.push((address.to_bits() & !host, address.to_bits() | host));
                }
                IpAddr::V6(address) => {
                    let host = u128::MAX.checked_shr(u32::from(*bits)).unwrap_or(0);
                    v6.push((address.to_bits() & !host, address.to_bits() | host));
                }
            }
        }
        Self(Arc::new(Ranges { v4: merged(v4), v6: merged(v6) }))
    }

    /// Nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.v4.is_empty() && self.0.v6.is_empty()
    }

    /// Whether one of the prefixes covers the address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => covers(&self.0.v4, address.to_bits()),
            IpAddr::V6(address) => covers(&self.0.v6, address.to_bits()),
        }
    }
}

/// Prefixes contain each other or are apart: what begins within the last range ends there, too.
fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable_by(|a, b| (a.0, b.1).cmp(&(b.0, a.1)));
    let mut apart: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for range in ranges {
        if apart.last().is_none_or(|last| last.1 < range.0) {
            apart.push(range);
        }
    }
    apart.shrink_to_fit();
    apart
}

fn covers<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= address);
    behind.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| address <= *last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, bits) = text.split_once('/').unwrap();
        Prefix { address: address.parse().unwrap(), bits: bits.parse().unwrap() }
    }

    fn list(texts: &[&str]) -> Prefixes {
        Prefixes::new(&texts.iter().map(|text| prefix(text)).collect::<Vec<_>>())
    }

    fn has(list: &Prefixes, address: &str) -> bool {
        list.contains(address.parse().unwrap())
    }

    #[test]
    fn first_and_last_address_and_their_neighbours() {
        let list = list(&["198.18.0.0/16", "10.1.2.3/32", "2001:db8:1::/48"]);
        for inside in ["198.18.0.0", "198.18.255.255", "10.1.2.3", "2001:db8:1::", "2001:db8:1:ffff::9"] {
            assert!(has(&list, inside), "{inside}");
        }
        for outside in ["198.17.255.255", "198.19.0.0", "10.1.2.2", "10.1.2.4", "2001:db8:2::", "2001:db8:0:ffff::"] {
            assert!(!has(&list, outside), "{outside}");
        }
    }

    #[test]
    fn families_are_apart_and_all_is_all() {
        let all = list(&["0.0.0.0/0"]);
        assert!(has(&all, "0.0.0.0") && has(&all, "255.255.255.255") && !has(&all, "::1"));
        assert!(has(&list(&["::/0"]), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
        assert!(Prefixes::default().is_empty() && !all.is_empty());
        assert!(!has(&Prefixes::default(), "10.0.0.1"));
    }

    proptest! {
        /// Against asking every prefix in turn. Addresses are few, so that they meet.
        #[test]
        fn as_one_by_one(
            prefixes in prop::collection::vec((0u32..64, 24u8..=32), 0..40),
            asked in prop::collection::vec(0u32..1024, 0..64),
        ) {
            let spread = |n: u32| std::net::Ipv4Addr::from_bits(0x0a00_0000 | n);
            let prefixes: Vec<Prefix> = prefixes
                .into_iter()
                .map(|(n, bits)| Prefix { address: spread((n << 4) & !u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0)).into(), bits })
                .collect();
            let list = Prefixes::new(&prefixes);
            for address in asked.into_iter().map(spread) {
                let one_by_one = prefixes.iter().any(|prefix| {
                    let IpAddr::V4(network) = prefix.address else { return false };
                    (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(prefix.bits)
                });
                prop_assert_eq!(list.contains(address.into()), one_by_one, "{}", address);
            }
        }
    }
}
