//! The services as they are now: what the file said, what the API changed since, and the ids and counters that go with it.

mod checks;
mod circles;
mod clients;
mod edit;
mod ejection;
mod follow;
mod left;
mod life;
mod places;
mod replace;
mod surrogates;
mod tables;
#[cfg(test)]
mod tests;

pub use edit::no_backend;
pub use ejection::{Ejection, Rests};
pub use surrogates::Surrogates;
#[cfg(test)]
pub(crate) use tests::config as config_for_tests;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use datapath::protection::Guard;
use datapath::service::{BackendId, BackendStats, Hop, Interface, ServiceId, Turn};
use serde::{Deserialize, Serialize};
use wire::MacAddr;

use crate::check::Health;
use crate::config::{BackendAddress, BackendConfig, CheckConfig, Config, Listen, OverlayConfig, Settings};

/// All services. Ids are never used again within a process: a backend that is removed and returns is another one.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The first is the main one. Their subnets do not meet.
    overlays: Vec<OverlayConfig>,
    /// Addresses of the swarm's nodes: their tunnels may come from any of them.
    peers: BTreeSet<Ipv4Addr>,
    services: Vec<ServiceEntry>,
    /// What is remembered of clients.
    memories: clients::Memories,
    next_service: u32,
    next_backend: u32,
    workers: usize,
    /// What stands for IPv6 addresses in the tables.
    surrogates: Surrogates,
}

/// A service and what is kept for it across generations.
#[derive(Debug, Clone)]
pub struct ServiceEntry {
    /// What flows know it by.
    pub id: ServiceId,
    /// Its name, unique.
    pub name: String,
    /// Where it listens.
    pub listens: Vec<Listen>,
    /// Where it has listened, and connections may still stand.
    pub left: Vec<Listen>,
    /// How it is served.
    pub settings: Settings,
    /// How its backends are asked whether they live.
    pub check: Option<Arc<CheckConfig>>,
    /// Its backends in order.
    pub backends: Vec<BackendEntry>,
    /// The scheduler's position, shared by all workers.
    pub turn: Arc<Turn>,
    /// What it remembers of those who come.
    pub guard: Arc<Guard>,
    /// Whose it is.
    pub origin: Origin,
}

/// Who says what a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The file and the API.
    Operator,
    /// The swarm, which knows it by this key.
    Swarm(String),
}

/// A backend and what is kept for it across generations.
#[derive(Debug, Clone)]
pub struct BackendEntry {
    /// What flows know it by.
    pub id: BackendId,
    /// What flows knew it by at first: `id` is another after all its flows were ended.
    pub first_id: BackendId,
    /// Address, VTEP, weight.
    pub config: BackendConfig,
    /// What it has carried.
    pub stats: Arc<BackendStats>,
    /// The swarm's task; addresses are used again at once, ids never.
    pub task: Option<String>,
    /// It does not answer: no new flows for the moment.
    pub suspended: bool,
    /// Why, while it rests.
    pub ejection: Option<Ejection>,
    /// How often it was made to rest.
    pub ejections: u64,
    /// What its checks say.
    pub health: Health,
    /// How far it has come since.
    pub progress: life::Progress,
}

/// What a reload or an edit changed. Backends are written `SERVICE ADDRESS`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Services that are new.
    pub services_added: Vec<String>,
    /// Services that are gone.
    pub services_removed: Vec<String>,
    /// Services whose listens, settings or check differ.
    pub services_changed: Vec<String>,
    /// Backends that are new.
    pub backends_added: Vec<String>,
    /// Backends that are gone.
    pub backends_removed: Vec<String>,
    /// Backends whose weight, VTEP or MAC differ.
    pub backends_changed: Vec<String>,
}

/// What the kernel knows and the catalog does not: where packets must go.
pub trait Resolve {
    /// How to reach an address of the underlay (a VTEP, or a plain backend).
    fn hop(&self, address: IpAddr) -> Hop;
    /// The source addresses for a backend without a VTEP, of its family; empty: none is known.
    fn plain_snat(&self, backend: IpAddr, vip: IpAddr) -> Vec<IpAddr>;
    /// As [`Resolve::hop`], for a backend that is to get packets for another address: it must be on the link.
    fn direct_hop(&self, address: IpAddr) -> Hop;
    /// The MAC address of an address in the overlay.
    fn overlay_mac(&self, address: Ipv4Addr) -> MacAddr;
    /// The interfaces; `InterfaceIndex` counts in this list.
    fn interfaces(&self) -> Vec<Interface>;
}

impl Catalog {
    /// The config's services, with new ids. `workers` is the number of counters that each backend needs.
    pub fn from_config(config: &Config, workers: usize) -> Catalog {
        let mut catalog = Catalog {
            overlays: Vec::new(),
            peers: BTreeSet::new(),
            services: Vec::new(),
            memories: clients::Memories::new(),
            next_service: 1,
            next_backend: 1,
            workers,
            surrogates: Surrogates::default(),
        };
        catalog.replace(config);
        catalog
    }

    /// All services, in the order of the file, then of the API's additions.
    pub fn services(&self) -> &[ServiceEntry] {
        &self.services
    }

    /// What stands for IPv6 addresses in the tables.
    pub fn surrogates(&self) -> &Surrogates {
        &self.surrogates
    }

    /// The service with that name.
    pub fn service(&self, name: &str) -> Option<&ServiceEntry> {
        self.services.iter().find(|service| service.name == name)
    }

    /// The services' names by id: flows know ids only, and there are many of them.
    pub fn names(&self) -> HashMap<ServiceId, String> {
        self.services.iter().map(|service| (service.id, service.name.clone())).collect()
    }
}

impl ServiceEntry {
    /// Whether its SYNs are answered by cookies now.
    pub fn bakes_cookies(&self) -> bool {
        let when = self.settings.protection.syn_cookies(self.settings.direct);
        self.guard.bakes_now(when, sys::clock::now())
    }

    /// The backend with that address and port.
    pub fn backend(&self, address: BackendAddress) -> Option<&BackendEntry> {
        self.backends.iter().find(|backend| backend.config.address == address)
    }
}
