//! The highest rate at which no packet, or hardly any, is lost: binary search after RFC 2544 §26.1, for several accepted
//! losses at once.

use std::time::Duration;

use ::tests::Outcome;
use sys::clock;

use super::answer::{Bound, Found, SearchReport, Trial, Verdict};
use super::run::HOPELESS;

/// How far above what came through in an overload the next trial is made.
const ABOVE: f64 = 1.25;
/// What a trial takes beside sending.
const REST: Duration = Duration::from_secs(2);
/// How much longer a search goes on when nothing has passed yet.
const LATE: Duration = Duration::from_secs(5);
/// By how much the rate is lowered each time that the confirming trial fails.
const STEPS_DOWN: [f64; 6] = [0.95, 0.9, 0.85, 0.8, 0.7, 0.5];

/// What to look for.
#[derive(Clone, Debug)]
pub struct Search {
    /// Where to begin: the highest rate to try, a second.
    pub highest: f64,
    /// The search ends when the interval is this part of the rate.
    pub resolution: f64,
    /// Losses that are accepted, 0 to 1; each gets its own answer.
    pub accepted: Vec<f64>,
    /// A rate fails only when so many trials in a row did: on a shared machine a single trial says little.
    pub attempts: u32,
    /// How long a trial sends.
    pub trial: Duration,
    /// How long the trial sends that confirms an answer. Zero: there is none.
    pub confirm: Duration,
    /// The search for all answers ends after about so long, known and confirmed or not.
    pub within: Option<Duration>,
}

/// The trials of a search so far.
struct Done<F> {
    trials: Vec<Trial>,
    trial: F,
}

impl Search {
    /// Runs trials, each at the rate and for the time that it is given, until all answers are known.
    ///
    /// # Errors
    /// A trial could not be run.
    pub fn run(&self, trial: impl FnMut(f64, Duration) -> Outcome<Trial>) -> Outcome<SearchReport> {
        let mut done = Done { trials: Vec::new(), trial };
        let start = clock::now();
        let mut answers: Vec<Found> = Vec::new();
        for (index, accepted) in (1..).zip(&self.accepted) {
            // The first one takes the most: those after it know its trials, and have what it leaves.
            let all = self.accepted.len() as u32;
            let share = |within: Duration| start + within * (all + index) / (2 * all);
            let end = self.within.map(share);
            let room = if self.confirm.is_zero() { Duration::ZERO } else { self.confirm + REST };
            let found = self.find(*accepted, end.map(|end| end.saturating_sub(room)), &mut done)?;
            let found = if self.confirm.is_zero() { found } else { self.confirm(found, end, &mut done)? };
            // Who lost nothing at a rate has not lost more than a little.
            let as_good = |known: &Found| known.rate > found.rate || found.unconfirmed && known.rate >= found.rate;
            let better = |known: &&Found| known.accepted <= *accepted && as_good(known);
            let better = answers.iter().rev().find(better).cloned();
            answers.push(better.map_or(found, |better| Found { accepted: *accepted, ..better }));
        }
        let seconds = self.trial.as_secs_f64();
        Ok(SearchReport { seconds, trials: done.trials, found: answers, ..SearchReport::default() })
    }

