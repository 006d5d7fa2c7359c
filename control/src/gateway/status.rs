//! What `status`, `counters` and `flow list` show.

use std::collections::{BTreeMap, HashMap};

use datapath::service::{Generation, ServiceId};
use datapath::{FlowRecord, WorkerCounters};
use sys::DeviceState;

use super::Gateway;
use super::swarm::SwarmState;
use crate::catalog::ServiceEntry;
use crate::check::Checks;
use crate::config::{Driver, InterfaceConfig};
use crate::devices::Filter;
use crate::flow_log::FlowLog;
use crate::operations::{
    CounterSet, CountersView, DeviceStatus, FlowView, Operations, PerDirection, Status, WorkerStatus,
};

/// Version and, when the build knew it, the commit: `0.1.0 (1a2b3c4d5e6f)`.
pub fn build() -> String {
    match option_env!("SLUICEGATE_COMMIT") {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

impl Gateway {
    pub(super) fn describe(&self) -> Status {
        let states = &self.devices;
        Status {
            build: build(),
            pid: std::process::id(),
            uptime_seconds: sys::clock::now().as_secs(),
            config: self.config_path.display().to_string(),
            generation: self.generation.0,
            workers: self.workers(),
            notes: self.notes(states),
            devices: states.iter().map(|(worker, state)| self.device(*worker, state.clone())).collect(),
            flows: self.flow_count(),
            shortcuts: self.filter.as_ref().and_then(Filter::shortcuts),
            flow_log: self.config.flow_log.as_ref().map(|log| log.path.display().to_string()),
            swarm: self.config.swarm.is_some().then(|| self.swarm.as_ref().map(SwarmState::status).unwrap_or_default()),
        }
    }

    fn workers(&self) -> Vec<WorkerStatus> {
        let status = |(worker, (generation, cpu)): (usize, (Generation, &usize))| WorkerStatus {
            worker,
            cpu: *cpu,
            generation: generation.0,
            alive: !self.failed_workers.contains_key(&worker),
        };
        self.engine.applied().into_iter().zip(&self.config.gateway.cpus).enumerate().map(status).collect()
    }

    fn device(&self, worker: usize, state: DeviceState) -> DeviceStatus {
        let generic = self.filter.as_ref().is_some_and(|filter| filter.is_generic(&state.name));
        DeviceStatus {
            up: state.up && self.link_trouble(&state.name).is_none(),
            mode: if generic { "generic" } else { state.mode }.to_owned(),
            name: state.name,
            queue: state.queue,
            worker,
            driver: state.driver.to_owned(),
            rx_dropped: state.rx_dropped,
            error: state.error,
        }
    }

    /// A sentence for each worker that has failed.
    pub(super) fn worker_failures(&self) -> Vec<String> {
        self.failed_workers.iter().map(|(worker, reason)| format!("worker {worker} failed: {reason}")).collect()
    }

    /// What is wrong with the interfaces as such.
    pub(super) fn link_troubles(&self) -> impl Iterator<Item = String> {
        self.config.interfaces.iter().filter_map(|interface| self.link_trouble(&interface.name))
    }

    /// What is wrong with an interface as such.
    pub(super) fn link_trouble(&self, name: &str) -> Option<String> {
        let configured = |interface: &InterfaceConfig| interface.name == name;
        let interface = self.config.interfaces.iter().find(|interface| configured(interface))?;
        let what = match interface.driver {
            Driver::AfXdp => "interface",
            Driver::Tun => "TUN device",
        };
        match self.view.link_named(name) {
            None => Some(match interface.driver {
                Driver::AfXdp => {
                    format!(
                        "{what} {name} is gone, or another one since the start: restart the gateway when it is there"
                    )
                }
                // Nobody makes it but the gateway.
                Driver::Tun => format!("{what} {name} is gone, or another one since the start: restart the gateway"),
            }),
            Some(link) if !link.up => Some(format!("{what} {name} is down")),
            Some(_) => None,
        }
    }

    /// What is wrong with the health checks as such.
    pub(super) fn checks_fault(&self) -> Option<String> {
        let why = "health checks have stopped, backends stay as they are: restart the gateway";
        self.checks.as_ref().is_some_and(Checks::has_failed).then(|| why.to_owned())
    }

    fn notes(&self, states: &[(usize, DeviceState)]) -> Vec<String> {
        let mut notes = self.worker_failures();
        notes.extend(self.link_troubles());
        if let Some(served) = self.filter.as_ref().map(Filter::served) {
            notes.extend(served.idle_workers().map(str::to_owned));
            notes.extend(self.config.interfaces.iter().filter_map(|interface| served.trouble(&interface.name)));
        }
        for (_, state) in states {
            notes.extend(device_note(state));
        }
        notes.extend(self.losses.notes(sys::clock::now()));
        notes.extend(self.checks_fault());
        notes.extend(self.flow_log.as_ref().and_then(FlowLog::trouble));
        notes.extend(self.findings.problems.iter().cloned());
        notes.extend(self.tun_line.as_ref().and_then(|line| line.trouble.borrow().clone()));
        notes.extend(self.unpublished.iter().map(ToString::to_string));
        notes.extend(self.catalog.services().iter().flat_map(resting));
        notes.extend(self.swarm.iter().flat_map(SwarmState::problems).map(|problem| format!("swarm: {problem}")));
        notes
    }
}

/// The backends of a service that rest.
fn resting(service: &ServiceEntry) -> impl Iterator<Item = String> {
    let resting = service.backends.iter().filter(|backend| backend.suspended);
    resting.map(|backend| {
        let (name, address) = (&service.name, backend.config.address);
        let why = backend.ejection.as_ref().map_or("", |ejection| ejection.reason.as_str());
        format!("service {name}: {address} rests, no new connections for the moment: {why}")
    })
}

fn device_note(state: &DeviceState) -> Option<String> {
    state.error.as_ref().map(|error| format!("{} queue {}: {error}", state.name, state.queue))
}

/// Counters by worker and in all. Those of the XDP filter belong to no worker.
pub fn counters(workers: &[WorkerCounters], filter: &[(&'static str, u64)]) -> CountersView {
    let mut sum = WorkerCounters::default();
    for worker in workers {
        sum.add(worker);
    }
    let mut total = set(&sum);
    total.counters.extend(filter.iter().map(|(name, n)| (format!("xdp_{name}"), *n)));
    CountersView { total, workers: workers.iter().map(set).collect() }
}

fn set(counters: &WorkerCounters) -> CounterSet {
    let owned = |(name, n): (&'static str, u64)| (name.to_owned(), n);
    CounterSet {
        counters: counters.named().into_iter().map(owned).collect(),
        drops: counters.drops.iter().copied().map(owned).collect::<BTreeMap<_, _>>(),
    }
}

/// A flow with the names of services instead of their ids.
pub fn flow(record: &FlowRecord, names: &HashMap<ServiceId, String>) -> FlowView {
    let per_direction = |both: [u64; 2]| PerDirection { original: both[0], reply: both[1] };
    FlowView {
        worker: record.worker,
        protocol: record.protocol.to_string(),
        client: record.client,
        vip: record.vip,
        snat: record.snat,
        backend: record.backend,
        service: names.get(&record.service).cloned().unwrap_or_default(),
        state: record.state.to_owned(),
        expires_in_seconds: record.expires_in.as_secs(),
        packets: per_direction(record.packets),
        bytes: per_direction(record.bytes),
    }
}
