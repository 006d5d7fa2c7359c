//! What the XDP filter still takes of tables that a worker may be on.

use std::time::Duration;

use super::{Rules, is_due};

/// What older tables needed, until the last worker has left them.
#[derive(Debug, Default)]
pub struct Lingering {
    rules: Option<Rules>,
    /// It was tried then to have the filter let go of them, and why that failed.
    failed: Option<(Duration, String)>,
}

impl Lingering {
    /// What the filter is to take while workers go from the `old` tables to the `new` ones, some of them perhaps from
    /// older ones. It lingers also where the filter refuses: what was done by half must be put right.
    pub fn join(&mut self, old: &Rules, new: &Rules) -> Rules {
        let older = self.rules.get_or_insert_default();
        *older = older.union(old);
        older.union(new)
    }

    /// Whether it is time to try to let go.
    pub fn is_due(&self) -> bool {
        self.rules.is_some() && self.failed.as_ref().is_none_or(|(failed, _)| is_due(*failed))
    }

    /// The filter takes no more than it needs.
    pub fn end(&mut self) {
        *self = Lingering::default();
    }

    /// The filter keeps them; true: that is news.
    pub fn keep(&mut self, why: String) -> bool {
        let is_news = self.failed.as_ref().is_none_or(|(_, before)| *before != why);
        self.failed = Some((sys::clock::now(), why));
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TUN, config};
    use super::super::{OverlayMacs, compile};
    use super::*;
    use crate::catalog::Catalog;
    use crate::kernel::KernelView;

    /// The rules of a service at this port.
    fn rules(port: u16) -> Rules {
        let service = format!("[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:{port}\"\n");
        let config = config(TUN, "", &service);
        let catalog = Catalog::from_config(&config, 1);
        compile(&config, &catalog, &KernelView::default(), &OverlayMacs::new(), datapath::service::Generation(1)).rules
    }

    #[test]
    fn what_the_tables_before_the_last_needed_lingers_too() {
        let [first, second, third] = [rules(1), rules(2), rules(3)];
        let mut lingering = Lingering::default();
        assert_eq!(lingering.join(&first, &second), first.union(&second));
        assert_eq!(lingering.join(&second, &third), first.union(&second).union(&third));
        lingering.end();
        assert_eq!(lingering.join(&second, &third), second.union(&third), "all had left the first");
    }

    #[test]
    fn what_the_filter_has_refused_does_not_linger() {
        let [first, second, third] = [rules(1), rules(2), rules(3)];
        let mut lingering = Lingering::default();
        lingering.join(&first, &second);
        assert_eq!(lingering.join(&first, &third), first.union(&third));
    }

    #[test]
    fn a_filter_that_does_not_let_go_is_asked_again_later_and_blamed_once() {
        let mut lingering = Lingering::default();
        assert!(!lingering.is_due(), "nothing lingers");
        lingering.join(&rules(1), &rules(2));
        assert!(lingering.is_due());
        assert!(lingering.keep("no memory".to_owned()));
        assert!(!lingering.is_due(), "not with each tick");
        assert!(!lingering.keep("no memory".to_owned()));
        assert!(lingering.keep("another reason".to_owned()));
        lingering.end();
        assert!(!lingering.is_due());
    }
}
