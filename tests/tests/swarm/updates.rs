//! What operators do while clients are there: no request may fail.

use crate::Scenario;
use crate::stage::{Stage, VIP};
use tests::clock::wait_until;
use tests::swarm::PATIENCE;
use tests::{Outcome, ensure};

pub const SCENARIOS: &[Scenario] = &[
    ("a_rolling_update_stop_first_fails_nobody", |stage| update(stage, "stop-first")),
    ("a_rolling_update_start_first_fails_nobody", |stage| update(stage, "start-first")),
    ("draining_a_node_fails_nobody", drain),
];

fn update(stage: &mut Stage, order: &str) -> Outcome {
    let target = format!("{VIP}:8080");
    let words = ["--replicas", "3", "-p", "8080:8000", "--update-order", order, "--update-monitor", "1s"];
    stage.swarm.create("web", &words)?;
    stage.swarm.wait_for_answers(&target, 3)?;
    let load = stage.load(&target, &[])?;
    stage.swarm.docker(&["service", "update", "--detach", "--quiet", "--force", "web"])?;
    wait_until("the end of the update", 2 * PATIENCE, || {
        let phase = stage.swarm.docker(&["service", "inspect", "--format", "{{.UpdateStatus.State}}", "web"])?;
        Ok(phase.trim() == "completed")
    })?;
    let report = load.finish_without_failure()?;
    ensure!(report["answers"].as_object().is_some_and(|tasks| tasks.len() >= 3), "not by all tasks: {report}");
    Ok(())
}

fn drain(stage: &mut Stage) -> Outcome {
    let target = format!("{VIP}:8080");
    stage.swarm.create("web", &["--replicas", "3", "-p", "8080:8000"])?;
    stage.swarm.wait_for_answers(&target, 3)?;
    let load = stage.load(&target, &[])?;
    let node = &stage.swarm.node_ids()?[1];
    let outcome = drain_and_back(stage, node);
    stage.swarm.docker(&["node", "update", "--availability", "active", node])?;
    outcome?;
    load.finish_without_failure().map(drop)
}

fn drain_and_back(stage: &Stage, node: &str) -> Outcome {
    stage.swarm.docker(&["node", "update", "--availability", "drain", node])?;
    wait_until("no task on the node", PATIENCE, || {
        let left = stage.swarm.docker(&["node", "ps", "--filter", "desired-state=running", "-q", node])?;
        Ok(left.trim().is_empty())
    })?;
    // The gateway hears of it a moment later.
    wait_until("no answer from the node", PATIENCE, || {
        let names = stage.swarm.wait_for_answers(&format!("{VIP}:8080"), 3)?;
        Ok(!names.iter().any(|name| name.ends_with("n1")))
    })
}
