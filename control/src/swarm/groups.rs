//! The ports of a swarm's service, grouped by the way to its tasks: each group becomes a service of the gateway.

use std::net::Ipv4Addr;

use wire::Protocol;

use super::labels::{Labels, printable};
use super::model::{Network, Port, Service};
use super::overlay::{DSR, subnet};
use crate::config::OverlayConfig;

/// A network that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Whether it is the one for published ports.
    pub ingress: bool,
    /// Whether it was made with `--opt dsr`: tasks have the service's VIP on their loopback.
    pub dsr: bool,
    /// Our place in it, or why there is none.
    pub overlay: Result<OverlayConfig, String>,
}

impl<'a> Served<'a> {
    /// The network with our place in it.
    pub fn new(network: &'a Network, overlay: Result<OverlayConfig, String>) -> Served<'a> {
        let Network { id, name, ingress, options, .. } = network;
        Served { id, name, ingress: *ingress, dsr: options.contains_key(DSR), overlay }
    }

    /// Whether the service's tasks are in it.
    fn has(&self, service: &Service) -> bool {
        let publishes = |port: &Port| port.publish_mode != "host";
        (self.ingress && service.endpoint.ports.iter().any(publishes))
            || service.spec.task_template.networks.iter().any(|attached| attached.target == self.id)
            || service.endpoint.virtual_ips.iter().any(|vip| vip.network_id == self.id)
    }
}

/// How packets get to the tasks of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through the overlay, translated.
    Overlay,
    /// Through the overlay as they are, for the service's own VIP.
    Direct(Ipv4Addr),
    /// By a port of the node, where each protocol has its own.
    Host(Protocol),
}

/// The ports of a service that lead to the same port of its tasks.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// How packets get there.
    pub way: Way,
    /// In the task.
    pub target: u16,
    /// On the VIPs.
    pub listens: Vec<(u16, Protocol)>,
}

impl Group {
    /// What the group is known by as long as the service lives.
    pub fn key(&self, service: &str) -> String {
        match self.way {
            Way::Overlay => format!("{service}/overlay/{}", self.target),
            Way::Direct(_) => format!("{service}/direct/{}", self.target),
            Way::Host(protocol) => format!("{service}/host/{}/{protocol}", self.target),
        }
    }

    /// A name that differs from those of the other groups; the first of a kind is called as the service.
    pub fn name(&self, service: &str, all: &[Group]) -> String {
        let (published, protocol) = self.listens.first().copied().unwrap_or((self.target, Protocol::Tcp));
        let kin: Vec<_> = all.iter().filter(|other| self.is_direct() == other.is_direct()).collect();
        // `53:5300/tcp` and `53:5353/udp` lead to two ports.
        let first = |group: &Group| group.listens.first().map(|(port, _)| *port);
        let alike = kin.iter().filter(|other| first(other) == first(self)).count() > 1;
        let port = if alike || self.is_host() { format!("{published}-{protocol}") } else { published.to_string() };
        match (self.is_direct(), kin.len()) {
            (true, 1) => format!("{service}-direct"),
            (true, _) => format!("{service}-{port}-direct"),
            (false, 1) => service.to_owned(),
            (false, _) => format!("{service}-{port}"),
        }
    }

    /// Under which name groups of the service that lead to the same addresses go together; `None`: it is the only one.
    pub fn together(&self, service: &str, all: &[Group]) -> Option<String> {
        let kin = all.iter().filter(|other| self.is_host() == other.is_host()).count();
        (kin > 1).then(|| if self.is_host() { format!("{service}-host") } else { service.to_owned() })
    }

    fn is_host(&self) -> bool {
        matches!(self.way, Way::Host(_))
    }

    fn is_direct(&self) -> bool {
        matches!(self.way, Way::Direct(_))
    }
}

/// `tcp` or `udp`.
pub fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    }
}

/// A service's way through the gateway.
#[derive(Debug, Default)]
pub struct Groups<'a> {
    /// The first of the networks served that its tasks are in.
    pub network: Option<&'a Served<'a>>,
    /// In the order of its ports.
    pub all: Vec<Group>,
    /// Sentences about what can not be served.
    pub problems: Vec<String>,
}

/// The groups of a service.
pub fn groups<'a>(service: &Service, labels: &Labels, networks: &'a [Served<'a>]) -> Groups<'a> {
    let network = networks.iter().find(|network| network.has(service));
    let mut draft = Draft { groups: Groups { network, ..Groups::default() }, direct: None };
    draft.direct = draft.direct_vip(service, labels);
    for port in &service.endpoint.ports {
        draft.published(port);
    }
    for port in &labels.ports {
        if network.is_none() {
            let ask = "name its network in [[swarm.overlay]] to serve it";
            draft.problem(format!("label sluicegate.port: it is in no network that is served: {ask}"));
            continue;
        }
        draft.through_overlay(port.target, port.published, port.protocol);
    }
    draft.groups
}

struct Draft<'a> {
    groups: Groups<'a>,
    /// The VIP of the service, if its tasks have it.
    direct: Option<Ipv4Addr>,
}

impl Draft<'_> {
    fn problem(&mut self, sentence: String) {
        self.groups.problems.push(sentence);
    }

    fn direct_vip(&mut self, service: &Service, labels: &Labels) -> Option<Ipv4Addr> {
        let network = self.groups.network?;
        if !network.dsr {
            if labels.direct == Some(true) {
                let ask = "make it with docker network create -d overlay --opt dsr";
                self.problem(format!("label sluicegate.direct: the network served has no VIPs in its tasks: {ask}"));
            }
            return None;
        }
        if labels.direct == Some(false) {
            return None;
        }
        let vip = service.endpoint.virtual_ips.iter().find(|vip| vip.network_id == network.id)?;
        subnet(&vip.addr).map(|(address, _)| address)
    }

    fn published(&mut self, port: &Port) {
        let Some(protocol) = protocol(&port.protocol) else {
            return self.problem(format!("{} is not balanced", printable(&port.protocol)));
        };
        let (Ok(target), Ok(published)) = (u16::try_from(port.target_port), u16::try_from(port.published_port)) else {
            return self.problem(format!("{} is no port", port.target_port.max(port.published_port)));
        };
        let host = port.publish_mode == "host";
        if published == 0 || target == 0 {
            // An ingress port is still to come; a host port is each task's own.
            if host {
                let ask = "give it a published port";
                self.problem(format!("host port for {target} differs by task: {ask}"));
            }
        } else if host {
            self.add(Way::Host(protocol), target, published, protocol);
        } else if self.groups.network.is_some() {
            self.through_overlay(target, published, protocol);
        }
    }

    /// On the gateway's VIPs as it was published; on the service's own as the task listens, where nothing is translated.
    fn through_overlay(&mut self, target: u16, published: u16, protocol: Protocol) {
        self.add(Way::Overlay, target, published, protocol);
        if let Some(vip) = self.direct {
            self.add(Way::Direct(vip), target, target, protocol);
        }
    }

    fn add(&mut self, way: Way, target: u16, published: u16, protocol: Protocol) {
        let same = |group: &&mut Group| group.way == way && group.target == target;
        match self.groups.all.iter_mut().find(same) {
            Some(group) if group.listens.contains(&(published, protocol)) => {}
            Some(group) => group.listens.push((published, protocol)),
            None => self.groups.all.push(Group { way, target, listens: vec![(published, protocol)] }),
        }
    }
}
