//! The running gateway: engine, catalog and kernel together.
//!
//! Everything that may change the tables ends in [`Gateway::publish`]: an edit or a reload through
//! [`Operations`](crate::operations::Operations), a change of the kernel's state, an ARP answer in the overlay.

mod checks;
mod compile;
mod health;
mod learned;
mod lingering;
mod losses;
mod operations;
mod passive;
mod resolve;
mod rules;
mod sources;
mod start_error;
mod status;
mod swarm;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_checks;
#[cfg(test)]
mod tests_running;
#[cfg(test)]
mod tests_six;
#[cfg(test)]
mod tests_swarm;
#[cfg(test)]
mod tests_tun;
mod tun_routes;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datapath::service::{Generation, Snapshot};
use datapath::{Engine, Event};
use sys::DeviceState;

pub use compile::{TunWants, compile, has_tun, no_room, taken_by_kernel};
pub use resolve::{Findings, OverlayMacs};
pub use rules::{Rules, plain_ports};
pub use start_error::{DEFECT, StartError};
pub use tun_routes::{TunFollower, TunLine, TunRoutes};

use crate::catalog::Catalog;
use crate::check::{Checks, Target};
use crate::config::Config;
use crate::config::report::Complaint;
use crate::devices::Filter;
use crate::flow_log::FlowLog;
use crate::kernel::{Kernel, KernelView};
use compile::Compiled;
use learned::{Learned, learnable};
use lingering::Lingering;
use losses::Losses;
use sources::Sources;
use swarm::SwarmState;

/// What a running gateway is made of.
pub struct Parts {
    /// The config that it was started with.
    pub config: Config,
    /// Where that was read.
    pub config_path: PathBuf,
    /// The CPUs that the process may use.
    pub cpus: Vec<usize>,
    /// The services.
    pub catalog: Catalog,
    /// The workers, running on `first`.
    pub engine: Engine,
    /// The XDP filter, with its first rules; none over TUN alone.
    pub filter: Option<Filter>,
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// The kernel's state that `first` was made from.
    pub view: KernelView,
    /// The tables that the workers run on.
    pub first: First,
    /// Who keeps the routes to the TUN device.
    pub tun_line: Option<TunLine>,
    /// The SNAT ports of plain backends.
    pub plain_ports: RangeInclusive<u16>,
    /// With `[flow_log]`.
    pub flow_log: Option<FlowLog>,
}

/// What is kept of the first tables.
pub struct First {
    generation: Generation,
    rules: Rules,
    findings: Findings,
    targets: Vec<Target>,
    sources: Sources,
}

impl First {
    /// Takes the tables apart: the snapshot is for the engine.
    pub fn split(compiled: Compiled) -> Result<(Snapshot, First), datapath::service::TablesError> {
        let Compiled { tables, rules, findings, targets, sources } = compiled;
        let generation = tables.generation;
        Ok((Snapshot::build(tables)?, First { generation, rules, findings, targets, sources }))
    }

    /// What the XDP filter is to take at first.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}

/// How long after a failure it is tried again to put into the tables what nobody waits for.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Whether what failed then is to be tried again now.
fn is_due(failed: Duration) -> bool {
    sys::clock::now().saturating_sub(failed) >= TRY_AGAIN
}

/// The running gateway.
pub struct Gateway {
    config: Config,
    config_path: PathBuf,
    cpus: Vec<usize>,
    catalog: Catalog,
    engine: Engine,
    filter: Option<Filter>,
    kernel: Arc<Kernel>,
    view: KernelView,
    learned: Learned,
    generation: Generation,
    rules: Rules,
    /// What plain backends see by that generation.
    sources: Sources,
    /// What generations before needed, while the filter still takes it.
    lingering: Lingering,
    findings: Findings,
    failed_workers: BTreeMap<usize, String>,
    /// As of the last tick.
    devices: Vec<(usize, DeviceState)>,
    pace: health::Pace,
    losses: Losses,
    tun_line: Option<TunLine>,
    plain_ports: RangeInclusive<u16>,
    /// With `[swarm]`.
    swarm: Option<SwarmState>,
    watch: passive::Watch,
    /// Once there was something to check.
    checks: Option<Checks>,
    checks_failed: bool,
    /// What has become of catalog or kernel by itself could not be put into force.
    unpublished: Option<Owed>,
    flow_log: Option<FlowLog>,
}

impl Gateway {
    /// Takes over what [`run`](crate::run) has opened.
    pub fn new(parts: Parts) -> Gateway {
        let First { generation, rules, findings, targets, sources } = parts.first;
        let mut gateway = Gateway {
            config: parts.config,
            config_path: parts.config_path,
            cpus: parts.cpus,
            catalog: parts.catalog,
            engine: parts.engine,
            filter: parts.filter,
            kernel: parts.kernel,
            view: parts.view,
            learned: Learned::default(),
            generation,
            rules,
            sources,
            lingering: Lingering::default(),
            findings: Findings::default(),
            failed_workers: BTreeMap::new(),
            devices: Vec::new(),
            pace: health::Pace::default(),
            losses: Losses::default(),
            swarm: None,
            watch: passive::Watch::default(),
            checks: None,
            checks_failed: false,
            unpublished: None,
            tun_line: parts.tun_line,
            plain_ports: parts.plain_ports,
            flow_log: parts.flow_log,
        };
        gateway.check(targets);
        gateway.with_findings(findings)
    }

