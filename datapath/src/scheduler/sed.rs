//! `sed`: the shortest expected delay, (active connections + 1) / weight (IPVS's `sed`).

use super::load;
use crate::service::VirtualService;

pub(super) fn pick(service: &VirtualService) -> Option<usize> {
    load::least_for_its_weight(service, |backend| load::active(backend) + 1)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{busy, service};
    use super::*;

    #[test]
    fn the_shortest_expected_delay() {
        assert_eq!(pick(&busy(&[(1, 0, 0), (3, 1, 0)])), Some(1), "2/3 is less than 1/1");
        assert_eq!(pick(&busy(&[(1, 0, 0), (3, 3, 0)])), Some(0), "4/3 is more");
        assert_eq!(pick(&busy(&[(1, 0, 9), (1, 1, 0)])), Some(0), "inactive ones do not count");
        assert_eq!(pick(&service(&[0, 0])), None);
    }
}
