//! What a service does against those who ask too much: lists of sources, rates of new flows, SYN cookies.
//!
//! [`Protection`] is what control says of a service; it goes with the tables. [`Guard`] is what lasts: buckets and counters,
//! handed by control to every generation.

mod alarm;
mod cookie;
mod guard;
mod prefixes;
mod rate;
mod sources;

use std::net::IpAddr;
use std::sync::Arc;

pub use guard::{Guard, GuardTotals, WorkerGuard};
pub use prefixes::{Prefix, Prefixes};
pub use rate::Rate;

/// How a service is protected.
#[derive(Clone, Debug, Default)]
pub struct Protection {
    /// Who may open flows; empty: everybody.
    pub allow: Prefixes,
    /// Who may not, even if allowed.
    pub deny: Prefixes,
    /// New flows of each source.
    pub rate_per_source: Option<Rate>,
    /// New flows of all sources together.
    pub rate: Option<Rate>,
    /// When SYNs are answered here.
    pub syn_cookies: SynCookies,
    /// What lasts from one generation to the next.
    pub guard: Arc<Guard>,
}

/// When SYNs are answered here, by a cookie, and not by a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SynCookies {
    /// Never.
    #[default]
    Never,
    /// Every one.
    Always,
    /// While there are at least so many half-open flows, and as long as there would be soon again.
    Above {
        /// So many, over all workers.
        half_open: u32,
    },
}

impl Protection {
    /// Whether the lists let this source in.
    #[must_use]
    pub fn lets_in(&self, source: IpAddr) -> bool {
        (self.allow.is_empty() || self.allow.contains(source)) && !self.deny.contains(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_wins_and_an_empty_list_allows_all() {
        let list = |bits| Prefixes::new(&[Prefix { address: IpAddr::from([198, 18, 0, 0]), bits }]);
        let (inner, outer) = (IpAddr::from([198, 18, 0, 9]), IpAddr::from([198, 18, 7, 9]));
        let lets_in = |allow, deny| {
            let protection = Protection { allow, deny, ..Protection::default() };
            [inner, outer].map(|source| protection.lets_in(source))
        };
        assert_eq!(lets_in(Prefixes::default(), Prefixes::default()), [true, true]);
        assert_eq!(lets_in(list(24), Prefixes::default()), [true, false]);
        assert_eq!(lets_in(Prefixes::default(), list(24)), [false, true]);
        assert_eq!(lets_in(list(16), list(24)), [false, true]);
        assert_eq!(lets_in(list(24), list(16)), [false, false]);
    }
}
