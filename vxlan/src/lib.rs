//! VXLAN (RFC 7348): encapsulation from a prepared template, decapsulation.
//!
//! Pure: no I/O, no clock.
#![forbid(unsafe_code)]

mod decap;
mod encap;
mod vni;

pub use decap::{Vxlan, decap_ecn, parse};
pub use encap::{Encap, Tunnel, entropy};
pub use vni::{Vni, VniTooLarge};

/// The UDP port that IANA gave to VXLAN.
pub const PORT: u16 = 4789;

/// Length of the VXLAN header.
pub const HEADER_LEN: usize = 8;

/// What the tunnel takes of the underlay's MTU: outer IPv4 and UDP header, VXLAN header, inner Ethernet header.
pub const OVERHEAD: usize = 20 + 8 + HEADER_LEN + wire::ETHERNET_LEN;

/// The flag that says that the VNI counts.
const FLAG_I: u8 = 0x08;

#[cfg(test)]
mod tests {
    #[test]
    fn docker_overlay_mtu() {
        assert_eq!(super::OVERHEAD, 50);
    }
}
