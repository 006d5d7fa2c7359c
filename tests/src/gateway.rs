//! The gateway under test: the real program, in its own namespace, on a config file, watched through its own API.

use crate::config::{Backend, Config, Driver, Service};
use crate::lab::run;
use crate::namespace::{Namespace, Process};
use crate::network::{GATEWAY_OVERLAY, GATEWAY_UNDERLAY, Network, VIP, VNI};
use crate::{Failure, Outcome, binaries, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// How long it may take until the first table is live.
const START: Duration = Duration::from_secs(20);
/// How long it may take to end.
const STOP: Duration = Duration::from_secs(10);

/// A running gateway; killed with -9 when dropped.
pub struct Gateway {
    /// The process.
    pub process: Process,
    namespace: Namespace,
    config: PathBuf,
    socket: PathBuf,
}

impl Gateway {
    /// Starts it and waits for its `ready`.
    ///
    /// # Errors
    /// It ends before, or never gets ready: with its log.
    pub fn start(network: &Network, config: &Config) -> Outcome<Gateway> {
        Gateway::launch(network, config)?.ready()
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// There is no such program.
    pub fn launch(network: &Network, config: &Config) -> Outcome<Gateway> {
        Gateway::launch_in(&network.gateway, |socket| config.to_toml(socket))
    }

    /// Starts it in a namespace, on a file with this text, without waiting.
    ///
    /// # Errors
    /// There is no such program.
    pub fn launch_in(namespace: &Namespace, text: impl FnOnce(&Path) -> String) -> Outcome<Gateway> {
        Gateway::launch_at(namespace, namespace.dir(), text)
    }

    /// Starts it in a namespace, with its files in this directory, without waiting.
    ///
    /// # Errors
    /// There is no such program.
    pub fn launch_at(namespace: &Namespace, dir: &Path, text: impl FnOnce(&Path) -> String) -> Outcome<Gateway> {
        let (path, socket) = (dir.join("sluicegate.toml"), dir.join("api.sock"));
        fs::write(&path, text(&socket))?;
        let args = ["run", "--config", &path.display().to_string()].map(str::to_owned);
        let process = namespace.spawn("sluicegate", binaries::gateway()?, args)?;
        Ok(Gateway { process, namespace: namespace.clone(), config: path, socket })
    }

    /// Waits for its `ready`.
    ///
    /// # Errors
    /// It ends before, or never gets ready: with its log.
    pub fn ready(mut self) -> Outcome<Gateway> {
        self.process.wait_for_line("ready", START).map_err(|failure| failure.during("starting the gateway"))?;
        Ok(self)
    }

    /// The config file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The API's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A call of the command line, `service list` for example.
    ///
    /// # Errors
    /// There is no such program.
    pub fn command(&self, words: &[&str]) -> Outcome<Command> {
        let mut command = self.namespace.command(binaries::gateway()?);
        command.args(words).arg("--socket").arg(&self.socket);
        Ok(command)
    }

    /// Runs a verb and gives what it prints.
    ///
    /// # Errors
    /// It failed.
    pub fn cli(&self, words: &[&str]) -> Outcome<String> {
        run(&mut self.command(words)?)
    }

    /// Runs a verb with `--json`.
    ///
    /// # Errors
    /// It failed or printed no JSON.
    pub fn json(&self, words: &[&str]) -> Outcome<Value> {
        let text = self.cli(&[words, &["--json"]].concat())?;
        serde_json::from_str(&text).map_err(|error| Failure::new(format!("{words:?} printed {text:?}: {error}")))
    }

    /// The number of flows in the table.
    ///
    /// # Errors
    /// The API fails.
    pub fn flow_count(&self) -> Outcome<u64> {
        let count = self.json(&["flow", "count"])?;
        find_number(&count, &["flows", "count"]).ok_or_else(|| Failure::new(format!("no number of flows in {count}")))
    }

    /// A counter in all workers together; 0 if it is not listed (drop reasons that never happened may be left out).
    ///
    /// # Errors
    /// The API fails.
    pub fn counter(&self, name: &str) -> Outcome<u64> {
        let counters = self.json(&["counters"])?;
        let total = counters.get("total").unwrap_or(&counters);
        Ok(find_number(total, &[name]).unwrap_or(0))
    }

    /// Writes another config file and tells the gateway to read it (`SIGHUP` would do as well).
    ///
    /// # Errors
    /// The gateway refused it.
    pub fn reload(&self, config: &Config) -> Outcome<String> {
        fs::write(&self.config, config.to_toml(&self.socket))?;
        self.cli(&["reload"])
    }

    /// Asks it to end, as systemd does.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(mut self) -> Outcome<ExitStatus> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(STOP)
    }

    /// Kills it with -9.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill(mut self) -> Outcome {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(STOP).map(drop)
    }

    /// Stops it and demands exit code 0.
    ///
    /// # Errors
    /// Another exit code, or no end.
    pub fn stop_cleanly(self) -> Outcome {
        let status = self.stop()?;
        ensure!(status.code() == Some(0), "after SIGTERM the gateway ended with {status}");
        Ok(())
    }
}

/// Where a gateway of this network keeps its config and its socket.
#[must_use]
pub fn paths(network: &Network) -> (PathBuf, PathBuf) {
    (network.lab.dir().join("sluicegate.toml"), network.lab.dir().join("api.sock"))
}

/// The first number below `value` whose key is one of `names`, at any depth.
#[must_use]
pub fn find_number(value: &Value, names: &[&str]) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().filter(|_| names.is_empty()),
        Value::Object(map) => {
            let direct = names.iter().find_map(|name| map.get(*name)?.as_u64());
            direct.or_else(|| map.values().find_map(|value| find_number(value, names)))
        }
        Value::Array(values) => values.iter().find_map(|value| find_number(value, names)),
        _ => None,
    }
}

/// An environment variable: `mode` of the interfaces of all scenarios over `AF_XDP` that say nothing of their own. For a run by hand.
const XDP_MODE: &str = "XDP_MODE";

/// A config for the network, without services.
#[must_use]
pub fn base_config(network: &Network, driver: Driver) -> Config {
    Config {
        driver,
        cpus: vec![0],
        flows: 200_000,
        interfaces: match driver {
            Driver::AfXdp => network.interfaces(),
            Driver::Tun => vec!["sluice0".into()],
        },
        mode: std::env::var(XDP_MODE).ok().filter(|_| driver == Driver::AfXdp),
        metrics: None,
        shortcuts: None,
        overlay: Some(format!(
            "vni     = {VNI}\nport    = 4789\nvtep    = \"{GATEWAY_UNDERLAY}\"\naddress = \"{GATEWAY_OVERLAY}/24\"\nmtu     = 1450"
        )),
        timeouts: Vec::new(),
        services: Vec::new(),
    }
}

/// The first task of every node, on this port.
#[must_use]
pub fn task_backends(network: &Network, port: u16) -> Vec<Backend> {
    let tasks = network.nodes.iter().flat_map(|node| node.tasks.iter().map(|task| (node.vtep, task.address)));
    tasks.map(|(vtep, address)| Backend::new(format!("{address}:{port}"), Some(vtep.to_string()))).collect()
}

/// A service on the VIP whose backends are all tasks.
#[must_use]
pub fn task_service(network: &Network, name: &str, listen: &str, port: u16) -> Service {
    Service::new(name, &format!("{VIP}:{listen}"), task_backends(network, port))
}
