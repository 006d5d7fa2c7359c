//! Who spent how much CPU time: softirqs by namespace, processes without the softirqs on top of them.
//!
//! The kernel charges a process for the softirqs that happen to run on top of it, often other hosts' work. The tracing
//! program of `bpf/cpu.c` tells them apart, and gives each packet's part to the namespace that it was in.

use crate::namespace::Namespace;
use crate::peers::site::Site;
use crate::{Failure, Outcome};
use aya::maps::{MapData, PerCpuHashMap, PerCpuValues};
use aya::programs::RawTracePoint;
use aya::sys::{Stats, enable_stats};
use aya::util::nr_cpus;
use aya::{Ebpf, include_bytes_aligned};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

static PROGRAM: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cpu.o"));

/// The functions of the program and their tracepoints.
const HOOKS: [(&str, &str); 5] = [
    ("begin", "softirq_entry"),
    ("end", "softirq_exit"),
    ("leave", "sched_switch"),
    ("receive", "netif_receive_skb"),
    ("polled", "napi_poll"),
];

/// Of a kernel's clock tick, in which user time is told.
const TICK_NS: u64 = 10_000_000;

/// CPU time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Spent {
    /// In the gateway's programs.
    pub user: u64,
    /// In system calls of the gateway's programs, without the softirqs on top of them.
    pub system: u64,
    /// Receiving and forwarding in the gateway's namespace, whoever's turn it was on the CPU.
    pub softirq: u64,
    /// Receiving and forwarding in the nodes' namespaces.
    pub nodes: u64,
}

impl Spent {
    /// What the gateway spent in all.
    #[must_use]
    pub fn gateway(&self) -> u64 {
        self.user + self.system + self.softirq
    }

    /// What was spent since `before`.
    #[must_use]
    pub fn since(&self, before: &Spent) -> Spent {
        Spent {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            softirq: self.softirq.saturating_sub(before.softirq),
            nodes: self.nodes.saturating_sub(before.nodes),
        }
    }
}

/// The loaded tracing program, and what it is asked about.
pub struct Accounts {
    program: Ebpf,
    places: PerCpuHashMap<MapData, u32, u64>,
    owned: PerCpuHashMap<MapData, u32, u64>,
    inodes: BTreeMap<String, u32>,
    nodes: Vec<u32>,
    processes: BTreeMap<String, Vec<u32>>,
}

