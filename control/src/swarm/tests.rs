//! From recorded and made-up answers to services.

mod api;
mod hostile;
mod recorded;
mod rules;
mod secure;
mod unfinished;
mod watch;

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use super::groups::Served;
use super::memory::Memory;
use super::model::{Network, Node, Service, Task};
use super::overlay::{self, Own};
use super::wishes::{Basis, Wanted, Wishes, wishes};
use crate::config::{BackendConfig, OverlayConfig, OverlaySeed};

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/swarm/samples/", $name, ".json"))
    };
}
pub(in crate::swarm) use sample;

const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// A swarm as the API shows it, to be changed by tests.
struct Scene {
    services: Vec<Service>,
    tasks: Vec<Task>,
    nodes: Vec<Node>,
    network: Network,
    seed: OverlaySeed,
    /// Networks that are served beside it.
    more: Vec<(Network, OverlaySeed)>,
    own: Option<Own>,
    memory: Memory,
    now: Duration,
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

impl Scene {
    /// One service `my-web`, two tasks on two of three nodes.
    fn recorded() -> Scene {
        let seed = OverlaySeed {
            vtep: Some(Ipv4Addr::new(192, 168, 77, 14)),
            address: Some((Ipv4Addr::new(10, 0, 0, 250), 24)),
            ..OverlaySeed::default()
        };
        Scene {
            services: read(sample!("services")),
            tasks: read(sample!("tasks")),
            nodes: read(sample!("nodes")),
            network: read(sample!("network-ingress-manager-verbose")),
            seed,
            more: Vec::new(),
            own: None,
            memory: Memory::default(),
            now: Duration::ZERO,
        }
    }

    /// As [`Scene::recorded`], with one of the recorded kinds of services instead.
    fn kind(service: &str, tasks: &str) -> Scene {
        let mut scene = Scene::recorded();
        scene.services = vec![read(service)];
        scene.tasks = read(tasks);
        scene
    }

    /// Only the tasks that run.
    fn running() -> Scene {
        let mut scene = Scene::recorded();
        scene.tasks.retain(|task| task.desired_state == "running");
        scene
    }

    fn overlay(&self) -> Result<OverlayConfig, String> {
        overlay::overlay(&self.network, 0, &self.seed, self.own)
    }

    fn wishes(&mut self) -> Wishes {
        self.memory.learn(&self.services, &self.tasks, &self.nodes, Some(&self.network), self.now);
        let mut networks = vec![Served::new(&self.network, self.overlay())];
        for (network, seed) in &self.more {
            networks.push(Served::new(network, overlay::overlay(network, 0, seed, None)));
        }
        wishes(&Basis {
            vips: &[VIP.into()],
            networks: &networks,
            missing: &[],
            tasks: &self.tasks,
            memory: &self.memory,
            now: self.now,
        })
    }

    fn label(&mut self, key: &str, value: &str) {
        self.services[0].spec.labels.insert(key.to_owned(), value.to_owned());
    }
}

fn backend(address: &str, vtep: Option<&str>, weight: u16) -> BackendConfig {
    let vtep = vtep.map(|vtep| vtep.parse().unwrap());
    BackendConfig::new(address.parse().unwrap(), vtep, weight)
}

fn backends(wanted: &Wanted) -> Vec<BackendConfig> {
    wanted.tasks.iter().map(|task| task.backend.clone()).collect()
}

fn listens(wanted: &Wanted) -> Vec<String> {
    wanted.service.listens.iter().map(crate::config::value::show_listen).collect()
}

fn weights(wishes: &Wishes) -> Vec<u16> {
    wishes.services.iter().flat_map(|wanted| &wanted.tasks).map(|task| task.backend.weight).collect()
}

fn problems(wishes: &Wishes) -> Vec<&str> {
    wishes.problems.iter().map(String::as_str).collect()
}

/// The value at a path of keys and numbers.
fn at<'a>(value: &'a mut Value, path: &str) -> &'a mut Value {
    value.pointer_mut(path).unwrap()
}
