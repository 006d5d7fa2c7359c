//! The swarm with the gateway in front of it.

use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use tests::clock::wait_until;
use tests::gateway::Gateway;
use tests::namespace::{Namespace, Process};
use tests::swarm::{GATEWAY, GATEWAY_OVERLAY, Node, PATIENCE, Swarm};
use tests::{Failure, Outcome, binaries, ensure};

/// Where clients go.
pub const VIP: &str = "198.18.0.1";

/// The running scene. Fields are dropped in this order.
pub struct Stage {
    gateway: Option<Gateway>,
    pub swarm: Swarm,
}

/// A load that runs beside a scenario.
pub struct Load {
    process: Process,
    first: String,
    until: PathBuf,
}

impl Stage {
    /// Builds the swarm and starts a gateway that is no member of it.
    pub fn build() -> Outcome<Stage> {
        let mut stage = Stage { gateway: None, swarm: Swarm::build(&[])? };
        stage.stranger("af_xdp")?;
        Ok(stage)
    }

    /// The gateway on a host of its own.
    pub fn stranger(&mut self, driver: &str) -> Outcome {
        let text =
            format!("[overlay]\nvtep = \"{GATEWAY}\"\naddress = \"{GATEWAY_OVERLAY}\"\n\n{}", self.swarm_table(""));
        self.swarm.lead_client_to(GATEWAY)?;
        self.start(&self.swarm.gateway.clone(), driver, &text)
    }

    /// `[swarm]` with more lines.
    pub fn swarm_table(&self, lines: &str) -> String {
        swarm_table(&self.swarm.nodes[..1], lines)
    }

    /// What `status` says of the swarm.
    pub fn swarm_status(&self) -> Outcome<Value> {
        Ok(self.gateway()?.json(&["status"])?["swarm"].clone())
    }

    /// Starts a gateway in the place of the one that runs.
    pub fn start(&mut self, host: &Namespace, driver: &str, tables: &str) -> Outcome {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop_cleanly()?;
        }
        let name = if driver == "tun" { "sluice0" } else { "eth0" };
        let gateway = Gateway::launch_in(host, |socket| {
            let api = socket.display();
            format!(
                "[gateway]\ncpus = [0]\nflows = 100000\napi = \"{api}\"\nmetrics = \"127.0.0.1:9180\"\n\n\
                 [[interface]]\nname = {name:?}\ndriver = {driver:?}\n\n{tables}"
            )
        })?;
        self.gateway = Some(gateway.ready()?);
        Ok(())
    }

    pub fn gateway(&self) -> Outcome<&Gateway> {
        self.gateway.as_ref().ok_or_else(|| Failure::new("no gateway runs"))
    }

    /// How things stand, for the report of a failed scenario.
    pub fn describe(&self) -> String {
        let ask = |words: &[&str]| {
            let answer = self.gateway().and_then(|gateway| gateway.cli(words));
            answer.unwrap_or_else(|failure| format!("{failure:?}\n"))
        };
        let counters = ask(&["counters"]);
        let counters: Vec<_> = counters.lines().filter(|line| !line.ends_with(" 0")).collect();
        let tasks = self.swarm.docker(&["service", "ls", "-q"]).and_then(|ids| {
            let ids: Vec<_> = ids.lines().collect();
            self.swarm.docker(&[&["service", "ps"], &ids[..]].concat())
        });
        format!(
            "{}{}{}\n{}\n{}",
            ask(&["service", "list"]),
            ask(&["status"]),
            counters.join("\n"),
            tasks.unwrap_or_default(),
            self.gateway_log()
        )
    }

    /// What the gateway said so far.
    fn gateway_log(&self) -> String {
        let log = self.gateway.as_ref().map(|gateway| gateway.process.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Removes all services, starts nodes that were killed, and a gateway as at first if another one runs.
    pub fn sweep(&mut self) -> Outcome {
        let services = self.swarm.docker(&["service", "ls", "--format", "{{.Name}}"])?;
        for name in services.lines() {
            self.swarm.remove(name)?;
        }
        wait_until("an empty gateway", PATIENCE, || Ok(self.services()?.is_empty()))
    }

    /// What the gateway serves.
    pub fn services(&self) -> Outcome<Vec<Value>> {
        match self.gateway()?.json(&["service", "list"])? {
            Value::Array(services) => Ok(services),
            other => Err(Failure::new(format!("no list: {other}"))),
        }
    }

    /// The weights of a service's backends.
    pub fn weights(&self, service: &str) -> Outcome<Vec<u64>> {
        let services = self.services()?;
        let found = services.iter().find(|found| found["name"] == service);
        let backends = found.and_then(|found| found["backends"].as_array()).cloned().unwrap_or_default();
        Ok(backends.iter().filter_map(|backend| backend["weight"].as_u64()).collect())
    }

    /// Waits until a service has backends with just these weights, in any order.
    pub fn wait_for_weights(&self, service: &str, weights: &[u64]) -> Outcome {
        wait_until(&format!("weights {weights:?} of {service}"), PATIENCE, || {
            let mut now = self.weights(service)?;
            now.sort_unstable();
            Ok(now == weights)
        })
    }

    /// Requests of the client one after another, until [`Load::finish`].
    pub fn load(&self, target: &str, words: &[&str]) -> Outcome<Load> {
        let until = self.swarm.lab.dir().join(format!("stop-{}", words.join("")));
        let _ = std::fs::remove_file(&until);
        let path = until.display().to_string();
        let words = [&["requests", target, "--until", &path], words].concat();
        let mut process = self.swarm.client.spawn("requests", binaries::traffic()?, words)?;
        let line = process.wait_for_line("ready", PATIENCE)?;
        let first = line.trim_start_matches("ready").trim().to_owned();
        Ok(Load { process, first, until })
    }
}

/// `[swarm]` with these nodes as managers.
pub fn swarm_table(managers: &[Node], lines: &str) -> String {
    let endpoints: Vec<_> = managers.iter().map(Node::socket).collect();
    format!("[swarm]\nendpoints = {endpoints:?}\nvips = [{VIP:?}]\n{lines}\n")
}

impl Load {
    /// Who answered first.
    pub fn first(&self) -> &str {
        &self.first
    }

    /// Waits until another task answers the datagrams.
    pub fn moves(&mut self) -> Outcome {
        self.process.wait_for_line("moved", PATIENCE).map(drop)
    }

    /// Ends it and gives its report.
    pub fn finish(mut self) -> Outcome<Value> {
        std::fs::write(&self.until, "")?;
        let log = self.process.finish(Duration::from_secs(20))?;
        Ok(serde_json::from_str(log.lines().last().unwrap_or_default())?)
    }

    /// Ends it and demands that nothing has failed.
    pub fn finish_without_failure(self) -> Outcome<Value> {
        let report = self.finish()?;
        ensure!(report["failed"] == 0, "requests have failed: {report}");
        Ok(report)
    }
}
