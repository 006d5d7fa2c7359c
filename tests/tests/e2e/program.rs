//! The program as an operator meets it: its command line, its exit codes, and what it says when something is wrong.

use crate::runner::{Load, Scenarios};
use crate::stage::{Stage, WEB, config, curl, start};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;
use std::time::Duration;
use tests::clock::{self, wait_until};
use tests::config::{Backend, Config, Driver, Service};
use tests::gateway::{Gateway, paths};
use tests::network::{Arms, Network, Plan, VIP};
use tests::servers::start_tool;
use tests::{Outcome, binaries, ensure};

/// How soon a gateway that cannot start must say so.
const GIVES_UP: Duration = Duration::from_secs(10);

pub fn add(scenarios: &mut Scenarios) {
    scenarios.once("check_finds_all_errors_at_once", Load::Light, check_finds_all_errors);
    scenarios.once("wrong_usage_is_exit_code_2", Load::Light, wrong_usage);
    scenarios.each_driver("signals_end_it_cleanly", Load::Light, signals_end_it);
    scenarios.each_driver("only_workers_run_on_their_cpus", Load::Light, only_workers);
    scenarios.each_driver("api_and_metrics_speak_http", Load::Light, api_and_metrics);
    scenarios.each_driver("health_for_a_supervisor", Load::Light, health);
    scenarios.each_driver("no_permission", Load::Light, no_permission);
    scenarios.each_driver("missing_interface_or_address", Load::Light, missing_interface_or_address);
    scenarios.each_driver("addresses_in_use", Load::Light, addresses_in_use);
    scenarios.each_driver("second_instance_is_refused", Load::Light, second_instance);
    scenarios.each_driver("stale_socket_is_replaced", Load::Light, stale_socket);
    scenarios.each_driver("unreachable_vtep_is_named", Load::Light, unreachable_vtep);
}

/// Whatever else the gateway does stays off the workers' CPUs, as long as there are others.
fn only_workers(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |config| config.cpus = vec![1])?;
    // Those that answer over HTTP are threads, too.
    stage.gateway.json(&["status"])?;
    let mut worker_cpus = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", stage.gateway.process.pid()))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        let (name, cpus) = (field("Name:"), field("Cpus_allowed_list:"));
        if name.starts_with("worker-") {
            worker_cpus.push(cpus);
        } else {
            ensure!(!cpus.split(',').any(|range| range == "1" || range.starts_with("0-")), "{name} may run on {cpus}");
        }
    }
    ensure!(worker_cpus == ["1"], "workers run on {worker_cpus:?}");
    Ok(())
}

/// Runs the program to its end in the gateway's namespace.
fn sluicegate(network: &Network, words: &[&str]) -> Outcome<Output> {
    Ok(network.gateway.command(binaries::gateway()?).args(words).output()?)
}

