//! Streams over TUN: whether they are whole, and whether they move in joined segments.

use crate::connections::upload;
use crate::runner::{Load, Scenarios};
use crate::stage::{Stage, hash, start};
use serde_json::Value;
use std::path::Path;
use tests::config::Driver;
use tests::network::{Arms, Plan, VIP};
use tests::{Failure, Outcome, ensure};

pub const BYTES: usize = 32 << 20;
/// Data of a segment that fills the tunnel, or less.
pub const SEGMENT_BYTES: u64 = 1398;
/// So many segments at least are in a packet, on average. (About fifteen are, with acknowledgments of the other way among them.)
pub const JOINED: u64 = 4;

pub fn add(scenarios: &mut Scenarios) {
    scenarios.tun("bulk_moves_in_joined_segments", Load::Heavy, joined);
    scenarios.tun("bulk_for_links_that_cut_nothing", Load::Heavy, without_offloads);
}

/// Packets through the TUN device so far: towards clients, from clients.
fn crossed(stage: &Stage) -> Outcome<[u64; 2]> {
    packets(stage, "sluice0")
}

/// That the gateway's device has received and sent so far.
pub fn packets(stage: &Stage, device: &str) -> Outcome<[u64; 2]> {
    let text = stage.network.gateway.run("ip", ["-s", "-j", "link", "show", "dev", device])?;
    let report: Value = serde_json::from_str(&text)?;
    let packets = |way: &str| report.pointer(&format!("/0/stats64/{way}/packets")).and_then(Value::as_u64);
    packets("rx").zip(packets("tx")).map(Into::into).ok_or_else(|| Failure::new(format!("no counts in {text}")))
}

/// The file down, and up; the packets that each took, of those that `crossed` counts for the way down and for the way up.
pub fn down_and_up(stage: &Stage, file: &Path, crossed: impl Fn(&Stage) -> Outcome<[u64; 2]>) -> Outcome<[u64; 2]> {
    let before = crossed(stage)?;
    ensure!(stage.download_hash("/files/big")? == hash(file)?, "another file came down");
    let between = crossed(stage)?;
    upload(stage, file)?;
    Ok([between[0] - before[0], crossed(stage)?[1] - between[1]])
}

fn joined(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let file = stage.servers.share("big", BYTES)?;
    let segments = BYTES as u64 / SEGMENT_BYTES;
    for mtu in ["1500", "1300"] {
        stage.network.client().ip(&format!("route change {VIP} via 198.18.2.1 mtu {mtu}"))?;
        let packets =
            down_and_up(&stage, &file, crossed).map_err(|failure| failure.during(&format!("with an MTU of {mtu}")))?;
        let few = packets.iter().all(|count| *count < segments / JOINED);
        ensure!(few, "{packets:?} packets down and up for {segments} segments each way, with an MTU of {mtu}");
    }
    let refused = stage.gateway.counter("device_full")? + stage.gateway.counter("no_frame")?;
    ensure!(refused == 0, "{refused} packets had no room");
    Ok(())
}

/// The kernel cuts for the link to the clients, and joins nothing that comes from there.
fn without_offloads(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let file = stage.servers.share("big", BYTES)?;
    for end in [&stage.network.gateway, stage.network.client()] {
        end.run("ethtool", ["-K", "eth0", "tx", "off", "tso", "off", "gso", "off", "gro", "off"])?;
    }
    let packets = down_and_up(&stage, &file, crossed)?;
    ensure!(packets[0] < packets[1] / JOINED, "{packets:?}: down are joined until the link, up is not");
    Ok(())
}
