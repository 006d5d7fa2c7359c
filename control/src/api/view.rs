//! Services and backends as the API shows them.

pub use super::failure::{ErrorBody, ProblemBody};

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::catalog::{BackendEntry, ServiceEntry};
use crate::check::Health;
use crate::config::life::show_on_down;
use crate::config::protection::RateLimit;
use crate::config::value::{show_duration, show_listen};
use crate::operations::Operations;

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// `VIP:port/protocol`
    pub listen: Vec<String>,
    /// IPVS's name of it.
    pub scheduler: String,
    /// `rewrite` or `keep`.
    pub timestamps: String,
    /// Whether backends answer clients directly.
    pub direct: bool,
    /// Whether backends get a PROXY protocol header in front of what clients send.
    pub proxy_protocol: bool,
    /// The idle time of open connections and UDP flows, e.g. `10m`; null: as `[timeouts]` says.
    pub timeout: Option<String>,
    /// The idle times of states that have one of their own, as in `[timeouts]`.
    pub timeouts: BTreeMap<String, String>,
    /// Whether each UDP datagram is scheduled on its own.
    pub one_packet: bool,
    /// When backends rest: false, or an object with every key.
    pub passive: serde_json::Value,
    /// How long it takes until a backend that came up gets its whole weight, e.g. `30s`; null: no time.
    pub slow_start: Option<String>,
    /// What becomes of the connections of a backend that is down: `keep` or `reset`.
    pub on_down: String,
    /// How long a drained backend keeps its connections, e.g. `5m`; null: to their end.
    pub drain_deadline: Option<String>,
    /// How long clients stay with their backends, e.g. `5m`; null: they do not.
    pub persistence: Option<String>,
    /// Clients whose IPv4 addresses agree in so many bits count as one; null without `persistence`, as what follows.
    pub persistence_prefix: Option<u8>,
    /// The same for IPv6 addresses.
    pub persistence_prefix_ipv6: Option<u8>,
    /// How many clients there is room for.
    pub persistence_clients: Option<u32>,
    /// Services with the same group share their clients.
    pub persistence_group: Option<String>,
    /// Clients that are remembered now, by all services of the group.
    pub remembered_clients: Option<u64>,
    /// Clients that were forgotten before their time because there was no room.
    pub evicted_clients: Option<u64>,
    /// Who may open flows: prefixes; empty: everybody.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Who may not.
    #[serde(default)]
    pub deny: Vec<String>,
    /// New flows of all sources together, e.g. `1000/s`; null: any number.
    pub rate: Option<String>,
    /// How many of them at once; null without `rate`.
    pub rate_burst: Option<u32>,
    /// New flows of each source; null: any number.
    pub rate_per_source: Option<String>,
    /// How many of them at once; null without `rate_per_source`.
    pub rate_per_source_burst: Option<u32>,
    /// When SYNs are answered by cookies: `auto`, `always`, `never`.
    #[serde(default)]
    pub syn_cookies: String,
    /// How many half-open connections are too many; null unless `syn_cookies` is `auto`, and where
    /// there are no SYNs to answer.
    pub half_open: Option<u32>,
    /// What its lists and rates have kept out.
    pub protection: ProtectionView,
    /// As in the config, every key; null: its backends are not checked.
    pub check: Option<serde_json::Value>,
    /// In order.
    pub backends: Vec<BackendView>,
}

/// What a service's lists and rates have kept out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionView {
    /// Packets of those that the lists keep out.
    pub denied: u64,
    /// New flows beyond the rate of their source.
    pub over_rate_per_source: u64,
    /// New flows beyond the rate of the service.
    pub over_rate: u64,
    /// Sources that were forgotten while they were being held back, because others took their places.
    pub evicted_sources: u64,
    /// Connections of which the handshake is not complete, now.
    pub half_open: u64,
    /// Whether SYNs are answered by cookies now.
    pub cookies_now: bool,
    /// SYNs that were answered by a cookie.
    pub cookies_sent: u64,
    /// Cookies that came back, and opened a connection.
    pub cookies_accepted: u64,
    /// Segments without a connection that brought no cookie of ours while some were about.
    pub cookies_rejected: u64,
}

/// A backend and what it has carried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendView {
    /// Its service's name.
    pub service: String,
    /// `address:port`, or the address alone.
    pub address: String,
    /// `vxlan`, `route`, or `direct` when it answers clients itself.
    pub forward: String,
    /// Its node; null when it is routed plainly.
    pub vtep: Option<String>,
    /// Its MAC address in the overlay if one was given.
    pub mac: Option<String>,
    /// 0 drains.
    pub weight: u16,
    /// At most so many connections at a time; null: any number.
    pub max_connections: Option<u32>,
    /// Whether it serves only when no other backend is left.
    pub sorry: bool,
    /// `up`, `down` (its checks failed), `unreachable` (no way leads to it), `resting` (it did not answer clients), `draining` (weight 0) or `sorry` (it waits until no other is left).
    pub state: String,
    /// Why it rests; null when it does not.
    pub resting: Option<String>,
    /// How often it was made to rest.
    pub ejections: u64,
    /// What its checks found; null when it is not checked.
    pub check: Option<CheckView>,
    /// Connections that are open.
    pub active_connections: u64,
    /// Connections that are opening or closing.
    pub inactive_connections: u64,
    /// Connections since it was added.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// What the checks of a backend found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckView {
    /// Whether the last one passed; null before the first.
    pub passed: Option<bool>,
    /// What the last one found, in a few words.
    pub result: Option<String>,
    /// How long the last one took.
    pub duration_seconds: Option<f64>,
    /// Whole seconds since the last one.
    pub age_seconds: Option<u64>,
    /// Whole seconds since it is up or down; null before the first check.
    pub state_seconds: Option<u64>,
    /// Checks that passed.
    pub passed_total: u64,
    /// Checks that failed.
    pub failed_total: u64,
}

