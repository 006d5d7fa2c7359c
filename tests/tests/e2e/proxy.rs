//! The PROXY protocol, as nginx reads it.

use crate::runner::{Load, Scenarios};
use crate::stage::{Servers, Stage, UDP_ECHO, WEB, all_succeeded, hash, start};
use std::time::Duration;
use tests::clock::{wait_for, wait_until};
use tests::config::{Driver, Service};
use tests::gateway::{Gateway, base_config, task_service};
use tests::network::{Arms, Plan};
use tests::servers::Nginx;
use tests::{Failure, Outcome, ensure, six};

const WEB6: &str = "[2001:db8::1]:8080";
/// Where nginx expects a header.
const PORT: u16 = 8001;
const HEADER_LEN: usize = 28;
const SOME_BYTES: usize = 1 << 20;

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("proxy_header_names_the_client", Load::Light, names_the_client);
    scenarios.each_driver("proxy_header_over_a_lossy_way", Load::Heavy, lossy);
    scenarios.each_driver("proxy_header_in_front_of_the_first_datagram", Load::Light, datagrams);
}

fn proxied(driver: Driver, check: Option<&str>) -> Outcome<Stage> {
    let network = Plan::new(Arms::Two).build()?;
    six::enable(&network)?;
    let mut servers = Servers::start([])?;
    for (node, name) in network.nodes.iter().zip(["A", "B"]) {
        servers.web.push(Nginx::start_proxied(&node.tasks[0].namespace, name, PORT - 1)?);
    }
    let mut config = base_config(&network, driver);
    let mut web = task_service(&network, "web", "8080/tcp", PORT);
    web.lines = vec!["proxy_protocol = true".to_owned()];
    web.check = check.map(str::to_owned);
    let web6 = Service { name: "web6".to_owned(), listen: format!("{WEB6}/tcp"), check: None, ..web.clone() };
    config.services = vec![web, web6];
    let gateway = Gateway::start(&network, &config)?;
    Ok(Stage { gateway, servers, network })
}

/// What nginx was told, and what it should have been told.
fn ask(stage: &Stage, target: &str) -> Outcome<(String, String)> {
    let url = format!("http://{target}/proxied");
    let format = "%{local_ip}:%{local_port} %{remote_ip}:%{remote_port}";
    let said = stage.network.client().run("curl", ["-sS", "--fail", "--max-time", "20", "-w", format, &url])?;
    let (told, true_one) = said.split_once('\n').ok_or_else(|| Failure::new(format!("nginx said {said:?}")))?;
    Ok((told.to_owned(), true_one.to_owned()))
}

fn names_the_client(driver: Driver) -> Outcome {
    let check = "type = \"http\"\ninterval = \"200ms\"\ntimeout = \"150ms\"\nrise = 1\nfall = 2";
    let stage = proxied(driver, Some(check))?;
    for target in [WEB; 10].into_iter().chain([WEB6; 10]) {
        let (told, true_one) = ask(&stage, target)?;
        ensure!(told == true_one, "nginx was told {told}, it is {true_one}");
    }
    for web in &stage.servers.web {
        // Written after the answer.
        let log = wait_for("ten lines in nginx' log", Duration::from_secs(10), || {
            let log = std::fs::read_to_string(web.files.join("../logs/proxied.log"))?;
            Ok((log.matches('\n').count() >= 10).then_some(log))
        })?;
        let clients: Vec<_> = log.lines().collect();
        let (four, six) = clients.split_at(clients.len().min(5));
        ensure!(four == ["198.18.2.10"; 5], "nginx has logged {clients:?}");
        ensure!(six.len() == 5 && six.iter().all(|client| client.starts_with("2001:db8:")), "{clients:?}");
    }
    // Checks are greeted, too, or nginx would close them; and theirs is nobody's connection.
    wait_until("all backends up by their checks", Duration::from_secs(10), || {
        let list = stage.gateway.json(&["backend", "list", "web"])?;
        let rows = list.as_array().cloned().unwrap_or_default();
        Ok(rows.len() == 2 && rows.iter().all(|row| row["check"]["passed"] == true && row["state"] == "up"))
    })?;
    let load = stage.traffic(&["connections", WEB, "--count", "1000", "--at-once", "20"])?;
    all_succeeded(&load, 1000)?;
    let headers = stage.gateway.counter("proxy_headers")?;
    ensure!(headers == 1020, "{headers} headers for 1020 connections");
    let file = stage.servers.share("some", SOME_BYTES)?;
    ensure!(stage.download_hash("/files/some")? == hash(&file)?, "another file arrived");
    stage.gateway.stop_cleanly()
}

/// One packet in twenty that a task gets or sends is lost.
fn lossy(driver: Driver) -> Outcome {
    let stage = proxied(driver, None)?;
    let file = stage.servers.share("some", SOME_BYTES)?;
    let rules = "add table ip loss
add chain ip loss in { type filter hook input priority 0; }
add chain ip loss out { type filter hook output priority 0; }
add rule ip loss in tcp dport 8001 numgen random mod 20 < 1 drop
add rule ip loss out tcp sport 8001 numgen random mod 20 < 1 drop";
    for node in &stage.network.nodes {
        for rule in rules.lines() {
            node.tasks[0].namespace.run("nft", [rule])?;
        }
    }
    let load = stage.traffic(&["connections", WEB, "--count", "200", "--at-once", "50", "--path", "/proxied"])?;
    // Three SYNs in a row may be lost, and then the time is up; what is answered must be right.
    ensure!(load["failed"].as_u64().is_some_and(|failed| failed <= 10), "{load}");
    let answers = load["answers"].as_object().map(serde_json::Map::len).unwrap_or_default() as u64;
    ensure!(load["succeeded"] == answers, "two connections were said to be the same one: {load}");
    for _ in 0..5 {
        let (told, true_one) = ask(&stage, WEB)?;
        ensure!(told == true_one, "nginx was told {told}, it is {true_one}");
    }
    ensure!(stage.download_hash("/files/some")? == hash(&file)?, "another file arrived");
    let repeated = stage.gateway.counter("proxy_headers_repeated")?;
    ensure!(repeated > 0, "no header was ever lost");
    stage.gateway.stop_cleanly()
}

fn datagrams(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |config| {
        config.services[1].lines = vec!["proxy_protocol = true".to_owned()];
    })?;
    let (host, port) = UDP_ECHO.split_once(':').unwrap_or_default();
    // Two datagrams of one socket; the task sends back what it gets.
    let script = format!(
        "exec 3<>/dev/udp/{host}/{port}; printf first >&3; timeout 5 dd bs=100 count=1 status=none <&3 | od -An -v -tx1; \
         printf second >&3; timeout 5 dd bs=100 count=1 status=none <&3 | od -An -v -tx1"
    );
    let said = stage.network.client().run("/bin/bash", ["-c", &script])?;
    let bytes: Vec<u8> = said.split_whitespace().filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    ensure!(bytes.len() == HEADER_LEN + 5 + 6, "the task has got {said}");
    let (header, rest) = bytes.split_at(HEADER_LEN);
    ensure!(header[..16] == *b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c", "no header: {said}");
    ensure!(header[16..24] == [198, 18, 2, 10, 198, 18, 0, 1], "another client: {said}");
    ensure!(header[26..] == 7000_u16.to_be_bytes() && rest == b"firstsecond", "{said}");
    ensure!(stage.gateway.counter("proxy_headers")? == 1, "not one header");
    Ok(())
}
