//! What happens to connections when tables change under them.

use crate::runner::{Load, Scenarios};
use crate::stage::{Stage, TCP_ECHO, WEB, all_succeeded, config, curl, finish, hash, start};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::Duration;
use tests::clock::{now, wait_for, wait_until};
use tests::config::{Driver, Service};
use tests::namespace::Process;
use tests::network::{Arms, Network, Plan, VIP};
use tests::{Failure, Outcome, ensure};

/// How soon both ends of a connection must know that it is over.
const AT_ONCE: Duration = Duration::from_secs(1);

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("idle_connection_is_reset_at_both_ends", Load::Light, idle_is_reset);
    scenarios.each_driver("weight_0_lets_a_download_finish", Load::Light, weight_0);
    scenarios.each_driver("removed_backend_resets_both_ends", Load::Light, removed_mid_download);
    scenarios.each_driver("removed_service_resets_both_ends", Load::Light, service_removed_mid_download);
    scenarios.each_driver("listen_that_goes_keeps_its_connections", Load::Light, listen_changed_mid_download);
    scenarios.each_driver("other_services_come_and_go_under_load", Load::Heavy, others_come_and_go);
    scenarios.each_driver("backends_come_and_go_under_load", Load::Heavy, backends_come_and_go);
    scenarios.each_driver("drain_deadline_ends_connections", Load::Light, drain_deadline);
    scenarios.each_driver("full_and_sorry_backends", Load::Light, full_and_sorry);
    scenarios.each_driver("reload_keeps_connections", Load::Light, reload_keeps_connections);
    scenarios.each_driver("wrong_reload_changes_nothing", Load::Light, wrong_reload);
}

fn idle_is_reset(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |config| config.timeouts.push("tcp_established = \"2s\"".into()))?;
    let report = stage.traffic(&["idle", TCP_ECHO])?;
    let (ended, after_ms) = (report["ended"].to_string(), report["after_ms"].as_u64().unwrap_or(0));
    ensure!(ended.contains("reset"), "the client's end: {report}");
    ensure!((1_500..5_000).contains(&after_ms), "not when the timeout says: {report}");
    wait_until("the task's end", AT_ONCE, || {
        Ok(stage.servers.tcp_echo.iter().any(|echo| echo.log().contains("ended: Connection reset")))
    })
}

/// A download at 2 MB/s through the gateway, with the backend that serves it.
struct Download {
    process: Process,
    backend: String,
    wanted: String,
}

fn begin_download(stage: &Stage) -> Outcome<Download> {
    let wanted = hash(&stage.servers.share("slow", 16 << 20)?)?;
    let script = format!("set -o pipefail; curl -sS --fail --max-time 60 http://{WEB}/slow/slow | sha256sum");
    let process = stage.network.client().spawn("download", "/bin/bash", ["-c", &script])?;
    let backend = wait_for("the download's flow", Duration::from_secs(5), || {
        let flows = stage.gateway.json(&["flow", "list", "--service", "web"])?;
        let established = rows(&flows).iter().find(|flow| flow["state"] == "ESTABLISHED");
        Ok(established.and_then(|flow| flow["backend"].as_str()).map(str::to_owned))
    })?;
    Ok(Download { process, backend, wanted })
}

/// The rows of a listing.
pub fn rows(listing: &Value) -> &[Value] {
    let rows = listing.as_array().or_else(|| listing.as_object()?.values().find_map(Value::as_array));
    rows.map_or(&[], Vec::as_slice)
}

fn weight_0(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let mut download = begin_download(&stage)?;
    stage.gateway.cli(&["backend", "set", "web", &download.backend, "--weight", "0"])?;
    let other = if download.backend.starts_with("10.0.0.11") { "B" } else { "A" };
    wait_until("new connections elsewhere", Duration::from_secs(1), || Ok(stage.curl()? == other))?;
    for _ in 0..6 {
        ensure!(stage.curl()? == other, "a draining backend got a new connection");
    }
    ensure!(download.process.is_running()?, "the download was over too early to show anything");
    let got = download.process.finish(Duration::from_secs(30))?;
    ensure!(got.starts_with(&download.wanted), "the download was damaged: {got}");
    stage.gateway.cli(&["backend", "set", "web", &download.backend, "--weight", "1"])?;
    wait_until("the backend's return", Duration::from_secs(1), || Ok(stage.curl()? != other))
}

