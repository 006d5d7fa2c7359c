//! What a service has beside its name, its listens and its backends: the same words in the file, the API, the command
//! line and (behind `sluicegate.`) the labels of a swarm's service.

use std::time::Duration;

use datapath::service::SchedulerKind;

use super::life::{self, Life, LifeChange};
use super::node::Value;
use super::passive::{self, Passive};
use super::persistence::{self, Persistence, PersistenceChange};
use super::protection::{self, Protection, ProtectionChange};
use super::report::{Complaint, Located, Report};
use super::section::{Found, Section, text, wrong_type};
use super::state_times::{self, StateTimes, StateTimesChange};
use super::{Listen, one_packet, value};

/// `timestamps` says whether we rewrite.
const TIMESTAMPS: &[(&str, bool)] = &[("rewrite", true), ("keep", false)];
/// A flow that ends at once can't carry anything.
const SHORTEST: Duration = Duration::from_secs(1);
/// Thirty days: more is a slip of the finger.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// The settings of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Settings {
    /// How a backend is picked.
    pub scheduler: SchedulerKind,
    /// `timestamps = "rewrite"`: TCP timestamps towards the tasks come from one clock.
    pub rewrite_timestamps: bool,
    /// Direct server return: backends get the clients' packets as they are, and answer around the gateway.
    pub direct: bool,
    /// Backends get a PROXY protocol header (version 2) in front of what a client sends.
    pub proxy_protocol: bool,
    /// How long open connections and UDP flows may be idle; `None`: as `[timeouts]` says.
    pub timeout: Option<Duration>,
    /// How clients stay with their backends.
    pub persistence: Persistence,
    /// How backends come and go.
    pub life: Life,
    /// How long flows may be idle, by state; before `timeout`.
    pub timeouts: StateTimes,
    /// Who may open flows, and how many.
    pub protection: Protection,
    /// Each UDP datagram is scheduled on its own and makes no flow.
    pub one_packet: bool,
    /// When backends rest; `None`: as it is usual where the service comes from.
    pub passive: Option<Passive>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            scheduler: SchedulerKind::default(),
            rewrite_timestamps: true,
            direct: false,
            proxy_protocol: false,
            timeout: None,
            persistence: Persistence::default(),
            life: Life::default(),
            timeouts: StateTimes::default(),
            protection: Protection::default(),
            one_packet: false,
            passive: None,
        }
    }
}

impl Settings {
    /// All that is wrong with `one_packet`, if it is set, in a service that listens there.
    pub fn one_packet_faults(&self, listens: &[Listen]) -> Vec<Complaint> {
        if self.one_packet { one_packet::faults(listens, self) } else { Vec::new() }
    }

    /// The first of them, for callers that want one.
    pub fn one_packet_fault(&self, listens: &[Listen]) -> Option<Complaint> {
        self.one_packet_faults(listens).into_iter().next()
    }

    /// Makes a key of those that have rules of their own as if it had not been said.
    pub fn forget(&mut self, key: &str) {
        self.persistence.forget(key);
        self.protection.forget(key);
        self.life.forget(key);
        if key == one_packet::KEY {
            self.one_packet = false;
        }
    }
}

/// Those that shall be other.
#[expect(clippy::option_option, reason = "None leaves the timeout as it is, Some(None) takes it away")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// See [`Settings::scheduler`].
    pub scheduler: Option<SchedulerKind>,
    /// See [`Settings::rewrite_timestamps`].
    pub rewrite_timestamps: Option<bool>,
    /// See [`Settings::direct`].
    pub direct: Option<bool>,
    /// See [`Settings::proxy_protocol`].
    pub proxy_protocol: Option<bool>,
    /// See [`Settings::timeout`].
    pub timeout: Option<Option<Duration>>,
    /// See [`Settings::persistence`].
    pub persistence: PersistenceChange,
    /// See [`Settings::life`].
    pub life: LifeChange,
    /// See [`Settings::timeouts`].
    pub timeouts: StateTimesChange,
    /// See [`Settings::protection`].
    pub protection: ProtectionChange,
    /// See [`Settings::one_packet`].
    pub one_packet: Option<bool>,
    /// See [`Settings::passive`].
    pub passive: Option<Option<Passive>>,
}

