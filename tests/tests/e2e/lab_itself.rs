//! The lab alone, without the gateway program: what fails here is no fault of the gateway.

use crate::runner::{Load, Scenarios};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tests::clock::wait_until;
use tests::lab::{Lab, run};
use tests::network::{Arms, GATEWAY_OVERLAY, GATEWAY_OVERLAY_MAC, GATEWAY_UNDERLAY, Membership, Network, Plan, VNI};
use tests::node::docker_mac;
use tests::servers::{Nginx, start_tool};
use tests::{Outcome, binaries, ensure};

pub fn add(scenarios: &mut Scenarios) {
    scenarios.once("lab::kernel_reaches_tasks_through_vxlan", Load::Light, kernel_reaches_tasks);
    scenarios.once("lab::stranger_gets_no_answer", Load::Light, stranger_gets_no_answer);
    scenarios.once("lab::hosts_reach_each_other", Load::Light, hosts_reach_each_other);
    scenarios.once("lab::traffic_tool_tells_the_truth", Load::Light, tool_tells_the_truth);
    scenarios.once("lab::dropped_lab_leaves_nothing", Load::Light, dropped_lab_leaves_nothing);
    scenarios.once("lab::killed_owner_leaves_nothing", Load::Light, killed_owner_leaves_nothing);
}

/// Gives the gateway's host a vxlan device of the kernel: what the gateway program must be indistinguishable from.
fn kernel_endpoint(network: &Network) -> Outcome {
    let interface = network.underlay_interface();
    network.gateway.ip(&format!(
        "link add name oracle address {GATEWAY_OVERLAY_MAC} mtu 1450 type vxlan id {VNI} dstport 4789 \
         local {GATEWAY_UNDERLAY} dev {interface} nolearning\n\
         link set oracle up\naddr add {GATEWAY_OVERLAY}/24 dev oracle"
    ))?;
    for node in &network.nodes {
        for task in &node.tasks {
            let (mac, vtep) = (docker_mac(task.address), node.vtep.to_string());
            network.gateway.ip(&format!("neigh replace {} dev oracle lladdr {mac} nud permanent", task.address))?;
            let mut bridge = Command::new("bridge");
            bridge.args(["-n", network.gateway.name(), "fdb", "append", &mac, "dev", "oracle", "dst", &vtep]);
            run(&mut bridge)?;
        }
    }
    Ok(())
}

fn curl_task(network: &Network, address: Ipv4Addr, limit: &str) -> Outcome<String> {
    network.gateway.run("curl", ["-sS", "--max-time", limit, &format!("http://{address}:8000/")])
}

fn kernel_reaches_tasks() -> Outcome {
    for arms in [Arms::One, Arms::Two] {
        let network = Plan { queues: 2, ..Plan::new(arms) }.build()?;
        kernel_endpoint(&network)?;
        for (node, name) in network.nodes.iter().zip(["a", "b"]) {
            let task = &node.tasks[0];
            let _server = Nginx::start(&task.namespace, name, 8000)?;
            let answer = curl_task(&network, task.address, "5")?;
            ensure!(answer == format!("{name}\n"), "task {name} answered {answer:?}");
        }
    }
    Ok(())
}

fn stranger_gets_no_answer() -> Outcome {
    let network = Plan { membership: Membership::Stranger, nodes: 1, ..Plan::new(Arms::Two) }.build()?;
    kernel_endpoint(&network)?;
    let task = &network.nodes[0].tasks[0];
    let _server = Nginx::start(&task.namespace, "a", 8000)?;
    let answer = curl_task(&network, task.address, "2");
    ensure!(answer.is_err(), "a task that nobody taught answered: the node's vxlan device is not as Docker makes it");
    Ok(())
}

fn hosts_reach_each_other() -> Outcome {
    let network = Plan { clients: 3, addresses: 2, plain: 1, ..Plan::new(Arms::Two) }.build()?;
    for client in &network.clients {
        for address in &client.addresses {
            network.gateway.run("ping", ["-c1", "-W2", &address.to_string()])?;
        }
    }
    let plain = network.plain[0].address().to_string();
    network.gateway.run("ping", ["-c1", "-W2", &plain])?;
    // Nothing stands in for the gateway: without the program the VIP is silent.
    let vip = network.client().run("ping", ["-c1", "-W1", "198.18.0.1"]);
    ensure!(vip.is_err(), "somebody answers for the VIP");
    Ok(())
}

