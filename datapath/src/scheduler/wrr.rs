//! `wrr`: weighted round robin, interleaved as IPVS's `wrr` does it: while a limit falls from the greatest weight to
//! zero in steps of the weights' common divisor, everybody whose weight reaches the limit gets a turn.

use super::eligible;
use crate::service::{Backend, VirtualService};

/// Whose turn it is follows from the number of the turn alone, so that workers need to share nothing but that number.
pub(super) fn pick(service: &VirtualService) -> Option<usize> {
    let step = eligible(service).map(|(_, backend)| u32::from(backend.weight)).reduce(common_divisor)?;
    let total: u32 = eligible(service).map(|(_, backend)| u32::from(backend.weight) / step).sum();
    let mut turn = service.turn.take() % total;
    let mut limit = eligible(service).map(|(_, backend)| u32::from(backend.weight)).max()?;
    loop {
        // The passes down to the next lower weight are all alike.
        let reach = |(_, backend): &(usize, &Backend)| u32::from(backend.weight) >= limit;
        let in_pass = eligible(service).filter(reach).count() as u32;
        let lower = eligible(service).map(|(_, backend)| u32::from(backend.weight)).filter(|weight| *weight < limit);
        let lower = lower.max().unwrap_or(0);
        let passes = (limit - lower) / step;
        if turn < passes * in_pass {
            return eligible(service).filter(reach).nth((turn % in_pass) as usize).map(|(position, _)| position);
        }
        turn -= passes * in_pass;
        limit = lower;
    }
}

/// Euclid's.
fn common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { common_divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{count, service};
    use super::*;

    fn picks(weights: &[u16], n: usize) -> Vec<usize> {
        let service = service(weights);
        (0..n).filter_map(|_| pick(&service)).collect()
    }

    /// The example of the LVS documentation: weights 4, 3, 2 give AABABCABC.
    #[test]
    fn the_sequence_of_the_documentation() {
        assert_eq!(picks(&[4, 3, 2], 12), [0, 0, 1, 0, 1, 2, 0, 1, 2, 0, 0, 1]);
    }

    #[test]
    fn weights_are_divided_by_what_they_share() {
        assert_eq!(picks(&[200, 100], 6), [0, 0, 1, 0, 0, 1]);
        assert_eq!(picks(&[65_535, 65_535], 4), [0, 1, 0, 1]);
    }

    #[test]
    fn a_drained_backend_gets_nothing() {
        assert_eq!(picks(&[1, 0, 1], 4), [0, 2, 0, 2]);
        assert_eq!(picks(&[0, 0], 4), []);
        assert_eq!(picks(&[], 4), []);
    }

    #[test]
    fn a_million_picks_follow_the_weights_exactly() {
        let service = service(&[1, 5, 10, 34]);
        let counts = count(4, 1_000_000, || pick(&service));
        assert_eq!(counts, [20_000, 100_000, 200_000, 680_000]);
    }
}
