//! Memory of idle connections: the gateway's processes by their own pages, the kernel's part by its objects.
//!
//! The growth of the kernel's caches is no measure on a machine with other users; the objects of one namespace are:
//! their number is known, and their size is told by the kernel.

use crate::Outcome;
use crate::binaries;
use crate::ensure;
use crate::namespace::Namespace;
use crate::peers::contestant::Contestant;
use crate::peers::cpu::processes;
use crate::peers::site::Site;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::SocketAddrV4;
use std::time::Duration;

/// How many are opened, if processes may have the descriptors. A proxy needs two for each.
const CONNECTIONS: u64 = 10_000;
/// Descriptors that every process of the comparison should have.
const DESCRIPTORS: u64 = 65_536;
/// Descriptors of a proxy that are not for connections.
const OTHERS: u64 = 200;
/// What the kernel keeps for each TCP socket of a program.
const OF_A_SOCKET: [&str; 5] = ["TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi"];

/// Lets this process, and all that it starts, have as many descriptors as the connections need, or at least as many as we may.
///
/// # Errors
/// The kernel will not say how many.
pub fn allow_descriptors() -> Outcome {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < DESCRIPTORS && setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard.max(DESCRIPTORS)).is_err() {
        // Root without CAP_SYS_RESOURCE, in a container for example.
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}

/// How many connections a proxy may have here.
///
/// # Errors
/// The kernel will not say.
pub fn most_connections() -> Outcome<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0.saturating_sub(OTHERS) / 2)
}

/// What they cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// Whom.
    pub contestant: Contestant,
    /// How many connections were opened.
    #[serde(default)]
    pub opened: u64,
    /// MiB of the gateway's processes before the first connection.
    pub at_rest_mib: f64,
    /// Growth of that for 10,000 connections.
    pub processes_mib: f64,
    /// The kernel's objects for 10,000 connections.
    pub kernel_mib: f64,
    /// Which objects, each with its number for one connection.
    pub objects: String,
}

#[derive(Clone, Copy)]
struct Reading {
    pss_bytes: u64,
    sockets: u64,
    entries: u64,
}

/// Opens connections through a contestant's gateway and looks.
///
/// # Errors
/// They cannot be opened.
pub fn measure(site: &Site, contestant: Contestant) -> Outcome<Option<Memory>> {
    let Some(seat) = site.seat(contestant) else { return Ok(None) };
    let opened = CONNECTIONS.min(most_connections()?.saturating_sub(OTHERS));
    let before = read(&seat.namespace)?;
    let mut words = vec!["crowd".to_owned(), "--count".into(), opened.to_string()];
    words.extend(contestant.web(site).iter().map(SocketAddrV4::to_string));
    let mut crowd = site.client.spawn("crowd", binaries::traffic()?, &words)?;
    crowd.wait_for_line("ready", Duration::from_mins(1))?;
    let after = read(&seat.namespace)?;
    drop(crowd);
    let each = |count: u64| count as f64 / opened as f64;
    let sockets = each(after.sockets.saturating_sub(before.sockets));
    let entries = if contestant.has_conntrack() { each(after.entries.saturating_sub(before.entries)) } else { 0.0 };
    let slabs = fs::read_to_string("/proc/slabinfo")?;
    let socket_bytes: u64 = OF_A_SOCKET.iter().map(|name| object_bytes(&slabs, name)).sum();
    let entry_bytes = object_bytes(&slabs, "nf_conntrack");
    let mib = |bytes: f64| bytes * 10_000.0 / 1_048_576.0;
    Ok(Some(Memory {
        contestant,
        opened,
        at_rest_mib: before.pss_bytes as f64 / 1_048_576.0,
        processes_mib: mib(each(after.pss_bytes.saturating_sub(before.pss_bytes))),
        kernel_mib: mib(sockets * socket_bytes as f64 + entries * entry_bytes as f64),
        objects: format!("{sockets:.2} sockets of {socket_bytes} B, {entries:.2} entries of {entry_bytes} B"),
    }))
}

fn read(namespace: &Namespace) -> Outcome<Reading> {
    let mut pss_bytes = 0;
    for pid in processes(namespace)? {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
        pss_bytes += line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * 1024;
    }
    let sockstat = namespace.run("cat", ["/proc/net/sockstat"])?;
    let tcp = sockstat.lines().find_map(|line| line.strip_prefix("TCP: inuse ")).unwrap_or_default();
    let sockets = tcp.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let count = namespace.run("cat", ["/proc/sys/net/netfilter/nf_conntrack_count"]).unwrap_or_default();
    Ok(Reading { pss_bytes, sockets, entries: count.trim().parse().unwrap_or(0) })
}

/// The size of the objects of a cache; 0 if the kernel keeps it under another name.
fn object_bytes(slabs: &str, name: &str) -> u64 {
    let line = slabs.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(0)
}

/// All contestants, one after the other.
///
/// # Errors
/// Not one of them can be measured.
pub fn measure_all(site: &Site) -> Outcome<Vec<Memory>> {
    let mut all = Vec::new();
    for &contestant in Contestant::WITH_GATEWAY {
        match measure(site, contestant) {
            Ok(memory) => all.extend(memory),
            Err(failure) => eprintln!("  memory of {}: {}", contestant.name(), failure.reason()),
        }
    }
    ensure!(!all.is_empty(), "no contestant's memory could be measured");
    Ok(all)
}
