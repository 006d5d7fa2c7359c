//! What is put into the gateway's place, and how each is set up at its best.

use crate::Outcome;
use crate::binaries;
use crate::clock::wait_until;
use crate::config::{Backend, Config, Driver, Service};
use crate::namespace::{Namespace, Process};
use crate::network::VNI;
use crate::peers::memory::most_connections;
use crate::peers::site::{NODES, Seat, Site, bridge_address, routed};
use crate::servers::wait_listening;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// The port that clients ask for, on every gateway.
const WEB: u16 = 8080;
/// The port of nginx on the tasks.
pub const TASK_WEB: u16 = 8000;
/// The port of the UDP echo, and of iperf3, on gateways and tasks alike.
pub const ECHO: u16 = 9000;
/// See [`ECHO`].
pub const BULK: u16 = 5201;
/// Where Sluicegate's worker and `HAProxy`'s only thread run.
const CPU: usize = 1;
/// How long a program may take to be ready.
const START: Duration = Duration::from_secs(20);

/// Who carries the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Contestant {
    /// Nobody: the client reaches the tasks through their nodes, without VXLAN.
    Direct,
    /// The kernel routes into its VXLAN device: no NAT, no connection tracking, no choice of a task.
    Routing,
    /// nftables: DNAT by turns, SNAT, and no connection tracking for the outer packets.
    Nftables,
    /// `HAProxy` in TCP mode, straight to the tasks through the kernel's VXLAN device; one thread on the CPU of Sluicegate's worker.
    Haproxy,
    /// The same with two threads on any CPU, as it starts by itself on two CPUs.
    HaproxyTwo,
    /// `HAProxy` in TCP mode to the nodes' published ports; they DNAT to any task, half of them through VXLAN.
    DoubleHop,
    /// Sluicegate on `AF_XDP` sockets, with shortcuts.
    AfXdp,
    /// The same with `shortcuts = "never"`: workers see every packet.
    Workers,
    /// As it comes, with XDP in the kernel's general receive path instead of the driver's: virtual links keep their segmentation.
    Generic,
    /// Sluicegate on a TUN device.
    Tun,
}

impl Contestant {
    /// Everyone; first the one without a gateway.
    pub const ALL: [Contestant; 10] = [
        Contestant::Direct,
        Contestant::Routing,
        Contestant::Nftables,
        Contestant::Haproxy,
        Contestant::HaproxyTwo,
        Contestant::DoubleHop,
        Contestant::AfXdp,
        Contestant::Workers,
        Contestant::Generic,
        Contestant::Tun,
    ];
    /// Those with a gateway, in the order of their seats.
    pub const WITH_GATEWAY: &[Contestant] = Contestant::ALL.split_at(1).1;

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Contestant::Direct => "direct",
            Contestant::Routing => "plain routing",
            Contestant::Nftables => "nftables DNAT",
            Contestant::Haproxy => "HAProxy",
            Contestant::HaproxyTwo => "HAProxy, 2 threads",
            Contestant::DoubleHop => "HAProxy + mesh hop",
            Contestant::AfXdp => "Sluicegate AF_XDP",
            Contestant::Workers => "Sluicegate AF_XDP, workers only",
            Contestant::Generic => "Sluicegate AF_XDP, generic",
            Contestant::Tun => "Sluicegate TUN",
        }
    }

    /// Whether its gateway has a VXLAN device of the kernel's.
    #[must_use]
    pub fn has_kernel_vxlan(self) -> bool {
        use Contestant::{Haproxy, HaproxyTwo, Nftables, Routing};
        matches!(self, Routing | Nftables | Haproxy | HaproxyTwo)
    }

    /// Whether it carries datagrams: `HAProxy` has no UDP.
    #[must_use]
    pub fn has_udp(self) -> bool {
        !matches!(self, Contestant::Haproxy | Contestant::HaproxyTwo | Contestant::DoubleHop)
    }

    /// Whether its gateway tracks connections in the kernel.
    #[must_use]
    pub fn has_conntrack(self) -> bool {
        self == Contestant::Nftables
    }

    fn service(self, site: &Site, gateway_port: u16, task_port: u16) -> Vec<SocketAddrV4> {
        let tasks = || site.tasks().into_iter();
        match (self, site.seat(self)) {
            (Contestant::Direct, _) | (_, None) => tasks().map(|task| SocketAddrV4::new(task, task_port)).collect(),
            (Contestant::Routing, _) => tasks().map(|task| SocketAddrV4::new(routed(task), task_port)).collect(),
            (_, Some(seat)) => vec![SocketAddrV4::new(seat.vip(), gateway_port)],
        }
    }

    /// Where its client asks for web pages.
    #[must_use]
    pub fn web(self, site: &Site) -> Vec<SocketAddrV4> {
        self.service(site, WEB, TASK_WEB)
    }

    /// Where its client sends datagrams.
    #[must_use]
    pub fn echo(self, site: &Site) -> Vec<SocketAddrV4> {
        self.service(site, ECHO, ECHO)
    }

    /// Where its iperf3 client connects to: always one and the same task.
    #[must_use]
    pub fn bulk(self, site: &Site) -> SocketAddrV4 {
        self.service(site, BULK, BULK)[0]
    }
}