fn removed_mid_download(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let mut download = begin_download(&stage)?;
    stage.gateway.cli(&["backend", "remove", "web", &download.backend])?;
    both_ends_know(&stage.network, &mut download)?;
    ensure!(stage.curl()? == stage.curl()?, "the removed backend still answers");
    Ok(())
}

fn service_removed_mid_download(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let mut download = begin_download(&stage)?;
    stage.gateway.cli(&["service", "remove", "web"])?;
    both_ends_know(&stage.network, &mut download)?;
    let answer = stage.traffic(&["udp", crate::stage::UDP_ECHO])?;
    ensure!(answer["answered"] == 1, "another service went with it: {answer}");
    Ok(())
}

fn listen_changed_mid_download(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let mut download = begin_download(&stage)?;
    let elsewhere = format!("{VIP}:8088");
    stage.gateway.cli(&["service", "set", "web", "--listen", &format!("{elsewhere}/tcp")])?;
    wait_until("the new port", Duration::from_secs(1), || Ok(curl(stage.network.client(), &elsewhere).is_ok()))?;
    let refusal = stage.curl().err().map(|failure| format!("{failure:?}")).unwrap_or_default();
    // That of curl for a connection that is refused; a silent port would be 28.
    ensure!(refusal.contains("exit status: 7"), "the old port: {refusal:?}");
    ensure!(download.process.is_running()?, "the download was over too early to show anything");
    let got = download.process.finish(Duration::from_secs(30))?;
    ensure!(got.starts_with(&download.wanted), "the download was damaged: {got}");
    Ok(())
}

fn both_ends_know(network: &Network, download: &mut Download) -> Outcome {
    let start = now();
    let status = download.process.wait(AT_ONCE)?;
    ensure!(!status.success(), "the client took half a file for a whole one");
    ensure!(download.process.log().contains("reset"), "the client's end: {}", download.process.log());
    wait_until("the task's end", AT_ONCE.saturating_sub(start.elapsed()), || {
        let mut established = false;
        for node in &network.nodes {
            // Port 8000, state 01 = ESTABLISHED, in the kernel's own table.
            let table = node.tasks[0].namespace.run("cat", ["/proc/net/tcp"])?;
            established |= table.lines().any(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                words.len() > 3 && words[1].ends_with(":1F40") && words[3] == "01"
            });
        }
        Ok(!established)
    })
}

/// Publishes tables as fast as the command line can while a load runs on a service that they do not touch.
fn others_come_and_go(driver: Driver) -> Outcome {
    let plan = Plan { queues: 2, ..Plan::new(Arms::Two) };
    let stage = start(plan, driver, |config| config.cpus = vec![0, 1])?;
    let mut load = stage.begin(&["connections", WEB, "--count", "10000", "--at-once", "8"])?;
    let gateway = &stage.gateway;
    let mut rounds = 0;
    while load.is_running()? {
        gateway.cli(&["service", "add", "other", "--listen", "198.18.0.1:9090/tcp"])?;
        gateway.cli(&["backend", "add", "other", "10.0.0.11:8000", "--vtep", "198.18.1.11"])?;
        if rounds == 0 {
            // The command ends before the workers have the tables.
            wait_until("the new tables", Duration::from_secs(5), || applied(&stage))?;
            let answer = crate::stage::curl(stage.network.client(), "198.18.0.1:9090")?;
            ensure!(answer == "A", "the new service answered {answer:?}");
        }
        gateway.cli(&["service", "remove", "other"])?;
        rounds += 1;
    }
    ensure!(rounds > 3, "only {rounds} rounds while the load ran");
    let report = finish(&mut load)?;
    all_succeeded(&report, 10_000)?;
    ensure!(report["answers"]["A"] == 5000, "round robin lost its place when tables changed: {report}");
    Ok(())
}

