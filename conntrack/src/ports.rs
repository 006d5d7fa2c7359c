//! SNAT ports: for each backend (address, port, protocol) and SNAT address a pool of its own.
//!
//! A pool first walks once over its whole range, starting at a place that depends on the table's seed, so that a
//! restarted gateway does not begin where its predecessor did. After that it gives out what came back, longest rested
//! first. A backend's kernel refuses a SYN from a port that it still holds in `TIME_WAIT` if the timestamp went back, and
//! behind one SNAT address every client has another clock: a port must rest as long as it can.
//!
//! A port comes back when its flow closes, which is before the entry goes: who gets the port evicts that entry.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::ops::RangeInclusive;

use hashbrown::HashMap;
use wire::{FiveTuple, Protocol};

use crate::hash::HashKey;
use crate::rested::Rested;

/// The SNAT addresses and ports that may be used towards a backend: this worker's share.
#[derive(Clone, Debug)]
pub struct SnatRange<'a> {
    /// Used in turn.
    pub addresses: &'a [Ipv4Addr],
    /// The ports of each address.
    pub ports: RangeInclusive<u16>,
}

/// All pools of one table.
pub(crate) struct Ports {
    backends: HashMap<(SocketAddrV4, Protocol), BackendPorts>,
    /// Their keys, and which of them is looked at next.
    order: Vec<(SocketAddrV4, Protocol)>,
    next: usize,
    seed: HashKey,
}

#[derive(Default)]
struct BackendPorts {
    /// Which SNAT address comes next.
    turn: usize,
    pools: Vec<Pool>,
}

struct Pool {
    address: Ipv4Addr,
    range: RangeInclusive<u16>,
    /// Where in the range the first walk begins.
    begin: u32,
    /// How many ports the first walk has given out.
    walked: u32,
    /// Came back, in this order.
    rested: Rested,
    /// Given out and not yet back.
    open: u32,
    /// The tick of the last use.
    used: u32,
}

impl Ports {
    pub(crate) fn new(seed: HashKey) -> Self {
        Self { backends: HashMap::new(), order: Vec::new(), next: 0, seed }
    }

    /// Takes the port that has rested longest, of the SNAT address whose turn it is; of the next one if that has none.
    pub(crate) fn take(
        &mut self,
        backend: SocketAddrV4,
        protocol: Protocol,
        range: &SnatRange,
        tick: u32,
    ) -> Option<SocketAddrV4> {
        let ports = self.backends.entry((backend, protocol)).or_insert_with(|| {
            self.order.push((backend, protocol));
            BackendPorts::default()
        });
        for _ in 0..range.addresses.len() {
            let address = *range.addresses.get(ports.turn % range.addresses.len())?;
            ports.turn = ports.turn.wrapping_add(1);
            let key = FiveTuple { src: *backend.ip(), dst: address, src_port: backend.port(), dst_port: 0, protocol };
            let pool = ports.pool(address, &range.ports, self.seed.hash(&key));
            if let Some(port) = pool.take() {
                pool.used = tick;
                return Some(SocketAddrV4::new(address, port));
            }
        }
        None
    }

    /// A port comes back and goes to the end of its queue. Ports of pools that are gone are forgotten.
    pub(crate) fn rest(&mut self, backend: SocketAddrV4, protocol: Protocol, snat: SocketAddrV4, tick: u32) {
        let Some(pool) = self.pool_mut(backend, protocol, *snat.ip()) else { return };
        pool.open = pool.open.saturating_sub(1);
        pool.used = tick;
        if pool.range.contains(&snat.port()) {
            pool.rested.push_back(snat.port());
        }
    }

    /// A port that was taken is somebody else's.
    pub(crate) fn leave(&mut self, backend: SocketAddrV4, protocol: Protocol, snat: SocketAddrV4) {
        if let Some(pool) = self.pool_mut(backend, protocol, *snat.ip()) {
            pool.open = pool.open.saturating_sub(1);
        }
    }

    fn pool_mut(&mut self, backend: SocketAddrV4, protocol: Protocol, address: Ipv4Addr) -> Option<&mut Pool> {
        let ports = self.backends.get_mut(&(backend, protocol))?;
        ports.pools.iter_mut().find(|pool| pool.address == address)
    }

    /// How many ports [`Ports::take`] could give out.
    pub(crate) fn free(&self, backend: SocketAddrV4, protocol: Protocol, range: &SnatRange) -> usize {
        let pools = self.backends.get(&(backend, protocol)).map_or(&[][..], |ports| &ports.pools);
        let free_of = |address: &Ipv4Addr| {
            let pool = pools.iter().find(|pool| pool.address == *address && pool.range == range.ports);
            pool.map_or(range.ports.len(), Pool::free)
        };
        range.addresses.iter().map(free_of).sum()
    }

