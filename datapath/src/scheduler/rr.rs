//! `rr`: every backend in turn, weights ignored but for 0 (IPVS's `rr`).

use super::table::HashTable;
use super::{Request, eligible};
use crate::service::VirtualService;

/// The next backend in turn. Drained backends have no place in the table, so the others keep alternating strictly.
pub(super) fn pick(request: &Request<'_>) -> Option<usize> {
    request.table.in_turn(request.service.turn.take())
}

/// A place for each that may take new flows: picking one must not cost more the more there are.
pub(super) fn table(service: &VirtualService) -> HashTable {
    HashTable::new(eligible(service).map(|(position, _)| position as u16).collect())
}

#[cfg(test)]
mod tests {
    use super::super::SchedulerKind;
    use super::super::testing::Scene;

    fn scene(weights: &[u16]) -> Scene {
        Scene::new(SchedulerKind::RoundRobin, weights)
    }

    fn picks(scene: &mut Scene, n: usize) -> Vec<Option<usize>> {
        (0..n).map(|_| scene.pick_for(1)).collect()
    }

    #[test]
    fn strictly_in_turn() {
        assert_eq!(picks(&mut scene(&[1, 1, 1]), 7), [0, 1, 2, 0, 1, 2, 0].map(Some));
    }

    #[test]
    fn weights_other_than_zero_are_ignored() {
        assert_eq!(picks(&mut scene(&[1, 65_535]), 4), [0, 1, 0, 1].map(Some));
    }

    #[test]
    fn a_drained_backend_gets_nothing_and_the_others_alternate() {
        assert_eq!(picks(&mut scene(&[1, 0, 1]), 4), [0, 2, 0, 2].map(Some));
    }

    #[test]
    fn nobody_left() {
        assert_eq!(scene(&[0, 0]).pick_for(1), None);
        assert_eq!(scene(&[]).pick_for(1), None);
    }

    #[test]
    fn the_turn_outlives_a_new_table() {
        let mut scene = scene(&[1, 1]);
        assert_eq!(scene.pick_for(1), Some(0));
        scene.refresh();
        assert_eq!(scene.pick_for(1), Some(1));
    }
}
