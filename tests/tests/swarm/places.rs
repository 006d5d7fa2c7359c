//! Where the gateway stands: in the swarm or outside, on AF_XDP or TUN, in the ingress network or another one.

use crate::Scenario;
use crate::stage::{Stage, VIP};
use tests::swarm::{GATEWAY, GATEWAY_OVERLAY};
use tests::{Outcome, ensure};

pub const SCENARIOS: &[Scenario] = &[
    ("a_member_uses_its_own_ingress_address", member),
    ("over_tun_a_stranger_serves_the_same", over_tun),
    ("a_custom_network_with_dnsrr_services", custom_network),
    ("dnsrr_is_served_beside_ingress", beside_ingress),
    ("in_a_dsr_network_tasks_answer_clients_themselves", direct),
    ("an_encrypted_network_is_refused", encrypted),
];

/// On n2, beside a running dockerd whose kernel has the VXLAN port, and whose data-path address is another one.
fn member(stage: &mut Stage) -> Outcome {
    let node = stage.swarm.node_ids()?[2].clone();
    stage.swarm.docker(&["node", "update", "--availability", "drain", &node])?;
    let result = member_serves(stage);
    stage.swarm.docker(&["node", "update", "--availability", "active", &node])?;
    stage.stranger("af_xdp")?;
    result
}

fn member_serves(stage: &mut Stage) -> Outcome {
    let engine = format!("engine = {:?}", stage.swarm.nodes[2].socket());
    let (host, table) = (stage.swarm.nodes[2].namespace.clone(), stage.swarm_table(&engine));
    stage.start(&host, "af_xdp", &table)?;
    stage.swarm.lead_client_to("198.18.1.13")?;
    stage.swarm.create("web", &["--replicas", "2", "-p", "8080:8000", "-p", "8080:8000/udp"])?;
    let target = format!("{VIP}:8080");
    stage.swarm.wait_for_answers(&target, 2)?;
    let swarm = stage.swarm_status()?;
    ensure!(swarm["member"] == true, "not a member: {swarm}");
    let address = swarm["overlay_address"].as_str().unwrap_or_default().to_owned();
    let answer = stage.swarm.curl(&target)?;
    ensure!(answer.contains(&format!("you are {address}:")), "not from {address}: {answer}");
    let report = stage.load(&target, &["--udp"])?.finish()?;
    ensure!(report["failed"] == 0, "UDP: {report}");
    // Its own dockerd goes on as if nothing was there.
    stage.swarm.wait_for_nodes()
}

fn over_tun(stage: &mut Stage) -> Outcome {
    let result = over_tun_serves(stage);
    stage.stranger("af_xdp")?;
    result
}

fn over_tun_serves(stage: &mut Stage) -> Outcome {
    stage.stranger("tun")?;
    stage.swarm.create("web", &["--mode", "global", "-p", "8080:8000", "-p", "8080:8000/udp"])?;
    let target = format!("{VIP}:8080");
    stage.swarm.wait_for_answers(&target, 3)?;
    stage.load(&target, &["--udp"])?.finish_without_failure().map(drop)
}

/// Runs a scene in a swarm that has one network more, of a name that no other scene has: it is gone only a while after its
/// removal. `words` are options of `docker network create`.
fn with_network(stage: &mut Stage, name: &str, words: &str, scene: fn(&mut Stage) -> Outcome) -> Outcome {
    let create = format!("network create --driver overlay {words} {name}");
    stage.swarm.docker(&create.split(' ').collect::<Vec<_>>())?;
    let result = scene(stage);
    let services = stage.swarm.docker(&["service", "ls", "--format", "{{.Name}}"])?;
    services.lines().try_for_each(|name| stage.swarm.remove(name))?;
    stage.stranger("af_xdp")?;
    stage.swarm.remove_network(name)?;
    result
}

/// The gateway in a network of its own VNI, in front of a service that swarm itself cannot publish.
fn custom_network(stage: &mut Stage) -> Outcome {
    with_network(stage, "back", "--subnet 10.7.0.0/24 --ip-range 10.7.0.0/25", custom_network_serves)
}

fn custom_network_serves(stage: &mut Stage) -> Outcome {
    let table = stage.swarm_table("network = \"back\"");
    let overlay = "[overlay]\nvtep = \"198.18.1.1\"\naddress = \"10.7.0.250/24\"\n\n";
    stage.start(&stage.swarm.gateway.clone(), "af_xdp", &format!("{overlay}{table}"))?;
    let words = ["--replicas", "3", "--network", "back", "--endpoint-mode", "dnsrr"];
    let label = ["--label", "sluicegate.port=8080:8000"];
    stage.swarm.create("back", &[&words[..], &label].concat())?;
    let target = format!("{VIP}:8080");
    stage.swarm.wait_for_answers(&target, 3)?;
    let answer = stage.swarm.curl(&target)?;
    ensure!(answer.contains("you are 10.7.0.250:"), "not through the network: {answer}");
    Ok(())
}