    /// Looks at the pools of the next backend, and forgets them if no port is out and none was used since `idle_since`.
    pub(crate) fn forget_unused(&mut self, idle_since: u32) {
        self.next = if self.next < self.order.len() { self.next } else { 0 };
        let Some(key) = self.order.get(self.next) else { return };
        let is_used = |pool: &Pool| pool.open > 0 || pool.used > idle_since;
        if self.backends.get(key).is_some_and(|ports| ports.pools.iter().any(is_used)) {
            self.next += 1;
        } else {
            self.backends.remove(key);
            self.order.swap_remove(self.next);
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let queues = self.backends.values().flat_map(|ports| &ports.pools).map(|pool| pool.rested.memory_bytes());
        let order = self.order.capacity() * size_of::<(SocketAddrV4, Protocol)>();
        self.backends.allocation_size() + order + queues.map(|queue| queue + size_of::<Pool>()).sum::<usize>()
    }
}

impl BackendPorts {
    fn pool(&mut self, address: Ipv4Addr, range: &RangeInclusive<u16>, hash: u64) -> &mut Pool {
        let known = self.pools.iter().position(|pool| pool.address == address);
        let at = known.unwrap_or(self.pools.len());
        if known.is_none() {
            self.pools.push(Pool::new(address, range.clone(), hash));
        } else if self.pools[at].range != *range {
            // Another share of the ports: start over. Flows still hold ports of the old range; the table never gives
            // out a port that an open flow holds.
            let open = self.pools[at].open;
            self.pools[at] = Pool { open, ..Pool::new(address, range.clone(), hash) };
        }
        &mut self.pools[at]
    }
}

impl Pool {
    fn new(address: Ipv4Addr, range: RangeInclusive<u16>, hash: u64) -> Self {
        let len = (range.len() as u64).max(1);
        let begin = (hash % len) as u32;
        Self { address, range, begin, walked: 0, rested: Rested::default(), open: 0, used: 0 }
    }

    fn len(&self) -> u32 {
        self.range.len() as u32
    }

    fn free(&self) -> usize {
        (self.len() - self.walked) as usize + self.rested.len()
    }

    fn take(&mut self) -> Option<u16> {
        let port = if self.walked < self.len() {
            let place = (self.begin + self.walked) % self.len();
            self.walked += 1;
            self.range.start() + place as u16
        } else {
            self.rested.pop_front()?
        };
        self.open += 1;
        Some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 11), 8000);
    const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 0, 0, 4)];

    fn range(addresses: &[Ipv4Addr], ports: RangeInclusive<u16>) -> SnatRange<'_> {
        SnatRange { addresses, ports }
    }

    fn take(ports: &mut Ports, of: &SnatRange) -> Option<u16> {
        ports.take(BACKEND, Protocol::Tcp, of, 0).map(|snat| snat.port())
    }

    #[test]
    fn the_whole_range_first_then_first_in_first_out() {
        let of = range(&ADDRESSES[..1], 65_530..=65_535);
        let mut ports = Ports::new(HashKey::new(4));
        let first: Vec<u16> = core::iter::from_fn(|| take(&mut ports, &of)).collect();
        assert_eq!(first.len(), 6);
        let begin = first[0] - 65_530;
        let walk: Vec<u16> = (0..6).map(|step| 65_530 + (begin + step) % 6).collect();
        assert_eq!(first, walk);
        for port in [first[3], first[0], first[5]] {
            ports.rest(BACKEND, Protocol::Tcp, SocketAddrV4::new(ADDRESSES[0], port), 0);
        }
        assert_eq!(ports.free(BACKEND, Protocol::Tcp, &of), 3);
        let second: Vec<u16> = core::iter::from_fn(|| take(&mut ports, &of)).collect();
        assert_eq!(second, [first[3], first[0], first[5]]);
    }

    #[test]
    fn another_seed_begins_elsewhere() {
        let of = range(&ADDRESSES[..1], 1024..=65_535);
        let begins: Vec<u16> = (0..8).filter_map(|seed| take(&mut Ports::new(HashKey::new(seed)), &of)).collect();
        let mut distinct = begins.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!((begins.len(), distinct.len()), (8, 8));
    }

    #[test]
    fn addresses_take_turns_and_stand_in_for_each_other() {
        let of = range(&ADDRESSES, 1..=2);
        let mut ports = Ports::new(HashKey::new(4));
        let taken: Vec<SocketAddrV4> = core::iter::from_fn(|| ports.take(BACKEND, Protocol::Udp, &of, 0)).collect();
        let order: Vec<Ipv4Addr> = taken.iter().map(|snat| *snat.ip()).collect();
        assert_eq!(order, [ADDRESSES[0], ADDRESSES[1], ADDRESSES[0], ADDRESSES[1]]);
        ports.rest(BACKEND, Protocol::Udp, taken[1], 0);
        assert_eq!(ports.take(BACKEND, Protocol::Udp, &of, 0), Some(taken[1]));
        assert!(take(&mut ports, &of).is_some(), "TCP has pools of its own");
    }

    #[test]
    fn no_address_no_port() {
        let of = range(&[], 1..=2);
        assert_eq!(take(&mut Ports::new(HashKey::new(4)), &of), None);
        #[expect(clippy::reversed_empty_ranges, reason = "an empty range is the case")]
        let empty = range(&ADDRESSES, 9..=8);
        assert_eq!(take(&mut Ports::new(HashKey::new(4)), &empty), None);
    }

    #[test]
    fn pools_are_forgotten_when_idle_only() {
        let of = range(&ADDRESSES[..1], 1..=9);
        let mut ports = Ports::new(HashKey::new(4));
        let port = take(&mut ports, &of).unwrap();
        ports.forget_unused(100);
        assert_eq!(ports.free(BACKEND, Protocol::Tcp, &of), 8, "a port is out");
        ports.rest(BACKEND, Protocol::Tcp, SocketAddrV4::new(ADDRESSES[0], port), 101);
        ports.forget_unused(100);
        assert_eq!(ports.backends.len(), 1, "used lately");
        ports.forget_unused(101);
        assert_eq!((ports.backends.len(), ports.order.len()), (0, 0));
    }
}
