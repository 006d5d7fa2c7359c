//! What services remember of their clients: kept while a service with `persistence` stands, or the last one of its group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datapath::service::{Clients, Moment, Persistence, ServiceId};

use super::{Catalog, ServiceEntry};
use crate::config::ClientPersistence;
use crate::config::report::Complaint;

/// Who remembers together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// A service for itself.
    Service(ServiceId),
    /// All services of a group.
    Group(String),
}

/// By scope.
pub type Memories = BTreeMap<Scope, Arc<Clients>>;

/// How many clients a service, or its group, remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Now.
    pub now: u64,
    /// Those that were forgotten before their time because there was no room.
    pub evicted: u64,
}

impl Catalog {
    /// Makes room where a service remembers from now on, and frees what nobody needs any more. Where the number of clients
    /// differs, remembering starts over.
    pub(super) fn settle_clients(&mut self) {
        let mut old = std::mem::take(&mut self.memories);
        for service in &self.services {
            let Some(scope) = scope(service) else { continue };
            let room = service.settings.persistence.clients() as usize;
            let known = old.remove(&scope).filter(|clients| clients.capacity() == Clients::capacity_for(room));
            self.memories.entry(scope).or_insert_with(|| known.unwrap_or_else(|| Arc::new(Clients::new(room))));
        }
    }

    /// How the service's clients stay, as workers need it.
    pub fn persistence(&self, service: &ServiceEntry) -> Option<Persistence> {
        let settings = &service.settings.persistence;
        Some(Persistence {
            time: settings.time?,
            prefix: settings.prefix(),
            prefix_six: settings.prefix_of_six(),
            grouped: settings.group.is_some(),
            clients: Arc::clone(self.memories.get(&scope(service)?)?),
        })
    }

    /// How many clients are remembered; `None`: none ever are.
    pub fn remembered(&self, service: &ServiceEntry, now: Duration) -> Option<Remembered> {
        let Persistence { time, clients, .. } = self.persistence(service)?;
        Some(Remembered { now: clients.count(Moment { now, time }) as u64, evicted: clients.evicted() })
    }

    /// Whether the service `name` may remember so: alone, and beside the others of its group.
    pub(super) fn persistence_fault(&self, name: &str, wanted: &ClientPersistence) -> Option<Complaint> {
        let others = self.services.iter().filter(|service| service.name != name);
        let mut others = others.map(|other| (other.name.as_str(), &other.settings.persistence));
        wanted
            .fault()
            .map(|(_, complaint)| complaint)
            .or_else(|| others.find_map(|(name, other)| wanted.group_fault(name, other)))
    }

    /// A service of a group has changed: the operator's other services of the group follow it.
    pub(super) fn lead_group(&mut self, wanted: &ClientPersistence) {
        if wanted.group.is_none() {
            return;
        }
        let ours = self.services.iter_mut().filter(|service| service.origin == super::Origin::Operator);
        for service in ours.filter(|service| service.settings.persistence.group == wanted.group) {
            service.settings.persistence.clone_from(wanted);
        }
    }
}

fn scope(service: &ServiceEntry) -> Option<Scope> {
    let settings = &service.settings.persistence;
    settings.time?;
    Some(settings.group.clone().map_or(Scope::Service(service.id), Scope::Group))
}
