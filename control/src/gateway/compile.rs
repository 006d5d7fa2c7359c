//! From catalog and kernel to tables, and what goes with them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use datapath::service::{Backend, BackendId, Generation, Hop, Tables};

use super::checks;
use super::resolve::{Findings, OverlayMacs, Resolver};
use super::rules::Rules;
use super::sources::Sources;
use crate::catalog::{BackendEntry, Catalog};
use crate::check::Target;
use crate::config::report::Complaint;
use crate::config::{Config, Driver, rules};
use crate::kernel::{KernelView, ReplyRule};

/// Everything that one generation consists of.
#[derive(Debug)]
pub struct Compiled {
    /// What the workers read.
    pub tables: Tables,
    /// What the XDP filter takes.
    pub rules: Rules,
    /// What was asked of the kernel, and what it could not answer.
    pub findings: Findings,
    /// Who is to be checked.
    pub targets: Vec<Target>,
    /// What plain backends see, and may have seen.
    pub sources: Sources,
}

impl Compiled {
    /// Leaves connections that have begun by tables before these the sources that they have.
    pub fn keep_sources(&mut self, before: &Sources, catalog: &Catalog) {
        let left = self.sources.left_by(before);
        if left.is_empty() || !catalog.has_plain_connections() {
            return;
        }
        self.rules.add_sources(&left);
        catalog.leave_sources(&mut self.tables, &left);
        self.sources.left = left;
    }
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
    let mut findings = resolver.findings();
    findings.lost =
        lost(catalog, &tables, |address| findings.asked.contains(&address) && !view.paths.contains_key(&address));
    for (address, link) in taken_by_kernel(config, catalog, view) {
        findings.problems.insert(format!("VIP {address} is an address of {link}: the kernel takes its packets"));
    }
    for vtep in foreign_vteps(&tables, view) {
        let why = "is no address of this machine: nodes will not find it by ARP";
        findings.problems.insert(format!("overlay.vtep {vtep} {why}"));
    }
    let targets = checks::targets(catalog, &tables);
    let mut rules = Rules::of(&tables, catalog.surrogates());
    for target in &targets {
        rules.add_target(target);
    }
    for service in catalog.services() {
        rules.add_left(service);
    }
    let sources = Sources::of(&tables, catalog.surrogates());
    Compiled { tables, rules, findings, targets, sources }
}

/// The gateway's own VTEPs that this machine does not have, or not any more.
fn foreign_vteps(tables: &Tables, view: &KernelView) -> BTreeSet<Ipv4Addr> {
    let vteps = tables.overlays.iter().map(|overlay| overlay.vtep);
    // A machine without links is one of which the kernel has not spoken yet.
    vteps.filter(|vtep| !view.links.is_empty() && view.owner_of(*vtep).is_none()).collect()
}

/// The backends to which no way leads. `is_awaited`: the kernel was asked for that address, and has not answered yet.
fn lost(catalog: &Catalog, tables: &Tables, is_awaited: impl Fn(IpAddr) -> bool) -> BTreeSet<BackendId> {
    let entries = catalog.services().iter().flat_map(|service| &service.backends);
    let backends = tables.services.iter().flat_map(|service| &service.backends);
    let is_lost = |(entry, backend): &(&BackendEntry, &Backend)| {
        backend.path.hop() == Hop::Unresolved && !is_awaited(entry.config.underlay())
    };
    entries.zip(backends).filter(is_lost).map(|(entry, _)| entry.first_id).collect()
}

fn vteps(catalog: &Catalog) -> BTreeSet<IpAddr> {
    let backends = catalog.services().iter().flat_map(|service| &service.backends);
    backends.filter_map(|backend| backend.config.vtep.map(IpAddr::V4)).collect()
}

/// The addresses that services listen on.
pub fn vips(catalog: &Catalog) -> BTreeSet<IpAddr> {
    let listens = catalog.services().iter().flat_map(|service| &service.listens);
    listens.map(|listen| listen.address).collect()
}

/// The first VIP for which the XDP filter has no room, if packets come in over it, and what is to be said.
pub fn no_room(config: &Config, catalog: &Catalog) -> Option<(IpAddr, Complaint)> {
    if !config.interfaces.iter().any(|interface| interface.driver == Driver::AfXdp) {
        return None;
    }
    let listens: Vec<_> = catalog.services().iter().flat_map(|service| &service.listens).collect();
    let (at, complaint) = rules::room_faults(&listens).into_iter().next()?;
    Some((listens[at].address, complaint))
}

/// Whether packets come in over TUN.
pub fn has_tun(config: &Config) -> bool {
    config.interfaces.iter().any(|interface| interface.driver == Driver::Tun)
}

/// What must reach the TUN device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TunWants {
    /// What comes to these: VIPs, and SNAT addresses that are not this machine's.
    pub addresses: BTreeSet<IpAddr>,
    /// Answers of plain backends to SNAT addresses that are this machine's.
    pub replies: BTreeSet<ReplyRule>,
}

impl TunWants {
    /// What these tables want; `ports` are the SNAT ports of plain backends.
    pub fn of(rules: &Rules, view: &KernelView, ports: &RangeInclusive<u16>) -> Self {
        let is_local = |address: IpAddr| view.owner_of(address).is_some();
        let mut addresses: BTreeSet<_> = rules.vips().collect();
        addresses.extend(rules.snat().filter(|address| !is_local(*address)));
        Self { addresses, replies: rules.replies(ports, is_local) }
    }
}

/// Over TUN, a VIP that is an address of the machine itself never reaches us: the kernel takes its packets. Says which
/// ones, and where they are.
pub fn taken_by_kernel(config: &Config, catalog: &Catalog, view: &KernelView) -> Vec<(IpAddr, String)> {
    if !has_tun(config) {
        return Vec::new();
    }
    vips(catalog).into_iter().filter_map(|address| Some((address, view.owner_of(address)?))).collect()
}
