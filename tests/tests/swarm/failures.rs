//! What breaks by itself: tasks, nodes, wires, managers.

use crate::Scenario;
use crate::stage::{Load, Stage, VIP};
use tests::clock::wait_until;
use tests::swarm::PATIENCE;
use tests::{Outcome, ensure};

pub const SCENARIOS: &[Scenario] = &[
    ("a_killed_task_is_replaced", killed_task),
    ("a_node_cut_off_is_noticed_before_the_swarm_does", cut_off),
    ("a_killed_node_is_noticed_and_comes_back", killed_node),
    ("a_manager_that_restarts_takes_nothing_along", manager),
];

/// How many clients ask at the same time while a node dies.
const CLIENTS: u64 = 4;

fn killed_task(stage: &mut Stage) -> Outcome {
    let target = format!("{VIP}:8080");
    let words = ["--replicas", "2", "-p", "8080:8000", "--restart-delay", "1s", "--constraint", "node.labels.lab!=n0"];
    stage.swarm.create("web", &words)?;
    stage.swarm.wait_for_answers(&target, 2)?;
    let node = &stage.swarm.nodes[1];
    let ids = node.docker(&["ps", "-q", "--filter", "label=com.docker.swarm.service.name=web"])?;
    node.docker(&["kill", ids.lines().next().unwrap_or_default()])?;
    stage.wait_for_weights("web", &[1])?;
    stage.swarm.wait_for_answers(&target, 2).map(drop)
}

/// Waits until the gateway has found out that a node is dead. The swarm must still believe in it then.
fn found_out(stage: &Stage, node: &str) -> Outcome {
    wait_until("the gateway finds out", PATIENCE, || {
        Ok(stage.gateway()?.cli(&["status"])?.contains("rests, no new connections for the moment"))
    })?;
    let opinion = stage.swarm.docker(&["node", "inspect", "--format", "{{.Status.State}}", node])?;
    ensure!(opinion.trim() == "ready", "the swarm found out first: node {}", opinion.trim());
    // Without that task everything goes on.
    (0..6).try_for_each(|_| stage.swarm.curl(&format!("{VIP}:8080")).map(drop))
}

/// Who was in the middle of an exchange with the node has lost it; who was only connecting has not, unless the node still
/// refused connections for a moment, when its server had gone already: three refusals tell that it is dead, and each client
/// may be refused twice until the gateway looks.
fn few_failures(load: Load) -> Outcome {
    let report = load.finish()?;
    let failures = report["failures"].as_array().cloned().unwrap_or_default();
    let is_refusal = |failure: &&serde_json::Value| failure.as_str().is_some_and(|text| text.contains("refused"));
    let refused = failures.iter().filter(is_refusal).count() as u64;
    let lost = report["failed"].as_u64().unwrap_or(u64::MAX).saturating_sub(refused);
    ensure!(lost <= CLIENTS && refused <= 3 + 2 * CLIENTS, "too many failures: {report}");
    Ok(())
}

fn cut_off(stage: &mut Stage) -> Outcome {
    let target = format!("{VIP}:8080");
    stage.swarm.create("web", &["--mode", "global", "-p", "8080:8000"])?;
    stage.swarm.wait_for_answers(&target, 3)?;
    let node = stage.swarm.node_ids()?[1].clone();
    let load = stage.load(&target, &["--at-once", &CLIENTS.to_string()])?;
    stage.swarm.switch.ip("link set n1 down")?;
    let found = found_out(stage, &node);
    stage.swarm.switch.ip("link set n1 up")?;
    let failures = few_failures(load);
    found?;
    failures?;
    stage.swarm.wait_for_nodes()?;
    stage.swarm.wait_for_answers(&target, 3).map(drop)
}

fn killed_node(stage: &mut Stage) -> Outcome {
    let target = format!("{VIP}:8080");
    stage.swarm.create("web", &["--replicas", "3", "-p", "8080:8000"])?;
    stage.swarm.wait_for_answers(&target, 3)?;
    let node = stage.swarm.node_ids()?[1].clone();
    let load = stage.load(&target, &["--at-once", &CLIENTS.to_string()])?;
    stage.swarm.nodes[1].kill();
    let found = found_out(stage, &node);
    let prefix = stage.swarm.lab.prefix().to_owned();
    stage.swarm.nodes[1].start(&prefix)?;
    stage.swarm.nodes[1].wait()?;
    let failures = few_failures(load);
    found?;
    failures?;
    stage.swarm.wait_for_nodes()?;
    stage.swarm.wait_for_answers(&target, 3).map(drop)
}

/// The manager's dockerd ends and starts again, while tasks on the other nodes go on.
fn manager(stage: &mut Stage) -> Outcome {
    let target = format!("{VIP}:8080");
    stage.swarm.create("web", &["--replicas", "2", "-p", "8080:8000", "--constraint", "node.labels.lab!=n0"])?;
    stage.swarm.wait_for_answers(&target, 2)?;
    let load = stage.load(&target, &[])?;
    stage.swarm.nodes[0].kill();
    wait_until("the gateway notices", PATIENCE, || {
        let swarm = stage.swarm_status()?;
        Ok(swarm["errors"].as_u64() > Some(0) && swarm["age_seconds"].as_f64() > Some(1.0))
    })?;
    ensure!(stage.weights("web")? == [1, 1], "what was known did not stay: {:?}", stage.weights("web")?);
    let prefix = stage.swarm.lab.prefix().to_owned();
    stage.swarm.nodes[0].start(&prefix)?;
    stage.swarm.nodes[0].wait()?;
    wait_until("the gateway hears the manager", PATIENCE, || {
        let swarm = stage.swarm_status()?;
        Ok(swarm["last_error"].is_null() && swarm["age_seconds"].as_f64() < Some(1.0))
    })?;
    stage.swarm.wait_for_nodes()?;
    load.finish_without_failure()?;
    stage.swarm.docker(&["service", "scale", "--detach", "web=3"])?;
    stage.swarm.wait_for_answers(&target, 3).map(drop)
}
