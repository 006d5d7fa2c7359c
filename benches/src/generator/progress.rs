//! The live line, and the record of the run behind it.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr};
use std::time::Duration;

use super::report::{Step, Tick};
use super::units::short;

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(250);

/// What has happened so far.
pub struct Progress {
    start: Duration,
    show: bool,
    terminal: bool,
    last: Duration,
    names: Vec<String>,
    counted: Vec<(u64, u64)>,
    ticks: Vec<Tick>,
}

impl Progress {
    /// Of a run that begins at `start`, of streams with these names.
    #[must_use]
    pub fn new(start: Duration, show: bool, names: Vec<String>) -> Progress {
        let terminal = show && stderr().is_terminal();
        Progress { start, show, terminal, last: start, counted: vec![(0, 0); names.len()], names, ticks: Vec::new() }
    }

    /// Takes note if it is time to; `count` tells of each stream what was sent and received, in its own unit.
    pub fn show(&mut self, now: Duration, count: impl Fn() -> Vec<(u64, u64)>) {
        if now < self.last + EVERY {
            return;
        }
        let counts = count();
        let seconds = now.saturating_sub(self.last).as_secs_f64();
        let step = |(now, before): (&(u64, u64), &(u64, u64))| Step {
            sent: (now.0 - before.0) as f64 / seconds,
            received: (now.1 - before.1) as f64 / seconds,
        };
        let streams = counts.iter().zip(&self.counted).map(step).collect();
        let tick = Tick { at: now.saturating_sub(self.start).as_secs_f64(), streams };
        (self.last, self.counted) = (now, counts);
        self.ticks.push(tick);
        self.print();
    }

    fn print(&self) {
        // On a terminal the line is written over; in a log, one line a second is enough.
        if !self.show || !self.terminal && !self.ticks.len().is_multiple_of(4) {
            return;
        }
        let Some(tick) = self.ticks.last() else { return };
        let mut streams = String::new();
        for ((name, step), (sent, received)) in self.names.iter().zip(&tick.streams).zip(&self.counted) {
            let open = sent.saturating_sub(*received);
            let _ = write!(streams, "  {name}: {}/s, {}/s back, {open} out", short(step.sent), short(step.received));
        }
        let (front, back) = if self.terminal { ("\r", "\x1b[K") } else { ("", "\n") };
        // Nobody to tell is no reason to stop.
        let _ = write!(stderr(), "{front}{:6.1} s{streams}{back}", tick.at);
    }

    /// The end: the line is left behind.
    pub fn finish(&mut self, now: Duration, count: impl Fn() -> Vec<(u64, u64)>) {
        if now > self.last + EVERY / 2 {
            self.last = self.last.min(now.saturating_sub(EVERY));
            self.show(now, count);
        }
        if self.terminal {
            let _ = writeln!(stderr());
        }
    }

    /// The record.
    #[must_use]
    pub fn into_ticks(self) -> Vec<Tick> {
        self.ticks
    }
}
