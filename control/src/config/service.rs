//! `[[service]]` and `[[service.backend]]`, and the same things in the bodies of API requests.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;

use wire::MacAddr;

use super::check::{self, CheckDraft};
use super::node::{Node, Value};
use super::report::{At, Complaint, Located, Report};
use super::section::{Section, integer};
use super::{
    BackendAddress, BackendConfig, Listen, ServiceConfig, Settings, SettingsChange, life, one_packet, passive,
    persistence, protection, settings, shown, state_times, value,
};

const DEFAULT_WEIGHT: u16 = 1;
/// In TOML a key belongs to the table that was opened last.
const BEFORE_BACKENDS: &str = "[[service]]: put it before the service's first [[service.backend]]";

/// A service as far as it could be read.
#[derive(Debug)]
pub struct ServiceDraft {
    /// Unique.
    pub name: Option<Located<String>>,
    /// Those that could be read.
    pub listens: Vec<Located<Listen>>,
    /// The rest of its keys.
    pub settings: SettingsChange,
    /// Where its keys of [`persistence`], [`life`], [`protection`] and [`state_times`] stand.
    pub keys_at: Vec<(&'static str, At)>,
    nowhere: At,
    /// Fields of it that could not be read.
    misread: Vec<String>,
    /// How its backends are asked whether they live.
    pub check: Option<CheckDraft>,
    /// Those that could be read.
    pub backends: Vec<BackendDraft>,
}

/// A backend as far as it could be read.
#[expect(clippy::option_option, reason = "None was not said, Some(None) is JSON's null")]
#[derive(Debug)]
pub struct BackendDraft {
    /// Its table.
    pub at: At,
    /// Address and port.
    pub address: Option<Located<BackendAddress>>,
    /// Its node; the inner `None` is JSON's null.
    pub vtep: Option<Located<Option<Ipv4Addr>>>,
    /// Its MAC address; the inner `None` is JSON's null.
    pub mac: Option<Located<Option<MacAddr>>>,
    /// Its weight.
    pub weight: Option<u16>,
    /// Its maximum of connections; the inner `None` is JSON's null.
    pub max_connections: Option<Option<NonZeroU32>>,
    /// Whether it is a sorry backend.
    pub sorry: Option<bool>,
}

/// Which keys must be there, and what the backends are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A table of the file: `backend`.
    File,
    /// A whole service or backend in JSON: `backends`, and maybe what the API shows beside the config.
    Whole,
    /// What shall change, in JSON.
    Change,
}

/// Reads a service.
pub fn read(node: &Node, at: At, form: Form, report: &mut Report) -> Option<ServiceDraft> {
    let before = report.findings.len();
    let whole = at.field.clone();
    let mut section = Section::open(node, at, report)?;
    if form != Form::Change {
        section.require("name", "\"my-web\"", report);
        section.require("listen", "\"198.18.0.1:8080/tcp\"", report);
    }
    let name = if form == Form::Change { None } else { section.text("name", report, value::service_name) };
    let listens = section.texts("listen", report, value::listen);
    let empty = Complaint::hinted("`listen` is empty: nobody could reach the service", "e.g. 198.18.0.1:8080/tcp");
    section.refuse_empty("listen", empty, report);
    let settings = settings::read(&mut section, report);
    let keys = persistence::KEYS.into_iter().chain(life::KEYS).chain([
        state_times::KEY,
        one_packet::KEY,
        passive::KEY,
        "proxy_protocol",
    ]);
    let keys = keys.chain(protection::KEYS);
    let keys_at = keys.filter_map(|key| Some((key, section.find(key)?.at)));
    let keys_at = keys_at.collect::<Vec<_>>().into_iter().chain(state_times::places(&mut section)).collect();
    let check = section.node("check").and_then(|(node, at)| check::read(node, at, report));
    let key = if form == Form::File { "backend" } else { "backends" };
    let items = if form == Form::Change { Vec::new() } else { section.list(key, report) };
    let keys = section.known().to_vec();
    let backends = items.into_iter().filter_map(|(node, at)| read_backend_of(&keys, node, at, form, report)).collect();
    if form == Form::Whole {
        section.ignore(&shown::OF_SERVICE);
    }
    section.close(report);
    let misread =
        report.errors_since(before).filter_map(|at| at.field.strip_prefix(&whole)).map(str::to_owned).collect();
    Some(ServiceDraft { name, listens, settings, keys_at, nowhere: At::root(), misread, check, backends })
}

