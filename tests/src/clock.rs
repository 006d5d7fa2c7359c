//! Real time, for the lab and its traffic tools.
//!
//! The lab does not borrow the gateway's clock: what measures should not lean on what is measured.

use crate::{Failure, Outcome};
use std::time::{Duration, Instant};

/// How long the lab sleeps between two looks at something that it waits for.
const POLL: Duration = Duration::from_millis(10);

/// The time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the lab's own clock, apart from the gateway's")]
pub fn now() -> Instant {
    Instant::now()
}

/// Polls until `ready` gives a value, or fails after `limit`.
///
/// # Errors
/// Whatever `ready` fails with, or that the time is over.
pub fn wait_for<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let start = now();
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if start.elapsed() > limit {
            return Err(Failure::new(format!("{what}: not within {limit:?}")));
        }
        std::thread::sleep(POLL);
    }
}

/// Polls until `ready` is true, or fails after `limit`.
///
/// # Errors
/// Whatever `ready` fails with, or that the time is over.
pub fn wait_until(what: &str, limit: Duration, mut ready: impl FnMut() -> Outcome<bool>) -> Outcome {
    wait_for(what, limit, || Ok(ready()?.then_some(())))
}
