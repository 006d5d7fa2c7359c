//! The highest rate at which no packet, or hardly any, is lost: binary search after RFC 2544 §26.1, for several accepted
//! losses at once.

use std::time::Duration;

use ::tests::Outcome;
use sys::clock;

use super::answer::{Bound, Found, SearchReport, Trial, Verdict};
use super::known::{Known, SAME};
use super::run::HOPELESS;

/// How far above what came through in an overload the next trial is made.
const ABOVE: f64 = 1.25;
/// What a trial takes beside sending.
const REST: Duration = Duration::from_secs(2);
/// How much longer a search goes on when nothing has passed yet.
const LATE: Duration = Duration::from_secs(5);
/// By how much the rate is lowered each time that the confirming trial fails, as long as none has passed.
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

/// The lowest rate that does not pass, seen from one that does.
enum High {
    /// There is none.
    None,
    /// It is so near that the answer is known.
    Near(Bound),
    /// There is something between them to try.
    Far(f64),
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
        let mut bounds = Vec::new();
        for (index, accepted) in (1..).zip(&self.accepted) {
            // The first one takes the most: those after it know its trials, and have what it leaves.
            let all = self.accepted.len() as u32;
            let share = |within: Duration| start + within * (all + index) / (2 * all);
            let end = self.within.map(share);
            let confirms = !self.confirm.is_zero();
            let bound = self.find(*accepted, end, &mut done)?;
            bounds.push(if confirms { self.confirm(*accepted, bound, end, &mut done)? } else { bound });
        }
        // Only now: a later trial may have refuted what an earlier answer would have been.
        let mut found: Vec<Found> = Vec::new();
        for (accepted, bound) in self.accepted.iter().zip(bounds) {
            let answer = self.answer(*accepted, bound, &done.trials);
            // Who lost nothing at a rate has not lost more than a little.
            let better = found.iter().rev().find(|known| known.accepted <= *accepted && known.rate > answer.rate);
            let Found { above, bound, .. } = answer;
            found.push(better.cloned().map_or(answer, |better| Found { accepted: *accepted, above, bound, ..better }));
        }
        Ok(SearchReport { seconds: self.trial.as_secs_f64(), trials: done.trials, found, ..SearchReport::default() })
    }

    /// Bisects between what has passed and what has not, in whatever trial that was; tells what ended it.
    fn find(
        &self,
        accepted: f64,
        until: Option<Duration>,
        done: &mut Done<impl FnMut(f64, Duration) -> Outcome<Trial>>,
    ) -> Outcome<Bound> {
        // What is left when there is room for the long trial; a few trials are made even if there never was.
        let (begun, room) = (clock::now(), if self.confirm.is_zero() { Duration::ZERO } else { self.confirm + REST });
        let until = until.map(|until| until.saturating_sub(room).max(begun));
        loop {
            let known = self.known(accepted, &done.trials);
            let low = known.low();
            if low >= self.highest {
                return Ok(Bound::Highest);
            }
            let rate = match self.high(low, None, known) {
                High::None => self.highest,
                High::Near(bound) => return Ok(bound),
                High::Far(high) => next(low, high, done.trials.last()),
            };
            if is_over(until, Duration::ZERO, known) {
                return Ok(Bound::Time);
            }
            while self.known(accepted, &done.trials).at(rate).is_none() {
                let trial = (done.trial)(rate, self.trial)?;
                done.trials.push(trial);
            }
        }
    }

    fn known<'a>(&self, accepted: f64, trials: &'a [Trial]) -> Known<'a> {
        Known { trials, accepted, attempts: self.attempts }
    }

    /// Whether a further trial would tell nothing: the answer is known well enough, or there is hardly anything left to send.
    fn is_narrow(&self, low: f64, high: f64) -> bool {
        let least = (self.highest * self.resolution).max(1.0 / self.trial.as_secs_f64().max(1e-3));
        // What is between them must be a rate of its own.
        high - low <= self.resolution.max(4.0 * SAME) * high || high <= least
    }

    /// One long trial at the rate that was found; when it does not pass, the rate is lowered until one does, and then raised again, half
    /// way to what did not pass, until the answer is known well enough. Tells what ended it.
    fn confirm(
        &self,
        accepted: f64,
        mut bound: Bound,
        until: Option<Duration>,
        done: &mut Done<impl FnMut(f64, Duration) -> Outcome<Trial>>,
    ) -> Outcome<Bound> {
        let known = self.known(accepted, &done.trials);
        let mut rate = known.best().map_or(0.0, Trial::load);
        if rate <= known.confirmed().map_or(0.0, Trial::load) {
            return Ok(bound);
        }
        let mut steps = STEPS_DOWN.into_iter();
        // The lowest rate of a long trial that says nothing of what is tested.
        let mut limited = None;
        loop {
            let trial = Trial { confirms: true, ..(done.trial)(rate, self.confirm)? };
            done.trials.push(trial);
            match trial.verdict(accepted) {
                Verdict::Passed if trial.is_on_time() => {}
                Verdict::Passed => return Ok(Bound::Generator),
                Verdict::Failed => bound = Bound::Tested,
                Verdict::Limited => (bound, limited) = (Bound::Generator, Some(rate)),
            }
            let known = self.known(accepted, &done.trials);
            rate = match known.confirmed().map(Trial::load) {
                Some(low) => match self.high(low, limited, known) {
                    High::None => return Ok(bound),
                    High::Near(bound) => return Ok(bound),
                    High::Far(high) => f64::midpoint(low, high),
                },
                None => match steps.next() {
                    Some(step) => rate * step.min(1.0 - self.resolution),
                    None => return Ok(bound),
                },
            };
            if is_over(until, self.confirm, known) {
                return Ok(Bound::Time);
            }
        }
    }

    /// Where the lowest rate is that does not pass. `limited`: one that the generator was too slow for, beside those of short trials.
    fn high(&self, low: f64, limited: Option<f64>, known: Known) -> High {
        let refuted = known.refuted();
        let high = [refuted, known.limit(low), limited].into_iter().flatten().min_by(f64::total_cmp);
        match high {
            None => High::None,
            // Whoever was at its limit there is the one that bounds the answer.
            Some(high) if self.is_narrow(low, high) => {
                High::Near(if Some(high) == refuted { Bound::Tested } else { Bound::Generator })
            }
            Some(high) => High::Far(high),
        }
    }

    /// The answer that all trials give together. Where no long one has passed, what a short one has shown must do.
    fn answer(&self, accepted: f64, bound: Bound, trials: &[Trial]) -> Found {
        let known = self.known(accepted, trials);
        let mut found = Found { accepted, bound, above: known.refuted(), ..Found::default() };
        match known.confirmed().or(known.best()) {
            Some(best) => (found.asked, found.rate) = (best.rate, best.sent),
            None => found.passed = known.most(),
        }
        if known.confirmed().is_some() {
            found.confirmed = self.confirm.as_secs_f64();
        } else {
            found.unconfirmed = !self.confirm.is_zero();
        }
        found
    }
}

