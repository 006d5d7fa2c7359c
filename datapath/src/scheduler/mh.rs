//! `mh`: Maglev hashing (Eisenbud et al., NSDI 2016, §3.4) of the client's address, with weights. When backends change,
//! few clients of the others move.

use std::net::IpAddr;

use super::table::HashTable;
use super::{Request, eligible};
use crate::service::{Backend, FixedSurrogates, VirtualService};

/// A prime, much greater than the number of backends: shares differ by less than 1 % of a share for up to 650 backends.
const PLACES: usize = 65_537;

pub(super) fn pick(request: &Request<'_>) -> Option<usize> {
    request.table.lookup(request.client)
}

/// The places that a backend wants, best first.
struct Wishes {
    position: u16,
    weight: u64,
    /// Places due for its weight so far, in units of the greatest weight.
    due: u64,
    next: usize,
    skip: usize,
}

impl Wishes {
    /// By address and port, so that a backend keeps its places over restarts and in every gateway.
    fn of(position: usize, backend: &Backend, six: &FixedSurrogates) -> Self {
        let name = (six.real(backend.address), backend.target_port(0));
        let offset = hash(name, 0x6f66_6673_6574_0000) as usize % PLACES;
        let skip = hash(name, 0x736b_6970_0000_0000) as usize % (PLACES - 1) + 1;
        Self { position: position as u16, weight: u64::from(backend.weight), due: 0, next: offset, skip }
    }

    /// The best place that is still free; there is one.
    fn take(&mut self, places: &mut [u16]) {
        while places[self.next] != FREE {
            self.next = (self.next + self.skip) % PLACES;
        }
        places[self.next] = self.position;
    }
}

const FREE: u16 = u16::MAX;

/// FNV-1a and a mixing step. It must never change, or clients move at an upgrade.
fn hash((address, port): (IpAddr, u16), seed: u64) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let begin = 0xcbf2_9ce4_8422_2325 ^ seed;
    let of_address = match address {
        IpAddr::V4(address) => address.octets().iter().fold(begin, step),
        IpAddr::V6(address) => address.octets().iter().fold(begin, step),
    };
    let mixed = port.to_be_bytes().iter().fold(of_address, step);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

/// The lookup table; empty when none may take new flows.
pub(super) fn table(service: &VirtualService, six: &FixedSurrogates) -> HashTable {
    let mut wishes: Vec<Wishes> =
        eligible(service).map(|(position, backend)| Wishes::of(position, backend, six)).collect();
    let Some(greatest) = wishes.iter().map(|wish| wish.weight).max() else { return HashTable::default() };
    let mut places = vec![FREE; PLACES];
    let mut left = PLACES;
    while left > 0 {
        for wish in &mut wishes {
            wish.due += wish.weight;
            if wish.due < greatest || left == 0 {
                continue;
            }
            wish.due -= greatest;
            wish.take(&mut places);
            left -= 1;
        }
    }
    HashTable::new(places)
}

#[cfg(test)]
mod tests {
    use super::super::SchedulerKind;
    use super::super::testing::{Scene, count, service};
    use super::*;

    fn table(service: &VirtualService) -> HashTable {
        super::table(service, &FixedSurrogates::default())
    }

    #[test]
    fn shares_are_equal_within_one_percent() {
        for backends in [1_usize, 2, 3, 10, 100, 600] {
            let table = table(&service(&vec![1; backends]));
            let fair = PLACES / backends;
            for share in table.shares(backends) {
                assert!(share.abs_diff(fair) * 100 <= fair, "{share} of {backends}, fair is {fair}");
            }
        }
    }

    #[test]
    fn shares_follow_the_weights_within_one_percent() {
        let weights = [1, 2, 3, 0, 10];
        let shares = table(&service(&weights)).shares(5);
        for (share, weight) in shares.iter().zip(weights) {
            let fair = PLACES * usize::from(weight) / 16;
            assert!(share.abs_diff(fair) * 100 <= fair.max(1), "{share}, fair is {fair}");
        }
    }

    /// Of the clients of those who stay, hardly any moves when one goes: the paper finds a few per cent.
    #[test]
    fn few_clients_move_when_a_backend_goes() {
        let before = table(&service(&[1; 10]));
        let mut fewer = [1; 10];
        fewer[4] = 0;
        let after = table(&service(&fewer));
        let stayed = before.places().iter().zip(after.places()).filter(|(old, _)| **old != 4);
        let (mut moved, mut all) = (0, 0);
        for (old, new) in stayed {
            all += 1;
            moved += usize::from(old != new);
        }
        assert!(moved * 100 < all * 5, "{moved} of {all} moved");
        assert!(after.places().iter().all(|position| *position != 4));
    }

    /// The order in which backends are listed must hardly matter: it differs between two reads of the swarm.
    #[test]
    fn a_new_backend_takes_its_share_and_little_more() {
        let before = table(&service(&[1; 9]));
        let after = table(&service(&[1; 10]));
        let pairs = before.places().iter().zip(after.places());
        let moved = pairs.filter(|(old, new)| old != new && **new != 9).count();
        assert!(moved * 100 < PLACES * 5, "{moved} moved between old backends");
    }

    #[test]
    fn a_million_clients_spread_within_one_percent() {
        let mut scene = Scene::new(SchedulerKind::Maglev, &[1; 8]);
        let mut client = 0;
        let counts = count(8, 1_000_000, || {
            client += 1;
            scene.pick_for(client)
        });
        assert!(counts.iter().all(|count| count.abs_diff(125_000) <= 1_250), "{counts:?}");
        assert_eq!(Scene::new(SchedulerKind::Maglev, &[0]).pick_for(1), None);
    }
}
