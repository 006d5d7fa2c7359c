//! What the gateway remembers of a swarm between two answers: services whose last tasks are leaving, VTEPs, since when a node
//! is down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::model::{Network, Node, Service, Task};

/// What is remembered.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// By id.
    pub services: BTreeMap<String, Known>,
    nodes: BTreeMap<String, Place>,
    /// By task: as the engines tell each other.
    gossip: BTreeMap<String, Ipv4Addr>,
    /// Tasks that are served on a guess: see [`Memory::vtep`].
    guessed: BTreeSet<String>,
}

/// A service.
#[derive(Debug, Clone)]
pub struct Known {
    /// As the API showed it last.
    pub service: Service,
    /// It is gone; its tasks are leaving.
    pub removed: bool,
}

/// A node.
#[derive(Debug, Clone, Default)]
struct Place {
    /// As the managers know it.
    address: Option<Ipv4Addr>,
    /// The same, if that is IPv6: plain routing reaches it there, tunnels do not.
    six: Option<Ipv6Addr>,
    /// From tasks that ran there: differs from `address` with `--data-path-addr`.
    vtep: Option<Ipv4Addr>,
    down_since: Option<Duration>,
}

impl Memory {
    /// Takes over one round of answers.
    pub fn learn<'a>(
        &mut self,
        services: &[Service],
        tasks: &[Task],
        nodes: &[Node],
        networks: impl IntoIterator<Item = &'a Network>,
        now: Duration,
    ) {
        self.learn_services(services, tasks);
        self.learn_nodes(nodes, now);
        let mut asked = false;
        for network in networks {
            self.learn_gossip(network);
            asked = true;
        }
        let known: BTreeSet<_> = tasks.iter().map(|task| task.id.as_str()).collect();
        self.gossip.retain(|id, _| known.contains(id.as_str()));
        self.guessed.retain(|id| known.contains(id.as_str()));
        for task in tasks {
            if let (Some(vtep), Some(place)) = (self.gossip.get(&task.id), self.nodes.get_mut(&task.node_id)) {
                place.vtep = Some(*vtep);
            }
        }
        if asked && !self.has_data_path_addresses() {
            let unheard = |task: &&Task| task.status.state == "running" && !self.gossip.contains_key(&task.id);
            self.guessed.extend(tasks.iter().filter(unheard).map(|task| task.id.clone()));
        }
    }

    fn learn_services(&mut self, services: &[Service], tasks: &[Task]) {
        for known in self.services.values_mut() {
            known.removed = true;
        }
        for service in services {
            self.services.insert(service.id.clone(), Known { service: service.clone(), removed: false });
        }
        let running = tasks.iter().filter(|task| task.status.state == "running");
        let with_tasks: BTreeSet<_> = running.map(|task| task.service_id.as_str()).collect();
        self.services.retain(|id, known| !known.removed || with_tasks.contains(id.as_str()));
    }

    fn learn_nodes(&mut self, nodes: &[Node], now: Duration) {
        let mut before = std::mem::take(&mut self.nodes);
        for node in nodes {
            let mut place = before.remove(&node.id).unwrap_or_default();
            place.address = address_of(node).or(place.address);
            place.six = six_of(node).or(place.six);
            // `unknown` and `disconnected` are about managers that come and go: the tasks run on.
            place.down_since = (node.status.state == "down").then(|| place.down_since.unwrap_or(now));
            self.nodes.insert(node.id.clone(), place);
        }
    }

    fn learn_gossip(&mut self, network: &Network) {
        for endpoint in network.services.values().flat_map(|service| &service.tasks) {
            let Some((_, id)) = endpoint.name.rsplit_once('.') else { continue };
            let vtep = endpoint.info.get("Host IP").and_then(|text| text.parse::<Ipv4Addr>().ok());
            if let Some(vtep) = vtep.filter(|address| is_host(*address)) {
                self.gossip.insert(id.to_owned(), vtep);
            }
        }
    }

    /// Since when the node is down.
    pub fn down_since(&self, node: &str) -> Option<Duration> {
        self.nodes.get(node)?.down_since
    }

    /// How the managers reach the node.
    pub fn node_address(&self, node: &str) -> Option<IpAddr> {
        let place = self.nodes.get(node)?;
        place.address.map(IpAddr::V4).or(place.six.map(IpAddr::V6))
    }

    /// Why there is no [`Memory::vtep`], and what may help.
    pub fn why_no_vtep(&self, task: &Task) -> &'static str {
        match self.nodes.get(&task.node_id) {
            Some(Place { six: Some(_), address: None, .. }) => {
                "is not known: its node has an IPv6 address, and tunnels are IPv4. Join nodes with --data-path-addr and an \
                 IPv4 address"
            }
            _ => "is not known yet",
        }
    }

    /// The VTEP of the task's node: what the engines say of the task itself, else of another task there, else the node's
    /// address, unless other nodes show that VTEPs are something else in this swarm. Who has been served on that guess stays
    /// where it is: flows that stand show that it was right.
    pub fn vtep(&self, task: &Task) -> Option<Ipv4Addr> {
        if let Some(vtep) = self.gossip.get(&task.id) {
            return Some(*vtep);
        }
        let place = self.nodes.get(&task.node_id)?;
        let guess = self.guessed.contains(&task.id) || !self.has_data_path_addresses();
        place.vtep.or(place.address.filter(|_| guess))
    }

    fn has_data_path_addresses(&self) -> bool {
        self.nodes.values().any(|place| place.vtep.is_some() && place.vtep != place.address)
    }

    /// Whether the engines have yet to say where some task in this network is.
    pub fn wants_gossip(&self, tasks: &[Task], network: &str) -> bool {
        let in_it = |task: &&Task| task.networks_attachments.iter().any(|attached| attached.network.id == network);
        tasks.iter().filter(in_it).any(|task| !task.node_id.is_empty() && !self.gossip.contains_key(&task.id))
    }

    /// Every address by which a node is known.
    pub fn peers(&self) -> BTreeSet<Ipv4Addr> {
        self.nodes.values().flat_map(|place| [place.address, place.vtep]).flatten().collect()
    }

    /// All VTEPs, also of nodes without tasks: so that the way to them is known before it is needed.
    pub fn vteps(&self) -> BTreeSet<Ipv4Addr> {
        let guess = !self.has_data_path_addresses();
        self.nodes.values().filter_map(|place| place.vtep.or(place.address.filter(|_| guess))).collect()
    }
}

fn is_host(address: Ipv4Addr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback() && !address.is_broadcast()
}

fn six_of(node: &Node) -> Option<Ipv6Addr> {
    let wanted = |address: &Ipv6Addr| {
        !address.is_unspecified()
            && !address.is_loopback()
            && !address.is_multicast()
            && !address.is_unicast_link_local()
    };
    node.status.addr.parse().ok().filter(wanted)
}

/// A leader may show 0.0.0.0 as its own address.
fn address_of(node: &Node) -> Option<Ipv4Addr> {
    let own = node.status.addr.parse::<Ipv4Addr>().ok().filter(|address| is_host(*address));
    own.or_else(|| {
        let manager = node.manager_status.as_ref()?;
        let (address, _) = manager.addr.rsplit_once(':')?;
        address.parse::<Ipv4Addr>().ok().filter(|address| is_host(*address))
    })
}
