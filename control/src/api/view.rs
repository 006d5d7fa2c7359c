//! Services and backends as the API shows them.

pub use super::failure::{ErrorBody, ProblemBody};

use datapath::service::BackendTotals;
use serde::{Deserialize, Serialize};

use crate::catalog::{BackendEntry, ServiceEntry};
use crate::config::value::{show_duration, show_listen};
use crate::operations::Operations;

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The idle time of open connections and UDP flows, e.g. `10m`; null: as `[timeouts]` says.
    pub timeout: Option<String>,
    /// In order.
    pub backends: Vec<BackendView>,
}

/// A backend and what it has carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// A service with all its backends.
pub fn service(gateway: &dyn Operations, service: &ServiceEntry) -> ServiceView {
    ServiceView {
        name: service.name.clone(),
        listen: service.listens.iter().map(show_listen).collect(),
        scheduler: service.settings.scheduler.to_string(),
        timestamps: if service.settings.rewrite_timestamps { "rewrite" } else { "keep" }.to_owned(),
        direct: service.settings.direct,
        timeout: service.settings.timeout.map(show_duration),
        backends: backends(gateway, service),
    }
}

/// All backends of a service.
pub fn backends(gateway: &dyn Operations, service: &ServiceEntry) -> Vec<BackendView> {
    service.backends.iter().map(|entry| backend(service, entry, gateway.totals(entry.id))).collect()
}

/// One backend.
pub fn backend(service: &ServiceEntry, entry: &BackendEntry, totals: BackendTotals) -> BackendView {
    let config = &entry.config;
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
        active_connections: totals.active,
        inactive_connections: totals.inactive,
        connections: totals.connections,
        packets_in: totals.packets_in,
        packets_out: totals.packets_out,
        bytes_in: totals.bytes_in,
        bytes_out: totals.bytes_out,
    }
}
