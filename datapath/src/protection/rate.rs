//! Rates of new flows: token buckets, kept as the one number that they need.
//!
//! A bucket of `burst` tokens that fills by one each `gap` is as good as the moment at which it will be full again: taking a
//! token moves that moment by a gap, and it may not lie further ahead than `burst` gaps (the "virtual scheduling" of ATM's
//! generic cell rate algorithm). So a bucket is one integer, and one compare-and-swap takes from it, on whatever worker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time is counted in sixteenths of a microsecond: whole numbers for the usual rates, at most 1 % off at a million a second.
const PER_SECOND: u64 = 16_000_000;

/// A second: the clocks of workers that look at the same bucket differ by far less.
const SLACK: u64 = PER_SECOND;

/// So many, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// From one token to the next.
    gap: u64,
    /// How far ahead of now the bucket may be.
    depth: u64,
}

/// A moment in the buckets' own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instant(pub(super) u64);

impl From<Duration> for Instant {
    fn from(now: Duration) -> Self {
        Self((now.as_nanos() * 2 / 125) as u64)
    }
}

impl Rate {
    /// `count` tokens in each `per`, at most `burst` at once. Neither may be 0; so, 1 is taken.
    #[must_use]
    pub fn new(count: u32, per: Duration, burst: u32) -> Self {
        let gap = per.as_secs().saturating_mul(PER_SECOND) / u64::from(count.max(1));
        let gap = gap.max(1);
        Self { gap, depth: gap.saturating_mul(u64::from(burst.max(1))) }
    }

    /// Bits of the time that places with little room may leave out at this rate: what is lost is a 4096th of a token.
    pub(super) fn spare_bits(self) -> u32 {
        self.gap.ilog2().saturating_sub(12)
    }

    /// The debt after one more token, if the bucket that owes `debt` has one.
    pub(super) fn take(self, debt: u64) -> Option<u64> {
        Some(debt + self.gap).filter(|debt| *debt <= self.depth)
    }

    /// What a bucket owes that says so. Nobody can owe more than its depth: that is of another rate, before the tables
    /// changed, or an old time that has wrapped.
    pub(super) fn owed(self, said: u64) -> u64 {
        if said <= self.depth.saturating_add(SLACK) { said } else { 0 }
    }
}

/// One bucket for all workers.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// When it will be full again.
    full_at: AtomicU64,
}

impl Bucket {
    /// Whether there is a token.
    pub(super) fn has(&self, rate: Rate, now: Instant) -> bool {
        rate.take(owed(self.full_at.load(Ordering::Relaxed), rate, now)).is_some()
    }

    /// Takes a token if there is one. Whoever is refused writes nothing.
    pub(super) fn take(&self, rate: Rate, now: Instant) -> bool {
        let next = |full_at: u64| Some(now.0 + rate.take(owed(full_at, rate, now))?);
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

fn owed(full_at: u64, rate: Rate, now: Instant) -> u64 {
    rate.owed(full_at.saturating_sub(now.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn allowed(bucket: &Bucket, rate: Rate, at: Duration, asked: usize) -> usize {
        (0..asked).filter(|_| bucket.take(rate, at.into())).count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let (bucket, rate) = (Bucket::default(), Rate::new(100, SECOND, 20));
        assert_eq!(allowed(&bucket, rate, 50 * SECOND, 1000), 20);
        assert_eq!(allowed(&bucket, rate, 50 * SECOND + SECOND / 10, 1000), 10);
        assert_eq!(allowed(&bucket, rate, 60 * SECOND, 1000), 20, "never more than the burst");
    }

    #[test]
    fn slow_rates_and_quick_ones() {
        let (bucket, rate) = (Bucket::default(), Rate::new(6, 60 * SECOND, 1));
        let at = |seconds: u32| allowed(&bucket, rate, seconds * SECOND, 9);
        assert_eq!([at(100), at(109), at(110), at(119), at(121)], [1, 0, 1, 0, 1]);
        let (bucket, rate) = (Bucket::default(), Rate::new(1_000_000, SECOND, 1));
        let per_second =
            (0..1_000_000).filter(|n| bucket.take(rate, (SECOND + *n * SECOND / 1_000_000).into())).count();
        assert_eq!(per_second, 1_000_000);
    }

    /// Buckets outlive tables: what was owed at a slow rate must not keep everybody out at a quick one.
    #[test]
    fn a_quicker_rate_forgets_what_was_owed_at_a_slow_one() {
        let (bucket, slow, quick) = (Bucket::default(), Rate::new(5, 86_400 * SECOND, 5), Rate::new(100, SECOND, 20));
        assert_eq!(allowed(&bucket, slow, 50 * SECOND, 9), 5);
        assert_eq!(allowed(&bucket, quick, 51 * SECOND, 1000), 20, "a day's debt");
        assert_eq!(allowed(&bucket, quick, 52 * SECOND, 1000), 20);
        assert_eq!(allowed(&bucket, slow, 52 * SECOND, 9), 4, "at the slow rate again a fifth of a second is owed");
    }

    proptest! {
        /// Against a bucket that counts tokens, in whole gaps so that neither rounds.
        #[test]
        fn as_a_bucket_of_tokens(burst in 1u32..20, steps in prop::collection::vec((0u32..5, 0usize..8), 1..50)) {
            let (bucket, rate) = (Bucket::default(), Rate::new(100, SECOND, burst));
            let (mut tokens, mut now) = (burst as usize, SECOND);
            for (gaps, asked) in steps {
                now += gaps * SECOND / 100;
                tokens = (tokens + gaps as usize).min(burst as usize);
                let expected = asked.min(tokens);
                tokens -= expected;
                prop_assert_eq!(allowed(&bucket, rate, now, asked), expected);
            }
        }
    }
}