    fn find(
        &self,
        accepted: f64,
        until: Option<Duration>,
        done: &mut Done<impl FnMut(f64, Duration) -> Outcome<Trial>>,
    ) -> Outcome<Found> {
        let mut found = Found { accepted, ..Found::default() };
        let (mut low, mut high, mut rate) = (0.0, self.highest, self.highest);
        loop {
            let best = self.best_of(rate, accepted, done)?;
            let verdict = best.verdict(accepted);
            if verdict == Verdict::Passed {
                (found.asked, found.rate) = (rate, best.sent);
                low = rate;
                if !best.is_on_time() {
                    return Ok(Found { bound: Bound::Generator, above: None, ..found });
                }
                if rate >= self.highest {
                    return Ok(Found { bound: Bound::Highest, ..found });
                }
            } else {
                high = rate;
                // Whoever was at its limit at the lowest rate that does not pass is the one that bounds the answer.
                let bound = if verdict == Verdict::Failed { Bound::Tested } else { Bound::Generator };
                (found.bound, found.above) = (bound, Some(rate));
            }
            if self.is_narrow(low, high) {
                return Ok(found);
            }
            // An answer of nothing says little: a few more trials, at rates that fall fast, are worth some time.
            let late = if low > 0.0 { Duration::ZERO } else { LATE };
            if until.is_some_and(|until| clock::now() >= until + late) {
                return Ok(Found { bound: Bound::Time, ..found });
            }
            rate = next(low, high, &best);
        }
    }

    /// Whether a further trial would tell nothing: the answer is known well enough, or there is hardly anything left to send.
    fn is_narrow(&self, low: f64, high: f64) -> bool {
        let least = (self.highest * self.resolution).max(1.0 / self.trial.as_secs_f64().max(1e-3));
        high - low <= self.resolution * high || high <= least
    }

    /// The best of a few trials at this rate; earlier ones, of a search for another loss, count too.
    fn best_of(
        &self,
        rate: f64,
        accepted: f64,
        done: &mut Done<impl FnMut(f64, Duration) -> Outcome<Trial>>,
    ) -> Outcome<Trial> {
        let same = |known: &&Trial| !known.confirms && (known.rate - rate).abs() < rate * 1e-9;
        let enough = |trials: &[Trial]| {
            let passed = |trial: &Trial| trial.loss <= accepted && trial.is_on_time();
            // No stray pause of a machine does that: it needs no second trial.
            let hopeless = |trial: &Trial| trial.loss >= HOPELESS.max(2.0 * accepted);
            trials.iter().filter(same).any(|known| passed(known) || hopeless(known))
        };
        let count = done.trials.iter().filter(same).count() as u32;
        for _ in count..self.attempts.max(1) {
            if enough(&done.trials) {
                break;
            }
            let trial = (done.trial)(rate, self.trial)?;
            done.trials.push(trial);
        }
        let order = |trial: &&Trial| match trial.verdict(accepted) {
            Verdict::Passed if trial.is_on_time() => 0,
            Verdict::Passed => 1,
            // That somebody else was at fault once does not undo that what is tested has failed.
            Verdict::Failed => 2,
            Verdict::Limited => 3,
        };
        let best = done.trials.iter().filter(same).min_by_key(order);
        Ok(best.copied().unwrap_or(Trial { rate, loss: 1.0, theirs: 1.0, ..Trial::default() }))
    }

    /// One long trial at the rate that was found; when it does not pass, the rate is lowered, and so on.
    fn confirm(
        &self,
        mut found: Found,
        until: Option<Duration>,
        done: &mut Done<impl FnMut(f64, Duration) -> Outcome<Trial>>,
    ) -> Outcome<Found> {
        let accepted = found.accepted;
        for step in STEPS_DOWN {
            let known = highest_passed(&done.trials, found.asked, accepted).is_some();
            // As in the search itself: an answer of nothing says little.
            let until = until.map(|until| if known { until } else { until + LATE });
            let first = step >= STEPS_DOWN[0];
            if found.asked <= 0.0 || !first && until.is_some_and(|until| clock::now() + self.confirm > until) {
                break;
            }
            let trial = Trial { confirms: true, ..(done.trial)(found.asked, self.confirm)? };
            done.trials.push(trial);
            let verdict = trial.verdict(accepted);
            if verdict == Verdict::Passed {
                return Ok(Found { rate: trial.sent, confirmed: self.confirm.as_secs_f64(), ..found });
            }
            let bound = if verdict == Verdict::Failed { Bound::Tested } else { Bound::Generator };
            let lower = found.asked * step.min(1.0 - self.resolution);
            found = Found { above: Some(found.asked), asked: lower, rate: lower, bound, ..found };
        }
        // Nothing was confirmed: what a short trial has shown must do, below what a long one has refuted.
        let best = highest_passed(&done.trials, found.asked, accepted);
        let (asked, rate) = best.map_or((0.0, 0.0), |trial| (trial.rate, trial.sent));
        Ok(Found { asked, rate, unconfirmed: true, ..found })
    }
}