/// A service with all its backends.
pub fn service(gateway: &dyn Operations, service: &ServiceEntry) -> ServiceView {
    let persistence = &service.settings.persistence;
    let protection = &service.settings.protection;
    let remembered = gateway.catalog().remembered(service, sys::clock::now());
    ServiceView {
        name: service.name.clone(),
        listen: service.listens.iter().map(show_listen).collect(),
        scheduler: service.settings.scheduler.to_string(),
        timestamps: if service.settings.rewrite_timestamps { "rewrite" } else { "keep" }.to_owned(),
        direct: service.settings.direct,
        proxy_protocol: service.settings.proxy_protocol,
        timeout: service.settings.timeout.map(show_duration),
        timeouts: service.settings.timeouts.show(),
        one_packet: service.settings.one_packet,
        passive: service.passive().show(),
        slow_start: service.settings.life.slow_start.map(show_duration),
        on_down: show_on_down(service.settings.life).to_owned(),
        drain_deadline: service.settings.life.drain_deadline.map(show_duration),
        persistence: persistence.time.map(show_duration),
        persistence_prefix: persistence.time.map(|_| persistence.prefix()),
        persistence_prefix_ipv6: persistence.time.map(|_| persistence.prefix_of_six()),
        persistence_clients: persistence.time.map(|_| persistence.clients()),
        persistence_group: persistence.group.clone(),
        remembered_clients: remembered.map(|remembered| remembered.now),
        evicted_clients: remembered.map(|remembered| remembered.evicted),
        allow: protection.allow.iter().map(ToString::to_string).collect(),
        deny: protection.deny.iter().map(ToString::to_string).collect(),
        rate: protection.rate.map(RateLimit::show),
        rate_burst: protection.burst(),
        rate_per_source: protection.rate_per_source.map(RateLimit::show),
        rate_per_source_burst: protection.burst_per_source(),
        syn_cookies: protection.syn_cookies.show().to_owned(),
        half_open: protection.shown_half_open(service.settings.direct, &service.listens),
        protection: protection_view(service),
        check: service.check.as_ref().map(|check| check.to_json()),
        backends: backends(gateway, service),
    }
}

fn protection_view(service: &ServiceEntry) -> ProtectionView {
    let totals = service.guard.totals();
    ProtectionView {
        denied: totals.denied,
        over_rate_per_source: totals.over_rate_per_source,
        over_rate: totals.over_rate,
        evicted_sources: totals.evicted_sources,
        half_open: totals.half_open,
        cookies_now: service.bakes_cookies(),
        cookies_sent: totals.cookies_sent,
        cookies_accepted: totals.cookies_accepted,
        cookies_rejected: totals.cookies_rejected,
    }
}

/// All backends of a service.
pub fn backends(gateway: &dyn Operations, service: &ServiceEntry) -> Vec<BackendView> {
    service.backends.iter().map(|entry| backend(gateway, service, entry)).collect()
}

/// One backend.
pub fn backend(gateway: &dyn Operations, service: &ServiceEntry, entry: &BackendEntry) -> BackendView {
    let (config, totals) = (&entry.config, entry.stats.totals());
    let forward = match config.vtep {
        _ if service.settings.direct => "direct",
        Some(_) => "vxlan",
        None => "route",
    };
    BackendView {
        service: service.name.clone(),
        address: config.address.to_string(),
        forward: forward.to_owned(),
        vtep: config.vtep.map(|vtep| vtep.to_string()),
        mac: config.mac.map(|mac| mac.to_string()),
        weight: config.weight,
        max_connections: config.max_connections.map(NonZeroU32::get),
        sorry: config.sorry,
        state: state(entry, gateway.lost().contains(&entry.first_id)).to_owned(),
        resting: entry.ejection.as_ref().map(|ejection| format!("{}, for {}", ejection.reason, ejection.rest)),
        ejections: entry.ejections,
        check: service.check.is_some().then(|| check(&entry.health)),
        active_connections: totals.active,
        inactive_connections: totals.inactive,
        connections: totals.connections,
        packets_in: totals.packets_in,
        packets_out: totals.packets_out,
        bytes_in: totals.bytes_in,
        bytes_out: totals.bytes_out,
    }
}

/// `down` first: it stays so, whatever way leads to it, until checks pass.
fn state(entry: &BackendEntry, is_lost: bool) -> &'static str {
    match entry {
        _ if !entry.health.is_up() => "down",
        _ if is_lost => "unreachable",
        _ if entry.suspended => "resting",
        _ if entry.config.weight == 0 => "draining",
        _ if entry.config.sorry => "sorry",
        _ => "up",
    }
}

fn check(health: &Health) -> CheckView {
    let now = sys::clock::now();
    let last = health.last();
    let (passed_total, failed_total) = health.counts();
    CheckView {
        passed: last.map(|(outcome, _)| outcome.passed),
        result: last.map(|(outcome, _)| outcome.what.clone()),
        duration_seconds: last.map(|(outcome, _)| outcome.took.as_secs_f64()),
        age_seconds: last.map(|(_, at)| now.saturating_sub(at).as_secs()),
        state_seconds: health.since().map(|since| now.saturating_sub(since).as_secs()),
        passed_total,
        failed_total,
    }
}
