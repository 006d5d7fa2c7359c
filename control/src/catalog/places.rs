//! What of the operator's has no place beside the overlays that run. They need not be those of the file: the swarm's count
//! more, and a reload leaves them as they are.

use super::Catalog;
use crate::config::{BackendConfig, Listen, rules};

impl Catalog {
    /// A sentence for each listen and backend of the service `name` that is in the wrong place.
    pub fn misplaced<'a>(
        &self,
        name: &str,
        listens: &[Listen],
        backends: impl IntoIterator<Item = &'a BackendConfig>,
    ) -> Vec<String> {
        let overlay = self.rules_overlay();
        let faults = listens.iter().filter_map(|listen| rules::listen_fault(listen, overlay));
        let mut sentences: Vec<_> = faults.map(|fault| format!("service {name}: {}", fault.message)).collect();
        for backend in backends {
            for (_, fault) in rules::backend_faults(backend, overlay) {
                sentences.push(format!("service {name}: backend {}: {}", backend.address, fault.message));
            }
        }
        sentences
    }
}
