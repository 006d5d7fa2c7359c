//! What a service says of its flows beside how they are balanced: datagrams one by one, times by state.

use crate::changes::rows;
use crate::runner::{Load, Scenarios};
use crate::stage::{Servers, Stage, TCP_ECHO, UDP_ECHO, start};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::Duration;
use tests::clock::wait_for;
use tests::config::Driver;
use tests::gateway::Gateway;
use tests::network::{Arms, GATEWAY_OVERLAY, Plan};
use tests::servers::{start_tool, wait_listening};
use tests::{Outcome, ensure};

/// How long a wait may take before the test fails: the machine may have other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("flow_log_says_who_it_was", Load::Light, flow_log);
    scenarios.each_driver("passive_a_backend_that_refuses_rests", Load::Light, passive_refused);
    scenarios.each_driver("passive_a_silent_backend_rests", Load::Light, passive_silent);
    scenarios.each_driver("one_packet_every_datagram_the_next_task", Load::Light, one_packet);
}

/// What a task has in its log leads to the client, also after the file was rotated.
fn flow_log(driver: Driver) -> Outcome {
    let network = Plan::new(Arms::Two).build()?;
    let servers = Servers::start(network.nodes.iter().map(|node| &node.tasks[0].namespace))?;
    let mut config = crate::stage::config(&network, driver);
    let path = network.gateway.dir().join("flows.jsonl");
    let table = format!("\n[flow_log]\npath = \"{}\"", path.display());
    config.overlay.get_or_insert_default().push_str(&table);
    let gateway = Gateway::start(&network, &config)?;
    let stage = Stage { gateway, servers, network };
    for _ in 0..2 {
        stage.curl()?;
    }
    let lines = || -> Outcome<Vec<Value>> {
        std::fs::read_to_string(&path)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    };
    let closed = || Outcome::Ok(lines()?.into_iter().filter(|line| line["event"] == "close").collect::<Vec<_>>());
    let ends = wait_for("two ends of connections", PATIENCE, || Ok(Some(closed()?).filter(|ends| ends.len() == 2)))?;
    ensure!(ends.iter().all(|end| end["reason"] == "closed" && end["service"] == "web"), "{ends:?}");
    ensure!(ends.iter().all(|end| end["bytes"]["reply"].as_u64() > Some(100)), "{ends:?}");
    let client = stage.network.clients[0].address().to_string();
    for end in &ends {
        let snat = end["snat"].as_str().unwrap_or_default();
        let who = stage.gateway.json(&["flow", "who", snat])?;
        ensure!(who[0]["client"] == end["client"] && who[0]["closed"] == end["time"], "{who}");
        ensure!(who[0]["client"].as_str().is_some_and(|who| who.starts_with(&client)), "{who}");
    }
    // As logrotate does it.
    let old = path.with_extension("jsonl.1");
    let drained = ["backend", "drain", "udp-echo", "10.0.0.12:7000"];
    stage.gateway.cli(&drained)?;
    std::fs::rename(&path, &old)?;
    stage.gateway.process.signal(Signal::SIGUSR1)?;
    wait_for("a new file", PATIENCE, || Ok(path.exists().then_some(())))?;
    let list = stage.gateway.json(&["backend", "list", "udp-echo"])?;
    ensure!(rows(&list).iter().any(|row| row["weight"] == 0), "what was drained is back: {list}");
    std::fs::rename(&path, old.with_extension("2"))?;
    stage.gateway.cli(&["reload"])?;
    wait_for("a new file", PATIENCE, || Ok(path.exists().then_some(())))?;
    ensure!(stage.traffic(&["udp", UDP_ECHO])?["answered"] == 1, "no answer");
    let opened = wait_for("a line", PATIENCE, || Ok(lines()?.pop()))?;
    ensure!(opened["protocol"] == "udp" && opened["event"] == "open", "{opened}");
    // What the gateway still knows at its end is written, too: a connection that a removed backend loses.
    let mut held = stage.begin(&["idle", TCP_ECHO])?;
    held.wait_for_line("ready", PATIENCE)?;
    stage.gateway.cli(&["service", "remove", "tcp-echo"])?;
    let ends = wait_for("their ends", PATIENCE, || Ok(Some(closed()?).filter(|ends| !ends.is_empty())))?;
    ensure!(ends.iter().all(|end| end["reason"] == "reset_by_gateway" && end["service"] == "tcp-echo"), "{ends:?}");
    held.finish(PATIENCE).map(drop)
}

const FIRST: &str = "10.0.0.11:7001";

fn row(stage: &Stage) -> Outcome<Value> {
    let list = stage.gateway.json(&["backend", "list", "tcp-echo"])?;
    Ok(rows(&list).iter().find(|row| row["address"] == FIRST).cloned().unwrap_or_default())
}

fn knock(stage: &Stage) {
    // Half of them find nobody. The SYN is repeated after 1 s, and again after 2: by then it would be another failure.
    let _ = stage.network.client().run("curl", ["-s", "--max-time", "1.5", &format!("http://{TCP_ECHO}/")]);
}

/// The first backend's row once it is in this state.
fn wait_until(stage: &Stage, wanted: &str) -> Outcome<Value> {
    wait_for(&format!("{FIRST} {wanted}"), PATIENCE, || {
        let row = row(stage)?;
        Ok((row["state"] == wanted).then_some(row))
    })
}

