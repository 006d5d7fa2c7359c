//! The IPv6 addresses of the tables: VIPs, plain backends, our own addresses towards those, each with the IPv4 address
//! that stands for it everywhere else (see [`surrogate`](crate::surrogate)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hashbrown::HashMap;

use super::TablesError;
use crate::surrogate::is_fixed;

/// Both ways of looking them up.
#[derive(Debug, Default)]
pub(crate) struct FixedSurrogates {
    by_six: HashMap<Ipv6Addr, Ipv4Addr>,
    by_four: HashMap<Ipv4Addr, Fixed>,
}

#[derive(Clone, Copy, Debug)]
struct Fixed {
    address: Ipv6Addr,
    /// Kept from earlier tables, for the last packets of flows that ended with them.
    until: Option<Duration>,
}

impl FixedSurrogates {
    pub(super) fn new(pairs: &[(Ipv6Addr, Ipv4Addr)]) -> Result<Self, TablesError> {
        let mut all = Self::default();
        for (address, surrogate) in pairs {
            let is_new = all.by_four.insert(*surrogate, Fixed { address: *address, until: None }).is_none();
            if !is_new || !is_fixed(*surrogate) || all.by_six.insert(*address, *surrogate).is_some() {
                return Err(TablesError::BadSurrogate(*address, *surrogate));
            }
        }
        Ok(all)
    }

    /// Takes over those of earlier tables that are not here, until `until`.
    pub(super) fn inherit(&mut self, previous: &FixedSurrogates, now: Duration, until: Duration) {
        for (surrogate, fixed) in &previous.by_four {
            let until = fixed.until.unwrap_or(until);
            if until <= now || self.by_four.contains_key(surrogate) || self.by_six.contains_key(&fixed.address) {
                continue;
            }
            self.by_six.insert(fixed.address, *surrogate);
            self.by_four.insert(*surrogate, Fixed { address: fixed.address, until: Some(until) });
        }
    }

    #[inline]
    pub(super) fn surrogate(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        self.by_six.get(&address).copied()
    }

    #[inline]
    pub(super) fn address(&self, surrogate: Ipv4Addr) -> Option<Ipv6Addr> {
        self.by_four.get(&surrogate).map(|fixed| fixed.address)
    }

    /// As a human or another machine knows the address.
    pub(crate) fn real(&self, address: Ipv4Addr) -> IpAddr {
        self.address(address).map_or(IpAddr::V4(address), IpAddr::V6)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_six.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn six(n: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n)
    }

    const fn four(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(240, 0, 0, n)
    }

    #[test]
    fn pairs_must_be_of_the_range_and_unlike() {
        assert!(FixedSurrogates::new(&[(six(1), four(1)), (six(2), four(2))]).is_ok());
        for wrong in [
            vec![(six(1), four(1)), (six(2), four(1))],
            vec![(six(1), four(1)), (six(1), four(2))],
            vec![(six(1), four(0))],
            vec![(six(1), Ipv4Addr::new(241, 0, 0, 1))],
            vec![(six(1), Ipv4Addr::new(198, 18, 0, 1))],
        ] {
            assert!(matches!(FixedSurrogates::new(&wrong), Err(TablesError::BadSurrogate(..))), "{wrong:?}");
        }
    }

    #[test]
    fn what_goes_is_kept_for_a_while() {
        let second = Duration::from_secs(1);
        let both = FixedSurrogates::new(&[(six(1), four(1)), (six(2), four(2))]).unwrap();
        let next = |previous: &FixedSurrogates, now| {
            let mut one = FixedSurrogates::new(&[(six(1), four(1))]).unwrap();
            one.inherit(previous, now, now + 15 * second);
            one
        };
        let one = next(&both, second);
        assert_eq!((one.surrogate(six(2)), one.address(four(2))), (Some(four(2)), Some(six(2))));
        let soon = next(&one, 15 * second);
        assert_eq!(soon.real(four(2)), IpAddr::V6(six(2)));
        let late = next(&soon, 16 * second);
        assert_eq!((late.surrogate(six(2)), late.real(four(2))), (None, IpAddr::V4(four(2))));
    }
}
