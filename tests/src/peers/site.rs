//! The network of the comparison: one client, one gateway for each contestant, and the same nodes for all.
//!
//! ```text
//!          ┌ eth1 ── gateway 1 (routing) ──┐
//!          ├ eth2 ── gateway 2 (nftables) ─┤             ┌ node 198.18.1.11 ── task 10.0.0.11, .111
//!  client ─┤   …                           ├─ switch ────┼ node 198.18.1.12 ── task 10.0.0.12, .112
//!          ├ eth7 ── gateway 7 (TUN) ──────┤             └ nodes .13, .14 of the double hop: tasks .13, .14
//!          └ eth0 ── direct ───────────────┘
//! ```
//! All gateways stand all the time, so that a run can go from one to the other within a second. An idle one costs
//! nothing: nothing is sent to it.

use crate::Outcome;
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::network::{Membership, VNI, link, set_gro};
use crate::node::{Node, docker_mac};
use crate::peers::contestant::Contestant;
use std::net::Ipv4Addr;

/// Nodes of the plain contestants, and nodes of the double hop.
pub const NODES: usize = 2;

/// A gateway's place in the network, by its number (1 …).
pub struct Seat {
    /// Who sits there.
    pub contestant: Contestant,
    /// The gateway's host: `eth0` to the client, `eth1` to the switch.
    pub namespace: Namespace,
    number: u8,
}

impl Seat {
    /// The address that the client asks for.
    #[must_use]
    pub fn vip(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, self.number)
    }

    /// The gateway's address in the underlay.
    #[must_use]
    pub fn underlay(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 1, self.number)
    }

    /// The gateway's address in the overlay.
    #[must_use]
    pub fn overlay(&self) -> Ipv4Addr {
        // Tasks have those from 11 and from 111 on.
        Ipv4Addr::new(10, 0, 0, 200 + self.number)
    }

    /// An address on the link between the client (10) and the gateway (1).
    #[must_use]
    pub fn front(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 20 + self.number, host)
    }

    /// The network of that link.
    #[must_use]
    pub fn front_net(&self) -> String {
        format!("{}/24", self.front(0))
    }
}

/// The built network.
pub struct Site {
    /// The client.
    pub client: Namespace,
    /// The switch.
    pub switch: Namespace,
    /// The gateways.
    pub seats: Vec<Seat>,
    /// First the nodes that gateways reach through the overlay, then those of the double hop.
    pub nodes: Vec<Node>,
    /// Where files lie.
    pub lab: Lab,
}

/// The task's second address, by which plain routing (and nobody else) reaches it.
#[must_use]
pub fn routed(task: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, d] = task.octets();
    Ipv4Addr::new(a, b, c, 100 + d)
}

/// A node's own address in the overlay, on its bridge.
#[must_use]
pub fn bridge_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, (21 + index) as u8)
}

impl Site {
    /// Builds it in fresh namespaces.
    ///
    /// # Errors
    /// Not root, or a step that the kernel refused.
    pub fn build() -> Outcome<Site> {
        let lab = Lab::new()?;
        let switch = lab.namespace("sw")?;
        switch.ip("link add name underlay type bridge\nlink set underlay up")?;
        let client = lab.namespace("c")?;
        let mut site = Site { client, switch, seats: Vec::new(), nodes: Vec::new(), lab };
        site.plug(&site.client, "eth0", "client")?;
        site.client.ip("addr add 198.18.1.100/24 dev eth0\nlink set eth0 up")?;
        for index in 0..2 * NODES {
            site.add_node(index)?;
        }
        for (number, &contestant) in (1..).zip(Contestant::WITH_GATEWAY) {
            site.add_seat(number, contestant)?;
        }
        site.introduce()?;
        Ok(site)
    }

