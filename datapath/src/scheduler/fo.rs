//! `fo`: failover. The backend with the greatest weight gets everything; the first of several (IPVS's `fo`).

use super::eligible;
use crate::service::{Backend, VirtualService};

pub(super) fn pick(service: &VirtualService) -> Option<usize> {
    greatest(eligible(service))
}

/// The first of those with the greatest weight.
pub(super) fn greatest<'a>(backends: impl Iterator<Item = (usize, &'a Backend)>) -> Option<usize> {
    let best = backends.reduce(|best, next| if next.1.weight > best.1.weight { next } else { best });
    best.map(|(position, _)| position)
}

#[cfg(test)]
mod tests {
    use super::super::testing::service;
    use super::*;

    #[test]
    fn the_greatest_weight() {
        assert_eq!(pick(&service(&[1, 3, 2])), Some(1));
        assert_eq!(pick(&service(&[3, 3, 2])), Some(0), "the first of equals");
        assert_eq!(pick(&service(&[0, 0])), None);
    }
}
