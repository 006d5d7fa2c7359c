//! `wlc`: the backend with the fewest connections for its weight (IPVS's `wlc`).

use super::load;
use crate::service::VirtualService;

pub(super) fn pick(service: &VirtualService) -> Option<usize> {
    load::least_for_its_weight(service, load::connections)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{busy, count, open_one, service};
    use super::*;

    #[test]
    fn the_fewest_for_its_weight() {
        assert_eq!(pick(&busy(&[(1, 1, 0), (10, 9, 0)])), Some(1));
        assert_eq!(pick(&busy(&[(1, 1, 0), (10, 11, 0)])), Some(0));
        assert_eq!(pick(&busy(&[(2, 2, 0), (1, 1, 0)])), Some(0), "the first of equals");
        assert_eq!(pick(&busy(&[(0, 0, 0), (65_535, 900_000, 0)])), Some(1), "drained");
        assert_eq!(pick(&service(&[])), None);
    }

    /// Connections that stay open end up spread as the weights say, exactly.
    #[test]
    fn a_million_connections_follow_the_weights() {
        let service = service(&[1, 2, 7]);
        let counts = count(3, 1_000_000, || {
            let position = pick(&service);
            open_one(&service, position);
            position
        });
        for (count, weight) in counts.iter().zip([1, 2, 7]) {
            assert!(count.abs_diff(weight * 100_000) <= 2, "{counts:?}");
        }
    }
}
