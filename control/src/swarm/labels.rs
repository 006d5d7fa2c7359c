//! The labels `sluicegate.*` of a service. What is wrong in one of them is said and left out; the rest counts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use wire::Protocol;

use super::check_labels;
use crate::config::report::{Complaint, Fault, suggest};
use crate::config::{CheckConfig, Settings, address, life, one_packet, persistence, protection, settings, value};

/// All of ours begin with this.
pub const PREFIX: &str = "sluicegate.";

const KEYS: &[&str] = &[
    "allow",
    "check",
    "deny",
    "direct",
    "drain_deadline",
    "enable",
    "half_open",
    "max_connections",
    "on_down",
    "one_packet",
    "passive",
    "persistence",
    "persistence_clients",
    "persistence_group",
    "persistence_prefix",
    "persistence_prefix_ipv6",
    "port",
    "proxy_protocol",
    "rate",
    "rate_burst",
    "rate_per_source",
    "rate_per_source_burst",
    "scheduler",
    "slow_start",
    "syn_cookies",
    "timeout",
    "vip",
    "weight",
];
const SWITCH: &[(&str, bool)] = &[("true", true), ("false", false)];

/// What the labels of a service ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Whether it is served at all.
    pub enabled: bool,
    /// How it is served.
    pub settings: Settings,
    /// The weight of each of its tasks.
    pub weight: u16,
    /// The maximum of connections of each of its tasks.
    pub max_connections: Option<NonZeroU32>,
    /// The VIPs that serve it; none: all.
    pub vips: Vec<IpAddr>,
    /// Whether its tasks answer clients directly; `None`: if the network lets them.
    pub direct: Option<bool>,
    /// How its tasks are checked.
    pub check: Option<CheckConfig>,
    /// Ports beside those that it publishes.
    pub ports: Vec<LabelPort>,
}

/// `8080:80/tcp`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelPort {
    /// On the VIP.
    pub published: u16,
    /// In the task.
    pub target: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl Default for Labels {
    fn default() -> Labels {
        Labels {
            enabled: true,
            settings: Settings::default(),
            weight: 1,
            max_connections: None,
            vips: Vec::new(),
            direct: None,
            check: None,
            ports: Vec::new(),
        }
    }
}

/// Reads them. `vips` are those of the config. Complaints are sentences without the service's name.
pub fn read(labels: &BTreeMap<String, String>, vips: &[IpAddr]) -> (Labels, Vec<String>) {
    let mut read = Labels::default();
    let (check, mut complaints) = check_labels::read(labels);
    read.check = check;
    for (name, text) in labels {
        let Some(key) = name.strip_prefix(PREFIX).filter(|_| !check_labels::is_table(name)) else { continue };
        if let Err(Complaint { message, hint }) = read.set(key, text.trim(), vips) {
            let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            complaints.push(printable_sentence(&format!("label {}: {message}{hint}", printable(name))));
        }
    }
    complaints.extend(read.mend());
    let (passive, wrong) = check_labels::passive(labels);
    read.settings.passive = passive;
    complaints.extend(wrong);
    (read, complaints)
}

impl Labels {
    /// Leaves out key by key what does not go together with the rest, until nothing is wrong; a sentence for each.
    fn mend(&mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        // No key is left out twice.
        for _ in KEYS {
            let Some((key, complaint)) = self.fault() else { break };
            complaints.push(format!("label {PREFIX}{key}: {}", complaint.message));
            self.settings.forget(key);
        }
        complaints
    }

    fn fault(&self) -> Option<Fault> {
        let Settings { persistence, protection, life, scheduler, .. } = &self.settings;
        let one_packet = || Some((one_packet::KEY, self.settings.one_packet_fault(&[])?));
        let life = || life.fault(*scheduler, self.check.is_some());
        persistence.fault().or_else(|| protection.fault(false, &[])).or_else(life).or_else(one_packet)
    }

