//! How loaded backends are, and who is least so.

use std::cmp::Ordering;

use super::eligible;
use crate::service::{Backend, VirtualService};

/// Connections of a backend as IPVS weighs them: an active one as 256 inactive ones.
pub(super) fn connections(backend: &Backend) -> u64 {
    let (active, inactive) = backend.stats.flows();
    (active << 8) + inactive
}

/// Active connections of a backend.
pub(super) fn active(backend: &Backend) -> u64 {
    backend.stats.flows().0
}

/// Whether `load / weight` is smaller for the first; compared without dividing, as IPVS does.
fn compare(one: (u64, u16), other: (u64, u16)) -> Ordering {
    let cross = |load: u64, weight: u16| u128::from(load) * u128::from(weight);
    cross(one.0, other.1).cmp(&cross(other.0, one.1))
}

/// The eligible backend with the least `load` for its weight; the first of several.
pub(super) fn least_for_its_weight(service: &VirtualService, load: impl Fn(&Backend) -> u64) -> Option<usize> {
    let loads = eligible(service).map(|(position, backend)| (position, (load(backend), backend.weight)));
    loads.min_by(|(_, one), (_, other)| compare(*one, *other)).map(|(position, _)| position)
}

/// Of two backends, whether the first has less `load` for its weight.
pub(super) fn is_less(one: &Backend, other: &Backend) -> bool {
    compare((connections(one), one.weight), (connections(other), other.weight)).is_lt()
}
