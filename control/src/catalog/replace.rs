//! Reload: a whole config takes the place of what was there. What still stands keeps its id, turn and counters.

use std::sync::Arc;

use datapath::protection::Guard;
use datapath::service::{BackendId, BackendStats, ServiceId, Turn};

use super::{BackendEntry, Catalog, Changes, Origin, ServiceEntry};
use crate::check::Health;
use crate::config::{BackendConfig, Config, ServiceConfig};

impl Catalog {
    /// Puts the config's overlay and services in the place of the present ones and says what changed. What the swarm
    /// wants stays; until it has spoken, the file's overlay stands.
    pub fn replace(&mut self, config: &Config) -> Changes {
        let mut changes = Changes::default();
        if config.swarm.is_none() || self.overlays.is_empty() {
            self.overlays = config.overlay.iter().cloned().collect();
        }
        let services = std::mem::take(&mut self.services);
        let (mut old, swarms): (Vec<_>, Vec<_>) =
            services.into_iter().partition(|service| service.origin == Origin::Operator);
        for wanted in &config.services {
            let present = old.iter().position(|service| service.name == wanted.name).map(|at| old.remove(at));
            let service = self.merge(present, wanted, &mut changes);
            self.services.push(service);
        }
        for gone in old {
            changes.backends_removed.extend(gone.backends.iter().map(|backend| label(&gone.name, &backend.config)));
            changes.services_removed.push(gone.name);
        }
        self.services.extend(swarms);
        self.settle_clients();
        changes
    }

    /// The wanted service, made from the present one of that name if there is one.
    pub(super) fn merge(
        &mut self,
        present: Option<ServiceEntry>,
        wanted: &ServiceConfig,
        changes: &mut Changes,
    ) -> ServiceEntry {
        let mut service = if let Some(mut service) = present {
            if update(&mut service, wanted) {
                changes.services_changed.push(wanted.name.clone());
            }
            service
        } else {
            changes.services_added.push(wanted.name.clone());
            self.new_service(wanted)
        };
        let old = std::mem::take(&mut service.backends);
        service.backends = self.merge_backends(wanted, old, changes);
        service
    }

    fn merge_backends(
        &mut self,
        wanted: &ServiceConfig,
        mut old: Vec<BackendEntry>,
        changes: &mut Changes,
    ) -> Vec<BackendEntry> {
        let service = &wanted.name;
        let mut backends = Vec::with_capacity(wanted.backends.len());
        for config in &wanted.backends {
            let present = old.iter().position(|backend| backend.config.address == config.address);
            let mut backend = if let Some(at) = present {
                old.remove(at)
            } else {
                changes.backends_added.push(label(service, config));
                self.new_backend(config)
            };
            if backend.config != *config {
                changes.backends_changed.push(label(service, config));
                backend.set_config(config.clone(), wanted.settings.direct, &mut self.next_backend);
            }
            backends.push(backend);
        }
        changes.backends_removed.extend(old.iter().map(|backend| label(service, &backend.config)));
        backends
    }

    pub(super) fn new_service(&mut self, config: &ServiceConfig) -> ServiceEntry {
        let id = ServiceId(self.next_service);
        self.next_service += 1;
        ServiceEntry {
            id,
            name: config.name.clone(),
            listens: config.listens.clone(),
            left: Vec::new(),
            settings: config.settings.clone(),
            check: config.check.clone().map(Arc::new),
            backends: Vec::new(),
            turn: Arc::new(Turn::default()),
            guard: Arc::new(Guard::new(self.workers)),
            origin: Origin::Operator,
        }
    }

    pub(super) fn new_backend(&mut self, config: &BackendConfig) -> BackendEntry {
        let id = BackendId(self.next_backend);
        self.next_backend += 1;
        let stats = Arc::new(BackendStats::new(self.workers));
        BackendEntry {
            id,
            first_id: id,
            config: config.clone(),
            stats,
            task: None,
            suspended: false,
            ejection: None,
            ejections: 0,
            health: Health::default(),
            progress: super::life::Progress::default(),
        }
    }
}

impl BackendEntry {
    /// What is said of it now. Flows that are translated have a source address that belongs to the kind of way to it: by another
    /// kind no answer would find them, so they end.
    pub(super) fn set_config(&mut self, config: BackendConfig, is_direct: bool, next: &mut u32) {
        if !is_direct && config.vtep.is_some() != self.config.vtep.is_some() {
            self.begin_anew(next);
        }
        self.config = config;
    }
}

/// Takes over everything but the backends; true when something differed.
pub(super) fn update(service: &mut ServiceEntry, wanted: &ServiceConfig) -> bool {
    let same = service.listens == wanted.listens
        && service.settings == wanted.settings
        && service.check.as_deref() == wanted.check.as_ref();
    service.set_listens(&wanted.listens);
    service.settings.clone_from(&wanted.settings);
    service.set_check(wanted.check.clone());
    !same
}

fn label(service: &str, backend: &BackendConfig) -> String {
    format!("{service} {}", backend.address)
}
