//! Direct server return: tasks see the clients' own addresses and answer around the gateway.

use crate::changes::rows;
use crate::runner::{Load, Scenarios};
use crate::stage::{Stage, curl, hash, start};
use std::time::Duration;
use tests::clock::wait_until;
use tests::config::Driver;
use tests::gateway::{base_config, task_backends};
use tests::network::{Arms, Plan, VIP};
use tests::{Outcome, ensure};

/// Nothing is translated: clients ask for the port that tasks listen on.
const WEB: &str = "198.18.0.1:8000";
const CLIENT: &str = "198.18.1.100";
const SOON: Duration = Duration::from_secs(10);

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("direct_tasks_see_the_client", Load::Light, tasks_see_the_client);
    scenarios.each_driver("direct_files_arrive_both_ways", Load::Heavy, files_arrive_both_ways);
    scenarios.each_driver("direct_downloads_end_with_their_task", Load::Light, downloads_end_with_their_task);
    scenarios.af_xdp("direct_server_on_the_link", Load::Light, server_on_the_link);
}

fn stage(driver: Driver) -> Outcome<Stage> {
    let stage = start(Plan::new(Arms::One), driver, |config| {
        config.services.truncate(1);
        let web = &mut config.services[0];
        web.listen = format!("{WEB}/tcp");
        web.lines = vec!["direct = true".to_owned()];
    })?;
    stage.network.let_tasks_answer_directly()?;
    Ok(stage)
}

fn tasks_see_the_client(driver: Driver) -> Outcome {
    let stage = stage(driver)?;
    let client = stage.network.client();
    for _ in 0..10 {
        let seen = curl(client, &format!("{WEB}/who?x="))?;
        ensure!(seen == format!("{CLIENT} {WEB}"), "the task saw {seen}");
    }
    let answers = (0..10).map(|_| curl(client, WEB)).collect::<Outcome<Vec<_>>>()?;
    ensure!(answers.windows(2).all(|pair| pair[0] != pair[1]), "not in turn: {answers:?}");
    let backends = stage.gateway.json(&["backend", "list", "web"])?;
    for backend in backends.as_array().into_iter().flatten() {
        ensure!(backend["forward"] == "direct" && backend["packets_in"].as_u64() > Some(0), "{backend}");
        ensure!(backend["packets_out"] == 0, "answers came through the gateway: {backend}");
    }
    let flows = stage.gateway.json(&["flow", "list"])?;
    let closing = flows.as_array().into_iter().flatten().all(|flow| flow["state"] == "FIN_WAIT");
    ensure!(closing, "curl has closed all of them: {flows}");
    Ok(())
}

/// The SYN-ACK does not pass the gateway: the client's segments are too large for the overlay until it is told.
fn files_arrive_both_ways(driver: Driver) -> Outcome {
    let stage = stage(driver)?;
    let client = stage.network.client();
    let file = stage.servers.share("some", 20 << 20)?;
    let wanted = hash(&file)?;
    let script = format!("set -o pipefail; curl -sS --fail --max-time 60 http://{WEB}/files/some | sha256sum");
    let down = client.run("/bin/bash", ["-c", &script])?;
    ensure!(down.starts_with(&wanted), "another file came down: {down}");
    let (source, target) = (file.display().to_string(), format!("http://{WEB}/files/uploaded"));
    client.run("curl", ["-sS", "--fail", "--max-time", "60", "-T", &source, &target])?;
    let arrived = stage.servers.web.iter().map(|web| web.files.join("uploaded")).find(|path| path.exists());
    let arrived = arrived.ok_or_else(|| tests::Failure::new("no upload arrived"))?;
    ensure!(hash(&arrived)? == wanted, "another file went up");
    ensure!(stage.gateway.counter("too_big")? > 0, "the overlay takes 1450 bytes, the client's link 1500");
    Ok(())
}

