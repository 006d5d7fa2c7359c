//! `nq`: never queue. The first backend without active connections, else as `sed` (IPVS's `nq`).

use super::{eligible, load, sed};
use crate::service::VirtualService;

pub(super) fn pick(service: &VirtualService) -> Option<usize> {
    let idle = eligible(service).find(|(_, backend)| load::active(backend) == 0).map(|(position, _)| position);
    idle.or_else(|| sed::pick(service))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{busy, service};
    use super::*;

    #[test]
    fn an_idle_one_first() {
        assert_eq!(pick(&busy(&[(9, 1, 0), (1, 0, 5)])), Some(1), "sed would take the other");
        assert_eq!(pick(&busy(&[(9, 1, 0), (1, 1, 0)])), Some(0));
        assert_eq!(pick(&busy(&[(9, 1, 0), (0, 0, 0)])), Some(0), "drained");
        assert_eq!(pick(&service(&[])), None);
    }
}
