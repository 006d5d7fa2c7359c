//! Prometheus text: what the gateway has counted, at `/metrics`.

mod server;
#[cfg(test)]
mod tests;

pub use server::MetricsServer;

use std::fmt;
use std::sync::atomic::AtomicU64;

use datapath::protection::GuardTotals;
use datapath::service::BackendTotals;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::catalog::{BackendEntry, ServiceEntry};
use crate::operations::{CounterSet, DeviceStatus, Operations, Status, SwarmStatus};

type Labels = Vec<(&'static str, String)>;

/// Gathers everything.
pub fn page(gateway: &dyn Operations) -> Page {
    let mut page = Page { registry: Registry::with_prefix("sluicegate") };
    let status = gateway.status();
    page.process(&status);
    page.workers(&status, &gateway.counters().workers);
    page.devices(&status.devices);
    page.backends(gateway);
    page
}

/// One answer in the making.
pub struct Page {
    registry: Registry,
}

/// A metric with its values by label.
struct Values(Vec<(Labels, u64)>);

impl Page {
    /// The `OpenMetrics` text.
    ///
    /// # Errors
    /// Writing to a string does not fail; the formatting traits say it could.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn gauges(&mut self, name: &str, help: &str, unit: Option<Unit>, values: Values) {
        let family = Family::<Labels, Gauge<u64, AtomicU64>>::default();
        for (labels, value) in values.0 {
            family.get_or_create(&labels).set(value);
        }
        match unit {
            Some(unit) => self.registry.register_with_unit(name, help, unit, family),
            None => self.registry.register(name, help, family),
        }
    }

    /// The encoder appends `_total`.
    fn counters(&mut self, name: &str, help: &str, values: Values) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values.0 {
            family.get_or_create(&labels).inc_by(value);
        }
        self.registry.register(name, help, family);
    }

    fn process(&mut self, status: &Status) {
        let one = |labels, value| Values(vec![(labels, value)]);
        let build = vec![("version", status.build.clone())];
        self.gauges("build_info", "Which build runs", None, one(build, 1));
        let uptime = one(Vec::new(), status.uptime_seconds);
        self.gauges("uptime", "Time since the start", Some(Unit::Seconds), uptime);
        self.gauges("generation", "The newest table", None, one(Vec::new(), status.generation));
        self.gauges("flows", "Flows now", None, one(Vec::new(), status.flows.flows));
        self.gauges("flows_capacity", "The most flows there can be", None, one(Vec::new(), status.flows.capacity));
        if let Some(swarm) = &status.swarm {
            self.swarm(swarm);
        }
        let notes = status.notes.len() as u64;
        self.gauges("problems", "What status calls the operator's attention to", None, one(Vec::new(), notes));
    }

    fn swarm(&mut self, swarm: &SwarmStatus) {
        let one = |value| Values(vec![(Vec::new(), value)]);
        // Before the first answer it is infinite.
        let age = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        age.get_or_create(&Vec::new()).set(swarm.age_seconds.unwrap_or(f64::INFINITY));
        self.registry.register_with_unit("swarm_age", "Time since a manager answered", Unit::Seconds, age);
        self.counters("swarm_errors", "Answers of managers that failed or made no sense", one(swarm.errors));
        self.gauges("swarm_services", "Services that the swarm wants served", None, one(swarm.services));
        self.gauges("swarm_tasks", "Their tasks", None, one(swarm.tasks));
    }

    fn workers(&mut self, status: &Status, counters: &[CounterSet]) {
        let applied = status.workers.iter().map(|worker| (worker_label(worker.worker), worker.generation));
        self.gauges("worker_generation", "The table that the worker uses", None, Values(applied.collect()));
        let names = counters.first().map(|set| set.counters.keys().cloned().collect::<Vec<_>>());
        for name in names.unwrap_or_default() {
            let value = |(worker, set): (usize, &CounterSet)| (worker_label(worker), set.counters[&name]);
            let values = Values(counters.iter().enumerate().map(value).collect());
            let help = format!("`{name}` of `sluicegate counters`, which docs/operating.md explains");
            self.counters(&name, &help, values);
        }
        self.drops(counters);
    }

    fn drops(&mut self, counters: &[CounterSet]) {
        let mut drops = Vec::new();
        for (worker, set) in counters.iter().enumerate() {
            for (reason, dropped) in &set.drops {
                let mut labels = worker_label(worker);
                labels.push(("reason", reason.clone()));
                drops.push((labels, *dropped));
            }
        }
        self.counters("dropped_packets", "Packets dropped, by reason", Values(drops));
    }

    fn devices(&mut self, devices: &[DeviceStatus]) {
        let up = devices.iter().map(|device| (device_labels(device), u64::from(device.up)));
        self.gauges("device_up", "Whether packets can pass", None, Values(up.collect()));
        let lost = devices.iter().map(|device| (device_labels(device), device.rx_dropped));
        let help = "Packets lost before the gateway saw them";
        self.counters("device_rx_dropped_packets", help, Values(lost.collect()));
    }

    fn backends(&mut self, gateway: &dyn Operations) {
        let mut all = Vec::new();
        for service in gateway.catalog().services() {
            for backend in &service.backends {
                all.push((backend_labels(service, backend), backend.config.weight, backend.stats.totals()));
            }
        }
        self.checks(gateway);
        self.lost(gateway);
        self.ejections(gateway);
        self.clients(gateway);
        self.protection(gateway);
        let weights = all.iter().map(|(labels, weight, _)| (labels.clone(), u64::from(*weight)));
        self.gauges("backend_weight", "Its share; 0 drains", None, Values(weights.collect()));
        for (name, help, is_counter, read) in BACKEND_METRICS {
            let values = Values(all.iter().map(|(labels, _, totals)| (labels.clone(), read(totals))).collect());
            if *is_counter {
                self.counters(name, help, values);
            } else {
                self.gauges(name, help, None, values);
            }
        }
    }
}