/// Sets all of them up. The processes live as long as the result.
///
/// # Errors
/// A program is missing or does not take its config.
pub fn start_all(site: &Site) -> Outcome<Vec<Process>> {
    let mut running = Vec::new();
    for seat in &site.seats {
        let started = start(site, seat);
        running.extend(started.map_err(|failure| failure.during(seat.contestant.name()))?);
    }
    Ok(running)
}

fn start(site: &Site, seat: &Seat) -> Outcome<Option<Process>> {
    match seat.contestant {
        Contestant::Direct => Ok(None),
        Contestant::Routing => route(site, seat).map(|()| None),
        Contestant::Nftables => nftables(&seat.namespace, &seat_rules(site, seat)).map(|()| None),
        Contestant::Haproxy | Contestant::HaproxyTwo => {
            let servers = site.tasks();
            haproxy(seat, &|port| servers.iter().map(|task| SocketAddrV4::new(*task, port)).collect()).map(Some)
        }
        Contestant::DoubleHop => {
            let nodes = &site.nodes[NODES..];
            for (index, node) in (NODES..).zip(nodes) {
                nftables(&node.namespace, &mesh_rules(site, node.vtep, bridge_address(index)))?;
            }
            let published = |port| if port == TASK_WEB { WEB } else { port };
            haproxy(seat, &|port| nodes.iter().map(|node| SocketAddrV4::new(node.vtep, published(port))).collect())
                .map(Some)
        }
        Contestant::AfXdp => sluicegate(site, seat, Driver::AfXdp, None, None).map(Some),
        Contestant::Workers => sluicegate(site, seat, Driver::AfXdp, None, Some("never")).map(Some),
        Contestant::Generic => sluicegate(site, seat, Driver::AfXdp, Some("generic"), None).map(Some),
        Contestant::Tun => sluicegate(site, seat, Driver::Tun, None, None).map(Some),
    }
}

/// The client asks for the tasks themselves; they answer by the gateway's overlay address.
fn route(site: &Site, seat: &Seat) -> Outcome {
    for node in &site.nodes[..NODES] {
        let task = &node.tasks[0];
        task.namespace.ip(&format!("route add {} via {}", seat.front_net(), seat.overlay()))?;
        site.client.ip(&format!("route add {} via {}", routed(task.address), seat.front(1)))?;
    }
    Ok(())
}

fn nftables(namespace: &Namespace, rules: &str) -> Outcome {
    let path = namespace.dir().join(format!("{}.nft", namespace.name()));
    fs::write(&path, rules)?;
    namespace.run("nft", ["-f", &path.display().to_string()]).map(drop)
}

/// `0 : first, 1 : second` for nft's numgen.
fn turns(addresses: &[Ipv4Addr]) -> String {
    let entries: Vec<_> = addresses.iter().enumerate().map(|(turn, address)| format!("{turn} : {address}")).collect();
    format!("numgen inc mod {} map {{ {} }}", addresses.len(), entries.join(", "))
}

fn seat_rules(site: &Site, seat: &Seat) -> String {
    let (vip, tasks) = (seat.vip(), site.tasks());
    let turns = turns(&tasks);
    format!(
        "table ip peers {{
  chain outer_in {{ type filter hook prerouting priority raw; udp dport 4789 notrack; }}
  chain outer_out {{ type filter hook output priority raw; udp dport 4789 notrack; }}
  chain there {{
    type nat hook prerouting priority dstnat;
    ip daddr {vip} tcp dport {WEB} dnat to {turns} : {TASK_WEB}
    ip daddr {vip} udp dport {ECHO} dnat to {turns} : {ECHO}
    ip daddr {vip} tcp dport {BULK} dnat to {}
  }}
  chain back {{ type nat hook postrouting priority srcnat; oifname \"vxlan0\" snat to {}; }}
}}
",
        tasks[0],
        seat.overlay()
    )
}

