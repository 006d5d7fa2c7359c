//! `dh`: destination hash. A VIP leads to one backend as long as the backends stay (IPVS's `dh`).

use super::Request;

pub(super) fn pick(request: &Request<'_>) -> Option<usize> {
    request.table.lookup(request.vip)
}

#[cfg(test)]
mod tests {
    use super::super::SchedulerKind;
    use super::super::testing::Scene;

    #[test]
    fn a_vip_has_one_backend_and_vips_spread() {
        let mut scene = Scene::new(SchedulerKind::DestinationHash, &[1, 1, 1]);
        let first = scene.pick_for(1);
        assert!((0..100).all(|client| scene.pick_for(client) == first));
        let used: std::collections::BTreeSet<_> = (0..50).map(|vip| scene.pick_at(vip)).collect();
        assert_eq!(used, [Some(0), Some(1), Some(2)].into());
    }
}
