//! How much of the driver's speed the gateway leaves: Sluicegate and the bare forwarder take turns on the same two veths, under the
//! same load.
//!
//! ```text
//! generator: clients ══ eth0 contestant eth1 ══ tasks :generator
//! ```

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ::tests::config::{Backend, Config, Driver, Service};
use ::tests::lab::{Lab, run};
use ::tests::namespace::{Namespace, Process};
use ::tests::{Failure, Outcome, binaries, ensure};

use super::gateway::services;
use super::network::{
    CLIENT_MAC, GATEWAY_FRONT, GATEWAY_MACS, GATEWAY_OVERLAY, GATEWAY_VTEP, NODE_MACS, TASKS, TUNNEL_PORT, VIP, VNI,
    VTEPS,
};
use super::profile::{Profile, Stream};
use super::report::Report;

const START: Duration = Duration::from_secs(20);
/// Room for a full packet in a tunnel.
const MTU: u16 = 1600;

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// The gateway.
    Sluicegate,
    /// The bare forwarder.
    Bare,
}

/// What one measurement gave.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Packets a second that the far end saw.
    pub rate: f64,
    /// Packets a second that were sent.
    pub offered: f64,
    /// CPU time of the contestant for each packet that it forwarded, kernel work on its behalf included, in nanoseconds.
    pub cpu_nanos: f64,
    /// Busy part of the contestant's CPU, 0 to 1.
    pub busy: f64,
    /// Median latency in nanoseconds.
    pub p50: u64,
}

/// The two namespaces and their cables.
pub struct Bench {
    lab: Lab,
    gateway: Namespace,
    outside: Namespace,
    generator: PathBuf,
}

impl Bench {
    /// Lays the cables.
    ///
    /// # Errors
    /// Not root, or a step that the kernel refused.
    pub fn build() -> Outcome<Bench> {
        let lab = Lab::new()?;
        let (gateway, outside) = (lab.namespace("gw")?, lab.namespace("gen")?);
        for namespace in [&gateway, &outside] {
            namespace.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
            namespace.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        }
        for (near, far) in [("eth0", "clients"), ("eth1", "tasks")] {
            cable((&gateway, near), (&outside, far))?;
        }
        let [front, back] = GATEWAY_MACS;
        gateway.ip(&format!(
            "link set eth0 address {front} mtu {MTU} up\naddr add {GATEWAY_FRONT}/24 dev eth0\n\
             link set eth1 address {back} mtu {MTU} up\naddr add {GATEWAY_VTEP}/24 dev eth1\n\
             neigh replace {} dev eth1 lladdr {} nud permanent\nneigh replace {} dev eth1 lladdr {} nud permanent",
            VTEPS[0], NODE_MACS[0], VTEPS[1], NODE_MACS[1]
        ))?;
        outside.ip(&format!(
            "link set clients address {CLIENT_MAC} mtu {MTU} up\nlink set tasks address {} mtu {MTU} up",
            NODE_MACS[0]
        ))?;
        let this = std::env::current_exe()?;
        let generator = this.with_file_name("generator");
        ensure!(generator.is_file(), "no program `generator` near {}", this.display());
        Ok(Bench { lab, gateway, outside, generator })
    }