    fn with_findings(mut self, findings: Findings) -> Gateway {
        self.note(findings);
        self
    }

    /// Makes `catalog` the one that counts. On error nothing has changed.
    fn adopt(&mut self, catalog: Catalog) -> Result<(), PublishError> {
        // One that the kernel took later is no reason to refuse what is asked for others.
        let is_new = |(address, _): &(IpAddr, String)| !compile::vips(&self.catalog).contains(address);
        if let Some((address, link)) = taken_by_kernel(&self.config, &catalog, &self.view).into_iter().find(is_new) {
            return Err(PublishError::TakenByKernel(address, link));
        }
        if let Some((address, complaint)) = no_room(&self.config, &catalog) {
            return Err(PublishError::NoRoom(address, complaint));
        }
        let compiled = self.compile(&catalog);
        self.publish(compiled)?;
        self.catalog = catalog;
        self.learned.keep(learnable(&self.catalog));
        Ok(())
    }

    fn compile(&self, catalog: &Catalog) -> Compiled {
        if let Some(log) = &self.flow_log {
            log.know(catalog);
        }
        let next = Generation(self.generation.0 + 1);
        let mut compiled = compile(&self.config, catalog, &self.view, self.learned.macs(), next);
        compiled.keep_sources(&self.sources, catalog);
        compiled
    }

    /// Hands new tables to the workers. The filter takes what is new before they know it, and lets go of what is
    /// old when the last of them has left it ([`Gateway::tick`]): meanwhile nothing falls to the kernel.
    fn publish(&mut self, compiled: Compiled) -> Result<(), PublishError> {
        let Compiled { tables, rules, findings, targets, sources } = compiled;
        let generation = tables.generation;
        let snapshot = Snapshot::build(tables).map_err(PublishError::Tables)?;
        if let Some(filter) = &mut self.filter
            && rules != self.rules
        {
            filter.publish(&self.lingering.join(&self.rules, &rules)).map_err(PublishError::Filter)?;
        }
        self.look_after_workers();
        self.engine.publish(snapshot);
        self.unpublished = None;
        self.check(targets);
        self.lead_to_tun(&rules);
        (self.generation, self.rules, self.sources) = (generation, rules, sources);
        self.note(findings);
        Ok(())
    }

    fn lead_to_tun(&self, rules: &Rules) {
        if let Some(line) = &self.tun_line {
            let wants = TunWants::of(rules, &self.view, &self.plain_ports);
            line.wants.send_if_modified(|now| std::mem::replace(now, wants.clone()) != wants);
        }
    }

    /// Has the kernel follow what the tables lead to, and logs what is newly unreachable, or reachable again.
    fn note(&mut self, findings: Findings) {
        for problem in findings.problems.difference(&self.findings.problems) {
            tracing::warn!("{problem}");
        }
        for problem in self.findings.problems.difference(&findings.problems) {
            tracing::info!("no longer so: {problem}");
        }
        self.findings = findings;
        self.follow_addresses();
    }

    /// What the tables lead to, and the swarm's nodes even when none of their tasks is served yet.
    fn follow_addresses(&self) {
        let nodes = self.swarm.as_ref().map(SwarmState::vteps);
        let mut asked = self.findings.asked.clone();
        asked.extend(nodes.into_iter().flatten().copied().map(IpAddr::V4));
        self.kernel.follow(asked);
    }

    /// Takes over what the kernel says now; a new generation only when packets must travel otherwise.
    pub fn kernel_changed(&mut self, view: KernelView) {
        self.view = match &mut self.filter {
            Some(filter) => {
                let view = view.with_names_as_served(&filter.served().indexes());
                filter.set_addresses(&view);
                view
            }
            None => view,
        };
        self.follow_again();
        self.republish("the kernel's network state changed");
    }

    fn republish(&mut self, why: &str) {
        let compiled = self.compile(&self.catalog);
        if self.engine.leads_as(&compiled.tables) {
            // Packets travel as before, but which of them the kernel would keep depends on this machine's addresses.
            self.lead_to_tun(&compiled.rules);
            return self.note(compiled.findings);
        }
        match self.publish(compiled) {
            Ok(()) => tracing::debug!(generation = self.generation.0, "new table: {why}"),
            Err(error) => self.owe(why, &error),
        }
    }

    /// To be called several times a second: events of the workers, memory to free, queues that were busy, filter rules to
    /// let go of.
    pub fn tick(&mut self) {
        self.take_events();
        self.watch_tasks();
        self.take_findings();
        self.grow_older();
        self.follow_late();
        self.publish_late();
        self.engine.reclaim();
        self.look_after_workers();
        self.losses.watch(&self.devices, sys::clock::now());
        if let Some(filter) = &mut self.filter {
            filter.admit_late_sockets();
            filter.watch();
        }
        if self.lingering.is_due() && self.is_live() {
            self.release_rules();
        }
    }

