//! Gateways over TUN, each on a host of its own beside a host that has all nodes' addresses: those answer ARP, and take what
//! is sent to tasks without a word.

use super::manager::Manager;
use super::state::{FIRST_PORT, GATEWAY_OVERLAY, NODES, SERVICES, Swarm, node_address, service_name};
use crate::clock::wait_until;
use crate::gateway::Gateway;
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::network::link;
use crate::{Failure, Outcome};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

const VIP: &str = "198.18.0.1";
const UNDERLAY: &str = "198.18.1.1";
const PATIENCE: Duration = Duration::from_secs(20);

/// What a gateway follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Nothing: no service at all.
    Idle,
    /// A file with the same services and backends.
    File,
    /// A manager that counts running tasks, as Docker does since 20.10.
    Swarm,
    /// A manager that does not.
    OldSwarm,
}

impl Kind {
    /// In the order of tables.
    pub const ALL: [Kind; 4] = [Kind::Idle, Kind::File, Kind::Swarm, Kind::OldSwarm];

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Idle => "no services",
            Kind::File => "the same services from the file",
            Kind::Swarm => "swarm, Docker since 20.10",
            Kind::OldSwarm => "swarm, older Docker",
        }
    }
}

/// A gateway and what is around it. Fields are dropped in this order.
pub struct Seat {
    /// What it follows.
    pub kind: Kind,
    /// The gateway.
    pub gateway: Gateway,
    /// Whom it asks.
    pub manager: Option<Manager>,
    _nodes: Namespace,
}

/// One of each kind.
///
/// # Errors
/// Not root, or one does not come up.
pub fn build(lab: &Lab) -> Outcome<Vec<Seat>> {
    Kind::ALL.iter().enumerate().map(|(number, kind)| seat(lab, number, *kind)).collect()
}

fn seat(lab: &Lab, number: usize, kind: Kind) -> Outcome<Seat> {
    let (host, nodes) = (lab.namespace(&format!("gw{number}"))?, lab.namespace(&format!("no{number}"))?);
    link((&host, "eth0"), (&nodes, "eth0"), 1)?;
    host.ip(&format!("addr add {UNDERLAY}/16 dev eth0\nlink set eth0 up"))?;
    let addresses = (0..NODES).map(|node| format!("addr add {}/16 dev eth0\n", node_address(node)));
    nodes.ip(&(addresses.collect::<String>() + "link set eth0 up"))?;
    let dir = lab.dir().join(format!("gateway{number}"));
    std::fs::create_dir_all(&dir)?;
    let path = dir.join("docker.sock");
    let manager = match kind {
        Kind::Idle | Kind::File => None,
        Kind::Swarm => Some(Manager::start(&path, Swarm::new(true))?),
        Kind::OldSwarm => Some(Manager::start(&path, Swarm::new(false))?),
    };
    let tables = match kind {
        Kind::Idle => String::new(),
        Kind::File => services(),
        Kind::Swarm | Kind::OldSwarm => {
            format!("[swarm]\nendpoints = [\"unix://{}\"]\nvips = [{VIP:?}]\n", path.display())
        }
    };
    let text = |socket: &Path| {
        let (api, overlay) = (socket.display(), overlay(kind));
        format!(
            "[gateway]\ncpus = [0]\nflows = 100000\napi = \"{api}\"\n\n[[interface]]\nname = \"sluice0\"\ndriver = \"tun\"\n\n\
             {overlay}{tables}"
        )
    };
    let gateway = Gateway::launch_at(&host, &dir, text)?.ready()?;
    let seat = Seat { kind, gateway, manager, _nodes: nodes };
    if seat.manager.is_some() {
        wait_until("all tasks in the gateway's tables", PATIENCE, || Ok(seat.backends()? == super::state::TASKS))?;
    }
    Ok(seat)
}

fn overlay(kind: Kind) -> String {
    let vni = if kind == Kind::File || kind == Kind::Idle { "vni = 4096\n" } else { "" };
    format!("[overlay]\n{vni}vtep = {UNDERLAY:?}\naddress = {GATEWAY_OVERLAY:?}\n\n")
}

/// What the swarm shows, as a file says it.
fn services() -> String {
    let swarm = Swarm::new(true);
    let mut text = String::new();
    for service in 0..SERVICES {
        let (name, port) = (service_name(service), FIRST_PORT + service);
        let _ = write!(text, "[[service]]\nname = {name:?}\nlisten = \"{VIP}:{port}/tcp\"\n");
        for task in swarm.tasks.iter().filter(|task| task.service == service) {
            let (address, vtep) = (task.address(), node_address(task.node()));
            let _ = write!(text, "[[service.backend]]\naddress = \"{address}:8000\"\nvtep = \"{vtep}\"\n");
        }
    }
    text
}

impl Seat {
    fn backends(&self) -> Outcome<usize> {
        let list = self.gateway.json(&["backend", "list"])?;
        list.as_array().map(Vec::len).ok_or_else(|| Failure::new(format!("no list: {list}")))
    }
}
