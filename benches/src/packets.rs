//! Frames as clients and nodes send them, built by etherparse: templates with the client's side left open.

use std::net::Ipv4Addr;

use etherparse::{IpNumber, Ipv4Header, TcpHeader, TcpOptionElement, UdpHeader};
use wire::MacAddr;

use crate::network::{CLIENT_MAC, OUR_MACS, OVERLAY, TARGET_PORT, TCP_PORT, UDP_PORT, VIP, VNI, VTEP, node, task};
use crate::traffic::{Hole, Template};

/// Ethernet, IPv4 and UDP header, VXLAN header, inner Ethernet header.
pub const TUNNEL_LEN: usize = 14 + 20 + 8 + 8 + 14;

/// A segment of the one conversation that all connections have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The first packet, with the options that Linux sends.
    Syn,
    /// Its answer.
    SynAck,
    /// Data, as a frame (without tunnel) of this many bytes; with timestamps if they fit.
    Data(usize),
}

/// From a client to the TCP service; the source is open.
#[must_use]
pub fn from_client(segment: Segment) -> Template {
    let packet = tcp((Ipv4Addr::UNSPECIFIED, 0), (VIP, TCP_PORT), segment, false);
    Template::new(ethernet(CLIENT_MAC, OUR_MACS[0], &packet), 14, Hole::Source)
}

/// From the n-th task back to the gateway, through the tunnel; the destination port is open.
#[must_use]
pub fn from_task(n: usize, segment: Segment) -> Template {
    let packet = tcp((task(n), TARGET_PORT), (Ipv4Addr::UNSPECIFIED, 0), segment, true);
    Template::new(tunnelled(n, node(n), &packet), TUNNEL_LEN, Hole::Destination)
}

/// As [`from_task`], from an address that is no node of ours.
#[must_use]
pub fn from_stranger(segment: Segment) -> Template {
    let packet = tcp((task(0), TARGET_PORT), (Ipv4Addr::UNSPECIFIED, 0), segment, true);
    Template::new(tunnelled(0, Ipv4Addr::new(198, 18, 1, 250), &packet), TUNNEL_LEN, Hole::Destination)
}

/// A datagram of a client to the UDP service; the source is open.
#[must_use]
pub fn datagram(frame_len: usize) -> Template {
    let packet = udp((Ipv4Addr::UNSPECIFIED, 0), (VIP, UDP_PORT), frame_len);
    Template::new(ethernet(CLIENT_MAC, OUR_MACS[0], &packet), 14, Hole::Source)
}

/// The answer of the n-th task, 64 bytes without the tunnel; the destination port is open.
#[must_use]
pub fn datagram_of_task(n: usize) -> Template {
    let packet = udp((task(n), TARGET_PORT), (Ipv4Addr::UNSPECIFIED, 0), 64);
    Template::new(tunnelled(n, node(n), &packet), TUNNEL_LEN, Hole::Destination)
}

fn udp(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), frame_len: usize) -> Vec<u8> {
    let payload = vec![0x5a; frame_len.saturating_sub(14 + 20 + 8)];
    let ip = ip_header(src.0, dst.0, IpNumber::UDP, payload.len() + 8);
    let length = (payload.len() + 8) as u16;
    let mut udp = UdpHeader { source_port: src.1, destination_port: dst.1, length, checksum: 0 };
    udp.checksum = udp.calc_checksum_ipv4(&ip, &payload).unwrap_or_default();
    [&ip.to_bytes()[..], &udp.to_bytes(), &payload].concat()
}

/// Like [`from_client`] data, to an address that is not ours.
#[must_use]
pub fn to_somebody_else() -> Template {
    let packet = tcp((Ipv4Addr::UNSPECIFIED, 0), (Ipv4Addr::new(198, 18, 0, 99), TCP_PORT), Segment::Data(64), false);
    Template::new(ethernet(CLIENT_MAC, OUR_MACS[0], &packet), 14, Hole::Source)
}

/// Like [`from_client`] data, with an IPv4 header that claims another version.
#[must_use]
pub fn malformed() -> Template {
    let mut packet = tcp((Ipv4Addr::UNSPECIFIED, 0), (VIP, TCP_PORT), Segment::Data(64), false);
    packet[0] = 0x55;
    Template::new(ethernet(CLIENT_MAC, OUR_MACS[0], &packet), 14, Hole::Source)
}

fn tcp(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), segment: Segment, by_task: bool) -> Vec<u8> {
    let mut header = TcpHeader::new(src.1, dst.1, if by_task { 5000 } else { 1000 }, 65_000);
    let timestamps = TcpOptionElement::Timestamp(1_000_000, u32::from(segment != Segment::Syn));
    let opening = [
        TcpOptionElement::MaximumSegmentSize(1460),
        TcpOptionElement::SelectiveAcknowledgementPermitted,
        timestamps.clone(),
        TcpOptionElement::Noop,
        TcpOptionElement::WindowScale(7),
    ];
    let mut payload = Vec::new();
    // Too many options is the only error, and these fit.
    match segment {
        Segment::Syn | Segment::SynAck => drop(header.set_options(&opening)),
        Segment::Data(len) => {
            header.sequence_number += 1;
            if len > 14 + 20 + 20 + 12 {
                let options = [TcpOptionElement::Noop, TcpOptionElement::Noop, timestamps];
                drop(header.set_options(&options));
            }
            payload = vec![0x5a; len.saturating_sub(14 + 20 + header.header_len())];
        }
    }
    header.syn = !matches!(segment, Segment::Data(_));
    header.ack = segment != Segment::Syn;
    if header.ack {
        header.acknowledgment_number = if by_task { 1001 } else { 5001 };
    }
    let ip = ip_header(src.0, dst.0, IpNumber::TCP, header.header_len() + payload.len());
    header.checksum = header.calc_checksum_ipv4(&ip, &payload).unwrap_or_default();
    [&ip.to_bytes()[..], &header.to_bytes(), &payload].concat()
}

fn ip_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: IpNumber, payload: usize) -> Ipv4Header {
    let mut ip = Ipv4Header {
        protocol,
        time_to_live: 64,
        total_len: (20 + payload) as u16,
        dont_fragment: true,
        source: src.octets(),
        destination: dst.octets(),
        ..Ipv4Header::default()
    };
    ip.header_checksum = ip.calc_header_checksum();
    ip
}

fn ethernet(src: MacAddr, dst: MacAddr, ip: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0, &[0x08, 0x00], ip].concat()
}

/// RFC 7348 §5, written out.
fn tunnelled(n: usize, outer_src: Ipv4Addr, packet: &[u8]) -> Vec<u8> {
    let inner = ethernet(MacAddr::docker(task(n)), MacAddr::docker(OVERLAY), packet);
    let ip = ip_header(outer_src, VTEP, IpNumber::UDP, 8 + 8 + inner.len());
    let udp = UdpHeader {
        source_port: 54_321,
        destination_port: vxlan::PORT,
        length: (16 + inner.len()) as u16,
        checksum: 0,
    };
    let vni = (VNI << 8).to_be_bytes();
    let outer = [&ip.to_bytes()[..], &udp.to_bytes(), &[8, 0, 0, 0], &vni, &inner].concat();
    ethernet(crate::network::node_mac(n), OUR_MACS[1], &outer)
}
