//! Packets in and out, by etherparse.
#![allow(dead_code, reason = "every test file uses another part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, missing_docs, reason = "test code")]

use std::net::Ipv4Addr;

use etherparse::{IpNumber, Ipv4Header, PacketBuilder, SlicedPacket, TcpHeader, TcpOptionElement, TransportSlice};
use wire::MacAddr;

use super::{CLIENT, CLIENT_MAC, NODE_MACS, OUR_MACS, OUR_OVERLAY, OUR_VTEP, TASKS, VIP, VNI, VTEPS, our_overlay_mac};

/// A TCP segment as a client stack makes it.
#[derive(Clone, Debug)]
pub struct Segment {
    pub src: (Ipv4Addr, u16),
    pub dst: (Ipv4Addr, u16),
    pub flags: &'static str,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub options: Vec<TcpOptionElement>,
    pub payload: Vec<u8>,
    pub ttl: u8,
    pub tos: u8,
}

impl Segment {
    pub fn new(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), flags: &'static str, seq: u32, ack: u32) -> Self {
        Self { src, dst, flags, seq, ack, window: 65_535, options: vec![], payload: vec![], ttl: 64, tos: 0 }
    }

    /// A client's SYN to the VIP.
    pub fn syn(port: u16) -> Self {
        let options = vec![
            TcpOptionElement::MaximumSegmentSize(1460),
            TcpOptionElement::SelectiveAcknowledgementPermitted,
            TcpOptionElement::Timestamp(1_000_000, 0),
            TcpOptionElement::Noop,
            TcpOptionElement::WindowScale(7),
        ];
        Self { options, ..Self::new((CLIENT, port), (VIP, 8080), "S", 1000, 0) }
    }

    pub fn with(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// IPv4 packet.
    pub fn ip(&self) -> Vec<u8> {
        let mut tcp = TcpHeader::new(self.src.1, self.dst.1, self.seq, self.window);
        tcp.acknowledgment_number = self.ack;
        for flag in self.flags.chars() {
            match flag {
                'S' => tcp.syn = true,
                'A' => tcp.ack = true,
                'F' => tcp.fin = true,
                'R' => tcp.rst = true,
                'P' => tcp.psh = true,
                other => panic!("flag {other}"),
            }
        }
        tcp.set_options(&self.options).unwrap();
        let mut ip = header(self.src.0, self.dst.0, IpNumber::TCP, tcp.header_len() + self.payload.len(), self.ttl);
        ip.dscp = (self.tos >> 2).try_into().unwrap();
        ip.ecn = (self.tos & 3).try_into().unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        tcp.checksum = tcp.calc_checksum_ipv4(&ip, &self.payload).unwrap();
        let mut bytes = Vec::new();
        ip.write(&mut bytes).unwrap();
        tcp.write(&mut bytes).unwrap();
        bytes.extend(&self.payload);
        bytes
    }

    /// As the client's neighbour sends it to us.
    pub fn sent_by_client(&self) -> Vec<u8> {
        ethernet(CLIENT_MAC, OUR_MACS[0], &self.ip())
    }

    /// As the task's node sends it to us.
    pub fn sent_by_task(&self, n: usize) -> Vec<u8> {
        Tunnel::from_node(n).wrap(&self.ip())
    }
}

fn header(src: Ipv4Addr, dst: Ipv4Addr, protocol: IpNumber, payload: usize, ttl: u8) -> Ipv4Header {
    let mut ip = Ipv4Header::new(payload as u16, ttl, protocol, src.octets(), dst.octets()).unwrap();
    ip.dont_fragment = true;
    ip.header_checksum = ip.calc_header_checksum();
    ip
}

pub fn ethernet(src: MacAddr, dst: MacAddr, ip: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0, &[0x08, 0x00], ip].concat()
}

/// A UDP datagram as IPv4 packet.
pub fn udp(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4(src.0.octets(), dst.0.octets(), 64).udp(src.1, dst.1).write(&mut bytes, payload).unwrap();
    bytes
}

