//! `lblc`: locality-based least connection. A VIP stays with one backend until that is overloaded, then another one,
//! the least loaded, serves it (IPVS's `lblc`).

use super::Request;
use super::locality::{Localities, choose, is_overloaded, position};

pub(super) fn pick(request: &Request<'_>, localities: &mut Localities) -> Option<usize> {
    let service = request.service;
    let locality = localities.of(service, request.key.dst);
    let known = locality.backends.first().and_then(|id| position(service, *id));
    if let Some(position) = known
        && !service.backends.get(position).is_some_and(|backend| is_overloaded(service, backend))
    {
        return Some(position);
    }
    let (position, id) = choose(service)?;
    locality.backends = vec![id];
    locality.changed = request.now;
    Some(position)
}

#[cfg(test)]
mod tests {
    use super::super::SchedulerKind;
    use super::super::testing::Scene;

    #[test]
    fn a_vip_stays_until_its_backend_is_overloaded() {
        let mut scene = Scene::new(SchedulerKind::LocalityLeastConnection, &[4, 4]);
        assert_eq!(scene.pick_at(1), Some(0));
        scene.set_flows(0, 4);
        assert_eq!(scene.pick_at(1), Some(0), "full is not overloaded");
        assert_eq!(scene.pick_at(2), Some(1), "another VIP takes the least loaded");
        scene.set_flows(0, 5);
        scene.set_flows(1, 2);
        assert_eq!(scene.pick_at(1), Some(0), "nobody is half idle");
        scene.set_flows(1, 1);
        assert_eq!(scene.pick_at(1), Some(1));
        scene.set_flows(0, 0);
        assert_eq!(scene.pick_at(1), Some(1), "and stays there");
        scene.set_weight(1, 0);
        assert_eq!(scene.pick_at(1), Some(0), "drained");
    }

    #[test]
    fn a_sorry_backend_is_no_idle_one() {
        let mut scene = Scene::new(SchedulerKind::LocalityLeastConnection, &[1, 1, 1]);
        scene.service.backends[2].sorry = true;
        assert_eq!(scene.pick_at(1), Some(0));
        scene.set_flows(0, 5);
        scene.set_flows(1, 4);
        assert_eq!(scene.pick_at(1), Some(0));
    }
}
