//! Links that go down, and neighbours that change.

use crate::changes::rows;
use crate::runner::{Load, Scenarios};
use crate::stage::{LIMIT, Servers, Stage, TCP_ECHO, WEB, all_succeeded, config, hash, report, start};
use std::fs;
use std::time::Duration;
use tests::clock::wait_until;
use tests::config::{Backend, Driver};
use tests::gateway::Gateway;
use tests::namespace::Process;
use tests::network::{Arms, Plan};
use tests::{Outcome, binaries, ensure};

/// How soon traffic must flow again.
const SOON: Duration = Duration::from_secs(5);

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("interface_down_for_two_seconds", Load::Light, interface_down);
    scenarios.tun("tun_down_for_a_moment", Load::Light, tun_down_for_a_moment);
    scenarios.each_driver("node_with_a_new_mac", Load::Light, node_with_a_new_mac);
    scenarios.each_driver("client_with_a_new_mac", Load::Light, client_with_a_new_mac);
    scenarios.each_driver("link_without_carrier", Load::Light, link_without_carrier);
    scenarios.each_driver("node_without_a_way_to_it", Load::Light, node_without_a_way);
    scenarios.each_driver("gateway_with_a_new_mac", Load::Light, gateway_with_a_new_mac);
    scenarios.af_xdp("interface_made_anew", Load::Light, interface_made_anew);
    scenarios.af_xdp("queue_added", Load::Light, queue_added);
    scenarios.af_xdp("busy_queue", Load::Light, busy_queue);
}

/// Another program holds one queue of two: the gateway serves the other one, says so, and takes the busy one when it is free.
fn busy_queue(driver: Driver) -> Outcome {
    let network = Plan { queues: 2, ..Plan::new(Arms::Two) }.build()?;
    let servers = Servers::start(network.nodes.iter().map(|node| &node.tasks[0].namespace))?;
    let mut holder = network.gateway.spawn("holder", binaries::traffic()?, ["hold-queue", "eth1", "1"])?;
    holder.wait_for_line("ready", SOON)?;
    let mut config = config(&network, driver);
    config.cpus = vec![0, 1];
    let stage = Stage { gateway: Gateway::start(&network, &config)?, servers, network };
    let busy = || -> Outcome<String> {
        let status = stage.gateway.json(&["status"])?;
        let device = rows(&status["devices"]).iter().find(|row| row["name"] == "eth1" && row["queue"] == 1);
        Ok(device.map(|row| row["error"].to_string()).unwrap_or_default())
    };
    ensure!(busy()?.contains("another AF_XDP program holds this queue"), "status says {}", busy()?);
    ensure!(
        stage.network.gateway.run("ping", ["-c1", "-W2", "198.18.1.11"]).is_ok(),
        "the kernel lost the queue's packets"
    );
    drop(holder);
    wait_until("the queue's turn", SOON, || Ok(busy()? == "null"))?;
    all_succeeded(&stage.traffic(&["connections", WEB, "--count", "500", "--at-once", "8"])?, 500)?;
    Ok(())
}

fn begin_download(stage: &Stage) -> Outcome<(Process, String)> {
    let wanted = hash(&stage.servers.share("slow", 12 << 20)?)?;
    let script = format!("set -o pipefail; curl -sS --fail --max-time 60 http://{WEB}/slow/slow | sha256sum");
    let process = stage.network.client().spawn("download", "/bin/bash", ["-c", &script])?;
    wait_until("the download's flow", SOON, || Ok(stage.gateway.flow_count()? > 0))?;
    Ok((process, wanted))
}

fn works_again(stage: &Stage) -> Outcome {
    wait_until("new connections", SOON, || Ok(stage.curl().is_ok()))?;
    let answers = [stage.curl()?, stage.curl()?];
    ensure!(answers[0] != answers[1], "only one task answers: {answers:?}");
    Ok(())
}

