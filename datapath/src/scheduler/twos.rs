//! `twos`: the power of two choices. Two backends are drawn by lot, weighted; the less loaded for its weight gets the
//! flow (IPVS's `twos`).

use super::{eligible, load};
use crate::service::VirtualService;

/// A worker's source of lots: xorshift64*, since nobody gains anything by guessing them.
#[derive(Debug)]
pub(crate) struct Lots(u64);

impl Lots {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        drawn % end.max(1)
    }
}

pub(super) fn pick(service: &VirtualService, lots: &mut Lots) -> Option<usize> {
    let total: u64 = eligible(service).map(|(_, backend)| u64::from(backend.weight)).sum();
    let (one, other) = (drawn(service, lots.below(total))?, drawn(service, lots.below(total))?);
    let pair = service.backends.get(other).zip(service.backends.get(one));
    Some(if pair.is_some_and(|(other, one)| load::is_less(other, one)) { other } else { one })
}

/// Whose lot that is: everybody has as many as its weight.
fn drawn(service: &VirtualService, mut lot: u64) -> Option<usize> {
    for (position, backend) in eligible(service) {
        let weight = u64::from(backend.weight);
        if lot < weight {
            return Some(position);
        }
        lot -= weight;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::{busy, count, open_one, service};
    use super::*;

    #[test]
    fn lots_follow_the_weights() {
        let service = busy(&[(1, 0, 0), (3, 0, 0), (0, 0, 0)]);
        let mut lots = Lots::new(7);
        let counts = count(3, 1_000_000, || pick(&service, &mut lots));
        assert!(counts[0].abs_diff(250_000) < 5_000 && counts[2] == 0, "{counts:?}");
    }

    /// The point of two choices: the busiest is hardly busier than the others.
    #[test]
    fn a_million_connections_are_level() {
        let service = service(&[1; 10]);
        let mut lots = Lots::new(7);
        let counts = count(10, 1_000_000, || {
            let position = pick(&service, &mut lots);
            open_one(&service, position);
            position
        });
        assert!(counts.iter().all(|count| count.abs_diff(100_000) <= 10), "{counts:?}");
    }

    #[test]
    fn the_busier_of_two_is_avoided() {
        let service = busy(&[(1, 1_000, 0), (1, 0, 0)]);
        let mut lots = Lots::new(7);
        let counts = count(2, 100_000, || pick(&service, &mut lots));
        assert!(counts[0].abs_diff(25_000) < 1_000, "only when both lots are its own: {counts:?}");
        assert_eq!(pick(&busy(&[]), &mut lots), None);
    }
}