impl SettingsChange {
    /// The settings with the change.
    pub fn apply(&self, to: Settings) -> Settings {
        Settings {
            scheduler: self.scheduler.unwrap_or(to.scheduler),
            rewrite_timestamps: self.rewrite_timestamps.unwrap_or(to.rewrite_timestamps),
            direct: self.direct.unwrap_or(to.direct),
            proxy_protocol: self.proxy_protocol.unwrap_or(to.proxy_protocol),
            timeout: self.timeout.unwrap_or(to.timeout),
            persistence: self.persistence.apply(to.persistence),
            life: self.life.apply(to.life),
            timeouts: self.timeouts.apply(to.timeouts),
            protection: self.protection.apply(to.protection),
            one_packet: self.one_packet.unwrap_or(to.one_packet),
            passive: self.passive.unwrap_or(to.passive),
        }
    }
}

/// Reads them out of a service's table.
pub fn read(section: &mut Section<'_>, report: &mut Report) -> SettingsChange {
    let Settings { scheduler, rewrite_timestamps, direct, proxy_protocol, one_packet, .. } = Settings::default();
    SettingsChange {
        scheduler: or_default(section, "scheduler", scheduler, report, parsed(value::scheduler)),
        rewrite_timestamps: or_default(section, "timestamps", rewrite_timestamps, report, choice(TIMESTAMPS)),
        direct: or_default(section, "direct", direct, report, switch),
        proxy_protocol: or_default(section, "proxy_protocol", proxy_protocol, report, switch),
        timeout: section.nullable("timeout", report, read_timeout),
        persistence: persistence::read(section, report),
        life: life::read(section, report),
        timeouts: state_times::read(section, report),
        protection: protection::read(section, report),
        one_packet: or_default(section, one_packet::KEY, one_packet, report, switch),
        passive: passive::read(section, report),
    }
}

/// What `read` makes of a key's value; JSON's null is the default.
pub fn or_default<T>(
    section: &mut Section<'_>,
    key: &'static str,
    default: T,
    report: &mut Report,
    read: impl FnOnce(Found<'_>, &mut Report) -> Option<T>,
) -> Option<T> {
    section.nullable(key, report, read).map(|given| given.unwrap_or(default))
}

/// One of a few words.
pub fn choice<T: Copy>(known: &'static [(&str, T)]) -> impl FnOnce(Found<'_>, &mut Report) -> Option<T> {
    parsed(|text| value::word("choice", text, known))
}

/// A string as `parse` understands it.
fn parsed<T>(parse: impl FnOnce(&str) -> Result<T, Complaint>) -> impl FnOnce(Found<'_>, &mut Report) -> Option<T> {
    |found, report| text(found, report, parse).map(|found| found.value)
}

/// True or false.
pub fn switch(found: Found<'_>, report: &mut Report) -> Option<bool> {
    let Located { value, at } = found;
    match value {
        Value::Boolean(on) => Some(*on),
        other => {
            report.error(&at, wrong_type(&at, "a boolean", other));
            None
        }
    }
}

/// A timeout: text with a unit, or seconds.
pub fn read_timeout(found: Found<'_>, report: &mut Report) -> Option<Duration> {
    read_duration(found, timeout, report)
}

/// Text with a unit, or seconds, that `check` allows.
pub fn read_duration(
    found: Found<'_>,
    check: fn(Duration) -> Result<Duration, Complaint>,
    report: &mut Report,
) -> Option<Duration> {
    let Located { value, at } = found;
    let duration = match value {
        Value::Text(text) => value::duration(text),
        Value::Integer(seconds) => Ok(Duration::from_secs(u64::try_from(*seconds).unwrap_or(0))),
        other => Err(wrong_type(&at, "a duration", other)),
    };
    report.check(&at, duration.and_then(check))
}

/// A timeout that makes sense.
pub fn timeout(duration: Duration) -> Result<Duration, Complaint> {
    if (SHORTEST..=LONGEST).contains(&duration) {
        return Ok(duration);
    }
    Err(Complaint::hinted("the timeout is out of range", "from \"1s\" to \"30d\""))
}
