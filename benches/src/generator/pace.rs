//! When to send: an open loop, which does not wait for what is tested.

use std::time::Duration;

/// Arrears that are made up for; what is older was missed and is counted as such, so that a pause of the generator does not end
/// in a flood.
const ARREARS: Duration = Duration::from_millis(10);
/// Packets of one stream that are sent before the next stream has its turn.
const TURN: u64 = 64;

/// When the packets of one stream are due.
#[derive(Clone, Copy, Debug)]
pub struct Timetable {
    /// Packets a second; inside bursts, if there is a gap between those.
    pub per_second: f64,
    /// So many at a time.
    pub burst: u64,
    /// Silence after each burst. Without it, the packets of a burst go back to back.
    pub gap: Duration,
    /// When the stream begins.
    pub start: Duration,
    /// When it ends.
    pub stop: Duration,
}

impl Timetable {
    /// Packets due until `now`.
    fn until(&self, now: Duration) -> u64 {
        let seconds = now.min(self.stop).saturating_sub(self.start).as_secs_f64();
        if self.gap.is_zero() {
            return (seconds * self.per_second) as u64;
        }
        let period = self.burst as f64 / self.per_second + self.gap.as_secs_f64();
        let bursts = (seconds / period).floor();
        let inside = ((seconds - bursts * period) * self.per_second) as u64;
        bursts as u64 * self.burst + inside.min(self.burst)
    }

    /// Packets that go together.
    fn group(&self) -> u64 {
        if self.gap.is_zero() { self.burst.max(1) } else { 1 }
    }
}

/// Keeps to a timetable.
#[derive(Debug)]
pub struct Pace {
    timetable: Timetable,
    issued: u64,
    missed: u64,
}

impl Pace {
    /// For this timetable.
    #[must_use]
    pub fn new(timetable: Timetable) -> Pace {
        Pace { timetable, issued: 0, missed: 0 }
    }

    /// How many to send now. Whoever asks sends them.
    pub fn due(&mut self, now: Duration) -> u64 {
        let group = self.timetable.group();
        let mut owed = self.timetable.until(now).saturating_sub(self.issued + self.missed);
        let most = ((self.timetable.per_second * ARREARS.as_secs_f64()) as u64).max(group).max(TURN);
        if owed > most {
            self.missed += owed - most;
            owed = most;
        }
        let now = owed.min(TURN.max(group)) / group * group;
        self.issued += now;
        now
    }

    /// Nothing will be sent any more: what was still due has been missed. Part of a group was not due yet.
    pub fn close(&mut self, end: Duration) {
        let group = self.timetable.group();
        let due = self.timetable.until(end) / group * group;
        self.missed += due.saturating_sub(self.issued + self.missed);
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

    fn timetable(per_second: f64, burst: u64) -> Timetable {
        Timetable { per_second, burst, gap: Duration::ZERO, start: MS, stop: Duration::MAX }
    }

    #[test]
    fn keeps_the_rate_over_any_steps() {
        for step_us in [1, 7, 333, 5000] {
            let mut pace = Pace::new(timetable(10_000.0, 1));
            let steps = 1_000_000 / step_us;
            let sent: u64 = (0..=steps).map(|n| pace.due(MS + Duration::from_micros(step_us * n))).sum();
            assert!((9_990..=10_000).contains(&sent), "{sent} in steps of {step_us} µs");
            assert_eq!(pace.missed(), 0);
        }
    }

    #[test]
    fn groups_stay_together() {
        let mut pace = Pace::new(timetable(1000.0, 32));
        assert!((0..1000).all(|n| pace.due(MS * n).is_multiple_of(32)));
        let mut pace = Pace::new(timetable(1000.0, 100));
        assert_eq!(pace.due(MS * 100), 0);
        assert_eq!(pace.due(MS * 101), 100);
    }

    #[test]
    fn a_long_pause_is_missed_and_not_made_up_for() {
        let mut pace = Pace::new(timetable(100_000.0, 1));
        let sent: u64 = (0..100).map(|_| pace.due(MS * 1001)).sum();
        assert_eq!((sent, pace.missed()), (1000, 99_000));
        pace.fail(10);
        assert_eq!(pace.missed(), 99_010);
    }

    /// Whatever pauses there are, each packet of the timetable was either sent or missed.
    #[test]
    fn the_sum_is_exact_when_all_is_over() {
        for (burst, due) in [(1, 12_345), (32, 12_320)] {
            let mut pace = Pace::new(timetable(12_345.0, burst));
            let sent: u64 = [3, 7, 200, 201, 202, 640, 641, 900].map(|at| pace.due(MS * (1 + at))).iter().sum();
            pace.close(MS * 1001);
            assert_eq!(sent + pace.missed(), due);
        }
    }

    #[test]
    fn a_stream_may_begin_later_end_earlier_and_rest_between_bursts() {
        let within = Timetable { start: MS * 100, stop: MS * 300, ..timetable(1000.0, 1) };
        let mut pace = Pace::new(within);
        let sent: Vec<u64> = (0..1000).map(|n| pace.due(MS * n)).collect();
        assert_eq!((sent[..=100].iter().sum::<u64>(), sent[301..].iter().sum::<u64>()), (0, 0));
        assert_eq!(sent.iter().sum::<u64>(), 200);
        // Ten packets in 10 ms, then 40 ms of silence.
        let mut pace = Pace::new(Timetable { gap: MS * 40, ..timetable(1000.0, 10) });
        let sent: Vec<u64> = (0..=1000).map(|n| pace.due(MS * n)).collect();
        assert_eq!((sent[..=11].iter().sum::<u64>(), sent[12..=51].iter().sum::<u64>()), (10, 0));
        assert!((199..=200).contains(&sent.iter().sum::<u64>()));
    }
}