impl Page {
    /// Only what is checked: a backend that nobody asks is neither up nor down.
    fn checks(&mut self, gateway: &dyn Operations) {
        let checked = gateway.catalog().services().iter().filter(|service| service.check.is_some());
        let all: Vec<_> =
            checked.flat_map(|service| service.backends.iter().map(move |entry| (service, entry))).collect();
        let labels = |(service, entry): &(&ServiceEntry, &BackendEntry)| backend_labels(service, entry);
        let up = all.iter().map(|pair| (labels(pair), u64::from(pair.1.health.is_up())));
        self.gauges("backend_up", "Whether its checks let it have new connections", None, Values(up.collect()));
        let mut results = Vec::new();
        for pair in &all {
            let (passed, failed) = pair.1.health.counts();
            for (result, count) in [("passed", passed), ("failed", failed)] {
                let mut labels = labels(pair);
                labels.push(("result", result.to_owned()));
                results.push((labels, count));
            }
        }
        self.counters("checks", "Health checks, by result", Values(results));
        let duration = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for pair in &all {
            if let Some((outcome, _)) = pair.1.health.last() {
                duration.get_or_create(&labels(pair)).set(outcome.took.as_secs_f64());
            }
        }
        let help = "How long the last health check took";
        self.registry.register_with_unit("check_duration", help, Unit::Seconds, duration);
    }
}

impl Page {
    fn lost(&mut self, gateway: &dyn Operations) {
        let mut all = Vec::new();
        for service in gateway.catalog().services() {
            let is_lost = |backend: &BackendEntry| u64::from(gateway.lost().contains(&backend.first_id));
            all.extend(service.backends.iter().map(|backend| (backend_labels(service, backend), is_lost(backend))));
        }
        self.gauges("backend_unreachable", "Whether no way leads to it", None, Values(all));
    }
}

impl Page {
    /// Only backends that are watched.
    fn ejections(&mut self, gateway: &dyn Operations) {
        let watched = gateway.catalog().services().iter().filter(|service| service.passive().on);
        let all: Vec<_> = watched
            .flat_map(|service| service.backends.iter().map(move |entry| (backend_labels(service, entry), entry)))
            .collect();
        let resting = all.iter().map(|(labels, entry)| (labels.clone(), u64::from(entry.suspended)));
        let help = "Whether it gets no new connections because it did not take the last ones";
        self.gauges("backend_resting", help, None, Values(resting.collect()));
        let ejections = all.iter().map(|(labels, entry)| (labels.clone(), entry.ejections));
        self.counters("backend_ejections", "How often it was made to rest", Values(ejections.collect()));
    }
}

