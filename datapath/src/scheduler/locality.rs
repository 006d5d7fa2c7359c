//! What `lblc` and `lblcr` remember: which backends serve a VIP. Each worker remembers for itself.

use std::net::Ipv4Addr;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::{eligible, is_eligible, load, wlc};
use crate::service::{Backend, BackendId, ServiceId, Snapshot, VirtualService};

/// The backends of one VIP of one service.
#[derive(Debug, Default)]
pub(super) struct Locality {
    pub(super) backends: Vec<BackendId>,
    /// When a backend came or went.
    pub(super) changed: Duration,
}

/// All of a worker's. There are as many as services with these schedulers have VIPs.
#[derive(Debug, Default)]
pub(crate) struct Localities(HashMap<(ServiceId, Ipv4Addr), Locality>);

impl Localities {
    /// The one for this service and VIP; backends that are gone or drained are forgotten.
    pub(super) fn of(&mut self, service: &VirtualService, vip: Ipv4Addr) -> &mut Locality {
        let locality = self.0.entry((service.id, vip)).or_default();
        locality.backends.retain(|id| position(service, *id).is_some());
        locality
    }

    /// Forgets services that are gone: their ids are never given again.
    pub(crate) fn tidy(&mut self, tables: &Snapshot) {
        if self.0.is_empty() {
            return;
        }
        let standing: HashSet<ServiceId> = tables.services().map(|service| service.id).collect();
        self.0.retain(|(service, _), _| standing.contains(service));
    }
}

/// Where a backend that may take new flows stands.
pub(super) fn position(service: &VirtualService, id: BackendId) -> Option<usize> {
    service.backends.iter().position(|backend| backend.id == id && is_eligible(backend))
}

/// More active connections than its weight, while another has less than half of its own.
pub(super) fn is_overloaded(service: &VirtualService, backend: &Backend) -> bool {
    let idle = |other: &Backend| load::active(other) * 2 < u64::from(other.weight);
    load::active(backend) > u64::from(backend.weight) && eligible(service).any(|(_, other)| idle(other))
}

/// A new backend for a VIP: the fewest connections for its weight.
pub(super) fn choose(service: &VirtualService) -> Option<(usize, BackendId)> {
    let position = wlc::pick(service)?;
    Some((position, service.backends.get(position)?.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::{service, tables};

    #[test]
    fn services_that_are_gone_are_forgotten() {
        let (vip, mut localities) = (Ipv4Addr::new(198, 18, 0, 1), Localities::default());
        let [stays, goes] = [1, 2].map(|id| VirtualService { id: ServiceId(id), ..service(&[1]) });
        localities.of(&stays, vip).changed = Duration::from_secs(7);
        localities.of(&goes, vip);
        localities.tidy(&Snapshot::build(tables(vec![stays.clone()])).unwrap());
        assert_eq!((localities.0.len(), localities.of(&stays, vip).changed), (1, Duration::from_secs(7)));
    }
}
