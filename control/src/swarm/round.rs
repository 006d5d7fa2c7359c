//! One round of questions to a manager, and what is made of the answers.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use hyper::body::Bytes;
use serde::de::DeserializeOwned;

use super::client::{ApiError, Connection, Engine};
use super::fabric::Fabric;
use super::list::parse_list;
use super::memory::Memory;
use super::model::{Network, Node, Service, Task};
use super::watch::{TASKS, Watch};
use super::wishes::{Basis, Wishes, wishes};
use crate::config::SwarmConfig;

/// Services; newer engines add how many of their tasks run, so that the bytes differ when a task comes or goes.
pub const SERVICES: &str = "/services?status=true";
const NODES: &str = "/nodes";
/// Ids asked for in one request: its line must not become too long.
pub const IDS_AT_ONCE: usize = 100;
/// An answer without any of the running tasks, or others in their places, is not believed for so long: tasks leave slowly.
const DOUBT: Duration = Duration::from_secs(10);

/// Where the gateway stands in the swarm, for `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The manager that answers.
    pub endpoint: String,
    /// Whether this machine is in the swarm.
    pub member: bool,
    /// The network that is served.
    pub network: String,
    /// VTEPs of all nodes: the way to them shall be known before it is needed.
    pub vteps: BTreeSet<Ipv4Addr>,
}

/// What came of a round.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As before.
    Same,
    /// Something differs, or tasks are coming and going.
    News(Box<Wishes>),
    /// It can hardly be true: the last tables stay.
    Doubtful(&'static str),
}

/// What is known between rounds.
#[derive(Default)]
pub struct Rounds {
    memory: Memory,
    /// The last answers, byte by byte.
    services: Bytes,
    tasks: Bytes,
    nodes: Bytes,
    /// Tasks that ran or were leaving in the last answers that were believed.
    known: BTreeSet<String>,
    /// Those of them that ran and should.
    serving: BTreeSet<String>,
    /// What came of the last round that was believed.
    last: Option<Wishes>,
    /// Of some task the node is known, but not its VTEP.
    incomplete: bool,
    /// The fabric differs from what the last wishes were made of, or a round broke off: answers like the last ones are news.
    unfinished: bool,
    fabric: Option<Fabric>,
    doubt_since: Option<Duration>,
}

/// Answers of one round.
struct Answers {
    services: Vec<Service>,
    /// Those that shall run, then those that were known and shall not.
    tasks: Vec<Task>,
    nodes: Vec<Node>,
    /// A sentence for each of them that could not be read.
    odd: Vec<String>,
}

impl Rounds {
    /// Asks everything that may have changed. `is_local` knows this machine's addresses.
    pub async fn ask(
        &mut self,
        manager: &mut Connection,
        engine: &Engine,
        config: &SwarmConfig,
        is_local: &(dyn Fn(Ipv4Addr) -> bool + Sync),
        now: Duration,
    ) -> Result<Outcome, ApiError> {
        self.unfinished |= self.refresh(manager, engine, config, is_local, now).await?;
        let (services, tasks, nodes) =
            (manager.get(SERVICES).await?, manager.get(TASKS).await?, manager.get(NODES).await?);
        let same = services == self.services && tasks == self.tasks && nodes == self.nodes;
        let nonsense = |why| ApiError::Nonsense(manager_name(manager), why);
        let (running, odd_tasks) = read_all::<Task>(&tasks, "task").map_err(nonsense)?;
        if same && !self.unfinished && !self.incomplete && self.known.len() == running.len() {
            return Ok(Outcome::Same);
        }
        let (listed, odd_services) = read_all(&services, "service").map_err(nonsense)?;
        let (joined, odd_nodes) = read_all(&nodes, "node").map_err(nonsense)?;
        let odd = [odd_services, odd_tasks, odd_nodes].concat();
        let mut answers = Answers { services: listed, tasks: running, nodes: joined, odd };
        self.ask_for_leaving(manager, &mut answers.tasks).await?;
        if let Some(why) = self.doubt(&answers, now) {
            return Ok(Outcome::Doubtful(why));
        }
        (self.services, self.tasks, self.nodes) = (services, tasks, nodes);
        self.unfinished = true;
        let outcome = self.digest(manager, config, &answers, now).await?;
        self.unfinished = false;
        Ok(outcome)
    }

    /// The bytes of the last answer about services.
    pub fn last_services(&self) -> &Bytes {
        &self.services
    }

    /// The bytes of the last answer about tasks that shall run.
    pub fn last_tasks(&self) -> &Bytes {
        &self.tasks
    }

    /// What else to look at while nothing happens.
    pub fn watch(&self) -> Watch {
        Watch::of(self.memory.services.values().filter(|known| !known.removed).map(|known| &known.service))
    }

    /// The next round looks at everything again.
    pub fn forget_network(&mut self) {
        if let Some(fabric) = &mut self.fabric {
            fabric.forget();
        }
    }

    /// Where we stand.
    pub fn place(&self, endpoint: String) -> Place {
        let fabric = self.fabric.as_ref();
        Place {
            endpoint,
            member: fabric.is_some_and(|fabric| fabric.member),
            network: fabric.map(|fabric| fabric.main().to_owned()).unwrap_or_default(),
            vteps: self.memory.vteps(),
        }
    }

