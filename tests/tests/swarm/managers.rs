//! Three managers, and the loss of the one that leads.

use crate::Scenario;
use crate::stage::{Stage, VIP, swarm_table};
use serde_json::Value;
use tests::clock::wait_until;
use tests::swarm::{GATEWAY, GATEWAY_OVERLAY, NODES, Node, PATIENCE};
use tests::{Outcome, ensure};

pub const SCENARIOS: &[Scenario] = &[("the_leader_of_three_managers_dies_and_nobody_notices", leader)];

/// The two others need an election, ten to thirty seconds of it. Until it is over their API hangs or errs.
fn leader(stage: &mut Stage) -> Outcome {
    stage.swarm.docker(&["node", "promote", "n1", "n2"])?;
    wait_until("three managers", PATIENCE, || Ok(managers(&stage.swarm.nodes[0])?.matches("Reachable").count() == 2))?;
    let table = swarm_table(&stage.swarm.nodes, "");
    let overlay = format!("[overlay]\nvtep = \"{GATEWAY}\"\naddress = \"{GATEWAY_OVERLAY}\"\n\n");
    stage.start(&stage.swarm.gateway.clone(), "af_xdp", &format!("{overlay}{table}"))?;
    lose_leader(stage)?;
    for node in &NODES[1..] {
        // Refused while others change the node, or the leader moves.
        wait_until("a demotion", PATIENCE, || Ok(stage.swarm.docker(&["node", "demote", node]).is_ok()))?;
    }
    wait_until("one manager", PATIENCE, || {
        Ok(managers(&stage.swarm.nodes[0]).is_ok_and(|list| list.trim() == "Leader"))
    })?;
    stage.swarm.wait_for_nodes()?;
    stage.stranger("af_xdp")
}

fn lose_leader(stage: &mut Stage) -> Outcome {
    let target = format!("{VIP}:8080");
    stage.swarm.create("web", &["--replicas", "2", "-p", "8080:8000", "--constraint", "node.labels.lab!=n0"])?;
    stage.swarm.wait_for_answers(&target, 2)?;
    let load = stage.load(&target, &[])?;
    stage.swarm.nodes[0].kill();
    wait_until("the gateway notices", PATIENCE, || {
        let swarm = stage.swarm_status()?;
        Ok(swarm["age_seconds"].as_f64() > Some(3.0) && !swarm["last_error"].is_null())
    })?;
    ensure!(stage.weights("web")? == [1, 1], "what was known did not stay: {:?}", stage.weights("web")?);
    wait_until("the gateway hears another manager", PATIENCE, || Ok(hears_another(&stage.swarm_status()?)))?;
    load.finish_without_failure()?;
    follows(&stage.swarm.nodes[1], stage, &target)?;
    let prefix = stage.swarm.lab.prefix().to_owned();
    stage.swarm.nodes[0].start(&prefix)?;
    stage.swarm.nodes[0].wait()?;
    wait_until("the old leader's return", PATIENCE, || {
        Ok(managers(&stage.swarm.nodes[0]).is_ok_and(|list| list.matches("Reachable").count() == 2))
    })
}

/// A change that another manager was told.
fn follows(manager: &Node, stage: &Stage, target: &str) -> Outcome {
    let scale = ["service", "scale", "--detach", "web=3"];
    wait_until("a manager that takes orders", PATIENCE, || Ok(manager.docker(&scale).is_ok()))?;
    stage.swarm.wait_for_answers(target, 3).map(drop)
}

fn hears_another(swarm: &Value) -> bool {
    let endpoint = swarm["endpoint"].as_str().unwrap_or_default();
    let another = NODES[1..].iter().any(|node| endpoint.contains(&format!("/{node}/")));
    another && swarm["last_error"].is_null() && swarm["age_seconds"].as_f64() < Some(1.0)
}

/// What managers are, one a line: `Leader`, `Reachable`, `Unreachable`.
fn managers(node: &Node) -> Outcome<String> {
    node.docker(&["node", "ls", "--format", "{{.ManagerStatus}}"])
}
