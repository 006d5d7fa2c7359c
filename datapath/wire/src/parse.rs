//! One forward pass over the headers of a packet.

use crate::ipv4::protocol;
use crate::{FiveTuple, Icmp, Ipv4, Malformed, Protocol, Tcp, Udp};

/// The headers of one packet, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The IPv4 header.
    pub ip: Ipv4,
    /// What follows it.
    pub l4: L4,
}

/// What follows the IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4 {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
    /// ICMP.
    Icmp(Icmp),
    /// A piece of some datagram, without L4 header.
    LaterFragment,
    /// Another protocol: its number.
    Other(u8),
}

impl Headers {
    /// Parses the packet whose IPv4 header is at `offset` of `frame`.
    ///
    /// First fragments have their L4 header parsed too; its lengths are then not checked against the whole datagram.
    ///
    /// # Errors
    /// A [`Malformed`] when lengths do not fit together or the IPv4 header checksum is wrong. L4 checksums are left to
    /// the receiver, as on any router.
    #[inline]
    pub fn parse(frame: &[u8], offset: usize) -> Result<Self, Malformed> {
        let ip = Ipv4::parse(frame, offset)?;
        if ip.is_later_fragment() {
            return Ok(Self { ip, l4: L4::LaterFragment });
        }
        let (start, available, whole) = (ip.payload(), ip.payload_len(), !ip.more_fragments());
        let l4 = match ip.protocol() {
            protocol::TCP => L4::Tcp(Tcp::parse(frame, start, available, whole)?),
            protocol::UDP => L4::Udp(Udp::parse(frame, start, available, whole)?),
            protocol::ICMP => L4::Icmp(Icmp::parse(frame, start, available)?),
            other => L4::Other(other),
        };
        Ok(Self { ip, l4 })
    }

    /// Whether the packet is TCP or UDP, and its ports are here.
    #[must_use]
    #[inline]
    pub const fn has_ports(&self) -> bool {
        matches!(self.l4, L4::Tcp(_) | L4::Udp(_))
    }

    /// The key of the packet's flow, if it is TCP or UDP and its ports are here.
    #[must_use]
    #[inline]
    pub fn five_tuple(&self) -> Option<FiveTuple> {
        let (protocol, src_port, dst_port) = match &self.l4 {
            L4::Tcp(tcp) => (Protocol::Tcp, tcp.src_port(), tcp.dst_port()),
            L4::Udp(udp) => (Protocol::Udp, udp.src_port, udp.dst_port),
            _ => return None,
        };
        Some(FiveTuple { src: self.ip.src(), dst: self.ip.dst(), src_port, dst_port, protocol })
    }
}