fn downloads_end_with_their_task(driver: Driver) -> Outcome {
    let stage = stage(driver)?;
    stage.servers.share("slow", 100 << 20)?;
    let words = ["-sS", "--max-time", "60", "-o", "/dev/null", &format!("http://{WEB}/slow/slow")];
    let mut download = stage.network.client().spawn("curl", "curl", words)?;
    let busy = || -> Outcome<Option<String>> {
        let flows = stage.gateway.json(&["flow", "list"])?;
        let open = flows.as_array().and_then(|flows| flows.iter().find(|flow| flow["state"] == "ESTABLISHED").cloned());
        // The client's address stands for the task in a flow that is not translated: who has the most packets serves.
        let backends = stage.gateway.json(&["backend", "list", "web"])?;
        let serves =
            backends.as_array().and_then(|all| all.iter().max_by_key(|one| one["packets_in"].as_u64()).cloned());
        Ok(open.and(serves).and_then(|one| one["address"].as_str().map(str::to_owned)))
    };
    let task = tests::clock::wait_for("a download", SOON, busy)?;
    stage.gateway.cli(&["backend", "remove", "web", &task])?;
    wait_until("the end of the download", SOON, || Ok(!download.is_running()?))?;
    let log = download.log();
    ensure!(log.contains("reset by peer"), "curl said: {log}");
    // The task's server has been told, too.
    let node =
        stage.network.nodes.iter().flat_map(|node| &node.tasks).find(|one| task.starts_with(&one.address.to_string()));
    let node = node.ok_or_else(|| tests::Failure::new(format!("no task {task}")))?;
    wait_until("the end at the task", SOON, || {
        Ok(node.namespace.run("ss", ["-Htn", "state", "established", "sport", "=", ":8000"])?.trim().is_empty())
    })
}

/// As IPVS' "gatewaying": the server is no task but a host on the same link.
fn server_on_the_link(driver: Driver) -> Outcome {
    let network = Plan::new(Arms::One).build()?;
    network.let_tasks_answer_directly()?;
    let mut servers = crate::stage::Servers::start(network.nodes.iter().map(|node| &node.tasks[0].namespace))?;
    let mut config = base_config(&network, driver);
    let mut web = tests::config::Service::new("web", &format!("{VIP}:8000/tcp"), task_backends(&network, 8000));
    web.lines = vec!["direct = true".to_owned()];
    web.check = Some("type = \"tcp\"\nport = 7001\ninterval = \"200ms\"\ntimeout = \"150ms\"\nfall = 2".to_owned());
    for (index, backend) in web.backends.iter_mut().enumerate() {
        (backend.address, backend.vtep) = (format!("198.18.1.{}", 61 + index), None);
    }
    config.services = vec![web];
    let gateway = tests::gateway::Gateway::start(&network, &config)?;
    let mut answers = std::collections::BTreeSet::new();
    for _ in 0..6 {
        answers.insert(curl(network.client(), WEB)?);
    }
    ensure!(answers.len() == 2, "not both: {answers:?}");
    let seen = curl(network.client(), &format!("{WEB}/who?x="))?;
    ensure!(seen == format!("{CLIENT} {WEB}"), "the server saw {seen}");
    // Checks go to the server's own address, and are answered to the gateway's.
    let checks = || Outcome::Ok(rows(&gateway.json(&["backend", "list", "web"])?).to_vec());
    wait_until("all have passed a check", SOON, || {
        let rows: Vec<serde_json::Value> = checks()?;
        Ok(rows.iter().all(|row| row["check"]["passed"] == true))
    })?;
    let mut first = servers.tcp_echo.remove(0);
    first.signal(nix::sys::signal::Signal::SIGKILL)?;
    first.wait(SOON)?;
    wait_until("one that is down", SOON, || {
        let rows: Vec<serde_json::Value> = checks()?;
        Ok(rows.iter().any(|row| row["state"] == "down" && row["check"]["result"] == "connection refused"))
    })?;
    drop(servers);
    gateway.stop_cleanly()
}