/// What IPVS and its NAT do on a node of a swarm, on the cheap side: one namespace, one translation.
fn mesh_rules(site: &Site, vtep: Ipv4Addr, bridge: Ipv4Addr) -> String {
    let tasks: Vec<_> = site.nodes[NODES..].iter().map(|node| node.tasks[0].address).collect();
    format!(
        "table ip mesh {{
  chain there {{
    type nat hook prerouting priority dstnat;
    ip daddr {vtep} tcp dport {WEB} dnat to {} : {TASK_WEB}
    ip daddr {vtep} tcp dport {BULK} dnat to {}
  }}
  chain back {{ type nat hook postrouting priority srcnat; oifname \"br0\" snat to {bridge}; }}
}}
",
        turns(&tasks),
        tasks[0]
    )
}

/// What HAProxy splices through: two a stream. It counts their descriptors beside those of `maxconn`.
const PIPES: usize = 16;

fn haproxy(seat: &Seat, servers: &dyn Fn(u16) -> Vec<SocketAddrV4>) -> Outcome<Process> {
    let threads = match seat.contestant {
        Contestant::HaproxyTwo => "nbthread 2".to_owned(),
        _ => format!("nbthread 1\n  cpu-map 1/1 {CPU}"),
    };
    let mut config = format!(
        "global\n  {threads}\n  maxconn {}\n  maxpipes {PIPES}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  \
         timeout server 1h\n  option tcp-smart-accept\n  option tcp-smart-connect\n  option redispatch 1\n",
        most_connections()?
    );
    for (name, port, task_port) in [("web", WEB, TASK_WEB), ("bulk", BULK, BULK)] {
        let mut servers = servers(task_port);
        if port == BULK && seat.contestant != Contestant::DoubleHop {
            servers.truncate(1);
        }
        writeln!(config, "listen {name}\n  bind {}:{port} backlog 4096\n  balance roundrobin", seat.vip())?;
        if port == BULK {
            writeln!(config, "  option splice-request\n  option splice-response")?;
        }
        for (index, server) in servers.iter().enumerate() {
            writeln!(config, "  server s{index} {server}")?;
        }
    }
    let path = seat.namespace.dir().join(format!("{}-haproxy.cfg", seat.namespace.name()));
    fs::write(&path, config)?;
    seat.namespace.ip(&format!("addr add {}/32 dev lo", seat.vip()))?;
    let process = seat.namespace.spawn("haproxy", "haproxy", ["-db", "-f", &path.display().to_string()])?;
    wait_listening(&seat.namespace, WEB)?;
    Ok(process)
}

fn sluicegate(
    site: &Site,
    seat: &Seat,
    driver: Driver,
    mode: Option<&str>,
    shortcuts: Option<&str>,
) -> Outcome<Process> {
    let backends = |port: u16, count: usize| -> Vec<Backend> {
        let nodes = site.nodes[..NODES].iter().take(count);
        let backend = |address: String, vtep| Backend::new(address, Some(vtep));
        nodes.map(|node| backend(format!("{}:{port}", node.tasks[0].address), node.vtep.to_string())).collect()
    };
    let vip = seat.vip();
    let config = Config {
        driver,
        cpus: vec![CPU],
        flows: 200_000,
        interfaces: match driver {
            Driver::AfXdp => vec!["eth0".into(), "eth1".into()],
            Driver::Tun => vec!["sluice0".into()],
        },
        mode: mode.map(str::to_owned),
        metrics: None,
        shortcuts: shortcuts.map(str::to_owned),
        overlay: Some(format!(
            "vni     = {VNI}\nport    = 4789\nvtep    = \"{}\"\naddress = \"{}/24\"\nmtu     = 1450",
            seat.underlay(),
            seat.overlay()
        )),
        timeouts: Vec::new(),
        services: vec![
            Service::new("web", &format!("{vip}:{WEB}/tcp"), backends(TASK_WEB, NODES)),
            Service::new("echo", &format!("{vip}:{ECHO}/udp"), backends(ECHO, NODES)),
            Service::new("bulk", &format!("{vip}:{BULK}/tcp"), backends(BULK, 1)),
        ],
    };
    let stem = seat.namespace.dir().join(format!("{}-sluicegate", seat.namespace.name()));
    let (path, socket) = (stem.with_extension("toml"), stem.with_extension("sock"));
    fs::write(&path, config.to_toml(&socket))?;
    seat.namespace.sysctl("net.ipv4.ip_forward", "1")?;
    let args = ["run", "--config", &path.display().to_string()].map(str::to_owned);
    let mut process = seat.namespace.spawn("sluicegate", binaries::gateway()?, args)?;
    process.wait_for_line("ready", START)?;
    wait_until("the API", START, || Ok(socket.exists()))?;
    Ok(process)
}
