//! Passive detection: a backend that answers SYNs by nothing or by RST gets no new flows for a while, long before the swarm
//! notices that its node is dead, or a check fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datapath::service::{BackendId, BackendTotals};

use crate::catalog::{BackendEntry, Catalog, Ejection, ServiceEntry};
use crate::config::passive::Passive;
use crate::config::value::show_duration;

/// For so long after a rest, one failure is enough for another.
const PROBATION: Duration = Duration::from_hours(1);

/// What is known of each backend's answers.
#[derive(Debug, Default)]
pub struct Watch {
    backends: BTreeMap<BackendId, Record>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Record {
    answered: u64,
    refused: u64,
    unanswered: u64,
    /// In a row, and how many of them were refused.
    failures: u64,
    refusals: u64,
    last_failure: Duration,
    resting_until: Option<Duration>,
    /// The length of the last rest; zero after an answer, or when that was long ago.
    rest: Duration,
}

impl Watch {
    /// Looks at the counters and gives the backends that shall rest now, by their first ids, each with the reason. Who is
    /// `lost` cannot be reached.
    pub fn judge(
        &mut self,
        catalog: &Catalog,
        totals: impl Fn(&BackendEntry) -> BackendTotals,
        lost: &BTreeSet<BackendId>,
        now: Duration,
    ) -> BTreeMap<BackendId, Ejection> {
        let mut seen = BTreeMap::new();
        let mut resting = BTreeMap::new();
        for service in catalog.services() {
            let passive = service.passive();
            if !passive.on {
                continue;
            }
            for backend in &service.backends {
                let mut record = self.backends.get(&backend.first_id).copied().unwrap_or_default();
                if record.look(&passive, &totals(backend), now) {
                    resting.insert(backend.first_id, record.ejection());
                }
                seen.insert(backend.first_id, record);
            }
            spare_the_last(service, passive.floor, lost, &mut resting);
        }
        self.backends = seen;
        resting
    }

    /// Whether nobody needs to be watched, and nobody rests.
    pub fn is_idle(&self, catalog: &Catalog) -> bool {
        self.backends.is_empty() && !catalog.services().iter().any(|service| service.passive().on)
    }
}

/// When too many fail, it is hardly the backends: better to try any than to serve nobody.
fn spare_the_last(
    service: &ServiceEntry,
    floor: u16,
    lost: &BTreeSet<BackendId>,
    resting: &mut BTreeMap<BackendId, Ejection>,
) {
    let is_able = |backend: &&BackendEntry| {
        let takes_flows = backend.config.weight > 0 && backend.health.is_up() && !backend.config.sorry;
        takes_flows && !lost.contains(&backend.first_id) && !resting.contains_key(&backend.first_id)
    };
    let left = service.backends.iter().filter(is_able).count();
    let ids: BTreeSet<BackendId> = service.backends.iter().map(|backend| backend.first_id).collect();
    if left < usize::from(floor) {
        resting.retain(|id, _| !ids.contains(id));
    }
}

impl Record {
    /// Takes over the counters; true: it shall rest.
    fn look(&mut self, passive: &Passive, totals: &BackendTotals, now: Duration) -> bool {
        let refused = totals.refused.saturating_sub(self.refused);
        let failures = refused + totals.unanswered.saturating_sub(self.unanswered);
        let enough = u64::from(passive.failures);
        if totals.answered > self.answered {
            (self.failures, self.refusals) = (0, 0);
            (self.rest, self.resting_until) = (Duration::ZERO, None);
        } else if failures > 0 {
            self.forget_old_ones(passive, now);
            (self.failures, self.refusals) = (self.failures + failures, self.refusals + refused);
            self.last_failure = now;
        }
        (self.answered, self.refused, self.unanswered) = (totals.answered, totals.refused, totals.unanswered);
        if self.resting_until.is_some_and(|until| now >= until) {
            // The next failure is enough, and joins those before the rest.
            let refusals = if self.mostly_refused() { enough - 1 } else { 0 };
            (self.resting_until, self.failures, self.refusals) = (None, enough - 1, refusals);
            self.last_failure = now;
        }
        if self.failures >= enough && self.resting_until.is_none() {
            self.rest = (2 * self.rest).clamp(passive.ejection, passive.longest());
            self.resting_until = Some(now + self.rest);
        }
        self.resting_until.is_some()
    }

