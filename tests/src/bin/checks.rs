//! `make bench-checks`: what active health checks of a thousand backends cost the gateway, in percent of a core. `checks http`
//! measures this kind alone, for a profiler to look at.
//!
//! A thousand overlay addresses in one namespace, one nginx and one UDP echo behind all of them, the real gateway before it. Processor time
//! is that of the gateway's threads: control, *checks*, the worker, which on veth also carries what the kernel does
//! with the packets that it sends. Kinds of checks take turns, so that what else the machine does falls on all of them.
#![forbid(unsafe_code)]

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use tests::clock::{now, wait_until};
use tests::config::{Config, Driver};
use tests::gateway::{Gateway, base_config};
use tests::lab::run;
use tests::namespace::Process;
use tests::network::{Arms, Network, Plan};
use tests::node::docker_mac;
use tests::servers::{Nginx, start_tool};
use tests::{Failure, Outcome, ensure};

const BACKENDS: u32 = 1000;
const ROUNDS: usize = 3;
const MEASURED: Duration = Duration::from_secs(10);
/// How long until all backends have been checked.
const PATIENCE: Duration = Duration::from_mins(1);
/// Processor time in `/proc` counts these: `USER_HZ`, the same on all of Linux's common machines.
const TICKS_PER_SECOND: f64 = 100.0;

/// A kind of check: its name, what the service speaks, its lines, whether its backends answer.
struct Kind(&'static str, &'static str, &'static str, bool);

const KINDS: &[Kind] = &[
    Kind("none", "tcp", "", true),
    Kind("tcp", "tcp", "type = \"tcp\"", true),
    Kind("http", "tcp", "type = \"http\"", true),
    Kind("https", "tcp", "type = \"https\"\nport = 8001", true),
    Kind("udp", "udp", "type = \"udp\"\nport = 7002\nsend = 'ping'\nexpect = 'ping'", true),
    Kind("tcp, nobody answers", "tcp", "type = \"tcp\"\nport = 9", false),
];

/// Percent of a core, by thread.
type Sample = BTreeMap<String, f64>;

fn main() -> ExitCode {
    match measure_all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nchecks: FAILED: {failure:?}\n{}", tests::lab::last_logs());
            ExitCode::FAILURE
        }
    }
}

fn measure_all() -> Outcome {
    let network = Plan { nodes: 1, ..Plan::new(Arms::Two) }.build()?;
    let _servers = serve(&network)?;
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); KINDS.len()];
    let only = std::env::args().nth(1);
    for round in 0..ROUNDS {
        for (kind @ Kind(name, ..), samples) in KINDS.iter().zip(&mut samples) {
            if only.as_ref().is_some_and(|only| only != name) {
                continue;
            }
            let sample = measure(&network, kind).map_err(|failure| failure.during(name))?;
            println!("round {round}: {name}: {:.1} % of a core {sample:.1?}", sample.values().sum::<f64>());
            samples.push(sample);
        }
    }
    if only.is_some() {
        return Ok(());
    }
    let page = page(&samples)?;
    println!("\n{page}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench/checks.md");
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    fs::write(path, page)?;
    Ok(())
}

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 4, 0).to_bits() + n)
}

/// The addresses, and what answers there.
fn serve(network: &Network) -> Outcome<(Nginx, Process)> {
    let task = &network.nodes[0].tasks[0].namespace;
    let mut lines = String::new();
    for n in 0..BACKENDS {
        writeln!(lines, "addr add {}/16 dev eth0", address(n)).map_err(|error| Failure::new(error.to_string()))?;
    }
    task.ip(&lines)?;
    Ok((Nginx::start_tls(task, "A", 8000)?, start_tool(task, "udp-echo-everywhere", "7002")?))
}

fn config(network: &Network, Kind(_, protocol, lines, answered): &Kind, socket: &Path) -> String {
    let base = Config { services: Vec::new(), ..base_config(network, Driver::AfXdp) };
    let mut text = base.to_toml(socket).replace("10.0.0.3/24", "10.0.0.3/16");
    text += "\n[[service]]\nname = \"web\"\n";
    text += &["listen = \"198.18.0.1:8080/", protocol, "\"\n"].concat();
    if !lines.is_empty() {
        text += "[service.check]\ninterval = \"2s\"\ntimeout = \"1s\"\n";
        text += lines;
        text += "\n";
    }
    let mac = docker_mac(network.nodes[0].tasks[0].address);
    // Frames for nobody's MAC address are lost in the bridge.
    let mac = if *answered { mac } else { "02:00:00:00:00:99".to_owned() };
    let vtep = network.nodes[0].vtep;
    let backend =
        |n| format!("[[service.backend]]\naddress = \"{}:8000\"\nvtep = \"{vtep}\"\nmac = \"{mac}\"\n", address(n));
    text.extend((0..BACKENDS).map(backend));
    text
}