/// One gateway for published ports and for a service that swarm itself cannot publish.
fn beside_ingress(stage: &mut Stage) -> Outcome {
    with_network(stage, "side", "--subnet 10.9.0.0/24 --ip-range 10.9.0.0/25", both_are_served)
}

fn both_are_served(stage: &mut Stage) -> Outcome {
    let more = "[[swarm.overlay]]\nnetwork = \"side\"\naddress = \"10.9.0.250/24\"\n";
    let overlay = format!("[overlay]\nvtep = {GATEWAY:?}\naddress = {GATEWAY_OVERLAY:?}\n\n");
    let tables = format!("{overlay}{}", stage.swarm_table(more));
    let words = ["--replicas", "3", "--network", "side", "--endpoint-mode", "dnsrr"];
    stage.swarm.create("side", &[&words[..], &["--label", "sluicegate.port=8081:8000"]].concat())?;
    stage.swarm.create("web", &["--replicas", "3", "-p", "8080:8000"])?;
    for driver in ["af_xdp", "tun"] {
        stage.start(&stage.swarm.gateway.clone(), driver, &tables)?;
        for (port, ours) in [(8080, "10.0.0.250"), (8081, "10.9.0.250")] {
            let target = format!("{VIP}:{port}");
            stage.swarm.wait_for_answers(&target, 3)?;
            let answer = stage.swarm.curl(&target)?;
            ensure!(answer.contains(&format!("you are {ours}:")), "not through its own network: {answer}");
        }
        let status = stage.gateway()?.cli(&["status"])?;
        ensure!(status.contains("and network side, VNI "), "{status}");
    }
    Ok(())
}

/// Docker puts the service's VIP on the loopback of its tasks: they see the client and answer around the gateway.
fn direct(stage: &mut Stage) -> Outcome {
    with_network(stage, "pub", "--opt dsr --subnet 10.8.0.0/24 --ip-range 10.8.0.0/25", direct_serves)
}

fn direct_serves(stage: &mut Stage) -> Outcome {
    let overlay = format!("[overlay]\nvtep = {GATEWAY:?}\naddress = \"10.8.0.250/24\"\n\n");
    let tables = format!("{overlay}{}", stage.swarm_table("network = \"pub\""));
    stage.swarm.lead_client_into("10.8.0.0/24")?;
    let label = ["--label", "sluicegate.port=8080:8000"];
    stage.swarm.create("web", &[&["--replicas", "3", "--network", "pub"], &label[..]].concat())?;
    let target = format!("{}:8000", stage.swarm.vip("web", "pub")?);
    for driver in ["af_xdp", "tun"] {
        stage.start(&stage.swarm.gateway.clone(), driver, &tables)?;
        stage.swarm.wait_for_answers(&target, 3)?;
        for _ in 0..6 {
            let answer = stage.swarm.curl(&target)?;
            ensure!(answer.contains("you are 198.18.1.100:"), "the task does not see the client: {answer}");
        }
        let load = stage.load(&target, &[])?;
        stage.swarm.docker(&["service", "scale", "--detach", "web=2"])?;
        stage.wait_for_weights("web-direct", &[1, 1])?;
        stage.swarm.docker(&["service", "scale", "--detach", "web=3"])?;
        stage.wait_for_weights("web-direct", &[1, 1, 1])?;
        load.finish_without_failure()?;
        // The same tasks, translated, on the gateway's own VIP.
        let answer = stage.swarm.curl(&format!("{VIP}:8080"))?;
        ensure!(answer.contains("you are 10.8.0.250:"), "not through the gateway: {answer}");
    }
    Ok(())
}

fn encrypted(stage: &mut Stage) -> Outcome {
    stage.swarm.docker(&["network", "create", "--driver", "overlay", "--opt", "encrypted", "secret"])?;
    let table = stage.swarm_table("network = \"secret\"");
    let overlay = "[overlay]\nvtep = \"198.18.1.1\"\naddress = \"10.7.0.250/24\"\n\n";
    let started = stage.start(&stage.swarm.gateway.clone(), "af_xdp", &format!("{overlay}{table}"));
    let status = started.and_then(|()| stage.gateway()?.cli(&["status"]));
    stage.stranger("af_xdp")?;
    stage.swarm.remove_network("secret")?;
    let status = status?;
    ensure!(status.contains("network secret is encrypted"), "not refused:\n{status}");
    Ok(())
}
