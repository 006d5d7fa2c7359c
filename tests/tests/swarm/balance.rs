//! Services as they come, grow, shrink and go.

use crate::Scenario;
use crate::stage::{Stage, VIP};
use tests::clock::wait_until;
use tests::swarm::PATIENCE;
use tests::{Outcome, ensure};

pub const SCENARIOS: &[Scenario] = &[
    ("published_ports_are_served_in_turn_by_tasks_of_all_nodes", in_turn),
    ("scaling_up_down_and_to_zero", scaling),
    ("ports_are_published_and_removed", ports),
    ("labels_host_ports_and_wrong_labels", labels),
];

/// One task on each node, TCP and UDP on one port.
fn in_turn(stage: &mut Stage) -> Outcome {
    stage.swarm.create("web", &["--mode", "global", "-p", "8080:8000", "-p", "8080:8000/udp"])?;
    let target = format!("{VIP}:8080");
    let names = stage.swarm.wait_for_answers(&target, 3)?;
    ensure!(names.iter().any(|name| name.ends_with("n2")), "node n2 has another address for data: {names:?}");
    // As soon as the last of them has come to stay.
    wait_until("answers in turn", PATIENCE, || {
        let order: Vec<_> = (0..6).map(|_| stage.swarm.curl(&target)).collect::<Outcome<_>>()?;
        let order: Vec<_> = order.iter().map(|answer| tests::swarm::name_in(answer)).collect();
        Ok(order[..3] == order[3..] && order[0] != order[1] && order[1] != order[2])
    })?;
    let report = stage.load(&target, &["--udp"])?.finish()?;
    ensure!(report["failed"] == 0 && report["succeeded"].as_u64() > Some(0), "UDP: {report}");
    let status = stage.gateway()?.json(&["status"])?;
    ensure!(status["swarm"]["tasks"] == 3 && status["swarm"]["member"] == false, "status: {}", status["swarm"]);
    // A second is nothing on a busy machine; but the swarm is heard of again and again.
    wait_until("an age below a second in the metrics", PATIENCE, || {
        let metrics = stage.swarm.gateway.run("curl", ["-sS", "http://127.0.0.1:9180/metrics"])?;
        Ok(metrics.contains("\nsluicegate_swarm_age_seconds{} 0."))
    })
}

fn scaling(stage: &mut Stage) -> Outcome {
    let target = format!("{VIP}:8080");
    stage.swarm.create("web", &["--replicas", "2", "-p", "8080:8000"])?;
    stage.swarm.wait_for_answers(&target, 2)?;
    let load = stage.load(&target, &[])?;
    stage.swarm.docker(&["service", "scale", "--detach", "web=5"])?;
    stage.swarm.wait_for_answers(&target, 5)?;
    stage.swarm.docker(&["service", "scale", "--detach", "web=1"])?;
    stage.wait_for_weights("web", &[1])?;
    load.finish_without_failure()?;
    stage.swarm.docker(&["service", "scale", "--detach", "web=0"])?;
    // Nobody is there: the client is told so at once.
    wait_until("a refusal", PATIENCE, || {
        Ok(stage.swarm.curl(&target).is_err_and(|failure| failure.reason().contains("curl: (7)")))
    })?;
    stage.swarm.docker(&["service", "scale", "--detach", "web=1"])?;
    stage.swarm.wait_for_answers(&target, 1).map(drop)
}

fn ports(stage: &mut Stage) -> Outcome {
    stage.swarm.create("web", &["--replicas", "2", "-p", "8080:8000"])?;
    stage.swarm.wait_for_answers(&format!("{VIP}:8080"), 2)?;
    let add = ["service", "update", "--detach", "--quiet", "--publish-add", "8081:8000", "web"];
    let load = stage.load(&format!("{VIP}:8080"), &[])?;
    stage.swarm.docker(&add)?;
    stage.swarm.wait_for_answers(&format!("{VIP}:8081"), 2)?;
    load.finish_without_failure()?;
    // Docker means the target port: both are gone with it.
    stage.swarm.docker(&["service", "update", "--detach", "--quiet", "--publish-rm", "8000", "web"])?;
    for port in [8080, 8081] {
        let what = format!("the end of port {port}");
        wait_until(&what, PATIENCE, || Ok(stage.swarm.curl(&format!("{VIP}:{port}")).is_err()))?;
    }
    ensure!(stage.services()?.is_empty(), "still served: {:?}", stage.services()?);
    Ok(())
}

fn labels(stage: &mut Stage) -> Outcome {
    let words = [
        "--mode",
        "global",
        "--publish",
        "mode=host,published=8090,target=8000",
        "--label",
        "sluicegate.weight=3",
        "--label",
        "sluicegate.vip=192.0.2.1",
        "--label",
        "sluicegate.timeout=2s",
    ];
    stage.swarm.create("host", &words)?;
    stage.wait_for_weights("host", &[3, 3, 3])?;
    let service = stage.gateway()?.json(&["service", "show", "host"])?;
    ensure!(service["timeout"] == "2s", "another timeout than the label's: {service}");
    stage.swarm.wait_for_answers(&format!("{VIP}:8090"), 3)?;
    let status = stage.gateway()?.cli(&["status"])?;
    ensure!(status.contains("service host: label sluicegate.vip: 192.0.2.1 is not in swarm.vips"), "{status}");
    stage.swarm.docker(&["service", "update", "--detach", "--label-add", "sluicegate.enable=false", "host"])?;
    stage.wait_for_weights("host", &[])
}