fn both_streams(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

const WRONG: &str = r#"[gateway]
cpus = [0]
flows = "many"

[[interface]]
name   = "eth0"
driver = "af_xpd"

[[service]]
name      = "web"
listen    = "198.18.0.1:99999/tcp"
shceduler = "rr"
[[service.backend]]
address = "10.0.0.11"
vtep    = "198.18.1.11"
"#;

fn check_finds_all_errors() -> Outcome {
    let network = Plan { nodes: 0, ..Plan::new(Arms::Two) }.build()?;
    let path = network.lab.dir().join("wrong.toml");
    fs::write(&path, WRONG)?;
    let path = path.display().to_string();
    for verb in ["check", "run"] {
        let output = sluicegate(&network, &[verb, "--config", &path])?;
        let text = both_streams(&output);
        ensure!(output.status.code() == Some(2), "{verb} ended with {}: {text}", output.status);
        // The value or key that is wrong, and its line.
        for (word, line) in [("flows", 3), ("af_xpd", 7), ("99999", 11), ("shceduler", 12)] {
            ensure!(text.contains(word), "{verb} says nothing of {word}: {text}");
            ensure!(text.contains(&format!("wrong.toml:{line}:")), "{verb} does not point at line {line}: {text}");
        }
        ensure!(text.contains("`scheduler`"), "{verb} has no idea what `shceduler` could mean: {text}");
    }
    let good = network.lab.dir().join("good.toml");
    fs::write(&good, config(&network, Driver::AfXdp).to_toml(&paths(&network).1))?;
    let output = sluicegate(&network, &["check", "--config", &good.display().to_string()])?;
    ensure!(output.status.success(), "a good config: {}", both_streams(&output));
    Ok(())
}

fn wrong_usage() -> Outcome {
    let network = Plan { nodes: 0, ..Plan::new(Arms::Two) }.build()?;
    for (words, code) in [
        (&["run"][..], 2),
        (&["no-such-verb"], 2),
        (&["run", "--config", "/nowhere/at/all.toml"], 2),
        (&["status", "--socket", "/nowhere/api.sock"], 1),
        (&["--help"], 0),
    ] {
        let output = sluicegate(&network, words)?;
        let text = both_streams(&output);
        ensure!(output.status.code() == Some(code), "{words:?} ended with {}: {text}", output.status);
        let named = words.iter().find(|word| word.starts_with('/'));
        ensure!(named.is_none_or(|path| text.contains(path)), "{words:?} does not name the file: {text}");
    }
    Ok(())
}

fn signals_end_it(driver: Driver) -> Outcome {
    let mut stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    stage.curl()?;
    let socket = stage.gateway.socket().to_owned();
    stage.gateway.process.signal(Signal::SIGINT)?;
    let status = stage.gateway.process.wait(GIVES_UP)?;
    ensure!(status.code() == Some(0), "after SIGINT it ended with {status}");
    nothing_left(&stage.network, &socket)?;
    let gateway = Gateway::start(&stage.network, &config(&stage.network, driver))?;
    stage.curl()?;
    gateway.stop_cleanly()?;
    nothing_left(&stage.network, &socket)
}

fn nothing_left(network: &Network, socket: &Path) -> Outcome {
    ensure!(!socket.exists(), "the API's socket was left behind");
    let links = network.gateway.run("ip", ["-d", "link", "show"])?;
    ensure!(!links.contains("xdp") && !links.contains("sluice0"), "a program or device was left behind: {links}");
    let routes = network.gateway.run("ip", ["route", "show", "table", "all"])?;
    ensure!(!routes.contains(&VIP.to_string()), "a route was left behind: {routes}");
    Ok(())
}

fn api_and_metrics(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |config| config.metrics = Some("127.0.0.1:9180".into()))?;
    for _ in 0..4 {
        stage.curl()?;
    }
    let (gateway, socket) = (&stage.network.gateway, stage.gateway.socket().display().to_string());
    let services = gateway.run("curl", ["-sS", "--fail", "--unix-socket", &socket, "http://localhost/v1/services"])?;
    ensure!(services.contains("\"web\"") && services.contains("10.0.0.11:8000"), "/v1/services: {services}");
    let metrics = gateway.run("curl", ["-sS", "--fail", "http://127.0.0.1:9180/metrics"])?;
    ensure!(metrics.lines().all(|line| line.starts_with('#') || line.starts_with("sluicegate_")), "{metrics}");
    for label in ["service=\"web\"", "backend=\"10.0.0.11:8000\"", "worker=\"0\"", "reason=\"", "_bytes_total"] {
        ensure!(metrics.contains(label), "no {label} in the metrics: {metrics}");
    }
    for words in
        [&["status"][..], &["service", "list"], &["service", "show", "web"], &["backend", "list"], &["counters"]]
    {
        ensure!(!stage.gateway.cli(words)?.trim().is_empty(), "{words:?} prints nothing");
        stage.gateway.json(words)?;
    }
    Ok(())
}

