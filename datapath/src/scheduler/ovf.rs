//! `ovf`: overflow. The greatest weight that has not more active connections than that; when all have, nobody gets the
//! flow (IPVS's `ovf`).

use super::{eligible, fo, load};
use crate::service::VirtualService;

pub(super) fn pick(service: &VirtualService) -> Option<usize> {
    fo::greatest(eligible(service).filter(|(_, backend)| load::active(backend) <= u64::from(backend.weight)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::busy;
    use super::*;

    #[test]
    fn the_greatest_that_is_not_full() {
        assert_eq!(pick(&busy(&[(2, 0, 0), (5, 5, 0)])), Some(1), "as many as its weight is not full");
        assert_eq!(pick(&busy(&[(2, 0, 0), (5, 6, 0)])), Some(0));
        assert_eq!(pick(&busy(&[(2, 3, 0), (5, 6, 0)])), None);
        assert_eq!(pick(&busy(&[(0, 0, 0)])), None);
    }
}