/// Whether there is no time for more that leaves room for so long a trial. An answer of nothing says little: a few more trials, at
/// rates that fall fast, are worth some.
fn is_over(until: Option<Duration>, room: Duration, known: Known) -> bool {
    let late = if known.best().is_some() { Duration::ZERO } else { LATE };
    until.is_some_and(|until| clock::now() + room >= until + late)
}

/// The rate to try next: the middle, or less when what came through shows that this would be in vain.
fn next(low: f64, high: f64, last: Option<&Trial>) -> f64 {
    let middle = f64::midpoint(low, high);
    let Some(last) = last else { return middle };
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
        // Nor one that no two rates are apart by.
        let exact = Search { resolution: 0.0, ..search(&[0.0], 1) }.run(device(4e5)).unwrap();
        assert!((exact.found[0].rate - 4e5).abs() < 0.01 && exact.trials.len() < 40, "{:?}", exact.found);
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
        // Between the first that passes and the last that does not, it goes up again.
        assert!(found.rate <= 4e5 && found.rate > 3.96e5 && found.confirmed > 59.0, "{found:?}");
        assert!(found.bound == Bound::Tested && found.above.is_some_and(|above| above < 4.04e5), "{found:?}");
        assert!(report.trials.iter().filter(|trial| trial.confirms).count() < 8, "{:?}", report.trials);
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

    /// Over `AF_XDP` this was met: short trials pass by luck what a long one and others below have refuted.
    #[test]
    fn no_answer_is_above_what_any_trial_has_refuted() {
        let second = Duration::from_secs(1);
        let mut lucky = 0;
        let device = |rate: f64, time: Duration| {
            let loss = match rate {
                _ if time > second => {
                    if rate < 3e5 {
                        0.0005
                    } else {
                        0.00156
                    }
                }
                ..=312_500.0 => 0.0,
                375_000.0 => {
                    lucky += 1;
                    if lucky > 1 { 0.0008 } else { 0.002 }
                }
                ..=800_000.0 => 0.002,
                _ => 0.065,
            };
            Ok(sent(rate, loss))
        };
        let confirm = Duration::from_secs(3);
        let search = Search { trial: second, resolution: 0.02, confirm, ..search(&[0.0, 0.001], 2) };
        let report = search.run(device).unwrap();
        let [none, little] = &report.found[..] else { panic!("two answers") };
        assert!(little.above.is_some_and(|above| above <= 312_500.0) && little.rate < 312_500.0, "{little:?}");
        assert!(little.confirmed > 2.0 && little.rate > 2.9e5, "{little:?}");
        // No long trial was without loss, at any rate: what short ones have passed is said, and is no answer.
        assert!(
            none.rate <= 0.0 && none.passed >= 312_500.0 && none.above.is_some_and(|above| above < 3e5),
            "{none:?}"
        );
    }

    /// A trial of the second answer may refute the first one.
    #[test]
    fn an_answer_does_not_outlive_its_refutation() {
        let mut long = 0;
        let device = |rate: f64, time: Duration| {
            long += u32::from(time > TRIAL);
            // The long trial of the first answer is the generator's own fault, those of the second one are not.
            let loss = if time > TRIAL || rate > 5e5 { 0.02 } else { 0.0 };
            Ok(Trial { theirs: if time > TRIAL && long <= 7 { 0.0 } else { loss }, ..sent(rate, loss) })
        };
        let search = Search { confirm: TRIAL * 2, ..search(&[0.0, 0.001], 1) };
        let report = search.run(device).unwrap();
        for found in &report.found {
            assert!(found.above.is_some_and(|above| found.rate < above && above < 5e5), "{found:?}");
        }
    }

    /// What passed though the generator fell behind says nothing about lower rates, and what was sent then stands.
    #[test]
    fn a_pass_that_was_late_does_not_end_the_search() {
        let slow = |rate: f64, _| {
            let sent_part = if rate > 340e3 { 0.94 } else { 1.0 };
            let loss = if rate > 375e3 { 0.06 } else { 0.0 };
            Ok(Trial { sent: rate * sent_part, ..sent(rate, loss) })
        };
        let search = search(&[0.0], 2);
        let report = search.run(slow).unwrap();
        let between = |trial: &&Trial| trial.rate > 250e3 && trial.rate < 375e3;
        assert!(report.trials.iter().filter(between).count() > 2, "{:?}", report.trials);
        let found = &report.found[0];
        assert!(found.bound == Bound::Generator && found.rate > 336e3, "{found:?}");
        // The long trial is asked for what was sent, not for what could not be sent.
        let report = Search { confirm: TRIAL * 2, ..search }.run(slow).unwrap();
        let long = report.trials.iter().find(|trial| trial.confirms).unwrap();
        assert!(long.rate < 353e3, "{long:?}");
    }

    #[test]
    fn time_that_ends_the_confirming_is_said_to() {
        let long = Duration::from_mins(1);
        let weak = |rate: f64, time| device(if time == long { 1e4 } else { 4.5e5 })(rate, time);
        let search = Search { confirm: long, within: Some(Duration::from_secs(20)), ..search(&[0.0], 1) };
        let found = search.run(weak).unwrap().found.remove(0);
        assert_eq!((found.bound, found.rate, found.unconfirmed), (Bound::Time, 0.0, true), "{found:?}");
        // Short trials have passed: that is known, and no rate of 0.
        assert!(found.passed > 1e5 && found.doubt().is_some_and(|doubt| doubt.contains("a trial passed")), "{found:?}");
    }
}
