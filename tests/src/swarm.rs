//! A real Docker swarm on one machine: three dockerds, each in namespaces of its own, a switch, a gateway, a client.
//!
//! ```text
//! client 198.18.1.100 ─┐
//! gateway 198.18.1.1 ──┤ switch ├── n0 198.18.1.11 (manager) ── n1 198.18.1.12 ── n2 198.18.1.13
//! ```
//! Each dockerd is the first process of a PID namespace with mounts of its own: when it ends, by whatever signal, its
//! containers and mounts end with it. n2 has another address for data (`--data-path-addr`). The ingress network gives out the
//! lower half of its addresses only, so that the gateway can have one of the upper half. Images are made here, of the traffic
//! tool and the libraries that it needs.

use crate::clock::{wait_for, wait_until};
use crate::lab::{Lab, run};
use crate::namespace::{Namespace, Process};
use crate::network::link;
use crate::{Failure, Outcome, binaries, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The gateway's address on the underlay when it has a host of its own.
pub const GATEWAY: &str = "198.18.1.1";
/// Its address in the ingress network: the swarm gives out the lower half.
pub const GATEWAY_OVERLAY: &str = "10.0.0.250/24";
/// How nodes are called.
pub const NODES: [&str; 3] = ["n0", "n1", "n2"];
/// The image of the one container that there is.
pub const IMAGE: &str = "task:1";
/// Where its server listens, TCP and UDP.
pub const TASK_PORT: u16 = 8000;

const START: Duration = Duration::from_secs(30);
/// What the swarm does by itself takes seconds, and more on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A node: its own host and its dockerd.
pub struct Node {
    /// Its network namespace.
    pub namespace: Namespace,
    /// Its number.
    pub index: usize,
    dir: PathBuf,
    dockerd: Option<Process>,
}

/// The swarm and what is around it.
pub struct Swarm {
    /// The nodes; the first is the manager.
    pub nodes: Vec<Node>,
    /// The gateway's host.
    pub gateway: Namespace,
    /// The client's host.
    pub client: Namespace,
    /// The switch.
    pub switch: Namespace,
    /// Where files lie. Last, so that it outlives the others.
    pub lab: Lab,
}

impl Swarm {
    /// Builds it and waits until the swarm is whole. `ingress` are further options of the ingress network.
    ///
    /// # Errors
    /// Not root, no Docker, or a step that failed.
    pub fn build(ingress: &[&str]) -> Outcome<Swarm> {
        let places = ["/usr/sbin/dockerd", "/usr/bin/dockerd"];
        ensure!(places.iter().any(|place| Path::new(place).exists()), "there is no dockerd: make setup");
        let lab = Lab::new()?;
        let switch = lab.namespace("sw")?;
        switch.ip("link add name underlay type bridge\nlink set underlay up")?;
        let (gateway, client) = (lab.namespace("gw")?, lab.namespace("c0")?);
        let mut swarm = Swarm { nodes: Vec::new(), gateway, client, switch, lab };
        swarm.plug(&swarm.gateway, "gw", &format!("{GATEWAY}/24"))?;
        swarm.plug(&swarm.client, "c0", "198.18.1.100/24")?;
        swarm.lead_client_to(GATEWAY)?;
        for index in 0..NODES.len() {
            let node = swarm.new_node(index)?;
            swarm.nodes.push(node);
        }
        swarm.form(ingress).map_err(|failure| failure.during("forming the swarm"))?;
        Ok(swarm)
    }

    fn plug(&self, host: &Namespace, port: &str, address: &str) -> Outcome {
        link((host, "eth0"), (&self.switch, port), 1)?;
        self.switch.ip(&format!("link set {port} master underlay up"))?;
        host.ip(&format!("addr add {address} dev eth0\nlink set eth0 up"))
    }

    /// Where the client sends packets for the VIP.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn lead_client_to(&self, gateway: &str) -> Outcome {
        self.client.ip(&format!("route replace 198.18.0.0/24 via {gateway}"))
    }

    /// Sends the client's packets for services' own VIPs to the gateway, as a router of a DSR network does.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn lead_client_into(&self, subnet: &str) -> Outcome {
        self.client.ip(&format!("route replace {subnet} via {GATEWAY}"))
    }

    /// The VIP of a service in a network.
    ///
    /// # Errors
    /// What Docker said; it has none.
    pub fn vip(&self, service: &str, network: &str) -> Outcome<String> {
        let id = self.docker(&["network", "inspect", "--format", "{{.Id}}", network])?;
        let format = "{{range .Endpoint.VirtualIPs}}{{.NetworkID}} {{.Addr}}\n{{end}}";
        let all = self.docker(&["service", "inspect", "--format", format, service])?;
        let line = all.lines().find_map(|line| line.strip_prefix(id.trim())?.trim().split('/').next());
        line.map(str::to_owned).ok_or_else(|| Failure::new(format!("no VIP of {service} in {network}: {all}")))
    }

    fn new_node(&self, index: usize) -> Outcome<Node> {
        let name = NODES[index];
        let namespace = self.lab.namespace(name)?;
        self.plug(&namespace, name, &format!("198.18.1.1{}/24", index + 1))?;
        if index == 2 {
            namespace.ip("addr add 198.18.1.23/24 dev eth0")?;
        }
        let dir = self.lab.dir().join(name);
        fs::create_dir_all(&dir)?;
        let mut node = Node { namespace, index, dir, dockerd: None };
        node.start(self.lab.prefix())?;
        Ok(node)
    }

    /// The nodes start at the same time; then images and memberships.
    fn form(&mut self, ingress: &[&str]) -> Outcome {
        let archive = image(self.lab.dir())?;
        std::thread::scope(|scope| {
            let archive = &archive;
            let load = |node| scope.spawn(move || Node::load(node, archive));
            let loads: Vec<_> = self.nodes.iter().map(load).collect();
            loads.into_iter().try_for_each(|load| load.join().map_err(|_| Failure::new("a thread panicked"))?)
        })?;
        let manager = &self.nodes[0];
        manager.docker(&["swarm", "init", "--advertise-addr", "198.18.1.11"])?;
        self.restrict_ingress(ingress)?;
        let token = manager.docker(&["swarm", "join-token", "-q", "worker"])?;
        for node in &self.nodes[1..] {
            let mut words = vec!["swarm", "join", "--token", token.trim(), "198.18.1.11:2377"];
            if node.index == 2 {
                words.extend(["--data-path-addr", "198.18.1.23"]);
            }
            node.docker(&words)?;
        }
        self.wait_for_nodes()?;
        for (node, name) in self.node_ids()?.iter().zip(NODES) {
            self.docker(&["node", "update", "--label-add", &format!("lab={name}"), node])?;
        }
        Ok(())
    }

    /// Leaves the upper half of the ingress network to gateways, as the operating guide says.
    fn restrict_ingress(&self, options: &[&str]) -> Outcome {
        let manager = &self.nodes[0];
        run(Command::new("/bin/sh").args(["-c", "echo y | docker -H \"$0\" network rm ingress", &manager.socket()]))?;
        let words = "network create --driver overlay --ingress --subnet 10.0.0.0/24 --ip-range 10.0.0.0/25";
        let words: Vec<_> = words.split(' ').chain(options.iter().copied()).chain(["ingress"]).collect();
        // Until the old one is gone everywhere, a new one is refused.
        wait_until("a new ingress network", PATIENCE, || Ok(manager.docker(&words).is_ok()))
    }

    /// Waits until all nodes are ready.
    ///
    /// # Errors
    /// They are not.
    pub fn wait_for_nodes(&self) -> Outcome {
        wait_until("three nodes", PATIENCE, || {
            let ready = self.docker(&["node", "ls", "--format", "{{.Status}}"]);
            Ok(ready.is_ok_and(|ready| ready.matches("Ready").count() == NODES.len()))
        })
    }

    /// Removes a network as soon as nothing holds it.
    ///
    /// # Errors
    /// Something holds it on.
    pub fn remove_network(&self, name: &str) -> Outcome {
        wait_until(&format!("the end of network {name}"), PATIENCE, || {
            Ok(self.docker(&["network", "rm", name]).is_ok())
        })
    }

    /// A Docker command on the manager.
    ///
    /// # Errors
    /// What Docker said.
    pub fn docker(&self, words: &[&str]) -> Outcome<String> {
        self.nodes[0].docker(words)
    }

    /// The nodes' ids, in the order of [`NODES`].
    ///
    /// # Errors
    /// What Docker said.
    pub fn node_ids(&self) -> Outcome<Vec<String>> {
        let list = self.docker(&["node", "ls", "--format", "{{.Hostname}} {{.ID}}"])?;
        let id = |name: &&str| {
            let line = list.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(' '));
            line.map(str::to_owned).ok_or_else(|| Failure::new(format!("no node {name} in {list}")))
        };
        NODES.iter().map(id).collect()
    }

    /// Makes a service of [`IMAGE`]; `words` are further options of `docker service create`.
    ///
    /// # Errors
    /// What Docker said.
    pub fn create(&self, name: &str, words: &[&str]) -> Outcome {
        let fixed = ["service", "create", "--quiet", "--detach", "--no-resolve-image", "--name", name];
        let hostname = ["--hostname", "{{.Service.Name}}-{{.Task.Slot}}-{{.Node.Hostname}}"];
        self.docker(&[&fixed[..], &hostname, words, &[IMAGE]].concat()).map(drop)
    }

    /// Removes a service and waits until its tasks are gone.
    ///
    /// # Errors
    /// What Docker said.
    pub fn remove(&self, name: &str) -> Outcome {
        self.docker(&["service", "rm", name])?;
        let filter = format!("label=com.docker.swarm.service.name={name}");
        wait_until(&format!("the end of {name}"), PATIENCE, || {
            let left = self.nodes.iter().map(|node| node.docker(&["ps", "-q", "--filter", &filter]));
            Ok(left.flatten().all(|ids| ids.trim().is_empty()))
        })
    }

    /// Tasks of a service by state and desired state, e.g. `Running` and `running`.
    ///
    /// # Errors
    /// What Docker said.
    pub fn tasks(&self, service: &str) -> Outcome<Vec<String>> {
        let format = "{{.ID}} {{.Node}} {{.CurrentState}} {{.DesiredState}}";
        Ok(self
            .docker(&["service", "ps", service, "--no-trunc", "--format", format])?
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// One HTTP request by the client; who answered.
    ///
    /// # Errors
    /// There was no answer.
    pub fn curl(&self, target: &str) -> Outcome<String> {
        let answer = self.client.run("curl", ["-sS", "--max-time", "3", &format!("http://{target}/")])?;
        Ok(answer.trim().to_owned())
    }

    /// Waits until just so many tasks answer, each several times in a row of requests.
    ///
    /// # Errors
    /// They do not.
    pub fn wait_for_answers(&self, target: &str, count: usize) -> Outcome<BTreeSet<String>> {
        wait_for(&format!("answers of {count} tasks from {target}"), PATIENCE, || {
            let mut names = BTreeSet::new();
            for _ in 0..2 * count {
                match self.curl(target) {
                    Ok(answer) => names.insert(name_in(&answer)),
                    Err(_) => return Ok(None),
                };
            }
            Ok((names.len() == count).then_some(names))
        })
    }
}

/// `web-1-n0` of `I am web-1-n0, you are 198.18.1.100:4711`.
#[must_use]
pub fn name_in(answer: &str) -> String {
    answer.trim_start_matches("I am ").split(',').next().unwrap_or_default().to_owned()
}

impl Node {
    /// Where its dockerd listens.
    #[must_use]
    pub fn socket(&self) -> String {
        format!("unix://{}", self.dir.join("docker.sock").display())
    }

    /// Starts its dockerd, for the first time or again.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(&mut self, prefix: &str) -> Outcome {
        // `ip netns exec` would mount a /sys of its own, without cgroups.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace.name()));
        command.args(["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["/bin/sh", "-c", include_str!("dockerd.sh"), "dockerd", NODES[self.index]]);
        command.arg(&self.dir).arg(prefix).stdin(Stdio::null());
        let _ = fs::remove_file(self.dir.join("docker.sock"));
        self.dockerd = Some(self.namespace.spawn_command("dockerd", command)?);
        Ok(())
    }

    /// Waits until its dockerd answers.
    ///
    /// # Errors
    /// It does not, with its log.
    pub fn wait(&self) -> Outcome {
        let log = || self.dockerd.as_ref().map(Process::log).unwrap_or_default();
        let answers = || Ok(self.docker(&["version", "--format", "{{.Server.Version}}"]).is_ok());
        wait_until("dockerd", START, answers).map_err(|failure| failure.during(&log()))
    }

    /// Kills its dockerd, and with it all that runs there, at once.
    pub fn kill(&mut self) {
        self.dockerd = None;
    }

    /// A Docker command on this node.
    ///
    /// # Errors
    /// What Docker said.
    pub fn docker(&self, words: &[&str]) -> Outcome<String> {
        run(Command::new("docker").arg("-H").arg(self.socket()).args(words).stdin(Stdio::null()))
    }

    fn load(&self, archive: &Path) -> Outcome {
        self.wait()?;
        let change = format!("ENTRYPOINT [\"/traffic\", \"task\", \"0.0.0.0:{TASK_PORT}\"]");
        self.docker(&["import", "--change", &change, &archive.display().to_string(), IMAGE]).map(drop)
    }
}

/// An archive of the traffic tool and the libraries that it is linked to.
fn image(dir: &Path) -> Outcome<PathBuf> {
    let (root, archive) = (dir.join("image"), dir.join("image.tar"));
    fs::create_dir_all(&root)?;
    let program = binaries::traffic()?;
    let linked = run(Command::new("ldd").arg(&program))?;
    for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
        let inside = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(inside.parent().unwrap_or(&root))?;
        fs::copy(library, inside)?;
    }
    run(Command::new("strip").arg("-o").arg(root.join("traffic")).arg(&program))?;
    run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&root).arg("."))?;
    Ok(archive)
}