/// The trial at the highest rate, up to this one, that has passed.
fn highest_passed(trials: &[Trial], most: f64, accepted: f64) -> Option<&Trial> {
    let passed = |trial: &&Trial| trial.rate <= most && trial.verdict(accepted) == Verdict::Passed;
    trials.iter().filter(passed).max_by(|a, b| a.rate.total_cmp(&b.rate))
}

/// The rate to try next: the middle, or less when what came through shows that this would be in vain.
fn next(low: f64, high: f64, last: &Trial) -> f64 {
    let middle = f64::midpoint(low, high);
    let through = last.sent * (1.0 - last.loss);
    let near = through * ABOVE;
    if last.loss >= HOPELESS && near > low && near < middle { near } else { middle }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIAL: Duration = Duration::from_secs(2);

    fn search(accepted: &[f64], attempts: u32) -> Search {
        let accepted = accepted.to_vec();
        let confirm = Duration::ZERO;
        Search { highest: 1e6, resolution: 0.01, accepted, attempts, trial: TRIAL, confirm, within: None }
    }

    fn sent(rate: f64, loss: f64) -> Trial {
        Trial { rate, sent: rate, loss, theirs: loss, ..Trial::default() }
    }

    /// Loses what is beyond its capacity.
    fn device(capacity: f64) -> impl FnMut(f64, Duration) -> Outcome<Trial> {
        move |rate, _| Ok(sent(rate, (1.0 - capacity / rate).max(0.0)))
    }

    #[test]
    fn finds_what_a_device_can_bear() {
        for capacity in [123_456.0, 500_000.0, 777_777.0] {
            let report = search(&[0.0, 0.1], 1).run(device(capacity)).unwrap();
            let [none, tenth] = &report.found[..] else { panic!("two answers") };
            assert!(none.rate <= capacity && none.rate > capacity * 0.97, "{none:?} of {capacity}");
            let most = capacity / 0.9;
            assert!(tenth.rate <= most * 1.0001 && tenth.rate > most * 0.97, "{tenth:?} of {most}");
            assert!(none.bound == Bound::Tested && tenth.bound == Bound::Tested);
            assert!(none.above.is_some_and(|above| above > capacity));
        }
    }

    #[test]
    fn says_who_could_do_no_more() {
        let report = search(&[0.0], 1).run(device(1e9)).unwrap();
        let found = &report.found[0];
        assert_eq!((found.rate, found.bound, report.trials.len()), (1e6, Bound::Highest, 1));
        let slow = |rate: f64, _| Ok(Trial { sent: rate.min(5000.0), ..sent(rate, 0.0) });
        let report = search(&[0.0], 1).run(slow).unwrap();
        assert_eq!((report.found[0].rate, report.found[0].bound), (5000.0, Bound::Generator));
    }

    /// What the generator's own rings drop above 300,000 a second is not held against what is tested.
    #[test]
    fn losses_of_the_generator_bound_the_answer_and_fail_nobody() {
        let own = |rate: f64, _| {
            let loss = (1.0 - 3e5 / rate).max(0.0);
            Ok(Trial { theirs: 0.0, own: (loss * rate) as u64, ..sent(rate, loss) })
        };
        let report = search(&[0.0], 2).run(own).unwrap();
        let found = &report.found[0];
        assert!(found.rate > 2.9e5 && found.rate <= 3e5 && found.bound == Bound::Generator, "{found:?}");
        // It fails below that by itself.
        let both = |rate: f64, _| {
            let (loss, theirs) = ((1.0 - 2e5 / rate).max(0.0), (3e5_f64.min(rate) - 2e5).max(0.0) / rate);
            Ok(Trial { theirs, ..sent(rate, loss) })
        };
        let report = search(&[0.0], 2).run(both).unwrap();
        let found = &report.found[0];
        assert!(found.rate > 1.9e5 && found.rate <= 2e5 && found.bound == Bound::Tested, "{found:?}");
    }

    #[test]
    fn one_stray_loss_does_not_fail_a_rate() {
        let mut count = 0;
        let stray = |rate: f64, _| {
            count += 1;
            Ok(sent(rate, if count % 2 == 1 || rate > 3e5 { 0.001 } else { 0.0 }))
        };
        let report = search(&[0.0], 2).run(stray).unwrap();
        assert!(report.found[0].rate > 2.9e5 && report.found[0].rate <= 3e5, "{:?}", report.found);
    }

    /// Whatever is lost, and however little at any rate: a search comes to an end.
    #[test]
    fn a_device_that_always_loses_passes_nothing_after_a_few_trials() {
        for loss in [1.0, 0.01, 1e-6] {
            let report = search(&[0.0], 2).run(|rate, _| Ok(sent(rate, loss))).unwrap();
            assert_eq!((report.found[0].rate, report.found[0].bound), (0.0, Bound::Tested));
            assert!(report.trials.len() <= 16, "{} trials", report.trials.len());
        }
        // An overload tells what to try next: half of the steps between a hundredth and all are left out.
        let report = search(&[0.0], 1).run(device(1e4)).unwrap();
        assert!(report.found[0].rate > 9e3 && report.trials.len() <= 10, "{} trials", report.trials.len());
        // Nor does a resolution finer than a packet a trial keep it going.
        let fine = Search { highest: 100.0, resolution: 1e-9, ..search(&[0.0], 1) };
        let report = fine.run(|rate, _| Ok(sent(rate, 1.0))).unwrap();
        assert!(report.trials.len() < 12, "{} trials", report.trials.len());
        let report = Search { within: Some(Duration::ZERO), ..search(&[0.0, 0.1], 1) }.run(device(1.5e5)).unwrap();
        let early = |found: &Found| found.bound == Bound::Time && found.rate > 0.0;
        assert!(report.found.iter().all(early) && report.trials.len() <= 6, "{report:?}");
    }

    #[test]
    fn an_answer_that_is_not_confirmed_is_lowered() {
        let long = Duration::from_mins(1);
        let search = Search { confirm: long, ..search(&[0.0], 1) };
        // What it bears for two seconds it does not bear for sixty.
        let tires = |rate: f64, time| device(if time == long { 4e5 } else { 4.5e5 })(rate, time);
        let report = search.run(tires).unwrap();
        let found = &report.found[0];
        assert!(found.rate <= 4e5 && found.rate > 3.7e5 && found.confirmed > 59.0, "{found:?}");
        assert!(report.trials.iter().filter(|trial| trial.confirms).count() > 1);
        // It bears nothing for sixty: what short trials have shown is given as such.
        let weak = |rate: f64, time| device(if time == long { 1e4 } else { 4.5e5 })(rate, time);
        let found = search.run(weak).unwrap().found.remove(0);
        assert!(found.unconfirmed && found.rate < 4e5 && found.confirmed < 1.0, "{found:?}");
        // A second answer is never below the first, whatever luck its own trials had.
        let mut trials = 0;
        let moody = |rate: f64, time| {
            trials += 1;
            device(if trials > 12 { 1e4 } else { 4e5 })(rate, time)
        };
        let report = Search { accepted: vec![0.0, 0.001], ..search.clone() }.run(moody).unwrap();
        assert!(report.found[1].rate >= report.found[0].rate && report.found[0].rate > 1e5, "{:?}", report.found);
    }
}
