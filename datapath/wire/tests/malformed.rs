//! What is refused, and by what name; what is odd but legal.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Golden, parse};
use wire::{Ethernet, Headers, L4, MacAddr, Malformed, checksum, ethernet, ethertype, write_ethernet};

/// A golden packet with some bytes changed and its header checksum made right again.
fn spoil(name: &str, changes: &[(usize, u8)]) -> Result<Headers, Malformed> {
    let mut packet = Golden::read(name).packet("before");
    for &(at, value) in changes {
        packet[at] = value;
    }
    packet[10..12].fill(0);
    let checksum = checksum::internet(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    Headers::parse(&packet, 0)
}

#[test]
fn ipv4() {
    assert_eq!(spoil("nat_udp", &[(0, 0x65)]), Err(Malformed::BadVersion));
    assert_eq!(spoil("nat_udp", &[(0, 0x44)]), Err(Malformed::BadHeaderLen));
    // 41 bytes are there: header 20, UDP 8, data 13.
    assert_eq!(spoil("nat_udp", &[(3, 19)]), Err(Malformed::BadTotalLen));
    assert_eq!(spoil("nat_udp", &[(3, 42)]), Err(Malformed::Truncated));
    assert_eq!(spoil("nat_udp", &[(0, 0x4b)]), Err(Malformed::BadTotalLen));
    let mut packet = Golden::read("nat_udp").packet("before");
    packet[8] ^= 1;
    assert_eq!(Headers::parse(&packet, 0), Err(Malformed::BadIpChecksum));
    assert_eq!(Headers::parse(&packet[..19], 0), Err(Malformed::Truncated));
}

#[test]
fn udp() {
    assert_eq!(spoil("nat_udp", &[(25, 22)]), Err(Malformed::BadUdpLen), "longer than the packet");
    assert_eq!(spoil("nat_udp", &[(25, 7)]), Err(Malformed::BadUdpLen), "shorter than its header");
    assert_eq!(spoil("nat_udp", &[(3, 27)]), Err(Malformed::BadUdpLen), "no room for its header");
    let Ok(Headers { l4: L4::Udp(udp), .. }) = spoil("nat_udp", &[(25, 20)]) else { panic!("legal: a byte left over") };
    assert_eq!((udp.len(), udp.offset(), udp.payload()), (20, 20, 28));
}

#[test]
fn tcp() {
    assert_eq!(spoil("nat_tcp_syn", &[(32, 0x40)]), Err(Malformed::BadTcpHeader), "16 bytes");
    assert_eq!(spoil("nat_tcp_syn", &[(32, 0xb0)]), Err(Malformed::BadTcpHeader), "44 bytes of 40");
    assert_eq!(spoil("nat_tcp_syn", &[(3, 39)]), Err(Malformed::BadTcpHeader), "19 bytes left");
    assert_eq!(spoil("nat_tcp_syn", &[(3, 59)]), Err(Malformed::BadTcpHeader), "39 bytes of 40");
}

#[test]
fn icmp() {
    assert_eq!(spoil("nat_icmp_udp_8_bytes", &[(3, 27)]), Err(Malformed::BadIcmp));
}

#[test]
fn fragments() {
    // The first fragment's UDP length is that of the datagram, longer than the fragment.
    let first = parse(&Golden::read("nat_udp_first_fragment").packet("before"));
    let L4::Udp(udp) = first.l4 else { panic!("UDP header") };
    assert_eq!((udp.len(), first.ip.total_len()), (2008, 1500));
    assert!(first.ip.is_fragment() && !first.ip.is_later_fragment());
    let later = parse(&Golden::read("nat_udp_later_fragment").packet("before"));
    assert_eq!((later.l4, later.ip.fragment_offset_bytes()), (L4::LaterFragment, 1480));
    assert_eq!(later.five_tuple(), None);
    // A first fragment may end inside the TCP options, but not before them.
    let Ok(Headers { l4: L4::Tcp(tcp), .. }) = spoil("nat_tcp_syn", &[(3, 44), (6, 0x20)]) else { panic!("TCP") };
    assert_eq!((tcp.header_len(), tcp.payload_len()), (24, 0));
    assert_eq!(spoil("nat_tcp_syn", &[(3, 36), (6, 0x20)]), Err(Malformed::BadTcpHeader));
}

#[test]
fn ping_of_death() {
    // Offset 65,512 and 21 bytes of payload end at 65,533; with the header that is 65,553.
    assert_eq!(spoil("nat_udp", &[(6, 0x1f), (7, 0xfd)]), Err(Malformed::BadTotalLen));
    // 65,488 + 41 = 65,529 is the longest that fits.
    assert!(spoil("nat_udp", &[(6, 0x1f), (7, 0xfa)]).is_ok());
    assert_eq!(spoil("nat_udp", &[(6, 0x1f), (7, 0xfb)]), Err(Malformed::BadTotalLen));
}

#[test]
fn padding_is_not_payload() {
    let packet = [Golden::read("nat_tcp_syn").packet("before"), vec![0; 6]].concat();
    let Headers { ip, l4: L4::Tcp(tcp) } = parse(&packet) else { panic!("TCP") };
    assert_eq!((ip.end(), tcp.payload_len()), (60, 0));
}

#[test]
fn nothing_behind_the_header_is_legal() {
    let Ok(headers) = spoil("nat_udp", &[(3, 20), (9, 132)]) else { panic!("a bare header") };
    assert_eq!((headers.l4, headers.ip.payload_len()), (L4::Other(132), 0));
}

#[test]
fn ethernet_there_and_back() {
    let (dst, src) = (MacAddr::BROADCAST, MacAddr([2, 0x42, 10, 0, 0, 3]));
    let mut frame = [0; 20];
    assert_eq!(write_ethernet(&mut frame, dst, src, ethertype::ARP), 14);
    let bytes = common::unhex("ffffffffffff02420a0000030806");
    assert_eq!(frame[..14], bytes);
    assert_eq!(ethernet(&frame), Ok(Ethernet { dst, src, ethertype: ethertype::ARP }));
    assert_eq!(ethernet(&frame[..13]), Err(Malformed::Truncated));
    assert_eq!(write_ethernet(&mut frame[..13], dst, src, ethertype::ARP), 0);
}

/// The question of a kernel with a VXLAN device for 10.0.0.11, and its answer by hand (RFC 826).
#[test]
fn arp() {
    let request = common::unhex("000108000604000102420a0000030a0000030000000000000a00000b");
    let asked = wire::Arp::parse(&request).expect("a request");
    let us = MacAddr([2, 0x42, 10, 0, 0, 3]);
    assert_eq!((asked.operation, asked.sender_mac, asked.target_mac), (1, us, MacAddr::default()));
    assert_eq!((asked.sender, asked.target), ([10, 0, 0, 3].into(), [10, 0, 0, 11].into()));
    let mut buf = [0xee; 30];
    assert_eq!(asked.write(&mut buf), 28);
    assert_eq!(buf[..28], request);
    assert_eq!(asked.write(&mut buf[..27]), 0);
    let mac = MacAddr::docker(asked.target);
    let reply = wire::Arp { operation: 2, sender_mac: mac, sender: asked.target, target_mac: us, target: asked.sender };
    reply.write(&mut buf);
    assert_eq!(buf[..28], common::unhex("000108000604000202420a00000b0a00000b02420a0000030a000003"));
    for (at, value) in [(1, 6), (2, 0x86), (4, 8), (5, 16)] {
        let mut bad = request.clone();
        bad[at] = value;
        assert_eq!(wire::Arp::parse(&bad), Err(Malformed::BadArp));
    }
    assert_eq!(wire::Arp::parse(&request[..27]), Err(Malformed::BadArp));
}

#[test]
fn reasons_have_names() {
    assert_eq!(Malformed::NotIpv4(ethertype::ARP).to_string(), "not IPv4 but ethertype 0x0806");
    assert_eq!(Malformed::BadUdpLen.to_string(), "bad UDP length");
}
