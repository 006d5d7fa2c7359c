//! Services with loads, for the tests of schedulers.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use wire::{FiveTuple, Protocol};

use super::{HashTable, Memory, Request, SchedulerKind, TableCache, pick};
use crate::service::testing::overlay_backend;
pub(super) use crate::service::testing::service as service_of_few;
use crate::service::{BackendStats, FixedSurrogates, Phase, VirtualService};
use crate::verdict::DropReason;

/// One backend for each weight; more than the 8-bit addresses of the common helper allow.
pub(super) fn service(weights: &[u16]) -> VirtualService {
    let mut service = service_of_few(&[]);
    for (n, weight) in weights.iter().enumerate() {
        let mut backend = overlay_backend(0, *weight);
        backend.id.0 += n as u32;
        backend.address = Ipv4Addr::from_bits(0x0a00_0100 + n as u32);
        backend.stats = Arc::new(BackendStats::new(2));
        service.backends.push(backend);
    }
    service
}

/// Backends with weight, active and inactive connections.
pub(super) fn busy(backends: &[(u16, u64, u64)]) -> VirtualService {
    let weights: Vec<u16> = backends.iter().map(|(weight, ..)| *weight).collect();
    let service = service(&weights);
    for (backend, (_, active, inactive)) in service.backends.iter().zip(backends) {
        // Two workers share the connections.
        for n in 0..*active {
            backend.stats.worker((n % 2) as usize).unwrap().opened(Phase::Active);
        }
        for n in 0..*inactive {
            backend.stats.worker((n % 2) as usize).unwrap().opened(Phase::Pending);
        }
    }
    service
}

/// Opens a connection, on either worker in turn.
pub(super) fn open_one(service: &VirtualService, position: Option<usize>) {
    let stats = &service.backends[position.unwrap()].stats;
    let worker = (stats.flows().0 % 2) as usize;
    stats.worker(worker).unwrap().opened(Phase::Active);
}

/// How often each backend is picked.
pub(super) fn count(backends: usize, picks: usize, mut pick: impl FnMut() -> Option<usize>) -> Vec<usize> {
    let mut counts = vec![0; backends];
    (0..picks).for_each(|_| counts[pick().unwrap()] += 1);
    counts
}

/// A service with its table, and a worker's memory.
pub(super) struct Scene {
    pub(super) service: VirtualService,
    pub(super) now: Duration,
    table: Arc<HashTable>,
    memory: Memory,
}

impl Scene {
    pub(super) fn new(kind: SchedulerKind, weights: &[u16]) -> Self {
        let service = VirtualService { scheduler: kind, ..service(weights) };
        let table = TableCache::default().table(&service, &FixedSurrogates::default());
        Self { service, now: Duration::from_secs(100), table, memory: Memory::new(7) }
    }

    /// The pick for this client.
    pub(super) fn pick_for(&mut self, client: u32) -> Option<usize> {
        self.pick(client, 1).ok()
    }

    /// As [`Scene::pick_for`], with the reason when nobody is picked.
    pub(super) fn ask(&mut self, client: u32) -> Result<usize, DropReason> {
        self.pick(client, 1)
    }

    /// The backends have changed.
    pub(super) fn refresh(&mut self) {
        self.table = TableCache::default().table(&self.service, &FixedSurrogates::default());
    }

    /// The pick for some client at this VIP.
    pub(super) fn pick_at(&mut self, vip: u32) -> Option<usize> {
        self.pick(1, vip).ok()
    }

    fn pick(&mut self, client: u32, vip: u32) -> Result<usize, DropReason> {
        let key = FiveTuple {
            src: Ipv4Addr::from_bits(0xc613_0000 + client),
            dst: Ipv4Addr::from_bits(0xc612_0000 + vip),
            src_port: 40_000,
            dst_port: 80,
            protocol: Protocol::Tcp,
        };
        let (client, vip) = (key.src.into(), key.dst.into());
        let request = Request { service: &self.service, table: &self.table, key: &key, client, vip, now: self.now };
        pick(&request, &mut self.memory)
    }

    /// So many active connections from now on.
    pub(super) fn set_flows(&mut self, position: usize, active: u64) {
        let stats = Arc::new(BackendStats::new(2));
        (0..active).for_each(|n| stats.worker((n % 2) as usize).unwrap().opened(Phase::Active));
        self.service.backends[position].stats = stats;
    }

    pub(super) fn set_weight(&mut self, position: usize, weight: u16) {
        self.service.backends[position].weight = weight;
    }
}
