//! What most scenarios start from: a network, servers in every task, the gateway running.

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::config::{Config, Driver};
use tests::gateway::{Gateway, base_config, task_service};
use tests::lab::run;
use tests::namespace::{Namespace, Process};
use tests::network::{Network, Plan};
use tests::servers::{Nginx, start_tool};
use tests::{Failure, Outcome, binaries, ensure};

/// Where clients go for HTTP, for a UDP echo, for a TCP echo.
pub const WEB: &str = "198.18.0.1:8080";
pub const UDP_ECHO: &str = "198.18.0.1:7000";
pub const TCP_ECHO: &str = "198.18.0.1:7001";

/// How long any one tool may run.
pub const LIMIT: Duration = Duration::from_mins(2);

/// The running scene. Fields are dropped in this order: the gateway first, the network last.
pub struct Stage {
    pub gateway: Gateway,
    pub servers: Servers,
    pub network: Network,
}

/// The servers of one kind in every task.
pub struct Servers {
    pub web: Vec<Nginx>,
    pub udp_echo: Vec<Process>,
    pub tcp_echo: Vec<Process>,
}

impl Servers {
    /// Starts them in these namespaces: web servers `A`, `B`, … on 8000, echo servers on 7000 and 7001.
    pub fn start<'a>(hosts: impl IntoIterator<Item = &'a Namespace>) -> Outcome<Servers> {
        let mut servers = Servers { web: Vec::new(), udp_echo: Vec::new(), tcp_echo: Vec::new() };
        for (host, name) in hosts.into_iter().zip('A'..) {
            servers.web.push(Nginx::start(host, &name.to_string(), 8000)?);
            servers.udp_echo.push(start_tool(host, "udp-echo", "0.0.0.0:7000")?);
            servers.tcp_echo.push(start_tool(host, "tcp-echo", "0.0.0.0:7001")?);
        }
        Ok(servers)
    }

    /// Puts the same file into all web servers.
    pub fn share(&self, name: &str, len_bytes: usize) -> Outcome<PathBuf> {
        let Some((first, others)) = self.web.split_first() else { return Err(Failure::new("no web server")) };
        let path = first.files.join(name);
        tests::servers::write_noise(&path, len_bytes, len_bytes as u64)?;
        for other in others {
            std::fs::hard_link(&path, other.files.join(name))?;
        }
        Ok(path)
    }
}

/// The config for a network whose tasks run [`Servers`].
pub fn config(network: &Network, driver: Driver) -> Config {
    let mut config = base_config(network, driver);
    config.services = vec![
        task_service(network, "web", "8080/tcp", 8000),
        task_service(network, "udp-echo", "7000/udp", 7000),
        task_service(network, "tcp-echo", "7001/tcp", 7001),
    ];
    config
}

/// Builds the network, starts the servers and the gateway; `change` edits the config before.
pub fn start(plan: Plan, driver: Driver, change: impl FnOnce(&mut Config)) -> Outcome<Stage> {
    let network = plan.build()?;
    let servers = Servers::start(network.nodes.iter().map(|node| &node.tasks[0].namespace))?;
    let mut config = config(&network, driver);
    change(&mut config);
    let gateway = Gateway::start(&network, &config)?;
    Ok(Stage { gateway, servers, network })
}

impl Stage {
    /// One request by curl; the answer's body.
    pub fn curl(&self) -> Outcome<String> {
        curl(self.network.client(), WEB)
    }

    /// Runs a verb of the traffic tool on the first client and reads its report.
    pub fn traffic(&self, words: &[&str]) -> Outcome<Value> {
        traffic(self.network.client(), words)
    }

    /// Starts a verb of the traffic tool on the first client, to run beside other things.
    pub fn begin(&self, words: &[&str]) -> Outcome<Process> {
        self.network.client().spawn(words[0], binaries::traffic()?, words)
    }

    /// The SHA-256 of what curl gets at this path.
    pub fn download_hash(&self, path: &str) -> Outcome<String> {
        let script = format!("set -o pipefail; curl -sS --fail --max-time 100 http://{WEB}{path} | sha256sum");
        first_word(&self.network.client().run("/bin/bash", ["-c", &script])?)
    }
}

/// One request by curl from a host.
pub fn curl(host: &Namespace, target: &str) -> Outcome<String> {
    let answer = host.run("curl", ["-sS", "--max-time", "5", &format!("http://{target}/")])?;
    Ok(answer.trim().to_owned())
}

/// Runs a verb of the traffic tool on a host and reads its report.
pub fn traffic(host: &Namespace, words: &[&str]) -> Outcome<Value> {
    report(&host.run(binaries::traffic()?, words)?)
}

/// The report that a tool printed last.
pub fn report(text: &str) -> Outcome<Value> {
    Ok(serde_json::from_str(text.lines().last().unwrap_or_default())?)
}

/// Waits for a tool that was begun, and reads its report.
pub fn finish(process: &mut Process) -> Outcome<Value> {
    report(&process.finish(LIMIT)?)
}

/// Demands that a report of `connections` knows of no failure.
pub fn all_succeeded(report: &Value, count: u64) -> Outcome {
    ensure!(report["failed"] == 0 && report["succeeded"] == count, "of {count} connections: {report}");
    Ok(())
}

/// One of the kernel's counters of a host: `Ip` and `InReceives`, for example.
pub fn kernel_count(host: &Namespace, protocol: &str, name: &str) -> Outcome<u64> {
    let tables = host.run("cat", ["/proc/net/snmp", "/proc/net/netstat"])?;
    let mut lines = tables.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let at = lines.next().and_then(|names| names.split(' ').position(|word| word == name));
    let value = at.zip(lines.next()).and_then(|(at, values)| values.split(' ').nth(at)?.parse().ok());
    value.ok_or_else(|| Failure::new(format!("no {protocol} {name} in {tables}")))
}

/// Demands that all that `ping` has asked was answered, in turn; not the last, if it was told to stop meanwhile.
pub fn all_answered(ping: &str) -> Outcome {
    let answers = ping.lines().filter(|line| line.contains(" bytes from "));
    let answered: Vec<u64> = answers.filter_map(|line| leading_number(line.split_once("icmp_seq=")?.1)).collect();
    ensure!(answered.iter().copied().eq(1..=answered.len() as u64), "answered out of turn: {ping}");
    let sent = ping.lines().find(|line| line.contains(" packets transmitted")).and_then(leading_number);
    let unanswered = sent.and_then(|sent| sent.checked_sub(answered.len() as u64));
    ensure!(!answered.is_empty() && unanswered.is_some_and(|count| count <= 1), "not all was answered: {ping}");
    Ok(())
}

fn leading_number(text: &str) -> Option<u64> {
    text.split(' ').next()?.parse().ok()
}

/// The SHA-256 of a file.
pub fn hash(path: &std::path::Path) -> Outcome<String> {
    first_word(&run(Command::new("sha256sum").arg(path).stdin(Stdio::null()))?)
}

fn first_word(text: &str) -> Outcome<String> {
    text.split_whitespace().next().map(str::to_owned).ok_or_else(|| Failure::new("no output"))
}
