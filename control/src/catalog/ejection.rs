//! Backends that rest because they did not take the clients' connections.

use std::collections::{BTreeMap, BTreeSet};

use datapath::service::BackendId;

use super::{BackendEntry, Catalog, Origin, ServiceEntry};
use crate::config::passive::Passive;

/// Why a backend rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    /// In a few words.
    pub reason: String,
    /// For how long.
    pub rest: String,
}

/// Who rests, by first ids.
#[derive(Debug, Default)]
pub struct Rests {
    /// These, each for its reason.
    pub resting: BTreeMap<BackendId, Ejection>,
    /// These should, but too few would be left.
    pub spared: BTreeSet<BackendId>,
}

impl Catalog {
    /// Makes just those backends rest that shall. Gives a sentence for each that rests now, or does not any more.
    pub fn suspend(&mut self, rests: &Rests) -> Vec<String> {
        let mut news = Vec::new();
        for service in &mut self.services {
            let name = &service.name;
            for backend in &mut service.backends {
                let ejection = rests.resting.get(&backend.first_id);
                if backend.suspended == ejection.is_some() {
                    continue;
                }
                backend.suspended = ejection.is_some();
                backend.ejections += u64::from(backend.suspended);
                backend.ejection = ejection.cloned();
                news.push(sentence(name, backend, rests.spared.contains(&backend.first_id)));
            }
        }
        news
    }
}

fn sentence(service: &str, backend: &BackendEntry, is_spared: bool) -> String {
    let address = backend.config.address;
    if let Some(Ejection { reason, rest }) = &backend.ejection {
        return format!("backend {service}/{address} rests for {rest}: {reason}");
    }
    let why = if is_spared { "before its rest is over: too few would be left" } else { "after its rest" };
    format!("backend {service}/{address} gets new connections again {why}")
}

impl ServiceEntry {
    /// How its backends are watched: the swarm's unless it says otherwise, the operator's if it says so.
    pub fn passive(&self) -> Passive {
        let default = if self.origin == Origin::Operator { Passive::OFF } else { Passive::default() };
        let has_tcp = self.listens.iter().any(|listen| listen.protocol == wire::Protocol::Tcp);
        self.settings.passive.filter(|_| has_tcp).unwrap_or(default)
    }
}
