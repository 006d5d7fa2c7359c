//! A swarm-like node: the kernel's vxlan device and bridge with the settings that Docker gives them, and tasks.

use crate::Outcome;
use crate::lab::run;
use crate::namespace::Namespace;
use crate::network::{GATEWAY_OVERLAY, GATEWAY_OVERLAY_MAC, GATEWAY_UNDERLAY, Membership, VNI, link};
use std::net::Ipv4Addr;
use std::process::Command;

/// A container: its own namespace, `eth0` in the overlay.
pub struct Task {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its overlay address.
    pub address: Ipv4Addr,
}

/// A host with a VTEP.
pub struct Node {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its underlay address.
    pub vtep: Ipv4Addr,
    /// Its tasks.
    pub tasks: Vec<Task>,
}

impl Node {
    pub(crate) fn new(namespace: Namespace, vtep: Ipv4Addr) -> Outcome<Node> {
        // The words after `vxlan` are those that `ip -d link` shows of a vxlan0 that dockerd made.
        namespace.ip(&format!(
            "link add name br0 type bridge\n\
             link add name vxlan0 mtu 1450 type vxlan id {VNI} srcport 0 0 dstport 4789 proxy l2miss l3miss ageing 300 udpcsum\n\
             link set vxlan0 master br0 up\n\
             link set br0 up"
        ))?;
        Ok(Node { namespace, vtep, tasks: Vec::new() })
    }

    /// Puts a task's namespace onto the overlay.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn add_task(&mut self, namespace: Namespace, address: Ipv4Addr) -> Outcome {
        let port = format!("veth{}", self.tasks.len());
        link((&namespace, "eth0"), (&self.namespace, &port), 1)?;
        self.namespace.ip(&format!("link set {port} mtu 1450 master br0 up"))?;
        namespace.ip(&format!(
            "link set eth0 mtu 1450 address {} up\naddr add {address}/24 dev eth0",
            docker_mac(address)
        ))?;
        self.tasks.push(Task { namespace, address });
        Ok(())
    }

    /// Tells the kernel of this node where the overlay's other endpoints are, as dockerd does.
    ///
    /// # Errors
    /// What `ip` or `bridge` said.
    pub fn introduce(&self, nodes: &[Node], membership: Membership) -> Outcome {
        for node in nodes.iter().filter(|node| node.vtep != self.vtep) {
            for task in &node.tasks {
                self.add_endpoint(task.address, &docker_mac(task.address), node.vtep)?;
            }
        }
        match membership {
            Membership::Member => self.add_endpoint(GATEWAY_OVERLAY, GATEWAY_OVERLAY_MAC, GATEWAY_UNDERLAY),
            Membership::Stranger => Ok(()),
        }
    }

    pub(crate) fn add_endpoint(&self, address: Ipv4Addr, mac: &str, vtep: Ipv4Addr) -> Outcome {
        self.namespace.ip(&format!("neigh replace {address} dev vxlan0 lladdr {mac} nud permanent"))?;
        let (name, vtep) = (self.namespace.name(), vtep.to_string());
        let mut bridge = Command::new("bridge");
        bridge.args(["-n", name, "fdb", "replace", mac, "dev", "vxlan0", "dst", &vtep, "self", "permanent"]);
        run(&mut bridge).map(drop)
    }
}

/// The MAC that Docker gives to an overlay address.
#[must_use]
pub fn docker_mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}
