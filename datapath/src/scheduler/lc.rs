//! `lc`: the backend with the fewest connections, whatever its weight (IPVS's `lc`).

use super::{eligible, load};
use crate::service::VirtualService;

pub(super) fn pick(service: &VirtualService) -> Option<usize> {
    eligible(service).min_by_key(|(_, backend)| load::connections(backend)).map(|(position, _)| position)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{busy, service};
    use super::*;

    #[test]
    fn the_fewest_whatever_the_weight() {
        assert_eq!(pick(&busy(&[(1, 3, 0), (9, 2, 0), (1, 2, 1)])), Some(1));
        assert_eq!(pick(&busy(&[(1, 1, 0), (1, 0, 255)])), Some(1), "one active weighs 256 inactive");
        assert_eq!(pick(&busy(&[(1, 1, 0), (1, 0, 257)])), Some(0));
        assert_eq!(pick(&busy(&[(1, 2, 0), (0, 0, 0)])), Some(0), "drained");
        assert_eq!(pick(&service(&[0])), None);
    }
}
