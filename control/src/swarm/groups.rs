//! The ports of a swarm's service, grouped by the way to its tasks: each group becomes a service of the gateway.

use std::net::Ipv4Addr;

use wire::Protocol;

use super::labels::{Labels, printable};
use super::model::{Port, Service};
use super::overlay::subnet;

/// The network that is served.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// Its id.
    pub id: &'a str,
    /// Whether it is the one for published ports.
    pub ingress: bool,
    /// Whether it was made with `--opt dsr`: tasks have the service's VIP on their loopback.
    pub dsr: bool,
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
        let kin = all.iter().filter(|other| self.is_direct() == other.is_direct()).count();
        match (self.way, kin) {
            (Way::Direct(_), 1) => format!("{service}-direct"),
            (Way::Direct(_), _) => format!("{service}-{published}-direct"),
            (_, 1) => service.to_owned(),
            (Way::Overlay, _) => format!("{service}-{published}"),
            (Way::Host(_), _) => format!("{service}-{published}-{protocol}"),
        }
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

/// The groups of a service, and sentences about what can not be served.
pub fn groups(service: &Service, labels: &Labels, network: Served<'_>) -> (Vec<Group>, Vec<String>) {
    let mut draft = Draft { network, groups: Vec::new(), problems: Vec::new(), direct: None };
    draft.direct = draft.direct_vip(service, labels);
    let attached = draft.is_attached(service);
    for port in &service.endpoint.ports {
        draft.published(port, attached);
    }
    for port in &labels.ports {
        if !attached || network.ingress && service.endpoint.virtual_ips.is_empty() {
            let ask = "name its network in [swarm] network to serve it";
            draft.problems.push(format!("label sluicegate.port: it is not in the network served: {ask}"));
            continue;
        }
        draft.through_overlay(port.target, port.published, port.protocol);
    }
    (draft.groups, draft.problems)
}

struct Draft<'a> {
    network: Served<'a>,
    groups: Vec<Group>,
    problems: Vec<String>,
    /// The VIP of the service, if its tasks have it.
    direct: Option<Ipv4Addr>,
}

impl Draft<'_> {
    /// Whether the service is in the network that we serve.
    fn is_attached(&self, service: &Service) -> bool {
        let network = self.network.id;
        self.network.ingress
            || service.spec.task_template.networks.iter().any(|attached| attached.target == network)
            || service.endpoint.virtual_ips.iter().any(|vip| vip.network_id == network)
    }

    fn direct_vip(&mut self, service: &Service, labels: &Labels) -> Option<Ipv4Addr> {
        if !self.network.dsr {
            if labels.direct == Some(true) {
                let ask = "make it with docker network create -d overlay --opt dsr";
                self.problems
                    .push(format!("label sluicegate.direct: the network served has no VIPs in its tasks: {ask}"));
            }
            return None;
        }
        if labels.direct == Some(false) {
            return None;
        }
        let vip = service.endpoint.virtual_ips.iter().find(|vip| vip.network_id == self.network.id)?;
        subnet(&vip.addr).map(|(address, _)| address)
    }

    fn published(&mut self, port: &Port, attached: bool) {
        let Some(protocol) = protocol(&port.protocol) else {
            return self.problems.push(format!("{} is not balanced", printable(&port.protocol)));
        };
        let host = port.publish_mode == "host";
        if port.published_port == 0 || port.target_port == 0 {
            // An ingress port is still to come; a host port is each task's own.
            if host {
                let ask = "give it a published port";
                self.problems.push(format!("host port for {} differs by task: {ask}", port.target_port));
            }
        } else if host {
            self.add(Way::Host(protocol), port.target_port, port.published_port, protocol);
        } else if attached {
            self.through_overlay(port.target_port, port.published_port, protocol);
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
        match self.groups.iter_mut().find(same) {
            Some(group) if group.listens.contains(&(published, protocol)) => {}
            Some(group) => group.listens.push((published, protocol)),
            None => self.groups.push(Group { way, target, listens: vec![(published, protocol)] }),
        }
    }
}
