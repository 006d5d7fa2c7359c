//! How much a worker takes at a time, and how soon it sleeps.

use sys::BURST;

/// Measured by `driver sweep`; the default is what the gateway runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Frames taken from a device in one turn, at most [`BURST`].
    pub burst: usize,
    /// Empty turns before sleeping.
    pub empty_turns: u32,
}

impl Default for Pacing {
    /// Two empty turns: a burst often has a second half.
    fn default() -> Self {
        Self { burst: BURST, empty_turns: 2 }
    }
}
