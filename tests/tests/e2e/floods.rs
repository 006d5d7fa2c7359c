//! Floods of SYNs from nowhere: who was there before notices nothing, who comes now gets in.

use crate::changes::rows;
use crate::runner::{Load, Scenarios};
use crate::stage::{LIMIT, Stage, TCP_ECHO, WEB, all_succeeded, finish, hash, start};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tests::clock::wait_until;
use tests::config::{Config, Driver};
use tests::namespace::Process;
use tests::network::{Arms, Plan};
use tests::{Outcome, ensure};

/// Of the gateway's interface towards clients.
const FRONT_MAC: &str = "020000000201";
/// A hundred addresses of the clients' net that nobody has.
const FORGED: &str = "198.18.2.100";
const HALF_OPEN: u64 = 200;

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("a_flood_of_syns_harms_nobody", Load::Heavy, flood_of_syns);
    scenarios.each_driver("cookies_are_plain_tcp_to_both_ends", Load::Light, always_cookies);
    scenarios.each_driver("sources_beyond_their_rate_are_held_back", Load::Light, rates);
}

fn protected(config: &mut Config, line: &str) {
    for service in &mut config.services {
        if service.name != "udp-echo" {
            service.lines.push(line.to_owned());
        }
    }
}

fn protection(stage: &Stage, service: &str) -> Outcome<Value> {
    Ok(stage.gateway.json(&["service", "show", service])?["protection"].clone())
}

fn flood(stage: &Stage, until: &Path) -> Outcome<Process> {
    let until = until.display().to_string();
    stage.begin(&["flood", WEB, "--to-mac", FRONT_MAC, "--from", FORGED, "--per-second", "2000", "--until", &until])
}

fn flood_of_syns(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |config| protected(config, &format!("half_open = {HALF_OPEN}")))?;
    let file = hash(&stage.servers.share("noise", 20_000_000)?)?;
    let until = |name: &str| stage.network.lab.dir().join(name);
    let (calm, over) = (until("calm"), until("over"));
    let words = |path: &Path| path.display().to_string();
    // Open before the flood begins: a conversation, and a download that lasts longer than it.
    let mut steady = stage.begin(&["steady", TCP_ECHO, "--until", &words(&calm)])?;
    steady.wait_for_line("ready", Duration::from_secs(10))?;
    let script = format!("set -o pipefail; curl -sS --fail --limit-rate 4M http://{WEB}/files/noise | sha256sum");
    let mut download = stage.network.client().spawn("download", "/bin/bash", ["-c", &script])?;
    wait_until("the download to begin", Duration::from_secs(10), || {
        Ok(rows(&stage.gateway.json(&["flow", "list", "--service", "web"])?)
            .iter()
            .any(|flow| flow["state"] == "ESTABLISHED"))
    })?;
    let mut flood = flood(&stage, &over)?;
    wait_until("cookies", Duration::from_secs(10), || Ok(protection(&stage, "web")?["cookies_now"] == true))?;
    // New ones meanwhile.
    for _ in 0..5 {
        stage.curl()?;
    }
    all_succeeded(&stage.traffic(&["connections", WEB, "--count", "500", "--at-once", "2"])?, 500)?;
    let new = stage.download_hash("/files/noise")?;
    ensure!(new == file, "a download that a cookie opened: {new}, not {file}");
    let old = download.finish(LIMIT)?;
    ensure!(old.starts_with(&file), "the download that was open before: {old}, not {file}");
    fs::write(&calm, "")?;
    let steady = finish(&mut steady)?;
    ensure!(steady["lost"] == 0, "the conversation: {steady}");
    fs::write(&over, "")?;
    let sent = finish(&mut flood)?;
    let found = protection(&stage, "web")?;
    ensure!(found["cookies_accepted"].as_u64() >= Some(506), "five by curl, five hundred, a download: {found}");
    ensure!(found["half_open"].as_u64() <= Some(HALF_OPEN + 20), "{found}");
    ensure!(found["cookies_sent"].as_u64() > Some(1000), "{found} of {sent}");
    let drops = stage.gateway.json(&["counters"])?["total"]["drops"].clone();
    ensure!(drops["ports_exhausted"] == 0 && drops["table_full"] == 0, "{drops}");
    stage.gateway.stop_cleanly()
}

/// Every connection of a kernel's TCP, up and down, by a cookie.
fn always_cookies(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |config| protected(config, "syn_cookies = \"always\""))?;
    let file = hash(&stage.servers.share("noise", 20_000_000)?)?;
    for _ in 0..2 {
        let got = stage.download_hash("/files/noise")?;
        ensure!(got == file, "{got}, not {file}");
    }
    let report = stage.traffic(&["connections", WEB, "--count", "500", "--at-once", "4"])?;
    all_succeeded(&report, 500)?;
    let until = stage.network.lab.dir().join("until");
    fs::write(&until, "")?;
    let steady = stage.traffic(&["steady", TCP_ECHO, "--until", &until.display().to_string()])?;
    ensure!(steady["answered"].as_u64() >= Some(10), "{steady}");
    let found = protection(&stage, "web")?;
    ensure!(found["cookies_accepted"].as_u64() >= Some(502), "{found}");
    stage.gateway.stop_cleanly()
}

fn rates(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |config| protected(config, "rate_per_source = \"2/m\""))?;
    let answered = (0..8).filter(|_| quick(&stage).is_ok()).count();
    ensure!(answered == 5, "five at once, then two a minute: {answered}");
    let found = protection(&stage, "web")?;
    ensure!(found["over_rate_per_source"].as_u64() >= Some(3), "{found}");
    stage.gateway.cli(&["service", "set", "web", "--rate-per-source", "default"])?;
    stage.curl()?;
    stage.gateway.cli(&["service", "set", "web", "--deny", "198.18.2.0/24"])?;
    ensure!(quick(&stage).is_err(), "a client that is denied");
    stage.gateway.cli(&["service", "set", "web", "--deny", "default"])?;
    stage.curl()?;
    ensure!(protection(&stage, "web")?["denied"].as_u64() > Some(0), "denied, and not counted");
    stage.gateway.stop_cleanly()
}

/// One request that does not wait for long, for nobody says no, but for long enough on a busy machine.
fn quick(stage: &Stage) -> Outcome<String> {
    stage.network.client().run("curl", ["-sS", "--max-time", "2", &format!("http://{WEB}/")])
}