    /// Tasks that are known and shall not run any more are asked for by id: a list of all would hold the dead ones too.
    async fn ask_for_leaving(&self, manager: &mut Connection, tasks: &mut Vec<Task>) -> Result<(), ApiError> {
        let running: BTreeSet<_> = tasks.iter().map(|task| task.id.as_str()).collect();
        let leaving: Vec<_> = self.known.iter().filter(|id| !running.contains(id.as_str())).cloned().collect();
        for ids in leaving.chunks(IDS_AT_ONCE) {
            let list = ids.iter().map(|id| format!("%22{id}%22")).collect::<Vec<_>>().join(",");
            let path = format!("/tasks?filters=%7B%22id%22%3A%5B{list}%5D%7D");
            let (found, _) = manager.read_list::<Task>(&path, "task").await?;
            // What did not match the filter's exact id is another task.
            tasks.extend(found.into_iter().filter(|task| ids.contains(&task.id)));
        }
        Ok(())
    }

    fn doubt(&mut self, answers: &Answers, now: Duration) -> Option<&'static str> {
        // Of a swarm that keeps no history, a task that has failed is gone as soon as another has its place.
        let of_known = |task: &Task| self.memory.services.contains_key(&task.service_id);
        let stands = |task: &Task| self.serving.contains(&task.id) || of_known(task);
        let vanished = !self.serving.is_empty() && !answers.tasks.iter().any(stands);
        let orphans = answers.services.is_empty()
            && !self.memory.services.is_empty()
            && answers.tasks.iter().any(|task| task.desired_state == "running");
        // Who answers is a node itself.
        let why = match (vanished, orphans, answers.nodes.is_empty()) {
            (true, _, _) => Some("all tasks have vanished at once"),
            (_, true, _) => Some("all services have vanished, but their tasks shall run"),
            (_, _, true) => Some("all nodes have vanished"),
            _ => None,
        };
        let since = *self.doubt_since.get_or_insert(now);
        if why.is_none() || now.saturating_sub(since) >= DOUBT {
            self.doubt_since = None;
            return None;
        }
        why
    }

    async fn digest(
        &mut self,
        manager: &mut Connection,
        config: &SwarmConfig,
        answers: &Answers,
        now: Duration,
    ) -> Result<Outcome, ApiError> {
        let Answers { services, tasks, nodes, odd } = answers;
        let gone = |task: &&Task| matches!(task.status.state.as_str(), "complete" | "failed" | "shutdown" | "rejected");
        let serves = |task: &&Task| task.status.state == "running" && task.desired_state == "running";
        self.known = tasks.iter().filter(|task| !gone(task)).map(|task| task.id.clone()).collect();
        self.serving = tasks.iter().filter(serves).map(|task| task.id.clone()).collect();
        self.memory.learn(services, tasks, nodes, [], now);
        let Some(fabric) = &mut self.fabric else { return Ok(Outcome::Same) };
        let wanting = |memory: &Memory, fabric: &Fabric| -> Vec<usize> {
            let wants = |(_, network): &(usize, &Network)| memory.wants_gossip(tasks, &network.id);
            fabric.networks().enumerate().filter(wants).map(|(at, _)| at).collect()
        };
        for at in wanting(&self.memory, fabric) {
            fabric.refresh(at, manager).await?;
        }
        self.memory.learn(services, tasks, nodes, fabric.networks(), now);
        self.incomplete = !wanting(&self.memory, fabric).is_empty();
        let missing = [&fabric.missing()[..], odd].concat();
        let basis = Basis {
            vips: &config.vips,
            networks: &fabric.served(),
            missing: &missing,
            tasks,
            memory: &self.memory,
            now,
        };
        let wishes = wishes(&basis);
        if self.last.as_ref() == Some(&wishes) {
            return Ok(Outcome::Same);
        }
        self.last = Some(wishes.clone());
        Ok(Outcome::News(Box::new(wishes)))
    }

    /// Network, port and membership: at first, and every few seconds. True when something differs.
    async fn refresh(
        &mut self,
        manager: &mut Connection,
        engine: &Engine,
        config: &SwarmConfig,
        is_local: &(dyn Fn(Ipv4Addr) -> bool + Sync),
        now: Duration,
    ) -> Result<bool, ApiError> {
        if self.fabric.as_ref().is_some_and(|fabric| !fabric.is_stale(now)) {
            return Ok(false);
        }
        let fabric = Fabric::ask(manager, engine, config, self.fabric.as_ref(), is_local, now).await?;
        let differs = self.fabric.as_ref().is_none_or(|before| !before.is_like(&fabric));
        self.fabric = Some(fabric);
        Ok(differs)
    }
}

/// Where nothing can be read, Docker's words have changed, rather than everything gone.
fn read_all<T: DeserializeOwned>(body: &[u8], kind: &str) -> Result<(Vec<T>, Vec<String>), String> {
    let (all, odd) = parse_list(body, kind)?;
    match odd.first() {
        Some(first) if all.is_empty() => Err(format!("not what Docker should answer: {first}")),
        _ => Ok((all, odd)),
    }
}

fn manager_name(manager: &Connection) -> String {
    manager.name().to_owned()
}