/// Knocks until the first backend has failed so many times, and no more: control looks every 100 ms, and counts all that have
/// failed since. Gives its row once it has been sent to rest for the `nth` time, which is over soon if the rest is short.
fn rests_after(stage: &Stage, failures: u64, nth: u64) -> Outcome<Value> {
    let connections = || -> Outcome<u64> { Ok(row(stage)?["connections"].as_u64().unwrap_or_default()) };
    let before = connections()?;
    wait_for(&format!("{failures} connections of {FIRST}"), PATIENCE, || {
        knock(stage);
        Ok((connections()? == before + failures).then_some(()))
    })?;
    wait_for(&format!("rest {nth} of {FIRST}"), PATIENCE, || {
        let row = row(stage)?;
        Ok((row["ejections"] == nth).then_some(row))
    })
}

/// A rest that was refused so often before, in the log and, as long as it lasts, in the row.
fn refused(stage: &Stage, row: &Value, rest: &str) -> Outcome {
    let why = "2 connections in a row were refused";
    let line = format!("backend tcp-echo/{FIRST} rests for {rest}: {why}");
    ensure!(stage.gateway.process.log().contains(&line), "no {line:?} in the log");
    ensure!(row["state"] == "up" || row["resting"] == format!("{why}, for {rest}"), "{row}");
    Ok(())
}

/// A backend that refuses rests, and is tried again.
fn passive_refused(driver: Driver) -> Outcome {
    let mut stage = start(Plan::new(Arms::Two), driver, |config| {
        config.services[2].lines.push("passive = { failures = 2, ejection = \"1s\" }".into());
    })?;
    let mut echo = stage.servers.tcp_echo.remove(0);
    echo.signal(Signal::SIGKILL)?;
    echo.wait(PATIENCE)?;
    refused(&stage, &rests_after(&stage, 2, 1)?, "1s")?;
    // Its rest is over, and the next failure is enough for twice as long.
    wait_until(&stage, "up")?;
    refused(&stage, &rests_after(&stage, 1, 2)?, "2s")?;
    let task = &stage.network.nodes[0].tasks[0].namespace;
    let mut echo = start_tool(task, "tcp-echo", "0.0.0.0:7001")?;
    wait_listening(task, 7001)?;
    wait_for(&format!("a connection that {FIRST} serves"), PATIENCE, || {
        knock(&stage);
        ensure!(echo.is_running()?, "the echo server has ended: {}", echo.log());
        // After `ready` a line for each connection.
        Ok((echo.log().lines().count() > 1).then_some(()))
    })?;
    let row = row(&stage)?;
    ensure!(row["state"] == "up" && row["ejections"] == 2, "{row}");
    Ok(())
}

/// Knocks until the first backend takes connections again.
fn knock_until_up(stage: &Stage) -> Outcome {
    wait_for(&format!("{FIRST} up"), PATIENCE, || {
        knock(stage);
        Ok((row(stage)?["state"] == "up").then_some(()))
    })
}

/// One that is silent rests, too; not when it is the last.
fn passive_silent(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |config| {
        config.services[2].lines.push("passive = { failures = 2, ejection = \"5m\" }".into());
    })?;
    let tasks: Vec<_> = stage.network.nodes.iter().map(|node| &node.tasks[0].namespace).collect();
    // Nothing finds its way back from there.
    let gateway = GATEWAY_OVERLAY.to_string();
    tasks[0].run("ip", ["route", "add", "blackhole", &gateway])?;
    let row = rests_after(&stage, 2, 1)?;
    let why = "2 connections in a row were not answered, for 5m";
    ensure!(row["state"] == "resting" && row["resting"] == why, "{row}");
    tasks[1].run("ip", ["route", "add", "blackhole", &gateway])?;
    // When both fail, both are tried, long before a rest is over.
    knock_until_up(&stage)?;
    tasks[0].run("ip", ["route", "del", "blackhole", &gateway])?;
    tasks[1].run("ip", ["route", "del", "blackhole", &gateway]).map(drop)
}

/// Datagrams that each task has received, as its kernel counts them.
fn received(stage: &Stage) -> Outcome<Vec<u64>> {
    let mut counts = Vec::new();
    for node in &stage.network.nodes {
        let snmp = node.tasks[0].namespace.run("cat", ["/proc/net/snmp"])?;
        let line = snmp.lines().filter(|line| line.starts_with("Udp:")).nth(1);
        counts.push(line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0));
    }
    Ok(counts)
}

/// One socket of one client: a flow would keep it at one task.
fn one_packet(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |config| {
        config.services[1].lines.push("one_packet = true".into());
    })?;
    let report = stage.traffic(&["udp", UDP_ECHO, "--from", "1", "--to", "400"])?;
    ensure!(report["answered"] == 400 && report["retried"] == serde_json::json!([]), "{report}");
    ensure!(received(&stage)? == [200, 200], "the tasks got {:?}", received(&stage)?);
    ensure!(stage.gateway.counter("one_packet_sent")? == 400, "not counted");
    ensure!(stage.gateway.json(&["flow", "list"])?.as_array().is_some_and(Vec::is_empty), "there are flows");
    // Fragments both ways; the first that does not fit tells the client's kernel.
    let report = stage.traffic(&["udp", UDP_ECHO, "--from", "1400", "--to", "8000", "--step", "200"])?;
    ensure!(report["answered"] == 34 && report["wrong"] == serde_json::json!([]), "{report}");
    // At run time: the next fresh socket is a flow, and stays.
    stage.gateway.cli(&["service", "set", "udp-echo", "--one-packet", "false"])?;
    let before = received(&stage)?;
    let report = stage.traffic(&["udp", UDP_ECHO, "--from", "1", "--to", "50"])?;
    ensure!(report["answered"] == 50, "{report}");
    let after = received(&stage)?;
    ensure!(before[0] == after[0] || before[1] == after[1], "a flow went to {before:?} → {after:?}");
    Ok(())
}
