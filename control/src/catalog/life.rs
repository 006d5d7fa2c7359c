//! How backends come and go by the clock: slow starts, and the ends of drained ones.

use std::time::Duration;

use datapath::service::{BackendId, SchedulerKind};

use super::{BackendEntry, Catalog, ServiceEntry};
use crate::config::life::uses_shares;

/// A slow start has so many steps.
const STEPS: u32 = 10;

/// How far a backend has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Since when it takes new flows.
    serves_since: Option<Duration>,
    /// Its share of its weight, in steps.
    step: u32,
    /// Since when it is drained; its flows have been ended if there is no deadline left.
    drained: Option<(Duration, bool)>,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress { serves_since: None, step: STEPS, drained: None }
    }
}

impl Progress {
    /// One that has just come takes its first step at once.
    fn step(&self) -> u32 {
        if self.serves_since.is_some() { self.step } else { 1 }
    }

    /// The weight that counts among others that are `scale` times theirs.
    fn part_of(&self, weight: u16, scale: u32) -> u16 {
        let part = u32::from(weight) * scale * self.step() / STEPS;
        part.clamp(u32::from(weight > 0), u32::from(u16::MAX)) as u16
    }
}

impl Catalog {
    /// Time has passed. True: the tables are others now.
    pub fn grow_older(&mut self, now: Duration) -> bool {
        let mut changed = false;
        let next = &mut self.next_backend;
        for service in &mut self.services {
            changed |= service.forget_left();
            let life = service.settings.life;
            for backend in &mut service.backends {
                changed |= backend.start(life.slow_start, now);
                if backend.is_overdue(life.drain_deadline, now) {
                    backend.begin_anew(next);
                    changed = true;
                }
            }
        }
        changed
    }
}

impl ServiceEntry {
    /// The weights that count now: those of backends that are starting are smaller than they will be.
    pub fn weights(&self) -> impl Iterator<Item = u16> {
        let starts = |backend: &BackendEntry| backend.serves() && backend.progress.step() < STEPS;
        let may_scale = self.settings.life.slow_start.is_some() && uses_shares(self.settings.scheduler);
        let scales = may_scale && self.backends.iter().any(starts);
        let greatest = self.backends.iter().map(|backend| u32::from(backend.config.weight)).max().unwrap_or(0);
        // A tenth of 1 is nothing: all are made larger, if there is room.
        // For these two a weight is also how many connections are too many.
        let is_limit = matches!(
            self.settings.scheduler,
            SchedulerKind::LocalityLeastConnection | SchedulerKind::LocalityLeastConnectionReplicated
        );
        let has_room = u16::try_from(greatest * STEPS).is_ok();
        let scale = if has_room && !is_limit { STEPS } else { 1 };
        self.backends.iter().map(move |backend| {
            let whole = backend.config.weight;
            if scales { backend.progress.part_of(whole, scale) } else { whole }
        })
    }
}

impl BackendEntry {
    /// Whether new flows may go there.
    fn serves(&self) -> bool {
        self.config.weight > 0 && self.health.is_up() && !self.suspended
    }

    /// Goes on with its slow start; true when it has come a step further.
    fn start(&mut self, slow_start: Option<Duration>, now: Duration) -> bool {
        let before = self.progress.step;
        if !self.serves() {
            self.progress.serves_since = None;
            return false;
        }
        let since = *self.progress.serves_since.get_or_insert(now);
        self.progress.step = match slow_start {
            None => STEPS,
            Some(whole) => {
                let passed = now.saturating_sub(since).as_millis() * u128::from(STEPS - 1) / whole.as_millis().max(1);
                1 + (passed as u32).min(STEPS - 1)
            }
        };
        before != self.progress.step
    }

    /// Whether its flows are to end now.
    fn is_overdue(&mut self, deadline: Option<Duration>, now: Duration) -> bool {
        if self.config.weight > 0 {
            self.progress.drained = None;
            return false;
        }
        let (since, over) = self.progress.drained.get_or_insert((now, false));
        let is_due = deadline.is_some_and(|deadline| now.saturating_sub(*since) >= deadline);
        let overdue = is_due && !*over;
        *over |= overdue;
        overdue
    }

