//! When to send: an open loop, which does not wait for what is tested.

use std::time::Duration;

/// Arrears that are made up for; what is older was missed and is counted as such, so that a pause of the generator does not end
/// in a flood.
const ARREARS: Duration = Duration::from_millis(10);
/// Packets of one stream that are sent before the next stream has its turn.
const TURN: u64 = 64;

/// The timetable of one stream.
#[derive(Debug)]
pub struct Pace {
    per_second: f64,
    burst: u64,
    start: Duration,
    issued: u64,
    missed: u64,
}

impl Pace {
    /// `per_second` on average, in groups of `burst`, from `start` on.
    #[must_use]
    pub fn new(per_second: f64, burst: u64, start: Duration) -> Pace {
        Pace { per_second, burst: burst.max(1), start, issued: 0, missed: 0 }
    }

    /// How many to send now. Whoever asks sends them.
    pub fn due(&mut self, now: Duration) -> u64 {
        let planned = (now.saturating_sub(self.start).as_secs_f64() * self.per_second) as u64;
        let mut owed = planned.saturating_sub(self.issued + self.missed);
        let most = ((self.per_second * ARREARS.as_secs_f64()) as u64).max(self.burst).max(TURN);
        if owed > most {
            self.missed += owed - most;
            owed = most;
        }
        let now = owed.min(TURN.max(self.burst)) / self.burst * self.burst;
        self.issued += now;
        now
    }

    /// So many of those due could not be sent after all.
    pub fn fail(&mut self, count: u64) {
        self.issued -= count.min(self.issued);
        self.missed += count;
    }

    /// What the timetable had and the generator did not send: it was too slow, or out of frames or connections.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn keeps_the_rate_over_any_steps() {
        for step_us in [1, 7, 333, 5000] {
            let mut pace = Pace::new(10_000.0, 1, MS);
            let steps = 1_000_000 / step_us;
            let sent: u64 = (0..=steps).map(|n| pace.due(MS + Duration::from_micros(step_us * n))).sum();
            assert!((9_990..=10_000).contains(&sent), "{sent} in steps of {step_us} µs");
            assert_eq!(pace.missed(), 0);
        }
    }

    #[test]
    fn groups_stay_together() {
        let mut pace = Pace::new(1000.0, 32, Duration::ZERO);
        assert!((0..1000).all(|n| pace.due(MS * n).is_multiple_of(32)));
        let mut pace = Pace::new(1000.0, 100, Duration::ZERO);
        assert_eq!(pace.due(MS * 99), 0);
        assert_eq!(pace.due(MS * 100), 100);
    }

    #[test]
    fn a_long_pause_is_missed_and_not_made_up_for() {
        let mut pace = Pace::new(100_000.0, 1, Duration::ZERO);
        let sent: u64 = (0..100).map(|_| pace.due(MS * 1000)).sum();
        assert_eq!((sent, pace.missed()), (1000, 99_000));
        pace.fail(10);
        assert_eq!(pace.missed(), 99_010);
    }
}
