//! Taking a packet out of the tunnel.

use wire::{ETHERNET_LEN, Malformed};

use crate::{FLAG_I, HEADER_LEN, Vni};

/// The facts of one VXLAN header, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// Which overlay.
    pub vni: Vni,
    /// Where in the frame the inner Ethernet header begins.
    pub inner: usize,
}

/// The VXLAN header at `udp_payload` of `frame`, in a datagram that ends at `end`.
///
/// The I flag must be set; other flags and reserved fields are ignored (RFC 7348 5). A whole inner Ethernet header is
/// there afterwards.
///
/// # Errors
/// [`Malformed::BadVxlan`] without the I flag or if the datagram is too short, [`Malformed::Truncated`] if the frame is.
#[inline]
pub fn parse(frame: &[u8], udp_payload: usize, end: usize) -> Result<Vxlan, Malformed> {
    let datagram = frame.get(..end).ok_or(Malformed::Truncated)?.get(udp_payload..).ok_or(Malformed::BadVxlan)?;
    let header: &[u8; HEADER_LEN + ETHERNET_LEN] = datagram.first_chunk().ok_or(Malformed::BadVxlan)?;
    if header[0] & FLAG_I == 0 {
        return Err(Malformed::BadVxlan);
    }
    let vni = Vni::from_bytes([header[4], header[5], header[6]]);
    Ok(Vxlan { vni, inner: udp_payload + HEADER_LEN })
}

const ECN: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// The TOS of an inner packet that leaves the tunnel (RFC 6040, figure 4): its own DSCP, and its ECN with the congestion
/// that the underlay saw. `None` says drop: congestion that the inner packet's transport would not understand.
#[must_use]
#[inline]
pub const fn decap_ecn(outer_tos: u8, inner_tos: u8) -> Option<u8> {
    let ecn = match (inner_tos & ECN, outer_tos & ECN) {
        (_, NOT_ECT) => return Some(inner_tos),
        (NOT_ECT, CE) => return None,
        (ECT_0 | ECT_1, CE) => CE,
        (ECT_0, ECT_1) => ECT_1,
        (inner, _) => inner,
    };
    Some(inner_tos & !ECN | ecn)
}