    /// It stays, but its flows end: for them, who had that id is gone.
    pub(super) fn begin_anew(&mut self, next: &mut u32) {
        self.id = BackendId(*next);
        *next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = "[[service]]\nname = \"shop\"\nlisten = \"198.18.0.1:80\"\nscheduler = \"wrr\"\nslow_start = \"10s\"\n\
                        drain_deadline = \"30s\"\n";

    fn shop(weights: &[u16]) -> Catalog {
        let backend = |(n, weight): (usize, &u16)| {
            format!("[[service.backend]]\naddress = \"192.0.2.{}:80\"\nweight = {weight}\n", n + 1)
        };
        let backends: String = weights.iter().enumerate().map(backend).collect();
        Catalog::from_config(&super::super::tests::config(&format!("{SHOP}{backends}")), 1)
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn weights(catalog: &Catalog) -> Vec<u16> {
        catalog.services[0].weights().collect()
    }

    fn ids(catalog: &Catalog) -> Vec<u32> {
        catalog.services[0].backends.iter().map(|backend| backend.id.0).collect()
    }

    #[test]
    fn all_that_start_together_share_alike() {
        let mut catalog = shop(&[1, 3]);
        for second in 100..112 {
            catalog.grow_older(at(second));
            let weights = weights(&catalog);
            assert_eq!(weights[0] * 3, weights[1], "after {second} s: {weights:?}");
        }
        assert_eq!(weights(&catalog), [1, 3]);
        assert!(!catalog.grow_older(at(200)), "nothing more to do");
    }

    #[test]
    fn who_comes_later_starts_slowly() {
        let mut catalog = shop(&[1, 0]);
        catalog.grow_older(at(100));
        catalog.grow_older(at(110));
        assert_eq!(weights(&catalog), [1, 0]);
        catalog.services[0].backends[1].config.weight = 1;
        assert_eq!(weights(&catalog), [10, 1], "at once, before time is looked at");
        let mut seen = Vec::new();
        for second in 120..132 {
            catalog.grow_older(at(second));
            seen.push(weights(&catalog)[1]);
        }
        assert_eq!(seen, [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 1], "tenths, then whole ones");
        assert_eq!(weights(&catalog), [1, 1]);
    }

    #[test]
    fn a_weight_that_is_a_limit_stays_what_it_is() {
        let mut catalog = shop(&[100, 0]);
        catalog.grow_older(at(100));
        catalog.grow_older(at(110));
        catalog.services[0].backends[1].config.weight = 100;
        assert_eq!(weights(&catalog), [1_000, 100]);
        for scheduler in [SchedulerKind::LocalityLeastConnection, SchedulerKind::LocalityLeastConnectionReplicated] {
            catalog.services[0].settings.scheduler = scheduler;
            assert_eq!(weights(&catalog), [100, 10]);
        }
    }

    #[test]
    fn great_weights_need_no_scale_and_small_ones_are_not_nothing() {
        let mut catalog = shop(&[60_000, 1]);
        catalog.grow_older(at(100));
        assert_eq!(weights(&catalog), [6_000, 1]);
    }

    #[test]
    fn a_backend_that_was_down_starts_again() {
        let mut catalog = shop(&[1, 1]);
        catalog.grow_older(at(100));
        catalog.grow_older(at(110));
        catalog.services[0].backends[0].suspended = true;
        catalog.grow_older(at(111));
        catalog.services[0].backends[0].suspended = false;
        assert_eq!(weights(&catalog), [1, 10]);
    }

    #[test]
    fn a_drained_backend_keeps_its_flows_until_the_deadline() {
        let mut catalog = shop(&[1, 1]);
        catalog.grow_older(at(100));
        catalog.services[0].backends[1].config.weight = 0;
        let before = ids(&catalog);
        for second in [110, 120, 139] {
            catalog.grow_older(at(second));
            assert_eq!(ids(&catalog), before);
        }
        assert!(catalog.grow_older(at(140)));
        let after = ids(&catalog);
        assert_eq!(before[0], after[0]);
        assert_ne!(before[1], after[1], "whose flows have that id are gone for the workers");
        catalog.grow_older(at(500));
        assert_eq!(ids(&catalog), after, "once");
        // In turn again, and drained again: another deadline.
        catalog.services[0].backends[1].config.weight = 1;
        catalog.grow_older(at(501));
        catalog.services[0].backends[1].config.weight = 0;
        catalog.grow_older(at(502));
        catalog.grow_older(at(532));
        assert_ne!(ids(&catalog)[1], after[1]);
    }
}