/// Cuts a datagram into fragments of so many payload bytes (a multiple of 8).
pub fn fragments(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (ip, payload) = Ipv4Header::from_slice(packet).unwrap();
    let pieces: Vec<&[u8]> = payload.chunks(size).collect();
    let fragment = |(n, piece): (usize, &&[u8])| {
        let mut ip = ip.clone();
        ip.dont_fragment = false;
        ip.identification = 0x4242;
        ip.more_fragments = n + 1 < pieces.len();
        ip.fragment_offset = ((n * size / 8) as u16).try_into().unwrap();
        ip.total_len = (ip.header_len() + piece.len()) as u16;
        ip.header_checksum = ip.calc_header_checksum();
        let mut bytes = Vec::new();
        ip.write(&mut bytes).unwrap();
        bytes.extend(*piece);
        bytes
    };
    pieces.iter().enumerate().map(fragment).collect()
}

/// Puts fragments together again.
pub fn reassemble(mut pieces: Vec<Vec<u8>>) -> Vec<u8> {
    pieces.sort_by_key(|piece| Ipv4Header::from_slice(piece).unwrap().0.fragment_offset.value());
    let mut whole = Ipv4Header::from_slice(&pieces[0]).unwrap().0;
    let mut payload = Vec::<u8>::new();
    for (n, piece) in pieces.iter().enumerate() {
        let (ip, rest) = Ipv4Header::from_slice(piece).unwrap();
        assert_eq!(usize::from(ip.fragment_offset.value()) * 8, payload.len(), "a hole or an overlap");
        assert_eq!(ip.more_fragments, n + 1 < pieces.len());
        payload.extend(rest);
    }
    whole.more_fragments = false;
    whole.total_len = (whole.header_len() + payload.len()) as u16;
    whole.header_checksum = whole.calc_header_checksum();
    let mut bytes = Vec::new();
    whole.write(&mut bytes).unwrap();
    bytes.extend(payload);
    bytes
}

/// The tunnel headers around a packet for us, written out by hand from RFC 7348 §5.
#[derive(Clone, Debug)]
pub struct Tunnel {
    pub ethernet: Option<(MacAddr, MacAddr)>,
    pub outer_src: Ipv4Addr,
    pub outer_dst: Ipv4Addr,
    pub outer_tos: u8,
    pub port: u16,
    pub flags: u8,
    pub vni: u32,
    pub inner_src: MacAddr,
    pub inner_dst: MacAddr,
    pub inner_type: u16,
}

impl Tunnel {
    pub fn from_node(n: usize) -> Self {
        Self {
            ethernet: Some((NODE_MACS[n], OUR_MACS[1])),
            outer_src: VTEPS[n],
            outer_dst: OUR_VTEP,
            outer_tos: 0,
            port: 4789,
            flags: 0x08,
            vni: VNI,
            inner_src: MacAddr::docker(TASKS[n]),
            inner_dst: our_overlay_mac(),
            inner_type: 0x0800,
        }
    }

    pub fn wrap(&self, inner: &[u8]) -> Vec<u8> {
        let mut payload = vec![self.flags, 0, 0, 0];
        payload.extend((self.vni << 8).to_be_bytes());
        payload.extend(self.inner_dst.0);
        payload.extend(self.inner_src.0);
        payload.extend(self.inner_type.to_be_bytes());
        payload.extend(inner);
        let mut ip = header(self.outer_src, self.outer_dst, IpNumber::UDP, payload.len() + 8, 64);
        ip.dont_fragment = false;
        ip.dscp = (self.outer_tos >> 2).try_into().unwrap();
        ip.ecn = (self.outer_tos & 3).try_into().unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        let udp = etherparse::UdpHeader::with_ipv4_checksum(54_321, self.port, &ip, &payload).unwrap();
        let mut bytes = Vec::new();
        ip.write(&mut bytes).unwrap();
        udp.write(&mut bytes).unwrap();
        bytes.extend(payload);
        match self.ethernet {
            Some((src, dst)) => ethernet(src, dst, &bytes),
            None => bytes,
        }
    }
}

