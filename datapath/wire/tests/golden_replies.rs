//! Packets that are made here, against those that the Linux kernel makes (see `golden/capture.py`).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::net::Ipv4Addr;

use common::{Golden, parse};
use wire::{
    Headers, IcmpError, L4, checksum, decrement_ttl, deserves_icmp_error, echo_reply_in_place, finish_partial_checksum,
    l4_checksum_ok, reset_for, split, write_icmp_error, write_tcp_reset,
};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// Takes out what we choose otherwise than the kernel: identification 0 with DF instead of a counter without.
fn without_id(mut packet: Vec<u8>) -> Vec<u8> {
    packet[4..8].fill(0);
    packet[10..12].fill(0);
    let checksum = checksum::internet(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

fn assert_error_as_the_kernel(name: &str, error: IcmpError) {
    let golden = Golden::read(name);
    let original = golden.packet("original");
    assert!(deserves_icmp_error(&parse(&original)));
    let mut buf = [0xee; 600];
    // Ethernet padding must not be quoted.
    let padded = [original.as_slice(), &[0x55; 9]].concat();
    let len = write_icmp_error(&mut buf, error, GATEWAY, CLIENT, &padded);
    assert_eq!(without_id(buf[..len].to_vec()), without_id(golden.packet("error")), "{name}");
    assert!(parse(&buf[..len]).ip.dont_fragment());
}

#[test]
fn time_exceeded() {
    assert_error_as_the_kernel("icmp_time_exceeded", IcmpError::TimeExceeded);
}

#[test]
fn fragmentation_needed() {
    assert_error_as_the_kernel("icmp_fragmentation_needed", IcmpError::FragmentationNeeded { mtu: 1450 });
    let error = Golden::read("icmp_fragmentation_needed").packet("error");
    let L4::Icmp(icmp) = parse(&error).l4 else { panic!("not ICMP") };
    assert_eq!((icmp.kind, icmp.code), (3, 4));
    assert_eq!(icmp.mtu(), 1450);
}

#[test]
fn no_room() {
    let original = Golden::read("nat_udp").packet("before");
    let mut buf = [0xee; 100];
    let len = 28 + original.len();
    let mut write = |room: usize, original: &[u8]| {
        write_icmp_error(&mut buf[..room], IcmpError::HostUnreachable, GATEWAY, CLIENT, original)
    };
    assert_eq!(write(len, &original), len);
    assert_eq!(write(len - 1, &original), 0);
    assert_eq!(write(len, &original[..3]), 0, "not even a total length");
    let tuple = parse(&original).five_tuple().expect("ports");
    let reset = wire::TcpReset { tuple, seq: 0, ack: None };
    assert_eq!(write_tcp_reset(&mut buf[..39], &reset), 0);
    assert_eq!(write_tcp_reset(&mut buf[..40], &reset), 40);
}

#[test]
fn resets() {
    for name in ["tcp_reset_of_syn", "tcp_reset_of_ack"] {
        let golden = Golden::read(name);
        let segment = parse(&golden.packet("segment"));
        let L4::Tcp(tcp) = segment.l4 else { panic!("not TCP") };
        let reset = reset_for(&tcp, segment.five_tuple().expect("ports")).expect("no RST itself");
        let mut buf = [0xee; 64];
        let len = write_tcp_reset(&mut buf, &reset);
        assert_eq!(buf[..len], golden.packet("reset"), "{name}");
        let answer = parse(&buf[..len]);
        let L4::Tcp(tcp) = answer.l4 else { panic!("not TCP") };
        assert_eq!(reset_for(&tcp, answer.five_tuple().expect("ports")), None, "a RST is not answered");
    }
}

#[test]
fn echo() {
    let golden = Golden::read("icmp_echo");
    let mut packet = golden.packet("request");
    let Headers { ip, l4: L4::Icmp(icmp) } = parse(&packet) else { panic!("not ICMP") };
    assert!(icmp.is_echo_request());
    echo_reply_in_place(&mut packet, &ip, &icmp);
    assert!(l4_checksum_ok(&packet, &parse(&packet)));
    assert_eq!(without_id(packet), without_id(golden.packet("reply")));
}

#[test]
fn fragments() {
    for name in ["fragments", "fragments_with_options"] {
        let golden = Golden::read(name);
        let mut packet = golden.packet("before");
        let ip = parse(&packet).ip;
        decrement_ttl(&mut packet, &ip);
        let mut buf = [0; 1500];
        let pieces = (0..).map_while(|piece| split(&packet, 1450, piece, &mut buf).map(|len| buf[..len].to_vec()));
        let pieces: Vec<_> = pieces.collect();
        let after: Vec<_> = golden.packets().skip(1).map(<[u8]>::to_vec).collect();
        assert_eq!(pieces, after, "{name}");
    }
}

#[test]
fn partial_checksums() {
    for name in ["partial_tcp", "partial_udp"] {
        let golden = Golden::read(name);
        let mut packet = golden.packet("partial");
        let headers = parse(&packet);
        assert!(!l4_checksum_ok(&packet, &headers), "{name} was captured unfinished");
        assert!(finish_partial_checksum(&mut packet, &headers));
        assert!(!finish_partial_checksum(&mut packet, &headers), "once is enough");
        decrement_ttl(&mut packet, &headers.ip);
        if let L4::Tcp(tcp) = headers.l4 {
            // The rule of the capture holds here too; that its delta fits shows that the finished checksum is right.
            tcp.clamp_mss(&mut packet, 1360);
        }
        assert_eq!(packet, golden.packet("finished"), "{name}");
    }
}

/// One in 65,536 finished checksums equals the sum of its pseudo header. It must not be "finished" again.
#[test]
fn a_right_checksum_that_looks_partial_stays() {
    let mut packet = Golden::read("partial_udp").packet("finished");
    let ip = parse(&packet).ip;
    let pseudo = checksum::pseudo_header(ip.src(), ip.dst(), 17, 18);
    packet[26..28].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
    // The first two bytes of data make up for it.
    packet[28..30].fill(0);
    let rest = checksum::sum(&packet[20..]) + pseudo;
    packet[28..30].copy_from_slice(&(!checksum::fold(rest)).to_be_bytes());
    let before = packet.clone();
    let headers = parse(&packet);
    assert!(l4_checksum_ok(&packet, &headers));
    assert!(!finish_partial_checksum(&mut packet, &headers));
    assert_eq!(packet, before);
}

#[test]
fn checksums_that_cannot_be_told_are_not_wrong() {
    for name in ["nat_udp_first_fragment", "nat_udp_later_fragment", "nat_udp_no_checksum"] {
        let mut packet = Golden::read(name).packet("before");
        if let Some(last) = packet.last_mut() {
            *last ^= 1;
        }
        let headers = parse(&packet);
        assert!(l4_checksum_ok(&packet, &headers), "{name}");
        assert!(!finish_partial_checksum(&mut packet, &headers), "{name}");
    }
    let mut packet = Golden::read("icmp_echo").packet("request");
    assert!(l4_checksum_ok(&packet, &parse(&packet)));
    packet[44] ^= 1;
    assert!(!l4_checksum_ok(&packet, &parse(&packet)));
}

/// A checksum that is wrong, and not merely unfinished, is nobody's to put right: the damage would go unseen.
#[test]
fn a_wrong_checksum_stays_wrong() {
    for name in ["nat_udp", "nat_tcp_data"] {
        let mut packet = Golden::read(name).packet("before");
        let last = packet.len() - 1;
        packet[last] ^= 0x10;
        let (headers, damaged) = (parse(&packet), packet.clone());
        assert!(!finish_partial_checksum(&mut packet, &headers), "{name}");
        assert_eq!(packet, damaged, "{name}");
        assert!(!l4_checksum_ok(&packet, &headers), "{name}");
    }
}

/// The reply starts its own life, however old the request was.
#[test]
fn an_echo_reply_has_a_time_to_live_of_its_own() {
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4(CLIENT.octets(), GATEWAY.octets(), 5)
        .icmpv4_echo_request(7, 9)
        .write(&mut packet, b"data")
        .expect("a packet");
    let headers = parse(&packet);
    let L4::Icmp(icmp) = headers.l4 else { panic!("not ICMP") };
    echo_reply_in_place(&mut packet, &headers.ip, &icmp);
    common::assert_checksums(&packet);
    let ip = parse(&packet).ip;
    assert_eq!((ip.ttl(), ip.src(), ip.dst()), (64, GATEWAY, CLIENT));
}