/// The tools themselves can be wrong: they run without anything between them, and against nothing at all.
fn tool_tells_the_truth() -> Outcome {
    let lab = Lab::new()?;
    let host = lab.namespace("host")?;
    let tool = binaries::traffic()?;
    let _echo = start_tool(&host, "udp-echo", "127.0.0.1:7000")?;
    let sizes = ["udp", "127.0.0.1:7000", "--from", "1", "--to", "8000", "--step", "7"];
    let report = host.run(&tool, sizes)?;
    ensure!(report.contains("\"answered\":1143,\"retried\":[],\"lost\":[]"), "udp: {report}");
    let report = host.run(&tool, ["udp", "127.0.0.1:7001"])?;
    ensure!(report.contains("\"answered\":0") && report.contains("Connection refused"), "udp to nobody: {report}");
    let _web = Nginx::start(&host, "a", 8000)?;
    let load = ["connections", "127.0.0.1:8000", "--count", "1000", "--at-once", "50"];
    let report = host.run(&tool, load)?;
    ensure!(report.contains("\"succeeded\":1000,\"failed\":0") && report.contains("{\"a\":1000}"), "load: {report}");
    let report = host.run(&tool, ["connections", "127.0.0.1:8001", "--count", "10"])?;
    ensure!(report.contains("\"succeeded\":0,\"failed\":10"), "load on nobody: {report}");
    Ok(())
}

/// What is left of a lab: namespaces, whose names begin with `prefix` and its dash, and the directory, whose name ends with
/// it and has none.
fn remains(prefix: &str) -> Outcome<Vec<String>> {
    let mut found = Vec::new();
    let whole = prefix.trim_end_matches('-');
    for dir in [Path::new("/run/netns"), &std::env::temp_dir()] {
        let names = fs::read_dir(dir)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        found.extend(names.filter(|name| name.contains(prefix) || name.ends_with(whole)));
    }
    Ok(found)
}

fn dropped_lab_leaves_nothing() -> Outcome {
    let lab = Lab::new()?;
    // A whole name: "sgax1" must not find the namespaces of "sgax10".
    let prefix = format!("{}-", lab.prefix());
    let host = lab.namespace("host")?;
    // Enough for some to be on their way into the namespace while it is taken down.
    let sleepers: Outcome<Vec<_>> = (0..20).map(|_| host.spawn("sleeper", "sleep", ["1000"])).collect();
    ensure!(!remains(&prefix)?.is_empty(), "the lab is not where the test looks");
    drop(lab);
    for mut sleeper in sleepers? {
        // Killed is not yet gone.
        wait_until("the end of the lab's process", Duration::from_secs(5), || Ok(!sleeper.is_running()?))?;
    }
    ensure!(remains(&prefix)?.is_empty(), "left behind: {:?}", remains(&prefix)?);
    Ok(())
}

/// A second copy of this program makes a lab and is killed with -9.
fn killed_owner_leaves_nothing() -> Outcome {
    let outer = Lab::new()?;
    let log = outer.dir().join("owner.txt");
    let this = std::env::current_exe()?;
    let mut owner = Command::new(this).env(OWN_A_LAB, "yes").stdout(fs::File::create(&log)?).spawn()?;
    let named = || Ok(fs::read_to_string(&log)?.contains('\n'));
    wait_until("the other process's lab", Duration::from_secs(10), named)?;
    let prefix = fs::read_to_string(&log)?.trim().to_owned();
    ensure!(!remains(&prefix)?.is_empty(), "the lab is not where the test looks");
    owner.kill()?;
    owner.wait()?;
    wait_until("the reaper", Duration::from_secs(5), || Ok(remains(&prefix)?.is_empty()))
}

/// Set in the process that [`killed_owner_leaves_nothing`] kills.
const OWN_A_LAB: &str = "SLUICEGATE_TEST_OWNS_A_LAB";

/// Whether this process is that one; then it owns a lab until it is killed.
pub fn own_a_lab_if_asked() -> Outcome {
    if std::env::var_os(OWN_A_LAB).is_none() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let host = lab.namespace("host")?;
    let _sleeper = host.spawn("sleeper", "sleep", ["1000"])?;
    println!("{}-", lab.prefix());
    std::thread::sleep(Duration::from_mins(1));
    Ok(())
}
