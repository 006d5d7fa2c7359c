//! The table that a scheduler needs prepared. Made on control, with the other tables; workers only read it.

use std::sync::{Arc, Mutex, PoisonError};

use super::table::HashTable;
use super::{SchedulerKind, mh, rr};
use crate::service::{FixedSurrogates, VirtualService};

fn table_of(service: &VirtualService, six: &FixedSurrogates) -> HashTable {
    match service.scheduler {
        SchedulerKind::SourceHash | SchedulerKind::DestinationHash => HashTable::by_weight(service),
        SchedulerKind::Maglev => mh::table(service, six),
        SchedulerKind::RoundRobin => rr::table(service),
        _ => HashTable::default(),
    }
}

/// What a table depends on.
type Signature = (SchedulerKind, Vec<(std::net::Ipv4Addr, u16, u16, bool)>);

/// The last table of a service: most new generations change nothing of it, and some tables are work.
#[derive(Debug, Default)]
pub(crate) struct TableCache(Mutex<Option<(Signature, Arc<HashTable>)>>);

impl TableCache {
    /// The table for the service as it is now. Control only.
    pub(crate) fn table(&self, service: &VirtualService, six: &FixedSurrogates) -> Arc<HashTable> {
        let backends = service.backends.iter();
        let backends =
            backends.map(|backend| (backend.address, backend.target_port(0), backend.weight, backend.sorry)).collect();
        let signature = (service.scheduler, backends);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, table)) = &*last
            && *of == signature
        {
            return Arc::clone(table);
        }
        let table = Arc::new(table_of(service, six));
        *last = Some((signature, Arc::clone(&table)));
        table
    }
}
