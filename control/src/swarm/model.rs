//! What the Docker Engine API answers, as far as the gateway reads it. Field names are Docker's; what is missing or null
//! counts as empty, so that engines of other ages are understood.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Go writes an empty list or map as null.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// One of `GET /services`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Service {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Text of a fixed form: the older one is the smaller one.
    pub created_at: String,
    /// What the operator asked for.
    pub spec: ServiceSpec,
    /// What the swarm made of it.
    pub endpoint: Endpoint,
    /// The last update of its tasks.
    #[serde(deserialize_with = "nullable")]
    pub update_status: UpdateStatus,
    /// How many of its tasks run; only engines since 20.10 say so.
    #[serde(rename = "ServiceStatus")]
    pub counts: Option<ServiceStatus>,
}

/// A service's `UpdateStatus`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateStatus {
    /// `updating`, `completed` and others.
    pub state: String,
}

impl UpdateStatus {
    /// Whether tasks are being replaced, now or after a delay.
    pub fn is_moving(&self) -> bool {
        matches!(self.state.as_str(), "updating" | "rollback_started")
    }
}

/// A service's `ServiceStatus`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceStatus {
    /// How many of its tasks run, whether they shall or not.
    pub running_tasks: u64,
}

/// A service's `Spec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceSpec {
    /// Its name, unique in the swarm.
    pub name: String,
    /// Its labels.
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// What its tasks are made from.
    pub task_template: TaskTemplate,
}

/// `Spec.TaskTemplate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskTemplate {
    /// The networks that it was attached to by `--network`.
    #[serde(deserialize_with = "nullable")]
    pub networks: Vec<NetworkTarget>,
}

/// A network by name or id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkTarget {
    /// Its id, most of the time.
    pub target: String,
}

/// A service's `Endpoint`: automatic ports are here only, not in the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Endpoint {
    /// What it publishes.
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<Port>,
    /// Its addresses, one a network.
    #[serde(rename = "VirtualIPs", deserialize_with = "nullable")]
    pub virtual_ips: Vec<VirtualIp>,
}

/// A published port.
#[expect(clippy::struct_field_names, reason = "these are Docker's names")]
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Port {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// In the container. Docker takes any number.
    pub target_port: u32,
    /// Outside; 0 while it is not given yet, or differs from task to task.
    pub published_port: u32,
    /// `ingress` or `host`.
    pub publish_mode: String,
}

/// A service's own address in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VirtualIp {
    /// Which network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// `10.0.0.5/24`
    pub addr: String,
}

/// One of `GET /tasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Task {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its service.
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    /// Its node; empty while it has none.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// What it does.
    pub status: TaskStatus,
    /// What it shall do.
    pub desired_state: String,
    /// Its addresses in overlays.
    #[serde(deserialize_with = "nullable")]
    pub networks_attachments: Vec<Attachment>,
}

/// A task's `Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskStatus {
    /// `running` and others.
    pub state: String,
    /// Ports of `mode=host`.
    #[serde(deserialize_with = "nullable")]
    pub port_status: PortStatus,
}

/// `Status.PortStatus`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortStatus {
    /// Each comes twice: for IPv4 and for IPv6.
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<Port>,
}

/// One of a task's `NetworksAttachments`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Attachment {
    /// The network.
    pub network: AttachedNetwork,
    /// `10.0.0.7/24`
    #[serde(deserialize_with = "nullable")]
    pub addresses: Vec<String>,
}

/// A network as tasks know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachedNetwork {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
}

/// One of `GET /nodes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// How it is.
    pub status: NodeStatus,
    /// Of managers only.
    pub manager_status: Option<ManagerStatus>,
}

/// A node's `Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeStatus {
    /// `ready`, `down`, `unknown`, `disconnected`.
    pub state: String,
    /// Where its connection to the manager comes from.
    pub addr: String,
}

/// A node's `ManagerStatus`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ManagerStatus {
    /// `192.168.77.11:2377`
    pub addr: String,
}

/// One of `GET /networks`, or `GET /networks/ID?verbose=true`, which has more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// `swarm` or `local`.
    pub scope: String,
    /// `overlay` and others.
    pub driver: String,
    /// Whether it is the one for published ports.
    pub ingress: bool,
    /// Its subnets.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// The driver's options: the VNI, encryption, the MTU, direct server return.
    #[serde(deserialize_with = "nullable")]
    pub options: BTreeMap<String, String>,
    /// What is attached to it on this engine.
    #[serde(deserialize_with = "nullable")]
    pub containers: BTreeMap<String, Container>,
    /// What the engines tell each other, with `verbose`.
    #[serde(deserialize_with = "nullable")]
    pub services: BTreeMap<String, GossipService>,
}

/// A network's `IPAM`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipam {
    /// One a subnet.
    #[serde(deserialize_with = "nullable")]
    pub config: Vec<Subnet>,
}

/// A subnet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Subnet {
    /// `10.0.0.0/24`
    pub subnet: String,
}

/// Something attached to a network on this engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Container {
    /// `10.0.0.2/24`
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
}

/// A service as engines gossip about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GossipService {
    /// Its endpoints.
    #[serde(deserialize_with = "nullable")]
    pub tasks: Vec<GossipTask>,
}

/// An endpoint as engines gossip about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GossipTask {
    /// `service.slot.taskid`
    pub name: String,
    /// Its overlay address.
    #[serde(rename = "EndpointIP")]
    pub endpoint_ip: String,
    /// `Host IP` is the VTEP, right also with `--data-path-addr`.
    #[serde(deserialize_with = "nullable")]
    pub info: BTreeMap<String, String>,
}

/// `GET /info`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    /// Its place in the swarm.
    #[serde(deserialize_with = "nullable")]
    pub swarm: SwarmInfo,
}

/// `Swarm` of `GET /info`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwarmInfo {
    /// `active` in a swarm, `inactive` in none; `pending`, `error` or `locked` while it is not known.
    pub local_node_state: String,
    /// How the other nodes know it.
    pub node_addr: String,
}

/// `GET /swarm`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Swarm {
    /// The UDP port of VXLAN; 0 in old engines.
    pub data_path_port: u16,
}
