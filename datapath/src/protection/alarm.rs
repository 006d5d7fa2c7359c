//! When half-open flows are too many, and when they would no longer be.
//!
//! The alarm goes on when there are `threshold` half-open flows, and stays on for [`HOLD`]. It is prolonged as long as that many
//! are there, and as long as the SYNs of the last [`PERIOD`] that got a cookie and never came back would, as flows, fill up to
//! the threshold again within their timeout of two minutes: a flood that goes on does not swing it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PERIOD_MILLIS: u64 = 8_000;
const HOLD_MILLIS: u64 = 2 * PERIOD_MILLIS;
/// How many periods an unanswered SYN occupies a flow.
const PERIODS_HELD: u64 = 15;

/// Shared by all workers; written when it goes on, and once a period.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Alarm {
    on_until: AtomicU64,
    period: AtomicU64,
    /// Unanswered cookies when the period began.
    before: AtomicU64,
}

impl Alarm {
    /// `half_open` and `unanswered` count over all workers: asked only when it matters.
    pub(super) fn is_on(
        &self,
        threshold: u64,
        now: Duration,
        half_open: impl Fn() -> u64,
        unanswered: impl Fn() -> u64,
    ) -> bool {
        let now = now.as_millis() as u64;
        if now < self.on_until.load(Ordering::Relaxed) {
            self.look_again(threshold, now, half_open, unanswered);
            return true;
        }
        if half_open() < threshold {
            return false;
        }
        self.period.store(now / PERIOD_MILLIS, Ordering::Relaxed);
        self.before.store(unanswered(), Ordering::Relaxed);
        self.on_until.store(now + HOLD_MILLIS, Ordering::Relaxed);
        true
    }

    /// Whether it was on within so long.
    pub(super) fn was_on(&self, within: Duration, now: Duration) -> bool {
        let on_until = self.on_until.load(Ordering::Relaxed);
        on_until != 0 && (now.as_millis() as u64) < on_until + within.as_millis() as u64
    }

    /// Once a period, whichever worker comes first.
    fn look_again(&self, threshold: u64, now: u64, half_open: impl Fn() -> u64, unanswered: impl Fn() -> u64) {
        let (seen, period) = (self.period.load(Ordering::Relaxed), now / PERIOD_MILLIS);
        if seen == period || self.period.compare_exchange(seen, period, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let unanswered = unanswered();
        let more = unanswered.saturating_sub(self.before.swap(unanswered, Ordering::Relaxed));
        if more * PERIODS_HELD >= threshold || half_open() >= threshold {
            self.on_until.store(now + HOLD_MILLIS, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Seconds at which the alarm is on, if every second so many are half-open and so many more cookies unanswered.
    fn on(alarm: &Alarm, seconds: std::ops::Range<u32>, half_open: u64, unanswered_a_second: u64) -> Vec<u32> {
        let is_on = |second: &u32| {
            let unanswered = || u64::from(*second) * unanswered_a_second;
            alarm.is_on(1000, *second * SECOND, || half_open, unanswered)
        };
        seconds.filter(is_on).collect()
    }

    #[test]
    fn it_goes_on_at_the_threshold_and_off_when_it_is_calm() {
        let alarm = Alarm::default();
        assert_eq!(on(&alarm, 80..100, 999, 0), []);
        assert!(!alarm.was_on(1000 * SECOND, 100 * SECOND));
        assert_eq!(on(&alarm, 100..120, 1000, 0).len(), 20);
        let after = on(&alarm, 120..200, 500, 0);
        assert!((8..=16).contains(&after.len()), "{after:?}");
        assert!(alarm.was_on(128 * SECOND, 200 * SECOND) && !alarm.was_on(128 * SECOND, 300 * SECOND));
    }

    #[test]
    fn a_flood_that_goes_on_keeps_it_on() {
        let alarm = Alarm::default();
        assert_eq!(on(&alarm, 100..101, 1000, 9).len(), 1);
        assert_eq!(on(&alarm, 101..400, 0, 9).len(), 299, "nine a second: a thousand in two minutes");
        let after = on(&alarm, 400..500, 0, 0);
        assert!(after.len() <= 24, "{after:?}");
        assert_eq!(on(&alarm, 500..501, 1000, 0).len(), 1);
        assert!(on(&alarm, 501..600, 0, 7).len() <= 24, "seven a second: not that many");
    }
}
