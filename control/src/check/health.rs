//! Whether a backend is up, by what its checks found: it takes several in a row to change that.

use std::time::Duration;

use crate::config::CheckConfig;

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// It lives.
    pub passed: bool,
    /// In a few words.
    pub what: String,
    /// From the first packet to the last that was needed.
    pub took: Duration,
}

/// A backend's state, and what it rests on. At first it is up, though nobody has asked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    up: bool,
    /// When the state began; none before the first check.
    since: Option<Duration>,
    /// Checks in a row that contradict the state.
    against: u32,
    last: Option<(Outcome, Duration)>,
    passed: u64,
    failed: u64,
}

impl Default for Health {
    fn default() -> Health {
        Health { up: true, since: None, against: 0, last: None, passed: 0, failed: 0 }
    }
}

/// A backend went down or came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// It is up now.
    pub up: bool,
    /// How long it was what it was.
    pub lasted: Duration,
    /// So many checks in a row said so.
    pub checks: u32,
}

impl Health {
    /// Whether it may get new flows.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// When the state began; none before the first check.
    pub fn since(&self) -> Option<Duration> {
        self.since
    }

    /// The last outcome, and when it was.
    pub fn last(&self) -> Option<(&Outcome, Duration)> {
        self.last.as_ref().map(|(outcome, at)| (outcome, *at))
    }

    /// Checks that passed, and that failed.
    pub fn counts(&self) -> (u64, u64) {
        (self.passed, self.failed)
    }

    /// Takes over what a check found.
    pub fn note(&mut self, outcome: &Outcome, check: &CheckConfig, at: Duration) -> Option<Change> {
        let passed = outcome.passed;
        *(if passed { &mut self.passed } else { &mut self.failed }) += 1;
        self.last = Some((outcome.clone(), at));
        let since = *self.since.get_or_insert(at);
        if passed == self.up {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < if passed { check.rise } else { check.fall } {
            return None;
        }
        let change = Change { up: passed, lasted: at.saturating_sub(since), checks: self.against };
        (self.up, self.since, self.against) = (passed, Some(at), 0);
        Some(change)
    }

    /// It is asked otherwise from now on: the state stays until the new checks say something else.
    pub fn start_over(&mut self) {
        self.against = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::tcp;

    fn play(health: &mut Health, results: &str) -> Vec<(usize, Change)> {
        let check = CheckConfig { rise: 2, fall: 3, ..tcp() };
        let at = |n: usize| Duration::from_secs(100 + n as u64);
        let outcome = |letter| Outcome { passed: letter == '+', what: String::new(), took: Duration::ZERO };
        let note = |(n, letter)| Some((n, health.note(&outcome(letter), &check, at(n))?));
        results.chars().enumerate().filter_map(note).collect()
    }

    fn change(up: bool, lasted: u64, checks: u32) -> Change {
        Change { up, lasted: Duration::from_secs(lasted), checks }
    }

    #[test]
    fn it_takes_fall_failures_in_a_row() {
        let mut health = Health::default();
        assert!(health.is_up());
        assert_eq!(play(&mut health, "--+--+--+"), []);
        assert_eq!(play(&mut health, "+----"), [(3, change(false, 3, 3))]);
        assert!(!health.is_up());
        assert_eq!(health.counts(), (4, 10));
    }

    #[test]
    fn it_takes_rise_successes_in_a_row() {
        let mut health = Health::default();
        assert_eq!(play(&mut health, "---+-+-++++"), [(2, change(false, 2, 3)), (8, change(true, 6, 2))]);
        assert_eq!(health.since(), Some(Duration::from_secs(108)));
    }

    #[test]
    fn new_settings_start_over_without_a_flap() {
        let mut health = Health::default();
        play(&mut health, "--");
        health.start_over();
        assert!(health.is_up());
        assert_eq!(play(&mut health, "--"), []);
        assert_eq!(play(&mut health, "-"), [(0, change(false, 0, 3))]);
        health.start_over();
        assert!(!health.is_up());
        assert_eq!(play(&mut health, "+"), []);
    }
}