impl Page {
    /// Only services that remember their clients; those of a group have the same numbers.
    fn clients(&mut self, gateway: &dyn Operations) {
        let now = sys::clock::now();
        let services = gateway.catalog().services().iter();
        let all: Vec<_> = services
            .filter_map(|service| {
                let labels: Labels = vec![("service", service.name.clone())];
                Some((labels, gateway.catalog().remembered(service, now)?))
            })
            .collect();
        let count = all.iter().map(|(labels, remembered)| (labels.clone(), remembered.now));
        self.gauges("remembered_clients", "Clients that stay with their backends", None, Values(count.collect()));
        let evicted = all.iter().map(|(labels, remembered)| (labels.clone(), remembered.evicted));
        let help = "Clients that were forgotten before their time because there was no room";
        self.counters("evicted_clients", help, Values(evicted.collect()));
    }
}

impl Page {
    fn protection(&mut self, gateway: &dyn Operations) {
        let label = |service: &ServiceEntry| -> Labels { vec![("service", service.name.clone())] };
        let all: Vec<_> =
            gateway.catalog().services().iter().map(|service| (label(service), service.guard.totals())).collect();
        let mut refused = Vec::new();
        for (labels, totals) in &all {
            let reasons = [
                ("denied", totals.denied),
                ("over_rate", totals.over_rate),
                ("over_rate_per_source", totals.over_rate_per_source),
            ];
            for (reason, count) in reasons {
                let mut labels = labels.clone();
                labels.push(("reason", reason.to_owned()));
                refused.push((labels, count));
            }
        }
        let help = "Packets that would have opened a flow, kept out by lists and rates";
        self.counters("service_refused_packets", help, Values(refused));
        let cookies: [GuardMetric; 3] = [
            ("syn_cookies_sent", "SYNs answered by a cookie", |totals| totals.cookies_sent),
            ("syn_cookies_accepted", "Cookies that came back", |totals| totals.cookies_accepted),
            ("syn_cookies_rejected", "Segments that brought a wrong or old cookie", |totals| totals.cookies_rejected),
        ];
        for (name, help, read) in cookies {
            let values = all.iter().map(|(labels, totals)| (labels.clone(), read(totals)));
            self.counters(name, help, Values(values.collect()));
        }
        let baking =
            gateway.catalog().services().iter().map(|service| (label(service), service.bakes_cookies().into()));
        self.gauges("syn_cookies_active", "Whether SYNs are answered by cookies", None, Values(baking.collect()));
        let half_open = all.iter().map(|(labels, totals)| (labels.clone(), totals.half_open));
        self.gauges("service_half_open_flows", "Handshakes that are not complete", None, Values(half_open.collect()));
    }
}

type GuardMetric = (&'static str, &'static str, fn(&GuardTotals) -> u64);

type BackendMetric = (&'static str, &'static str, bool, fn(&BackendTotals) -> u64);

/// Name, help, whether it only grows, and where it comes from.
const BACKEND_METRICS: &[BackendMetric] = &[
    ("backend_connections", "Flows opened", true, |totals| totals.connections),
    ("backend_active_flows", "Flows that are established", false, |totals| totals.active),
    ("backend_inactive_flows", "Flows that are opening or closing", false, |totals| totals.inactive),
    ("backend_in_packets", "Packets from clients", true, |totals| totals.packets_in),
    ("backend_out_packets", "Packets to clients", true, |totals| totals.packets_out),
    ("backend_in_bytes", "Bytes from clients", true, |totals| totals.bytes_in),
    ("backend_out_bytes", "Bytes to clients", true, |totals| totals.bytes_out),
];

fn worker_label(worker: usize) -> Labels {
    vec![("worker", worker.to_string())]
}

fn device_labels(device: &DeviceStatus) -> Labels {
    let name = match device.driver.as_str() {
        "af_xdp" => format!("{}:{}", device.name, device.queue),
        _ => device.name.clone(),
    };
    let mut labels = vec![("device", name)];
    labels.extend(worker_label(device.worker));
    labels
}

fn backend_labels(service: &ServiceEntry, backend: &BackendEntry) -> Labels {
    vec![("service", service.name.clone()), ("backend", backend.config.address.to_string())]
}
