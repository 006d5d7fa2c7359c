//! What the API may ask of the running gateway, and the shapes it answers with.
//!
//! The shapes are public: their JSON is described in `docs/api.md`. The gateway implements [`Operations`]; the API's tests
//! use a fake.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

use datapath::FlowFilter;
use datapath::service::BackendId;
use serde::{Deserialize, Serialize};
use wire::MacAddr;

use crate::catalog::{Catalog, Changes};
use crate::config::{BackendAddress, BackendConfig, CheckConfig, Listen, Problem, ServiceConfig, SettingsChange};

/// A question about flows, ready to be asked. That may take many seconds, and needs the gateway no more: let go of its lock
/// before. Each flow is given to the argument as it is found. The error is a sentence: a list that is not complete is none.
pub type FlowQuestion = Box<dyn FnOnce(&mut dyn FnMut(&FlowView)) -> Result<(), String> + Send>;

/// The running gateway, as the API sees it. Calls are short.
pub trait Operations: Send + 'static {
    /// Devices, workers, occupancy, build.
    fn status(&self) -> Status;
    /// Whether it can serve, looked at anew.
    fn health(&mut self) -> Health;
    /// Packets, bytes and drops, per worker and in all.
    fn counters(&self) -> CountersView;
    /// The services as they are now.
    fn catalog(&self) -> &Catalog;
    /// The backends that cannot be reached now, by their first ids.
    fn lost(&self) -> &BTreeSet<BackendId>;
    /// Validates, changes the catalog and publishes it. On error nothing has changed.
    fn edit(&mut self, edit: Edit) -> Result<(), EditError>;
    /// Reads the config file again and applies it. On error nothing has changed.
    fn reload(&mut self) -> Result<ReloadReport, ReloadError>;
    /// Prepares the question which flows there are.
    fn flows(&self, filter: FlowFilter) -> FlowQuestion;
    /// How full the flow tables are.
    fn flow_count(&self) -> FlowCount;
}

/// What is `Some` shall be other in a backend.
#[expect(clippy::option_option, reason = "None leaves the thing as it is, Some(None) takes it away: PATCH's null")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackendChange {
    /// Its weight.
    pub weight: Option<u16>,
    /// Its VTEP; `Some(None)` makes it a plainly routed backend.
    pub vtep: Option<Option<Ipv4Addr>>,
    /// Its MAC address in the overlay; `Some(None)` goes back to the default.
    pub mac: Option<Option<MacAddr>>,
    /// Its maximum of connections.
    pub max_connections: Option<Option<NonZeroU32>>,
    /// Whether it is a sorry backend.
    pub sorry: Option<bool>,
}

impl BackendChange {
    /// The backend with the change.
    pub fn apply(&self, to: &BackendConfig) -> BackendConfig {
        BackendConfig {
            address: to.address,
            weight: self.weight.unwrap_or(to.weight),
            vtep: self.vtep.unwrap_or(to.vtep),
            mac: self.mac.unwrap_or(to.mac),
            max_connections: self.max_connections.unwrap_or(to.max_connections),
            sorry: self.sorry.unwrap_or(to.sorry),
        }
    }
}

/// One change to the catalog.
#[expect(clippy::option_option, reason = "None leaves the thing as it is, Some(None) takes it away: PATCH's null")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// A new service, maybe with backends.
    AddService(ServiceConfig),
    /// The service as given, new or in the place of the one with that name. What still stands keeps its ids and counters.
    PutService(ServiceConfig),
    /// Changes what is `Some` in the service `name`.
    SetService {
        /// Which service.
        name: String,
        /// All its listens, in place of the old ones.
        listens: Option<Vec<Listen>>,
        /// The rest of its keys.
        settings: SettingsChange,
        /// How its backends are asked whether they live; `Some(None)`: not any more.
        check: Option<Option<CheckConfig>>,
    },
    /// Takes the service away, its flows are ended.
    RemoveService {
        /// Which service.
        name: String,
    },
    /// A new backend of a service.
    AddBackend {
        /// Which service.
        service: String,
        /// The backend.
        backend: BackendConfig,
    },
    /// Changes what is `Some` in a backend.
    SetBackend {
        /// Which service.
        service: String,
        /// Which of its backends.
        address: BackendAddress,
        /// What shall be other.
        change: BackendChange,
    },
    /// Weight 0: flows that stand go on, no new ones.
    DrainBackend {
        /// Which service.
        service: String,
        /// Which of its backends.
        address: BackendAddress,
    },
    /// Takes the backend away, its flows are ended.
    RemoveBackend {
        /// Which service.
        service: String,
        /// Which of its backends.
        address: BackendAddress,
    },
}

/// Why an [`Edit`] was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditError {
    /// What kind of refusal, for the HTTP status.
    pub kind: EditErrorKind,
    /// One sentence that names the thing.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The kinds of [`EditError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditErrorKind {
    /// No such service or backend (404).
    NotFound,
    /// It is there already, or in the way of another (409).
    Conflict,
    /// It can't be so (422).
    Invalid,
    /// The gateway could not carry it out (500).
    Failed,
}

impl std::fmt::Display for EditError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EditError {}

/// Why a reload was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The file can't be so (422).
    #[error("the config was not reloaded, nothing has changed")]
    File(Vec<Problem>),
    /// The gateway could not carry it out, for a reason that is not in the file (500).
    #[error("the config could not be applied, nothing has changed: {0}")]
    Failed(String),
}

impl From<Vec<Problem>> for ReloadError {
    fn from(problems: Vec<Problem>) -> ReloadError {
        ReloadError::File(problems)
    }
}

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// What changed among services and backends.
    #[serde(flatten)]
    pub changes: Changes,
    /// Keys that differ in the file but need a restart to take effect, e.g. `gateway.cpus`.
    pub needs_restart: Vec<String>,
    /// The config's warnings, each in one line with its remedy.
    pub warnings: Vec<String>,
}

