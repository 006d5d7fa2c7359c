//! Who spent how much CPU time: softirqs by namespace, processes without the softirqs on top of them.
//!
//! The kernel charges a process for the softirqs that happen to run on top of it, often other hosts' work. The tracing
//! program of `bpf/cpu.c` tells them apart, and gives each packet's part to the namespace that it was in.

use crate::namespace::Namespace;
use crate::peers::site::Site;
use crate::{Failure, Outcome};
use aya::maps::{HashMap, MapData, PerCpuArray};
use aya::programs::BtfTracePoint;
use aya::sys::{Stats, enable_stats};
use aya::{Btf, Ebpf, include_bytes_aligned};
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
        // User time is told in ticks, and may have gone on by more than all time on the CPU has, which is exact.
        let on_cpu = (self.user + self.system).saturating_sub(before.user + before.system);
        let user = self.user.saturating_sub(before.user).min(on_cpu);
        Spent {
            user,
            system: on_cpu - user,
            softirq: self.softirq.saturating_sub(before.softirq),
            nodes: self.nodes.saturating_sub(before.nodes),
        }
    }
}

/// `SUMS` of the program: how many namespaces and processes it can tell apart.
const SUMS: usize = 64;
/// `OTHERS`: the last of the sums that belong to nobody in particular.
const OTHERS: usize = 1;
/// Words in front of the sums of a CPU.
const HEAD: usize = 2;

/// A CPU's `struct state`.
type State = [u64; HEAD + SUMS];

/// The loaded tracing program, and what it is asked about.
pub struct Accounts {
    program: Ebpf,
    states: PerCpuArray<MapData, State>,
    /// The last sum that was given away.
    last: usize,
    places: BTreeMap<String, usize>,
    nodes: Vec<usize>,
    /// By namespace: processes and their sums.
    processes: BTreeMap<String, Vec<(u32, usize)>>,
}

impl Accounts {
    /// Loads the program and tells it the namespaces and the gateways' processes, which must be running.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub fn open(site: &Site) -> Outcome<Accounts> {
        let mut program = Ebpf::load(PROGRAM)?;
        let kernel = Btf::from_sys_fs()?;
        for (function, tracepoint) in HOOKS {
            let hook = program.program_mut(function).ok_or_else(|| Failure::new(format!("no program {function}")))?;
            let hook: &mut BtfTracePoint = hook.try_into()?;
            hook.load(tracepoint, &kernel)?;
            hook.attach()?;
        }
        let states = program.take_map("states").ok_or_else(|| Failure::new("no map states"))?;
        let states = PerCpuArray::try_from(states)?;
        let (places, processes) = (BTreeMap::new(), BTreeMap::new());
        let mut accounts = Accounts { program, states, last: OTHERS, places, nodes: Vec::new(), processes };
        for namespace in site.namespaces() {
            let inode = fs::metadata(format!("/run/netns/{}", namespace.name()))?.ino();
            let sum = accounts.give_sum("places", u32::try_from(inode)?)?;
            accounts.places.insert(namespace.name().to_owned(), sum);
        }
        accounts.nodes =
            site.nodes.iter().filter_map(|node| accounts.places.get(node.namespace.name()).copied()).collect();
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

    /// A sum of its own for what has this key in this map.
    fn give_sum(&mut self, map: &str, key: u32) -> Outcome<usize> {
        self.last += 1;
        if self.last == SUMS {
            return Err(Failure::new(format!("{SUMS} namespaces and processes are more than cpu.c tells apart")));
        }
        let map = self.program.map_mut(map).ok_or_else(|| Failure::new(format!("no map {map}")))?;
        HashMap::<_, u32, u32>::try_from(map)?.insert(key, u32::try_from(self.last)?, 0)?;
        Ok(self.last)
    }

    fn add_processes(&mut self, namespace: &Namespace) -> Outcome {
        let mut owned = Vec::new();
        for pid in processes(namespace)? {
            owned.push((pid, self.give_sum("processes", pid)?));
        }
        self.processes.insert(namespace.name().to_owned(), owned);
        Ok(())
    }

    /// What the gateway in this namespace (none: no gateway) and the nodes have spent until now.
    ///
    /// # Errors
    /// A gateway's process has ended.
    pub fn read(&self, gateway: Option<&Namespace>) -> Outcome<Spent> {
        let states = self.states.get(&0, 0)?;
        let sum = |number: usize| states.iter().map(|state| state[HEAD + number]).sum::<u64>();
        let mut spent = Spent { nodes: self.nodes.iter().copied().map(sum).sum(), ..Spent::default() };
        let Some(gateway) = gateway else { return Ok(spent) };
        spent.softirq = self.places.get(gateway.name()).copied().map_or(0, sum);
        let mut on_cpu = 0;
        for (pid, number) in self.processes.get(gateway.name()).into_iter().flatten() {
            on_cpu += sum(*number);
            spent.user += user_time(*pid)?;
        }
        spent.user = spent.user.min(on_cpu);
        spent.system = on_cpu - spent.user;
        Ok(spent)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_of_user_time_adds_nothing_to_what_was_spent() {
        let before = Spent { user: TICK_NS, system: 9_000_000, softirq: 1, nodes: 1 };
        // Three milliseconds on the CPU, and the tick that the time before was due.
        let after = Spent { user: 2 * TICK_NS, system: 2_000_000, softirq: 3, nodes: 1 };
        let spent = after.since(&before);
        assert_eq!((spent.gateway(), spent.user, spent.system, spent.nodes), (3_000_002, 3_000_000, 0, 0));
    }
}
