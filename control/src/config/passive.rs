//! `passive`: backends that do not take the clients' connections rest for a while.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use wire::Protocol;

use super::node::{Node, Value};
use super::report::{At, Complaint, Report};
use super::section::{Section, wrong_type};
use super::{Listen, settings, value};

/// The key, and the table's name.
pub const KEY: &str = "passive";

const FAILURES: std::ops::RangeInclusive<i64> = 1..=1_000;
const FLOOR: std::ops::RangeInclusive<i64> = 0..=65_535;
/// A rest grows to so many times its first length.
const MOST_DOUBLED: u32 = 8;

/// When a backend rests, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passive {
    /// Whether backends are watched at all.
    pub on: bool,
    /// So many connections in a row that a backend did not take.
    pub failures: u32,
    /// Failures further apart than this have nothing to do with each other.
    pub window: Duration,
    /// How long a backend rests at first; twice as long each time it fails again right after.
    pub ejection: Duration,
    /// So many backends must be left, else none rests.
    pub floor: u16,
}

impl Default for Passive {
    fn default() -> Passive {
        let (window, ejection) = (Duration::from_secs(10), Duration::from_secs(5));
        Passive { on: true, failures: 3, window, ejection, floor: 1 }
    }
}

impl Passive {
    /// Nobody is watched.
    pub const OFF: Passive =
        Passive { on: false, failures: 3, window: Duration::from_secs(10), ejection: Duration::from_secs(5), floor: 1 };

    /// The longest rest.
    pub fn longest(&self) -> Duration {
        self.ejection * MOST_DOUBLED
    }

    /// What is wrong with it in a service that listens there.
    pub fn fault(&self, listens: &[Listen]) -> Option<Complaint> {
        let has_tcp = listens.is_empty() || listens.iter().any(|listen| listen.protocol == Protocol::Tcp);
        let hint = "only TCP's handshake shows whether a backend answers: add [service.check]";
        (self.on && !has_tcp)
            .then(|| Complaint::hinted("`passive` means nothing to a service that does not listen on TCP", hint))
    }

    /// As the API shows it.
    pub fn show(&self) -> Json {
        if !self.on {
            return json!(false);
        }
        json!({
            "failures": self.failures,
            "window": value::show_duration(self.window),
            "ejection": value::show_duration(self.ejection),
            "floor": self.floor,
        })
    }

    /// The keys of the table as the command line gives them, for a request's body.
    pub fn body(on: Option<&str>, keys: [(&str, Option<Json>); 4]) -> Option<Json> {
        let table: Map<String, Json> =
            keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        match on {
            _ if !table.is_empty() => Some(table.into()),
            Some("true") => Some(json!(true)),
            Some("false") => Some(json!(false)),
            Some(_) => Some(Json::Null),
            None => None,
        }
    }
}

/// Reads the key: a switch, or the table; the inner `None` is JSON's null.
#[expect(clippy::option_option, reason = "None leaves it as it is, Some(None) takes it away")]
pub fn read(section: &mut Section<'_>, report: &mut Report) -> Option<Option<Passive>> {
    let (node, at) = section.node(KEY)?;
    match &node.value {
        Value::Null => Some(None),
        _ => read_value(node, at, report).map(Some),
    }
}

/// As [`read`], for what labels say.
pub fn read_value(node: &Node, at: At, report: &mut Report) -> Option<Passive> {
    match &node.value {
        Value::Boolean(true) => Some(Passive::default()),
        Value::Boolean(false) => Some(Passive::OFF),
        Value::Table(_) => Some(read_table(Section::open(node, at, report)?, report)),
        other => {
            report.error(&at, wrong_type(&at, "a boolean or a table", other));
            None
        }
    }
}

fn read_table(mut section: Section<'_>, report: &mut Report) -> Passive {
    let default = Passive::default();
    let failures = section.integer("failures", FAILURES, report).map_or(default.failures, |found| found.value);
    let mut time = |key| section.find(key).and_then(|found| settings::read_timeout(found, report));
    let (window, ejection) = (time("window"), time("ejection"));
    let floor = section.integer("floor", FLOOR, report).map_or(default.floor, |found| found.value);
    section.close(report);
    Passive {
        on: true,
        failures,
        window: window.unwrap_or(default.window),
        ejection: ejection.unwrap_or(default.ejection),
        floor,
    }
}
