//! The networks that scenarios run in.
//!
//! ```text
//! two-armed    clients 198.18.2.x ── eth0 gateway eth1 ── switch 198.18.1.0/24 ── nodes (tasks 10.0.0.x), plain servers
//! one-armed    clients 198.18.1.1xx, gateway eth0, nodes and plain servers, all on the one switch
//! ```
//! The VIP 198.18.0.1 is nobody's address: clients have a route for it through the gateway.

use crate::lab::{Lab, run};
use crate::namespace::Namespace;
use crate::node::Node;
use crate::{Failure, Outcome};
use std::net::Ipv4Addr;
use std::process::Command;

/// The address that clients ask for.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The gateway's address in the underlay.
pub const GATEWAY_UNDERLAY: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
/// The gateway's address in the overlay.
pub const GATEWAY_OVERLAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
/// The gateway's MAC in the overlay, as Docker derives it.
pub const GATEWAY_OVERLAY_MAC: &str = "02:42:0a:00:00:03";
/// The overlay's network identifier.
pub const VNI: u32 = 4096;

/// How the gateway is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arms {
    /// Clients and nodes behind one interface.
    One,
    /// Clients behind `eth0`, nodes behind `eth1`.
    Two,
}

/// What the veth devices of end hosts leave undone. The kernel's default is the hardest for a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloads {
    /// As the kernel makes them: unfinished checksums, packets larger than the MTU.
    Untouched,
    /// Unfinished checksums, but packets of at most the MTU, as virtio without segmentation offload.
    NoSegmentation,
    /// What a real wire carries.
    Off,
}

/// Whether the swarm knows the gateway's overlay address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Permanent neighbour and FDB entries on every node.
    Member,
    /// None: tasks must be taught, and the node's vxlan device eats their ARP questions.
    Stranger,
}

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Connection of the gateway.
    pub arms: Arms,
    /// Queues of the gateway's interfaces.
    pub queues: usize,
    /// How many clients.
    pub clients: usize,
    /// How many addresses each client has.
    pub addresses: usize,
    /// How many nodes, with one task each.
    pub nodes: usize,
    /// How many servers outside the overlay.
    pub plain: usize,
    /// Offloads of the end hosts' devices.
    pub offloads: Offloads,
    /// What nodes know of the gateway.
    pub membership: Membership,
    /// Whether the gateway's links take frames that an XDP program redirects to them, as NICs do. A veth does when its other
    /// end has GRO on.
    pub redirects: bool,
}

impl Plan {
    /// One client, two nodes, one queue: the common case.
    #[must_use]
    pub const fn new(arms: Arms) -> Plan {
        Plan {
            arms,
            queues: 1,
            clients: 1,
            addresses: 1,
            nodes: 2,
            plain: 0,
            offloads: Offloads::Untouched,
            membership: Membership::Member,
            redirects: false,
        }
    }

    /// Builds it in fresh namespaces.
    ///
    /// # Errors
    /// Not root, or a step that the kernel refused.
    pub fn build(&self) -> Outcome<Network> {
        self.assemble().map_err(|failure| failure.during("building the network"))
    }

    fn assemble(&self) -> Outcome<Network> {
        let lab = Lab::new()?;
        let switch = lab.namespace("sw")?;
        switch.ip("link add name underlay type bridge\nlink set underlay up")?;
        let mut network = Network {
            gateway: lab.namespace("gw")?,
            switch,
            clients: Vec::new(),
            nodes: Vec::new(),
            plain: Vec::new(),
            lab,
            plan: *self,
        };
        network.connect_gateway()?;
        for index in 0..self.clients {
            network.add_client(index)?;
        }
        for index in 0..self.nodes {
            network.add_node(index)?;
        }
        for index in 0..self.plain {
            network.add_plain(index)?;
        }
        for node in &network.nodes {
            node.introduce(&network.nodes, self.membership)?;
        }
        if self.redirects {
            network.take_redirects(true)?;
        }
        Ok(network)
    }
}

/// A host with one interface, `eth0`.
pub struct Host {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its addresses; the first is the one that it uses by itself.
    pub addresses: Vec<Ipv4Addr>,
}

impl Host {
    /// Its first address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.addresses.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }
}