impl ReloadReport {
    /// What has changed, a line each; one that says so if nothing has.
    pub fn lines(&self) -> Vec<String> {
        let changes = &self.changes;
        let groups = [
            ("service added:", &changes.services_added),
            ("service removed:", &changes.services_removed),
            ("service changed:", &changes.services_changed),
            ("backend added:", &changes.backends_added),
            ("backend removed:", &changes.backends_removed),
            ("backend changed:", &changes.backends_changed),
            ("needs a restart:", &self.needs_restart),
        ];
        let lines = groups.iter().flat_map(|(title, names)| names.iter().map(move |name| format!("{title} {name}")));
        let lines: Vec<String> = lines.collect();
        if lines.is_empty() { vec!["nothing has changed".to_owned()] } else { lines }
    }
}

/// The answer to `status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version and build.
    pub build: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// The config file in use.
    pub config: String,
    /// The newest generation that was published.
    pub generation: u64,
    /// One entry per worker.
    pub workers: Vec<WorkerStatus>,
    /// One entry per interface queue, TUN, overlay socket.
    pub devices: Vec<DeviceStatus>,
    /// How full the flow tables are.
    pub flows: FlowCount,
    /// What the operator should know: a lost link, a backend without a route, a worker that failed.
    pub notes: Vec<String>,
    /// With XDP: whether flows are lent to the XDP program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortcuts: Option<ShortcutStatus>,
    /// With `[flow_log]`: the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_log: Option<String>,
    /// With `[swarm]`: how it stands with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm: Option<SwarmStatus>,
}

/// The answer to `health`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether this gateway can serve.
    pub healthy: bool,
    /// Why not: one sentence for each fault.
    pub faults: Vec<String>,
}

impl Health {
    /// Healthy is who has no faults.
    pub fn of(faults: Vec<String>) -> Health {
        Health { healthy: faults.is_empty(), faults }
    }
}

/// Shortcuts in [`Status`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortcutStatus {
    /// Whether flows are lent.
    pub on: bool,
    /// One entry per interface; none when shortcuts are not wanted.
    pub interfaces: Vec<ShortcutInterface>,
}

/// An interface in [`ShortcutStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortcutInterface {
    /// Its name.
    pub name: String,
    /// Why flows are not lent over it.
    pub reason: Option<String>,
}

/// The swarm in [`Status`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SwarmStatus {
    /// The manager that answered last.
    pub endpoint: String,
    /// Whether this machine is in the swarm.
    pub member: bool,
    /// The overlay network that is served.
    pub network: String,
    /// Its number; none while there is no overlay that can be served.
    pub vni: Option<u32>,
    /// The gateway's own address in it.
    pub overlay_address: Option<Ipv4Addr>,
    /// The overlays that are served beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<OverlayStatus>,
    /// Seconds since a manager answered; none: never yet.
    pub age_seconds: Option<f64>,
    /// Answers that failed or made no sense.
    pub errors: u64,
    /// Why there is no answer now.
    pub last_error: Option<String>,
    /// Services that it wants served.
    pub services: u64,
    /// Their tasks, leaving ones too.
    pub tasks: u64,
}

/// A further overlay in [`SwarmStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayStatus {
    /// The network's name.
    pub network: String,
    /// Its number.
    pub vni: u32,
    /// The gateway's own address in it.
    pub overlay_address: Ipv4Addr,
}

/// One worker in [`Status`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number, from 0.
    pub worker: usize,
    /// The CPU that it is pinned to.
    pub cpu: usize,
    /// The generation that it has applied.
    pub generation: u64,
    /// False when it has failed.
    pub alive: bool,
}

/// One device in [`Status`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// The interface.
    pub name: String,
    /// Its queue.
    pub queue: u32,
    /// The worker that serves it.
    pub worker: usize,
    /// `af_xdp`, `tun`, `overlay`.
    pub driver: String,
    /// `zero-copy`, `copy`, `generic` or `-`.
    pub mode: String,
    /// Whether the link is up and the device works.
    pub up: bool,
    /// Frames that were lost before we saw them.
    pub rx_dropped: u64,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// How full the flow tables are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCount {
    /// Flows now.
    pub flows: u64,
    /// The most there can be.
    pub capacity: u64,
}

/// The answer to `counters`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersView {
    /// All workers together.
    pub total: CounterSet,
    /// Each worker, in order.
    pub workers: Vec<CounterSet>,
}

/// The counters of a worker, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterSet {
    /// Packets, bytes, flows: by name, in the order in which they are shown.
    pub counters: BTreeMap<String, u64>,
    /// Dropped packets by reason.
    pub drops: BTreeMap<String, u64>,
}

/// Packets or bytes of a flow, by direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerDirection {
    /// From the client.
    pub original: u64,
    /// To the client.
    pub reply: u64,
}

/// One flow, with names instead of ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowView {
    /// The worker that owns it.
    pub worker: usize,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Who asked.
    pub client: SocketAddr,
    /// What was asked for.
    pub vip: SocketAddr,
    /// Where the backend sees it come from.
    pub snat: SocketAddr,
    /// Who answers.
    pub backend: SocketAddr,
    /// The service's name; empty when it is gone.
    pub service: String,
    /// `ESTABLISHED`, `TIME_WAIT`, …
    pub state: String,
    /// Seconds until it ends unless a packet comes.
    pub expires_in_seconds: u64,
    /// Packets by direction.
    pub packets: PerDirection,
    /// Bytes by direction.
    pub bytes: PerDirection,
}
