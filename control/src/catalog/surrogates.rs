//! IPv4 addresses that stand for IPv6 ones in the tables: the data path is IPv4 inside and translates at its edge.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// 240.0.0.0/8. The rest of 240.0.0.0/4 is the data path's, for clients.
const FIRST: u32 = 0xf000_0001;
/// Stands for nobody: what has got no address of its own can't be reached.
const NOBODY: u32 = 0xf0ff_ffff;

/// The surrogates of this process: VIPs, backends without a VTEP, our own source addresses. One that was given stays
/// with its address, also when that is removed and returns, so that packets under way never meet another's.
#[derive(Debug, Clone, Default)]
pub struct Surrogates(Arc<Mutex<Given>>);

#[derive(Debug, Default)]
struct Given {
    /// In the order of their surrogates.
    real: Vec<Ipv6Addr>,
    surrogates: HashMap<Ipv6Addr, Ipv4Addr>,
}

impl Surrogates {
    fn given(&self) -> MutexGuard<'_, Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands for the address in the tables; IPv4 stands for itself.
    pub fn of(&self, address: IpAddr) -> Ipv4Addr {
        match address {
            IpAddr::V4(address) => address,
            IpAddr::V6(address) => self.given().of(address),
        }
    }

    /// The address that an address of the tables stands for; `None`: a client's surrogate, or nobody's.
    pub fn real(&self, address: Ipv4Addr) -> Option<IpAddr> {
        if address.octets()[0] < 240 {
            return Some(IpAddr::V4(address));
        }
        let position = address.to_bits().checked_sub(FIRST)?;
        self.given().real.get(position as usize).copied().map(IpAddr::V6)
    }

    /// Those among the addresses, each once, with what they stand for.
    pub fn among(&self, addresses: impl Iterator<Item = Ipv4Addr>) -> Vec<(Ipv6Addr, Ipv4Addr)> {
        let found: BTreeSet<Ipv4Addr> = addresses.filter(|address| address.octets()[0] >= 240).collect();
        let real = |surrogate| match self.real(surrogate) {
            Some(IpAddr::V6(real)) => Some((real, surrogate)),
            _ => None,
        };
        found.into_iter().filter_map(real).collect()
    }
}

impl Given {
    fn of(&mut self, address: Ipv6Addr) -> Ipv4Addr {
        if let Some(surrogate) = self.surrogates.get(&address) {
            return *surrogate;
        }
        let next = u32::try_from(self.real.len()).ok().and_then(|count| FIRST.checked_add(count));
        let Some(next) = next.filter(|next| *next < NOBODY) else { return Ipv4Addr::from_bits(NOBODY) };
        let surrogate = Ipv4Addr::from_bits(next);
        self.real.push(address);
        self.surrogates.insert(address, surrogate);
        surrogate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn six(last: u16) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()
    }

    #[test]
    fn each_has_one_for_good_and_no_two_the_same() {
        let surrogates = Surrogates::default();
        let of = |last| surrogates.of(six(last));
        assert_eq!([of(1), of(2), of(1)], [[240, 0, 0, 1], [240, 0, 0, 2], [240, 0, 0, 1]].map(Ipv4Addr::from));
        // A draft of the catalog shares them with the one that counts.
        assert_eq!(surrogates.clone().of(six(3)), Ipv4Addr::new(240, 0, 0, 3));
        assert_eq!(of(4), Ipv4Addr::new(240, 0, 0, 4));
        let (second, fourth) = (Ipv4Addr::new(240, 0, 0, 2), Ipv4Addr::new(240, 0, 0, 4));
        let others = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(248, 0, 0, 1)];
        let among = surrogates.among([fourth, second, fourth].into_iter().chain(others));
        let among: Vec<_> = among.into_iter().map(|(real, surrogate)| (IpAddr::V6(real), surrogate)).collect();
        assert_eq!(among, [(six(2), second), (six(4), fourth)]);
        assert_eq!(surrogates.real(fourth), Some(six(4)));
    }

    #[test]
    fn ipv4_stands_for_itself_and_others_for_nobody() {
        let surrogates = Surrogates::default();
        let four = Ipv4Addr::new(198, 18, 0, 1);
        assert_eq!(surrogates.of(four.into()), four);
        assert_eq!(surrogates.real(four), Some(four.into()));
        for unknown in [[240, 0, 0, 0], [240, 0, 0, 1], [240, 255, 255, 255], [248, 0, 0, 1], [255; 4]] {
            assert_eq!(surrogates.real(unknown.into()), None);
        }
    }
}