/// What keepalived runs: exit code 0 while the gateway can serve, 1 and soon when it cannot.
fn health(driver: Driver) -> Outcome {
    let nowhere = || Backend::new("10.0.0.77:8000", Some("203.0.113.77".into()));
    let mut stage = start(Plan::new(Arms::Two), driver, |config| {
        config.services.push(Service::new("lost", &format!("{VIP}:8099/tcp"), vec![nowhere()]));
    })?;
    let asked = |stage: &Stage| -> Outcome<(Option<i32>, String)> {
        let start = clock::now();
        let output = stage.gateway.command(&["health"])?.output()?;
        ensure!(start.elapsed() < Duration::from_secs(2), "a supervisor would not have waited");
        Ok((output.status.code(), both_streams(&output)))
    };
    let is_well = |stage: &Stage| Ok(asked(stage)? == (Some(0), "healthy\n".into()));
    wait_until("a healthy gateway", GIVES_UP, || is_well(&stage))?;
    let device = if driver == Driver::Tun { "sluice0" } else { "eth1" };
    stage.network.gateway.ip(&format!("link set {device} down"))?;
    wait_until("the fault", GIVES_UP, || {
        let (code, said) = asked(&stage)?;
        Ok(code == Some(1) && said.contains(device) && said.ends_with(" is down\n"))
    })?;
    stage.network.gateway.ip(&format!("link set {device} up"))?;
    wait_until("a healthy gateway", GIVES_UP, || is_well(&stage))?;
    stage.gateway.process.signal(Signal::SIGSTOP)?;
    let (code, said) = asked(&stage)?;
    stage.gateway.process.signal(Signal::SIGCONT)?;
    ensure!(
        code == Some(1) && said.ends_with("has not answered for 1.5 s\n"),
        "of a gateway that hangs: {code:?} {said}"
    );
    wait_until("a healthy gateway", GIVES_UP, || is_well(&stage))?;
    stage.gateway.process.signal(Signal::SIGKILL)?;
    stage.gateway.process.wait(GIVES_UP)?;
    let (code, said) = asked(&stage)?;
    ensure!(code == Some(1) && said.contains("is sluicegate running?"), "of a dead gateway: {code:?} {said}");
    Ok(())
}

/// Starts a gateway that cannot work, and gives what it says.
fn refused(network: &Network, config: &Config) -> Outcome<String> {
    let mut gateway = Gateway::launch(network, config)?;
    let status = gateway.process.wait(GIVES_UP)?;
    let log = gateway.process.log();
    ensure!(status.code() == Some(1), "it ended with {status}: {log}");
    ensure!(!log.lines().any(|line| line == "ready"), "it said that it was ready: {log}");
    ensure!(!log.contains("panicked"), "it panicked: {log}");
    Ok(log)
}

fn no_permission(driver: Driver) -> Outcome {
    let network = Plan::new(Arms::Two).build()?;
    let (path, socket) = paths(&network);
    fs::write(&path, config(&network, driver).to_toml(&socket))?;
    let program = binaries::gateway()?;
    let mut run = network.gateway.command("setpriv");
    run.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(program).arg("run").arg("--config").arg(path);
    let output = run.output()?;
    let text = both_streams(&output);
    ensure!(output.status.code() == Some(1), "it ended with {}: {text}", output.status);
    ensure!(["CAP_", "root"].iter().any(|word| text.contains(word)), "no remedy: {text}");
    nothing_left(&network, &socket)
}