    fn take_events(&mut self) {
        let mut learned = false;
        let mut wanted: Option<HashSet<_>> = None;
        for event in self.engine.events() {
            match event {
                Event::OverlayNeighbour { vtep, address, mac } => {
                    // An operator who has written a MAC down is believed, not ARP.
                    let wanted = wanted.get_or_insert_with(|| learnable(&self.catalog).collect());
                    let news = wanted.contains(&address) && self.learned.hear(address, mac, sys::clock::now());
                    if news {
                        tracing::info!("overlay address {address} (vtep {vtep}) is at {mac}");
                    }
                    learned |= news;
                }
                Event::WorkerFailed { worker, reason } => {
                    tracing::error!("worker {worker} failed: {reason}");
                    self.failed_workers.insert(worker, reason);
                }
            }
        }
        if learned {
            self.republish("an overlay MAC address was learned");
        }
    }

    /// Takes backends that do not answer out of the turns, and back in.
    fn watch_tasks(&mut self) {
        if self.watch.is_idle(&self.catalog) {
            return;
        }
        let totals = |backend: &crate::catalog::BackendEntry| backend.stats.totals();
        let rests = self.watch.judge(&self.catalog, totals, &self.findings.lost, sys::clock::now());
        let news = self.catalog.suspend(&rests);
        for sentence in &news {
            tracing::warn!("{sentence}");
        }
        if !news.is_empty() {
            self.publish_catalog("backends do not answer");
        }
    }

    /// Slow starts go on, drained backends reach their deadline.
    fn grow_older(&mut self) {
        if !self.catalog.grow_older(sys::clock::now()) {
            return;
        }
        self.publish_catalog("weights have changed with time");
    }

    /// Puts what has become of the catalog by itself into force. False: it failed, and was said.
    fn publish_catalog(&mut self, why: &str) -> bool {
        let compiled = self.compile(&self.catalog);
        let published = self.publish(compiled);
        if let Err(error) = &published {
            self.owe(why, error);
        }
        published.is_ok()
    }

    fn owe(&mut self, why: &str, error: &PublishError) {
        let owed = Owed { why: why.to_owned(), error: error.to_string(), tried: sys::clock::now() };
        if self.unpublished.as_ref().is_none_or(|before| before.to_string() != owed.to_string()) {
            tracing::error!("{owed}");
        }
        self.unpublished = Some(owed);
    }

    /// Tries again what failed: nothing else would tell the workers until there is other news.
    fn publish_late(&mut self) {
        if let Some(owed) = self.unpublished.as_ref().filter(|owed| is_due(owed.tried)) {
            let why = owed.why.clone();
            self.publish_catalog(&why);
        }
    }

    fn release_rules(&mut self) {
        let Some(filter) = &mut self.filter else { return };
        match filter.publish(&self.rules) {
            Ok(()) => self.lingering.end(),
            Err(error) => {
                if self.lingering.keep(error.to_string()) {
                    tracing::warn!("the XDP filter keeps rules that are not needed: {error}");
                }
            }
        }
    }

    /// The overlay addresses of which the MAC address is a guess until ARP answers.
    pub fn guessed_overlay_macs(&self) -> usize {
        learnable(&self.catalog).filter(|address| !self.learned.macs().contains_key(address)).count()
    }

    /// The flow log goes on in a new file: the old one was moved away.
    pub fn reopen_flow_log(&self) {
        if let Some(log) = &self.flow_log {
            log.reopen();
        }
    }

    /// Whether all workers use the newest table.
    pub fn is_live(&self) -> bool {
        self.engine.applied().iter().all(|generation| *generation >= self.generation)
    }

    /// The first worker that failed, and why.
    pub fn failure(&self) -> Option<(usize, &str)> {
        self.failed_workers.iter().next().map(|(worker, reason)| (*worker, reason.as_str()))
    }

    /// Ends it all in order: the filter first, so that the kernel has the interfaces back before the sockets go.
    pub fn stop(self) {
        drop(self.checks);
        drop(self.filter);
        self.engine.stop();
        // Last: it writes what the workers have said.
        drop(self.flow_log);
    }
}

/// News that could not be put into force.
#[derive(Debug)]
struct Owed {
    /// What is new.
    why: String,
    error: String,
    /// The last time.
    tried: Duration,
}

impl std::fmt::Display for Owed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}, but the new table failed: {}", self.why, self.error)
    }
}

/// Why new tables could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The tables contradict themselves.
    #[error("{0}")]
    Tables(datapath::service::TablesError),
    /// The XDP filter did not take them.
    #[error("the XDP filter refused the new rules: {0}")]
    Filter(sys::FilterError),
    /// Over TUN: the kernel would take the packets.
    #[error("{0} is an address of {1}: the kernel would take its packets")]
    TakenByKernel(IpAddr, String),
    /// Over AF_XDP: this VIP is one too many for the filter.
    #[error("VIP {_0}: {}", _1.message)]
    NoRoom(IpAddr, Complaint),
}
