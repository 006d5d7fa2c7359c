//! What tables take over from those before them.

use std::sync::Arc;
use std::time::Duration;

use conntrack::State;
use hashbrown::HashMap;

use super::{Pupil, Retired, Snapshot};
use crate::service::{BackendId, Path, VirtualService};

/// How long removed backends are remembered for saying farewell to their flows.
const FAREWELL: Duration = Duration::from_secs(15);

impl Snapshot {
    /// Takes over, from the tables before these, what is needed to say farewell to removed backends. `reset_time` is how long flows
    /// that were reset stay, where their service has no longer time of its own: the last of them must still find its backend's
    /// gauges, which may serve the backend that comes after it.
    pub fn inherit(&mut self, previous: &Snapshot, now: Duration, reset_time: Duration) {
        // A service's own time counts only while there is room for one more.
        let stay =
            |service: &VirtualService| FAREWELL + service.idle.of(State::Reset).unwrap_or_default().max(reset_time);
        let longest = previous.services().map(stay).max().unwrap_or(FAREWELL);
        self.removals = previous.removals;
        self.six.inherit(&previous.six, now, now + longest);
        for (id, place) in previous.backends.iter() {
            if self.backends.contains(id) {
                continue;
            }
            self.removals += 1;
            let Some(service) = previous.services.get(place.service as usize) else { continue };
            let position = place.backend as usize;
            let Some(adjacency) = service.adjacencies.get(position).cloned() else { continue };
            let until = now + stay(&service.service);
            self.retired.insert(BackendId(id), Retired { service: Arc::clone(service), position, adjacency, until });
        }
        let lasting = previous.retired.iter().filter(|(id, old)| old.until > now && !self.backends.contains(id.0));
        let lasting: Vec<_> = lasting.map(|(id, old)| (*id, old.clone())).collect();
        self.retired.extend(lasting);
        self.follow_nodes();
        self.note_news(previous, now);
    }

    /// Finds who has to be taught that we are here; who was taught by the tables before these need not be.
    fn note_news(&mut self, previous: &Snapshot, now: Duration) {
        let known: HashMap<BackendId, &Pupil> = previous.pupils.iter().map(|pupil| (pupil.backend, pupil)).collect();
        let next = previous.news + 1;
        self.news = previous.news;
        let mut pupils = std::mem::take(&mut self.pupils);
        for pupil in &mut pupils {
            match known.get(&pupil.backend) {
                Some(old) if self.teaches_as(previous, pupil.backend) => *pupil = **old,
                _ => {
                    (pupil.news, pupil.since) = (next, now);
                    self.news = next;
                }
            }
        }
        self.pupils = pupils;
    }

    /// Whether this backend hears from us what it heard by the tables before these, on the same way: before there was one, it
    /// heard nothing.
    fn teaches_as(&self, previous: &Snapshot, id: BackendId) -> bool {
        let (Some(new), Some(old)) = (self.backend(id), previous.backend(id)) else { return false };
        let Path::Overlay { vni, .. } = new.backend.path else { return false };
        let (Some(ours), Some(before)) = (self.overlay(vni), previous.overlay(vni)) else { return false };
        (new.backend.address, &new.backend.path) == (old.backend.address, &old.backend.path)
            && (ours.mac, ours.vtep) == (before.mac, before.vtep)
            && ours.addresses.iter().all(|address| before.addresses.contains(address))
    }

    /// The way to a removed backend's node may have changed since, if another one runs there: a node that was cut off
    /// comes back.
    fn follow_nodes(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        let mut hops = HashMap::new();
        for other in self.backends() {
            if let Path::Overlay { vtep, .. } = other.backend.path {
                hops.insert(vtep, other.adjacency.hop);
            }
        }
        for old in self.retired.values_mut() {
            let Some(backend) = old.service.service.backends.get(old.position) else { continue };
            if let Path::Overlay { vtep, .. } = backend.path
                && let Some(hop) = hops.get(&vtep)
            {
                old.adjacency.hop = *hop;
            }
        }
    }
}
