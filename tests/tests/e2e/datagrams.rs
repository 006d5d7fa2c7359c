//! UDP, fragments and ICMP.

use crate::runner::{Load, Scenarios};
use crate::stage::{LIMIT, UDP_ECHO, WEB, start, traffic};
use std::time::Duration;
use tests::capture::Capture;
use tests::config::Driver;
use tests::gateway::task_service;
use tests::network::{Arms, Plan};
use tests::{Outcome, ensure};

/// How many datagrams a kernel may lose while it learns that the path takes 1450 bytes only.
const PMTU_LOSSES: usize = 2;

/// How many routers a packet passes: the gateway, and over TUN also the kernel that carries it there.
fn hops(driver: Driver) -> u32 {
    match driver {
        Driver::AfXdp => 1,
        Driver::Tun => 2,
    }
}

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("udp_of_all_sizes", Load::Light, udp_of_all_sizes);
    scenarios.each_driver("udp_flows_alternate", Load::Light, udp_flows_alternate);
    scenarios.each_driver("fragments_in_any_order", Load::Light, fragments_in_any_order);
    scenarios.each_driver("ping_to_the_vip", Load::Light, ping_to_the_vip);
    scenarios.each_driver("too_large_is_told_with_the_right_mtu", Load::Light, too_large_is_told);
    scenarios.each_driver("expired_ttl_is_told", Load::Light, expired_ttl_is_told);
    scenarios.each_driver("port_unreachable_reaches_the_client", Load::Light, port_unreachable);
    scenarios.each_driver("traceroute_shows_the_gateway_as_a_hop", Load::Light, tcp_ttl_is_told);
}

fn udp_of_all_sizes(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let report = stage.traffic(&["udp", UDP_ECHO, "--from", "1", "--to", "8000"])?;
    ensure!(report["answered"] == 8000 && report["wrong"] == serde_json::json!([]), "{report}");
    let retried = report["retried"].as_array().map_or(usize::MAX, Vec::len);
    ensure!(retried <= PMTU_LOSSES, "{retried} datagrams were lost at first: {report}");
    Ok(())
}

/// Each fresh socket is a flow: both tasks get the same number.
fn udp_flows_alternate(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let report = stage.traffic(&["udp", UDP_ECHO, "--from", "1", "--to", "400", "--fresh"])?;
    ensure!(report["answered"] == 400 && report["retried"] == serde_json::json!([]), "{report}");
    for node in &stage.network.nodes {
        let snmp = node.tasks[0].namespace.run("cat", ["/proc/net/snmp"])?;
        let received = snmp.lines().filter(|line| line.starts_with("Udp:")).nth(1).and_then(|l| l.split(' ').nth(1));
        // A socket that gets the port of an earlier one continues that one's flow: a few out of 400 do.
        let received = received.and_then(|number| number.parse().ok()).unwrap_or(0);
        ensure!((185..=215).contains(&received), "a task got {received} datagrams of 400");
    }
    Ok(())
}

fn fragments_in_any_order(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let client = &stage.network.clients[0];
    for order in ["forward", "reverse", "middle"] {
        let source = format!("{}:9999", client.address());
        let next_hop = "020000000201";
        let words = ["fragments", UDP_ECHO, "--source", &source, "--next-hop", next_hop, "--order", order];
        // 1480 bytes fill the client's link and must be cut again for the overlay; 600 pass as they are.
        for piece in ["1480", "600"] {
            let report = traffic(&client.namespace, &[&words[..], &["--piece", piece, "--count", "20"]].concat())?;
            ensure!(report["answered"] == 20, "{order}, pieces of {piece}: {report}");
        }
    }
    Ok(())
}

fn ping_to_the_vip(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    for size in ["0", "56", "1400", "1472"] {
        let args = ["-c", "3", "-i", "0.05", "-W", "2", "-M", "do", "-s", size, "198.18.0.1"];
        let answer = stage.network.client().run("ping", args)?;
        ensure!(answer.contains("3 received"), "{answer}");
    }
    Ok(())
}

fn too_large_is_told(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let mut capture = Capture::start(stage.network.client(), "eth0", 1, "icmp[0] == 3 and icmp[1] == 4")?;
    // 1472 bytes fill the client's MTU, so its kernel sets DF; behind the gateway there is room for 1422.
    let report = stage.traffic(&["udp", UDP_ECHO, "--from", "1472", "--to", "1472", "--rounds", "3"])?;
    ensure!(report["answered"] == 3 && report["retried"] == serde_json::json!([1472]), "{report}");
    let text = capture.finish(LIMIT)?;
    ensure!(text.contains("need to frag (mtu 1450)"), "{text}");
    Ok(())
}

fn expired_ttl_is_told(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let mut capture = Capture::start(stage.network.client(), "eth0", 1, "icmp[0] == 11")?;
    let (too_few, enough) = (hops(driver).to_string(), (hops(driver) + 1).to_string());
    let report = stage.traffic(&["udp", UDP_ECHO, "--ttl", &too_few, "--timeout-ms", "300"])?;
    ensure!(report["answered"] == 0, "a datagram with TTL {too_few} passed: {report}");
    let text = capture.finish(Duration::from_secs(5))?;
    ensure!(text.contains("time exceeded in-transit") && text.contains("198.18.0.1.7000"), "{text}");
    let report = stage.traffic(&["udp", UDP_ECHO, "--ttl", &enough])?;
    ensure!(report["answered"] == 1, "one hop is one TTL: {report}");
    Ok(())
}

/// The same for an existing TCP connection's packets and for SYNs, as tcptraceroute sends them.
fn tcp_ttl_is_told(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let client = stage.network.client();
    client.sysctl("net.ipv4.ip_default_ttl", &hops(driver).to_string())?;
    let mut capture = Capture::start(client, "eth0", 1, "icmp[0] == 11")?;
    ensure!(client.run("curl", ["-sS", "--max-time", "1", &format!("http://{WEB}/")]).is_err(), "TTL 1 passed");
    let text = capture.finish(Duration::from_secs(5))?;
    ensure!(text.contains("198.18.0.1.8080"), "{text}");
    client.sysctl("net.ipv4.ip_default_ttl", &(hops(driver) + 1).to_string())?;
    stage.curl().map(drop)
}

fn port_unreachable(driver: Driver) -> Outcome {
    let network = Plan::new(Arms::Two).build()?;
    let mut config = tests::gateway::base_config(&network, driver);
    config.services = vec![task_service(&network, "nobody", "7000/udp", 7999)];
    let _gateway = tests::gateway::Gateway::start(&network, &config)?;
    let report = traffic(network.client(), &["udp", UDP_ECHO])?;
    let errors = report["errors"].to_string();
    ensure!(errors.contains("Connection refused"), "no ICMP reached the client's socket: {report}");
    Ok(())
}
