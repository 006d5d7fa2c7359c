//! A look at a received frame: where its packet is, and what it carries. VXLAN is opened.

use std::net::Ipv4Addr;

use super::network::TUNNEL_PORT;

const ETHERNET: usize = 14;
/// Outer Ethernet, IPv4, UDP and VXLAN headers.
pub const TUNNEL_LEN: usize = 14 + 20 + 8 + 8;
/// IP protocol number.
pub const TCP: u8 = 6;
/// IP protocol number.
pub const UDP: u8 = 17;

/// Offsets into a frame with an IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The packet came through the tunnel.
    pub tunnelled: bool,
    /// Where the (inner) Ethernet header begins.
    pub link: usize,
    /// Where the (inner) IPv4 header begins.
    pub ip: usize,
    /// Where the header after it begins.
    pub l4: usize,
    /// Where the packet ends; frames may be padded.
    pub end: usize,
    /// TCP, UDP or another.
    pub protocol: u8,
}

impl View {
    /// Looks at a frame. None: not IPv4, or cut short.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<View> {
        let outer = View::at(frame, 0)?;
        let tunnelled = outer.protocol == UDP && word(frame, outer.l4 + 2)? == TUNNEL_PORT;
        if !tunnelled {
            return Some(outer);
        }
        Some(View { tunnelled: true, ..View::at(frame, TUNNEL_LEN)? })
    }

    fn at(frame: &[u8], link: usize) -> Option<View> {
        let ip = link + ETHERNET;
        if word(frame, link + 12)? != 0x0800 {
            return None;
        }
        let l4 = ip + usize::from(frame.get(ip)? & 0xf) * 4;
        let end = ip + usize::from(word(frame, ip + 2)?);
        let protocol = *frame.get(ip + 9)?;
        // Eight bytes: ports, and what follows them in UDP.
        (l4 + 8 <= end && end <= frame.len()).then_some(View { tunnelled: false, link, ip, l4, end, protocol })
    }

    /// Sender and receiver.
    #[must_use]
    pub fn addresses(&self, frame: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let at = |offset: usize| frame.get(offset..)?.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes));
        Some((at(self.ip + 12)?, at(self.ip + 16)?))
    }

    /// Source and destination port.
    #[must_use]
    pub fn ports(&self, frame: &[u8]) -> Option<(u16, u16)> {
        Some((word(frame, self.l4)?, word(frame, self.l4 + 2)?))
    }

    /// What a UDP datagram carries.
    #[must_use]
    pub fn datagram<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        if self.protocol == UDP { frame.get(self.l4 + 8..self.end) } else { None }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|pair| u16::from_be_bytes(*pair))
}
