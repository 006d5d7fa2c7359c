//! Raw frames: made byte by byte, apart from the gateway's own builders, and sent through a packet socket.

use crate::{Failure, Outcome};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, bind, send, socket};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

/// `len` bytes in which every position differs from its neighbours.
#[must_use]
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8) ^ len) as u8).collect()
}

/// A socket that puts frames onto one interface as they are.
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens it.
    ///
    /// # Errors
    /// Not root, or no such interface.
    pub fn open(interface: &str) -> Outcome<PacketSocket> {
        let address = link_address(interface)?;
        // Protocol 0: this socket receives nothing.
        let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        bind(fd.as_raw_fd(), &address)?;
        Ok(PacketSocket(fd))
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// The kernel refuses it (longer than the MTU, interface down).
    pub fn send(&self, frame: &[u8]) -> nix::Result<usize> {
        send(self.0.as_raw_fd(), frame, MsgFlags::empty())
    }
}

/// The MAC of an interface.
///
/// # Errors
/// No such interface.
pub fn mac_of(interface: &str) -> Outcome<[u8; 6]> {
    link_address(interface)?.addr().ok_or_else(|| Failure::new(format!("{interface} has no MAC")))
}

fn link_address(interface: &str) -> Outcome<LinkAddr> {
    getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .ok_or_else(|| Failure::new(format!("no interface {interface}")))
}

/// RFC 1071.
#[must_use]
pub fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A UDP header and payload with its checksum.
#[must_use]
pub fn udp_datagram(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>, payload: &[u8]) -> Vec<u8> {
    let (from, to) = (from.into(), to.into());
    let len = (8 + payload.len()) as u16;
    let mut out = Vec::with_capacity(usize::from(len));
    out.extend(from.port().to_be_bytes());
    out.extend(to.port().to_be_bytes());
    out.extend(len.to_be_bytes());
    out.extend([0, 0]);
    out.extend(payload);
    let mut pseudo = Vec::new();
    for address in [from.ip(), to.ip()] {
        match address {
            IpAddr::V4(address) => pseudo.extend(address.octets()),
            IpAddr::V6(address) => pseudo.extend(address.octets()),
        }
    }
    pseudo.extend([0, 17]);
    pseudo.extend(len.to_be_bytes());
    let checksum = match internet_checksum(&[&pseudo, &out]) {
        0 => 0xffff,
        other => other,
    };
    out[6..8].copy_from_slice(&checksum.to_be_bytes());
    out
}

/// What differs between the IPv4 headers that the tests send.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Fields {
    /// Identification.
    pub id: u16,
    /// Offset of this fragment.
    pub offset_bytes: usize,
    /// More fragments follow.
    pub more: bool,
    /// Time to live.
    pub ttl: u8,
    /// 6 TCP, 17 UDP.
    pub protocol: u8,
}

/// An Ethernet frame with an IPv4 packet.
#[must_use]
pub fn ipv4_frame(
    macs: ([u8; 6], [u8; 6]),
    ends: (SocketAddrV4, SocketAddrV4),
    ip: Ipv4Fields,
    body: &[u8],
) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend(((20 + body.len()) as u16).to_be_bytes());
    header.extend(ip.id.to_be_bytes());
    let flags = (ip.offset_bytes / 8) as u16 | if ip.more { 0x2000 } else { 0 };
    header.extend(flags.to_be_bytes());
    header.extend([ip.ttl, ip.protocol, 0, 0]);
    header.extend(ends.0.ip().octets());
    header.extend(ends.1.ip().octets());
    let checksum = internet_checksum(&[&header]);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    let (from, to) = macs;
    [&to[..], &from, &[0x08, 0x00], &header, body].concat()
}

/// An Ethernet frame with a fragment of an IPv6 packet; `ip.ttl` is its hop limit.
#[must_use]
pub fn ipv6_fragment(
    macs: ([u8; 6], [u8; 6]),
    ends: (SocketAddrV6, SocketAddrV6),
    ip: Ipv4Fields,
    body: &[u8],
) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(((8 + body.len()) as u16).to_be_bytes());
    header.extend([44, ip.ttl]);
    header.extend(ends.0.ip().octets());
    header.extend(ends.1.ip().octets());
    header.extend([ip.protocol, 0]);
    header.extend((ip.offset_bytes as u16 | u16::from(ip.more)).to_be_bytes());
    header.extend(u32::from(ip.id).to_be_bytes());
    let (from, to) = macs;
    [&to[..], &from, &[0x86, 0xdd], &header, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_example_in_rfc_1071() {
        assert_eq!(internet_checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }
}
