//! Passive detection: a backend that answers SYNs by nothing or by RST gets no new flows for a while, long before the swarm
//! notices that its node is dead, or a check fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datapath::service::{BackendId, BackendTotals};

use crate::catalog::{BackendEntry, Catalog, Ejection, Rests, ServiceEntry};
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
    /// Before that it does not begin to rest: too few would have been left.
    spared_until: Option<Duration>,
}

impl Watch {
    /// Looks at the counters and says who shall rest now. Who is `lost` cannot be reached.
    pub fn judge(
        &mut self,
        catalog: &Catalog,
        totals: impl Fn(&BackendEntry) -> BackendTotals,
        lost: &BTreeSet<BackendId>,
        now: Duration,
    ) -> Rests {
        let mut seen = BTreeMap::new();
        let mut rests = Rests::default();
        for service in catalog.services() {
            let passive = service.passive();
            if !passive.on {
                continue;
            }
            let mut records = BTreeMap::new();
            for backend in &service.backends {
                let mut record = self.backends.get(&backend.first_id).copied().unwrap_or_default();
                record.look(&passive, &totals(backend), now);
                records.insert(backend.first_id, record);
            }
            settle(service, lost, &mut records, &mut rests, now);
            seen.append(&mut records);
        }
        self.backends = seen;
        rests
    }

    /// Whether nobody needs to be watched, and nobody rests.
    pub fn is_idle(&self, catalog: &Catalog) -> bool {
        self.backends.is_empty() && !catalog.services().iter().any(|service| service.passive().on)
    }
}

/// Has those rest that fail. When too many do, it is hardly the backends: better to try any than to serve nobody.
fn settle(
    service: &ServiceEntry,
    lost: &BTreeSet<BackendId>,
    records: &mut BTreeMap<BackendId, Record>,
    rests: &mut Rests,
    now: Duration,
) {
    let passive = service.passive();
    let fails = |record: &Record| record.is_to_rest(&passive, now);
    let failing: BTreeSet<BackendId> = records.iter().filter(|(_, record)| fails(record)).map(|(id, _)| *id).collect();
    if failing.is_empty() {
        return;
    }
    if left(service, lost, &failing) < usize::from(passive.floor) {
        for record in records.values_mut() {
            record.spare(&passive, now);
        }
        rests.spared.extend(failing);
        return;
    }
    for (id, record) in records.iter_mut().filter(|(id, _)| failing.contains(id)) {
        record.begin_rest(&passive, now);
        rests.resting.insert(*id, record.ejection());
    }
}

/// How many take new flows when these rest.
fn left(service: &ServiceEntry, lost: &BTreeSet<BackendId>, failing: &BTreeSet<BackendId>) -> usize {
    let is_able = |backend: &&BackendEntry| {
        let takes_flows = backend.config.weight > 0 && backend.health.is_up() && !backend.config.sorry;
        takes_flows && !lost.contains(&backend.first_id) && !failing.contains(&backend.first_id)
    };
    service.backends.iter().filter(is_able).count()
}

