//! IPv6 packets for the tests of the translation: built and read by etherparse, summed from scratch.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader};
use proptest::prelude::*;
use wire::translate::ROOM;
use wire::{Ipv6, Pair, Protocol, Untranslatable};

use super::{Plan, slow_sum};

/// The well-known prefix (RFC 6052) gives every IPv4 address another form.
pub fn widen(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(0x0064_ff9b_u128 << 96 | u128::from(address.to_bits()))
}

/// And back.
pub fn narrow(address: Ipv6Addr) -> Option<Ipv4Addr> {
    (address.to_bits() >> 32 == 0x0064_ff9b_u128 << 64).then(|| Ipv4Addr::from_bits(address.to_bits() as u32))
}

pub fn addresses6() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits & !(7 << 125) | 1 << 125))
}

pub fn pairs6() -> impl Strategy<Value = Pair<Ipv6Addr>> {
    (addresses6(), addresses6()).prop_map(|(src, dst)| Pair { src, dst })
}

/// The plan as an IPv6 packet between `pair`, with a flow label.
pub fn build6(plan: &Plan, pair: Pair<Ipv6Addr>) -> Vec<u8> {
    let mut ip = Ipv6Header {
        traffic_class: plan.tos,
        flow_label: Ipv6FlowLabel::try_new(0x5_4321).expect("20 bits"),
        payload_length: 0,
        next_header: IpNumber(plan.tuple.protocol as u8),
        hop_limit: plan.ttl,
        source: pair.src.octets(),
        destination: pair.dst.octets(),
    };
    let l4 = l4(plan, &ip);
    ip.payload_length = l4.len() as u16;
    [ip.to_bytes().as_slice(), &l4].concat()
}

fn l4(plan: &Plan, ip: &Ipv6Header) -> Vec<u8> {
    let tuple = &plan.tuple;
    match tuple.protocol {
        Protocol::Tcp => {
            let mut tcp = TcpHeader::new(tuple.src_port, tuple.dst_port, 0x0102_0304, 0x7210);
            tcp.acknowledgment_number = 0xa0b0_c0d0;
            tcp.set_options_raw(&plan.tcp_options).expect("at most 40 bytes");
            (tcp.fin, tcp.syn) = (plan.tcp_flags & 1 != 0, plan.tcp_flags & 2 != 0);
            (tcp.rst, tcp.psh) = (plan.tcp_flags & 4 != 0, plan.tcp_flags & 8 != 0);
            tcp.ack = plan.tcp_flags & 16 != 0;
            tcp.checksum = tcp.calc_checksum_ipv6(ip, &plan.payload).expect("short enough");
            [tcp.to_bytes().as_slice(), &plan.payload].concat()
        }
        Protocol::Udp => {
            let (src, dst) = (tuple.src_port, tuple.dst_port);
            let udp = UdpHeader::with_ipv6_checksum(src, dst, ip, &plan.payload).expect("short enough");
            [udp.to_bytes().as_slice(), &plan.payload].concat()
        }
    }
}

/// Puts extension headers behind the fixed header: `(number, bytes)`; the first byte of each is filled in here.
pub fn extend(packet: &[u8], extensions: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut next = packet[6];
    let mut behind = packet[40..].to_vec();
    for (number, bytes) in extensions.iter().rev() {
        let mut header = bytes.clone();
        header[0] = std::mem::replace(&mut next, *number);
        behind.splice(0..0, header);
    }
    let mut packet = packet[..40].to_vec();
    packet[6] = next;
    packet[4..6].copy_from_slice(&(behind.len() as u16).to_be_bytes());
    packet.extend_from_slice(&behind);
    packet
}

/// A fragment header, to be filled in by [`extend`].
pub fn fragment_header(id: u32, offset_bytes: usize, more: bool) -> (u8, Vec<u8>) {
    let mut bytes = vec![0, 0];
    bytes.extend_from_slice(&(offset_bytes as u16 | u16::from(more)).to_be_bytes());
    bytes.extend_from_slice(&id.to_be_bytes());
    (44, bytes)
}

/// Panics unless the checksum behind the fixed header is right; sums from scratch.
pub fn assert_checksum6(packet: &[u8]) {
    let payload = &packet[40..];
    assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), payload.len(), "payload length");
    assert_eq!(slow_sum(&[&pseudo6(packet, payload.len()), payload]), 0xffff, "L4 checksum");
    assert_ne!((packet[6], packet.get(46..48)), (17, Some(&[0, 0][..])), "UDP must have a checksum");
}

/// The pseudo header of what follows the fixed header, as bytes.
pub fn pseudo6(packet: &[u8], len: usize) -> Vec<u8> {
    [&packet[8..40], &(len as u32).to_be_bytes(), &[0, 0, 0, packet[6]]].concat()
}

pub fn parse6(packet: &[u8]) -> Ipv6 {
    Ipv6::parse(packet, 0).expect("well-formed")
}

/// The packet as IPv4, between `to`; quoted addresses by the well-known prefix.
pub fn to_four(packet: &[u8], to: Pair<Ipv4Addr>) -> Result<Vec<u8>, Untranslatable> {
    let mut frame = packet.to_vec();
    let ip = Ipv6::parse(&frame, 0)?;
    let range = wire::six_to_four(&mut frame, &ip, to, 0x1234, narrow)?;
    Ok(frame[range].to_vec())
}

/// The packet as IPv6, between `to`; quoted addresses by the well-known prefix.
pub fn to_six(packet: &[u8], to: Pair<Ipv6Addr>) -> Result<Vec<u8>, Untranslatable> {
    let mut frame = [vec![0xee; ROOM], packet.to_vec()].concat();
    let range = wire::four_to_six(&mut frame, ROOM, to, |address| Some(widen(address)))?;
    Ok(frame[range].to_vec())
}
