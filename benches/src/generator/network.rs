//! The network around what is tested: who the generator plays, and who it sends to.
//!
//! ```text
//! clients ── port 0: CLIENT_MAC ─── gateway ─── port 1: NODE_MACS, VTEPS ── tasks in the overlay
//! ```

use std::net::Ipv4Addr;

use wire::MacAddr;

/// Who all streams are for.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The gateway's address towards clients.
pub const GATEWAY_FRONT: Ipv4Addr = Ipv4Addr::new(198, 18, 2, 1);
/// The gateway's underlay address.
pub const GATEWAY_VTEP: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
/// The gateway's overlay address.
pub const GATEWAY_OVERLAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
/// Nodes.
pub const VTEPS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 1, 11), Ipv4Addr::new(198, 18, 1, 12)];
/// A task on each node.
pub const TASKS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 11), Ipv4Addr::new(10, 0, 0, 12)];
/// The overlay.
pub const VNI: u32 = 4096;
/// The router before the clients.
pub const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0xc, 1]);
/// The nodes' MACs in the underlay.
pub const NODE_MACS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0xb, 1]), MacAddr([2, 0, 0, 0, 0xb, 2])];
/// The gateway's interfaces: 0 towards clients, 1 towards nodes.
pub const GATEWAY_MACS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0xa, 0]), MacAddr([2, 0, 0, 0, 0xa, 1])];
/// The VXLAN port.
pub const TUNNEL_PORT: u16 = vxlan::PORT;
/// Bytes that an inner packet may have.
pub const OVERLAY_MTU: u16 = 1450;