impl Record {
    /// Takes over the counters.
    fn look(&mut self, passive: &Passive, totals: &BackendTotals, now: Duration) {
        let refused = totals.refused.saturating_sub(self.refused);
        let failures = refused + totals.unanswered.saturating_sub(self.unanswered);
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
            self.end_rest(passive, now);
        }
    }

    /// Whether it rests, or should begin to.
    fn is_to_rest(&self, passive: &Passive, now: Duration) -> bool {
        let is_spared = self.spared_until.is_some_and(|until| now < until);
        self.resting_until.is_some() || (self.failures >= u64::from(passive.failures) && !is_spared)
    }

    fn begin_rest(&mut self, passive: &Passive, now: Duration) {
        if self.resting_until.is_none() {
            self.rest = (2 * self.rest).clamp(passive.ejection, passive.longest());
            self.resting_until = Some(now + self.rest);
        }
    }

    /// The next failure is enough, and joins those before the rest.
    fn end_rest(&mut self, passive: &Passive, now: Duration) {
        let most = u64::from(passive.failures) - 1;
        let refusals = if self.mostly_refused() { most } else { 0 };
        (self.resting_until, self.failures, self.refusals) = (None, most, refusals);
        self.last_failure = now;
    }

    /// It does not rest for a while, whatever happens, as all of its service: else one that fails now and then would have
    /// the others in and out with each look.
    fn spare(&mut self, passive: &Passive, now: Duration) {
        if self.is_to_rest(passive, now) {
            self.end_rest(passive, now);
        }
        self.spared_until = Some(now + passive.ejection);
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
        look_as(&Passive::default(), record, totals, now)
    }

    /// Of one that nothing spares.
    fn look_as(passive: &Passive, record: &mut Record, totals: &BackendTotals, now: Duration) -> bool {
        record.look(passive, totals, now);
        let rests = record.is_to_rest(passive, now);
        if rests {
            record.begin_rest(passive, now);
        }
        rests
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
            match (look_as(passive, &mut record, &totals(0, failed, 0), now), since) {
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
            assert!(look_as(&passive, &mut record, &totals(0, 0, first), at(1)));
            assert!(!look_as(&passive, &mut record, &totals(0, 0, first), at(6)));
            assert!(look_as(&passive, &mut record, &totals(0, 0, first + 1), at(7)));
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
        watch.judge(&catalog, fails, &lost, at(1)).resting.keys().map(place).collect()
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
        let rests = watch.judge(&catalog, fails, &BTreeSet::new(), at(1));
        assert_eq!(catalog.suspend(&rests).len(), 1);
        catalog.grow_older(at(1));
        assert!(catalog.grow_older(at(3)) && catalog.services()[0].backends[1].id != drained);
        let rests = watch.judge(&catalog, fails, &BTreeSet::new(), at(4));
        assert_eq!((catalog.suspend(&rests), rests.resting.len()), (Vec::new(), 1), "not for ever, but not yet");
    }

    /// What is said in so many looks, ten a second, at a dead backend beside one that refuses three connections in a look
    /// and takes others in the next three. And how often the dead one was made to rest.
    fn beside_a_flaky_one(looks: u64, dead: impl Fn(u64) -> u64) -> (Vec<String>, u64) {
        let text = "[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\npassive = true\n\
                    [[service.backend]]\naddress = \"192.0.2.1:80\"\n[[service.backend]]\naddress = \"192.0.2.2:80\"\n";
        let mut catalog = Catalog::from_config(&crate::catalog::config_for_tests(text), 1);
        let mut watch = Watch::default();
        let mut news = Vec::new();
        let (mut answered, mut refused) = (0, 0);
        for look in 0..looks {
            let backends = &catalog.services()[0].backends;
            let first = backends[0].id;
            match look % 4 {
                1 => refused += 3,
                _ => answered += 1,
            }
            let count = |backend: &BackendEntry| {
                if backend.id == first { totals(0, 0, dead(look)) } else { totals(answered, 0, refused) }
            };
            let rests = watch.judge(&catalog, count, &BTreeSet::new(), Duration::from_millis(100 * look));
            news.extend(catalog.suspend(&rests));
        }
        (news, catalog.services()[0].backends[0].ejections)
    }

    #[test]
    fn who_is_let_in_because_too_few_are_left_stays_in() {
        let (news, ejections) = beside_a_flaky_one(50, |_| 9);
        let rests = "backend web/192.0.2.1:80 rests for 5s: 9 connections in a row were refused";
        let back = "backend web/192.0.2.1:80 gets new connections again before its rest is over: too few would be left";
        assert_eq!(news, [rests, back]);
        assert_eq!(ejections, 1);
    }

    #[test]
    fn who_goes_on_failing_rests_again_when_it_has_been_in_for_a_while() {
        let (news, ejections) = beside_a_flaky_one(100, |look| 9 + look);
        assert_eq!(news.len(), 4, "{news:#?}");
        assert!(news[2].starts_with("backend web/192.0.2.1:80 rests for 10s: "), "{news:#?}");
        assert_eq!(ejections, 2);
    }

    #[test]
    fn where_all_fail_nobody_comes_and_goes() {
        let text = "[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\npassive = true\n\
                    [[service.backend]]\naddress = \"192.0.2.1:80\"\n[[service.backend]]\naddress = \"192.0.2.2:80\"\n";
        let mut catalog = Catalog::from_config(&crate::catalog::config_for_tests(text), 1);
        let mut watch = Watch::default();
        for look in 0..1_000 {
            let count = |_: &BackendEntry| totals(0, 0, 9 + look);
            let rests = watch.judge(&catalog, count, &BTreeSet::new(), Duration::from_millis(100 * look));
            assert_eq!(catalog.suspend(&rests), [""; 0], "look {look}");
        }
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
