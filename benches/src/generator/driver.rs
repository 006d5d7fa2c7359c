//! How much of the driver's speed the gateway leaves: Sluicegate and the bare forwarder take turns on the same two veths, under the
//! same load.
//!
//! ```text
//! generator: clients ══ eth0 contestant eth1 ══ tasks :generator
//! ```

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ::tests::config::{Backend, Config, Driver, Service};
use ::tests::lab::{Lab, run};
use ::tests::namespace::{Namespace, Process};
use ::tests::{Failure, Outcome, binaries, ensure};
use serde::{Deserialize, Serialize};

use super::gateway::services;
use super::network::{
    CLIENT_MAC, GATEWAY_FRONT, GATEWAY_MACS, GATEWAY_OVERLAY, GATEWAY_VTEP, NODE_MACS, TASKS, TUNNEL_PORT, VIP, VNI,
    VTEPS,
};
use super::profile::{Profile, Stream};
use super::report::Report;
use crate::driver::points::Deferral;

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
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Measured {
    /// Packets a second that arrived behind the contestant, in both directions.
    pub rate: f64,
    /// Packets a second that clients sent.
    pub offered: f64,
    /// CPU time of the contestant for each packet that it forwarded, kernel work on its behalf included, in nanoseconds.
    pub cpu_nanos: f64,
    /// Busy part of the contestant's CPU, 0 to 1.
    pub busy: f64,
    /// Median latency in nanoseconds.
    pub p50: u64,
}

/// What requests on a few connections gave.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Requests {
    /// Requests a second.
    pub rate: f64,
    /// Median time from a request to its answer, in nanoseconds.
    pub p50: u64,
    /// 99 % took no longer.
    pub p99: u64,
    /// CPU time of the contestant for each request, in nanoseconds.
    pub cpu_nanos: f64,
    /// Busy part of the contestant's CPU, 0 to 1.
    pub busy: f64,
    /// Segments that had to be sent once more, and connections that failed.
    pub trouble: u64,
}

/// A run of the generator, seen from outside.
struct Sent {
    report: Report,
    /// Packets that arrived at the generator's interfaces.
    arrived: u64,
    /// CPU time of the contestant.
    spent: Duration,
}

/// The two namespaces and their cables.
pub struct Bench {
    pub(super) lab: Lab,
    gateway: Namespace,
    pub(super) outside: Namespace,
    pub(super) generator: PathBuf,
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
        // Tests are a directory below the programs.
        let near = ["generator", "../generator"].map(|name| this.with_file_name(name));
        let generator = near.into_iter().find(|path| path.is_file());
        let generator =
            generator.ok_or_else(|| Failure::new(format!("no program `generator` near {}", this.display())))?;
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

