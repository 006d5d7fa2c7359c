//! Ways to a backend: a swarm that does not know the gateway, plain routing, several workers.

use crate::runner::{Load, Scenarios};
use crate::stage::{LIMIT, Servers, Stage, UDP_ECHO, WEB, all_succeeded, hash, start, traffic};
use tests::config::{Backend, Config, Driver, Service};
use tests::gateway::{Gateway, base_config};
use tests::network::{Arms, Membership, Network, Plan};
use tests::{Outcome, ensure};

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("stranger_to_the_swarm_stays_known", Load::Light, stranger_stays_known);
    scenarios.each_driver("plain_backends", Load::Light, plain_two_armed);
    scenarios.each_driver("plain_backends_one_armed", Load::Light, plain_one_armed);
    scenarios.each_driver("flows_cross_workers", Load::Heavy, flows_cross_workers);
    scenarios.each_driver("flows_cross_workers_one_armed", Load::Heavy, flows_cross_one_armed);
}

/// Without being taught afresh, tasks forget the gateway after 8 s of UDP alone, and within a minute in any case.
fn stranger_stays_known(driver: Driver) -> Outcome {
    let plan = Plan { membership: Membership::Stranger, ..Plan::new(Arms::Two) };
    let stage = start(plan, driver, |_| {})?;
    ensure!(stage.curl()? != stage.curl()?, "only one task answers");
    // Two sockets: one flow to each task, for 70 s.
    let words = ["udp", UDP_ECHO, "--rounds", "350", "--pause-ms", "200"];
    let mut talks = [stage.begin(&words)?, stage.begin(&words)?];
    for talk in &mut talks {
        let report = crate::stage::finish(talk)?;
        ensure!(report["answered"] == 350 && report["retried"] == serde_json::json!([]), "{report}");
    }
    ensure!(stage.curl()? != stage.curl()?, "after a while only one task answers");
    Ok(())
}

/// Servers outside any overlay, beside tasks in it: one service of each kind and one that mixes them.
fn plain_backends(driver: Driver, arms: Arms) -> Outcome {
    let network = Plan { plain: 2, nodes: 1, ..Plan::new(arms) }.build()?;
    let task = &network.nodes[0].tasks[0];
    let hosts = network.plain.iter().map(|host| &host.namespace).chain([&task.namespace]);
    let servers = Servers::start(hosts)?;
    let plain = |port: u16| -> Vec<Backend> {
        let backend = |host: &tests::network::Host| Backend::new(format!("{}:{port}", host.address()), None);
        network.plain.iter().map(backend).collect()
    };
    let mut config = Config { metrics: Some("127.0.0.1:9180".into()), ..base_config(&network, driver) };
    let in_overlay = tests::gateway::task_backends(&network, 8000);
    config.services = vec![
        Service::new("web", &format!("{WEB}/tcp"), plain(8000)),
        Service::new("udp-echo", &format!("{UDP_ECHO}/udp"), plain(7000)),
        Service::new("mixed", "198.18.0.1:8082/tcp", [plain(8000), in_overlay].concat()),
    ];
    let before = network.gateway.run("ip", ["rule"])?;
    // What a gateway that was killed leaves behind does not stand in the way of the next.
    Gateway::start(&network, &config)?.kill()?;
    let stage = Stage { gateway: Gateway::start(&network, &config)?, servers, network };
    exercise_plain(&stage)?;
    let Stage { gateway, network, .. } = stage;
    // Scrapers keep their connections open.
    let open = "exec 3<>/dev/tcp/127.0.0.1/9180; echo connected; cat <&3";
    let mut scraper = network.gateway.spawn("scraper", "/bin/bash", ["-c", open])?;
    scraper.wait_for_line("connected", LIMIT)?;
    gateway.stop_cleanly()?;
    let after = network.gateway.run("ip", ["rule"])?;
    ensure!(before == after, "policy rules are left over:\n{after}");
    Ok(())
}

fn exercise_plain(stage: &Stage) -> Outcome {
    let load = stage.traffic(&["connections", WEB, "--count", "1000", "--at-once", "10"])?;
    all_succeeded(&load, 1000)?;
    ensure!(load["answers"]["A"] == 500 && load["answers"]["B"] == 500, "unfair: {load}");
    let mixed = stage.traffic(&["connections", "198.18.0.1:8082", "--count", "300"])?;
    all_succeeded(&mixed, 300)?;
    ensure!(mixed["answers"]["A"] == 100 && mixed["answers"]["C"] == 100, "unfair: {mixed}");
    let echo = stage.traffic(&["udp", UDP_ECHO, "--to", "8000", "--step", "101"])?;
    ensure!(echo["lost"] == serde_json::json!([]) && echo["wrong"] == serde_json::json!([]), "{echo}");
    let file = stage.servers.share("some", 8 << 20)?;
    ensure!(stage.download_hash("/files/some")? == hash(&file)?, "another file arrived");
    Ok(())
}

fn plain_two_armed(driver: Driver) -> Outcome {
    plain_backends(driver, Arms::Two)
}

fn plain_one_armed(driver: Driver) -> Outcome {
    plain_backends(driver, Arms::One)
}

fn flows_cross_workers(driver: Driver) -> Outcome {
    flows_cross(driver, Arms::Two)
}

fn flows_cross_one_armed(driver: Driver) -> Outcome {
    flows_cross(driver, Arms::One)
}

/// Two workers with two queues each on every interface. A reply is spread over the queues without regard to where its flow
/// lives, so about half of them land on the wrong worker.
fn flows_cross(driver: Driver, arms: Arms) -> Outcome {
    let plan = Plan { queues: 4, clients: 3, ..Plan::new(arms) };
    let stage = start(plan, driver, |config| config.cpus = vec![0, 1])?;
    for client in &stage.network.clients {
        let load = traffic(&client.namespace, &["connections", WEB, "--count", "2000", "--at-once", "20"])?;
        all_succeeded(&load, 2000)?;
        let echo = traffic(&client.namespace, &["udp", UDP_ECHO, "--to", "1000", "--fresh"])?;
        ensure!(echo["answered"] == 1000 && echo["retried"] == serde_json::json!([]), "{echo}");
    }
    let file = stage.servers.share("some", 8 << 20)?;
    ensure!(stage.download_hash("/files/some")? == hash(&file)?, "another file arrived");
    crossed(&stage.network, &stage.gateway)
}

fn crossed(network: &Network, gateway: &Gateway) -> Outcome {
    let counters = gateway.json(&["counters"])?;
    let workers = counters["workers"].as_array().cloned().unwrap_or_default();
    ensure!(workers.len() == 2, "two CPUs, so two workers: {counters}");
    for worker in &workers {
        let of = |name: &str| tests::gateway::find_number(worker, &[name]).unwrap_or(0);
        ensure!(of("flows_opened") > 0, "a worker without flows, with {} queues: {counters}", network.plan.queues);
        ensure!(of("handed_over") > 0 && of("received_over") > 0, "nothing crossed: {counters}");
    }
    Ok(())
}
