//! The gateway is a guest: what is not its business goes on as if it were not there.

use crate::runner::{Load, Scenarios};
use crate::stage::{LIMIT, Servers, all_answered, config, curl, kernel_count, report};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tests::config::{Config, Driver};
use tests::gateway::Gateway;
use tests::namespace::Process;
use tests::network::{Arms, Network, Plan};
use tests::servers::start_tool;
use tests::{Outcome, binaries, ensure};

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("kernel_traffic_is_undisturbed", Load::Heavy, kernel_traffic_two_armed);
    scenarios.each_driver("kernel_traffic_is_undisturbed_one_armed", Load::Heavy, kernel_traffic_one_armed);
}

/// What talks to the gateway's own address all the while.
struct Neighbours {
    tcp: Process,
    udp: Process,
    ping: Process,
}

impl Neighbours {
    fn start(network: &Network, until: &Path) -> Outcome<Neighbours> {
        let address = network.gateway_address();
        let until = until.display().to_string();
        let tool = binaries::traffic()?;
        let client = network.client();
        let (tcp, udp) = (format!("{address}:2222"), format!("{address}:5353"));
        // A host of its own: its kernel counts what it sends again.
        let mut tcp = network.clients[1].namespace.spawn("kernel-tcp", &tool, ["steady", &tcp, "--until", &until])?;
        let mut udp = client.spawn("kernel-udp", &tool, ["steady", &udp, "--udp", "--until", &until])?;
        let ping = client.spawn("ping", "ping", ["-i", "0.02", "-W", "1", &address.to_string()])?;
        tcp.wait_for_line("ready", Duration::from_secs(5))?;
        udp.wait_for_line("ready", Duration::from_secs(5))?;
        Ok(Neighbours { tcp, udp, ping })
    }

    fn finish(mut self, network: &Network, until: &Path) -> Outcome {
        fs::write(until, "")?;
        let (tcp, udp) = (report(&self.tcp.finish(LIMIT)?)?, report(&self.udp.finish(LIMIT)?)?);
        self.ping.signal(nix::sys::signal::Signal::SIGINT)?;
        all_answered(&self.ping.finish(LIMIT)?).map_err(|failure| failure.during("ping to the gateway itself"))?;
        ensure!(udp["lost"] == 0 && udp["answered"].as_u64() > Some(50), "UDP to the gateway itself: {udp}");
        // Neither host has another connection.
        for host in [&network.clients[1].namespace, &network.gateway] {
            let again = kernel_count(host, "Tcp", "RetransSegs")?;
            ensure!(again == 0, "TCP to the gateway itself: {again} segments were sent again, {tcp}");
        }
        Ok(())
    }
}

fn kernel_traffic_two_armed(driver: Driver) -> Outcome {
    kernel_traffic(driver, Arms::Two)
}

fn kernel_traffic_one_armed(driver: Driver) -> Outcome {
    kernel_traffic(driver, Arms::One)
}

fn kernel_traffic(driver: Driver, arms: Arms) -> Outcome {
    let network = Plan { clients: 2, ..Plan::new(arms) }.build()?;
    let _servers = Servers::start(network.nodes.iter().map(|node| &node.tasks[0].namespace))?;
    let _tcp = start_tool(&network.gateway, "tcp-echo", "0.0.0.0:2222")?;
    let _udp = start_tool(&network.gateway, "udp-echo", "0.0.0.0:5353")?;
    let until = network.lab.dir().join("enough");
    let neighbours = Neighbours::start(&network, &until)?;
    let config = config(&network, driver);
    live(&network, &config)?;
    neighbours.finish(&network, &until)
}

/// Starts, runs, reloads, stops, starts again, is killed; and once more starts over what that left behind.
fn live(network: &Network, config: &Config) -> Outcome {
    let gateway = Gateway::start(network, config)?;
    some_requests(network)?;
    gateway.reload(config)?;
    some_requests(network)?;
    gateway.stop_cleanly()?;
    nothing_attached(network)?;
    let gateway = Gateway::start(network, config)?;
    some_requests(network)?;
    gateway.kill()?;
    nothing_attached(network)?;
    let gateway = Gateway::start(network, config)?;
    some_requests(network)?;
    // ARP goes on too: the kernel must still learn a neighbour that it has never seen.
    network.gateway.ip("neigh flush all")?;
    some_requests(network)?;
    gateway.stop_cleanly()?;
    nothing_attached(network)
}

fn some_requests(network: &Network) -> Outcome {
    for _ in 0..10 {
        curl(network.client(), crate::stage::WEB)?;
    }
    Ok(())
}

/// No XDP program and no device of the gateway's is left.
fn nothing_attached(network: &Network) -> Outcome {
    tests::clock::wait_until("a clean host", Duration::from_secs(2), || {
        let links = network.gateway.run("ip", ["-d", "link", "show"])?;
        Ok(!links.contains("xdp") && !links.contains("sluice0"))
    })
}