/// Both interfaces in turn; a download survives it.
fn interface_down(driver: Driver) -> Outcome {
    let mut stage = start(Plan { queues: 2, ..Plan::new(Arms::Two) }, driver, |config| config.cpus = vec![0, 1])?;
    let (mut download, wanted) = begin_download(&stage)?;
    for interface in ["eth0", "eth1"] {
        stage.network.gateway.ip(&format!("link set {interface} down"))?;
        std::thread::sleep(Duration::from_secs(2));
        stage.network.gateway.ip(&format!("link set {interface} up"))?;
        works_again(&stage).map_err(|failure| failure.during(interface))?;
    }
    let got = download.finish(LIMIT)?;
    ensure!(got.starts_with(&wanted), "the download was damaged: {got}");
    ensure!(stage.gateway.process.is_running()?, "the gateway ended");
    let status = stage.gateway.json(&["status"])?;
    let all_up = status["devices"].as_array().is_some_and(|devices| devices.iter().all(|device| device["up"] == true));
    ensure!(all_up, "status still shows a device down: {status}");
    Ok(())
}

/// The kernel drops the routes of a device that goes down, and this one is up again before anybody looks.
fn tun_down_for_a_moment(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| ())?;
    works_again(&stage)?;
    let device = stage.gateway.json(&["status"])?["devices"][0]["name"].as_str().unwrap_or_default().to_owned();
    stage.network.gateway.ip(&format!("link set {device} down\nlink set {device} up"))?;
    works_again(&stage)
}

/// The other end of the link goes down: `status` says so, and no longer when it is back.
fn link_without_carrier(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    stage.network.switch.ip("link set gw down")?;
    if driver == Driver::AfXdp {
        wait_until("status with eth1 down", SOON, || {
            let status = stage.gateway.json(&["status"])?;
            let devices = status["devices"].as_array().cloned().unwrap_or_default();
            Ok(devices.iter().any(|device| device["name"] == "eth1" && device["up"] == false))
        })?;
    }
    stage.network.switch.ip("link set gw up")?;
    works_again(&stage)
}

/// There never was a way to the first backend's node, and that to the second one's goes and comes back: new connections go elsewhere,
/// and the one that stands goes on afterwards.
fn node_without_a_way(driver: Driver) -> Outcome {
    // Over TUN the kernel asks for neighbours itself: only a missing route is seen.
    let nowhere = if driver == Driver::Tun { "203.0.113.77" } else { "198.18.1.99" };
    let stage = start(Plan::new(Arms::Two), driver, |config| {
        config.services[0].backends.insert(0, Backend::new("10.0.0.99:8000", Some(nowhere.into())));
    })?;
    let stand = |service: &str, wanted: &[&str]| -> Outcome {
        wait_until(&format!("backends of {service} {wanted:?}"), SOON, || {
            let list = stage.gateway.json(&["backend", "list", service])?;
            Ok(rows(&list).iter().map(|row| &row["state"]).eq(wanted))
        })
    };
    let all_served = || all_succeeded(&stage.traffic(&["connections", WEB, "--count", "100"])?, 100);
    stand("web", &["unreachable", "up", "up"])?;
    all_served()?;
    let until = stage.network.lab.dir().join("enough");
    let mut talk = stage.begin(&["steady", TCP_ECHO, "--until", &until.display().to_string()])?;
    talk.wait_for_line("ready", SOON)?;
    let flows = stage.gateway.json(&["flow", "list", "--service", "tcp-echo"])?;
    ensure!(rows(&flows)[0]["backend"] == "10.0.0.11:7001", "another task than expected has the connection: {flows}");
    let gateway = &stage.network.gateway;
    gateway.ip("route add unreachable 198.18.1.11")?;
    stand("web", &["unreachable", "unreachable", "up"])?;
    stand("tcp-echo", &["unreachable", "up"])?;
    all_served()?;
    let flows = stage.gateway.json(&["flow", "list", "--service", "tcp-echo"])?;
    ensure!(rows(&flows)[0]["state"] == "ESTABLISHED", "the connection was not kept: {flows}");
    gateway.ip("route del unreachable 198.18.1.11")?;
    stand("web", &["unreachable", "up", "up"])?;
    fs::write(until, "")?;
    let steady = report(&talk.finish(LIMIT)?)?;
    ensure!(steady["lost"] == 0, "the connection did not go on: {steady}");
    works_again(&stage)
}

