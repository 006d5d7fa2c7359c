//! Putting a packet into the tunnel: 50 prepared bytes, a few fields patched per packet.

use std::net::Ipv4Addr;

use wire::{ETHERNET_LEN, FiveTuple, MacAddr, checksum};

use crate::{FLAG_I, HEADER_LEN, OVERHEAD, Vni};

/// Offset of the outer UDP header in the template.
const UDP: usize = 20;
/// Offset of the VXLAN header.
const VXLAN: usize = UDP + 8;
/// Offset of the inner Ethernet header.
const INNER: usize = VXLAN + HEADER_LEN;
/// As Linux sends it.
const TTL: u8 = 64;
/// Protocol number of UDP.
const PROTOCOL_UDP: u8 = 17;
/// The dynamic ports, 49152 and up (RFC 7348 5): 14 bits of entropy.
const FIRST_SOURCE_PORT: u16 = 0xc000;

/// One way through the underlay into one inner Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Our VTEP.
    pub local: Ipv4Addr,
    /// The VTEP of the node where the task runs.
    pub remote: Ipv4Addr,
    /// Destination port, [`PORT`](crate::PORT) if nothing else is agreed on.
    pub port: u16,
    /// Which overlay.
    pub vni: Vni,
    /// The gateway's address inside.
    pub inner_src: MacAddr,
    /// The task's address inside.
    pub inner_dst: MacAddr,
}

/// What stands in front of an inner packet: outer IPv4 and UDP header, VXLAN header, inner Ethernet header.
#[derive(Clone, Copy, Debug)]
pub struct Encap {
    template: [u8; OVERHEAD],
    /// Sum of the outer IPv4 header without TOS, length and identification.
    partial_sum: u32,
}

impl Encap {
    /// Prepares the headers of a tunnel.
    #[must_use]
    pub fn new(tunnel: &Tunnel) -> Self {
        let mut template = [0; OVERHEAD];
        template[0] = 0x45;
        template[8] = TTL;
        template[9] = PROTOCOL_UDP;
        template[12..16].copy_from_slice(&tunnel.local.octets());
        template[16..20].copy_from_slice(&tunnel.remote.octets());
        template[UDP + 2..UDP + 4].copy_from_slice(&tunnel.port.to_be_bytes());
        template[VXLAN] = FLAG_I;
        // VNI and the reserved byte behind it.
        template[VXLAN + 4..VXLAN + 8].copy_from_slice(&(tunnel.vni.get() << 8).to_be_bytes());
        template[INNER..INNER + 6].copy_from_slice(&tunnel.inner_dst.0);
        template[INNER + 6..INNER + 12].copy_from_slice(&tunnel.inner_src.0);
        Self { partial_sum: checksum::sum(&template[..UDP]), template }
    }

    /// Writes the 50 bytes in front of an inner packet of `inner_len` bytes; a shorter `buf` is left alone.
    ///
    /// `inner_tos` is copied, DSCP and ECN (RFC 6040, normal mode). `entropy` becomes the source port. DF is clear and
    /// the UDP checksum 0.
    #[inline]
    pub fn write(&self, buf: &mut [u8], inner_len: usize, inner_tos: u8, entropy: u16, id: u16, ethertype: u16) {
        let Some(out) = buf.first_chunk_mut::<OVERHEAD>() else { return };
        *out = self.template;
        let total_len = (OVERHEAD + inner_len) as u16;
        out[1] = inner_tos;
        out[2..4].copy_from_slice(&total_len.to_be_bytes());
        out[4..6].copy_from_slice(&id.to_be_bytes());
        let sum = self.partial_sum + u32::from(inner_tos) + u32::from(total_len) + u32::from(id);
        out[10..12].copy_from_slice(&(!checksum::fold(sum)).to_be_bytes());
        let source_port = FIRST_SOURCE_PORT | entropy;
        out[UDP..UDP + 2].copy_from_slice(&source_port.to_be_bytes());
        out[UDP + 4..UDP + 6].copy_from_slice(&total_len.wrapping_sub(UDP as u16).to_be_bytes());
        out[INNER + 12..INNER + ETHERNET_LEN].copy_from_slice(&ethertype.to_be_bytes());
    }
}

/// A number that is the same for all packets of a flow and spreads flows over the underlay's paths.
#[must_use]
#[inline]
pub fn entropy(tuple: &FiveTuple) -> u16 {
    // Odd constants from the golden ratio and the square root of two; one multiplication folded onto itself mixes
    // every input bit into the low ones, which become the port.
    const A: u64 = 0x9e37_79b9_7f4a_7c15;
    const B: u64 = 0x6a09_e667_f3bc_c909;
    let addresses = u64::from(tuple.src.to_bits()) << 32 | u64::from(tuple.dst.to_bits());
    let ports = u64::from(tuple.src_port) << 32 | u64::from(tuple.dst_port) << 16 | u64::from(tuple.protocol as u8);
    let product = u128::from(addresses ^ A) * u128::from(ports ^ B);
    let mixed = (product as u64 ^ (product >> 64) as u64).wrapping_mul(A);
    (mixed >> 48) as u16
}
