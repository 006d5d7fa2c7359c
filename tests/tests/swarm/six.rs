//! Clients with IPv6 in front of a swarm that has none.

use crate::Scenario;
use crate::stage::{Stage, VIP};
use tests::swarm::{GATEWAY, GATEWAY_OVERLAY};
use tests::{Outcome, ensure};

pub const SCENARIOS: &[Scenario] = &[("clients_with_ipv6_reach_published_ports", published)];

/// Where clients with IPv6 go.
const TARGET: &str = "[2001:db8::1]:8080";

/// Both families, both drivers, TCP and UDP, while the service grows and shrinks.
fn published(stage: &mut Stage) -> Outcome {
    let ends = [(&stage.swarm.gateway, "2001:db8:1::1"), (&stage.swarm.client, "2001:db8:1::100")];
    for (host, address) in ends {
        host.ip(&format!("addr replace {address}/64 dev eth0 nodad"))?;
    }
    stage.swarm.client.ip("route replace 2001:db8::1 via 2001:db8:1::1")?;
    let result = ["af_xdp", "tun"].into_iter().try_for_each(|driver| {
        serve(stage, driver).map_err(|failure| failure.during(driver))?;
        stage.swarm.remove("web")
    });
    stage.stranger("af_xdp")?;
    result
}

fn serve(stage: &mut Stage, driver: &str) -> Outcome {
    let table = stage.swarm_table("").replace(&format!("[{VIP:?}]"), &format!("[{VIP:?}, \"2001:db8::1\"]"));
    let text = format!("[overlay]\nvtep = \"{GATEWAY}\"\naddress = \"{GATEWAY_OVERLAY}\"\n\n{table}");
    stage.start(&stage.swarm.gateway.clone(), driver, &text)?;
    stage.swarm.create("web", &["--replicas", "2", "-p", "8080:8000", "-p", "8080:8000/udp"])?;
    stage.swarm.wait_for_answers(TARGET, 2)?;
    let load = stage.load(TARGET, &[])?;
    stage.swarm.docker(&["service", "scale", "--detach", "web=4"])?;
    stage.swarm.wait_for_answers(TARGET, 4)?;
    stage.swarm.docker(&["service", "scale", "--detach", "web=1"])?;
    stage.wait_for_weights("web", &[1])?;
    load.finish_without_failure()?;
    stage.swarm.wait_for_answers(&format!("{VIP}:8080"), 1)?;
    let report = stage.load(TARGET, &["--udp"])?.finish()?;
    ensure!(report["failed"] == 0 && report["succeeded"].as_u64() > Some(0), "UDP: {report}");
    Ok(())
}
