//! What a scheduler needs prepared. Made on control, with the tables; workers only read it.

use std::sync::{Arc, Mutex, PoisonError};

use super::SchedulerKind;
use super::mh::Maglev;
use super::table::HashTable;
use crate::service::VirtualService;

/// What was prepared for a service.
#[derive(Debug, Default)]
pub(crate) enum Plan {
    /// The scheduler needs nothing.
    #[default]
    None,
    /// Of `sh` and `dh`.
    Hash(HashTable),
    /// Of `mh`.
    Maglev(Maglev),
}

impl Plan {
    fn of(service: &VirtualService) -> Self {
        match service.scheduler {
            SchedulerKind::SourceHash | SchedulerKind::DestinationHash => Plan::Hash(HashTable::of(service)),
            SchedulerKind::Maglev => Plan::Maglev(Maglev::of(service)),
            _ => Plan::None,
        }
    }

    pub(super) fn hash_table(&self) -> Option<&HashTable> {
        if let Plan::Hash(table) = self { Some(table) } else { None }
    }

    pub(super) fn maglev(&self) -> Option<&Maglev> {
        if let Plan::Maglev(table) = self { Some(table) } else { None }
    }
}

/// What a plan depends on.
type Signature = (SchedulerKind, Vec<(std::net::Ipv4Addr, u16, u16)>);

/// The last plan of a service: most new tables change nothing of it, and some plans are work.
#[derive(Debug, Default)]
pub(crate) struct PlanCache(Mutex<Option<(Signature, Arc<Plan>)>>);

impl PlanCache {
    /// The plan for the service as it is now. Control only.
    pub(crate) fn plan(&self, service: &VirtualService) -> Arc<Plan> {
        let backends = service.backends.iter();
        let backends = backends.map(|backend| (backend.address, backend.target_port(0), backend.weight)).collect();
        let signature = (service.scheduler, backends);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, plan)) = &*last
            && *of == signature
        {
            return Arc::clone(plan);
        }
        let plan = Arc::new(Plan::of(service));
        *last = Some((signature, Arc::clone(&plan)));
        plan
    }
}
