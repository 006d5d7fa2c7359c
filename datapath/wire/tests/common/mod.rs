//! What the tests of this package share: golden files, checksums summed from scratch, packets built by etherparse.
#![allow(dead_code, reason = "each test program uses its own part")]

pub mod six;

use std::net::Ipv4Addr;

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, TcpHeader, UdpHeader};
use proptest::prelude::*;
use wire::{FiveTuple, Headers, Protocol};

/// One golden file: labelled packets.
pub struct Golden {
    name: String,
    packets: Vec<(String, Vec<u8>)>,
}

impl Golden {
    /// Reads `tests/golden/NAME.hex`.
    pub fn read(name: &str) -> Self {
        let path = format!("{}/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect(&path);
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let packets = lines.map(|line| {
            let (label, hex) = line.split_once(' ').expect("label and hex");
            (label.to_string(), unhex(hex))
        });
        Self { name: name.to_string(), packets: packets.collect() }
    }

    /// The packet with that label.
    pub fn packet(&self, label: &str) -> Vec<u8> {
        let found = self.packets.iter().find(|(name, _)| name == label);
        found.unwrap_or_else(|| panic!("{label} in {}", self.name)).1.clone()
    }

    /// All packets in the order of the file.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> {
        self.packets.iter().map(|(_, bytes)| bytes.as_slice())
    }
}

pub fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hex"))
        .collect()
}

/// RFC 1071 word by word, in no hurry: the oracle of our checksums. 0xffff over bytes with a right checksum.
pub fn slow_sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            total += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while total >> 16 > 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// Panics unless every checksum of an unfragmented packet is right; sums from scratch.
pub fn assert_checksums(packet: &[u8]) {
    let header_len = usize::from(packet[0] & 15) * 4;
    let total_len = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    assert_eq!(slow_sum(&[&packet[..header_len]]), 0xffff, "IPv4 header checksum");
    let l4 = &packet[header_len..total_len];
    assert!(l4_sums_right(&packet[..header_len], l4), "L4 checksum");
}

/// Whether the checksum of a whole TCP, UDP or ICMP packet is right.
pub fn l4_sums_right(header: &[u8], l4: &[u8]) -> bool {
    let len = (l4.len() as u16).to_be_bytes();
    let pseudo = [&header[12..20], &[0, header[9]], &len].concat();
    match header[9] {
        6 => slow_sum(&[&pseudo, l4]) == 0xffff,
        17 => l4[6..8] == [0, 0] || slow_sum(&[&pseudo, l4]) == 0xffff,
        1 => slow_sum(&[l4]) == 0xffff,
        _ => true,
    }
}

/// A packet to be built.
#[derive(Clone, Debug)]
pub struct Plan {
    pub tuple: FiveTuple,
    pub ip_options: Vec<u8>,
    pub tos: u8,
    pub ttl: u8,
    pub id: u16,
    pub tcp_flags: u8,
    /// Raw, padded to whole words by the builder.
    pub tcp_options: Vec<u8>,
    /// Send UDP without checksum.
    pub no_checksum: bool,
    pub payload: Vec<u8>,
}

impl Plan {
    /// The IPv4 packet, made by etherparse with checksums from scratch.
    pub fn build(&self) -> Vec<u8> {
        let (src, dst) = (self.tuple.src.octets(), self.tuple.dst.octets());
        let l4_len = self.l4(&Ipv4Header::default()).len();
        let protocol = IpNumber(self.tuple.protocol as u8);
        let mut ip = Ipv4Header::new(l4_len as u16, self.ttl, protocol, src, dst).expect("short enough");
        ip.options = Ipv4Options::try_from(self.ip_options.as_slice()).expect("whole words");
        ip.set_payload_len(l4_len).expect("short enough");
        ip.identification = self.id;
        ip.fragment_offset = IpFragOffset::default();
        ip.dscp = (self.tos >> 2).try_into().expect("six bits");
        ip.ecn = (self.tos & 3).try_into().expect("two bits");
        ip.header_checksum = ip.calc_header_checksum();
        [ip.to_bytes().as_slice(), &self.l4(&ip)].concat()
    }

