//! From catalog and kernel to tables, and what goes with them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use datapath::service::{BackendId, Generation, Interface, Path, Tables};

use super::resolve::{Findings, OverlayMacs, Resolver};
use super::rules::Rules;
use crate::catalog::Catalog;
use crate::config::{Config, Driver};
use crate::kernel::KernelView;

/// Everything that one generation consists of.
#[derive(Debug)]
pub struct Compiled {
    /// What the workers read.
    pub tables: Tables,
    /// What the XDP filter takes.
    pub rules: Rules,
    /// What was asked of the kernel, and what it could not answer.
    pub findings: Findings,
    /// How packets travel.
    pub ways: Ways,
}

/// The part of the tables that the kernel and ARP decide; when it stands, a change of theirs needs no new
/// generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways {
    interfaces: Vec<Interface>,
    paths: Vec<(BackendId, Path)>,
}

/// The tables of this moment.
pub fn compile(
    config: &Config,
    catalog: &Catalog,
    view: &KernelView,
    learned: &OverlayMacs,
    generation: Generation,
) -> Compiled {
    let vteps = vteps(catalog);
    let resolver = Resolver::new(config, view, learned, &vteps);
    let tables = catalog.tables(generation, &resolver);
    let findings = resolver.findings();
    let backends = tables.services.iter().flat_map(|service| &service.backends);
    let paths = backends.map(|backend| (backend.id, backend.path.clone())).collect();
    let ways = Ways { interfaces: tables.interfaces.clone(), paths };
    let rules = Rules::of(&tables);
    Compiled { tables, rules, findings, ways }
}

fn vteps(catalog: &Catalog) -> BTreeSet<Ipv4Addr> {
    let backends = catalog.services().iter().flat_map(|service| &service.backends);
    backends.filter_map(|backend| backend.config.vtep).collect()
}

/// The addresses that services listen on.
pub fn vips(catalog: &Catalog) -> BTreeSet<Ipv4Addr> {
    let listens = catalog.services().iter().flat_map(|service| &service.listens);
    listens.map(|listen| listen.address).collect()
}

/// Whether packets come in over TUN.
pub fn has_tun(config: &Config) -> bool {
    config.interfaces.iter().any(|interface| interface.driver == Driver::Tun)
}

/// The addresses that must be routed to the TUN device: VIPs, and SNAT addresses of plain backends.
pub fn tun_addresses(config: &Config, catalog: &Catalog) -> BTreeSet<Ipv4Addr> {
    let mut addresses = vips(catalog);
    addresses.extend(&config.gateway.snat);
    addresses
}

/// Over TUN, an address of the machine itself never reaches us: the kernel takes its packets. Says which
/// one, and where it is.
pub fn taken_by_kernel(config: &Config, catalog: &Catalog, view: &KernelView) -> Option<(Ipv4Addr, String)> {
    if !has_tun(config) {
        return None;
    }
    let mut addresses = tun_addresses(config, catalog).into_iter();
    addresses.find_map(|address| Some((address, view.owner_of(address)?)))
}
