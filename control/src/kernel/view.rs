//! A [`KernelView`]: what the gateway needs to know of the kernel's network state, as a plain value.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use wire::MacAddr;

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address; all zero when it has none.
    pub mac: MacAddr,
    /// The longest IP packet that it carries, in bytes.
    pub mtu: u32,
    /// Switched on, and with a carrier.
    pub up: bool,
    /// Made of others, which carry its packets by turns.
    pub is_bond: bool,
}

/// An address of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalAddress {
    /// The address.
    pub address: IpAddr,
    /// How many bits of it name the network.
    pub prefix_len: u8,
    /// The index of its link.
    pub link: u32,
}

/// How the kernel would reach an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// Out of a link, to a next hop.
    Link {
        /// The index of the link.
        link: u32,
        /// The router on the way, or the address itself when it is on the link.
        next_hop: IpAddr,
        /// The next hop's Ethernet address; `None` while ARP, or neighbour discovery, has no answer.
        mac: Option<MacAddr>,
        /// The source address that the kernel prefers on this way.
        source: Option<IpAddr>,
    },
    /// It is an address of this machine.
    Local,
    /// There is no way, for this reason.
    NoRoute(String),
}

/// What the kernel knows, as far as the gateway asked. Changes are found by comparing two of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelView {
    /// All links, by index.
    pub links: BTreeMap<u32, Link>,
    /// The addresses of this machine.
    pub addresses: BTreeSet<LocalAddress>,
    /// The way to each address that is followed.
    pub paths: BTreeMap<IpAddr, Path>,
}

impl KernelView {
    /// The same, with the names that links had when they were first served: one that was renamed since is still served, and one that has
    /// come under its name is not.
    #[must_use]
    pub fn with_names_as_served(mut self, served: &BTreeMap<String, u32>) -> KernelView {
        for link in self.links.values_mut() {
            match served.iter().find(|(_, index)| **index == link.index) {
                Some((name, _)) => link.name.clone_from(name),
                None if served.contains_key(&link.name) => link.name.push_str(" (since the start)"),
                None => {}
            }
        }
        self
    }

    /// The link of this name.
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// The name of the link with this index; a number when it is gone.
    pub fn link_name(&self, index: u32) -> String {
        self.links.get(&index).map_or_else(|| format!("link {index}"), |link| link.name.clone())
    }

    /// The name of the link that carries `address`, when it is one of this machine's own.
    pub fn owner_of(&self, address: impl Into<IpAddr>) -> Option<String> {
        let address = address.into();
        let local = self.addresses.iter().find(|local| local.address == address)?;
        Some(self.link_name(local.link))
    }

    /// The addresses of `wanted` to which no way is known yet, or no Ethernet address on it.
    pub fn unresolved<'a>(&'a self, wanted: &'a BTreeSet<IpAddr>) -> impl Iterator<Item = IpAddr> + 'a {
        wanted
            .iter()
            .copied()
            .filter(|address| matches!(self.paths.get(address), None | Some(Path::Link { mac: None, .. })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(links: &[(u32, &str)]) -> KernelView {
        let link = |&(index, name): &(u32, &str)| (index, Link { index, name: name.to_owned(), ..Link::default() });
        KernelView { links: links.iter().map(link).collect(), ..KernelView::default() }
    }

    #[test]
    fn a_name_stays_with_the_link_that_is_served() {
        let served = BTreeMap::from([("eth0".to_owned(), 2), ("eth1".to_owned(), 3)]);
        let as_at_start = view(&[(1, "lo"), (2, "eth0"), (3, "eth1")]);
        assert_eq!(as_at_start.clone().with_names_as_served(&served), as_at_start);
        // Renamed, and made anew.
        let now = view(&[(1, "lo"), (2, "wan"), (7, "eth1")]).with_names_as_served(&served);
        assert_eq!(now.link_named("eth0").unwrap().index, 2);
        assert!(now.link_named("eth1").is_none());
        assert_eq!(now.link_name(7), "eth1 (since the start)");
        // Swapped.
        let now = view(&[(2, "eth1"), (3, "eth0")]).with_names_as_served(&served);
        assert_eq!((now.link_name(2), now.link_name(3)), ("eth0".to_owned(), "eth1".to_owned()));
    }
}
