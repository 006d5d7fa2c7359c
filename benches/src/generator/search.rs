//! The highest rate at which no packet, or hardly any, is lost: binary search after RFC 2544 §26.1, for several accepted
//! losses at once.

use ::tests::Outcome;

use super::report::{Found, SearchReport, Trial};

/// What to look for.
#[derive(Clone, Debug)]
pub struct Search {
    /// Where to begin: the highest rate to try, in packets a second.
    pub highest: f64,
    /// The search ends when the interval is this part of the rate.
    pub resolution: f64,
    /// Losses that are accepted, 0 to 1; each gets its own answer.
    pub accepted: Vec<f64>,
    /// A rate fails only when so many trials in a row did: on a shared machine a single trial says little.
    pub attempts: u32,
}

/// A generator that sends less than this part of what it was asked for is at its own limit.
const ON_TIME: f64 = 0.98;

impl Search {
    /// Runs trials, each at the rate (packets a second) that it is given, until all answers are known.
    ///
    /// # Errors
    /// A trial could not be run.
    pub fn run(&self, mut trial: impl FnMut(f64) -> Outcome<Trial>) -> Outcome<SearchReport> {
        let mut report = SearchReport::default();
        for accepted in &self.accepted {
            let found = self.find(*accepted, &mut report.trials, &mut trial)?;
            report.found.push(found);
        }
        Ok(report)
    }

    fn find(
        &self,
        accepted: f64,
        trials: &mut Vec<Trial>,
        trial: &mut impl FnMut(f64) -> Outcome<Trial>,
    ) -> Outcome<Found> {
        let mut found = Found { accepted, rate: 0.0, limited: false };
        let (mut low, mut high, mut rate) = (0.0, self.highest, self.highest);
        loop {
            let best = self.best_of(rate, accepted, trials, trial)?;
            if best.loss <= accepted {
                found = Found { rate: best.sent, limited: best.sent < rate * ON_TIME, ..found };
                low = rate;
                if found.limited || rate >= self.highest {
                    // Higher cannot be sent.
                    found.limited = true;
                    return Ok(found);
                }
            } else {
                high = rate;
            }
            if high - low <= self.resolution * high {
                return Ok(found);
            }
            rate = f64::midpoint(low, high);
        }
    }

    /// The best of a few trials at this rate; earlier ones, of a search for another loss, count too.
    fn best_of(
        &self,
        rate: f64,
        accepted: f64,
        trials: &mut Vec<Trial>,
        trial: &mut impl FnMut(f64) -> Outcome<Trial>,
    ) -> Outcome<Trial> {
        let same = |known: &&Trial| (known.rate - rate).abs() < rate * 1e-9;
        let done = trials.iter().filter(same).count() as u32;
        for _ in done..self.attempts.max(1) {
            if trials.iter().filter(same).any(|known| known.loss <= accepted) {
                break;
            }
            trials.push(trial(rate)?);
        }
        let best = trials.iter().filter(same).min_by(|a, b| a.loss.total_cmp(&b.loss));
        Ok(best.copied().unwrap_or(Trial { rate, sent: 0.0, loss: 1.0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(accepted: &[f64], attempts: u32) -> Search {
        Search { highest: 1e6, resolution: 0.01, accepted: accepted.to_vec(), attempts }
    }

    /// Loses what is beyond its capacity.
    fn device(capacity: f64) -> impl FnMut(f64) -> Outcome<Trial> {
        move |rate| Ok(Trial { rate, sent: rate, loss: (1.0 - capacity / rate).max(0.0) })
    }

    #[test]
    fn finds_what_a_device_can_bear() {
        for capacity in [1234.0, 100_000.0, 777_777.0] {
            let report = search(&[0.0, 0.1], 1).run(device(capacity)).unwrap();
            let [none, tenth] = report.found[..] else { panic!("two answers") };
            assert!(none.rate <= capacity && none.rate > capacity * 0.97, "{none:?} of {capacity}");
            let most = capacity / 0.9;
            assert!(tenth.rate <= most * 1.0001 && tenth.rate > most * 0.97, "{tenth:?} of {most}");
            assert!(!none.limited && !tenth.limited);
        }
    }

    #[test]
    fn says_when_it_was_the_generator_that_could_do_no_more() {
        let report = search(&[0.0], 1).run(device(1e9)).unwrap();
        assert_eq!((report.found[0].rate, report.found[0].limited, report.trials.len()), (1e6, true, 1));
        let slow = |rate: f64| Ok(Trial { rate, sent: rate.min(5000.0), loss: 0.0 });
        let report = search(&[0.0], 1).run(slow).unwrap();
        assert_eq!((report.found[0].rate, report.found[0].limited), (5000.0, true));
    }

    #[test]
    fn one_stray_loss_does_not_fail_a_rate() {
        let mut count = 0;
        let stray = |rate: f64| {
            count += 1;
            let loss = if count % 2 == 1 || rate > 3e5 { 0.001 } else { 0.0 };
            Ok(Trial { rate, sent: rate, loss })
        };
        let report = search(&[0.0], 2).run(stray).unwrap();
        assert!(report.found[0].rate > 2.9e5 && report.found[0].rate <= 3e5, "{:?}", report.found);
    }

    #[test]
    fn a_dead_device_passes_nothing() {
        let dead = |rate: f64| Ok(Trial { rate, sent: rate, loss: 1.0 });
        assert_eq!(search(&[0.0], 1).run(dead).map(|report| report.found[0].rate).ok(), None.or(Some(0.0)));
    }
}
