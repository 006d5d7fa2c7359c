//! Active health checks, as an operator and as the checked servers see them.

use crate::changes::rows;
use crate::runner::{Load, Scenarios};
use crate::stage::{Stage, TCP_ECHO, UDP_ECHO, WEB, all_succeeded, finish, start};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::Duration;
use tests::clock::{now, wait_for, wait_until};
use tests::config::{Backend, Config, Driver, Service};
use tests::network::{Arms, GATEWAY_OVERLAY, Plan};
use tests::servers::{Nginx, start_tool, wait_listening};
use tests::{Outcome, ensure};

/// The settings of all checks here, quick enough for a test.
const QUICK: &str = "interval = \"200ms\"\ntimeout = \"150ms\"\nrise = 2\nfall = 3";
/// What `fall` checks may take with their jitter and the last one's timeout, and as much again for a busy machine.
const SOON: Duration = Duration::from_secs(2);
/// How long a wait may take before the test fails: the machine may have other things to do.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("check_http_status_takes_out_and_brings_back", Load::Light, http_status);
    scenarios.each_driver("check_tcp_listener_closed", Load::Light, tcp_listener);
    scenarios.each_driver("check_udp", Load::Light, udp);
    scenarios.each_driver("check_https", Load::Light, https);
    scenarios.each_driver("check_plain_backends", Load::Light, plain);
    scenarios.each_driver("check_graceful_end_fails_no_request", Load::Heavy, graceful);
    scenarios.each_driver("check_on_down_keeps_or_resets_connections", Load::Light, on_down);
    scenarios.each_driver("check_sorry_and_full_backends", Load::Light, sorry_and_full);
    scenarios.each_driver("check_survives_reload", Load::Light, reload);
}

/// The lines of a check in the config file.
fn check(lines: &str) -> String {
    format!("{lines}\n{QUICK}")
}

fn backend(stage: &Stage, service: &str, address: &str) -> Outcome<Value> {
    let list = stage.gateway.json(&["backend", "list", service])?;
    Ok(rows(&list).iter().find(|row| row["address"] == address).cloned().unwrap_or_default())
}

fn wait_state(stage: &Stage, service: &str, address: &str, wanted: &str) -> Outcome {
    wait_result(stage, service, address, wanted, |_| true)
}

/// Waits until the last check has found this, too: on a busy machine the one that decided may have found something else.
fn wait_result(stage: &Stage, service: &str, address: &str, wanted: &str, is_found: impl Fn(&str) -> bool) -> Outcome {
    let mut row = Value::Null;
    let reached = wait_until(&format!("{service}/{address} {wanted}"), PATIENCE, || {
        row = backend(stage, service, address)?;
        let (passed, result) = (&row["check"]["passed"], row["check"]["result"].as_str());
        Ok(row["state"] == wanted && *passed == (wanted == "up") && is_found(result.unwrap_or_default()))
    });
    reached.map_err(|failure| failure.during(&row.to_string()))
}

fn with_check(service: usize, lines: &'static str) -> impl FnOnce(&mut Config) {
    move |config| config.services[service].check = Some(check(lines))
}

fn http_status(driver: Driver) -> Outcome {
    let lines = "type = \"http\"\npath = \"/health\"\nhost = \"www.example.org\"\nbody = \"well\"";
    let stage = start(Plan::new(Arms::Two), driver, with_check(0, lines))?;
    let health: Vec<_> = stage.servers.web.iter().map(|web| web.files.join("../health")).collect();
    for file in &health {
        std::fs::write(file, "all is well\n")?;
    }
    for address in ["10.0.0.11:8000", "10.0.0.12:8000"] {
        wait_result(&stage, "web", address, "up", |found| found == "HTTP status 200")?;
    }
    let before = stage.gateway.process.log();
    std::fs::remove_file(&health[0])?;
    let begun = now();
    wait_result(&stage, "web", "10.0.0.11:8000", "down", |found| found == "HTTP status 503")?;
    eprintln!("down after {:?}", begun.elapsed());
    for _ in 0..6 {
        ensure!(stage.curl()? == "B", "a backend that is down got a connection");
    }
    let news = stage.gateway.process.log().split_off(before.len());
    let words = ["backend web/10.0.0.11:8000 is down: ", ", 3 of 3 checks failed, was up"];
    ensure!(news.lines().any(|line| words.iter().all(|part| line.contains(part))), "no {words:?} in the log:\n{news}");
    std::fs::write(&health[0], "all is well\n")?;
    wait_state(&stage, "web", "10.0.0.11:8000", "up")?;
    wait_until("the backend's return", Duration::from_secs(1), || Ok(stage.curl()? == "A"))?;
    // The task sees the gateway, and what is asked.
    let access = std::fs::read_to_string(stage.servers.web[0].files.join("../logs/health.log"))?;
    let wanted = format!("{GATEWAY_OVERLAY} www.example.org GET /health HTTP/1.0 200");
    ensure!(access.lines().any(|line| line == wanted), "the task saw {access}");
    ensure!(stage.gateway.counter("flows_opened")? < 20, "checks have opened flows");
    Ok(())
}

