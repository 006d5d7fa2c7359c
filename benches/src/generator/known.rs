//! What the trials of a search say together, whichever answer they were made for: nobody may be said to bear a rate at which, or
//! below which, any of them has shown that he does not.

use super::answer::{Trial, Verdict};
use super::run::HOPELESS;

/// Rates that differ by less than this part are the same.
pub const SAME: f64 = 1e-9;

/// All trials so far, read for one accepted loss.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// In the order in which they were made.
    pub trials: &'a [Trial],
    /// How much may be lost, 0 to 1.
    pub accepted: f64,
    /// A rate fails only when so many short trials did.
    pub attempts: u32,
}

impl<'a> Known<'a> {
    /// What the trials at this rate say; None when more are needed.
    #[must_use]
    pub fn at(&self, rate: f64) -> Option<Verdict> {
        let here = || self.trials.iter().filter(|trial| (trial.rate - rate).abs() <= rate * SAME);
        let short = || here().filter(|trial| !trial.confirms);
        let failed = |trial: &Trial| trial.verdict(self.accepted) == Verdict::Failed;
        // No stray pause of a machine does that: it needs no second trial.
        let hopeless = |trial: &Trial| trial.loss >= HOPELESS.max(2.0 * self.accepted);
        if here().any(|trial| failed(trial) && (trial.confirms || hopeless(trial))) {
            return Some(Verdict::Failed);
        }
        if here().any(|trial| self.passed(trial) && trial.is_on_time()) {
            return Some(Verdict::Passed);
        }
        if short().count() < self.attempts.max(1) as usize && !short().any(hopeless) {
            return None;
        }
        // That the generator was at fault once does not undo that what is tested has failed; that nothing was lost when less was
        // sent than was asked for leaves it open who could do no more.
        let late = short().any(|trial| self.passed(trial));
        Some(if short().any(failed) && !late { Verdict::Failed } else { Verdict::Limited })
    }

    /// The lowest rate that what is tested does not bear.
    #[must_use]
    pub fn refuted(&self) -> Option<f64> {
        self.rates(Verdict::Failed).min_by(f64::total_cmp)
    }

    /// The highest rate that was sent in time and has passed, below what is refuted; 0: none has.
    #[must_use]
    pub fn low(&self) -> f64 {
        let refuted = self.refuted();
        self.rates(Verdict::Passed).filter(|rate| is_below(*rate, refuted)).fold(0.0, f64::max)
    }

    /// The lowest rate above this one that is more than the generator can do.
    #[must_use]
    pub fn limit(&self, above: f64) -> Option<f64> {
        self.rates(Verdict::Limited).filter(|rate| *rate > above).min_by(f64::total_cmp)
    }

    /// The trial that has passed with the most, below what is refuted.
    #[must_use]
    pub fn best(&self) -> Option<&'a Trial> {
        self.best_of(|_| true)
    }

    /// The same of long trials only.
    #[must_use]
    pub fn confirmed(&self) -> Option<&'a Trial> {
        self.best_of(|trial| trial.confirms)
    }

    /// The most that any trial has passed with, refuted or not.
    #[must_use]
    pub fn most(&self) -> f64 {
        self.trials.iter().filter(|trial| self.passed(trial)).map(Trial::load).fold(0.0, f64::max)
    }

    fn best_of(&self, wanted: fn(&Trial) -> bool) -> Option<&'a Trial> {
        let refuted = self.refuted();
        let good = |trial: &&Trial| wanted(trial) && self.passed(trial) && is_below(trial.load(), refuted);
        self.trials.iter().filter(good).max_by(|a, b| a.load().total_cmp(&b.load()))
    }

    fn passed(&self, trial: &Trial) -> bool {
        trial.verdict(self.accepted) == Verdict::Passed
    }

    fn rates(&self, verdict: Verdict) -> impl Iterator<Item = f64> {
        self.trials.iter().map(|trial| trial.rate).filter(move |rate| self.at(*rate) == Some(verdict))
    }
}

