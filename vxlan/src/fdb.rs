//! Who is where in the overlay.

use std::net::Ipv4Addr;

use hashbrown::HashMap;
use wire::MacAddr;

/// One end inside the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Overlay address.
    pub address: Ipv4Addr,
    /// Inner Ethernet address.
    pub mac: MacAddr,
}

/// Overlay address → inner Ethernet address and VTEP: neighbour and forwarding table in one, since every endpoint that
/// the gateway talks to has exactly one of each.
#[derive(Clone, Debug, Default)]
pub struct Fdb {
    entries: HashMap<Ipv4Addr, (MacAddr, Ipv4Addr)>,
}

impl Fdb {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says where an endpoint is. Returns where it was.
    pub fn insert(&mut self, endpoint: Endpoint, vtep: Ipv4Addr) -> Option<(MacAddr, Ipv4Addr)> {
        self.entries.insert(endpoint.address, (endpoint.mac, vtep))
    }

    /// The inner Ethernet address and the VTEP of an overlay address.
    #[must_use]
    pub fn lookup(&self, address: Ipv4Addr) -> Option<(MacAddr, Ipv4Addr)> {
        self.entries.get(&address).copied()
    }

    /// Forgets an overlay address. Returns where it was.
    pub fn remove(&mut self, address: Ipv4Addr) -> Option<(MacAddr, Ipv4Addr)> {
        self.entries.remove(&address)
    }

    /// All endpoints with their VTEPs, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Endpoint, Ipv4Addr)> + '_ {
        self.entries.iter().map(|(&address, &(mac, vtep))| (Endpoint { address, mac }, vtep))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_moves() {
        let address = Ipv4Addr::new(10, 0, 0, 11);
        let endpoint = Endpoint { address, mac: MacAddr::docker(address) };
        let (first, second) = (Ipv4Addr::new(198, 18, 1, 11), Ipv4Addr::new(198, 18, 1, 12));
        let mut fdb = Fdb::new();
        assert_eq!(fdb.lookup(address), None);
        assert_eq!(fdb.insert(endpoint, first), None);
        assert_eq!(fdb.insert(endpoint, second), Some((endpoint.mac, first)));
        assert_eq!(fdb.lookup(address), Some((endpoint.mac, second)));
        assert_eq!(fdb.iter().collect::<Vec<_>>(), [(endpoint, second)]);
        assert_eq!(fdb.remove(address), Some((endpoint.mac, second)));
        assert_eq!(fdb.iter().count(), 0);
    }
}