    /// Starts a program of ours in the contestant's place, and waits until it says that it is ready.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_program(&self, program: &Path, words: &[String]) -> Outcome<Process> {
        let mut process = self.gateway.spawn("contestant", program, words)?;
        process.wait_for_line("ready", START)?;
        Ok(process)
    }

    /// Where files may lie.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.lab.dir()
    }

    /// How the contestant's interfaces put interrupts off, see [`Deferral`].
    ///
    /// # Errors
    /// The kernel does not know these settings.
    pub fn put_interrupts_off(&self, deferral: Deferral) -> Outcome {
        let script = "for dev in eth0 eth1; do echo $0 > /sys/class/net/$dev/napi_defer_hard_irqs && \
            echo $1 > /sys/class/net/$dev/gro_flush_timeout || exit 1; done";
        let (times, nanoseconds) = (deferral.times.to_string(), deferral.nanoseconds.to_string());
        self.gateway.run("/bin/sh", ["-c", script, &times, &nanoseconds]).map(drop)
    }

    /// Sends the datagrams of a profile, `scale` times as fast as it says, through the contestant.
    ///
    /// # Errors
    /// The generator failed.
    pub fn measure(&self, process: &Process, profile: &Profile, scale: f64, time: Duration) -> Outcome<Measured> {
        let Sent { report, arrived, spent } = self.send(process, profile, scale, time)?;
        let stream = report.streams.first().ok_or_else(|| Failure::new("an empty report"))?;
        ensure!(arrived > 0, "not one packet arrived");
        Ok(Measured {
            rate: arrived as f64 / report.seconds,
            offered: (stream.sent - report.refused.min(stream.sent)) as f64 / report.seconds,
            cpu_nanos: spent.as_nanos() as f64 / arrived as f64,
            busy: spent.as_secs_f64() / report.seconds,
            p50: stream.latency.as_ref().map_or(0, |latency| latency.p50),
        })
    }

    /// Makes the connections of a profile and their requests through the contestant.
    ///
    /// # Errors
    /// The generator failed, or no request was answered.
    pub fn ask(&self, process: &Process, profile: &Profile, time: Duration) -> Outcome<Requests> {
        let Sent { report, spent, .. } = self.send(process, profile, 1.0, time)?;
        let stream = report.streams.first().ok_or_else(|| Failure::new("an empty report"))?;
        let request = stream.request.as_ref().ok_or_else(|| Failure::new("not one request was answered"))?;
        Ok(Requests {
            rate: request.count as f64 / report.seconds,
            p50: request.p50,
            p99: request.p99,
            cpu_nanos: spent.as_nanos() as f64 / request.count as f64,
            busy: spent.as_secs_f64() / report.seconds,
            trouble: stream.retransmitted + stream.lost,
        })
    }

    /// The warm-up is a run of its own: what the contestant spends and forwards in it must not be counted either.
    fn send(&self, process: &Process, profile: &Profile, scale: f64, time: Duration) -> Outcome<Sent> {
        let scale = scale.to_string();
        let options = ["--cpu", "0", "--scale", &scale];
        if let Some(warmup) = profile.warmup {
            self.generate(profile, warmup.0, &options)?;
        }
        let (before, heard) = (cpu_time(process.pid())?, self.arrived()?);
        let report = self.generate(profile, time, &options)?;
        let spent = cpu_time(process.pid())?.saturating_sub(before);
        let arrived = self.arrived()?.saturating_sub(heard);
        Ok(Sent { report, arrived, spent })
    }

    /// Sends the profile for so long, without its warm-up, and gives the whole report.
    ///
    /// # Errors
    /// The generator failed.
    pub fn generate(&self, profile: &Profile, time: Duration, options: &[&str]) -> Outcome<Report> {
        let (json, path) = (self.lab.dir().join("report.json"), self.lab.dir().join("profile.toml"));
        fs::write(&path, toml::to_string(&Profile { warmup: None, ..profile.clone() })?)?;
        let duration = format!("{}s", time.as_secs_f64());
        let words = ["run", "--device", "xdp", "--quiet", "--duration", &duration];
        let mut args: Vec<&OsStr> = words.iter().chain(options).map(OsStr::new).collect();
        args.extend([OsStr::new("--profile"), path.as_ref(), "--json".as_ref(), json.as_ref()]);
        self.outside.run(&self.generator, args)?;
        Ok(serde_json::from_str(&fs::read_to_string(json)?)?)
    }

    /// Packets that the generator's interfaces have met, its own filter counted or not: what it was too slow to take from its rings
    /// had been forwarded all the same.
    fn arrived(&self) -> Outcome<u64> {
        let mut sum = 0;
        for interface in ["clients", "tasks"] {
            let text = self.outside.run("ethtool", ["-S", interface])?;
            let counts =
                text.lines().filter_map(|line| line.trim().strip_prefix("rx_queue_")?.split_once("_xdp_packets: "));
            sum += counts.filter_map(|(_, count)| count.parse::<u64>().ok()).sum::<u64>();
        }
        Ok(sum)
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
        // What the page is about: workers beside the bare forwarder.
        shortcuts: Some("never".into()),
        overlay: Some(format!(
            "vni     = {VNI}\nport    = {TUNNEL_PORT}\nvtep    = \"{GATEWAY_VTEP}\"\naddress = \"{GATEWAY_OVERLAY}/24\"\nmtu     = 1450"
        )),
        timeouts: Vec::new(),
        services: services(profile).map(service).collect(),
    }
}
