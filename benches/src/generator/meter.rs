//! What is measured of the datagrams of one stream.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::flows::Rotation;
use super::report::Latency;
use super::stamp::Stamp;
use super::track::Tracker;

/// Longest time that is told apart from longer ones.
const LONGEST: u64 = 60_000_000_000;

/// A histogram of times up to a minute, with three digits.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, LONGEST, 3).unwrap_or_else(|_| {
        // Refused only for bounds that make no sense.
        unreachable!("1 ns to 60 s with three digits is a valid histogram")
    });
    histogram.auto(false);
    histogram
}

/// Counts and times what arrives.
pub struct Meter {
    tracker: Tracker,
    latency: Histogram<u64>,
    bytes: u64,
    damaged: u64,
    misdelivered: u64,
}

impl Meter {
    /// For a stream whose flows follow this rotation.
    #[must_use]
    pub fn new(rotation: Rotation) -> Meter {
        Meter { tracker: Tracker::new(rotation), latency: histogram(), bytes: 0, damaged: 0, misdelivered: 0 }
    }

    /// A packet of `bytes` bytes has arrived; `issued` numbers were given out.
    pub fn accept(&mut self, stamp: &Stamp, issued: u64, bytes: usize, now: Duration) {
        self.tracker.accept(stamp.number, issued);
        self.bytes += bytes as u64;
        self.latency.saturating_record((now.as_nanos() as u64).saturating_sub(stamp.nanos));
    }

    /// A packet has arrived that is not what was sent. It counts as lost as well.
    pub fn damage(&mut self) {
        self.damaged += 1;
    }

    /// A packet has arrived at somebody whom it was not for, or from the wrong one. It counts as lost as well.
    pub fn misdeliver(&mut self) {
        self.misdelivered += 1;
    }

    /// Packets that were not what was sent.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged + self.tracker.strange()
    }

    /// Packets whose sender or receiver was wrong.
    #[must_use]
    pub fn misdelivered(&self) -> u64 {
        self.misdelivered
    }

    /// Judgement of order and completeness.
    #[must_use]
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Bytes of the frames that arrived, as the receiver saw them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long packets took.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        Latency::of(&self.latency)
    }
}
