//! `rr`: every backend in turn, weights ignored but for 0 (IPVS's `rr`).

use super::is_eligible;
use crate::service::VirtualService;

/// The next backend in turn. Drained backends are not counted, so that the others keep alternating strictly.
pub(super) fn pick(service: &VirtualService) -> Option<usize> {
    let eligible = || service.backends.iter().enumerate().filter(|(_, backend)| is_eligible(backend));
    let count = eligible().count();
    if count == 0 {
        return None;
    }
    let turn = service.turn.take() as usize % count;
    eligible().nth(turn).map(|(position, _)| position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::service;

    fn picks(service: &VirtualService, n: usize) -> Vec<Option<usize>> {
        (0..n).map(|_| pick(service)).collect()
    }

    #[test]
    fn strictly_in_turn() {
        let service = service(&[1, 1, 1]);
        assert_eq!(picks(&service, 7), [0, 1, 2, 0, 1, 2, 0].map(Some));
    }

    #[test]
    fn weights_other_than_zero_are_ignored() {
        let service = service(&[1, 65_535]);
        assert_eq!(picks(&service, 4), [0, 1, 0, 1].map(Some));
    }

    #[test]
    fn a_drained_backend_gets_nothing_and_the_others_alternate() {
        let service = service(&[1, 0, 1]);
        assert_eq!(picks(&service, 4), [0, 2, 0, 2].map(Some));
    }

    #[test]
    fn nobody_left() {
        assert_eq!(pick(&service(&[0, 0])), None);
        assert_eq!(pick(&service(&[])), None);
    }

    #[test]
    fn the_turn_outlives_a_new_table() {
        let old = service(&[1, 1]);
        assert_eq!(pick(&old), Some(0));
        let new = old.clone();
        assert_eq!(pick(&new), Some(1));
    }
}
