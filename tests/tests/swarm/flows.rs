//! What becomes of flows that stand while their task goes.

use crate::Scenario;
use crate::stage::{Stage, VIP};
use serde_json::Value;
use tests::clock::{wait_for, wait_until};
use tests::namespace::Process;
use tests::swarm::{NODES, PATIENCE};
use tests::{Failure, Outcome, binaries, ensure};

pub const SCENARIOS: &[Scenario] = &[
    ("long_flows_last_as_long_as_their_task", last),
    ("long_flows_are_reset_when_their_service_is_withdrawn_or_their_node_is_lost", reset),
    ("udp_flows_move_when_their_task_is_gone", move_on),
];

/// A long connection of the client to a task.
struct Long {
    process: Process,
    node: usize,
}

impl Long {
    fn open(stage: &Stage) -> Outcome<Long> {
        let mut process = stage.swarm.client.spawn("stay", binaries::traffic()?, ["stay", &format!("{VIP}:8080")])?;
        let line = process.wait_for_line("ready", PATIENCE)?;
        Ok(Long { process, node: node_in(&line)? })
    }

    /// Waits for the end of it at the client; its report.
    fn end(&mut self) -> Outcome<Value> {
        let log = self.process.finish(2 * PATIENCE)?;
        Ok(serde_json::from_str(log.lines().last().unwrap_or_default())?)
    }

    fn ends_by_reset(&mut self) -> Outcome {
        let report = self.end()?;
        ensure!(report["ended"] == "reset", "the client saw another end: {report}");
        Ok(())
    }

    /// Waits until the task has noted what it saw at its end.
    fn reset_at_the_task(&self, stage: &Stage) -> Outcome {
        wait_until("the end of the flow at the task", PATIENCE, || {
            let log = task_log(stage, self.node)?;
            let ended = log.lines().find_map(|line| line.strip_prefix("I am ")?.split_once(": ").map(|(_, end)| end));
            ensure!(ended.is_none_or(|end| end == "reset"), "the task saw another end:\n{log}");
            Ok(ended.is_some())
        })
    }
}

/// 1 of `ready web-3-n1`.
fn node_in(line: &str) -> Outcome<usize> {
    let node = NODES.iter().position(|node| line.ends_with(node));
    node.ok_or_else(|| Failure::new(format!("no node's name in {line:?}")))
}

/// All that tasks of `web` on the node have printed, the dead ones too.
fn task_log(stage: &Stage, node: usize) -> Outcome<String> {
    let node = &stage.swarm.nodes[node];
    let ids = node.docker(&["ps", "-aq", "--filter", "label=com.docker.swarm.service.name=web"])?;
    ids.lines().map(|id| node.docker(&["logs", id])).collect()
}

/// A task that shall go gets no new flows, but keeps those that it has until it ends.
fn last(stage: &mut Stage) -> Outcome {
    stage.swarm.create("web", &["--replicas", "1", "-p", "8080:8000", "--stop-grace-period", "10s"])?;
    stage.swarm.wait_for_answers(&format!("{VIP}:8080"), 1)?;
    let mut flow = Long::open(stage)?;
    stage.swarm.docker(&["service", "scale", "--detach", "web=0"])?;
    stage.wait_for_weights("web", &[0])?;
    ensure!(stage.swarm.curl(&format!("{VIP}:8080")).is_err(), "a new flow went to a task that shall stop");
    ensure!(flow.process.is_running()?, "the flow did not outlive the order to stop: {}", flow.process.log());
    stage.wait_for_weights("web", &[])?;
    // Its kernel said goodbye for it.
    let report = flow.end()?;
    ensure!(report["ended"] == "closed", "the client saw another end: {report}");
    Ok(())
}

/// The tasks live on: both ends are there to be told.
fn withdrawn(stage: &Stage) -> Outcome {
    stage.swarm.create("web", &["--replicas", "1", "-p", "8080:8000"])?;
    stage.swarm.wait_for_answers(&format!("{VIP}:8080"), 1)?;
    let mut flow = Long::open(stage)?;
    let disable = "service update --detach --quiet --label-add sluicegate.enable=false web";
    stage.swarm.docker(&disable.split(' ').collect::<Vec<_>>())?;
    flow.ends_by_reset()?;
    flow.reset_at_the_task(stage)?;
    stage.swarm.remove("web")
}

/// The nodes take the heartbeat over one by one, as they send the next: meanwhile the service is withdrawn.
fn reset(stage: &mut Stage) -> Outcome {
    let heartbeat = |period| stage.swarm.docker(&["swarm", "update", "--dispatcher-heartbeat", period]).map(drop);
    // For a node to be given up after 3 s rather than 15.
    heartbeat("1s")?;
    let result = withdrawn(stage).and_then(|()| lose(stage));
    stage.swarm.switch.ip("link set n1 up\nlink set n2 up")?;
    heartbeat("5s")?;
    result?;
    stage.swarm.wait_for_nodes()
}

/// A node is cut off, the swarm gives it up, and its task with it. The client would wait for ever.
fn lose(stage: &Stage) -> Outcome {
    let words = ["--mode", "global", "-p", "8080:8000", "--constraint", "node.labels.lab!=n0"];
    stage.swarm.create("web", &words)?;
    stage.swarm.wait_for_answers(&format!("{VIP}:8080"), 2)?;
    let (mut lost, mut kept) = two_flows(stage)?;
    stage.swarm.switch.ip(&format!("link set {} down", NODES[lost.node]))?;
    lost.ends_by_reset()?;
    ensure!(kept.process.is_running()?, "the flow to the other task has ended: {}", kept.process.log());
    Ok(())
}

/// To the tasks of two nodes.
fn two_flows(stage: &Stage) -> Outcome<(Long, Long)> {
    let first = Long::open(stage)?;
    wait_for("a flow to another node", PATIENCE, || {
        let second = Long::open(stage)?;
        Ok((second.node != first.node).then_some(second))
    })
    .map(|second| (first, second))
}

/// A client that has one socket and knows nothing of tasks.
fn move_on(stage: &mut Stage) -> Outcome {
    // Nobody takes the place of the one that is killed.
    let words = ["--mode", "global", "-p", "8080:8000/udp", "--restart-condition", "none"];
    stage.swarm.create("web", &words)?;
    stage.wait_for_weights("web", &[1, 1, 1])?;
    let mut load = stage.load(&format!("{VIP}:8080"), &["--udp", "--wait-ms", "100"])?;
    let node = &stage.swarm.nodes[node_in(load.first())?];
    let id = node.docker(&["ps", "-q", "--filter", "label=com.docker.swarm.service.name=web"])?;
    node.docker(&["kill", id.trim()])?;
    stage.wait_for_weights("web", &[1, 1])?;
    load.moves()?;
    // What was asked before is lost, nothing after that.
    let report = load.finish()?;
    ensure!(report["answers"].as_object().is_some_and(|tasks| tasks.len() == 2), "it moved again: {report}");
    Ok(())
}