/// Whether all workers have the newest tables.
fn applied(stage: &Stage) -> Outcome<bool> {
    let status = stage.gateway.json(&["status"])?;
    let newest = status["generation"].as_u64();
    Ok(newest.is_some() && rows(&status["workers"]).iter().all(|worker| worker["generation"].as_u64() >= newest))
}

/// A backend that is drained first can be taken away and come back without anybody noticing.
fn backends_come_and_go(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let mut load = stage.begin(&["connections", WEB, "--count", "20000", "--at-once", "8"])?;
    let mut rounds = 0;
    while load.is_running()? {
        stage.gateway.cli(&["backend", "drain", "web", "10.0.0.12:8000"])?;
        wait_until("the drained backend's connections", Duration::from_secs(5), || {
            let flows = stage.gateway.json(&["flow", "list", "--service", "web", "--limit", "1000000"])?;
            let open = |flow: &&Value| flow["backend"] == "10.0.0.12:8000" && flow["state"] == "ESTABLISHED";
            Ok(rows(&flows).iter().find(open).is_none())
        })?;
        // Connections of a few milliseconds that were in their handshake have ended by then, too.
        std::thread::sleep(Duration::from_millis(300));
        stage.gateway.cli(&["backend", "remove", "web", "10.0.0.12:8000"])?;
        stage.gateway.cli(&["backend", "add", "web", "10.0.0.12:8000", "--vtep", "198.18.1.12"])?;
        wait_until("connections to the new backend", AT_ONCE, || {
            let backends = stage.gateway.json(&["backend", "list", "web"])?;
            let is_used = |row: &Value| row["address"] == "10.0.0.12:8000" && row["connections"].as_u64() > Some(50);
            Ok(!load.is_running()? || rows(&backends).iter().any(is_used))
        })?;
        rounds += 1;
    }
    let report = finish(&mut load)?;
    all_succeeded(&report, 20_000)?;
    ensure!(rounds > 1 && report["answers"]["B"].as_u64() > Some(50), "{rounds} rounds: {report}");
    Ok(())
}

fn reload_keeps_connections(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let mut download = begin_download(&stage)?;
    let mut changed = config(&stage.network, driver);
    changed.services.push(Service::new("more", "198.18.0.1:8081/tcp", changed.services[0].backends.clone()));
    stage.gateway.reload(&changed)?;
    let answer = crate::stage::curl(stage.network.client(), "198.18.0.1:8081")?;
    ensure!(["A", "B"].contains(&answer.as_str()), "the new service answered {answer:?}");
    // And once more the way that systemd does it, back to what it was.
    let before = config(&stage.network, driver);
    std::fs::write(stage.gateway.config(), before.to_toml(stage.gateway.socket()))?;
    stage.gateway.process.signal(Signal::SIGHUP)?;
    wait_until("the service's end", Duration::from_secs(2), || {
        Ok(!stage.gateway.json(&["service", "list"])?.to_string().contains("more"))
    })?;
    ensure!(download.process.is_running()?, "the download was over too early to show anything");
    let got = download.process.finish(Duration::from_secs(30))?;
    ensure!(got.starts_with(&download.wanted), "the download was damaged: {got}");
    Ok(())
}

fn wrong_reload(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let before = stage.gateway.json(&["service", "list"])?;
    let mut wrong = config(&stage.network, driver);
    wrong.services[0].listen = "198.18.0.1:99999/tcp".into();
    let Err(failure) = stage.gateway.reload(&wrong) else {
        return Err(Failure::new("a port 99999 was accepted"));
    };
    ensure!(failure.reason().contains("99999"), "the message does not name it: {failure:?}");
    let after = stage.gateway.json(&["service", "list"])?;
    let names = |listing: &Value| rows(listing).iter().map(|row| row["name"].to_string()).collect::<Vec<_>>();
    ensure!(names(&before) == names(&after), "the services changed: {after}");
    stage.curl().map(drop)
}

