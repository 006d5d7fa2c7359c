//! From the API's answers to the services that the gateway shall have: a pure function over plain values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::Duration;

use wire::Protocol;

use super::groups::{self, Group, Groups, Served, Way, groups};
use super::labels::{self, Labels, printable, printable_sentence};
use super::memory::Memory;
use super::model::{Port, Service, Task};
use super::overlay::subnet;
use crate::config::rules::{host_in_subnet, overlap};
use crate::config::value::{service_name, show_listen};
use crate::config::{BackendAddress, BackendConfig, Listen, OverlayConfig, ServiceConfig, Settings};

/// A task on a node that is down for so long is gone: until then its dockerd alone may have died.
const GONE_AFTER: Duration = Duration::from_secs(15);

/// What the swarm wants of the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The overlays that can be served, by the names of their networks.
    pub overlays: Vec<(String, OverlayConfig)>,
    /// In the order in which they were created.
    pub services: Vec<Wanted>,
    /// All addresses of nodes: tunnels may come from there.
    pub peers: BTreeSet<Ipv4Addr>,
    /// One sentence each.
    pub problems: BTreeSet<String>,
    /// Tasks are coming or going: it pays to look again soon.
    pub restless: bool,
}

impl Wishes {
    /// Whether the same is to be served.
    pub fn wants_as(&self, other: &Wishes) -> bool {
        self.overlays == other.overlays && self.services == other.services && self.peers == other.peers
    }
}

/// A service that the swarm wants served: one for each target port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it is known by across renamings: the service's id, the way in and the port.
    pub key: String,
    /// Name, listens, scheduler; its backends are in `tasks`.
    pub service: ServiceConfig,
    /// Its tasks.
    pub tasks: Vec<WantedTask>,
}

impl Wanted {
    /// The id of the swarm's service: one that has several target ports is wanted for each.
    pub fn service_id(&self) -> &str {
        self.key.split('/').next().unwrap_or(&self.key)
    }

    /// Whether no overlay is needed for it.
    pub fn is_plain(&self) -> bool {
        self.tasks.iter().all(|task| task.backend.vtep.is_none())
    }
}

/// A task that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedTask {
    /// Its id: addresses are used again at once, ids never.
    pub id: String,
    /// Where it is.
    pub backend: BackendConfig,
}

/// What everything is derived from.
pub struct Basis<'a> {
    /// The config's VIPs.
    pub vips: &'a [IpAddr],
    /// The networks that are served.
    pub networks: &'a [Served<'a>],
    /// Sentences about networks that are not there, and about what could not be read.
    pub missing: &'a [String],
    /// Tasks that run, and those that are leaving.
    pub tasks: &'a [Task],
    /// Services, nodes, VTEPs.
    pub memory: &'a Memory,
    /// The time.
    pub now: Duration,
}

/// Derives the wishes.
pub fn wishes(basis: &Basis<'_>) -> Wishes {
    let mut draft = Draft { basis, wishes: Wishes::default(), tasks: BTreeMap::new() };
    draft.wishes.peers = basis.memory.peers();
    draft.wishes.problems.extend(basis.missing.iter().cloned());
    for network in basis.networks {
        match &network.overlay {
            Ok(overlay) => draft.wishes.overlays.push((network.name.to_owned(), overlay.clone())),
            Err(why) => draft.problem(why.clone()),
        }
    }
    for task in basis.tasks {
        draft.tasks.entry(task.service_id.as_str()).or_default().push(task);
        draft.wishes.restless |= task.status.state != "running" || task.desired_state != "running";
    }
    let mut services: Vec<_> = basis.memory.services.values().collect();
    // Those that were removed come last: a new one may have their ports.
    services.sort_by_key(|known| (known.removed, age(&known.service), &known.service.id));
    for known in services {
        draft.add(&known.service, known.removed);
    }
    draft.wishes
}

/// When it was made, as text that sorts like time: Docker leaves the zeros at the end of a second's fraction out, and `Z` comes
/// after all digits.
fn age(service: &Service) -> &str {
    service.created_at.trim_end_matches('Z')
}

/// One group of a service, with all that decides about it.
struct Asked<'a> {
    service: &'a Service,
    labels: &'a Labels,
    group: &'a Group,
    network: Option<&'a Served<'a>>,
    /// The service is gone; its tasks are leaving.
    removed: bool,
    /// Its groups with the same backends remember their clients together, under this name, if there are several.
    together: Option<String>,
}

