//! What checks have found, put down at the backends.

use std::collections::HashMap;

use datapath::service::BackendId;

use super::{BackendEntry, Catalog, ServiceEntry};
use crate::check::{Change, Finding, Health, Outcome};
use crate::config::CheckConfig;

impl Catalog {
    /// Takes over findings; `say` hears of every backend that went down or came up. True: some did.
    pub fn note(
        &mut self,
        findings: Vec<Finding>,
        mut say: impl FnMut(&ServiceEntry, &BackendEntry, &Outcome, Change),
    ) -> bool {
        let mut by_backend: HashMap<BackendId, Vec<Finding>> = HashMap::new();
        for finding in findings {
            by_backend.entry(finding.backend).or_default().push(finding);
        }
        let mut changed = false;
        let next = &mut self.next_backend;
        for service in &mut self.services {
            let Some(check) = service.check.clone() else { continue };
            for at in 0..service.backends.len() {
                let found = by_backend.remove(&service.backends[at].id).unwrap_or_default();
                // What was asked before the settings changed says nothing about the new ones.
                for Finding { outcome, at: time, .. } in found.into_iter().filter(|found| found.check == check) {
                    if let Some(change) = service.backends[at].health.note(&outcome, &check, time) {
                        say(service, &service.backends[at], &outcome, change);
                        if !change.up && service.settings.life.reset_on_down {
                            service.backends[at].begin_anew(next);
                        }
                        changed = true;
                    }
                }
            }
        }
        changed
    }
}

impl ServiceEntry {
    /// Its backends are asked so from now on. Their state stays until the new checks say something else; without checks
    /// all are up.
    pub fn set_check(&mut self, check: Option<CheckConfig>) {
        if self.check.as_deref() == check.as_ref() {
            return;
        }
        let goes_on = self.check.is_some() && check.is_some();
        for backend in &mut self.backends {
            if goes_on {
                backend.health.start_over();
            } else {
                backend.health = Health::default();
            }
        }
        self.check = check.map(std::sync::Arc::new);
    }
}