fn node_with_a_new_mac(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    works_again(&stage)?;
    let node = &stage.network.nodes[0].namespace;
    node.ip("link set eth0 down\nlink set eth0 address 02:00:00:00:01:77\nlink set eth0 up")?;
    // A node that comes up talks: its first ARP question tells the gateway's kernel.
    node.run("ping", ["-c1", "-W2", "198.18.1.1"])?;
    works_again(&stage)
}

/// The filter takes frames to the interface's address only, and that may change.
fn gateway_with_a_new_mac(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    works_again(&stage)?;
    stage.network.gateway.ip("link set eth0 address 02:00:00:00:03:77\nlink set eth1 address 02:00:00:00:03:78")?;
    stage.network.client().ip("neigh flush all")?;
    for node in &stage.network.nodes {
        node.namespace.ip("neigh flush all")?;
    }
    works_again(&stage)
}

/// An interface goes, and another one comes under its name: nothing of ours is on it, and status says so for as long as that is so.
fn interface_made_anew(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    stage
        .network
        .gateway
        .ip("link del eth1\nlink add eth1 type veth peer name far1\nlink set eth1 up\nlink set far1 up")?;
    let said = || -> Outcome<(bool, String)> {
        let status = stage.gateway.json(&["status"])?;
        let up = rows(&status["devices"]).iter().any(|device| device["name"] == "eth1" && device["up"] == true);
        Ok((up, status["notes"].to_string()))
    };
    // Long enough for the control thread to have seen the new one.
    let sees_the_new_one =
        || Ok(stage.network.gateway.run("ip", ["link", "show", "up", "dev", "eth1"])?.contains("LOWER_UP"));
    wait_until("the new link", SOON, sees_the_new_one)?;
    std::thread::sleep(Duration::from_secs(1));
    let (up, notes) = said()?;
    ensure!(
        !up && notes.contains("eth1 is gone, or another one since the start: restart the gateway"),
        "status says up {up}, {notes}"
    );
    Ok(())
}

/// Packets that come by a queue that was added stay with the kernel until a restart: status says so.
fn queue_added(driver: Driver) -> Outcome {
    let network = Plan { queues: 2, ..Plan::new(Arms::Two) }.build()?;
    network.switch.run("ethtool", ["-L", "gw", "rx", "1", "tx", "1"])?;
    network.gateway.run("ethtool", ["-L", "eth1", "rx", "1", "tx", "1"])?;
    let servers = Servers::start(network.nodes.iter().map(|node| &node.tasks[0].namespace))?;
    let stage = Stage { gateway: Gateway::start(&network, &config(&network, driver))?, servers, network };
    let says = |wanted: bool| {
        wait_until("the note", SOON, || {
            let status = stage.gateway.json(&["status"])?;
            Ok(status["notes"].to_string().contains("eth1 has 2 queues, and had 1 at the start") == wanted)
        })
    };
    says(false)?;
    stage.network.gateway.run("ethtool", ["-L", "eth1", "rx", "2", "tx", "2"])?;
    says(true)?;
    stage.network.gateway.run("ethtool", ["-L", "eth1", "rx", "1", "tx", "1"])?;
    says(false)?;
    works_again(&stage)
}

fn client_with_a_new_mac(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let until = stage.network.lab.dir().join("enough");
    let mut talk = stage.begin(&["steady", TCP_ECHO, "--until", &until.display().to_string()])?;
    talk.wait_for_line("ready", SOON)?;
    let client = stage.network.client();
    client.ip("link set eth0 address 02:00:00:00:02:77")?;
    client.run("ping", ["-c1", "-W2", "198.18.2.1"])?;
    works_again(&stage)?;
    fs::write(until, "")?;
    let steady = report(&talk.finish(LIMIT)?)?;
    ensure!(steady["answered"].as_u64() > Some(5), "the old connection stood still: {steady}");
    Ok(())
}
