//! IPv6: addresses and tables of the lab, packets in and out. What goes in is built by etherparse or by hand from the
//! RFCs, what comes out is read the same way, every checksum over its own sum.
#![allow(dead_code, reason = "every test file uses another part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, missing_docs, reason = "test code")]

use std::net::{Ipv4Addr, Ipv6Addr};

use datapath::service::{Backend, Listen, Path, Tables, VirtualService};
use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, Ipv6FlowLabel, Ipv6Header, PacketBuilder, TcpHeader, TcpOptionElement};
use wire::{MacAddr, Protocol};

use super::{CLIENT_MAC, OUR_MACS, SERVER_MAC};

pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 7);
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 0x50);
pub const SNAT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 1);
pub const ROUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 8, 0, 0, 0, 0, 1);
/// What stands for them.
pub const VIP_FOR_SIX: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 1);
pub const SERVER_FOR_SIX: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 2);
pub const SNAT_FOR_SIX: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 3);

/// The n-th client.
pub fn client6(n: u16) -> Ipv6Addr {
    Ipv6Addr::from_bits(CLIENT6.to_bits() & !0xffff | u128::from(n))
}

/// The tables of the lab, with the IPv6 addresses above.
pub fn tables(services: Vec<VirtualService>) -> Tables {
    Tables {
        six: vec![(VIP6, VIP_FOR_SIX), (SERVER6, SERVER_FOR_SIX), (SNAT6, SNAT_FOR_SIX)],
        ..super::tables(services)
    }
}

/// A service that listens on both VIPs, without backends.
pub fn service(id: u32, protocol: Protocol, port: u16) -> VirtualService {
    let mut service = super::service(id, protocol, port, &[]);
    service.listens.push(Listen { address: VIP_FOR_SIX, ports: port..=port, protocol });
    service
}

pub fn backend(id: u32) -> Backend {
    let mut backend = super::plain_backend(id);
    backend.address = SERVER_FOR_SIX;
    if let Path::Plain { snat, .. } = &mut backend.path {
        *snat = vec![SNAT_FOR_SIX];
    }
    backend
}

pub fn frame(src: MacAddr, dst: MacAddr, ip: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0, &[0x86, 0xdd], ip].concat()
}

pub fn by_client(ip: &[u8]) -> Vec<u8> {
    frame(CLIENT_MAC, OUR_MACS[0], ip)
}

pub fn by_server(ip: &[u8]) -> Vec<u8> {
    frame(SERVER_MAC, OUR_MACS[1], ip)
}

pub fn header(src: Ipv6Addr, dst: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let ip = Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: payload.len() as u16,
        next_header: IpNumber(next),
        hop_limit: 64,
        source: src.octets(),
        destination: dst.octets(),
    };
    [&ip.to_bytes()[..], payload].concat()
}