fn tcp_listener(driver: Driver) -> Outcome {
    let mut stage = start(Plan::new(Arms::Two), driver, with_check(2, "type = \"tcp\""))?;
    wait_state(&stage, "tcp-echo", "10.0.0.11:7001", "up")?;
    let mut echo = stage.servers.tcp_echo.remove(0);
    echo.signal(Signal::SIGKILL)?;
    echo.wait(PATIENCE)?;
    wait_result(&stage, "tcp-echo", "10.0.0.11:7001", "down", |found| found == "connection refused")?;
    // The other one too: nobody is left, and clients learn it at once.
    let mut echo = stage.servers.tcp_echo.remove(0);
    echo.signal(Signal::SIGKILL)?;
    echo.wait(PATIENCE)?;
    wait_state(&stage, "tcp-echo", "10.0.0.12:7001", "down")?;
    let begun = now();
    let refused = stage.network.client().run("curl", ["-sS", "--max-time", "5", &format!("http://{TCP_ECHO}/")]);
    ensure!(refused.is_err() && begun.elapsed() < SOON, "clients wait for nobody");
    ensure!(stage.gateway.process.log().contains("service tcp-echo has no backend that is up"), "not in the log");
    let task = &stage.network.nodes[1].tasks[0].namespace;
    let _echo = start_tool(task, "tcp-echo", "0.0.0.0:7001")?;
    wait_listening(task, 7001)?;
    wait_state(&stage, "tcp-echo", "10.0.0.12:7001", "up")
}

fn udp(driver: Driver) -> Outcome {
    let lines = "type = \"udp\"\nsend = 'are you \\x41live?'\nexpect = \"Alive\"";
    let mut stage = start(Plan::new(Arms::Two), driver, with_check(1, lines))?;
    wait_state(&stage, "udp-echo", "10.0.0.11:7000", "up")?;
    let mut echo = stage.servers.udp_echo.remove(0);
    echo.signal(Signal::SIGKILL)?;
    echo.wait(PATIENCE)?;
    wait_result(&stage, "udp-echo", "10.0.0.11:7000", "down", |found| found == "ICMP port unreachable")?;
    let answer = stage.traffic(&["udp", UDP_ECHO])?;
    ensure!(answer["answered"] == 1, "{answer}");
    Ok(())
}

/// A certificate that nobody signed will do; a port without TLS will not.
fn https(driver: Driver) -> Outcome {
    let network = Plan::new(Arms::Two).build()?;
    let task = |n: usize| &network.nodes[n].tasks[0].namespace;
    let _servers = [Nginx::start_tls(task(0), "A", 8000)?, Nginx::start(task(1), "B", 8001)?];
    let mut config = tests::gateway::base_config(&network, driver);
    let mut web = tests::gateway::task_service(&network, "web", "8443/tcp", 8001);
    web.check = Some(check("type = \"https\"\nhost = \"www.example.org\"\nbody = \"A\""));
    config.services = vec![web];
    let gateway = tests::gateway::Gateway::start(&network, &config)?;
    let stage = Stage { gateway, servers: crate::stage::Servers::start([])?, network };
    wait_result(&stage, "web", "10.0.0.11:8001", "up", |found| found == "HTTP status 200")?;
    wait_result(&stage, "web", "10.0.0.12:8001", "down", |found| found.starts_with("TLS: "))
}