/// A built network. Dropping it removes everything.
pub struct Network {
    /// The gateway's host: `eth0`, and `eth1` when two-armed.
    pub gateway: Namespace,
    /// The switch: bridge `underlay`, and `front` when several clients stand before a two-armed gateway.
    pub switch: Namespace,
    /// The clients.
    pub clients: Vec<Host>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Servers outside the overlay.
    pub plain: Vec<Host>,
    /// Where files lie.
    pub lab: Lab,
    /// What was asked for.
    pub plan: Plan,
}

impl Network {
    /// The first client.
    #[must_use]
    pub fn client(&self) -> &Namespace {
        &self.clients[0].namespace
    }

    /// The gateway's interfaces.
    #[must_use]
    pub fn interfaces(&self) -> Vec<String> {
        match self.plan.arms {
            Arms::One => vec!["eth0".into()],
            Arms::Two => vec!["eth0".into(), "eth1".into()],
        }
    }

    /// The interface behind which the nodes are.
    #[must_use]
    pub fn underlay_interface(&self) -> &'static str {
        match self.plan.arms {
            Arms::One => "eth0",
            Arms::Two => "eth1",
        }
    }

    /// The gateway's address that clients can reach.
    #[must_use]
    pub fn gateway_address(&self) -> Ipv4Addr {
        match self.plan.arms {
            Arms::One => GATEWAY_UNDERLAY,
            Arms::Two => Ipv4Addr::new(198, 18, 2, 1),
        }
    }

    fn connect_gateway(&self) -> Outcome {
        let underlay = self.underlay_interface();
        link((&self.gateway, underlay), (&self.switch, "gw"), self.plan.queues)?;
        self.switch.ip("link set gw master underlay up")?;
        self.gateway
            .ip(&format!("link set {underlay} address 02:00:00:00:01:01 up\naddr add 198.18.1.1/24 dev {underlay}"))?;
        self.quieten(&self.switch, "gw")?;
        if self.plan.arms == Arms::One {
            return Ok(());
        }
        if self.plan.clients != 1 {
            link((&self.gateway, "eth0"), (&self.switch, "gwfront"), self.plan.queues)?;
            self.switch.ip("link add name front type bridge\nlink set front up\nlink set gwfront master front up")?;
            self.gateway_front()?;
        }
        Ok(())
    }

    fn gateway_front(&self) -> Outcome {
        self.gateway.ip("link set eth0 address 02:00:00:00:02:01 up\naddr add 198.18.2.1/24 dev eth0")
    }

    fn add_client(&mut self, index: usize) -> Outcome {
        let namespace = self.lab.namespace(&format!("c{index}"))?;
        match self.plan.arms {
            Arms::Two if self.plan.clients == 1 => {
                link((&namespace, "eth0"), (&self.gateway, "eth0"), self.plan.queues)?;
                self.gateway_front()?;
            }
            Arms::Two => self.plug(&namespace, &format!("c{index}"), "front")?,
            Arms::One => self.plug(&namespace, &format!("c{index}"), "underlay")?,
        }
        let (net, first) = match self.plan.arms {
            Arms::One => (1, 100),
            Arms::Two => (2, 10),
        };
        let addresses: Vec<_> = (0..self.plan.addresses)
            .map(|n| Ipv4Addr::new(198, 18, net, (first + index * self.plan.addresses + n) as u8))
            .collect();
        for address in &addresses {
            namespace.ip(&format!("addr add {address}/24 dev eth0"))?;
        }
        namespace.ip(&format!("link set eth0 up\nroute add {VIP} via {}", self.gateway_address()))?;
        self.quieten(&namespace, "eth0")?;
        self.clients.push(Host { namespace, addresses });
        Ok(())
    }

    fn add_node(&mut self, index: usize) -> Outcome {
        let namespace = self.lab.namespace(&format!("n{index}"))?;
        let vtep = Ipv4Addr::new(198, 18, 1, (11 + index) as u8);
        self.plug(&namespace, &format!("n{index}"), "underlay")?;
        namespace.ip(&format!("addr add {vtep}/24 dev eth0\nlink set eth0 up"))?;
        self.quieten(&namespace, "eth0")?;
        let mut node = Node::new(namespace, vtep)?;
        let task = self.lab.namespace(&format!("t{index}"))?;
        node.add_task(task, Ipv4Addr::new(10, 0, 0, (11 + index) as u8))?;
        for task in &node.tasks {
            self.quieten(&task.namespace, "eth0")?;
        }
        self.nodes.push(node);
        Ok(())
    }

    fn add_plain(&mut self, index: usize) -> Outcome {
        let namespace = self.lab.namespace(&format!("p{index}"))?;
        let address = Ipv4Addr::new(198, 18, 1, (31 + index) as u8);
        self.plug(&namespace, &format!("p{index}"), "underlay")?;
        namespace.ip(&format!("addr add {address}/24 dev eth0\nlink set eth0 up"))?;
        self.quieten(&namespace, "eth0")?;
        self.plain.push(Host { namespace, addresses: vec![address] });
        Ok(())
    }

    /// Lets tasks answer clients themselves: each has the VIP on its loopback, as Docker does it in networks made with
    /// `--opt dsr`, and a leg of its own on the underlay.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn let_tasks_answer_directly(&self) -> Outcome {
        for (index, task) in self.nodes.iter().flat_map(|node| &node.tasks).enumerate() {
            let (host, port) = (&task.namespace, format!("leg{index}"));
            link((host, "eth1"), (&self.switch, &port), 1)?;
            self.switch.ip(&format!("link set {port} master underlay up"))?;
            let own = Ipv4Addr::new(198, 18, 1, (61 + index) as u8);
            host.ip(&format!(
                "link set lo up\naddr add {VIP}/32 dev lo\naddr add {own}/24 dev eth1\nlink set eth1 up"
            ))?;
            for (key, value) in [("arp_ignore", "1"), ("arp_announce", "2"), ("rp_filter", "0")] {
                for device in ["all", "eth0", "eth1"] {
                    host.sysctl(&format!("net.ipv4.conf.{device}.{key}"), value)?;
                }
            }
            self.quieten(host, "eth1")?;
        }
        Ok(())
    }

    /// The other ends of the gateway's links, in the order of its interfaces.
    #[must_use]
    pub fn far_ends(&self) -> Vec<(&Namespace, &'static str)> {
        let behind = (&self.switch, "gw");
        match self.plan.arms {
            Arms::One => vec![behind],
            Arms::Two if self.plan.clients == 1 => vec![(self.client(), "eth0"), behind],
            Arms::Two => vec![(&self.switch, "gwfront"), behind],
        }
    }

    /// Whether the gateway's links shall take redirected frames. All of them must be up: a veth notices it only then.
    ///
    /// # Errors
    /// What `ethtool` said.
    pub fn take_redirects(&self, wanted: bool) -> Outcome {
        let ends = self.far_ends();
        ends.into_iter().try_for_each(|(namespace, interface)| set_gro(namespace, interface, wanted))
    }

    /// Connects a host's new `eth0` to a bridge of the switch.
    fn plug(&self, host: &Namespace, port: &str, bridge: &str) -> Outcome {
        link((host, "eth0"), (&self.switch, port), self.plan.queues)?;
        self.switch.ip(&format!("link set {port} master {bridge} up"))
    }

    fn quieten(&self, namespace: &Namespace, interface: &str) -> Outcome {
        let features: &[&str] = match self.plan.offloads {
            Offloads::Untouched => return Ok(()),
            Offloads::NoSegmentation => &["tso", "off", "gso", "off"],
            Offloads::Off => &["tx", "off"],
        };
        namespace.run("ethtool", ["-K", interface].iter().chain(features)).map(drop)
    }
}

/// Switches GRO on or off.
///
/// # Errors
/// What `ethtool` said.
pub fn set_gro(namespace: &Namespace, interface: &str, wanted: bool) -> Outcome {
    let word = if wanted { "on" } else { "off" };
    namespace.run("ethtool", ["-K", interface, "gro", word]).map(drop)
}

/// Joins two namespaces by a veth pair. Both ends are made inside them: no name is ever taken on the machine itself.
pub(crate) fn link(a: (&Namespace, &str), b: (&Namespace, &str), queues: usize) -> Outcome {
    let queues = queues.to_string();
    let multi = ["numtxqueues", &queues, "numrxqueues", &queues];
    let mut add = Command::new("ip");
    add.args(["link", "add", "name", a.1, "netns", a.0.name()]).args(multi);
    add.args(["type", "veth", "peer", "name", b.1, "netns", b.0.name()]).args(multi);
    run(&mut add).map(drop).map_err(|failure: Failure| failure.during("linking namespaces"))
}