pub fn udp6(src: (Ipv6Addr, u16), dst: (Ipv6Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv6(src.0.octets(), dst.0.octets(), 64).udp(src.1, dst.1).write(&mut bytes, payload).unwrap();
    bytes
}

pub fn ping6(src: Ipv6Addr, dst: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv6(src.octets(), dst.octets(), 64).icmpv6_echo_request(7, 9).write(&mut bytes, payload).unwrap();
    bytes
}

pub fn tcp6(src: (Ipv6Addr, u16), dst: (Ipv6Addr, u16), flags: &str, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let mut tcp = TcpHeader::new(src.1, dst.1, seq, 65_535);
    tcp.acknowledgment_number = ack;
    tcp.syn = flags.contains('S');
    tcp.ack = flags.contains('A');
    tcp.fin = flags.contains('F');
    tcp.rst = flags.contains('R');
    if tcp.syn {
        tcp.set_options(&[TcpOptionElement::MaximumSegmentSize(1440)]).unwrap();
    }
    tcp.checksum = tcp.calc_checksum_ipv6_raw(src.0.octets(), dst.0.octets(), payload).unwrap();
    let l4 = [&tcp.to_bytes()[..], payload].concat();
    header(src.0, dst.0, 6, &l4)
}

/// An `ICMPv6` error (RFC 4443 3) that quotes all of `original`.
pub fn error6(src: Ipv6Addr, dst: Ipv6Addr, kind: u8, code: u8, rest: u32, original: &[u8]) -> Vec<u8> {
    let mut icmp = vec![kind, code, 0, 0];
    icmp.extend(rest.to_be_bytes());
    icmp.extend(&original[..original.len().min(1232)]);
    let sum = !total(src, dst, 58, &icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    header(src, dst, 58, &icmp)
}

/// Cuts a packet without extension headers into fragments of so many bytes (RFC 8200 4.5).
pub fn fragments6(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let pieces: Vec<&[u8]> = packet[40..].chunks(size).collect();
    let piece = |(n, piece): (usize, &&[u8])| {
        let more = u16::from(n + 1 < pieces.len());
        let mut payload = vec![packet[6], 0];
        payload.extend(((n * size) as u16 | more).to_be_bytes());
        payload.extend(0xdead_4242_u32.to_be_bytes());
        payload.extend(*piece);
        let mut bytes = packet[..40].to_vec();
        bytes[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        bytes[6] = 44;
        bytes.extend(payload);
        bytes
    };
    pieces.iter().enumerate().map(piece).collect()
}

/// The sum that a checksum is the complement of: pseudo header (RFC 8200 8.1) and payload.
fn total(src: Ipv6Addr, dst: Ipv6Addr, next: u8, payload: &[u8]) -> u16 {
    let sum = Sum16BitWords::new()
        .add_slice(&src.octets())
        .add_slice(&dst.octets())
        .add_4bytes((payload.len() as u32).to_be_bytes())
        .add_4bytes([0, 0, 0, next])
        .add_slice(payload);
    !sum.ones_complement().to_be()
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Seen6 {
    pub ethernet: Option<(MacAddr, MacAddr)>,
    pub src: Ipv6Addr,
    pub dst: Ipv6Addr,
    pub hop_limit: u8,
    pub next: u8,
    /// Offset in bytes, more, identification.
    pub fragment: Option<(u16, bool, u32)>,
    pub payload: Vec<u8>,
    pub bytes: Vec<u8>,
}

/// Reads a frame with an Ethernet header. Every checksum must be right.
pub fn see6(frame: &[u8]) -> Seen6 {
    assert_eq!(&frame[12..14], [0x86, 0xdd], "IPv6");
    let mac = |bytes: &[u8]| MacAddr(bytes.try_into().unwrap());
    Seen6 { ethernet: Some((mac(&frame[6..12]), mac(&frame[..6]))), ..see_ip6(&frame[14..]) }
}

/// As [`see6`], of a packet without link header.
pub fn see_ip6(bytes: &[u8]) -> Seen6 {
    let (ip, rest) = Ipv6Header::from_slice(bytes).unwrap();
    assert_eq!(usize::from(ip.payload_length), rest.len(), "trailing or missing bytes");
    let (src, dst) = (Ipv6Addr::from(ip.source), Ipv6Addr::from(ip.destination));
    let (mut next, mut payload, mut fragment) = (ip.next_header.0, rest, None);
    if next == 44 {
        let which = u16::from_be_bytes([rest[2], rest[3]]);
        fragment = Some((which & !7, which & 1 == 1, u32::from_be_bytes(rest[4..8].try_into().unwrap())));
        (next, payload) = (rest[0], &rest[8..]);
    }
    if fragment.is_none() {
        let checksum_at = if next == 17 { 6 } else { 0 };
        assert!(next != 17 || payload[checksum_at..checksum_at + 2] != [0, 0], "UDP without a checksum");
        assert_eq!(total(src, dst, next, payload), 0xffff, "checksum");
    }
    let hop_limit = ip.hop_limit;
    Seen6 { ethernet: None, src, dst, hop_limit, next, fragment, payload: payload.to_vec(), bytes: bytes.to_vec() }
}

impl Seen6 {
    pub fn ports(&self) -> (u16, u16) {
        let l4 = &self.payload;
        (u16::from_be_bytes([l4[0], l4[1]]), u16::from_be_bytes([l4[2], l4[3]]))
    }

    pub fn tcp(&self) -> TcpHeader {
        TcpHeader::from_slice(&self.payload).unwrap().0
    }

    pub fn mss(&self) -> Option<u16> {
        self.tcp().options_iterator().filter_map(Result::ok).find_map(|option| match option {
            TcpOptionElement::MaximumSegmentSize(mss) => Some(mss),
            _ => None,
        })
    }
}

/// Puts fragments together again.
pub fn reassemble6(mut pieces: Vec<Seen6>) -> Seen6 {
    pieces.sort_by_key(|piece| piece.fragment.unwrap().0);
    let (first, mut payload) = (pieces[0].clone(), Vec::new());
    for (n, piece) in pieces.iter().enumerate() {
        let (offset, more, id) = piece.fragment.unwrap();
        assert_eq!(usize::from(offset), payload.len(), "a hole or an overlap");
        assert_eq!((more, id), (n + 1 < pieces.len(), first.fragment.unwrap().2));
        assert!(piece.bytes.len() <= 1280, "a link may not carry {} bytes", piece.bytes.len());
        payload.extend(&piece.payload);
    }
    see_ip6(&header(first.src, first.dst, first.next, &payload))
}