fn measure(network: &Network, kind: &Kind) -> Outcome<Sample> {
    let Kind(_, _, lines, answered) = *kind;
    let gateway = Gateway::launch_in(&network.gateway, |socket| config(network, kind, socket))?.ready()?;
    if !lines.is_empty() {
        wait_until("all backends checked", PATIENCE, || {
            std::thread::sleep(Duration::from_millis(500));
            let list = gateway.json(&["backend", "list", "web"])?;
            let state = if answered { "up" } else { "down" };
            let is_checked = |row: &Value| row["state"] == state && row["check"]["passed"] == answered;
            Ok(list.as_array().is_some_and(|rows| rows.iter().all(is_checked)))
        })?;
    }
    let before = (now(), cpu_seconds(gateway.process.pid())?, checks(&gateway)?);
    std::thread::sleep(MEASURED);
    let after = (now(), cpu_seconds(gateway.process.pid())?, checks(&gateway)?);
    let seconds = (after.0 - before.0).as_secs_f64();
    if !lines.is_empty() {
        let rate = (after.2 - before.2) / seconds;
        ensure!((450.0..550.0).contains(&rate), "{rate:.0} checks a second instead of 500");
    }
    let used = |(name, ticks): (&String, &f64)| {
        (name.clone(), 100.0 * (ticks - before.1.get(name).copied().unwrap_or(0.0)) / seconds)
    };
    let sample = after.1.iter().map(used).collect();
    gateway.stop_cleanly()?;
    Ok(sample)
}

/// Checks that have ended so far.
fn checks(gateway: &Gateway) -> Outcome<f64> {
    let list = gateway.json(&["backend", "list", "web"])?;
    let count = |row: &Value, key: &str| row["check"][key].as_f64().unwrap_or(0.0);
    let rows = list.as_array().map_or(&[][..], Vec::as_slice);
    Ok(rows.iter().map(|row| count(row, "passed_total") + count(row, "failed_total")).sum())
}

/// Processor time of each thread, its own and the kernel's for it, by name.
fn cpu_seconds(pid: u32) -> Outcome<BTreeMap<String, f64>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path: PathBuf = entry?.path();
        let stat = fs::read_to_string(path.join("stat"))?;
        let (head, tail) = stat.rsplit_once(')').ok_or_else(|| Failure::new(stat.clone()))?;
        let name = head.split_once('(').map_or("?", |(_, name)| name).to_owned();
        let ticks = |place| tail.split_whitespace().nth(place).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
        // utime and stime are the words 14 and 15, of which two stand before the name's end.
        *all.entry(format!("{name}, user")).or_insert(0.0) += ticks(11) / TICKS_PER_SECOND;
        *all.entry(format!("{name}, kernel")).or_insert(0.0) += ticks(12) / TICKS_PER_SECOND;
    }
    Ok(all)
}

fn page(samples: &[Vec<Sample>]) -> Outcome<String> {
    let text = |command: &mut Command| run(command).map(|text| text.trim().to_owned());
    let date = text(Command::new("date").arg("+%Y-%m-%d"))?;
    let commit = text(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]))?;
    let mut page = format!(
        "Made by `make bench-checks`, {date}, commit {commit}: {BACKENDS} backends, one check every 2 s each, {ROUNDS} rounds of {} s, \
         median (lowest to highest), percent of a core.\n\n| check | all | checks | worker: own | worker: kernel | control |\n|---|---|---|---|---|---|\n",
        MEASURED.as_secs()
    );
    let row = |(Kind(name, ..), rounds): (&Kind, &Vec<Sample>)| {
        let part = |part: &str, sample: &Sample| -> f64 {
            sample.iter().filter(|(name, _)| name.starts_with(part)).map(|(_, used)| *used).sum()
        };
        let thread = |name: &str| range(rounds.iter().map(|sample| part(name, sample)).collect());
        let all = range(rounds.iter().map(|sample| sample.values().sum()).collect());
        let cells = [all, thread("checks"), thread("worker-0, user"), thread("worker-0, kernel"), thread("sluicegate")];
        format!("| {name} | {} |\n", cells.join(" | "))
    };
    page.extend(KINDS.iter().zip(samples).map(row));
    Ok(page)
}

fn range(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    // The sum of no values at all is -0.0.
    let at = |place: usize| values.get(place).copied().unwrap_or(0.0) + 0.0;
    format!("{:.1} ({:.1} to {:.1})", at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}
