//! What a search has found, as it stands in the JSON file.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::report::StreamReport;
use super::units::short;

/// A generator that sends less than this part of what it was asked for is at its own limit.
const ON_TIME: f64 = 0.98;

/// A search for the highest rate.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SearchReport {
    /// What rates are in: `packets` or `connections`.
    pub unit: String,
    /// How long a trial sent, in seconds.
    pub seconds: f64,
    /// Every trial, by rate.
    pub trials: Vec<Trial>,
    /// The highest rate for each accepted loss.
    pub found: Vec<Found>,
}

/// One trial of a search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Trial {
    /// Packets (connections) a second that were asked for.
    pub rate: f64,
    /// Packets a second that were sent.
    pub sent: f64,
    /// Lost part, 0 to 1, whoever lost it.
    pub loss: f64,
    /// The part that what is tested has lost: less what the generator's own rings dropped.
    pub theirs: f64,
    /// Packets that the generator's own rings dropped.
    pub own: u64,
    /// Packets that the generator was too slow to send.
    pub missed: u64,
    /// Half of the packets took no longer, in nanoseconds.
    pub p50: u64,
    /// 99 % took no longer.
    pub p99: u64,
    /// It is the long one that confirms an answer.
    pub confirms: bool,
}

/// What a trial says about a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No more was lost than is accepted.
    Passed,
    /// What is tested has lost more.
    Failed,
    /// More was lost, but it may be the generator's own fault: its rings dropped packets, or it fell behind.
    Limited,
}

impl Trial {
    /// What it says, if so much may be lost.
    #[must_use]
    pub fn verdict(&self, accepted: f64) -> Verdict {
        match (self.loss <= accepted, self.theirs > accepted && self.is_on_time()) {
            (true, _) => Verdict::Passed,
            (false, true) => Verdict::Failed,
            (false, false) => Verdict::Limited,
        }
    }

    /// As fast as was asked for.
    #[must_use]
    pub fn is_on_time(&self) -> bool {
        self.sent >= self.rate * ON_TIME
    }

    /// The rate that it tells about: the one that was asked for, or what was sent of it when the generator fell behind.
    #[must_use]
    pub fn load(&self) -> f64 {
        if self.is_on_time() { self.rate } else { self.sent }
    }
}

/// Why there is no higher answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// What is tested loses more beyond.
    #[default]
    Tested,
    /// The generator can do no more.
    Generator,
    /// Nothing higher was to be tried.
    Highest,
    /// The time for the search was over.
    Time,
}

/// The end of a search.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Found {
    /// Loss that was accepted, 0 to 1; 0 makes it the non-drop rate.
    pub accepted: f64,
    /// The highest rate that passed and that no trial has refuted, as it was asked for; 0: none.
    pub asked: f64,
    /// The same, as it was sent.
    pub rate: f64,
    /// The lowest rate that what is tested is known not to bear.
    pub above: Option<f64>,
    /// The highest rate that a trial has passed, when nothing is left of it: longer trials, or others at lower rates, have refuted it.
    pub passed: f64,
    /// Why it is no higher.
    pub bound: Bound,
    /// Seconds of the trial that confirmed it; 0: none did, or none was asked for.
    pub confirmed: f64,
    /// It was to be confirmed, and was not.
    pub unconfirmed: bool,
    /// Bits a second on the wire: gaps and preambles counted (layer 1).
    pub line_bits: f64,
    /// Bits a second of frames, check sequences counted (layer 2).
    pub frame_bits: f64,
    /// The streams at this rate.
    pub streams: Vec<StreamReport>,
}

impl Found {
    /// `non-drop rate`, or how much may be lost.
    #[must_use]
    pub fn name(&self) -> String {
        match self.accepted {
            0.0 => "non-drop rate".into(),
            accepted => format!("partial-drop rate (loss up to {} %)", trim(accepted * 100.0)),
        }
    }

    /// What there is to say when no rate stands, though a trial has passed.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        let above = self.above.filter(|_| self.rate <= 0.0 && self.passed > 0.0)?;
        Some(format!("not confirmed: a trial passed {}/s, others failed at {}/s", short(self.passed), short(above)))
    }

    /// Why it is no higher, for people; empty when it is what is tested that can do no more.
    #[must_use]
    pub fn remark(&self) -> &'static str {
        match self.bound {
            Bound::Tested => "",
            Bound::Generator => "or more: the generator could do no more",
            Bound::Highest => "or more: nothing higher was to be tried",
            Bound::Time => "or more: the time for the search was over",
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.doubt() {
            Some(doubt) => write!(f, "{}: {doubt}", self.name())?,
            None => write!(f, "{}: {}/s", self.name(), short(self.rate))?,
        }
        if self.line_bits > 0.0 {
            write!(f, " ({}bit/s on the wire, {}bit/s of frames)", short(self.line_bits), short(self.frame_bits))?;
        }
        if let Some(latency) = self.streams.iter().find_map(|stream| stream.latency.as_ref()) {
            let [p50, p99] = [latency.p50, latency.p99].map(super::units::short_time);
            write!(f, ", p50 {p50}, p99 {p99}")?;
        }
        if self.confirmed > 0.0 {
            write!(f, ", confirmed over {} s", trim(self.confirmed))?;
        }
        if self.unconfirmed && self.doubt().is_none() {
            f.write_str(", not confirmed")?;
        }
        if self.remark().is_empty() { Ok(()) } else { write!(f, ", {}", self.remark()) }
    }
}

/// A number without digits that only come from its binary form.
#[must_use]
pub fn trim(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_at_its_limit_fails_nobody() {
        let good = Trial { rate: 1000.0, sent: 1000.0, ..Trial::default() };
        let lossy = Trial { loss: 0.02, theirs: 0.02, ..good };
        assert_eq!(
            (good.verdict(0.0), lossy.verdict(0.0), lossy.verdict(0.02)),
            (Verdict::Passed, Verdict::Failed, Verdict::Passed)
        );
        // All of the loss, or enough of it, was in the generator's rings.
        assert_eq!(Trial { theirs: 0.0, own: 20, ..lossy }.verdict(0.0), Verdict::Limited);
        assert_eq!(Trial { theirs: 0.001, own: 19, ..lossy }.verdict(0.01), Verdict::Limited);
        // Both lose: what is tested still loses too much.
        assert_eq!(Trial { theirs: 0.015, own: 5, ..lossy }.verdict(0.01), Verdict::Failed);
        // It never got what it is said to have failed at.
        assert_eq!(Trial { sent: 900.0, ..lossy }.verdict(0.0), Verdict::Limited);
        assert_eq!(trim(0.1 * 6.0), "0.6");
    }

    #[test]
    fn no_rate_that_stands_is_not_said_to_be_a_rate_of_nothing() {
        let found = Found { above: Some(218e3), passed: 250e3, unconfirmed: true, ..Found::default() };
        let text = "non-drop rate: not confirmed: a trial passed 250.0 k/s, others failed at 218.0 k/s";
        assert_eq!(found.to_string(), text);
        let nothing = Found { passed: 0.0, unconfirmed: false, ..found };
        assert_eq!(nothing.to_string(), "non-drop rate: 0/s");
    }
}
