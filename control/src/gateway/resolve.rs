//! From what the kernel knows to what the tables need: next hops, source addresses, MAC addresses.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use datapath::service::{BackendId, Hop, Interface, InterfaceIndex};
use wire::MacAddr;

use crate::catalog::Resolve;
use crate::config::{Config, Driver};
use crate::kernel::{KernelView, Path};

/// MAC addresses that tasks told by ARP, by their overlay address.
pub type OverlayMacs = BTreeMap<Ipv4Addr, MacAddr>;

/// Answers the catalog's questions for one table, and notes what was asked and what is wrong.
pub struct Resolver<'a> {
    config: &'a Config,
    view: &'a KernelView,
    learned: &'a OverlayMacs,
    vteps: &'a BTreeSet<IpAddr>,
    asked: RefCell<BTreeSet<IpAddr>>,
    problems: RefCell<BTreeSet<String>>,
}

/// What came out besides the table.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// The underlay addresses that the table leads to: the kernel is to follow them.
    pub asked: BTreeSet<IpAddr>,
    /// One sentence for each address that cannot be reached now.
    pub problems: BTreeSet<String>,
    /// Who cannot be reached now: backends by their first ids. Of whom the kernel has not spoken yet nothing is known.
    pub lost: BTreeSet<BackendId>,
}

impl<'a> Resolver<'a> {
    /// `vteps` says which addresses are VTEPs: sentences name them so.
    pub fn new(
        config: &'a Config,
        view: &'a KernelView,
        learned: &'a OverlayMacs,
        vteps: &'a BTreeSet<IpAddr>,
    ) -> Resolver<'a> {
        Resolver { config, view, learned, vteps, asked: RefCell::default(), problems: RefCell::default() }
    }

    /// What was asked for, and what is wrong.
    pub fn findings(self) -> Findings {
        Findings { asked: self.asked.into_inner(), problems: self.problems.into_inner(), lost: BTreeSet::new() }
    }

    fn has_tun(&self) -> bool {
        self.config.interfaces.iter().any(|interface| interface.driver == Driver::Tun)
    }

    /// Which `AF_XDP` interface the link is.
    fn xdp_interface(&self, link: u32) -> Option<InterfaceIndex> {
        let name = &self.view.links.get(&link)?.name;
        let is_it =
            |interface: &crate::config::InterfaceConfig| interface.driver == Driver::AfXdp && interface.name == *name;
        let position = self.config.interfaces.iter().position(is_it)?;
        Some(InterfaceIndex(u16::try_from(position).ok()?))
    }

    fn unresolved(&self, address: IpAddr, why: &str) -> Hop {
        let kind = if self.vteps.contains(&address) { "vtep" } else { "backend" };
        self.problems.borrow_mut().insert(format!("{kind} {address}: {why}"));
        Hop::Unresolved
    }

    /// The hop out of a link that the kernel's route names.
    fn over_link(&self, address: IpAddr, link: u32, next_hop: IpAddr, mac: Option<MacAddr>) -> Hop {
        let name = self.view.link_name(link);
        match (self.xdp_interface(link), mac) {
            (Some(interface), Some(mac)) => Hop::Ethernet { interface, mac },
            (Some(_), None) => {
                let question = if next_hop.is_ipv4() { "ARP" } else { "neighbour discovery" };
                self.unresolved(address, &format!("no {question} answer from {next_hop} on {name}"))
            }
            (None, _) if self.has_tun() => Hop::Kernel,
            (None, _) => {
                let why = format!("the route leaves by {name}, which is no [[interface]]");
                self.unresolved(address, &why)
            }
        }
    }
}

impl Resolve for Resolver<'_> {
    fn hop(&self, address: IpAddr) -> Hop {
        self.asked.borrow_mut().insert(address);
        match self.view.paths.get(&address) {
            Some(Path::Link { link, next_hop, mac, .. }) => self.over_link(address, *link, *next_hop, *mac),
            // Delivered on this machine, or not asked about yet: over TUN that is the kernel's affair.
            Some(Path::Local) | None if self.has_tun() => Hop::Kernel,
            Some(Path::Local) => self.unresolved(address, "it is an address of this machine"),
            Some(Path::NoRoute(why)) => self.unresolved(address, why),
            // The answer comes with the next table.
            None => Hop::Unresolved,
        }
    }

    fn direct_hop(&self, address: IpAddr) -> Hop {
        // Also of one that is refused for what the kernel said, or that would be forgotten, and asked about again.
        self.asked.borrow_mut().insert(address);
        if let Some(Path::Link { next_hop, .. }) = self.view.paths.get(&address)
            && *next_hop != address
        {
            return self.unresolved(address, &format!("it is behind {next_hop}: a direct backend must be on the link"));
        }
        match self.hop(address) {
            Hop::Kernel => {
                self.unresolved(address, "over TUN a direct backend needs a vtep: the kernel routes by the VIP")
            }
            hop => hop,
        }
    }

    /// Without a route nothing is sent, and the VIP stands in for what is not known.
    fn plain_snat(&self, backend: IpAddr, vip: IpAddr) -> Vec<IpAddr> {
        let fits = |address: &IpAddr| address.is_ipv4() == backend.is_ipv4();
        let wanted: Vec<_> = self.config.gateway.snat.iter().copied().filter(fits).collect();
        if !wanted.is_empty() {
            return wanted;
        }
        match self.view.paths.get(&backend) {
            Some(Path::Link { link, source: Some(source), .. })
                if fits(source) && (self.has_tun() || self.xdp_interface(*link).is_some()) =>
            {
                vec![*source]
            }
            _ if fits(&vip) => vec![vip],
            Some(Path::Link { .. } | Path::Local) => {
                self.unresolved(backend, "no source address of its family is known: give one with `snat` in [gateway]");
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn overlay_mac(&self, address: Ipv4Addr) -> MacAddr {
        self.learned.get(&address).copied().unwrap_or_else(|| MacAddr::docker(address))
    }

    fn interfaces(&self) -> Vec<Interface> {
        let interface = |config: &crate::config::InterfaceConfig| {
            let link = self.view.link_named(&config.name);
            Interface {
                name: config.name.clone(),
                mac: link.map_or_else(MacAddr::default, |link| link.mac),
                mtu: link.map_or(1500, |link| link.mtu.min(u32::from(u16::MAX)) as u16),
                up: link.is_some_and(|link| link.up),
            }
        };
        self.config.interfaces.iter().map(interface).collect()
    }
}
