//! Time that this thread has spent on a processor. On a machine that others use too, the wall clock mostly tells how
//! long the others were let in: a scheduler's slice is ten thousand packets.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Processor time of this thread so far.
#[must_use]
pub fn cpu_time() -> Duration {
    // Linux has this clock; an error would show as nonsense in every figure.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// What `work` gave, and what it took of this thread's processor time.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let since = cpu_time();
    let done = work();
    (done, cpu_time().saturating_sub(since))
}
