//! Time as the table counts it: eighths of a second since process start, in 32 bits (17 years).

use core::time::Duration;

/// Ticks in a second.
pub(crate) const PER_SECOND: u32 = 8;
const TICK_NANOS: u32 = 1_000_000_000 / PER_SECOND;

/// The last tick that has begun at `time`.
pub(crate) fn floor(time: Duration) -> u32 {
    let whole = u32::try_from(time.as_secs()).unwrap_or(u32::MAX).saturating_mul(PER_SECOND);
    whole.saturating_add(time.subsec_nanos() / TICK_NANOS)
}

/// The first tick that does not begin before `time`.
pub(crate) fn ceil(time: Duration) -> u32 {
    let begun = floor(time);
    begun.saturating_add(u32::from(!time.subsec_nanos().is_multiple_of(TICK_NANOS)))
}

/// When a tick begins.
pub(crate) fn start(tick: u32) -> Duration {
    Duration::new(u64::from(tick / PER_SECOND), (tick % PER_SECOND) * TICK_NANOS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_eighths() {
        let cases = [(0, 0, 0), (1, 0, 1), (124_999_999, 0, 1), (125_000_000, 1, 1), (999_999_999, 7, 8)];
        for (nanos, below, above) in cases {
            let time = Duration::new(10, nanos);
            assert_eq!((floor(time), ceil(time)), (80 + below, 80 + above), "{nanos}");
        }
        assert_eq!(start(81), Duration::from_millis(10_125));
        assert_eq!(floor(Duration::MAX), u32::MAX);
    }
}
