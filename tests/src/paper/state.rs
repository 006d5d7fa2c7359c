//! What is in the swarm.

use std::net::Ipv4Addr;

/// Its size.
pub const SERVICES: usize = 50;
/// Nodes without tasks would not matter.
pub const NODES: usize = 100;
/// All tasks of all services.
pub const TASKS: usize = 1000;
/// The ports that services publish begin here.
pub const FIRST_PORT: usize = 8000;
/// The gateway's address in the ingress network, beyond those of tasks.
pub const GATEWAY_OVERLAY: &str = "10.0.255.250/16";

/// A task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its number: of its id and its address.
    pub number: usize,
    /// Its service.
    pub service: usize,
    /// `starting`, `running`, `shutdown`
    pub state: &'static str,
    /// `running`, `shutdown`
    pub desired: &'static str,
}

/// The swarm.
#[derive(Clone)]
pub struct Swarm {
    /// In the order of their numbers.
    pub tasks: Vec<Task>,
    /// Whether the engine counts running tasks in its list of services, as Docker does since 20.10.
    pub counts: bool,
    /// The service that is being updated.
    pub updating: Option<usize>,
    next: usize,
}

impl Swarm {
    /// All tasks run.
    #[must_use]
    pub fn new(counts: bool) -> Swarm {
        let mut swarm = Swarm { tasks: Vec::new(), counts, updating: None, next: 0 };
        for number in 0..TASKS {
            swarm.add(number % SERVICES, "running");
        }
        swarm
    }

    /// A new task of the service; its number.
    pub fn add(&mut self, service: usize, state: &'static str) -> usize {
        let number = self.next;
        self.next += 1;
        self.tasks.push(Task { number, service, state, desired: "running" });
        number
    }

    /// The task of that number.
    pub fn task(&mut self, number: usize) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.number == number)
    }

    /// Takes a task out of the list.
    pub fn forget(&mut self, number: usize) {
        self.tasks.retain(|task| task.number != number);
    }
}

impl Task {
    /// As long as Docker's.
    #[must_use]
    pub fn id(&self) -> String {
        format!("task{:021}", self.number)
    }

    /// In the ingress network.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        let number = self.number + 16;
        Ipv4Addr::new(10, 0, (number >> 8) as u8, number as u8)
    }

    /// Where it runs.
    #[must_use]
    pub fn node(&self) -> usize {
        self.number % NODES
    }
}

/// A node's address on the underlay.
#[must_use]
pub fn node_address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 4, node as u8 + 1)
}

/// A service's name.
#[must_use]
pub fn service_name(service: usize) -> String {
    format!("shop-{service}")
}

/// A service's id.
#[must_use]
pub fn service_id(service: usize) -> String {
    format!("service{service:018}")
}

/// A node's id.
#[must_use]
pub fn node_id(node: usize) -> String {
    format!("node{node:021}")
}
