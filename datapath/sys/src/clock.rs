//! The one place that asks the operating system for the time. Below control, time is an argument.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Time since the process first asked for it. Monotonic, the same line of time for all threads.
#[must_use]
pub fn now() -> Duration {
    START.elapsed()
}

/// The wall clock, for logs and listings; it may jump.
#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
#[must_use]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    #[test]
    fn never_goes_back() {
        let first = super::now();
        assert!(super::now() >= first);
    }
}
