//! The live line, and the record of the run behind it.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use super::report::Tick;
use super::units::short;

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(250);

/// What has happened so far.
pub struct Progress {
    start: Duration,
    show: bool,
    terminal: bool,
    last: Duration,
    counted: (u64, u64),
    ticks: Vec<Tick>,
}

impl Progress {
    /// Of a run that begins at `start`.
    #[must_use]
    pub fn new(start: Duration, show: bool) -> Progress {
        let terminal = show && stderr().is_terminal();
        Progress { start, show, terminal, last: start, counted: (0, 0), ticks: Vec::new() }
    }

    /// Takes note if it is time to; `count` tells packets sent and received.
    pub fn show(&mut self, now: Duration, count: impl Fn() -> (u64, u64)) {
        if now < self.last + EVERY {
            return;
        }
        let (sent, received) = count();
        let seconds = now.saturating_sub(self.last).as_secs_f64();
        let tick = Tick {
            at: now.saturating_sub(self.start).as_secs_f64(),
            sent: (sent - self.counted.0) as f64 / seconds,
            received: (received - self.counted.1) as f64 / seconds,
        };
        self.ticks.push(tick);
        (self.last, self.counted) = (now, (sent, received));
        self.print(&tick);
    }

    fn print(&self, tick: &Tick) {
        // On a terminal the line is written over; in a log, one line a second is enough.
        if !self.show || !self.terminal && !self.ticks.len().is_multiple_of(4) {
            return;
        }
        let (sent, received) = self.counted;
        let (front, back) = if self.terminal { ("\r", "\x1b[K") } else { ("", "\n") };
        // Nobody to tell is no reason to stop.
        let _ = write!(
            stderr(),
            "{front}{:6.1} s  sent {}/s  received {}/s  outstanding {}{back}",
            tick.at,
            short(tick.sent),
            short(tick.received),
            sent.saturating_sub(received)
        );
    }

    /// The end: the line is left behind.
    pub fn finish(&mut self, now: Duration, count: impl Fn() -> (u64, u64)) {
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
