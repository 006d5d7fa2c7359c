//! Generic XDP, where packets may be joined: whether streams are whole, and move in joined segments.

use crate::connections::upload;
use crate::runner::{Load, Scenarios};
use crate::stage::{Stage, UDP_ECHO, WEB, all_succeeded, hash, start};
use serde_json::{Value, json};
use std::path::Path;
use tests::config::Driver;
use tests::network::{Arms, Offloads, Plan};
use tests::{Failure, Outcome, ensure};

const BYTES: usize = 32 << 20;
/// Data of a segment that fills the tunnel, or less.
const SEGMENT_BYTES: u64 = 1398;
/// So many segments at least are in a packet, on average, with acknowledgments of the other way among them.
const JOINED: u64 = 4;

pub fn add(scenarios: &mut Scenarios) {
    scenarios.af_xdp("generic_bulk_moves_in_joined_segments", Load::Heavy, joined);
    scenarios.af_xdp("generic_workers_cut_joined_segments", Load::Heavy, cut_by_workers);
    scenarios.af_xdp("generic_every_kind_of_offload", Load::Heavy, every_kind_of_offload);
    scenarios.af_xdp("generic_small_packets", Load::Light, small_packets);
}

fn generic(plan: Plan, driver: Driver, shortcuts: &str) -> Outcome<Stage> {
    start(plan, driver, |config| {
        config.mode = Some("generic".into());
        config.shortcuts = Some(shortcuts.into());
    })
}

/// Packets that the gateway has sent so far: to clients, to nodes.
fn sent(stage: &Stage) -> Outcome<[u64; 2]> {
    let count = |device| -> Outcome<u64> {
        let text = stage.network.gateway.run("ip", ["-s", "-j", "link", "show", "dev", device])?;
        let report: Value = serde_json::from_str(&text)?;
        let packets = report.pointer("/0/stats64/tx/packets").and_then(Value::as_u64);
        packets.ok_or_else(|| Failure::new(format!("no counts in {text}")))
    };
    Ok([count("eth0")?, count("eth1")?])
}

/// Both ways; the packets that left towards each end meanwhile.
fn down_and_up(stage: &Stage, file: &Path) -> Outcome<[u64; 2]> {
    let before = sent(stage)?;
    ensure!(stage.download_hash("/files/big")? == hash(file)?, "another file came down");
    let between = sent(stage)?;
    upload(stage, file)?;
    Ok([between[0] - before[0], sent(stage)?[1] - between[1]])
}

/// The kernel takes a packet once, however much is in it, and nobody cuts it before it leaves.
fn joined(driver: Driver) -> Outcome {
    let stage = generic(Plan::new(Arms::Two), driver, "auto")?;
    ensure!(!stage.gateway.process.log().contains("no shortcuts"), "{}", stage.gateway.process.log());
    let file = stage.servers.share("big", BYTES)?;
    let segments = BYTES as u64 / SEGMENT_BYTES;
    let packets = down_and_up(&stage, &file)?;
    let few = packets.iter().all(|count| *count < segments / JOINED);
    ensure!(few, "{packets:?} packets down and up for {segments} segments each way");
    let status = stage.gateway.json(&["status"])?;
    ensure!(status["shortcuts"]["on"] == json!(true), "{status}");
    stage.gateway.stop_cleanly()
}

/// No piece that the workers make of joined segments may be lost, or else streams would crawl.
fn cut_by_workers(driver: Driver) -> Outcome {
    let stage = generic(Plan::new(Arms::Two), driver, "never")?;
    let file = stage.servers.share("big", BYTES / 4)?;
    let segments = (BYTES / 4) as u64 / SEGMENT_BYTES;
    let packets = down_and_up(&stage, &file)?;
    ensure!(packets.iter().all(|count| *count >= segments), "{packets:?} packets for {segments} segments each way");
    let counters = stage.gateway.json(&["counters"])?;
    let drops = counters["total"]["drops"].as_object().into_iter().flatten();
    let some: Vec<_> = drops.filter(|(_, count)| **count != 0).collect();
    ensure!(some.is_empty(), "dropped: {some:?}");
    stage.gateway.stop_cleanly()
}

/// Ends that cut and finish nothing, that finish nothing, and that do all by themselves.
fn every_kind_of_offload(driver: Driver) -> Outcome {
    for offloads in [Offloads::Untouched, Offloads::NoSegmentation, Offloads::Off] {
        for arms in [Arms::One, Arms::Two] {
            let stage = generic(Plan { offloads, ..Plan::new(arms) }, driver, "auto")?;
            let file = stage.servers.share("big", 8 << 20)?;
            let during = |failure: Failure| failure.during(&format!("{offloads:?} {arms:?}"));
            down_and_up_whole(&stage, &file).map_err(during)?;
        }
    }
    Ok(())
}

fn down_and_up_whole(stage: &Stage, file: &Path) -> Outcome {
    ensure!(stage.download_hash("/files/big")? == hash(file)?, "another file came down");
    upload(stage, file)
}

fn small_packets(driver: Driver) -> Outcome {
    let stage = generic(Plan::new(Arms::Two), driver, "auto")?;
    all_succeeded(&stage.traffic(&["connections", WEB, "--count", "500", "--at-once", "20"])?, 500)?;
    let report = stage.traffic(&["udp", UDP_ECHO, "--from", "1", "--to", "3000", "--step", "7"])?;
    ensure!(report["lost"] == json!([]) && report["wrong"] == json!([]), "{report}");
    stage.gateway.stop_cleanly()
}