    /// Starts a contestant on these CPUs, with services for the profile.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(&self, contestant: Contestant, profile: &Profile, cpus: &[usize]) -> Outcome<Process> {
        let cpu = cpus.first().copied().unwrap_or(0).to_string();
        let path = self.lab.dir().join("sluicegate.toml");
        let mut process = match contestant {
            Contestant::Bare => {
                self.gateway.spawn("forward", &self.generator, ["forward", "eth0", "eth1", "--cpu", &cpu])?
            }
            Contestant::Sluicegate => {
                fs::write(&path, config(profile, cpus).to_toml(&self.lab.dir().join("api.sock")))?;
                let args = [OsStr::new("run"), "--config".as_ref(), path.as_ref()];
                self.gateway.spawn("sluicegate", binaries::gateway()?, args)?
            }
        };
        process.wait_for_line("ready", START)?;
        Ok(process)
    }

    /// Sends the profile, `scale` times as fast as it says, through the contestant.
    ///
    /// # Errors
    /// The generator failed.
    pub fn measure(&self, process: &Process, profile: &Profile, scale: f64, time: Duration) -> Outcome<Measured> {
        let (json, path) = (self.lab.dir().join("report.json"), self.lab.dir().join("profile.toml"));
        fs::write(&path, toml::to_string(profile)?)?;
        let (scale, duration) = (scale.to_string(), format!("{}s", time.as_secs_f64()));
        let words = ["run", "--device", "xdp", "--quiet", "--cpu", "0", "--scale", &scale, "--duration", &duration];
        let mut args: Vec<&OsStr> = words.map(OsStr::new).into();
        args.extend([OsStr::new("--profile"), path.as_ref(), "--json".as_ref(), json.as_ref()]);
        let before = cpu_time(process.pid())?;
        self.outside.run(&self.generator, args)?;
        let spent = cpu_time(process.pid())?.saturating_sub(before);
        let report: Report = serde_json::from_str(&fs::read_to_string(json)?)?;
        let stream = report.streams.first().ok_or_else(|| Failure::new("an empty report"))?;
        // What the generator was too slow to take from its own ring had been forwarded all the same.
        let forwarded = (stream.received + report.overrun) as f64;
        Ok(Measured {
            rate: forwarded / report.seconds,
            offered: (stream.sent - report.refused.min(stream.sent)) as f64 / report.seconds,
            cpu_nanos: spent.as_nanos() as f64 / forwarded.max(1.0),
            busy: spent.as_secs_f64() / report.seconds,
            p50: stream.latency.as_ref().map_or(0, |latency| latency.p50),
        })
    }

    /// The part of a CPU that a contestant uses for nothing, 0 to 1.
    ///
    /// # Errors
    /// It is gone.
    pub fn idle(&self, process: &Process, time: Duration) -> Outcome<f64> {
        let before = cpu_time(process.pid())?;
        std::thread::sleep(time);
        Ok(cpu_time(process.pid())?.saturating_sub(before).as_secs_f64() / time.as_secs_f64())
    }
}

/// A veth pair between two namespaces, made inside them.
fn cable(a: (&Namespace, &str), b: (&Namespace, &str)) -> Outcome {
    let mut add = Command::new("ip");
    add.args(["link", "add", "name", a.1, "netns", a.0.name()]);
    add.args(["type", "veth", "peer", "name", b.1, "netns", b.0.name()]);
    run(&mut add).map(drop)
}

/// User and system time of all threads of a process, to the nanosecond.
fn cpu_time(pid: u32) -> Outcome<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += text.split_whitespace().next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}

fn config(profile: &Profile, cpus: &[usize]) -> Config {
    let service = |(id, stream): (u32, &Stream)| {
        let ports = stream.space().ports;
        let protocol = if stream.is_udp() { "udp" } else { "tcp" };
        let backends =
            TASKS.iter().zip(VTEPS).map(|(task, vtep)| Backend::new(task.to_string(), Some(vtep.to_string())));
        let listen = format!("{VIP}:{}-{}/{protocol}", ports.first, ports.last);
        Service::new(&format!("s{id}"), &listen, backends.collect())
    };
    Config {
        driver: Driver::AfXdp,
        cpus: cpus.to_vec(),
        flows: (profile.flows() as usize * 2).max(1 << 16),
        interfaces: vec!["eth0".into(), "eth1".into()],
        mode: None,
        metrics: None,
        overlay: Some(format!(
            "vni     = {VNI}\nport    = {TUNNEL_PORT}\nvtep    = \"{GATEWAY_VTEP}\"\naddress = \"{GATEWAY_OVERLAY}/24\"\nmtu     = 1450"
        )),
        timeouts: Vec::new(),
        services: services(profile).map(service).collect(),
    }
}

/// Median, least and most.
#[must_use]
pub fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted[..] {
        [] => (0.0, 0.0, 0.0),
        [first, .., last] => (sorted[sorted.len() / 2], first, last),
        [only] => (only, only, only),
    }
}