    fn l4(&self, ip: &Ipv4Header) -> Vec<u8> {
        match self.tuple.protocol {
            Protocol::Tcp => {
                let mut tcp = TcpHeader::new(self.tuple.src_port, self.tuple.dst_port, 0x0102_0304, 0x7210);
                tcp.acknowledgment_number = 0xa0b0_c0d0;
                tcp.set_options_raw(&self.tcp_options).expect("at most 40 bytes");
                (tcp.fin, tcp.syn) = (self.tcp_flags & 1 != 0, self.tcp_flags & 2 != 0);
                (tcp.rst, tcp.psh) = (self.tcp_flags & 4 != 0, self.tcp_flags & 8 != 0);
                tcp.ack = self.tcp_flags & 16 != 0;
                tcp.checksum = tcp.calc_checksum_ipv4(ip, &self.payload).expect("short enough");
                [tcp.to_bytes().as_slice(), &self.payload].concat()
            }
            Protocol::Udp => {
                let (src, dst) = (self.tuple.src_port, self.tuple.dst_port);
                let mut udp = UdpHeader::without_ipv4_checksum(src, dst, self.payload.len()).expect("short enough");
                if !self.no_checksum {
                    udp.checksum = udp.calc_checksum_ipv4(ip, &self.payload).expect("short enough");
                }
                [udp.to_bytes().as_slice(), &self.payload].concat()
            }
        }
    }
}

pub fn addresses() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from_bits)
}

pub fn tuples() -> impl Strategy<Value = FiveTuple> {
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    (addresses(), addresses(), any::<u16>(), any::<u16>(), protocol)
        .prop_map(|(src, dst, src_port, dst_port, protocol)| FiveTuple { src, dst, src_port, dst_port, protocol })
}

/// TCP options as stacks write them and as they do not: in any order, aligned or not, unknown ones among them.
pub fn tcp_options() -> impl Strategy<Value = Vec<u8>> {
    let mss = any::<u16>().prop_map(|mss| [&[2, 4], mss.to_be_bytes().as_slice()].concat());
    let scale = (0..15u8).prop_map(|shift| vec![3, 3, shift]);
    let timestamps = (any::<u32>(), any::<u32>())
        .prop_map(|(value, echo)| [&[8, 10], value.to_be_bytes().as_slice(), &echo.to_be_bytes()].concat());
    let unknown = (30..254u8, 0..6usize).prop_map(|(kind, len)| [vec![kind, len as u8 + 2], vec![7; len]].concat());
    let one = prop_oneof![mss, scale, timestamps, unknown, Just(vec![1]), Just(vec![4, 2])];
    prop::collection::vec(one, 0..5).prop_map(|options| {
        let mut bytes = options.concat();
        bytes.truncate(40);
        bytes
    })
}

pub fn plans() -> impl Strategy<Value = Plan> {
    let ip_options = prop_oneof![4 => Just(vec![]), 1 => Just(vec![0x94, 4, 0, 0, 7, 7, 8, 1, 2, 3, 4, 1])];
    let ip = (any::<u8>(), 2..=255u8, any::<u16>(), ip_options);
    let l4 = (any::<u8>(), tcp_options(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..300));
    (tuples(), ip, l4).prop_map(|(tuple, ip, l4)| {
        let (tos, ttl, id, ip_options) = ip;
        let (tcp_flags, tcp_options, no_checksum, payload) = l4;
        Plan { tuple, ip_options, tos, ttl, id, tcp_flags, tcp_options, no_checksum, payload }
    })
}

/// Parses what must be well-formed.
pub fn parse(packet: &[u8]) -> Headers {
    Headers::parse(packet, 0).expect("well-formed")
}
