//! The Ethernet II header.

use crate::bytes::{get16, window};
use crate::{MacAddr, Malformed};

/// Length of an Ethernet header without tags.
pub const ETHERNET_LEN: usize = 14;

/// The ethertypes that the gateway speaks.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// An Ethernet header, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Destination address.
    pub dst: MacAddr,
    /// Source address.
    pub src: MacAddr,
    /// What follows; see [`ethertype`].
    pub ethertype: u16,
}

/// The Ethernet header at the start of `frame`.
///
/// # Errors
/// [`Malformed::Truncated`] on less than 14 bytes.
#[inline]
pub fn ethernet(frame: &[u8]) -> Result<Ethernet, Malformed> {
    let header: &[u8; ETHERNET_LEN] = window(frame, 0).ok_or(Malformed::Truncated)?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, _, _] = *header;
    Ok(Ethernet {
        dst: MacAddr([d0, d1, d2, d3, d4, d5]),
        src: MacAddr([s0, s1, s2, s3, s4, s5]),
        ethertype: get16(header, 12),
    })
}

/// Writes an Ethernet header at the start of `buf` and returns its length, 0 if `buf` is too short.
#[inline]
pub fn write_ethernet(buf: &mut [u8], dst: MacAddr, src: MacAddr, ethertype: u16) -> usize {
    let Some(header) = buf.first_chunk_mut::<ETHERNET_LEN>() else { return 0 };
    header[0..6].copy_from_slice(&dst.0);
    header[6..12].copy_from_slice(&src.0);
    header[12..14].copy_from_slice(&ethertype.to_be_bytes());
    ETHERNET_LEN
}
