//! What the swarm wants takes the place of what it wanted before. The operator's services come first: what is theirs stays
//! theirs.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::{BackendEntry, Catalog, Origin, ServiceEntry, replace};
use crate::config::rules::{self, overlap};
use crate::config::value::show_listen;
use crate::config::{Listen, OverlayConfig, ServiceConfig};
use crate::swarm::{Wanted, WantedTask};

impl Catalog {
    /// Makes the swarm's services these. What still stands keeps its ids, turn and counters. Gives a sentence for everything
    /// that cannot be so.
    pub fn follow(&mut self, overlays: &[OverlayConfig], peers: &BTreeSet<Ipv4Addr>, wanted: &[Wanted]) -> Vec<String> {
        self.peers.clone_from(peers);
        if !overlays.is_empty() {
            self.overlays = overlays.to_vec();
        }
        let services = std::mem::take(&mut self.services);
        let (ours, mut old): (Vec<_>, Vec<_>) =
            services.into_iter().partition(|service| service.origin == Origin::Operator);
        self.services = ours;
        let places = self.services.iter().map(|service| {
            let backends = service.backends.iter().map(|backend| &backend.config);
            self.misplaced(&service.name, &service.listens, backends)
        });
        let mut problems = places.collect::<Vec<_>>().concat();
        for wish in wanted {
            let listens = self.free_listens(wish, &mut problems);
            if listens.is_empty() && !wish.service.listens.is_empty() {
                continue;
            }
            let mut config = ServiceConfig { name: self.free_name(wish), listens, ..wish.service.clone() };
            if let Some(complaint) = self.persistence_fault(&config.name, &config.settings.persistence) {
                problems.push(format!("swarm service {}: {}: not in the group", config.name, complaint.message));
                config.settings.persistence.group = None;
            }
            let origin = Origin::Swarm(wish.key.clone());
            let present = old.iter().position(|service| service.origin == origin).map(|at| old.swap_remove(at));
            let entry = self.follow_one(present, &config, wish, origin);
            self.services.push(entry);
        }
        self.settle_clients();
        problems
    }

    fn follow_one(
        &mut self,
        present: Option<ServiceEntry>,
        config: &ServiceConfig,
        wish: &Wanted,
        origin: Origin,
    ) -> ServiceEntry {
        let mut entry = present.unwrap_or_else(|| self.new_service(config));
        replace::update(&mut entry, config);
        entry.name.clone_from(&config.name);
        entry.origin = origin;
        let mut old = std::mem::take(&mut entry.backends);
        entry.backends = wish.tasks.iter().map(|task| self.follow_task(&mut old, task)).collect();
        entry
    }

    fn follow_task(&mut self, old: &mut Vec<BackendEntry>, task: &WantedTask) -> BackendEntry {
        let same = |entry: &BackendEntry| {
            entry.task.as_deref() == Some(&task.id) && entry.config.address == task.backend.address
        };
        let mut entry = match old.iter().position(same) {
            Some(at) => old.swap_remove(at),
            None => self.new_backend(&task.backend),
        };
        entry.config = task.backend.clone();
        entry.task = Some(task.id.clone());
        entry
    }

    fn free_listens(&self, wish: &Wanted, problems: &mut Vec<String>) -> Vec<Listen> {
        let mut free: Vec<Listen> = Vec::new();
        for listen in &wish.service.listens {
            // One that is wanted twice, as a VIP may stand twice in a label.
            if free.iter().any(|ours| overlap(ours, listen)) {
                continue;
            }
            let owner =
                self.services.iter().find(|service| service.listens.iter().any(|theirs| overlap(theirs, listen)));
            let fault = rules::listen_fault(listen, self.rules_overlay()).map(|complaint| complaint.message);
            let fault = fault.or_else(|| Some(format!("it is taken by service {}", owner?.name)));
            match fault {
                None => free.push(listen.clone()),
                Some(why) => {
                    problems.push(format!("swarm service {}: {}: {why}", wish.service.name, show_listen(listen)));
                }
            }
        }
        free
    }

    /// Names are unique: the operator's service of that name keeps it.
    fn free_name(&self, wish: &Wanted) -> String {
        let mut name = wish.service.name.clone();
        while self.service(&name).is_some() {
            name.push_str("-swarm");
        }
        name
    }
}
