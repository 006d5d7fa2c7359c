//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use crate::bytes::{get_address, get16, window};
use crate::{MacAddr, Malformed};

/// Length of an ARP packet for IPv4 over Ethernet.
pub const ARP_LEN: usize = 28;
/// Operation of a request.
pub const REQUEST: u16 = 1;
/// Operation of a reply.
pub const REPLY: u16 = 2;

/// Hardware type Ethernet, protocol type IPv4, address lengths 6 and 4: how each of our ARP packets starts.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// An ARP packet, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// [`REQUEST`] or [`REPLY`]; others are passed through.
    pub operation: u16,
    /// Who sends, and claims `sender`.
    pub sender_mac: MacAddr,
    /// The address of the sender.
    pub sender: Ipv4Addr,
    /// Whom a reply is for; without meaning in a request.
    pub target_mac: MacAddr,
    /// The address that is asked for.
    pub target: Ipv4Addr,
}

impl Arp {
    /// The ARP packet at the start of `bytes` (after the Ethernet header); padding may follow.
    ///
    /// # Errors
    /// [`Malformed::BadArp`] if it is too short or not about IPv4 over Ethernet.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let packet: &[u8; ARP_LEN] = window(bytes, 0).ok_or(Malformed::BadArp)?;
        if packet[0..6] != ETHERNET_IPV4 {
            return Err(Malformed::BadArp);
        }
        let mac = |at: usize| MacAddr(std::array::from_fn(|i| packet[at + i]));
        Ok(Self {
            operation: get16(packet, 6),
            sender_mac: mac(8),
            sender: get_address(packet, 14),
            target_mac: mac(18),
            target: get_address(packet, 24),
        })
    }

    /// Writes the packet at the start of `buf` and returns its length, 0 if `buf` is too short.
    pub fn write(&self, buf: &mut [u8]) -> usize {
        let Some(packet) = buf.first_chunk_mut::<ARP_LEN>() else { return 0 };
        packet[0..6].copy_from_slice(&ETHERNET_IPV4);
        packet[6..8].copy_from_slice(&self.operation.to_be_bytes());
        packet[8..14].copy_from_slice(&self.sender_mac.0);
        packet[14..18].copy_from_slice(&self.sender.octets());
        packet[18..24].copy_from_slice(&self.target_mac.0);
        packet[24..28].copy_from_slice(&self.target.octets());
        ARP_LEN
    }
}