fn is_below(rate: f64, refuted: Option<f64>) -> bool {
    refuted.is_none_or(|refuted| rate < refuted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(rate: f64, loss: f64) -> Trial {
        Trial { rate, sent: rate - 1.0, loss, theirs: loss, ..Trial::default() }
    }

    fn long(rate: f64, loss: f64) -> Trial {
        Trial { confirms: true, ..short(rate, loss) }
    }

    fn known(trials: &[Trial], accepted: f64) -> Known<'_> {
        Known { trials, accepted, attempts: 2 }
    }

    /// What two searches over `AF_XDP` have really met: the lowest failure counts, whichever search it was of.
    #[test]
    fn the_lowest_failure_of_any_trial_refutes() {
        let trials = [
            short(250e3, 0.0),
            short(312.5e3, 0.0),
            long(312.5e3, 0.00156),
            short(320e3, 0.0018),
            short(320e3, 0.0028),
            short(375e3, 0.0020),
            short(375e3, 0.0008),
            long(375e3, 0.0033),
            short(1e6, 0.065),
        ];
        let one = known(&trials, 0.001);
        assert_eq!((one.refuted(), one.best().map(|trial| trial.rate)), (Some(312.5e3), Some(250e3)));
        // Before the long one at 312,500 it was the two short ones at 320,000; one that passed higher up does not undo them.
        let before: Vec<_> = trials.iter().filter(|trial| !trial.confirms).copied().collect();
        let one = known(&before, 0.001);
        assert_eq!((one.refuted(), one.best().map(|trial| trial.rate)), (Some(320e3), Some(312.5e3)));
        assert_eq!((one.at(320e3), one.at(375e3)), (Some(Verdict::Failed), Some(Verdict::Passed)));
        let trials = [short(250e3, 0.0), long(218e3, 0.0002), long(272e3, 0.00009), long(320e3, 0.08)];
        let (none, little) = (known(&trials, 0.0), known(&trials, 0.001));
        assert_eq!((none.refuted(), none.best(), none.most()), (Some(218e3), None, 250e3));
        assert_eq!(little.refuted(), Some(320e3));
        assert!(little.best().is_some_and(|trial| trial.confirms && trial.rate > 270e3));
    }

    #[test]
    fn one_short_failure_refutes_nothing_unless_it_is_hopeless() {
        assert_eq!(known(&[short(1e5, 0.01)], 0.0).at(1e5), None);
        assert_eq!(known(&[short(1e5, 0.01), short(1e5, 0.0)], 0.0).refuted(), None);
        assert_eq!(known(&[short(1e5, 0.06)], 0.0).refuted(), Some(1e5));
        assert_eq!(known(&[short(1e5, 0.06), short(1e5, 0.0)], 0.0).refuted(), Some(1e5));
        assert_eq!(known(&[short(1e5, 0.06)], 0.05).at(1e5), None);
        // The generator's own loss, however great or long, refutes nothing.
        let own = |trial| Trial { theirs: 0.0, ..trial };
        let trials = [own(short(1e5, 0.06)), own(long(1e5, 0.06))];
        assert_eq!((known(&trials, 0.0).refuted(), known(&trials, 0.0).limit(0.0)), (None, Some(1e5)));
    }

    /// A rate that was asked for and not sent has not passed; what was sent has.
    #[test]
    fn what_was_late_counts_as_what_was_sent() {
        let late = |rate: f64, sent: f64| Trial { sent, ..short(rate, 0.0) };
        let mut trials = vec![short(250e3, 0.0), late(375e3, 350e3), late(375e3, 352e3)];
        let now = known(&trials, 0.0);
        assert_eq!((now.low(), now.limit(250e3), now.refuted()), (250e3, Some(375e3), None));
        assert_eq!(now.best().map(|trial| trial.sent), Some(352e3));
        let luck = [short(375e3, 0.01), late(375e3, 352e3)];
        assert_eq!(known(&luck, 0.0).at(375e3), Some(Verdict::Limited));
        trials.push(long(351e3, 0.01));
        assert_eq!(known(&trials, 0.0).best().map(|trial| trial.sent), Some(350e3));
    }
}