fn missing_interface_or_address(driver: Driver) -> Outcome {
    let network = Plan::new(Arms::Two).build()?;
    let socket = paths(&network).1;
    let good = config(&network, driver);
    if driver == Driver::AfXdp {
        let interfaces = vec!["eth0".into(), "eth7".into()];
        let log = refused(&network, &Config { interfaces, ..good.clone() })?;
        ensure!(log.contains("eth7"), "the message does not name eth7: {log}");
        nothing_left(&network, &socket)?;
    }
    if driver == Driver::AfXdp {
        // A VTEP that is no address of this machine only earns a warning there: another host may answer ARP for it.
        return Ok(());
    }
    let overlay = good.overlay.as_ref().map(|lines| lines.replace("198.18.1.1", "198.18.1.250"));
    let log = refused(&network, &Config { overlay, ..good })?;
    ensure!(log.contains("198.18.1.250"), "the message does not name the missing VTEP address: {log}");
    nothing_left(&network, &socket)
}

fn addresses_in_use(driver: Driver) -> Outcome {
    let network = Plan::new(Arms::Two).build()?;
    let socket = paths(&network).1;
    let good = config(&network, driver);
    let metrics = start_tool(&network.gateway, "tcp-echo", "127.0.0.1:9180")?;
    let log = refused(&network, &Config { metrics: Some("127.0.0.1:9180".into()), ..good.clone() })?;
    ensure!(log.contains("127.0.0.1:9180"), "the message does not name the metrics address: {log}");
    nothing_left(&network, &socket)?;
    drop(metrics);
    if driver == Driver::Tun {
        // AF_XDP needs no socket there; it takes the frames before the kernel does.
        let _vxlan = start_tool(&network.gateway, "udp-echo", "198.18.1.1:4789")?;
        let log = refused(&network, &good)?;
        ensure!(log.contains("4789"), "the message does not name the overlay's port: {log}");
        nothing_left(&network, &socket)?;
    }
    fs::write(&socket, "precious")?;
    let log = refused(&network, &good)?;
    ensure!(log.contains("api.sock"), "the message does not name the socket's path: {log}");
    ensure!(fs::read_to_string(&socket)? == "precious", "a file that is no socket was removed");
    Ok(())
}

fn second_instance(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let log = refused(&stage.network, &config(&stage.network, driver))?;
    ensure!(log.contains("api.sock"), "the message does not name the socket: {log}");
    // Another socket, but the same queues (or TUN device).
    let (path, _) = paths(&stage.network);
    let other = stage.network.lab.dir().join("other.sock");
    fs::write(&path, config(&stage.network, driver).to_toml(&other))?;
    let output = sluicegate(&stage.network, &["run", "--config", &path.display().to_string()])?;
    ensure!(output.status.code() == Some(1), "two gateways on one interface: {}", both_streams(&output));
    ensure!(!other.exists(), "the second one left its socket behind");
    // The first one has not noticed.
    for _ in 0..10 {
        stage.curl()?;
    }
    stage.gateway.json(&["status"])?;
    stage.gateway.stop_cleanly()
}

fn stale_socket(driver: Driver) -> Outcome {
    let network = Plan::new(Arms::Two).build()?;
    let (_, socket) = paths(&network);
    // Nobody listens once the listener is dropped, but its file stays, as after a crash.
    drop(UnixListener::bind(&socket)?);
    let gateway = Gateway::start(&network, &config(&network, driver))?;
    gateway.json(&["status"])?;
    gateway.stop_cleanly()
}

/// A backend whose node cannot be reached: told, and no harm to the others.
fn unreachable_vtep(driver: Driver) -> Outcome {
    let nowhere = || Backend::new("10.0.0.77:8000", Some("203.0.113.77".into()));
    let stage = start(Plan::new(Arms::Two), driver, |config| {
        config.services.push(Service::new("lost", &format!("{VIP}:8099/tcp"), vec![nowhere()]));
    })?;
    ensure!(curl(stage.network.client(), WEB).is_ok(), "a good service suffers from an unreachable node");
    let told = stage.gateway.json(&["status"])?.to_string() + &stage.gateway.process.log();
    ensure!(told.contains("203.0.113.77"), "nobody says that the node is unreachable: {told}");
    Ok(())
}