/// Another port than that of the clients, and another protocol.
fn plain(driver: Driver) -> Outcome {
    let plan = Plan { plain: 1, ..Plan::new(Arms::Two) };
    let network = plan.build()?;
    let host = &network.plain[0].namespace;
    let _web = Nginx::start(host, "P", 8000)?;
    let mut echo = start_tool(host, "udp-echo", "0.0.0.0:7000")?;
    let backend = |port: u16| vec![Backend::new(format!("198.18.1.31:{port}"), None)];
    let mut config = tests::gateway::base_config(&network, driver);
    let mut web = Service::new("web", "198.18.0.1:8080/tcp", backend(8000));
    web.check = Some(check("type = \"udp\"\nport = 7000\nsend = \"x\""));
    let mut names = Service::new("names", "198.18.0.1:7000/udp", backend(7000));
    names.check = Some(check("type = \"http\"\nport = 8000\nstatus = 200"));
    config.services = vec![web, names];
    let gateway = tests::gateway::Gateway::start(&network, &config)?;
    let stage = Stage { gateway, servers: crate::stage::Servers::start([])?, network };
    wait_state(&stage, "web", "198.18.1.31:8000", "up")?;
    wait_state(&stage, "names", "198.18.1.31:7000", "up")?;
    ensure!(stage.curl()? == "P", "the service does not answer");
    echo.signal(Signal::SIGKILL)?;
    echo.wait(PATIENCE)?;
    // Over TUN the kernel keeps ICMP for itself.
    let why = if driver == Driver::Tun { "no answer within 150ms" } else { "ICMP port unreachable" };
    wait_result(&stage, "web", "198.18.1.31:8000", "down", |found| found == why)
}

/// A server that says it is about to go, and then goes, costs no request.
fn graceful(driver: Driver) -> Outcome {
    let mut stage = start(Plan::new(Arms::Two), driver, with_check(0, "type = \"http\"\npath = \"/health\""))?;
    for web in &stage.servers.web {
        std::fs::write(web.files.join("../health"), "well\n")?;
    }
    wait_state(&stage, "web", "10.0.0.11:8000", "up")?;
    wait_state(&stage, "web", "10.0.0.12:8000", "up")?;
    // On a fast machine about 9,000 a second: enough for several seconds.
    let mut load = stage.begin(&["connections", WEB, "--count", "60000", "--at-once", "8"])?;
    std::fs::remove_file(stage.servers.web[0].files.join("../health"))?;
    wait_state(&stage, "web", "10.0.0.11:8000", "down")?;
    ensure!(load.is_running()?, "the load was over too early to show anything");
    // Connections of a few milliseconds that were in their handshake have ended by then.
    std::thread::sleep(Duration::from_millis(300));
    // Killed, the master would leave its worker behind, listening.
    let mut web = stage.servers.web.remove(0);
    web.process.signal(Signal::SIGTERM)?;
    web.process.wait(PATIENCE)?;
    all_succeeded(&finish(&mut load)?, 60_000)
}

/// TCP echo, where the web server beside it says how it is.
const BESIDE: &str = "type = \"http\"\nport = 8000\npath = \"/health\"";

/// The web servers say that all is well.
fn all_well(stage: &Stage) -> Outcome<Vec<std::path::PathBuf>> {
    let health: Vec<_> = stage.servers.web.iter().map(|web| web.files.join("../health")).collect();
    for file in &health {
        std::fs::write(file, "well\n")?;
    }
    for address in ["10.0.0.11:7001", "10.0.0.12:7001"] {
        wait_state(stage, "tcp-echo", address, "up")?;
    }
    Ok(health)
}

fn open_at(stage: &Stage, address: &str) -> Outcome<bool> {
    Ok(backend(stage, "tcp-echo", address)?["active_connections"] == 1)
}

/// Two connections, one to each; the backend of one goes down, though its server lives.
fn on_down(driver: Driver) -> Outcome {
    for (word, stays) in [("keep", true), ("reset", false)] {
        let stage = start(Plan::new(Arms::Two), driver, |config| {
            config.services[2].check = Some(check(BESIDE));
            config.services[2].lines.push(format!("on_down = \"{word}\""));
        })?;
        let health = all_well(&stage)?;
        let mut first = stage.begin(&["idle", TCP_ECHO])?;
        wait_until("a connection", PATIENCE, || {
            Ok(open_at(&stage, "10.0.0.11:7001")? || open_at(&stage, "10.0.0.12:7001")?)
        })?;
        let down = usize::from(!open_at(&stage, "10.0.0.11:7001")?);
        std::fs::remove_file(&health[down])?;
        wait_state(&stage, "tcp-echo", ["10.0.0.11:7001", "10.0.0.12:7001"][down], "down")?;
        if stays {
            // A reset would come with the new tables, at once.
            std::thread::sleep(Duration::from_millis(500));
            ensure!(first.is_running()?, "the connection was ended: {}", first.log());
        } else {
            let report = finish(&mut first)?;
            ensure!(report.to_string().contains("reset"), "{report}");
        }
    }
    Ok(())
}