impl Accounts {
    /// Loads the program and tells it the namespaces and the gateways' processes, which must be running.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub fn open(site: &Site) -> Outcome<Accounts> {
        let mut program = Ebpf::load(PROGRAM)?;
        for (function, tracepoint) in HOOKS {
            let hook = program.program_mut(function).ok_or_else(|| Failure::new(format!("no program {function}")))?;
            let hook: &mut RawTracePoint = hook.try_into()?;
            hook.load()?;
            hook.attach(tracepoint)?;
        }
        let mut accounts = Accounts {
            places: take(&mut program, "places")?,
            owned: take(&mut program, "processes")?,
            program,
            inodes: BTreeMap::new(),
            nodes: Vec::new(),
            processes: BTreeMap::new(),
        };
        zero(&mut accounts.places, 0)?;
        for namespace in site.namespaces() {
            accounts.add_place(namespace)?;
        }
        accounts.nodes =
            site.nodes.iter().filter_map(|node| accounts.inodes.get(node.namespace.name()).copied()).collect();
        for seat in &site.seats {
            accounts.add_processes(&seat.namespace)?;
        }
        Ok(accounts)
    }

    /// What the tracing itself costs: for each hook, how often it ran while `during` ran, and nanoseconds each time.
    ///
    /// # Errors
    /// The kernel tells no statistics, or `during` failed.
    pub fn own_cost(&self, during: impl FnOnce() -> Outcome) -> Outcome<Vec<(&'static str, u64, f64)>> {
        let _enabled = enable_stats(Stats::RunTime)?;
        let before = self.run_times()?;
        during()?;
        let after = self.run_times()?;
        let costs = HOOKS.iter().zip(before).zip(after).map(|(((_, tracepoint), before), after)| {
            let count = after.0 - before.0;
            (*tracepoint, count, (after.1 - before.1) as f64 / count.max(1) as f64)
        });
        Ok(costs.collect())
    }

    fn run_times(&self) -> Outcome<Vec<(u64, u64)>> {
        let times = HOOKS.iter().map(|(function, _)| {
            let hook = self.program.program(function).ok_or_else(|| Failure::new(format!("no program {function}")))?;
            let info = hook.info()?;
            Ok((info.run_count(), info.run_time().as_nanos() as u64))
        });
        times.collect()
    }

    fn add_place(&mut self, namespace: &Namespace) -> Outcome {
        let inode = fs::metadata(format!("/run/netns/{}", namespace.name()))?.ino();
        let inode = u32::try_from(inode)?;
        zero(&mut self.places, inode)?;
        self.inodes.insert(namespace.name().to_owned(), inode);
        Ok(())
    }

    fn add_processes(&mut self, namespace: &Namespace) -> Outcome {
        let pids = processes(namespace)?;
        for pid in &pids {
            zero(&mut self.owned, *pid)?;
        }
        self.processes.insert(namespace.name().to_owned(), pids);
        Ok(())
    }

    /// What the gateway in this namespace (none: no gateway) and the nodes have spent until now.
    ///
    /// # Errors
    /// A gateway's process has ended.
    pub fn read(&self, gateway: Option<&Namespace>) -> Outcome<Spent> {
        let mut spent = Spent::default();
        for inode in &self.nodes {
            spent.nodes += sum(&self.places, *inode)?;
        }
        let Some(gateway) = gateway else { return Ok(spent) };
        if let Some(inode) = self.inodes.get(gateway.name()) {
            spent.softirq = sum(&self.places, *inode)?;
        }
        let mut on_cpu = 0;
        for pid in self.processes.get(gateway.name()).into_iter().flatten() {
            on_cpu += sum(&self.owned, *pid)?;
            spent.user += user_time(*pid)?;
        }
        spent.user = spent.user.min(on_cpu);
        spent.system = on_cpu - spent.user;
        Ok(spent)
    }
}

fn take(program: &mut Ebpf, name: &str) -> Outcome<PerCpuHashMap<MapData, u32, u64>> {
    let map = program.take_map(name).ok_or_else(|| Failure::new(format!("no map {name}")))?;
    Ok(PerCpuHashMap::try_from(map)?)
}

fn zero(map: &mut PerCpuHashMap<MapData, u32, u64>, key: u32) -> Outcome {
    let cpus = nr_cpus().map_err(|(what, error)| Failure::new(format!("{what}: {error}")))?;
    map.insert(key, PerCpuValues::try_from(vec![0; cpus])?, 0)?;
    Ok(())
}

fn sum(map: &PerCpuHashMap<MapData, u32, u64>, key: u32) -> Outcome<u64> {
    Ok(map.get(&key, 0)?.iter().sum())
}

/// The processes that run in a namespace.
///
/// # Errors
/// `ip` failed.
pub fn processes(namespace: &Namespace) -> Outcome<Vec<u32>> {
    let text = crate::lab::run(std::process::Command::new("ip").args(["netns", "pids", namespace.name()]))?;
    let pids: BTreeSet<u32> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    Ok(pids.into_iter().collect())
}

/// Nanoseconds in user mode: sampled by the kernel at its tick, so good for a sum over a run only.
fn user_time(pid: u32) -> Outcome<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold blanks; it ends with the last parenthesis, and user time is the 12th word after it.
    let after = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after.split_whitespace().nth(11).and_then(|word| word.parse().ok()).unwrap_or(0);
    Ok(ticks * TICK_NS)
}