/// A backend that is full passes its clients on or refuses them at once; the sorry backend waits until nobody is left.
fn full_and_sorry(driver: Driver) -> Outcome {
    let stage = start(Plan { nodes: 3, ..Plan::new(Arms::Two) }, driver, |config| {
        let web = &mut config.services[0].backends;
        for backend in &mut web[..2] {
            backend.lines.push("max_connections = 1".into());
        }
        web[2].lines.push("sorry = true".into());
    })?;
    let (mut first, mut second) = (slow_download(&stage, 100 << 20)?, slow_download(&stage, 100 << 20)?);
    wait_until("two downloads", Duration::from_secs(10), || Ok(open_flows(&stage)? == 2))?;
    let refused = stage.curl().err().map(|failure| format!("{failure:?}")).unwrap_or_default();
    ensure!(refused.contains("exit status: 7"), "not refused: {refused}");
    ensure!(stage.gateway.counter("backends_full")? > 0, "no drop was counted");
    let addresses: Vec<_> = stage.network.nodes.iter().map(|node| format!("{}:8000", node.tasks[0].address)).collect();
    for address in &addresses[..2] {
        stage.gateway.cli(&["backend", "drain", "web", address])?;
    }
    ensure!(stage.curl()? == "C", "the sorry backend does not serve");
    stage.gateway.cli(&["backend", "set", "web", &addresses[0], "--weight", "1"])?;
    ensure!(stage.curl().is_err(), "the sorry backend serves although another one stands");
    for download in [&mut first, &mut second] {
        download.signal(Signal::SIGTERM)?;
    }
    wait_until("room", Duration::from_secs(5), || Ok(stage.curl().is_ok_and(|answer| answer == "A")))
}

fn slow_download(stage: &Stage, len_bytes: usize) -> Outcome<Process> {
    if !stage.servers.web.iter().any(|web| web.files.join("slow").exists()) {
        stage.servers.share("slow", len_bytes)?;
    }
    let words = ["-sS", "--max-time", "60", "-o", "/dev/null", &format!("http://{WEB}/slow/slow")];
    stage.network.client().spawn("slow", "curl", words)
}

fn open_flows(stage: &Stage) -> Outcome<usize> {
    let flows = stage.gateway.json(&["flow", "list", "--service", "web"])?;
    Ok(rows(&flows).iter().filter(|flow| flow["state"] == "ESTABLISHED").count())
}

/// A drained backend keeps its connections until the deadline; then both ends learn that it is over.
fn drain_deadline(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |config| {
        config.services[0].lines.push("drain_deadline = \"2s\"".into());
    })?;
    let mut download = slow_download(&stage, 100 << 20)?;
    let backend = wait_for("the download's flow", Duration::from_secs(5), || {
        let flows = stage.gateway.json(&["flow", "list", "--service", "web"])?;
        let open = rows(&flows).iter().find(|flow| flow["state"] == "ESTABLISHED");
        Ok(open.and_then(|flow| flow["backend"].as_str()).map(str::to_owned))
    })?;
    let drained = now();
    stage.gateway.cli(&["backend", "drain", "web", &backend])?;
    wait_until("the end of the download", Duration::from_secs(10), || Ok(!download.is_running()?))?;
    let (lasted, log) = (drained.elapsed(), download.log());
    ensure!(log.contains("reset by peer"), "curl said: {log}");
    ensure!(lasted > Duration::from_millis(1_500), "ended before the deadline, after {lasted:?}");
    let others = (0..4).map(|_| stage.curl()).collect::<Outcome<Vec<_>>>()?;
    ensure!(others.windows(2).all(|pair| pair[0] == pair[1]), "the drained one still serves: {others:?}");
    Ok(())
}