    fn set(&mut self, key: &str, text: &str, vips: &[IpAddr]) -> Result<(), Complaint> {
        match key {
            "direct" => self.direct = Some(value::word("choice", text, SWITCH)?),
            "enable" => self.enabled = value::word("choice", text, SWITCH)?,
            "persistence" => self.settings.persistence.time = Some(persistence::time(value::duration(text)?)?),
            "persistence_clients" => self.settings.persistence.clients = Some(persistence::clients(text)?),
            "persistence_group" => self.settings.persistence.group = Some(persistence::group_name(text)?),
            "persistence_prefix" => self.settings.persistence.prefix = Some(persistence::prefix(text)?),
            "proxy_protocol" => self.settings.proxy_protocol = value::word("choice", text, SWITCH)?,
            "persistence_prefix_ipv6" => {
                self.settings.persistence.prefix_of_six = Some(persistence::prefix_of_six(text)?);
            }
            key if protection::KEYS.contains(&key) => self.settings.protection.set(key, text)?,
            "scheduler" => self.settings.scheduler = value::scheduler(text)?,
            "timeout" => self.settings.timeout = Some(time(text)?),
            "slow_start" => self.settings.life.slow_start = Some(time(text)?),
            "drain_deadline" => self.settings.life.drain_deadline = Some(time(text)?),
            "on_down" => self.settings.life.reset_on_down = value::word("choice", text, life::ON_DOWN)?,
            "one_packet" => self.settings.one_packet = value::word("choice", text, SWITCH)?,
            "max_connections" => self.max_connections = Some(maximum(text)?),
            "weight" => self.weight = weight(text)?,
            "vip" => self.vips = distinct(list(text, |item| vip(item, vips))?),
            "port" => self.ports = list(text, port)?,
            _ if key.starts_with("timeouts.") => {
                self.settings.timeouts.set(key.trim_start_matches("timeouts."), text)?;
            }
            _ => return Err(Complaint::hinted("there is no such label", suggest(key, KEYS))),
        }
        Ok(())
    }
}

/// What others wrote may hold anything.
pub fn printable(text: &str) -> String {
    crate::printable::printable(&text.chars().take(80).collect::<String>())
}

/// A sentence with what others wrote in it.
pub fn printable_sentence(text: &str) -> String {
    crate::printable::printable(&text.chars().take(300).collect::<String>())
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, Complaint>) -> Result<Vec<T>, Complaint> {
    text.split(',').map(|item| parse(item.trim())).collect()
}

/// The first of each.
fn distinct(all: Vec<IpAddr>) -> Vec<IpAddr> {
    all.into_iter().fold(Vec::new(), |mut once, address| {
        if !once.contains(&address) {
            once.push(address);
        }
        once
    })
}

fn time(text: &str) -> Result<Duration, Complaint> {
    settings::timeout(value::duration(text)?)
}

fn weight(text: &str) -> Result<u16, Complaint> {
    let wrong = |_| Complaint::hinted(format!("`{}` is not a weight", printable(text)), "from 0 to 65535; 0 drains");
    text.parse().map_err(wrong)
}

fn maximum(text: &str) -> Result<NonZeroU32, Complaint> {
    let wrong = |_| Complaint::hinted(format!("`{}` is not a maximum", printable(text)), "a number from 1 on");
    text.parse().map_err(wrong)
}

fn vip(text: &str, vips: &[IpAddr]) -> Result<IpAddr, Complaint> {
    let address = value::host(text)?;
    if vips.contains(&address) {
        return Ok(address);
    }
    let known: Vec<String> = vips.iter().map(ToString::to_string).collect();
    Err(Complaint::hinted(format!("{address} is not in swarm.vips"), format!("known: {}", known.join(", "))))
}

/// `8080:80/tcp`, `8080:80`, `53/udp`.
fn port(text: &str) -> Result<LabelPort, Complaint> {
    let wrong = || {
        let message = format!("`{}` is not a port to publish", printable(text));
        Complaint::hinted(message, "PUBLISHED:TARGET/PROTOCOL, e.g. 8080:80/tcp")
    };
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = super::groups::protocol(protocol).ok_or_else(wrong)?;
    let (published, target) = ports.split_once(':').unwrap_or((ports, ports));
    let number = |text: &str| address::port(text).map(NonZeroU16::get).map_err(|_| wrong());
    Ok(LabelPort { published: number(published)?, target: number(target)?, protocol })
}
