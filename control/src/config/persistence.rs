//! `persistence` and its companions: how long a service's clients stay with their backends.

use std::time::Duration;

use super::report::{Complaint, Fault, Located, Report};
use super::section::{Section, integer, text};
use super::{settings, value};

/// As for the other times of a service.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(30 * 24);
const PREFIXES: std::ops::RangeInclusive<i64> = 1..=32;
const DEFAULT_PREFIX: u8 = 32;
const PREFIXES_OF_SIX: std::ops::RangeInclusive<i64> = 1..=128;
/// A host changes its address within these bits from day to day (RFC 8981), and a household has as many or more.
const DEFAULT_PREFIX_OF_SIX: u8 = 64;
/// How many clients there may be room for. 16 bytes each: 16 KiB to 16 MiB.
pub const CLIENTS: std::ops::RangeInclusive<i64> = 1_024..=1_048_576;
const DEFAULT_CLIENTS: u32 = 65_536;

/// All keys, the first without which the others mean nothing.
pub const KEYS: [&str; 5] =
    ["persistence", "persistence_prefix", "persistence_prefix_ipv6", "persistence_clients", "persistence_group"];

/// What a service says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Persistence {
    /// How long a client stays after its last new flow; `None`: not at all.
    pub time: Option<Duration>,
    /// Clients whose IPv4 addresses agree in so many bits count as one.
    pub prefix: Option<u8>,
    /// The same for IPv6.
    pub prefix_of_six: Option<u8>,
    /// How many clients there is room for.
    pub clients: Option<u32>,
    /// Services with the same group share their clients.
    pub group: Option<String>,
}

/// What shall be other: `None` leaves it, `Some(None)` takes it away.
#[expect(clippy::option_option, reason = "None leaves it as it is, Some(None) takes it away")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersistenceChange {
    /// See [`Persistence::time`].
    pub time: Option<Option<Duration>>,
    /// See [`Persistence::prefix`].
    pub prefix: Option<Option<u8>>,
    /// See [`Persistence::prefix_of_six`].
    pub prefix_of_six: Option<Option<u8>>,
    /// See [`Persistence::clients`].
    pub clients: Option<Option<u32>>,
    /// See [`Persistence::group`].
    pub group: Option<Option<String>>,
}

impl PersistenceChange {
    /// With the change. Without a time, nothing else stays.
    pub fn apply(&self, to: Persistence) -> Persistence {
        let to = if self.time == Some(None) { Persistence::default() } else { to };
        Persistence {
            time: self.time.unwrap_or(to.time),
            prefix: self.prefix.unwrap_or(to.prefix),
            prefix_of_six: self.prefix_of_six.unwrap_or(to.prefix_of_six),
            clients: self.clients.unwrap_or(to.clients),
            group: self.group.clone().unwrap_or(to.group),
        }
    }
}

impl Persistence {
    /// The prefix length that counts for IPv4.
    pub fn prefix(&self) -> u8 {
        self.prefix.unwrap_or(DEFAULT_PREFIX)
    }

    /// The prefix length that counts for IPv6.
    pub fn prefix_of_six(&self) -> u8 {
        self.prefix_of_six.unwrap_or(DEFAULT_PREFIX_OF_SIX)
    }

    /// The room that counts.
    pub fn clients(&self) -> u32 {
        self.clients.unwrap_or(DEFAULT_CLIENTS)
    }

    /// All that is wrong with it.
    pub fn faults(&self) -> Vec<Fault> {
        let [_, prefix, prefix_of_six, clients, group] = KEYS;
        let others = [
            (prefix, self.prefix.is_some()),
            (prefix_of_six, self.prefix_of_six.is_some()),
            (clients, self.clients.is_some()),
            (group, self.group.is_some()),
        ];
        let fault = |(key, _)| {
            let hint = "say how long clients stay, e.g. `persistence = \"5m\"`";
            (key, Complaint::hinted(format!("`{key}` without `persistence` means nothing"), hint))
        };
        others.into_iter().filter(|(_, is_there)| *is_there && self.time.is_none()).map(fault).collect()
    }

    /// The first of them, for callers that want one.
    pub fn fault(&self) -> Option<Fault> {
        self.faults().into_iter().next()
    }

    /// Makes a key as if it had not been said.
    pub fn forget(&mut self, key: &str) {
        match key {
            "persistence" => self.time = None,
            "persistence_prefix" => self.prefix = None,
            "persistence_prefix_ipv6" => self.prefix_of_six = None,
            "persistence_clients" => self.clients = None,
            "persistence_group" => self.group = None,
            _ => {}
        }
    }

    /// What is wrong between it and that of another service, if both are of one group.
    pub fn group_fault(&self, name: &str, other: &Persistence) -> Option<Complaint> {
        let group = self.group.as_ref().filter(|group| other.group.as_ref() == Some(group))?;
        let said = |of: &Persistence| (of.time, of.prefix(), of.prefix_of_six(), of.clients());
        if said(self) == said(other) {
            return None;
        }
        let time = other.time.map(value::show_duration).unwrap_or_default();
        let message = format!(
            "service `{name}` of the same group `{group}` says otherwise: persistence {time}, prefix {} and {} in IPv6, {} clients",
            other.prefix(),
            other.prefix_of_six(),
            other.clients()
        );
        Some(Complaint::hinted(message, "services of a group share what they remember: give all of them the same"))
    }
}

/// Reads the keys out of a service's table.
pub fn read(section: &mut Section<'_>, report: &mut Report) -> PersistenceChange {
    let [time, prefix, prefix_of_six, clients, group] = KEYS;
    let bits = PREFIXES_OF_SIX;
    PersistenceChange {
        time: section.nullable(time, report, |found, report| settings::read_duration(found, self::time, report)),
        prefix: section.nullable(prefix, report, |found, report| value_of(integer(found, PREFIXES, report))),
        prefix_of_six: section.nullable(prefix_of_six, report, |found, report| value_of(integer(found, bits, report))),
        clients: section.nullable(clients, report, |found, report| value_of(integer(found, CLIENTS, report))),
        group: section.nullable(group, report, |found, report| value_of(text(found, report, group_name))),
    }
}

fn value_of<T>(found: Option<Located<T>>) -> Option<T> {
    found.map(|found| found.value)
}

/// A time that makes sense.
pub fn time(duration: Duration) -> Result<Duration, Complaint> {
    if (SHORTEST..=LONGEST).contains(&duration) {
        return Ok(duration);
    }
    Err(Complaint::hinted("clients can't stay for that time", "from \"1s\" to \"30d\""))
}

/// The length of a prefix, as text.
pub fn prefix(text: &str) -> Result<u8, Complaint> {
    number(text, "prefix length", PREFIXES)
}

/// The length of a prefix of IPv6, as text.
pub fn prefix_of_six(text: &str) -> Result<u8, Complaint> {
    number(text, "prefix length", PREFIXES_OF_SIX)
}

/// So many clients, as text.
pub fn clients(text: &str) -> Result<u32, Complaint> {
    number(text, "number of clients", CLIENTS)
}

fn number<T: TryFrom<i64>>(text: &str, what: &str, range: std::ops::RangeInclusive<i64>) -> Result<T, Complaint> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    let hint = format!("from {} to {}", range.start(), range.end());
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| Complaint::hinted(format!("`{text}` can't be the {what}"), hint))
}

/// The name of a group: as a service's.
pub fn group_name(text: &str) -> Result<String, Complaint> {
    value::service_name(text)
        .map_err(|complaint| Complaint { message: format!("`{text}` can't be a group's name"), ..complaint })
}
