//! Clients that stay with their backends.

use crate::changes::rows;
use crate::runner::{Load, Scenarios};
use crate::six::{self, WEB6};
use crate::stage::{Stage, UDP_ECHO, WEB, config, curl, start};
use std::collections::BTreeSet;
use std::time::Duration;
use tests::clock::wait_until;
use tests::config::{Config, Driver, Service};
use tests::network::{Arms, Host, Plan};
use tests::{Outcome, ensure};

/// A second port of the service, and another service of its group.
const SECOND_PORT: &str = "198.18.0.1:8081";
const OTHER_SERVICE: &str = "198.18.0.1:8443";

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("clients_stay_with_their_backends", Load::Light, clients_stay);
    scenarios.each_driver("clients_are_scheduled_anew_when_their_time_is_over", Load::Light, time_ends);
    scenarios.each_driver("ipv6_clients_of_one_prefix_stay_together", Load::Light, one_prefix);
}

/// Two services of one group, the first with two ports; and a UDP service. All remember their clients for so long.
fn lasting(config: &mut Config, time: &str) {
    config.cpus = vec![0, 1];
    let lines = [format!("persistence = {time:?}"), "persistence_group = \"site\"".to_owned()];
    config.services[0].listen = String::from("198.18.0.1:8080-8081/tcp");
    let other = Service::new("other", "198.18.0.1:8443/tcp", config.services[0].backends.clone());
    config.services.push(other);
    for at in [0, 3] {
        config.services[at].lines.extend(lines.clone());
    }
    config.services[1].lines.push(lines[0].clone());
}

fn stage(driver: Driver, time: &str) -> Outcome<Stage> {
    let plan = Plan { queues: 2, ..Plan::new(Arms::Two) };
    start(plan, driver, |config| lasting(config, time))
}

fn changed(stage: &Stage, driver: Driver, time: &str) -> Config {
    let mut changed = config(&stage.network, driver);
    lasting(&mut changed, time);
    changed
}

/// Whatever the client asks for, this task answers.
fn all_from(stage: &Stage, task: &str, when: &str) -> Outcome {
    for target in [WEB, SECOND_PORT, WEB, OTHER_SERVICE].repeat(3) {
        let answer = curl(stage.network.client(), target)?;
        ensure!(answer == task, "{when}: {target} was answered by {answer}, not by {task}");
    }
    Ok(())
}

fn remembered(stage: &Stage) -> Outcome<u64> {
    let service = stage.gateway.json(&["service", "show", "web"])?;
    service["remembered_clients"].as_u64().ok_or_else(|| tests::Failure::new(format!("{service}")))
}

fn clients_stay(driver: Driver) -> Outcome {
    let stage = stage(driver, "5m")?;
    let (first, address) = match stage.curl()?.as_str() {
        "A" => ("A", "10.0.0.11:8000"),
        _ => ("B", "10.0.0.12:8000"),
    };
    let second = if first == "A" { "B" } else { "A" };
    all_from(&stage, first, "at first")?;
    ensure!(remembered(&stage)? == 1, "there is one client");
    stage.gateway.cli(&["backend", "drain", "web", address])?;
    wait_until("the drained backend to let go", Duration::from_secs(1), || Ok(stage.curl()? == second))?;
    all_from(&stage, second, "after a drain")?;
    stage.gateway.cli(&["backend", "set", "web", address, "--weight", "1"])?;
    all_from(&stage, second, "the old one is back")?;
    stage.gateway.reload(&changed(&stage, driver, "10m"))?;
    all_from(&stage, second, "after a reload")?;
    let report = stage.traffic(&["udp", UDP_ECHO, "--from", "1", "--to", "20", "--fresh"])?;
    ensure!(report["answered"] == 20, "{report}");
    let backends = stage.gateway.json(&["backend", "list", "udp-echo"])?;
    let idle = rows(&backends).iter().filter(|backend| backend["connections"] == 0).count();
    ensure!(idle == 1, "datagrams went to both: {backends}");
    Ok(())
}

fn time_ends(driver: Driver) -> Outcome {
    let stage = stage(driver, "1s")?;
    let first = stage.curl()?;
    wait_until("the client to be forgotten", Duration::from_secs(5), || Ok(remembered(&stage)? == 0))?;
    let second = stage.curl()?;
    ensure!(first != second, "not scheduled anew: {first} again");
    Ok(())
}

/// Two IPv6 clients of one /64 count as one, until their service looks at longer prefixes.
fn one_prefix(driver: Driver) -> Outcome {
    let plan = Plan { clients: 2, ..Plan::new(Arms::Two) };
    let stage = six::start(driver, plan, |config| {
        for web in config.services.iter_mut().filter(|service| service.name == "web-6") {
            web.lines.push("persistence = \"5m\"".to_owned());
        }
    })?;
    let answers = || -> Outcome<Vec<BTreeSet<String>>> {
        let of = |client: &Host| (0..6).map(|_| curl(&client.namespace, WEB6)).collect();
        stage.network.clients.iter().map(of).collect()
    };
    let together = answers()?;
    ensure!(together[0].len() == 1 && together[0] == together[1], "one prefix, and several tasks: {together:?}");
    stage.gateway.cli(&["service", "set", "web-6", "--persistence-prefix-ipv6", "128"])?;
    wait_until("a task for each", Duration::from_secs(10), || {
        let apart = answers()?;
        Ok(apart.iter().all(|of| of.len() == 1) && apart[0] != apart[1])
    })
}