/// What is down has no room, and what is full is not down: the sorry backend serves only when all others are down.
fn sorry_and_full(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |config| {
        config.services[2].check = Some(check(BESIDE));
        config.services[2].backends[0].lines.push("max_connections = 1".into());
        config.services[2].backends[1].lines.push("sorry = true".into());
    })?;
    let health: Vec<_> = stage.servers.web.iter().map(|web| web.files.join("../health")).collect();
    for file in &health {
        std::fs::write(file, "well\n")?;
    }
    wait_state(&stage, "tcp-echo", "10.0.0.11:7001", "up")?;
    wait_for("the sorry backend's check", PATIENCE, || {
        let row = backend(&stage, "tcp-echo", "10.0.0.12:7001")?;
        Ok((row["state"] == "sorry" && row["check"]["passed"] == true).then_some(()))
    })?;
    let _held = stage.begin(&["idle", TCP_ECHO])?;
    wait_until("a connection", PATIENCE, || open_at(&stage, "10.0.0.11:7001"))?;
    // Full: refused at once, for there will be room again. (7) is what curl says when it cannot connect.
    let refused = stage.network.client().run("curl", ["-sS", "--max-time", "5", &format!("http://{TCP_ECHO}/")]);
    ensure!(refused.is_err_and(|why| format!("{why:?}").contains("(7)")), "somebody served it");
    std::fs::remove_file(&health[0])?;
    wait_state(&stage, "tcp-echo", "10.0.0.11:7001", "down")?;
    let _other = stage.begin(&["idle", TCP_ECHO])?;
    wait_until("a connection to the sorry backend", PATIENCE, || open_at(&stage, "10.0.0.12:7001"))?;
    // One that is down does not even say sorry.
    std::fs::remove_file(&health[1])?;
    wait_state(&stage, "tcp-echo", "10.0.0.12:7001", "down")?;
    let refused = stage.network.client().run("curl", ["-sS", "--max-time", "5", &format!("http://{TCP_ECHO}/")]);
    ensure!(refused.is_err_and(|why| format!("{why:?}").contains("(7)")), "somebody served it");
    Ok(())
}

fn shown_state(stage: &Stage) -> Outcome<Value> {
    Ok(backend(stage, "tcp-echo", "10.0.0.11:7001")?["state"].clone())
}

/// What stands keeps its state; without a check all are up.
fn reload(driver: Driver) -> Outcome {
    let mut stage = start(Plan::new(Arms::Two), driver, with_check(2, "type = \"tcp\""))?;
    let mut echo = stage.servers.tcp_echo.remove(0);
    echo.signal(Signal::SIGKILL)?;
    echo.wait(PATIENCE)?;
    wait_state(&stage, "tcp-echo", "10.0.0.11:7001", "down")?;
    let mut config = crate::stage::config(&stage.network, driver);
    with_check(2, "type = \"tcp\"")(&mut config);
    config.services[0].backends.pop();
    stage.gateway.reload(&config)?;
    ensure!(shown_state(&stage)? == "down", "a reload forgot the state");
    config.services[2].check = Some("type = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"500ms\"".into());
    stage.gateway.reload(&config)?;
    ensure!(shown_state(&stage)? == "down", "other settings made it flap");
    stage.gateway.cli(&["service", "set", "tcp-echo", "--no-check"])?;
    ensure!(shown_state(&stage)? == "up", "without a check it is up");
    stage.gateway.cli(&["service", "set", "tcp-echo", "--check", "tcp", "--check-interval", "100ms"])?;
    wait_state(&stage, "tcp-echo", "10.0.0.11:7001", "down")?;
    wait_until("what it found, and how long it took", PATIENCE, || {
        Ok(stage.gateway.cli(&["backend", "list", "tcp-echo"])?.contains("connection refused in "))
    })
}
