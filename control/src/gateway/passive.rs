//! Passive detection: a task that answers SYNs by nothing or by RST gets no new flows for a while, long before the swarm
//! notices that its node is dead.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datapath::service::{BackendId, BackendTotals};

use crate::catalog::{BackendEntry, Catalog, Origin, ServiceEntry};

/// So many SYNs in a row without one that was answered.
const ENOUGH: u64 = 3;
/// Failures further apart than this have nothing to do with each other.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a task rests at first, and at most: each time it fails again right after, twice as long.
const REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(40);

/// What is known of each task's answers.
#[derive(Debug, Default)]
pub struct Watch {
    tasks: BTreeMap<BackendId, Record>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Record {
    answered: u64,
    failed: u64,
    /// In a row.
    failures: u64,
    last_failure: Duration,
    resting_until: Option<Duration>,
    /// The length of the last rest; zero after an answer.
    rest: Duration,
}

impl Watch {
    /// Looks at the counters and gives the tasks that shall rest now.
    pub fn judge(
        &mut self,
        catalog: &Catalog,
        totals: impl Fn(&BackendEntry) -> BackendTotals,
        now: Duration,
    ) -> BTreeSet<BackendId> {
        let mut seen = BTreeMap::new();
        let mut resting = BTreeSet::new();
        for service in catalog.services().iter().filter(|service| matches!(service.origin, Origin::Swarm(_))) {
            for backend in &service.backends {
                let mut record = self.tasks.get(&backend.id).copied().unwrap_or_default();
                if record.look(&totals(backend), now) {
                    resting.insert(backend.id);
                }
                seen.insert(backend.id, record);
            }
            spare_the_last(service, &mut resting);
        }
        self.tasks = seen;
        resting
    }
}

/// When all fail, it is hardly the tasks: better to try any than to serve nobody.
fn spare_the_last(service: &ServiceEntry, resting: &mut BTreeSet<BackendId>) {
    let mut able = service.backends.iter().filter(|backend| backend.config.weight > 0 && backend.health.is_up());
    if able.all(|backend| resting.contains(&backend.id)) {
        for backend in &service.backends {
            resting.remove(&backend.id);
        }
    }
}

impl Record {
    /// Takes over the counters; true: it shall rest.
    fn look(&mut self, totals: &BackendTotals, now: Duration) -> bool {
        let failed = totals.unanswered + totals.refused;
        let failures = failed.saturating_sub(self.failed);
        if totals.answered > self.answered {
            (self.failures, self.rest, self.resting_until) = (0, Duration::ZERO, None);
        } else if failures > 0 {
            let fresh = now.saturating_sub(self.last_failure) <= WINDOW;
            self.failures = failures + if fresh { self.failures } else { 0 };
            self.last_failure = now;
        }
        (self.answered, self.failed) = (totals.answered, failed);
        if self.resting_until.is_some_and(|until| now >= until) {
            // The next failure is enough.
            (self.resting_until, self.failures) = (None, ENOUGH - 1);
            self.last_failure = now;
        }
        if self.failures >= ENOUGH && self.resting_until.is_none() {
            self.rest = (2 * self.rest).clamp(REST, LONGEST_REST);
            self.resting_until = Some(now + self.rest);
        }
        self.resting_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(answered: u64, unanswered: u64, refused: u64) -> BackendTotals {
        BackendTotals { answered, unanswered, refused, ..BackendTotals::default() }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn three_in_a_row_are_enough_and_an_answer_forgives() {
        let mut record = Record::default();
        assert!(!record.look(&totals(0, 2, 0), at(1)));
        assert!(!record.look(&totals(1, 2, 0), at(2)));
        assert!(!record.look(&totals(1, 3, 1), at(3)));
        assert!(record.look(&totals(1, 3, 2), at(4)));
        // An answer to what was sent before it was known.
        assert!(!record.look(&totals(2, 3, 2), at(5)));
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let mut record = Record::default();
        for round in 0..10 {
            assert!(!record.look(&totals(0, round, 0), at(11 * round)));
        }
    }

    #[test]
    fn rests_grow_while_it_fails_again_at_once() {
        let mut record = Record::default();
        let mut rests = Vec::new();
        let (mut failed, mut since) = (3, None);
        for tick in 0..2_000_u64 {
            let now = Duration::from_millis(100 * tick);
            match (record.look(&totals(0, failed, 0), now), since) {
                (true, None) => since = Some(now),
                (false, Some(start)) => {
                    rests.push(now.saturating_sub(start).as_secs());
                    (failed, since) = (failed + 1, None);
                }
                _ => {}
            }
        }
        assert_eq!(rests[..5], [5, 10, 20, 40, 40]);
    }
}