/// What came out, read.
#[derive(Clone, Debug)]
pub struct Seen {
    pub ethernet: Option<(MacAddr, MacAddr)>,
    pub outer: Option<Outer>,
    pub ip: Ipv4Header,
    /// The IPv4 packet itself.
    pub bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Outer {
    pub ip: Ipv4Header,
    pub source_port: u16,
    pub destination_port: u16,
    pub vni: u32,
    pub inner_src: MacAddr,
    pub inner_dst: MacAddr,
}

fn mac(bytes: &[u8]) -> MacAddr {
    MacAddr(bytes.try_into().unwrap())
}

/// Reads a frame with an Ethernet header; VXLAN inside is opened. Every checksum on the way must be right.
pub fn see(frame: &[u8]) -> Seen {
    assert_eq!(&frame[12..14], [0x08, 0x00], "IPv4");
    let seen = see_ip(&frame[14..]);
    Seen { ethernet: Some((mac(&frame[6..12]), mac(&frame[..6]))), ..seen }
}

/// As [`see`], of a packet without link header.
pub fn see_ip(bytes: &[u8]) -> Seen {
    let (ip, rest) = Ipv4Header::from_slice(bytes).unwrap();
    assert_eq!(usize::from(ip.total_len), bytes.len(), "trailing or missing bytes");
    assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "IP checksum");
    let tunnel = ip.protocol == IpNumber::UDP && rest[2..4] == 4789u16.to_be_bytes();
    if !tunnel {
        assert_checksum(bytes, &ip, rest);
        return Seen { ethernet: None, outer: None, ip, bytes: bytes.to_vec() };
    }
    assert_eq!(usize::from(u16::from_be_bytes([rest[4], rest[5]])), rest.len(), "UDP length");
    assert_eq!(rest[6..8], [0, 0], "no UDP checksum outside");
    let vxlan = &rest[8..];
    assert_eq!((vxlan[0], &vxlan[1..4], vxlan[7]), (0x08, &[0, 0, 0][..], 0), "RFC 7348 §5");
    assert_eq!(vxlan[20..22], [0x08, 0x00], "inner IPv4");
    let outer = Outer {
        source_port: u16::from_be_bytes([rest[0], rest[1]]),
        destination_port: u16::from_be_bytes([rest[2], rest[3]]),
        vni: u32::from_be_bytes([0, vxlan[4], vxlan[5], vxlan[6]]),
        inner_dst: mac(&vxlan[8..14]),
        inner_src: mac(&vxlan[14..20]),
        ip,
    };
    let inner = see_ip(&vxlan[22..]);
    Seen { outer: Some(outer), ..inner }
}

fn assert_checksum(bytes: &[u8], ip: &Ipv4Header, payload: &[u8]) {
    if ip.is_fragmenting_payload() {
        return;
    }
    match SlicedPacket::from_ip(bytes).unwrap().transport {
        Some(TransportSlice::Tcp(tcp)) => {
            assert_eq!(tcp.checksum(), tcp.to_header().calc_checksum_ipv4(ip, tcp.payload()).unwrap(), "TCP checksum");
        }
        Some(TransportSlice::Udp(udp)) if udp.checksum() != 0 => {
            assert_eq!(udp.checksum(), udp.to_header().calc_checksum_ipv4(ip, udp.payload()).unwrap(), "UDP checksum");
        }
        Some(TransportSlice::Icmpv4(_)) => {
            let sum = etherparse::checksum::Sum16BitWords::new().add_slice(payload).ones_complement();
            assert_eq!(sum, 0, "ICMP checksum");
        }
        _ => {}
    }
}

impl Seen {
    pub fn src(&self) -> Ipv4Addr {
        self.ip.source.into()
    }

