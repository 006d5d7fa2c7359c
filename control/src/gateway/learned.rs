//! What tasks tell of themselves by ARP. Whoever may send ARP in the overlay beside a task can tell the same, so it is not
//! believed too often.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::resolve::OverlayMacs;
use crate::catalog::Catalog;

/// After a change, an address keeps its MAC for so long: every change is new tables.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// The MAC addresses that were learned.
#[derive(Debug, Default)]
pub struct Learned {
    macs: OverlayMacs,
    changed: BTreeMap<Ipv4Addr, Duration>,
}

impl Learned {
    /// By overlay address.
    pub fn macs(&self) -> &OverlayMacs {
        &self.macs
    }

    /// A task says that it is there. True: that is news, and was taken over.
    pub fn hear(&mut self, address: Ipv4Addr, mac: wire::MacAddr, now: Duration) -> bool {
        let is_known = self.macs.get(&address) == Some(&mac);
        if is_known || self.changed.get(&address).is_some_and(|at| now.saturating_sub(*at) < KEPT_FOR) {
            return false;
        }
        self.macs.insert(address, mac);
        self.changed.insert(address, now);
        true
    }

    /// Forgets what was learned of all other addresses: who has them next is somebody else.
    pub fn keep(&mut self, addresses: impl Iterator<Item = Ipv4Addr>) {
        if self.macs.is_empty() {
            return;
        }
        self.macs = addresses.filter_map(|address| self.macs.remove_entry(&address)).collect();
        self.changed.retain(|address, _| self.macs.contains_key(address));
    }
}

/// The overlay addresses of which the MAC must be learned: those of backends whose `mac` nobody wrote down.
pub fn learnable(catalog: &Catalog) -> impl Iterator<Item = Ipv4Addr> {
    let backends = catalog.services().iter().flat_map(|service| &service.backends);
    let overlay = backends.filter(|backend| backend.config.vtep.is_some() && backend.config.mac.is_none());
    overlay.filter_map(|backend| match backend.config.address.ip {
        std::net::IpAddr::V4(address) => Some(address),
        std::net::IpAddr::V6(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use wire::MacAddr;

    use super::*;

    const TASK: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 12);
    const ONE: MacAddr = MacAddr([2, 9, 9, 9, 9, 1]);
    const TWO: MacAddr = MacAddr([2, 9, 9, 9, 9, 2]);

    #[test]
    fn an_address_changes_once_in_a_while() {
        let mut learned = Learned::default();
        let mut says = |address, mac, millis| learned.hear(address, mac, Duration::from_millis(millis));
        assert!(says(TASK, ONE, 1000), "the first time at once");
        assert!(!says(TASK, ONE, 1001), "no news");
        assert!(!says(TASK, TWO, 5999));
        assert!(says(OTHER, TWO, 5999), "others are not concerned");
        assert!(says(TASK, TWO, 6000), "said again when the time is over");
        assert!(!says(TASK, ONE, 6001));
        assert_eq!(learned.macs(), &OverlayMacs::from([(TASK, TWO), (OTHER, TWO)]));
    }

    #[test]
    fn an_address_that_nobody_has_is_forgotten() {
        let mut learned = Learned::default();
        for address in [TASK, OTHER] {
            assert!(learned.hear(address, ONE, Duration::ZERO));
        }
        learned.keep([OTHER, OTHER].into_iter());
        assert_eq!(learned.macs(), &OverlayMacs::from([(OTHER, ONE)]));
        assert!(learned.hear(TASK, TWO, Duration::ZERO), "whoever has it next");
        assert!(!learned.hear(OTHER, TWO, Duration::ZERO));
    }
}
