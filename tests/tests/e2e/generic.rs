//! Generic XDP, where packets may be joined: whether streams are whole, and move in joined segments.

use crate::bulk::{BYTES, JOINED, SEGMENT_BYTES, down_and_up, packets};
use crate::runner::{Load, Scenarios};
use crate::stage::{Stage, UDP_ECHO, WEB, all_succeeded, start};
use serde_json::json;
use tests::config::Driver;
use tests::network::{Arms, Offloads, Plan};
use tests::{Failure, Outcome, ensure};

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
    Ok([packets(stage, "eth0")?[1], packets(stage, "eth1")?[1]])
}

/// The kernel takes a packet once, however much is in it, and nobody cuts it before it leaves.
fn joined(driver: Driver) -> Outcome {
    let stage = generic(Plan::new(Arms::Two), driver, "auto")?;
    ensure!(!stage.gateway.process.log().contains("no shortcuts"), "{}", stage.gateway.process.log());
    let file = stage.servers.share("big", BYTES)?;
    let segments = BYTES as u64 / SEGMENT_BYTES;
    let packets = down_and_up(&stage, &file, sent)?;
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
    let packets = down_and_up(&stage, &file, sent)?;
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
            down_and_up(&stage, &file, |stage| packets(stage, "eth0")).map_err(during)?;
        }
    }
    Ok(())
}

fn small_packets(driver: Driver) -> Outcome {
    let stage = generic(Plan::new(Arms::Two), driver, "auto")?;
    all_succeeded(&stage.traffic(&["connections", WEB, "--count", "500", "--at-once", "20"])?, 500)?;
    let report = stage.traffic(&["udp", UDP_ECHO, "--from", "1", "--to", "3000", "--step", "7"])?;
    ensure!(report["lost"] == json!([]) && report["wrong"] == json!([]), "{report}");
    stage.gateway.stop_cleanly()
}