    pub fn dst(&self) -> Ipv4Addr {
        self.ip.destination.into()
    }

    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.ip.header_len()..]
    }

    pub fn ports(&self) -> (u16, u16) {
        let l4 = self.payload();
        (u16::from_be_bytes([l4[0], l4[1]]), u16::from_be_bytes([l4[2], l4[3]]))
    }

    pub fn tcp(&self) -> TcpHeader {
        match SlicedPacket::from_ip(&self.bytes).unwrap().transport {
            Some(TransportSlice::Tcp(tcp)) => tcp.to_header(),
            other => panic!("not TCP: {other:?}"),
        }
    }

    pub fn option(&self, wanted: impl Fn(&TcpOptionElement) -> bool) -> Option<TcpOptionElement> {
        self.tcp().options_iterator().filter_map(Result::ok).find(|option| wanted(option))
    }

    pub fn mss(&self) -> Option<u16> {
        match self.option(|option| matches!(option, TcpOptionElement::MaximumSegmentSize(_))) {
            Some(TcpOptionElement::MaximumSegmentSize(mss)) => Some(mss),
            _ => None,
        }
    }

    pub fn timestamps(&self) -> Option<(u32, u32)> {
        match self.option(|option| matches!(option, TcpOptionElement::Timestamp(..))) {
            Some(TcpOptionElement::Timestamp(value, echo)) => Some((value, echo)),
            _ => None,
        }
    }
}

/// An ICMP error about `original`, quoting its header and eight more bytes (RFC 792).
pub fn icmp_error(src: Ipv4Addr, dst: Ipv4Addr, kind: u8, code: u8, rest: u32, original: &[u8]) -> Vec<u8> {
    long_icmp_error(src, dst, kind, code, rest, &original[..28])
}

/// An ICMP error that quotes all of this.
pub fn long_icmp_error(src: Ipv4Addr, dst: Ipv4Addr, kind: u8, code: u8, rest: u32, quote: &[u8]) -> Vec<u8> {
    let mut icmp = vec![kind, code, 0, 0];
    icmp.extend(rest.to_be_bytes());
    icmp.extend(quote);
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&icmp).ones_complement().to_be();
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut bytes = Vec::new();
    header(src, dst, IpNumber::ICMP, icmp.len(), 64).write(&mut bytes).unwrap();
    bytes.extend(icmp);
    bytes
}

/// An echo request.
pub fn ping(src: Ipv4Addr, dst: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4(src.octets(), dst.octets(), 64).icmpv4_echo_request(7, 9).write(&mut bytes, payload).unwrap();
    bytes
}

/// An ARP packet, by hand from RFC 826.
pub fn arp(operation: u16, sender_mac: MacAddr, sender: Ipv4Addr, target_mac: MacAddr, target: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4];
    bytes.extend(operation.to_be_bytes());
    bytes.extend(sender_mac.0);
    bytes.extend(sender.octets());
    bytes.extend(target_mac.0);
    bytes.extend(target.octets());
    bytes
}

/// The inner packet of what a task got, sent back by it.
pub fn answer_of(task: usize, seen: &Seen, flags: &'static str, seq: u32, ack: u32) -> Segment {
    let (snat_port, target) = seen.ports();
    assert_eq!(seen.src(), OUR_OVERLAY);
    Segment::new((TASKS[task], target), (OUR_OVERLAY, snat_port), flags, seq, ack)
}

/// Makes the TCP checksum of a client's frame right again after an edit.
pub fn fix_tcp_checksum(frame: &mut [u8]) {
    let (ip, _) = Ipv4Header::from_slice(&frame[14..]).unwrap();
    let at = 14 + ip.header_len();
    let (tcp, payload) = TcpHeader::from_slice(&frame[at..]).unwrap();
    let checksum = tcp.calc_checksum_ipv4(&ip, payload).unwrap();
    frame[at + 16..at + 18].copy_from_slice(&checksum.to_be_bytes());
}
