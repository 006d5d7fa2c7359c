//! Source addresses that connections to plain backends may still have, although no new one gets them: the kernel names another
//! one for the way by now, or no way at all for a moment, or their service has become direct. What comes to them stays the workers':
//! the kernel knows nothing of these connections, and would end them by RST.

use std::collections::BTreeSet;
use std::net::IpAddr;

use datapath::service::{Hop, Path, Tables};

use crate::catalog::Surrogates;

/// Who has so many has a network that changes all the time (temporary IPv6 addresses, a new one a day): the last ones do.
const MOST_LEFT: usize = 64;

/// Those of one generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Of new connections.
    given: BTreeSet<IpAddr>,
    /// Of older ones, in the order in which they were left.
    pub left: Vec<IpAddr>,
}

impl Sources {
    /// What these tables give to new connections. Where there is no way there are none, and what stands there for a source is not
    /// one.
    pub fn of(tables: &Tables, surrogates: &Surrogates) -> Sources {
        let translated = tables.services.iter().filter(|service| !service.direct);
        let paths = translated.flat_map(|service| &service.backends).map(|backend| &backend.path);
        let given = paths.filter_map(|path| match path {
            Path::Plain { snat, hop } if *hop != Hop::Unresolved => Some(snat),
            _ => None,
        });
        let given = given.flatten().filter_map(|source| surrogates.real(*source)).collect();
        Sources { given, left: Vec::new() }
    }

    /// What no new connection gets, but those that have begun before.
    pub fn left_by(&self, before: &Sources) -> Vec<IpAddr> {
        let older = before.left.iter().chain(&before.given).filter(|source| !self.given.contains(source));
        let mut left: Vec<IpAddr> = older.copied().collect();
        left.drain(..left.len().saturating_sub(MOST_LEFT));
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        [198, 18, 1, last].into()
    }

    /// What is left after generations that have given these.
    fn left(generations: &[&[u8]]) -> Vec<IpAddr> {
        let all = generations.iter().fold(Sources::default(), |before, given| {
            let next = Sources { given: given.iter().copied().map(source).collect(), left: Vec::new() };
            Sources { left: next.left_by(&before), ..next }
        });
        all.left
    }

    #[test]
    fn what_is_given_again_is_not_left() {
        assert!(left(&[&[1]]).is_empty());
        assert_eq!(left(&[&[1], &[2], &[3, 4]]), [1, 2].map(source));
        assert_eq!(left(&[&[1], &[], &[], &[2]]), [source(1)]);
        assert_eq!(left(&[&[1], &[2], &[1]]), [source(2)]);
    }

    #[test]
    fn the_last_ones_are_kept() {
        let days: Vec<[u8; 1]> = (1..=100).map(|day| [day]).collect();
        let days: Vec<&[u8]> = days.iter().map(|day| &day[..]).collect();
        let left = left(&days);
        assert_eq!((left.len(), left.first(), left.last()), (MOST_LEFT, Some(&source(36)), Some(&source(99))));
    }
}