    /// Failures that are too far back count no more. After a rest that takes longer: were it `window`, a backend that seldom
    /// gets a connection would rest no more until it has failed as often as at first.
    fn forget_old_ones(&mut self, passive: &Passive, now: Duration) {
        let patience = if self.rest.is_zero() { passive.window } else { PROBATION };
        if self.resting_until.is_none() && now.saturating_sub(self.last_failure) > patience {
            (self.failures, self.refusals, self.rest) = (0, 0, Duration::ZERO);
        }
    }

    fn mostly_refused(&self) -> bool {
        self.refusals * 2 > self.failures
    }

    fn ejection(&self) -> Ejection {
        let what = if self.mostly_refused() { "refused" } else { "not answered" };
        let reason = format!("{} connections in a row were {what}", self.failures);
        Ejection { reason, rest: show_duration(self.rest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    fn totals(answered: u64, unanswered: u64, refused: u64) -> BackendTotals {
        BackendTotals { answered, unanswered, refused, ..BackendTotals::default() }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn look(record: &mut Record, totals: &BackendTotals, now: Duration) -> bool {
        record.look(&Passive::default(), totals, now)
    }

    #[test]
    fn three_in_a_row_are_enough_and_an_answer_forgives() {
        let mut record = Record::default();
        assert!(!look(&mut record, &totals(0, 2, 0), at(1)));
        assert!(!look(&mut record, &totals(1, 2, 0), at(2)));
        assert!(!look(&mut record, &totals(1, 3, 1), at(3)));
        assert!(look(&mut record, &totals(1, 3, 2), at(4)));
        assert_eq!(record.ejection().reason, "3 connections in a row were refused");
        // An answer to what was sent before it was known.
        assert!(!look(&mut record, &totals(2, 3, 2), at(5)));
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let mut record = Record::default();
        for round in 0..10 {
            assert!(!look(&mut record, &totals(0, round, 0), at(11 * round)));
        }
    }

    fn rests(passive: &Passive) -> Vec<u64> {
        let mut record = Record::default();
        let mut rests = Vec::new();
        let (mut failed, mut since) = (u64::from(passive.failures), None);
        for tick in 0..2_000_u64 {
            let now = Duration::from_millis(100 * tick);
            match (record.look(passive, &totals(0, failed, 0), now), since) {
                (true, None) => since = Some(now),
                (false, Some(start)) => {
                    rests.push(now.saturating_sub(start).as_secs());
                    (failed, since) = (failed + 1, None);
                }
                _ => {}
            }
        }
        rests
    }

    #[test]
    fn rests_grow_while_it_fails_again_at_once() {
        assert_eq!(rests(&Passive::default())[..5], [5, 10, 20, 40, 40]);
        let own = Passive { failures: 1, ejection: at(2), ..Passive::default() };
        assert_eq!(rests(&own)[..5], [2, 4, 8, 16, 16]);
    }

    /// Who has rested, until `at(6)`.
    fn rested() -> Record {
        let mut record = Record::default();
        assert!(look(&mut record, &totals(0, 3, 0), at(1)));
        assert!(!look(&mut record, &totals(0, 3, 0), at(6)));
        record
    }

    #[test]
    fn who_refuses_again_after_a_rest_is_not_said_to_be_silent() {
        for enough in 1..=4 {
            let passive = Passive { failures: enough, ..Passive::default() };
            let first = u64::from(enough);
            let mut record = Record::default();
            assert!(record.look(&passive, &totals(0, 0, first), at(1)));
            assert!(!record.look(&passive, &totals(0, 0, first), at(6)));
            assert!(record.look(&passive, &totals(0, 0, first + 1), at(7)));
            assert_eq!(record.ejection().reason, format!("{enough} connections in a row were refused"));
        }
        let mut record = rested();
        assert!(look(&mut record, &totals(0, 4, 0), at(7)));
        assert_eq!(record.ejection().reason, "3 connections in a row were not answered");
    }

    #[test]
    fn after_a_rest_the_next_failure_is_enough_whenever_it_comes_within_the_hour() {
        for seconds in [7, 17, 3_606] {
            let mut record = rested();
            assert!(look(&mut record, &totals(0, 4, 0), at(seconds)), "{seconds}");
            assert_eq!(record.ejection().rest, "10s");
        }
        let mut record = rested();
        assert!(!look(&mut record, &totals(0, 4, 0), at(3_607)), "that was long ago");
        assert!(!look(&mut record, &totals(0, 5, 0), at(3_608)));
        assert!(look(&mut record, &totals(0, 6, 0), at(3_609)));
        assert_eq!(record.ejection().rest, "5s", "as at first");
        let mut record = rested();
        assert!(!look(&mut record, &totals(1, 3, 0), at(100)));
        assert!(!look(&mut record, &totals(1, 4, 0), at(200)), "an answer makes all good");
    }

    /// Four backends of which those with these numbers refuse; who rests, by number.
    fn who_rests(passive: &str, failing: &[usize]) -> Vec<usize> {
        who_rests_where(&[], passive, failing)
    }

    /// The same where some cannot be reached.
    fn who_rests_where(lost: &[usize], passive: &str, failing: &[usize]) -> Vec<usize> {
        let backend = |n| format!("[[service.backend]]\naddress = \"192.0.2.{n}:80\"\n");
        let backends: String = (1..=4).map(backend).collect();
        let text = format!("[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\n{passive}\n{backends}");
        let catalog = Catalog::from_config(&crate::catalog::config_for_tests(&text), 1);
        let ids: Vec<BackendId> = catalog.services()[0].backends.iter().map(|backend| backend.id).collect();
        let place = |id: &BackendId| ids.iter().position(|known| known == id).unwrap();
        let fails = |backend: &BackendEntry| totals(0, 0, if failing.contains(&place(&backend.id)) { 9 } else { 0 });
        let mut watch = Watch::default();
        let lost = lost.iter().map(|at| ids[*at]).collect();
        watch.judge(&catalog, fails, &lost, at(1)).keys().map(place).collect()
    }

    #[test]
    fn who_cannot_be_reached_is_none_of_those_that_must_be_left() {
        assert_eq!(who_rests_where(&[0], "passive = true", &[1, 2, 3]), [0; 0]);
        assert_eq!(who_rests_where(&[0], "passive = true", &[1, 2]), [1, 2]);
        assert_eq!(who_rests_where(&[0, 3], "[service.passive]\nfloor = 2", &[1]), [0; 0]);
    }

    #[test]
    fn who_rests_goes_on_resting_when_its_flows_are_ended() {
        let text = "[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\npassive = true\ndrain_deadline = \"1s\"\n\
                    [[service.backend]]\naddress = \"192.0.2.1:80\"\n[[service.backend]]\naddress = \"192.0.2.2:80\"\n\
                    weight = 0\n[[service.backend]]\naddress = \"192.0.2.3:80\"\n";
        let mut catalog = Catalog::from_config(&crate::catalog::config_for_tests(text), 1);
        let drained = catalog.services()[0].backends[1].id;
        let fails = |backend: &BackendEntry| totals(0, 0, if backend.first_id == drained { 9 } else { 0 });
        let mut watch = Watch::default();
        let resting = watch.judge(&catalog, fails, &BTreeSet::new(), at(1));
        assert_eq!(catalog.suspend(&resting).len(), 1);
        catalog.grow_older(at(1));
        assert!(catalog.grow_older(at(3)) && catalog.services()[0].backends[1].id != drained);
        let resting = watch.judge(&catalog, fails, &BTreeSet::new(), at(4));
        assert_eq!((catalog.suspend(&resting), resting.len()), (Vec::new(), 1), "not for ever, but not yet");
    }

    #[test]
    fn a_file_says_whether_its_backends_are_watched_and_how_many_must_be_left() {
        assert_eq!(who_rests("", &[0]), [0; 0], "off unless asked for");
        assert_eq!(who_rests("passive = false", &[0]), [0; 0]);
        assert_eq!(who_rests("passive = true", &[0, 2]), [0, 2]);
        assert_eq!(who_rests("passive = true", &[0, 1, 2]), [0, 1, 2]);
        assert_eq!(who_rests("passive = true", &[0, 1, 2, 3]), [0; 0], "it is hardly the backends");
        assert_eq!(who_rests("[service.passive]\nfloor = 3", &[1]), [1]);
        assert_eq!(who_rests("[service.passive]\nfloor = 3", &[1, 2]), [0; 0]);
        assert_eq!(who_rests("[service.passive]\nfloor = 0", &[0, 1, 2, 3]), [0, 1, 2, 3]);
        assert_eq!(who_rests("[service.passive]\nfailures = 10", &[0]), [0; 0]);
    }
}