/// Reads a backend. A change leaves its address out.
pub fn read_backend(node: &Node, at: At, form: Form, report: &mut Report) -> Option<BackendDraft> {
    read_backend_of(&[], node, at, form, report)
}

/// As [`read_backend`], of a service that has these keys.
fn read_backend_of(
    service: &[&'static str],
    node: &Node,
    at: At,
    form: Form,
    report: &mut Report,
) -> Option<BackendDraft> {
    let mut section = Section::open(node, at, report)?;
    section.elsewhere(service, if form == Form::File { BEFORE_BACKENDS } else { "the service itself" });
    let mut address = None;
    if form != Form::Change {
        section.require("address", "\"10.0.0.11:8000\"", report);
        address = section.text("address", report, value::backend_address);
    }
    let vtep = nullable(&mut section, "vtep", report, value::ipv4_host);
    let mac = nullable(&mut section, "mac", report, value::mac);
    let weight = settings::or_default(&mut section, "weight", DEFAULT_WEIGHT, report, |found, report| {
        integer(found, 0..=65_535, report).map(|weight| weight.value)
    });
    let max_connections = section.nullable("max_connections", report, |found, report| {
        NonZeroU32::new(integer(found, 1..=i64::from(u32::MAX), report)?.value)
    });
    let sorry = settings::or_default(&mut section, "sorry", false, report, settings::switch);
    if form == Form::Whole {
        shown::ignore_of_backend(&mut section);
    }
    let at = section.at.clone();
    section.close(report);
    Some(BackendDraft { at, address, vtep, mac, weight, max_connections, sorry })
}

fn nullable<T>(
    section: &mut Section<'_>,
    key: &'static str,
    report: &mut Report,
    parse: impl FnOnce(&str) -> Result<T, Complaint>,
) -> Option<Located<Option<T>>> {
    let found = section.find(key)?;
    if matches!(found.value, Value::Null) {
        return Some(Located { value: None, at: found.at });
    }
    let text = section.text(key, report, parse)?;
    Some(Located { value: Some(text.value), at: text.at })
}

impl ServiceDraft {
    /// Where the key stands; else the service's name, or nowhere.
    pub fn place_of(&self, key: &str) -> &At {
        let found = self.keys_at.iter().find(|(found, _)| *found == key).map(|(_, at)| at);
        found.or(self.name.as_ref().map(|name| &name.at)).unwrap_or(&self.nowhere)
    }

    /// Whether the key stands there, but could not be read: what rests on it can't be judged.
    pub fn is_misread(&self, key: &str) -> bool {
        let of_key = |field: &String| {
            let behind = field.trim_start_matches('.').strip_prefix(key);
            behind.is_some_and(|behind| behind.is_empty() || behind.starts_with(['.', '[']))
        };
        self.misread.iter().any(of_key)
    }

    /// Its settings, as far as they could be read.
    pub fn settings(&self) -> Settings {
        self.settings.apply(Settings::default())
    }

    /// The service, if all that it needs could be read.
    pub fn finish(&self) -> Option<ServiceConfig> {
        Some(ServiceConfig {
            name: self.name.as_ref()?.value.clone(),
            listens: self.listens.iter().map(|listen| listen.value.clone()).collect(),
            settings: self.settings(),
            check: self.check.as_ref().and_then(|draft| draft.check.clone()),
            backends: self.backends.iter().filter_map(BackendDraft::finish).collect(),
        })
    }
}

impl BackendDraft {
    /// The backend, if its address could be read.
    pub fn finish(&self) -> Option<BackendConfig> {
        Some(BackendConfig {
            address: self.address.as_ref()?.value,
            vtep: self.vtep.as_ref().and_then(|vtep| vtep.value),
            mac: self.mac.as_ref().and_then(|mac| mac.value),
            weight: self.weight.unwrap_or(DEFAULT_WEIGHT),
            max_connections: self.max_connections.flatten(),
            sorry: self.sorry.unwrap_or(false),
        })
    }
}