impl Asked<'_> {
    fn overlay(&self) -> Option<&OverlayConfig> {
        self.network?.overlay.as_ref().ok()
    }
}

struct Draft<'a> {
    basis: &'a Basis<'a>,
    wishes: Wishes,
    tasks: BTreeMap<&'a str, Vec<&'a Task>>,
}

impl Draft<'_> {
    fn problem(&mut self, sentence: String) {
        self.wishes.problems.insert(sentence);
    }

    fn add(&mut self, service: &Service, removed: bool) {
        let (labels, complaints) = labels::read(&service.spec.labels, self.basis.vips);
        let name = printable(&service.spec.name);
        if !labels.enabled {
            return;
        }
        if let Err(complaint) = service_name(&service.spec.name) {
            return self.problem(printable_sentence(&format!("swarm service: {}", complaint.message)));
        }
        for complaint in complaints {
            self.problem(format!("service {name}: {complaint}"));
        }
        let Groups { network, all, problems } = groups(service, &labels, self.basis.networks);
        for problem in problems {
            self.problem(format!("service {name}: {problem}"));
        }
        let (mut checked, mut unanswerable) = (false, false);
        for group in &all {
            let together = group.together(&service.id, &all);
            let asked = Asked { service, labels: &labels, group, network, removed, together };
            let name = group.name(&service.spec.name, &all);
            if let Some(wanted) = self.wanted(&asked, name) {
                unanswerable |= wanted.service.check.is_none();
                checked |= wanted.service.check.is_some();
                self.wishes.services.push(wanted);
            }
        }
        if labels.check.is_some() && unanswerable && !checked {
            let hint = "say which `sluicegate.check.port` answers it";
            self.problem(format!(
                "service {name}: label sluicegate.check: none of its ports takes such a check ({hint})"
            ));
        }
    }

    fn wanted(&mut self, asked: &Asked<'_>, name: String) -> Option<Wanted> {
        let Asked { service, labels, group, .. } = asked;
        let host = matches!(group.way, Way::Host(_));
        if !host && asked.overlay().is_none() {
            return None;
        }
        let listens = self.listens(&name, asked);
        let tasks = self.tasks_of(asked);
        let useless = if asked.removed { tasks.is_empty() } else { listens.is_empty() };
        if useless || (listens.is_empty() && host) {
            return None;
        }
        let key = group.key(&service.id);
        // A check that nobody behind this port could answer is for another port of the service.
        let addresses = tasks.iter().map(|task| task.backend.address);
        let check = labels.check.clone().filter(|check| check.fault(&listens, addresses).is_none());
        let direct = matches!(group.way, Way::Direct(_));
        // Who is served directly sees the clients' addresses anyway.
        let proxy_protocol = labels.settings.proxy_protocol && !direct;
        let mut settings = Settings { direct, proxy_protocol, ..labels.settings.clone() };
        if settings.persistence.time.is_some() && settings.persistence.group.is_none() {
            settings.persistence.group.clone_from(&asked.together);
        }
        let service = ServiceConfig { name, listens, settings, check, backends: Vec::new() };
        Some(Wanted { key, service, tasks })
    }

    /// The listens that nobody has taken before.
    fn listens(&mut self, name: &str, asked: &Asked<'_>) -> Vec<Listen> {
        let Asked { labels, group, .. } = asked;
        let own;
        let vips = match &group.way {
            Way::Direct(address) => {
                own = [IpAddr::V4(*address)];
                &own
            }
            _ if labels.vips.is_empty() => self.basis.vips,
            _ => &labels.vips,
        };
        let mut listens = Vec::new();
        for address in vips {
            for (port, protocol) in &group.listens {
                let listen = Listen { address: *address, ports: *port..=*port, protocol: *protocol };
                let taken = self
                    .wishes
                    .services
                    .iter()
                    .find(|other| other.service.listens.iter().any(|theirs| overlap(theirs, &listen)));
                match taken.map(|other| other.service.name.clone()) {
                    None => listens.push(listen),
                    Some(_) if asked.removed => {}
                    Some(other) => {
                        let listen = show_listen(&listen);
                        self.problem(format!("service {name}: {listen} is taken by service {other}"));
                    }
                }
            }
        }
        listens
    }

    fn tasks_of(&mut self, asked: &Asked<'_>) -> Vec<WantedTask> {
        let Asked { service, labels, group, .. } = asked;
        let mut wanted: Vec<WantedTask> = Vec::new();
        for task in self.tasks.get(service.id.as_str()).cloned().unwrap_or_default() {
            if task.status.state != "running" || self.is_gone(task) {
                continue;
            }
            let serves = task.desired_state == "running" && !asked.removed && !self.is_down(task);
            let weight = if serves { labels.weight } else { 0 };
            let placed = match group.way {
                Way::Overlay | Way::Direct(_) => self.overlay_backend(task, asked, weight),
                Way::Host(protocol) => self.host_backend(task, group.target, protocol, weight),
            };
            let backend = match placed {
                Ok(backend) => BackendConfig { max_connections: labels.max_connections, ..backend },
                Err(None) => continue,
                Err(Some(why)) => {
                    self.wishes.restless = true;
                    self.problem(format!("service {}: {why}", printable(&service.spec.name)));
                    continue;
                }
            };
            let wish = WantedTask { id: task.id.clone(), backend };
            // Addresses are used again at once: the one that serves has it.
            match wanted.iter_mut().find(|other| other.backend.address == wish.backend.address) {
                Some(other) if other.backend.weight == 0 => *other = wish,
                Some(_) => {}
                None => wanted.push(wish),
            }
        }
        wanted.sort_by(|a, b| a.id.cmp(&b.id));
        wanted
    }

    fn is_down(&self, task: &Task) -> bool {
        self.basis.memory.down_since(&task.node_id).is_some()
    }

    fn is_gone(&self, task: &Task) -> bool {
        let since = self.basis.memory.down_since(&task.node_id);
        since.is_some_and(|since| self.basis.now.saturating_sub(since) >= GONE_AFTER)
    }

    /// `Err(None)`: not in our network.
    fn overlay_backend(&self, task: &Task, asked: &Asked<'_>, weight: u16) -> Result<BackendConfig, Option<String>> {
        let (Some(network), Some(overlay)) = (asked.network, asked.overlay()) else { return Err(None) };
        let mut attachments = task.networks_attachments.iter();
        let attachment = attachments.find(|attachment| attachment.network.id == network.id).ok_or(None)?;
        let text = attachment.addresses.first().map_or("", String::as_str);
        let id = printable(&task.id);
        let odd = || Some(format!("task {id} has the address `{}`", printable(text)));
        let (ip, _) = subnet(text).ok_or_else(odd)?;
        if overlay.addresses().contains(&ip) {
            let ask = "choose another overlay.address, outside the range that the swarm gives out";
            return Err(Some(format!("task {id} has got the gateway's own overlay address {ip}: {ask}")));
        }
        host_in_subnet(ip, overlay.address, overlay.prefix_bits).map_err(|_| odd())?;
        let memory = self.basis.memory;
        let unknown = || Some(format!("the VTEP of task {id} {}", memory.why_no_vtep(task)));
        let vtep = memory.vtep(task).ok_or_else(unknown)?;
        if vtep == overlay.vtep {
            let ask = "docker node update --availability drain keeps tasks away from it";
            return Err(Some(format!("task {id} runs on the gateway's own node and is not served: {ask}")));
        }
        let address = BackendAddress { ip: ip.into(), port: NonZeroU16::new(asked.group.target) };
        Ok(BackendConfig::new(address, Some(vtep), weight))
    }

    fn host_backend(
        &self,
        task: &Task,
        target: u16,
        protocol: Protocol,
        weight: u16,
    ) -> Result<BackendConfig, Option<String>> {
        let id = printable(&task.id);
        let is_it = |port: &&Port| {
            port.publish_mode == "host"
                && port.target_port == u32::from(target)
                && groups::protocol(&port.protocol) == Some(protocol)
        };
        // Before its ports are known it can not be reached.
        let published = task.status.port_status.ports.iter().find(is_it).ok_or(None)?.published_port;
        let port = u16::try_from(published).ok().and_then(NonZeroU16::new).ok_or(None)?;
        let unknown = || Some(format!("the address of the node of task {id} is not known"));
        let ip = self.basis.memory.node_address(&task.node_id).ok_or_else(unknown)?;
        let address = BackendAddress { ip, port: Some(port) };
        Ok(BackendConfig::new(address, None, weight))
    }
}
