//! `sh`: source hash. A client's address leads to the same backend as long as the backends stay (IPVS's `sh`).

use super::Request;

pub(super) fn pick(request: &Request<'_>) -> Option<usize> {
    request.table.lookup(request.client)
}

#[cfg(test)]
mod tests {
    use super::super::SchedulerKind;
    use super::super::testing::{Scene, count};

    #[test]
    fn a_client_stays_and_clients_spread() {
        let mut scene = Scene::new(SchedulerKind::SourceHash, &[1, 1, 2]);
        let first: Vec<_> = (0..100).map(|client| scene.pick_for(client)).collect();
        let second: Vec<_> = (0..100).map(|client| scene.pick_for(client)).collect();
        assert_eq!(first, second);
        let mut client = 0;
        let counts = count(3, 1_000_000, || {
            client += 1;
            scene.pick_for(client)
        });
        for (count, weight) in counts.iter().zip([1, 1, 2]) {
            assert!(count.abs_diff(weight * 250_000) < 10_000, "{counts:?}");
        }
        assert_eq!(Scene::new(SchedulerKind::SourceHash, &[0]).pick_for(1), None);
    }
}
