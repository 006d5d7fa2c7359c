//! Rate limit of the answers that we make ourselves (RST, ICMP): nobody can use us as an amplifier or a mirror.

use std::time::Duration;

/// Answers a second and worker.
const RATE_PER_SECOND: u32 = 10_000;
/// Answers at once.
const BURST: u32 = 1_000;

/// A token bucket.
#[derive(Debug)]
pub struct Limiter {
    tokens: u32,
    filled: Duration,
}

impl Limiter {
    /// Full.
    #[must_use]
    pub fn new() -> Self {
        Self { tokens: BURST, filled: Duration::ZERO }
    }

    /// Takes a token if there is one.
    pub fn allow(&mut self, now: Duration) -> bool {
        let gap = Duration::from_secs(1) / RATE_PER_SECOND;
        let earned = now.saturating_sub(self.filled).as_nanos() / gap.as_nanos();
        if earned > 0 {
            self.tokens = u32::try_from(earned).unwrap_or(BURST).saturating_add(self.tokens).min(BURST);
            self.filled = now;
        }
        let allowed = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        allowed
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut limiter = Limiter::new();
        let at =
            |limiter: &mut Limiter, millis, n| (0..n).filter(|_| limiter.allow(Duration::from_millis(millis))).count();
        assert_eq!(at(&mut limiter, 1000, 5000), 1000);
        assert_eq!(at(&mut limiter, 1010, 5000), 100);
        assert_eq!(at(&mut limiter, 9000, 5000), 1000);
    }

    #[test]
    fn what_is_left_is_kept() {
        let mut limiter = Limiter::new();
        let mut at = |micros, n| (0..n).filter(|_| limiter.allow(Duration::from_micros(micros))).count();
        assert_eq!(at(1_000_000, 500), 500);
        assert_eq!(at(1_010_000, 5000), 600, "the other half, and what ten milliseconds earn");
    }

    #[test]
    fn asking_often_earns_no_less() {
        let mut limiter = Limiter::new();
        let mut at = |micros| limiter.allow(Duration::from_micros(micros));
        assert_eq!((0..2000).filter(|_| at(1_000_000)).count(), 1000);
        let allowed: Vec<bool> = (1..=6).map(|n| at(1_000_000 + 50 * n)).collect();
        assert_eq!(allowed, [false, true, false, true, false, true], "one in a hundred microseconds");
    }
}
