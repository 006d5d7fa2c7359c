//! `lblcr`: as `lblc`, but a VIP is served by a set of backends: the least loaded of the set gets the flow; while that is
//! overloaded the set grows; a set that has not changed for long shrinks (IPVS's `lblcr`).

use std::time::Duration;

use super::Request;
use super::load;
use super::locality::{Localities, Locality, choose, is_overloaded, position};
use crate::service::VirtualService;

/// IPVS's `lblcr_expiration`.
const SHRINK_AFTER: Duration = Duration::from_hours(24);

pub(super) fn pick(request: &Request<'_>, localities: &mut Localities) -> Option<usize> {
    let service = request.service;
    let locality = localities.of(service, request.key.dst);
    let known = least(service, locality);
    shrink(service, locality, request.now);
    if let Some(position) = known
        && !service.backends.get(position).is_some_and(|backend| is_overloaded(service, backend))
    {
        return Some(position);
    }
    let (position, id) = choose(service)?;
    if !locality.backends.contains(&id) {
        locality.backends.push(id);
        locality.changed = request.now;
    }
    Some(position)
}

/// The least loaded of the set.
fn least(service: &VirtualService, locality: &Locality) -> Option<usize> {
    let positions = locality.backends.iter().filter_map(|id| position(service, *id));
    positions.reduce(|best, next| {
        let pair = service.backends.get(next).zip(service.backends.get(best));
        if pair.is_some_and(|(next, best)| load::is_less(next, best)) { next } else { best }
    })
}

/// Takes the most loaded one out of a set that has not changed for long.
fn shrink(service: &VirtualService, locality: &mut Locality, now: Duration) {
    if locality.backends.len() < 2 || now.saturating_sub(locality.changed) < SHRINK_AFTER {
        return;
    }
    let loads = locality.backends.iter().enumerate().filter_map(|(place, id)| {
        let backend = service.backends.get(position(service, *id)?)?;
        Some((place, load::connections(backend) / u64::from(backend.weight).max(1)))
    });
    if let Some((place, _)) = loads.max_by_key(|(_, load)| *load) {
        locality.backends.remove(place);
        locality.changed = now;
    }
}

#[cfg(test)]
mod tests {
    use super::super::SchedulerKind;
    use super::super::testing::Scene;
    use super::*;

    #[test]
    fn the_set_grows_under_load_and_shrinks_after_a_day() {
        let mut scene = Scene::new(SchedulerKind::LocalityLeastConnectionReplicated, &[4, 4, 4]);
        assert_eq!(scene.pick_at(1), Some(0));
        scene.set_flows(0, 5);
        assert_eq!(scene.pick_at(1), Some(1), "overloaded: another one joins");
        scene.set_flows(0, 0);
        assert_eq!(scene.pick_at(1), Some(0), "the least loaded of the set");
        scene.set_flows(0, 2);
        assert_eq!(scene.pick_at(1), Some(1));
        assert_eq!(scene.pick_at(2), Some(1), "another VIP begins with the least loaded of all");
        scene.set_flows(1, 3);
        scene.now += SHRINK_AFTER;
        assert_eq!(scene.pick_at(1), Some(0));
        scene.set_flows(0, 4);
        scene.set_flows(1, 0);
        assert_eq!(scene.pick_at(1), Some(0), "the most loaded has left");
        scene.set_weight(0, 0);
        assert_eq!(scene.pick_at(1), Some(1), "drained");
    }
}