    /// All namespaces.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        let nodes = self
            .nodes
            .iter()
            .flat_map(|node| std::iter::once(&node.namespace).chain(node.tasks.iter().map(|task| &task.namespace)));
        [&self.client, &self.switch].into_iter().chain(self.seats.iter().map(|seat| &seat.namespace)).chain(nodes)
    }

    /// The seat of a contestant; the direct one has none.
    #[must_use]
    pub fn seat(&self, contestant: Contestant) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.contestant == contestant)
    }

    /// The overlay addresses of the tasks behind the gateways.
    #[must_use]
    pub fn tasks(&self) -> Vec<Ipv4Addr> {
        self.nodes[..NODES].iter().map(|node| node.tasks[0].address).collect()
    }

    /// Turns segmentation offload of every device on or off, as root of the whole site may.
    ///
    /// # Errors
    /// `ethtool` is missing.
    pub fn set_offloads(&self, on: bool) -> Outcome {
        let word = if on { "on" } else { "off" };
        // A device that has no such switch has no such offload either.
        let script = "for dev in $(ls /sys/class/net); do \
            [ $dev = lo ] || ethtool -K $dev tso $0 gso $0 >/dev/null 2>&1; done; true";
        self.namespaces().try_for_each(|namespace| namespace.run("/bin/sh", ["-c", script, word]).map(drop))
    }

    /// Connects a machine to the switch. Everybody's links have GRO, as network cards do: kernels join segments before they look
    /// at them, and a veth takes redirected frames only then. It notices that only while it is up.
    fn plug(&self, host: &Namespace, interface: &str, port: &str) -> Outcome {
        link((host, interface), (&self.switch, port), 1)?;
        self.switch.ip(&format!("link set {port} master underlay up"))?;
        set_gro(host, interface, true)?;
        set_gro(&self.switch, port, true)
    }

    fn add_node(&mut self, index: usize) -> Outcome {
        let namespace = self.lab.namespace(&format!("n{index}"))?;
        let vtep = Ipv4Addr::new(198, 18, 1, (11 + index) as u8);
        self.plug(&namespace, "eth0", &format!("n{index}"))?;
        namespace.ip(&format!("addr add {vtep}/24 dev eth0\nlink set eth0 up"))?;
        namespace.sysctl("net.ipv4.ip_forward", "1")?;
        let mut node = Node::new(namespace, vtep)?;
        let task = self.lab.namespace(&format!("t{index}"))?;
        let address = Ipv4Addr::new(10, 0, 0, (11 + index) as u8);
        node.add_task(task, address)?;
        let bridge = bridge_address(index);
        node.namespace.ip(&format!("link set br0 address {}\naddr add {bridge}/24 dev br0", docker_mac(bridge)))?;
        let task = &node.tasks[0].namespace;
        task.ip(&format!("addr add {}/24 dev eth0\nroute add 198.18.1.0/24 via {bridge}", routed(address)))?;
        self.client.ip(&format!("route add {address} via {vtep}"))?;
        self.nodes.push(node);
        Ok(())
    }

    fn add_seat(&mut self, number: u8, contestant: Contestant) -> Outcome {
        let seat = Seat { contestant, namespace: self.lab.namespace(&format!("g{number}"))?, number };
        let front = format!("eth{number}");
        link((&self.client, &front), (&seat.namespace, "eth0"), 1)?;
        self.plug(&seat.namespace, "eth1", &format!("g{number}"))?;
        let (near, far) = (seat.front(1), seat.front(10));
        seat.namespace.ip(&format!(
            "addr add {near}/24 dev eth0\nlink set eth0 up\naddr add {}/24 dev eth1\nlink set eth1 up",
            seat.underlay()
        ))?;
        self.client
            .ip(&format!("addr add {far}/24 dev {front}\nlink set {front} up\nroute add {} via {near}", seat.vip()))?;
        set_gro(&seat.namespace, "eth0", true)?;
        set_gro(&self.client, &front, true)?;
        if contestant.has_kernel_vxlan() {
            self.add_vxlan(&seat)?;
        }
        self.seats.push(seat);
        Ok(())
    }

    /// The gateway as a stranger to dockerd would be set up by hand: one device, permanent entries.
    fn add_vxlan(&self, seat: &Seat) -> Outcome {
        let (overlay, underlay) = (seat.overlay(), seat.underlay());
        seat.namespace.sysctl("net.ipv4.ip_forward", "1")?;
        seat.namespace.ip(&format!(
            "link add name vxlan0 mtu 1450 address {} type vxlan id {VNI} local {underlay} dev eth1 dstport 4789 nolearning\n\
             addr add {overlay}/24 dev vxlan0\nlink set vxlan0 up",
            docker_mac(overlay)
        ))?;
        for node in &self.nodes[..NODES] {
            let address = node.tasks[0].address;
            let mac = docker_mac(address);
            for address in [address, routed(address)] {
                seat.namespace.ip(&format!("neigh replace {address} dev vxlan0 lladdr {mac} nud permanent"))?;
            }
            let vtep = node.vtep.to_string();
            seat.namespace.run("bridge", ["fdb", "append", &mac, "dev", "vxlan0", "dst", &vtep])?;
        }
        Ok(())
    }

    /// Tells every node where all others are.
    fn introduce(&self) -> Outcome {
        for node in &self.nodes {
            node.introduce(&self.nodes, Membership::Stranger)?;
            for seat in &self.seats {
                node.add_endpoint(seat.overlay(), &docker_mac(seat.overlay()), seat.underlay())?;
            }
            for (index, other) in self.nodes.iter().enumerate().filter(|(_, other)| other.vtep != node.vtep) {
                let bridge = bridge_address(index);
                node.add_endpoint(bridge, &docker_mac(bridge), other.vtep)?;
            }
        }
        Ok(())
    }
}
