//! `slow_start`, `on_down`, `drain_deadline`: how a service's backends come and go.

use std::time::Duration;

use datapath::service::SchedulerKind;

use super::report::{Complaint, Fault, Report};
use super::section::Section;
use super::settings;

/// What becomes of connections when a backend is down.
pub const ON_DOWN: &[(&str, bool)] = &[("keep", false), ("reset", true)];
/// All keys.
pub const KEYS: [&str; 3] = ["slow_start", "on_down", "drain_deadline"];

/// What a service says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Life {
    /// A backend that comes up gets its whole weight only after so long.
    pub slow_start: Option<Duration>,
    /// Connections of a backend whose checks failed are reset at both ends; else they are left to themselves.
    pub reset_on_down: bool,
    /// Connections of a drained backend are reset at both ends after so long; `None`: they go on to their end.
    pub drain_deadline: Option<Duration>,
}

/// What shall be other: `None` leaves it, `Some(None)` takes it away.
#[expect(clippy::option_option, reason = "None leaves it as it is, Some(None) takes it away")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LifeChange {
    /// See [`Life::slow_start`].
    pub slow_start: Option<Option<Duration>>,
    /// See [`Life::reset_on_down`].
    pub reset_on_down: Option<bool>,
    /// See [`Life::drain_deadline`].
    pub drain_deadline: Option<Option<Duration>>,
}

impl LifeChange {
    /// With the change.
    pub fn apply(&self, to: Life) -> Life {
        Life {
            slow_start: self.slow_start.unwrap_or(to.slow_start),
            reset_on_down: self.reset_on_down.unwrap_or(to.reset_on_down),
            drain_deadline: self.drain_deadline.unwrap_or(to.drain_deadline),
        }
    }
}

impl Life {
    /// All that is wrong with it in a service with this scheduler, with or without checks.
    pub fn faults(&self, scheduler: SchedulerKind, checked: bool) -> Vec<Fault> {
        let [slow_start, on_down, _] = KEYS;
        let mut faults = Vec::new();
        if self.slow_start.is_some() && !uses_shares(scheduler) {
            let hint =
                "slow start raises a weight step by step: use wrr, wlc, sed, nq, sh, dh, mh, lblc, lblcr or twos";
            let message = format!("`slow_start` means nothing to the scheduler `{scheduler}`");
            faults.push((slow_start, Complaint::hinted(message, hint)));
        }
        if self.reset_on_down && !checked {
            let hint = "add [service.check], which says when a backend is down";
            faults.push((on_down, Complaint::hinted("`on_down` without a check means nothing", hint)));
        }
        faults
    }

    /// The first of them, for callers that want one.
    pub fn fault(&self, scheduler: SchedulerKind, checked: bool) -> Option<Fault> {
        self.faults(scheduler, checked).into_iter().next()
    }

    /// Makes a key as if it had not been said.
    pub fn forget(&mut self, key: &str) {
        match key {
            "slow_start" => self.slow_start = None,
            "on_down" => self.reset_on_down = false,
            "drain_deadline" => self.drain_deadline = None,
            _ => {}
        }
    }
}

/// Whether a scheduler gives a backend twice the flows for twice the weight.
pub fn uses_shares(scheduler: SchedulerKind) -> bool {
    !matches!(
        scheduler,
        SchedulerKind::RoundRobin | SchedulerKind::LeastConnection | SchedulerKind::Failover | SchedulerKind::Overflow
    )
}

/// Reads the keys out of a service's table.
pub fn read(section: &mut Section<'_>, report: &mut Report) -> LifeChange {
    let [slow_start, on_down, drain_deadline] = KEYS;
    let keeps = Life::default().reset_on_down;
    LifeChange {
        slow_start: section.nullable(slow_start, report, settings::read_timeout),
        reset_on_down: settings::or_default(section, on_down, keeps, report, settings::choice(ON_DOWN)),
        drain_deadline: section.nullable(drain_deadline, report, settings::read_timeout),
    }
}

/// As it is written in the config.
pub fn show_on_down(life: Life) -> &'static str {
    if life.reset_on_down { "reset" } else { "keep" }
}
